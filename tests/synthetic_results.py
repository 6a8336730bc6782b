"""Writes a results tree as a benchmark leaves it: synthetic predictions, scored and compared by the real functions.

The report's tests use it. It also serves to look at a page without any training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from covbench.data.datasets import DATASETS, TASKS, dataset_of, publishes_patients
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.compare import compare_runs
from covbench.evaluation.comparison.counterparts import read_counterparts
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.experiment.plan import PlannedRun, plan_run
from covbench.experiment.provenance import describe_run, expect_inputs
from covbench.protocols import protocol_options
from covbench.schema import CLASSIFICATION, PREDICTION_COLUMNS, Run, Task
from covbench.system.files import write_table
from tests.run_records import leave_scores, rewrite_manifest

SIDE, IMAGES, EPOCHS = 64, 90, 14
UNEVEN = "ieee8023_xray"
"""The classification most of whose images are of one class."""
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
BASELINES = {
    "majority": 0.0,
    "hog_logistic": 0.55,
    "intensity_logistic": 0.4,
    "empty_mask": 0.0,
    "lung_threshold": 0.45,
}


def plan_runs(
    tasks: Mapping[str, Sequence[str]],
    protocols: Sequence[str] = ("published", "audited"),
    seeds: Sequence[int] = (0, 1),
) -> list[PlannedRun]:
    """A plan as covbench.experiment.plan gives it. tasks: task -> architectures."""
    return [
        plan_run(
            CONFIG,
            Run(task, protocol, architecture, seed),
            replace(protocol_options(protocol, TASKS[task]), size=SIDE),
        )
        for task, architectures in tasks.items()
        for protocol in protocols
        for architecture in architectures
        for seed in seeds
    ]


def draw_tree(root: Path, plan: Sequence[PlannedRun], images: int = IMAGES) -> None:
    """Write root/data and root/results for every run of the plan, as if all had finished."""
    for task in dict.fromkeys(planned.run.task for planned in plan):
        draw_data(root / "data", TASKS[task], images)
    for planned in plan:
        draw_split(root / "data", planned.run)
        write_manifest(root, planned)
        draw_run(root, planned.run)


def compare_tree(root: Path, plan: Sequence[PlannedRun]) -> None:
    """Write root/results/compare and root/results/audit/splits.csv, as the stages before the report do."""
    resources = Path(__file__).parents[1] / "workflow" / "resources"
    names = ("published_results", "counterparts", "study_findings")
    reported, findings = read_counterparts(*(resources / f"{name}.csv" for name in names))
    tables = compare_runs(plan, reported, pd.read_csv(resources / "literature.csv"), root)
    for name, table in (tables | {"findings": findings}).items():
        write_table(root / "results" / "compare" / f"{name}.csv", table)


def draw_data(data: Path, task: Task, images: int) -> None:
    """Write index and prepared arrays of a task: blobs on a body, three images per patient where patients are known."""
    rng = np.random.default_rng(abs(hash_name(task.name)))
    ids = [f"{task.name}_{number:03d}" for number in range(images)]
    labels = draw_labels(task, images)
    pictures, masks = zip(*(draw_picture(rng, int(label), len(task.classes)) for label in labels), strict=True)
    folder = data / "prepared" / task.name / str(SIDE)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", np.stack(pictures))
    if task.kind != CLASSIFICATION:
        np.save(folder / "masks.npy", np.stack(masks))
    write_table(
        folder / "rows.parquet",
        pd.DataFrame({"image_id": ids, "label": labels.astype(np.int64), "height": SIDE, "width": SIDE}),
    )
    unknown = DATASETS[dataset_of(task.name)].CARD.patients == "none"
    patients = ids if unknown else [f"p{number // 3}" for number in range(images)]
    index = pd.DataFrame({"image_id": ids, "patient_id": patients})
    names = [task.classes[label] if label >= 0 else "" for label in labels]
    index = index.assign(label=names, source="north", sha256=ids, phash=[f"{n % 80:016x}" for n in range(images)])
    index["excluded"] = index.index >= images - 2
    index["reason"] = np.where(index["excluded"], "lateral view", "")
    write_table(data / "index" / f"{dataset_of(task.name)}.parquet", index)


def draw_labels(task: Task, images: int) -> np.ndarray:
    """Classes in turn; of UNEVEN, four of five images are of the positive class. -1 for a segmentation."""
    if task.kind != CLASSIFICATION:
        return np.full(images, -1)
    if task.name == UNEVEN:
        positive = task.classes.index(task.positive)
        return np.where(np.arange(images) % 5 == 3, 1 - positive, positive)
    return np.arange(images) % len(task.classes)


def hash_name(name: str) -> int:
    """A number that is the same in every process."""
    return sum(ord(letter) * (position + 1) for position, letter in enumerate(name))


def draw_picture(rng: np.random.Generator, label: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and a mask with the classes as nested blobs; the last class is absent from every third mask."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    body = ((x / 0.85) ** 2 + (y / 0.7) ** 2 < 1) * 120.0
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for number in range(1, classes):
        if number == classes - 1 and rng.random() < 1 / 3:
            continue
        cx, cy, radius = (
            rng.uniform(-0.4, 0.4),
            rng.uniform(-0.3, 0.3),
            rng.uniform(0.12, 0.3) * (1.6 if number == 1 else 1),
        )
        mask[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = number
    picture = body + 30 * mask + 25 * label * (np.abs(x) < 0.4) + rng.normal(0, 9, mask.shape)
    return ndimage.gaussian_filter(picture, 0.7).clip(0, 255).astype(np.uint8), mask


def draw_split(data: Path, run: Run) -> None:
    """Write a split by image (published) or by patient (the others). One of nine images repeats the one before it."""
    index = pd.read_parquet(data / "index" / f"{dataset_of(run.task)}.parquet").query("~excluded")
    repeats = np.arange(len(index)) % 9 == 1
    duplicate_set = index["image_id"].where(~repeats, index["image_id"].shift())
    group = index["patient_id"] if publishes_patients(run.task) else duplicate_set
    unit = index["image_id"] if run.protocol == "published" else group
    rng = np.random.default_rng(run.seed)
    fold = {name: ("test", "val", "train", "train")[rng.integers(4)] for name in unit.unique()}
    classes = TASKS[run.task].classes
    split = index[["image_id", "patient_id", "source"]].assign(copy=0, group=group, duplicate_set=duplicate_set)
    split["fold"] = unit.map(fold)
    split["label"] = [classes.index(label) if label else -1 for label in index["label"]]
    write_table(data / "splits" / run.task / run.protocol / f"{run.seed}.parquet", split)


def draw_run(root: Path, run: Run) -> None:
    """Write a run's folder: predictions of a model with its own skill, history and scores."""
    folder = root / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    task, rng = TASKS[run.task], np.random.default_rng(hash_name(run.folder))
    skill = BASELINES.get(run.architecture, 0.55 + 0.4 * (hash_name(run.architecture) % 10) / 10)
    skill = min(1.0, skill + 0.1 * (run.protocol == "published"))
    split = pd.read_parquet(root / "data" / "splits" / run.task / run.protocol / f"{run.seed}.parquet")
    rows = split[split["fold"] != "train"].rename(columns={"label": "truth"}).assign(seed=run.seed)
    rows = rows[list(PREDICTION_COLUMNS)].reset_index(drop=True)
    published = publishes_patients(task.name)
    if task.kind == CLASSIFICATION:
        rows = draw_probabilities(rng, rows, task, skill)
        metrics, cases = evaluate_classification(rows, task, published)
    else:
        prepared = root / "data" / "prepared" / run.task / str(SIDE)
        position = {name: row for row, name in enumerate(pd.read_parquet(prepared / "rows.parquet")["image_id"])}
        truth = np.load(prepared / "masks.npy")[[position[name] for name in rows["image_id"]]]
        predicted = np.stack([spoil_mask(rng, mask, skill) for mask in truth])
        np.savez_compressed(folder / "predicted_masks.npz", masks=predicted)
        metrics, cases = evaluate_segmentation(rows, truth, predicted, task, patients_published=published)
    write_table(folder / "predictions.parquet", rows)
    leave_scores(folder, metrics, cases)
    write_history(folder, run, rng, skill)


def draw_probabilities(rng: np.random.Generator, rows: pd.DataFrame, task: Task, skill: float) -> pd.DataFrame:
    """Softmax of noise with the true class raised by the skill; a skill of 0 always predicts the first class."""
    scores = rng.normal(0, 1, (len(rows), len(task.classes)))
    scores[np.arange(len(rows)), rows["truth"]] += 2.4 * skill
    if skill < 0.15:
        scores[:] = np.eye(len(task.classes))[0]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return rows.assign(**{f"p_{number}": shares[:, number].astype(np.float32) for number in range(shares.shape[1])})


def spoil_mask(rng: np.random.Generator, mask: np.ndarray, skill: float) -> np.ndarray:
    """The mask moved by a few pixels, the further the lower the skill; empty for a skill below 0.15."""
    if skill < 0.15:
        return np.zeros_like(mask)
    shift = rng.normal(0, 7 * (1 - skill), 2).round().astype(int)
    return np.roll(mask, tuple(shift), axis=(0, 1))


def write_history(folder: Path, run: Run, rng: np.random.Generator, skill: float) -> None:
    """Write history.csv of a deep model."""
    if run.architecture not in BASELINES:
        epoch = np.arange(EPOCHS)
        loss = 0.75 * np.exp(-epoch * 0.1 * (1 + skill)) + 0.03 * rng.random(EPOCHS)
        table = pd.DataFrame({"epoch": epoch, "phase": np.where(epoch < 4, "head", "fine_tune"), "learning_rate": 1e-3})
        table = table.assign(loss=loss, accuracy=1 - loss / 1.6, seconds=2.0)
        table["val_loss"] = loss + 0.012 * epoch * (1.2 - skill) + 0.04 * rng.random(EPOCHS)
        write_table(folder / "history.csv", table.assign(val_accuracy=1 - table["val_loss"] / 1.6))


def write_manifest(root: Path, planned: PlannedRun) -> None:
    """manifest.json as a run writes it that finished with the planned inputs."""
    deep = planned.is_deep
    facts = {"device": "cpu", "seconds": 12.5 + 20 * deep, "peak_memory_mb": 900, "finished": "2026-01-02T03:04:05"}
    facts |= {"parameters": 2_300_000 * deep, "epochs_run": EPOCHS * deep, "best_epoch": 9 * deep, "weights": "none"}
    facts |= {"energy_kwh": 0.0005 + 0.002 * deep, "energy_basis": "estimated", "country": "DEU", "grid_g_per_kwh": 381}
    facts["git_commit"] = "0123456789abcdef"
    inputs = expect_inputs(planned, root)
    rewrite_manifest(root / planned.run.folder / "manifest.json", describe_run(inputs, **facts))
