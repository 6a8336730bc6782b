"""Compare runs with each other, with the study's values and with their scores on other datasets."""
