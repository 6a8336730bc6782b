"""The table `published`: each value of the study beside the network and metric of ours that are its counterpart."""

import pandas as pd
import pytest

from covbench.evaluation.comparison.replication import set_beside
from covbench.schema import COMPARE_TABLES
from tests.evaluation.comparison.test_counterparts import VALUES

SCORED = {"seeds": 3, "sd": 0.01, "groups": 300, "se": 0.012, "run_se": 0.018, "training_sd": 0.01}


def summarize(*rows):
    """A table `summary`. rows: task, protocol, architecture, metric, mean."""
    keys = ["task", "protocol", "architecture", "metric", "mean"]
    table = pd.DataFrame(rows, columns=keys).assign(low=0.1, high=0.9, **SCORED)
    return table.reindex(columns=list(COMPARE_TABLES["summary"]))


def compare(task, model, summary, images=100.0):
    values = VALUES[VALUES["task"] == task]
    named = values["architecture"].str.cat(values["backbone"], sep="_").str.rstrip("_")
    networks = summary[["task", "protocol", "architecture"]].drop_duplicates().assign(images=images)
    changes = pd.DataFrame(columns=list(COMPARE_TABLES["protocols"]))
    return set_beside(values[named == model], summary, changes, networks).set_index("metric")


def test_the_table_has_the_agreed_columns():
    found = compare("covid_ct", "vgg16", summarize(("covid_ct", "published", "vgg16", "accuracy", 0.9)))
    assert ["metric", *found] == ["metric", *(name for name in COMPARE_TABLES["published"] if name != "metric")]
    assert len(found) == 4


def test_a_value_with_a_counterpart_gets_a_verdict_and_the_interval_of_the_difference():
    rows = compare("sarscov2_ct", "vgg16", summarize(("sarscov2_ct", "published", "vgg16", "accuracy", 0.9)), 621)
    accuracy = rows.loc["accuracy"]
    assert accuracy["difference"] == pytest.approx(0.90 - 0.98)
    assert accuracy["difference_low"] < accuracy["difference"] < accuracy["difference_high"]
    assert accuracy["verdict"] in ("matches", "differs")
    assert rows.loc["recall", "why"] == "no finished run under published"


def test_exchanged_precision_and_recall_are_set_beside_sensitivity_and_precision():
    found = compare("sarscov2_ct", "vgg16", summarize(("sarscov2_ct", "published", "vgg16", "sensitivity", 0.95)))
    assert found["our_metric"].to_dict() == {
        "accuracy": "accuracy",
        "precision": "sensitivity",
        "recall": "precision",
        "f1": "f1",
    }
    assert found.loc["precision", "value_published"] == 0.95
    assert "exchanged" in found.loc["precision", "note"]


def test_other_images_are_untestable_with_the_nearest_comparison_beside_them():
    found = compare("covid_ct", "vgg16", summarize(("covid_ct", "published", "vgg16", "accuracy", 0.88))).loc[
        "accuracy"
    ]
    assert found["verdict"] == "untestable"
    assert "544 images" in found["why"]
    assert found["difference"] == pytest.approx(-0.02)
    assert found["difference_low"] < found["difference"] < found["difference_high"]


def test_the_row_resnet50_of_radiography_is_set_beside_mobilenetv2():
    summary = summarize(("radiography", "published", "mobilenetv2", "accuracy_rounded", 0.85))
    found = compare("radiography", "resnet50", summary).loc["accuracy"]
    assert (found["architecture"], found["study_model"]) == ("mobilenetv2", "resnet50")
    assert found["value_published"] == 0.85
    assert (found["verdict"], "builds MobileNetV2" in found["why"]) == ("untestable", True)


def test_the_background_is_set_beside_the_background_with_what_an_empty_mask_scores():
    network = "linknet_seresnext101"
    summary = summarize(
        ("zenodo_infection", "published", network, "dice_background", 0.98),
        ("zenodo_infection", "published", network, "dice_background_empty", 0.975),
    )
    found = compare("zenodo_infection", "linknet_seresnet101", summary, 20).loc["f1"]
    assert (found["class"], found["our_metric"], found["empty_mask"]) == ("background", "dice_background", 0.975)
    assert found["verdict"] == "matches"


def test_values_under_the_other_protocols_stand_beside_without_a_verdict_of_their_own():
    rows = [("sarscov2_ct", name, "vgg16", "f1", mean) for name, mean in (("audited", 0.7), ("published", 0.97))]
    rows.append(("sarscov2_ct", "published_audited_split", "vgg16", "f1", 0.8))
    found = compare("sarscov2_ct", "vgg16", summarize(*rows), 621).loc["f1"]
    assert (found["value_audited"], found["value_published_audited_split"]) == (0.7, 0.8)
    assert found["difference"] == pytest.approx(-0.01)
