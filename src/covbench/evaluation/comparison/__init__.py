"""Runs against each other: intervals, tests, ranks, the study's values and other datasets."""
