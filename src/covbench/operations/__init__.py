"""Windows and neighbours that nothing reads back: MLflow, DVC, SLURM and cost forecasts."""
