"""Scores from stored predictions: no model, no GPU; what is undefined is null with its reason, never 0."""
