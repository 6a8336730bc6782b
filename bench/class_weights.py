"""`python -m bench.class_weights MIRROR FOLDER`: what class weights do to the accuracy of ieee8023_xray.

The frozen mobilenetv2_035 of the sample is trained with and without class weights, under both protocols, and scored on
its test fold. The scores are kept in bench/results/class_weights.csv.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.sample_settings import ROOT, enter, read_sample, train

TABLE = ROOT / "bench" / "results" / "class_weights.csv"
TASK, NETWORK = "ieee8023_xray", "mobilenetv2_035"
SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc")


def score_both(plan: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Train every run with and without class weights, and score its test fold."""
    import keras

    from covbench.data.datasets import TASKS
    from covbench.data.folds import open_folds, tabulate_predictions
    from covbench.evaluation.classification import evaluate_classification
    from covbench.training.predict import predict_fold

    task = TASKS[TASK]
    for planned in plan:
        (test,) = open_folds(planned.inputs.split, planned.inputs.prepared, ("test",), len(task.classes))
        for weighted in (False, True):
            keras.backend.clear_session()
            options = replace(planned.options, class_weights=weighted)
            model, _ = train(planned, options)
            predicted: Any = predict_fold(model, test, "test", options, planned.run.seed)
            table = tabulate_predictions(test, "test", planned.run.seed, predicted.values)
            metrics = evaluate_classification(table, task)[0]["metrics"]
            yield {**vars(planned.run), "class_weights": weighted} | {name: metrics[name] for name in SCORES}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.class_weights", description=__doc__)
    parser.add_argument("mirror", type=Path)
    parser.add_argument("folder", type=Path, help="working directory, kept for the next time")
    chosen = parser.parse_args(arguments)
    config = read_sample(chosen.mirror.resolve()) | {"tasks": [TASK], "protocols": ["audited", "published"]}
    config["architectures"] = {"classification": [NETWORK], "segmentation": []}
    config["baselines"] = {"classification": [], "segmentation": []}
    plan = enter(chosen.folder, config)
    import pandas as pd

    rows = []
    for row in score_both(plan):
        print(row, flush=True)
        rows.append(row)
        pd.DataFrame(rows).to_csv(TABLE, index=False, float_format="%.4f")
    table = pd.DataFrame(rows).groupby(["protocol", "class_weights"])[list(SCORES)]
    print(table.mean().round(3))


if __name__ == "__main__":
    main(sys.argv[1:])
