"""Steps of networks that were not timed, estimated from those that were."""

import numpy as np
import pytest

from covbench.operations.network_work import count_setting
from covbench.operations.step_model import StepModel, describe_error, fit_model, leave_one_out

NAMES = ("mobilenetv2", "vgg16", "resnet50", "densenet121", "efficientnetb0")
RATES = StepModel(
    steps=np.array([2e-11, 1e-10, 2e-4, 3e-9]),
    setup=np.array([2.0, 0.02]),
    memory=np.array([900.0, 1.5, 4.0]),
    gpu=np.zeros(3),
)


def describe(name, head="average_pool"):
    return {
        "architecture": name,
        "kind": "classification",
        "head": head,
        "phases": ["head_epochs", "fine_tune_epochs"],
        "precision": "float32",
        "threads": 4,
        "size": 224,
        "batch_size": 8,
    }


def keep(name, **options):
    """A timing of a machine with exactly these rates."""
    setting = describe(name, **options)
    return {"setting": setting, "timing": RATES.estimate(count_setting(setting))}


def test_the_rates_of_a_machine_are_found_and_give_the_steps_of_another_network():
    model = fit_model([keep("mobilenetv2", head="dense_512_64"), *(keep(name) for name in NAMES[1:])])
    np.testing.assert_allclose(model.steps, RATES.steps, rtol=1e-6)
    work = count_setting(describe("nasnetlarge"))
    assert model.estimate(work) == pytest.approx(RATES.estimate(work), rel=1e-6)


def test_rates_are_never_negative():
    kept = [keep(name) for name in NAMES]
    kept[1]["timing"]["fine_tune"] /= 50
    model = fit_model(kept)
    assert all((rates >= 0).all() for rates in (model.steps, model.setup, model.memory, model.gpu))


def test_two_networks_do_not_say_what_others_cost():
    assert fit_model([keep("mobilenetv2"), keep("mobilenetv2", head="dense_512_64"), keep("vgg16")]) is None
    assert fit_model([keep("mobilenetv2"), keep("vgg16"), {"setting": describe("small_cnn"), "timing": {}}]) is None


def test_each_network_is_estimated_from_the_others_alone():
    kept = [keep(name) for name in NAMES]
    assert leave_one_out(kept) == pytest.approx(dict.fromkeys(NAMES, 1.0), rel=1e-3)
    kept[0]["timing"] = {name: 2 * value for name, value in kept[0]["timing"].items()}
    assert leave_one_out(kept)["mobilenetv2"] == pytest.approx(0.5, rel=1e-3)
    assert leave_one_out(kept[:3]) == {}  # two others are too few


def test_the_error_is_said_in_a_sentence():
    quotients = {"a": 1.1, "b": 0.5, "c": 1.2, "d": 0.9, "e": 4.0}
    assert describe_error(quotients) == "within a factor of 2.0 for 4 of 5 networks; e: 4.0"
