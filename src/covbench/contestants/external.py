"""What contestants answer for the images of other datasets: kept with each run, and taken in one dataset at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.unseen import ExternalSet, open_unseen
from covbench.data.folds import ClassMaps, Predicted, write_predicted
from covbench.experiment.run_files import describe_external
from covbench.schema import Run
from covbench.system.files import write_json, write_predictions


def write_external(
    parts: Sequence[Predicted], own: Predicted, outputs: Mapping[str, str], labels_only: bool = False
) -> None:
    """Write what a run answers for all other datasets. The column `fold` holds the task of each row.

    Args:
        parts: the answers to each other dataset; empty if none fits or none has an image that is new.
        own: the answers to the run's own test fold, whose columns an empty table has too.
        outputs: paths by `external` and, where pixels are labelled, `external_masks`.
        labels_only: whether the probabilities only say which class was named.
    """
    paths = {"predictions": outputs["external"], "masks": outputs.get("external_masks", "")}
    write_predicted(parts or [_empty(own)], paths, labels_only)


def _empty(part: Predicted) -> Predicted:
    fold, name, seed, values, _ = part
    none = ClassMaps(values.numbers[:0]) if isinstance(values, ClassMaps) else values[:0]
    return Predicted(fold.take(np.array([], np.int64)), name, seed, none)


def take_external(
    runs: Sequence[Run], answers: Sequence[str], masks: Sequence[str], external: ExternalSet, outputs: Mapping[str, str]
) -> None:
    """Write what the seeds of a contestant have answered for one other dataset.

    Args:
        runs: the seeds.
        answers: path of the table of each, as write_external writes it.
        masks: path of the masks of each; empty for a classification.
        external: the other dataset.
        outputs: paths as of training.predict_external.predict_external.
    """
    tables = [pd.read_parquet(path) for path in answers]
    mine = [(table["fold"] == external.task).to_numpy() for table in tables]
    rows = pd.concat([table[chosen] for table, chosen in zip(tables, mine, strict=True)], ignore_index=True)
    arrays = {}
    if masks:
        stored = [np.load(path)["masks"][chosen] for path, chosen in zip(masks, mine, strict=True)]
        arrays = {"masks": np.concatenate(stored)}
    write_predictions(rows.assign(fold="test"), arrays, outputs)
    _, counts = open_unseen(runs[0].task, external)
    folders = [Path(path).parent for path in answers]
    write_json(outputs["manifest"], describe_external(runs, folders, external.task, counts))
