"""Measure how well a label is predicted without the picture, from the source of an image or from its file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from covbench.schema import CLASSIFICATION, Task

SCORES = ("balanced_accuracy", "chance", "auroc", "chance_auroc")
FOLDS = 5
PREDICTORS = {
    "source": "hospital, journal or crawl, as the metadata say",
    "file": "file type, height and width as stored",
}


def predict_from_shortcuts(
    rows: pd.DataFrame, shapes: np.ndarray, groups: pd.Series, task: Task
) -> list[dict[str, Any]]:
    """Score how well each of PREDICTORS alone predicts a task's label.

    The scores are cross-validated in up to FOLDS folds that divide no group.

    Args:
        rows: schema.INDEX_COLUMNS, (N,).
        shapes: int64, (N, 2), height and width as stored, in pixels.
        groups: str, (N,), the group of each row, which stays in one fold.
        task: the task whose label is predicted.

    Returns:
        A row of the table `sources` for each predictor. Balanced accuracy has chance level 1 / classes. AUROC has
        chance level 0.5; for more than two classes it is the mean of each class against the rest. Where a predictor
        cannot be scored, the scores are None and `note` gives the reason.
    """
    suffix = rows["path"].str.lower().str.extract(r"(\.nii\.gz|\.\w+)$")[0].fillna("none")
    files = pd.DataFrame({"suffix": suffix.factorize(sort=True)[0], "height": shapes[:, 0], "width": shapes[:, 1]})
    by_source = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    by_file = RandomForestClassifier(100, min_samples_leaf=3, class_weight="balanced", random_state=0)
    tried = (("source", rows[["source"]], by_source), ("file", files, by_file))
    return [
        {"task": task.name, "predictor": name, **_score(facts, rows["label"], groups, task, model)}
        for name, facts, model in tried
    ]


def _score(facts: pd.DataFrame, labels: pd.Series, groups: pd.Series, task: Task, model: Any) -> dict[str, Any]:
    distinct = len(facts.drop_duplicates())
    found: dict[str, Any] = {"images": len(facts), "groups": groups.nunique(), "distinct": distinct}
    folds = min([FOLDS, *groups.groupby(labels.to_numpy()).nunique()])
    note = _find_obstacle(facts, distinct, folds, task)
    if note:
        return found | dict.fromkeys(SCORES) | {"note": note}
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    names = sorted(labels.unique())
    chances = cross_val_predict(model, facts, labels, groups=groups, cv=split, method="predict_proba")
    guesses = np.array(names)[chances.argmax(axis=1)]
    area = roc_auc_score(labels, chances[:, 1] if len(names) == 2 else chances, multi_class="ovr", labels=names)
    accuracy = balanced_accuracy_score(labels, guesses)
    scores = {"balanced_accuracy": accuracy, "chance": 1 / len(names), "auroc": area, "chance_auroc": 0.5}
    return found | scores | {"note": f"{folds} folds, groups kept apart"}


def _find_obstacle(facts: pd.DataFrame, distinct: int, folds: int, task: Task) -> str:
    if task.kind != CLASSIFICATION:
        return "pixels are labelled, not images"
    if "source" in facts and (facts["source"] == "").all():
        return "the dataset names no sources"
    if distinct < 2:
        return "the same for every image"
    return "too few groups of a class to cross-validate" if folds < 2 else ""
