"""The learning curves on the page of a model."""

import json

import pandas as pd

from covbench.reporting.sections.learning_curves import describe_curves


def record(epochs, fine_tune):
    phases = ["head" if epoch < fine_tune else "fine_tune" for epoch in range(epochs)]
    table = pd.DataFrame({"epoch": range(epochs), "phase": phases, "loss": 1.0, "accuracy": 0.5})
    return table.assign(val_loss=[1.5] * (epochs - 1) + [None], val_accuracy=0.4)


def test_seeds_that_stopped_at_different_epochs_share_one_axis():
    values = describe_curves({0: record(2, 2), 1: record(4, 2)})
    assert values["epochs"] == [0, 1, 2, 3]
    assert values["fine_tune"] == 2
    loss, accuracy = values["panels"]
    assert [line["label"] for line in loss["lines"]] == [
        "training, seed 0",
        "validation, seed 0",
        "training, seed 1",
        "validation, seed 1",
    ]
    assert loss["lines"][1]["values"] == [1.5, None, None, None]
    assert accuracy["lines"][2]["values"] == [0.5] * 4
    assert json.dumps(values, allow_nan=False)


def test_a_training_of_one_phase_has_no_mark():
    assert describe_curves({0: record(3, 3)})["fine_tune"] is None
    assert describe_curves({0: record(3, 0)})["fine_tune"] is None


def test_the_only_seed_needs_no_number():
    assert describe_curves({7: record(3, 0)})["panels"][0]["lines"][0]["label"] == "training"
