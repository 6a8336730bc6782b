"""Every run's scores in tidy tables, with 95 % intervals, beside the values that the study reported."""

from __future__ import annotations

from covbench.protocols import PROTOCOLS

KEYS = ["task", "protocol", "architecture"]
METRIC_COLUMNS = [*KEYS, "family", "seed", "class", "metric", "value", "low", "high", "reason"]
SUMMARY_COLUMNS = [*KEYS, "family", "metric", "seeds", "mean", "sd", "low", "high"]
PUBLISHED_COLUMNS = [
    *["task", "architecture", "metric", "reported", "source", "our_metric"],
    *[f"{name}_{protocol}" for protocol in PROTOCOLS for name in ("value", "low", "high", "difference")],
    "note",
]
RUN_COLUMNS = [
    *[*KEYS, "family", "seed", "state", "reason", "seconds", "parameters", "images", "patients"],
    *["epochs_run", "best_epoch", "peak_memory_mb", "device", "weights", "fingerprint", "git_commit", "finished"],
]
