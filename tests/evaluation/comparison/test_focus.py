"""Agreement of maps with lungs and lesions: means over images and seeds, with chance and intervals."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.focus import NO_ANSWER, NO_MASK, compare_focus, score_focus
from covbench.evaluation.comparison.intervals import BOTH, PATIENTS
from covbench.evaluation.comparison.tables import COMPARE_TABLES


def look(rate, images=120, seeds=(0, 1, 2), region="lungs", per_group=2):
    """Maps that hit at a rate, with a chance of 0.4 and an energy of half the rate."""
    rng, tables = np.random.default_rng(7), []
    for seed in seeds:
        hit = rng.random(images) < rate
        table = pd.DataFrame({"image_id": [f"i{number}" for number in range(images)], "seed": seed, "hit": hit})
        table["group"] = [f"g{number // per_group}" for number in range(images)]
        table = table.assign(truth=1, predicted=1, region=region, chance=0.4, energy=hit / 2, area=0.3)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def test_hits_and_energy_are_means_over_images_and_seeds():
    focus = look(0.8)
    row = score_focus(focus, "lungs")
    assert row["hits"] == pytest.approx(focus["hit"].mean())
    assert row["energy"] == pytest.approx(focus["energy"].mean())
    assert row["gain"] == pytest.approx(row["hits"] - 0.4)
    assert (row["chance"], row["area"]) == (pytest.approx(0.4), pytest.approx(0.3))
    assert (row["images"], row["groups"], row["seeds"], row["left_out"]) == (120, 60, 3, 0)
    assert row["hits_low"] < row["hits"] < row["hits_high"]
    assert 0 < row["gain_low"] < row["gain"] < row["gain_high"]
    assert row["covers"] == BOTH


def test_maps_that_hit_by_chance_gain_nothing():
    row = score_focus(look(0.4), "lungs")
    assert row["gain_low"] < 0 < row["gain_high"]


def test_a_group_with_many_images_makes_the_interval_wider():
    single, crowded = (score_focus(look(0.7, seeds=(0,), per_group=size), "lungs") for size in (1, 12))
    spread = [row["hits_high"] - row["hits_low"] for row in (single, crowded)]
    assert spread[0] < spread[1]
    assert crowded["covers"] == PATIENTS
    assert "1 seed is too few" in crowded["reason"]


def test_lesions_explain_right_answers_alone():
    focus = look(0.8, region="lesions")
    focus.loc[focus.index[:10], "predicted"] = 0
    row = score_focus(focus, "lesions")
    assert row["left_out"] == 10
    assert row["hits"] == pytest.approx(focus.iloc[10:].groupby("seed")["hit"].mean().mean())


def test_a_region_without_masks_or_right_answers_says_so():
    focus = look(0.8, region="lesions").assign(predicted=0)
    assert score_focus(focus, "lesions")["reason"] == NO_ANSWER
    assert score_focus(focus, "lungs")["reason"] == NO_MASK


def test_without_a_network_the_table_is_empty():
    assert list(compare_focus([])) == list(COMPARE_TABLES["focus"])
