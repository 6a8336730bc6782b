"""Datasets that look different are told apart, and those that look alike are not."""

import numpy as np
import pandas as pd
import pytest

from covbench.audit.dataset_probe import ProbedDataset, probe_datasets
from covbench.audit.duplicates import DUPLICATE_COLUMNS, Thumbnails
from covbench.evaluation.comparison.shortcut_scores import tabulate_probe

NAMES = ["east", "west"]


def draw_dataset(name, seed, striped, count=40):
    """Noise of 128 pixels, with upright stripes if striped; the first row is excluded and has no thumbnail."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 128, (count, 128, 128)).astype(np.uint8)
    if striped:
        images[:, :, ::8] += 100
    ids = [f"{number}.png" for number in range(count + 1)]
    rows = pd.DataFrame({"image_id": ids, "patient_id": ids, "source": "", "excluded": np.arange(count + 1) == 0})
    nothing = np.zeros((count, 13, 32), np.uint8)
    return ProbedDataset(name, rows, Thumbnails(np.array(ids[1:]), images, nothing, np.full((count, 2), 128)))


def duplicates_of(*pairs):
    table = pd.DataFrame(pairs, columns=["image_id", "other_id"])
    return {("east", "west"): table.reindex(columns=list(DUPLICATE_COLUMNS))}


def probe(striped, duplicates):
    return probe_datasets([draw_dataset("east", 0, False), draw_dataset("west", 1, striped)], duplicates)


def test_datasets_that_look_different_are_told_apart_and_others_are_not():
    row = tabulate_probe(probe(True, duplicates_of()), NAMES)
    assert (row["balanced_accuracy"], row["images"], row["groups"], row["datasets"]) == (1.0, 80, 80, "east west")
    alike = tabulate_probe(probe(False, duplicates_of()), NAMES)
    assert alike["balanced_accuracy"] == pytest.approx(0.5, abs=0.2)
    assert alike["low"] < 0.5 < alike["high"]


def test_duplicates_across_datasets_stay_in_one_group_and_equal_names_do_not():
    guesses = probe(True, duplicates_of(("1.png", "2.png"), ("3.png", "4.png")))
    assert guesses.groups == 78
    rows = guesses.predictions.set_index("image_id")["group"]
    assert rows["east/1.png"] == rows["west/2.png"] != rows["west/1.png"]


def test_too_few_groups_of_a_dataset_give_a_reason_instead_of_a_score():
    few = probe_datasets([draw_dataset("east", 0, False, count=1), draw_dataset("west", 1, True)], duplicates_of())
    row = tabulate_probe(few, NAMES)
    assert row["note"] == "too few groups of a dataset to cross-validate"
    assert "balanced_accuracy" not in row
