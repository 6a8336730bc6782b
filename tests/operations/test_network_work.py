"""The table of networks: as counted from the networks themselves, and the work of a step that follows from it."""

import pytest

from covbench.experiment.config import read_config
from covbench.experiment.plan import plan_runs
from covbench.models.catalogue import DEFAULT_CLASSIFIERS
from covbench.operations.network_work import count_setting, read_table

SEGMENTERS = [name.split("_") for name in read_table() if "_" in name]
DECODERS = sorted({decoder for decoder, _ in SEGMENTERS})
ENCODERS = sorted({encoder for _, encoder in SEGMENTERS})
ONE_DECODER_EACH = [f"{DECODERS[place % 4]}_{encoder}" for place, encoder in enumerate(ENCODERS, start=1)]
SETTING = {
    "architecture": "mobilenetv2",
    "kind": "classification",
    "head": "average_pool",
    "phases": ["head_epochs", "fine_tune_epochs"],
    "precision": "float32",
    "threads": 4,
    "size": 224,
    "batch_size": 8,
}


@pytest.mark.parametrize("name", ["mobilenetv2", "pspnet_mobilenetv2"])
def test_the_table_holds_what_the_networks_themselves_have(name):
    from bench.count_work import count_network

    assert read_table()[name] == count_network(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DEFAULT_CLASSIFIERS, *ONE_DECODER_EACH])
def test_rows_of_every_backbone_and_every_decoder_are_what_their_networks_have(name):
    import keras

    from bench.count_work import count_network

    keras.utils.clear_session()
    assert read_table()[name] == count_network(name)


def test_multiply_adds_of_each_kind_of_layer_are_counted_by_hand():
    import keras

    from covbench.operations.time_answer import count_multiply_adds

    images = keras.Input((8, 8, 6))
    layers = [
        (keras.layers.Conv2D(4, 3, padding="same"), 8 * 8 * 3 * 3 * 6 * 4),
        (keras.layers.Conv2D(4, 3, strides=2, padding="same", groups=2), 4 * 4 * 3 * 3 * 3 * 4),
        (keras.layers.DepthwiseConv2D(3, padding="same"), 8 * 8 * 3 * 3 * 6),
        (keras.layers.SeparableConv2D(4, 3, padding="same"), 8 * 8 * (3 * 3 * 6 + 6 * 4)),
        (keras.layers.Conv2DTranspose(4, 4, strides=2, padding="same"), 8 * 8 * 4 * 4 * 6 * 4),
        (keras.layers.Dense(5), 8 * 8 * 6 * 5),
        (keras.layers.BatchNormalization(), 0),
    ]
    for layer, expected in layers:
        layer(images)
        assert count_multiply_adds(layer) == expected, layer.name


def test_every_network_of_the_study_is_in_the_table():
    plan = plan_runs(read_config())
    assert {planned.run.architecture for planned in plan if planned.is_deep} - set(read_table()) == set()


def test_work_grows_with_pixels_and_images_and_parameters_do_not():
    small, large = count_setting(SETTING), count_setting(SETTING | {"size": 448, "batch_size": 16})
    head = 1280 * 3 + 3
    assert large.forward.multiply_adds - 16 * head == 8 * (small.forward.multiply_adds - 8 * head)
    assert large.activations == 8 * small.activations
    assert (large.parameters, large.forward.layers) == (small.parameters, small.forward.layers)


def test_a_training_step_does_three_times_the_forward_pass_and_a_frozen_backbone_does_it_once():
    work, head = count_setting(SETTING), 1280 * 3 + 3
    assert work.fine_tune.multiply_adds == 3 * work.forward.multiply_adds
    assert work.head.multiply_adds == work.forward.multiply_adds + 2 * 8 * head
    assert (work.forward.trained, work.head.trained, work.fine_tune.trained) == (0, head, work.parameters)


def test_a_flattening_head_has_its_millions_of_parameters():
    work = count_setting(SETTING | {"head": "dense_512_64", "phases": ["head_epochs"]})
    assert work.head.trained == 7 * 7 * 1280 * 512 + 512 + 512 * 64 + 64 + 64 * 3 + 3
    assert work.fine_tune == (0, 0, 0, 0)


def test_a_network_that_sees_another_side_works_at_that_side():
    setting = SETTING | {"architecture": "pspnet_mobilenetv2", "head": "softmax_map", "size": 320, "batch_size": 1}
    network = read_table()["pspnet_mobilenetv2"]
    assert count_setting(setting).forward.multiply_adds == network.multiply_adds * (336 / network.side) ** 2


def test_a_network_that_is_not_in_the_table_is_unknown():
    assert count_setting(SETTING | {"architecture": "small_cnn"}) is None
