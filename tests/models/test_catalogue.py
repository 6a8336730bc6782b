"""The catalogue names what the study trained, and knows at which size a network really works."""

import subprocess
import sys
from pathlib import Path

import pytest

from covbench.models import catalogue, networks
from covbench.models.catalogue import (
    BASELINES,
    CLASSIFIERS,
    DEFAULT_CLASSIFIERS,
    DEFAULT_SEGMENTERS,
    SEGMENTERS,
    architecture,
    input_size,
    kind_of,
)
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError


def test_the_default_grid_is_the_studys_12_classifiers():
    assert set(DEFAULT_CLASSIFIERS) == {
        "vgg16", "vgg19", "resnet50", "resnet50v2", "resnet101v2", "nasnetlarge", "inceptionv3", "inceptionresnetv2",
        "efficientnetb0", "xception", "mobilenetv2", "densenet121",
    }  # fmt: skip


def test_every_classification_constructor_of_keras_applications_is_a_line_of_the_catalogue():
    import keras

    offered = {name for name, value in vars(keras.applications).items() if callable(value)}
    assert len(offered) == 40
    assert {entry.constructor for entry in CLASSIFIERS.values()} - {""} == offered


def test_every_file_in_networks_is_an_entry_under_its_own_name():
    files = {path.stem for path in Path(networks.__file__).parent.glob("[!_]*.py")}
    assert files == {name for name, entry in (CLASSIFIERS | SEGMENTERS).items() if not entry.constructor}
    assert files >= {"small_cnn", "small_resnet", "unet_small"}


def test_a_file_called_as_a_network_of_the_tables_is_refused(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, "vgg16", networks.NETWORKS["small_cnn"])
    with pytest.raises(CovbenchError, match=r"two networks are called 'vgg16'; rename the file"):
        catalogue._by_name(CLASSIFICATION, catalogue._STUDIED_CLASSIFIERS)


def test_the_default_grid_is_the_studys_24_segmenters():
    encoders = {"vgg19", "densenet121", "seresnet101", "inceptionresnetv2", "efficientnetb3", "mobilenetv2"}
    expected = {f"{decoder}_{encoder}" for decoder in ("unet", "pspnet", "linknet", "fpn") for encoder in encoders}
    assert len(DEFAULT_SEGMENTERS) == 24
    assert set(DEFAULT_SEGMENTERS) == expected


def test_further_encoders_and_the_small_unet_stand_outside_the_default_grid():
    others = set(SEGMENTERS) - set(DEFAULT_SEGMENTERS)
    assert {"unet_small", "unet_resnet34", "fpn_seresnext101", "linknet_efficientnetb0"} <= others
    assert len(others) == 4 * 3 + 1


def test_every_name_is_its_entrys_own_and_every_title_is_used_once_per_kind():
    for table in (CLASSIFIERS, SEGMENTERS):
        assert all(name == entry.name for name, entry in table.items())
        assert len({entry.title for entry in table.values()}) == len(table)
    assert not set(CLASSIFIERS) & set(SEGMENTERS)
    assert not set(BASELINES) & (set(CLASSIFIERS) | set(SEGMENTERS))


def test_weights_are_keyed_by_library_and_network():
    assert architecture("vgg16").weights == "keras/vgg16"
    assert architecture("pspnet_vgg19").weights == "sm/vgg19"
    assert architecture("small_cnn").weights is None
    assert architecture("unet_small").weights is None


def test_an_unknown_name_is_refused_with_the_nearest_known():
    with pytest.raises(CovbenchError, match=r"'mobilnetv2'.*mobilenetv2"):
        architecture("mobilnetv2")
    with pytest.raises(CovbenchError, match=r"'empty_masks'.*empty_mask"):
        kind_of("empty_masks")


def test_kinds_cover_architectures_and_baselines():
    assert kind_of("vgg16") == CLASSIFICATION
    assert kind_of("unet_small") == SEGMENTATION
    assert kind_of("hog_logistic") == CLASSIFICATION
    assert kind_of("lung_threshold") == SEGMENTATION


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("vgg16", 224, 224),
        ("vgg16", 20, 32),
        ("inceptionv3", 64, 75),
        ("xception", 64, 71),
        ("unet_vgg19", 320, 320),
        ("unet_vgg19", 100, 96),
        ("unet_vgg19", 112, 128),  # half way between 96 and 128: up
        ("pspnet_vgg19", 320, 336),
        ("pspnet_vgg19", 256, 240),
        ("pspnet_vgg19", 512, 528),
        ("unet_inceptionresnetv2", 64, 96),  # no less than 75, and a multiple of 32
        ("unet_small", 96, 96),
    ],
)
def test_a_network_works_at_the_nearest_size_that_it_can(name, size, expected):
    assert input_size(name, size) == expected


def test_a_size_without_pixels_is_refused():
    with pytest.raises(CovbenchError, match="0 pixels"):
        input_size("vgg16", 0)


def test_the_catalogue_loads_no_deep_learning_library():
    code = "import sys, covbench.models.catalogue; print({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
