"""Runs in MLflow: live while they train, and copied once they have finished."""
