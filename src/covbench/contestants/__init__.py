"""Contestants from elsewhere: what they may see, how they run, and how their answers are checked."""
