"""`python -m bench.sample_settings MIRROR FOLDER`: choose the settings of config/sample.yaml on validation folds alone.

Every network of the sample is trained under `audited` with each of CANDIDATES and predicts its validation fold. The
test folds are not opened. The scores are kept in bench/results/sample_settings.csv. A score that the table has is not
measured again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from covbench.system.threads import fix_threads

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "bench" / "results" / "sample_settings.csv"
CANDIDATES: dict[str, dict[str, dict[str, Any]]] = {
    "classification": {
        "12 epochs, 1e-3": {"head_epochs": 12, "head_rate": 1e-3},
        "12 epochs, 3e-3": {"head_epochs": 12, "head_rate": 3e-3},
        "24 epochs, 1e-3": {"head_epochs": 24, "head_rate": 1e-3},
        "24 epochs, 3e-3": {"head_epochs": 24, "head_rate": 3e-3},
    },
    "segmentation": {
        "6 epochs, 1e-3": {"fine_tune_epochs": 6, "fine_tune_rate": 1e-3},
        "6 epochs, 4e-3": {"fine_tune_epochs": 6, "fine_tune_rate": 4e-3},
        "12 epochs, 1e-3": {"fine_tune_epochs": 12, "fine_tune_rate": 1e-3},
    },
}
"""Kind of task -> name -> options that replace those of config/sample.yaml."""
KEY = ["task", "protocol", "architecture", "seed", "candidate"]


def read_sample(mirror: Path) -> dict[str, Any]:
    """Read config/sample.yaml with datasets and weights from a mirror."""
    from covbench.experiment.config import read_config

    config = read_config(ROOT / "config" / "sample.yaml")
    substitutes = config["weights"]["substitutes"]
    weights = {"mirror": str(mirror / "weights"), "substitutes": substitutes}
    return config | {"protocols": ["audited"], "fetch": {"mirror": str(mirror)}, "weights": weights}


def enter(folder: Path, config: dict[str, Any]) -> list[Any]:
    """Make a folder the working directory, and make there what the planned networks read. Returns the networks."""
    import yaml

    from covbench.experiment.plan import plan_runs

    fix_threads(config["threads"])
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    plan = [planned for planned in plan_runs(config) if planned.is_deep]
    Path("settings.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    targets = sorted({path for planned in plan for path in planned.inputs.by_name.values()})
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    subprocess.run([*command, "--configfile", "settings.yaml", "--quiet"], check=True)
    return plan


def try_candidates(plan: Sequence[Any], known: Collection[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Train every run with every candidate of its kind, and score its validation fold.
    Args:
        plan: the networks to train.
        known: runs and candidates to leave out, as tuples of KEY.
    Yields:
        Rows of the table.
    """
    import keras

    from covbench.data.datasets import TASKS
    from covbench.training.predict import predict_fold

    for planned in plan:
        kind = TASKS[planned.run.task].kind
        for name, changes in CANDIDATES[kind].items():
            if (*vars(planned.run).values(), name) in known:
                continue
            started = time.process_time()
            keras.backend.clear_session()
            options = replace(planned.options, **changes)
            model, val = train(planned, options)
            predicted = predict_fold(model, val, "val", options, planned.run.seed)
            yield {
                **vars(planned.run),
                "candidate": name,
                "metric": "auroc" if kind == "classification" else "dice_lesion_total",
                "validation": score(TASKS[planned.run.task], val, predicted.values),
                "cpu_seconds": round(time.process_time() - started, 1),
            }


def train(planned: Any, options: Any) -> tuple[Any, Any]:
    """Train on the training fold. Returns the model and the validation fold; the test fold stays closed."""
    from covbench.data.datasets import TASKS
    from covbench.data.folds import open_folds
    from covbench.system.signals import Interruption
    from covbench.training.job import TrainingJob, fit_network
    from covbench.training.state import Checkpointer

    inputs, run = planned.inputs, planned.run
    classes = len(TASKS[run.task].classes)
    train_fold, val = open_folds(inputs.split, inputs.prepared, ("train", "val"), classes)
    job = TrainingJob(
        run, options, inputs.split, inputs.prepared, inputs.weights, {"history": "history.csv"}, planned.settings
    )
    with Interruption() as interruption:
        states = Path("checkpoints") / "settings" / f"{os.getpid()}-{time.monotonic_ns()}"
        folds = {"train": train_fold, "val": val}
        model, _ = fit_network(job, folds, Checkpointer(states, interruption), lambda curves: None)
    return model, val


def score(task: Any, val: Any, predicted: Any) -> float:
    """Score a validation fold: AUROC, of one class against the rest for more than two, or Dice of all lesion pixels."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    truth = val.load_targets()
    if val.masks is None:
        chances = predicted[:, 1] if len(task.classes) == 2 else predicted
        return float(roc_auc_score(truth, chances, multi_class="ovr", labels=np.arange(len(task.classes))))
    lesions = [task.classes.index(name) for name in task.lesions]
    true, found = np.isin(truth, lesions), np.isin(predicted.numbers, lesions)
    return float(2 * (true & found).sum() / (true.sum() + found.sum()))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sample_settings", description=__doc__)
    parser.add_argument("mirror", type=Path)
    parser.add_argument("folder", type=Path, help="working directory, kept for the next time")
    parser.add_argument("--tasks", nargs="+", default=[], help="these tasks only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen = parser.parse_args(arguments)
    config = read_sample(chosen.mirror.resolve()) | {"seeds": chosen.seeds}
    config["tasks"] = chosen.tasks or config["tasks"]
    plan = enter(chosen.folder, config)
    import pandas as pd

    rows: list[Any] = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    known = {tuple(row[name] for name in KEY) for row in rows}
    for row in try_candidates(plan, known):
        print(row, flush=True)
        rows.append(row)
        pd.DataFrame(rows).to_csv(TABLE, index=False, float_format="%.4f")
    table = pd.DataFrame(rows)
    print(table.groupby(["metric", "architecture", "candidate"])["validation"].agg(["mean", "min", "count"]))


if __name__ == "__main__":
    main(sys.argv[1:])
