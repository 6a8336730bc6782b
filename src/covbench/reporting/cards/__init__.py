"""Writes what travels with models and data: cards of models and datasets, and reporting checklists."""
