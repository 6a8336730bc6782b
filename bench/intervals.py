"""Intervals of 12 models on 1,500 test images, 10,000 draws of patients: seconds for all metrics"""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd

from bench.rows import Row
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import score_draws
from covbench.evaluation.comparison.draws import DRAWS, draw_groups
from covbench.schema import CLASSIFICATION, Task

MODELS, IMAGES, PATIENTS = 12, 1500, 900
TASK = Task("synthetic", CLASSIFICATION, ("non_covid", "covid"), positive="covid")


def measure() -> list[Row]:
    """Draw patients once, then score every model of the task in the same draws, as the comparison does."""
    scored = [evaluate_classification(_predict(model), TASK) for model in range(MODELS)]
    patients = pd.Index(sorted(scored[0][1]["patient_id"].unique()))
    started = time.perf_counter()
    weights = draw_groups(len(patients))
    draws = [score_draws(metrics, cases, patients, weights) for metrics, cases in scored]
    seconds = time.perf_counter() - started
    note = f"{DRAWS:,} draws of {len(patients)} patients, {len(draws[0])} scores a model, per class and in total"
    return [Row(f"{MODELS} models x {IMAGES:,} images", seconds, math.nan, "s", seconds, "< 5", note)]


def _predict(model: int) -> pd.DataFrame:
    rng, images = np.random.default_rng(model), np.random.default_rng(0)
    patients = [f"p{number:04d}" for number in images.integers(0, PATIENTS, IMAGES)]
    truth = images.integers(0, 2, IMAGES)
    p = (1 / (1 + np.exp(-rng.normal(truth * 2.0 - 1, 1.5)))).astype(np.float32)
    rows = pd.DataFrame({"image_id": np.arange(IMAGES).astype(str), "copy": 0, "patient_id": patients, "source": ""})
    rows = rows.assign(group=patients, duplicate_set=rows["image_id"])
    return rows.assign(fold="test", truth=truth, seed=0, p_0=1 - p, p_1=p)
