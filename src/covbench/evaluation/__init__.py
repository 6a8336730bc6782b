"""Scores from stored predictions; loads no model."""
