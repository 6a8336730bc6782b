"""Average what contestants have predicted: probabilities, or votes where only masks are stored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.experiment.ensembles import Ensemble
from covbench.experiment.plan import ENSEMBLE
from covbench.experiment.provenance import describe_run, gather_inputs
from covbench.schema import LABELS_ONLY, PREDICTION_COLUMNS, CovbenchError, Run
from covbench.system.files import write_json, write_predictions
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
    options = {"members": list(ensemble.members), "weights": list(ensemble.weights)}
    inputs = gather_inputs(run, options | {"mean_of_seeds": ensemble.mean_of_seeds}, files, {}, family=ENSEMBLE)
    tables = {Path(name).parent: pd.read_parquet(path) for name, path in files.items() if name.endswith(".parquet")}
    tables = {name: table for name, table in tables.items() if len(name.parts) == 2}
    weights = np.array([ensemble.weights[ensemble.members.index(name.parts[0])] for name in tables])
    rows, places = match_rows(run, list(tables.values()))
    masks: dict[str, np.ndarray] = {}
    if "masks" in outputs:
        stored = [np.load(files[f"{name}/predicted_masks.npz"])["masks"] for name in tables]
        numbers, unsure = vote([maps[place] for maps, place in zip(stored, places, strict=True)], weights)
        masks = {"masks": numbers, "unsure": np.packbits(unsure, axis=-1)}
    else:
        names = [str(name) for name in rows if str(name).startswith("p_")]
        values = [table.iloc[place][names].to_numpy() for table, place in zip(tables.values(), places, strict=True)]
        rows[names] = np.average(np.stack(values).astype(np.float64), axis=0, weights=weights).astype(np.float32)
    write_predictions(rows.assign(seed=run.seed), masks, outputs)
    facts = {"device": "cpu", "threads": BASELINE_THREADS, "weights": "", "parameters": None}
    facts |= {"seconds": round(time.monotonic() - started, 1), "epochs_run": 0, "best_epoch": 0}
    write_json(outputs["manifest"], describe_run(inputs, **facts))


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
                f"{run.folder}: its members have not predicted the same test images. An ensemble with `seeds: mean` "
                "needs a task whose seeds share their test fold; write `seeds: each` for the others"
            )
        places.append(place)
    kept = [name for name in first if name in PREDICTION_COLUMNS or str(name).startswith("p_")]
    return first[[name for name in kept if name != LABELS_ONLY]].copy(), places


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
