"""The images of another dataset that are new to a task's models, opened as a test fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from covbench.audit.groups import add_groups
from covbench.data.datasets import TASKS, publishes_patients, usable_rows
from covbench.data.external import select_unseen
from covbench.data.folds import Fold, count_subjects, open_prepared, select_fold


@dataclass(frozen=True)
class ExternalSet:
    """The images of another dataset, and where they are.

    task: the external task. index, prepared: paths of its dataset's index and of its arrays at the models' size.
    duplicates: path of the duplicates between both datasets. within: of those within the external one.
    """

    task: str
    index: str
    duplicates: str
    within: str
    prepared: Sequence[str]


def list_external_sets(files: Mapping[str, str]) -> list[ExternalSet]:
    """List the external sets of files by name, as experiment.plan.list_external_files names them."""
    sets = []
    for other in dict.fromkeys(name.partition("/")[0] for name in files):
        mine = {name.partition("/")[2]: path for name, path in files.items() if name.startswith(f"{other}/")}
        prepared = [mine[name] for name in ("images", "rows", "masks") if name in mine]
        sets.append(ExternalSet(other, mine["index"], mine["duplicates"], mine["within"], prepared))
    return sets


def open_unseen(name: str, external: ExternalSet) -> tuple[Fold, dict[str, int | None]]:
    """Open the images that are new to a task's models.

    Args:
        name: the models' task.
        external: the other dataset.

    Returns:
        A test fold with labels as in data.external.SHARED, and the counts of data.external.select_unseen with `images`,
        `patients` and `groups` that are left.
    """
    task = TASKS[external.task]
    index, duplicates, within = map(pd.read_parquet, (external.index, external.duplicates, external.within))
    rows = add_groups(usable_rows(index, task), within)
    unseen, counts = select_unseen(rows, duplicates, name, external.task)
    subjects = {"images": len(unseen)} | count_subjects(unseen, publishes_patients(external.task))
    return select_fold(*open_prepared(external.prepared), unseen, "test", len(task.classes)), counts | subjects
