"""The command `covbench`: what users need beside Snakemake. `--help` imports nothing heavy."""

from covbench.cli.main import build_parser, main

__all__ = ["build_parser", "main"]
