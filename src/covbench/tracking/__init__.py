"""MLflow: finished runs copied into it, and runs that train followed there."""
