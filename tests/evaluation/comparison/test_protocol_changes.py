import numpy as np
import pytest

from covbench.evaluation.comparison.contestants import Contestant
from covbench.evaluation.comparison.intervals import BOTH, PATIENTS
from covbench.evaluation.comparison.protocol_changes import SPLIT, compare_protocols
from covbench.protocols import AUDITED, PUBLISHED
from covbench.schema import CLASSIFICATION, Run
from tests.run_records import score_record

THREE = {PUBLISHED: [0.90, 0.91, 0.92], SPLIT: [0.80, 0.81, 0.82], AUDITED: [0.85, 0.86, 0.87]}


def contestant(protocol, scores, draws):
    facts = {"kind": CLASSIFICATION, "patients": 50}
    runs = {seed: score_record(Run("covid_ct", protocol, "vgg16", seed), facts) for seed in range(len(scores))}
    return Contestant("vgg16", "deep", runs, {"auroc": np.array(scores)}, {"auroc": draws}, {"auroc": 50})


def change(**scores):
    """Rows of protocols whose draws share the patients, with a little noise of each seed."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, 4000)
    entered = {}
    for protocol, values in scores.items():
        draws = np.array(values)[:, None] + shared + rng.normal(0, 0.001, (len(values), 4000))
        entered[protocol] = {"vgg16": contestant(protocol, values, draws)}
    return list(compare_protocols([], entered))


def width(row, step):
    return row[f"{step}_high"] - row[f"{step}_low"]


def test_the_steps_add_up_and_what_all_protocols_draw_alike_cancels_out():
    (row,) = change(**THREE)
    assert (row["split_change"], row["recipe_change"], row["change"]) == pytest.approx((-0.10, 0.05, -0.05))
    assert width(row, "split_change") < 0.02  # patients alone vary by 0.1
    assert row["split_change_low"] < -0.10 < row["split_change_high"]
    assert (row["covers"], row["reason"]) == (BOTH, "")


def test_the_noise_of_training_widens_every_step_that_it_takes_part_in():
    (quiet,) = change(**THREE)
    (noisy,) = change(**THREE | {AUDITED: [0.80, 0.86, 0.92]})
    for step in ("recipe_change", "change"):
        assert width(noisy, step) > 4 * width(quiet, step)
    assert width(noisy, "split_change") == width(quiet, "split_change")


def test_a_protocol_that_is_not_planned_leaves_its_steps_empty():
    (row,) = change(**{name: THREE[name] for name in (PUBLISHED, AUDITED)})
    assert row["change"] == pytest.approx(-0.05)
    assert row["split_change"] is row["recipe_change"] is None
    assert row["mean_published_audited_split"] is None


def test_two_seeds_give_changes_of_trained_models_and_say_so():
    (row,) = change(**{name: scores[:2] for name, scores in THREE.items()})
    assert row["covers"] == PATIENTS
    assert "2 seeds are too few" in row["reason"]


def test_a_model_of_one_protocol_alone_has_no_change():
    assert change(**{PUBLISHED: THREE[PUBLISHED]}) == []


def test_a_score_without_any_error_has_a_change_but_no_interval_of_it():
    perfect = contestant(AUDITED, [1.0] * 3, np.ones((3, 500)))
    before = contestant(PUBLISHED, [0.8, 0.81, 0.82], np.random.default_rng(0).normal(0.81, 0.05, (3, 500)))
    (row,) = compare_protocols([], {PUBLISHED: {"vgg16": before}, AUDITED: {"vgg16": perfect}})
    assert row["change"] == pytest.approx(0.19)
    assert row["change_low"] is None
    assert row["reason"] == "no interval: one of the two scores has no error in any draw"
