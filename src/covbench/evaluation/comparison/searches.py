"""Tabulate the trials of a search: the rates of each, its score on the validation fold, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.experiment.plan import PlannedRun
from covbench.experiment.trials import RATES, find_best, read_trials

FACTS = ("val_loss", "epochs_run", "seconds")


def tabulate_search(plan: Iterable[PlannedRun], root: Path = Path()) -> pd.DataFrame:
    """Make the table `search`: a row per trial of every run whose trials have all finished. `root` holds results/."""
    rows = [row for planned in plan for row in _tabulate_run(planned, root)]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["search"]))


def _tabulate_run(planned: PlannedRun, root: Path) -> Iterator[dict[str, Any]]:
    manifests = read_trials(planned, root)
    best = find_best(manifests) if manifests else None
    for number, manifest in enumerate(manifests):
        options = manifest["options"]
        rates = {rate: options[rate] if options[epochs] else None for rate, epochs in RATES.items()}
        yield {
            **asdict(planned.run),
            "trial": number,
            **rates,
            **{fact: manifest[fact] for fact in FACTS},
            "chosen": "yes" if number == best else "no",
        }
