"""What the scores of a table do not share is said beside the table."""

import pandas as pd

from covbench.reporting.origins import describe_origins, name_model

RUN = {"family": "deep", "state": "scored", "architecture": "vgg16", "weights": "keras_vgg16.h5"}
RUN |= {"device": "cpu", "cpu": "EPYC", "instruction_set": "AVX512_CORE"}


def describe(*changes):
    return dict(describe_origins(pd.DataFrame([RUN | change for change in changes])))


def test_published_weights_on_one_machine_need_no_word():
    assert describe({}, {"architecture": "resnet50"}) == {}


def test_weights_that_nobody_published_are_named_with_their_networks():
    file = {"architecture": "mobilenetv2", "weights": "mobilenetv2_dequantised.h5"}
    assert describe({}, file, file) == {
        "weights": "mobilenetv2: trained from mobilenetv2_dequantised.h5, not from the published ImageNet file."
    }
    assert describe({}, file | {"state": "stale"}) == {}


def test_several_machines_are_counted_but_for_baselines():
    baseline = {"family": "baseline", "device": "cpu", "cpu": "Xeon", "instruction_set": "AVX2"}
    assert describe({}, baseline) == {}
    found = describe({}, {}, {"instruction_set": "AVX2"}, {"device": "NVIDIA A100"})
    assert found["machines"].endswith("Runs: 2 on EPYC (AVX512_CORE); 1 on EPYC (AVX2); 1 on NVIDIA A100.")


def test_a_models_name_carries_its_weights_only_if_they_are_a_substitute():
    assert name_model("mobilenetv2", "mobilenetv2_dequantised.h5") == "mobilenetv2 (mobilenetv2_dequantised.h5)"
    assert name_model("mobilenetv2", "keras_mobilenetv2.h5") == "mobilenetv2"
    assert name_model("majority", "none") == "majority"


def test_a_contestant_that_has_learned_from_other_images_cannot_exclude_leaks():
    other = {"family": "external", "architecture": "foundation", "training_data": "40,000 X-rays of one hospital"}
    assert describe({"training_data": ""}, other) == {
        "leaks cannot be excluded": "foundation: has learned from other images than the split's: "
        "40,000 X-rays of one hospital."
    }
    assert describe({"training_data": ""}, other | {"state": "stale"}) == {}
