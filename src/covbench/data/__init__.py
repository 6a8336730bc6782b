"""Bring data from a source to arrays and folds: fetch, index and prepare."""
