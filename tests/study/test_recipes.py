"""The study's recipes of segmentation networks: counted in its notebooks, and what `published` makes of them."""

from collections import Counter

import pytest
import yaml

from covbench.data.datasets import TASKS
from covbench.experiment.config import check_config
from covbench.experiment.plan import plan_runs
from covbench.models.catalogue import SEGMENTERS
from covbench.protocols import AUDITED, PUBLISHED, protocol_options, split_rule
from covbench.study.recipes import FOUR_CLASSES, LESIONS
from covbench.system.files import PROJECT


def choices(recipes, decoder, choice):
    return Counter(getattr(recipe, choice) for name, recipe in recipes.items() if name.split("_")[0] == decoder)


@pytest.mark.parametrize(
    ("decoder", "sizes", "epochs", "best"),
    [
        ("unet", {320: 4, 384: 2}, {20: 4, 10: 2}, 3),
        ("pspnet", {384: 6}, {10: 6}, 0),
        ("linknet", {320: 1, 384: 5}, {20: 1, 10: 5}, 4),
        ("fpn", {256: 6}, {10: 6}, 0),
    ],
)
def test_binary_masks_have_six_networks_of_each_decoder(decoder, sizes, epochs, best):
    assert choices(LESIONS, decoder, "size") == sizes
    assert choices(LESIONS, decoder, "fine_tune_epochs") == epochs
    assert choices(LESIONS, decoder, "batch_size") == {8: 6}
    assert choices(LESIONS, decoder, "keep")["best"] == best


@pytest.mark.parametrize(
    ("decoder", "size", "epochs", "batches", "best"),
    [
        ("unet", 256, {25: 6}, {16: 4, 34: 2}, 5),
        ("linknet", 256, {25: 2, 22: 1, 20: 3}, {16: 5, 34: 1}, 1),
        ("pspnet", 384, {25: 2, 20: 4}, {16: 4, 34: 2}, 1),
        ("fpn", 256, {25: 1, 20: 3, 15: 2}, {16: 6}, 0),
    ],
)
def test_four_classes_have_six_networks_of_each_decoder(decoder, size, epochs, batches, best):
    assert choices(FOUR_CLASSES, decoder, "size") == {size: 6}
    assert choices(FOUR_CLASSES, decoder, "fine_tune_epochs") == epochs
    assert choices(FOUR_CLASSES, decoder, "batch_size") == batches
    assert choices(FOUR_CLASSES, decoder, "keep")["best"] == best


def test_the_whole_study_trains_each_recipe():
    config = check_config(yaml.safe_load((PROJECT / "config" / "config.yaml").read_text()))
    planned = {(each.run.task, each.run.architecture) for each in plan_runs(config) if each.is_deep}
    assert {*LESIONS, *FOUR_CLASSES} <= {*SEGMENTERS}
    assert {("zenodo_infection", name) for name in LESIONS} <= planned
    assert {("zenodo_multiclass", name) for name in FOUR_CLASSES} <= planned


def test_published_takes_the_recipe_of_the_network_and_the_thesis_for_others():
    lesions, classes, medseg = (TASKS[name] for name in ("zenodo_infection", "zenodo_multiclass", "medseg_multiclass"))
    unet = protocol_options(PUBLISHED, lesions, "unet_vgg19")
    assert (unet.size, unet.batch_size, unet.fine_tune_epochs, unet.keep) == (384, 8, 10, "best")
    pspnet = protocol_options(PUBLISHED, classes, "pspnet_vgg19")
    assert (pspnet.size, pspnet.batch_size, pspnet.fine_tune_epochs, pspnet.keep) == (384, 34, 25, "last")
    other = protocol_options(PUBLISHED, lesions, "unet_small")
    assert (other.size, other.batch_size, other.fine_tune_epochs, other.keep) == (320, 8, 20, "last")
    assert protocol_options(PUBLISHED, medseg, "pspnet_vgg19").size == 512


def test_published_masks_share_what_every_section_has():
    for name, head, loss in (
        ("zenodo_infection", "background_sigmoid", "background_dice_focal"),
        ("zenodo_multiclass", "softmax_map", "combo"),
        ("medseg_multiclass", "softmax_map", "combo"),
    ):
        options = protocol_options(PUBLISHED, TASKS[name], "fpn_vgg19")
        assert (options.head, options.loss, options.scaling) == (head, loss, "raw")
        assert (options.shuffle, options.plateau, options.patience, options.class_weights) == (False, True, 0, False)
        assert (options.fine_tune_rate, options.decay, options.head_epochs) == (1e-4, 1.0, 0)


def test_audited_masks_have_one_recipe_for_all():
    for name in ("zenodo_infection", "zenodo_multiclass", "medseg_multiclass"):
        options = {protocol_options(AUDITED, TASKS[name], network) for network in FOUR_CLASSES}
        assert len(options) == 1
        assert options.pop().head == "softmax_map"


def test_published_binary_masks_are_tested_on_twenty_slices():
    rule = split_rule(PUBLISHED, TASKS["zenodo_infection"])
    assert [share * rule.pool for share in rule.fractions] == pytest.approx([500, 300, 20])
