"""Predict a label without the picture, from the source of an image or from its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from covbench.data.pictures import read_colour_mode
from covbench.schema import CLASSIFICATION, Task

FOLDS = 5
PREDICTORS = {
    "source": "hospital, journal or crawl, as the metadata say",
    "file": "file type, height, width and colour mode as stored",
}
FILE_FACTS = ("suffix", "height", "width", "mode")


@dataclass(frozen=True)
class Guesses:
    """What a predictor without the picture said of each image.

    predictor: its name. images, groups: how many there are. distinct: different values that it sees. note: number of
    folds, or why nothing can be predicted. predictions: as cross_validate; None where nothing can be predicted.
    """

    predictor: str
    images: int
    groups: int
    distinct: int
    note: str
    predictions: pd.DataFrame | None = None


def describe_files(rows: pd.DataFrame, shapes: np.ndarray, raw: Path) -> pd.DataFrame:
    """Describe the file of each image.

    Args:
        rows: schema.INDEX_COLUMNS, (N,).
        shapes: int64, (N, 2), height and width as stored, in pixels.
        raw: the dataset's folder in data/raw.

    Returns:
        FILE_FACTS, (N,).
    """
    suffix = rows["path"].str.lower().str.extract(r"(\.nii\.gz|\.\w+)$")[0].fillna("none")
    modes = {path: read_colour_mode(raw / path) for path in rows["path"].unique()}
    facts = {"suffix": suffix, "height": shapes[:, 0], "width": shapes[:, 1], "mode": rows["path"].map(modes)}
    return pd.DataFrame(facts)


def predict_from_shortcuts(rows: pd.DataFrame, files: pd.DataFrame, groups: pd.Series, task: Task) -> list[Guesses]:
    """Predict a task's label from each of PREDICTORS alone, cross-validated.

    Args:
        rows: schema.INDEX_COLUMNS, (N,).
        files: FILE_FACTS of the same rows: suffix and colour mode, str; height and width as stored, pixels.
        groups: str, (N,), the group of each row, which stays in one fold.
        task: the task whose label is predicted.

    Returns:
        The guesses of each predictor.
    """
    numbers = files.assign(**{name: files[name].factorize(sort=True)[0] for name in ("suffix", "mode")})
    by_source = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    by_file = RandomForestClassifier(100, min_samples_leaf=3, class_weight="balanced", random_state=0)
    tried = (("source", rows[["source"]], by_source), ("file", numbers[[*FILE_FACTS]], by_file))
    return [_guess(name, facts, model, rows, groups, task) for name, facts, model in tried]


def _guess(name: str, facts: pd.DataFrame, model: Any, rows: pd.DataFrame, groups: pd.Series, task: Task) -> Guesses:
    distinct, folds = len(facts.drop_duplicates()), count_folds(rows["label"], groups)
    note = _find_obstacle(facts, distinct, folds, task)
    guesses = Guesses(name, len(facts), groups.nunique(), distinct, note or f"{folds} folds, groups kept apart")
    if note:
        return guesses
    return replace(guesses, predictions=cross_validate(facts, model, rows, groups, task.classes))


def count_folds(labels: pd.Series, groups: pd.Series) -> int:
    """Count the folds for a cross-validation in which each can hold a group of every class, FOLDS at most."""
    return int(min([FOLDS, *groups.groupby(labels.to_numpy()).nunique()]))


def cross_validate(
    facts: Any, model: Any, rows: pd.DataFrame, groups: pd.Series, classes: Sequence[str]
) -> pd.DataFrame:
    """Predict each row with a model that was fitted to other groups.

    Args:
        facts: what the model sees: a table or float array, (N, F).
        model: of scikit-learn, with predict_proba.
        rows: image_id, patient_id, source and label of each row, (N,).
        groups: str, (N,), the group of each row, which stays in one fold.
        classes: names of the labels, in the order of their numbers.

    Returns:
        A test fold: schema.PREDICTION_COLUMNS without `seed`, and p_0 ….
    """
    labels = rows["label"].map({name: number for number, name in enumerate(classes)}).to_numpy()
    split = StratifiedGroupKFold(count_folds(rows["label"], groups), shuffle=True, random_state=0)
    found = cross_val_predict(model, facts, labels, groups=groups, cv=split, method="predict_proba")
    probabilities = np.zeros((len(rows), len(classes)))
    probabilities[:, np.unique(labels)] = found
    ids = rows[["image_id", "patient_id", "source"]].reset_index(drop=True)
    told = ids.assign(copy=0, group=groups.to_numpy(), duplicate_set=ids["image_id"], fold="test", truth=labels)
    return told.assign(**{f"p_{number}": probabilities[:, number] for number in range(len(classes))})


def _find_obstacle(facts: pd.DataFrame, distinct: int, folds: int, task: Task) -> str:
    if task.kind != CLASSIFICATION:
        return "pixels are labelled, not images"
    if "source" in facts and (facts["source"] == "").all():
        return "the dataset names no sources"
    if distinct < 2:
        return "the same for every image"
    return "too few groups of a class to cross-validate" if folds < 2 else ""
