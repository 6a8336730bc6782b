"""What runs have predicted for their validation folds, and draws of the groups of validation and test folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import list_groups
from covbench.evaluation.comparison.draws import BLOCK, draw_groups
from covbench.evaluation.metrics.classification import NO_PROBABILITIES
from covbench.experiment.run_files import explain_damage
from covbench.experiment.runs import RunRecord
from covbench.schema import LABELS_ONLY, CovbenchError

ROWS = ["image_id", "copy", "patient_id", "group", "truth"]


@dataclass(frozen=True)
class ValidatedRun:
    """A classification's run with the rows of both of its folds.

    validation, test: the columns ROWS and p_0 … p_{C-1}. reason: why nothing can be chosen on the validation fold;
    otherwise empty.
    """

    run: RunRecord
    validation: pd.DataFrame
    test: pd.DataFrame
    reason: str

    @property
    def positive(self) -> int | None:
        """Number of the positive class; None for several classes."""
        metrics: Any = self.run.metrics
        return metrics["classes"].index(metrics["positive"]) if metrics.get("positive") else None


@dataclass(frozen=True)
class SharedDraws:
    """Draws that all runs of a task share. groups: (P,). weights: uint16, (P, B), how often each is drawn."""

    groups: pd.Index
    weights: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """The weights as float32."""
        return self.weights.astype(np.float32)

    def add_up(self, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Add up values of images in each draw. values: float64, (K, N). codes: int64, (N,). Returns float64, (K, B).

        Sums over a group are exact, and sums over groups have the six digits of float32.
        """
        sums = np.stack([np.bincount(codes, row, len(self.groups)) for row in values])
        return (sums.astype(np.float32) @ self.counts).astype(np.float64)

    def encode(self, rows: pd.DataFrame) -> np.ndarray:
        """The group of each row as a row of `weights`: int64, (N,)."""
        return self.groups.get_indexer(pd.Index(rows["group"]))


def read_validation(run: RunRecord) -> ValidatedRun:
    """Read what a run has predicted for its validation fold. Raises CovbenchError if the file is damaged."""
    names = [*ROWS, *(f"p_{number}" for number in range(len(run.metrics["classes"])))]
    path = run.folder / "predictions.parquet"
    try:
        validation = pd.read_parquet(path, columns=names, filters=[("fold", "==", "val")])
    except (ValueError, OSError) as error:
        raise CovbenchError(explain_damage(run.run, path.name, error)) from error
    return ValidatedRun(run, validation, run.cases[names], _find_reason(validation, run.cases))


def _find_reason(validation: pd.DataFrame, test: pd.DataFrame) -> str:
    if LABELS_ONLY in test:
        return NO_PROBABILITIES
    if validation.empty:
        return "no validation fold was predicted"
    if validation["image_id"].isin(test["image_id"]).any():
        return "test images are in the validation fold"
    return ""


def name_model(one: ValidatedRun) -> tuple[str, str, str]:
    """Protocol, architecture and family of a run."""
    return one.run.protocol, one.run.architecture, one.run.family


def draw_shared(runs: Sequence[ValidatedRun]) -> SharedDraws:
    """Draw the groups of all folds of a task BLOCK times. A group in several folds is drawn for all of them at once."""
    groups = list_groups(rows for run in runs for rows in (run.validation, run.test))
    return SharedDraws(groups, draw_groups(len(groups), BLOCK))
