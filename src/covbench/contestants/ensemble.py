"""Average what contestants have predicted: probabilities, or votes where only masks are stored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.external import COUNTS
from covbench.experiment.ensembles import Ensemble
from covbench.experiment.plan import ENSEMBLE
from covbench.experiment.provenance import describe_run, gather_inputs
from covbench.experiment.records import read_record
from covbench.experiment.run_files import describe_external
from covbench.schema import PREDICTION_COLUMNS, CovbenchError, Run
from covbench.system.files import write_json, write_predictions
from covbench.system.processors import describe_processor
from covbench.system.threads import BASELINE_THREADS

KEYS = ["fold", "image_id", "copy"]


def average_run(run: Run, ensemble: Ensemble, files: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Write the predictions, masks and manifest of an ensemble.

    Args:
        run: its architecture is the name of the ensemble.
        ensemble: its members.
        files: everything that is read, by name, as experiment.plan.InputFiles.by_name.
        outputs: paths by `manifest`, `predictions` and, where pixels are labelled, `masks`.

    Raises:
        CovbenchError: the members have not predicted the same images.
    """
    started = time.monotonic()
    inputs = gather_inputs(run, asdict(ensemble), files, {}, family=ENSEMBLE)
    tables = {Path(name).parent: pd.read_parquet(path) for name, path in files.items() if name.endswith(".parquet")}
    weights = np.array([ensemble.weights[ensemble.members.index(name.parts[0])] for name in tables])
    stored = [np.load(files[f"{name}/predicted_masks.npz"])["masks"] for name in tables if "masks" in outputs]
    rows, masks = combine(run, list(tables.values()), stored, weights)
    write_predictions(rows.assign(seed=run.seed), masks, outputs)
    facts = {"device": "cpu", "threads": BASELINE_THREADS, "weights": "", "parameters": None}
    facts |= {"seconds": round(time.monotonic() - started, 1), "epochs_run": 0, "best_epoch": 0}
    write_json(outputs["manifest"], describe_run(inputs, **facts))


def combine(
    run: Run, tables: Sequence[pd.DataFrame], stored: Sequence[np.ndarray], weights: np.ndarray
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Average the probabilities of members, or let their masks vote.

    Args:
        run: the ensemble, for messages.
        tables: schema.PREDICTION_COLUMNS and probabilities, one for each member and seed.
        stored: class numbers of each, uint8, (R, H, W), in the order of its rows; empty for a classification.
        weights: float64, (M,), of the tables.

    Returns:
        The rows that all members have predicted, and the arrays of predicted_masks.npz by name.

    Raises:
        CovbenchError: the members have not predicted the same images.
    """
    rows, places = match_rows(run, tables)
    if not stored:
        return average_rows(rows, tables, places, weights), {}
    numbers, unsure = vote([maps[place] for maps, place in zip(stored, places, strict=True)], weights)
    return rows, {"masks": numbers, "unsure": np.packbits(unsure, axis=-1)}


def match_rows(run: Run, tables: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Match the rows of members: the test fold, and the validation fold where all of them have predicted it.

    Args:
        run: the ensemble, for messages.
        tables: schema.PREDICTION_COLUMNS and probabilities, one for each member and seed.

    Returns:
        The rows of the first table that are kept, and for each table the places of the same rows.

    Raises:
        CovbenchError: a member has not predicted a test image of another one.
    """
    folds = ["val", "test"] if all((table["fold"] == "val").any() for table in tables) else ["test"]
    first = tables[0][tables[0]["fold"].isin(folds)].reset_index(drop=True)
    wanted = pd.MultiIndex.from_frame(first[KEYS])
    places = []
    for table in tables:
        there = pd.MultiIndex.from_frame(table[KEYS])
        place = there.get_indexer(wanted)
        if (place < 0).any() or (table["fold"].isin(folds)).sum() != len(first):
            raise CovbenchError(
                f"{run.folder}: its members have not predicted the same test images; start snakemake, which runs again "
                "what is stale"
            )
        places.append(place)
    kept = [name for name in first if name in PREDICTION_COLUMNS or str(name).startswith("p_")]
    return first[kept].copy(), places


def vote(maps: Sequence[np.ndarray], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the class with the most votes at each pixel; of equal ones, that with the lowest number.

    Args:
        maps: class numbers of each member, uint8, (R, H, W).
        weights: float64, (M,), of its votes.

    Returns:
        Class numbers, uint8, (R, H, W), and bool, (R, H, W), where no class has more than half of the votes.
    """
    chosen = np.zeros_like(maps[0])
    most = np.zeros(maps[0].shape, np.float32)
    for number in range(int(max(part.max(initial=0) for part in maps)) + 1):
        votes = sum((part == number) * np.float32(weight) for part, weight in zip(maps, weights, strict=True))
        better = votes > most
        chosen[better] = number
        most = np.maximum(most, votes)
    return chosen, most <= weights.sum() / 2


def average_external(
    ensemble: Ensemble,
    runs: Mapping[Run, Sequence[int]],
    files: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str],
) -> None:
    """Write what an ensemble predicts for another dataset.

    Args:
        ensemble: its members.
        runs: the ensemble's own runs, and the seeds of the members that each of them averages.
        files: paths by kind, in the order of the members: `members` are tables of predictions, `described` their
            manifests, `masks` only where pixels are labelled; and `manifests` of the ensemble's own runs.
        outputs: paths as of training.predict_external.predict_external.
    """
    tables = [pd.read_parquet(path) for path in files["members"]]
    stored = [np.load(path)["masks"] for path in files.get("masks", ())]
    weights = np.repeat(ensemble.weights, len(next(iter(runs.values()))))
    parts = []
    for run, seeds in runs.items():
        picked = [(number, (table["seed"] == seed).to_numpy()) for number, table in enumerate(tables) for seed in seeds]
        chosen = [tables[number][mine].reset_index(drop=True) for number, mine in picked]
        rows, masks = combine(run, chosen, [stored[number][mine] for number, mine in picked if stored], weights)
        parts.append((rows.assign(seed=run.seed), masks))
    arrays = {"masks": np.concatenate([masks["masks"] for _, masks in parts])} if stored else {}
    write_predictions(pd.concat([rows for rows, _ in parts], ignore_index=True), arrays, outputs)
    known = read_record(Path(files["described"][0]))
    counts = {name: known[name] for name in COUNTS}
    folders = [Path(path).parent for path in files["manifests"]]
    machine = {"device": "cpu", **describe_processor(), "threads": BASELINE_THREADS}
    write_json(outputs["manifest"], describe_external(list(runs), folders, known["external"], counts, **machine))


def average_rows(
    rows: pd.DataFrame, tables: Sequence[pd.DataFrame], places: Sequence[np.ndarray], weights: np.ndarray
) -> pd.DataFrame:
    """Average the probabilities of the same rows in several tables.

    Args:
        rows: the rows that are kept, with p_0 ….
        tables: one for each member and seed.
        places: of these rows in each table.
        weights: float64, (M,), of the tables.

    Returns:
        The rows with the averages, float32.
    """
    names = [str(name) for name in rows if str(name).startswith("p_")]
    values = [table.iloc[place][names].to_numpy() for table, place in zip(tables, places, strict=True)]
    rows[names] = np.average(np.stack(values).astype(np.float64), axis=0, weights=weights).astype(np.float32)
    return rows
