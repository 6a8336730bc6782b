"""Tools around the benchmark whose output no result depends on: MLflow, DVC, SLURM and cost forecasts."""
