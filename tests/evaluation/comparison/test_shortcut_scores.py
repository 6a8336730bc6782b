"""What predicts a label without the picture: the source, and the file with its colour mode, with intervals."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from covbench.audit.shortcuts import describe_files, predict_from_shortcuts
from covbench.evaluation.comparison.shortcut_scores import estimate_auroc, tabulate_guesses
from covbench.schema import CLASSIFICATION, SEGMENTATION, Task

TWO = Task("two", CLASSIFICATION, ("healthy", "sick"), positive="sick")
PIXELS = Task("pixels", SEGMENTATION, ("background", "lesion"), lesions=("lesion",))


def predict(sources, labels, groups=None, modes="L", task=TWO):
    """The guesses from sources and from files of one size."""
    names = [f"{number}.png" for number in range(len(labels))]
    rows = pd.DataFrame({"image_id": names, "patient_id": names, "source": sources, "label": labels, "path": names})
    files = pd.DataFrame({"suffix": ".png", "height": 512, "width": 512, "mode": modes}, index=rows.index)
    return predict_from_shortcuts(rows, files, pd.Series(names if groups is None else groups), task)


def score(sources, labels, groups=None, modes="L", task=TWO):
    return [tabulate_guesses(guesses, task) for guesses in predict(sources, labels, groups, modes, task)]


def test_a_source_that_gives_the_class_away_is_perfect_and_one_that_does_not_is_chance():
    labels = ["healthy", "sick"] * 40
    source, file = score(["north", "south"] * 40, labels)
    assert (source["balanced_accuracy"], source["auroc"], source["chance"]) == (1.0, 1.0, 0.5)
    assert (source["images"], source["groups"], source["auroc_high"]) == (80, 80, 1.0)
    assert source["auroc_low"] == pytest.approx(0.025 ** (1 / 40))  # 40 pairs, all in order
    assert (file["auroc"], file["note"]) == (None, "the same for every image")
    source, _ = score(["north", "north", "south", "south"] * 20, labels)
    assert source["auroc"] == pytest.approx(0.5, abs=0.12)
    assert source["auroc_low"] < 0.5


def test_the_scores_are_those_of_scikit_learn_on_the_same_guesses():
    sources = ["north"] * 30 + ["south"] * 30 + ["west"] * 20
    labels = ["sick"] * 25 + ["healthy"] * 5 + ["healthy"] * 20 + ["sick"] * 10 + ["healthy", "sick"] * 10
    told = predict(sources, labels)[0]
    found, truth = tabulate_guesses(told, TWO), np.array(labels) == "sick"
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, told.predictions["p_1"]))
    called = told.predictions["p_1"] > told.predictions["p_0"]
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called))
    assert 0.5 < found["auroc_low"] < found["auroc"] < found["auroc_high"] < 1


def test_groups_stay_together_so_that_a_source_of_one_group_each_predicts_nothing():
    labels = np.repeat(["healthy", "sick"] * 10, 6)
    hospitals = np.repeat([f"h{i}" for i in range(20)], 6)
    source, _ = score(hospitals, labels, hospitals)
    assert source["auroc"] == pytest.approx(0.5, abs=0.01)  # each hospital is new to the model that judges it


def test_a_dataset_without_sources_says_so_instead_of_a_number():
    source, _ = score([""] * 40, ["healthy", "sick"] * 20)
    assert (source["balanced_accuracy"], source["note"]) == (None, "the dataset names no sources")
    source, _ = score(["north"] * 4, [""] * 4, task=PIXELS)
    assert source["note"] == "pixels are labelled, not images"


def test_pictures_of_which_only_one_class_is_in_colour_give_the_class_away(tmp_path):
    labels = np.array(["healthy", "sick"] * 60)
    coloured = (labels == "sick") & (np.arange(120) % 3 == 1)  # a third of the sick, and none of the healthy
    names = [f"{number}.png" for number in range(120)]
    for name, colour in zip(names, coloured, strict=True):
        Image.new("RGB" if colour else "RGBA", (8, 8)).save(tmp_path / name)
    rows = pd.DataFrame({"image_id": names, "patient_id": names, "source": "", "label": labels, "path": names})
    files = describe_files(rows, np.full((120, 2), 8), tmp_path)
    assert files["mode"].tolist() == ["RGB" if colour else "RGBA" for colour in coloured]
    file = tabulate_guesses(predict_from_shortcuts(rows, files, pd.Series(names), TWO)[1], TWO)
    assert file["distinct"] == 2
    hits = coloured[labels == "sick"].mean()
    assert file["auroc"] == pytest.approx(0.5 + hits / 2, abs=0.05)  # the coloured are told apart, the rest are tied
    assert file["auroc_low"] > 0.5


def test_a_perfect_auroc_has_an_exact_interval_and_any_other_that_of_its_draws():
    still = np.ones((2, 100))
    assert estimate_auroc(np.ones(2), still, 20).low == pytest.approx(0.025 ** (1 / 10))
    moved = np.clip(np.random.default_rng(0).normal(0.8, 0.02, (1, 1000)), 0, 1)
    found = estimate_auroc(np.array([0.8]), moved, 50)
    assert (found.low, found.high) == (pytest.approx(0.757, abs=0.005), pytest.approx(0.838, abs=0.005))
