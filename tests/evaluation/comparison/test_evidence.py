import numpy as np
import pandas as pd

from covbench.evaluation.comparison.evidence import count_differing, count_evidence, is_rate, read_answers
from covbench.evaluation.metrics.registry import METRICS, register_metric
from covbench.schema import CLASSIFICATION, SEGMENTATION

CASES = pd.DataFrame(
    {
        "group": list("aabcdefg"),
        "truth": [1, 1, 1, 0, 0, 0, 0, 0],
        "predicted": [1, 1, 0, 0, 0, 0, 0, 1],
    }
)
BINARY = {"kind": CLASSIFICATION, "classes": ["non_covid", "covid"], "positive": "covid"}


def test_every_score_rests_on_the_groups_that_decide_it():
    names = ("accuracy", "sensitivity", "specificity", "precision", "auroc", "balanced_accuracy", "my_own")
    metrics = BINARY | {"metrics": dict.fromkeys(names), "per_class": {"covid": {"recall": None, "support": None}}}
    found = count_evidence(metrics, CASES)
    assert found["", "accuracy"] == found["", "my_own"] == 7  # a to g
    assert found["", "sensitivity"] == found["covid", "recall"] == 2  # a and b
    assert found["", "specificity"] == 5
    assert found["", "precision"] == 2  # a and g
    assert found["", "auroc"] == found["", "balanced_accuracy"] == 4  # twice the two of the rarer class


def test_a_lesion_score_rests_on_groups_with_a_lesion_and_a_false_positive_rate_on_those_without():
    cases = pd.DataFrame({"group": list("abbc"), "true_background": 4, "true_lesion": [3, 0, 2, 0]})
    names = (
        "dice_lesion",
        "dice_lesion_volume",
        "false_positive_rate",
        "dice_mean",
        "dice_all_total",
    )
    metrics = {"kind": SEGMENTATION, "classes": ["background", "lesion"], "metrics": dict.fromkeys(names)}
    found = count_evidence(metrics | {"per_class": {"lesion": {"dice": None}}}, cases)
    assert [found["", name] for name in names] == [2, 2, 2, 2, 2]
    assert found["lesion", "dice"] == 2


def test_a_new_metric_rests_on_what_its_declaration_says(monkeypatch):
    monkeypatch.setitem(METRICS, CLASSIFICATION, dict(METRICS[CLASSIFICATION]))
    traits = {"rests_on": "recall", "reason": lambda _: "never"}
    register_metric(CLASSIFICATION, "Youden's J", "", "youden", positive_only=True, **traits)(lambda fold: 0.0)
    register_metric(CLASSIFICATION, "Mean of recalls", "", "averaged", **traits)(lambda fold: 0.0)
    found = count_evidence(BINARY | {"metrics": {"youden": 0.0, "averaged": 0.0}, "per_class": {}}, CASES)
    assert found == {("", "youden"): 2, ("", "averaged"): 4}  # a and b; twice as many for two classes


def test_only_shares_of_images_have_an_exact_interval():
    assert is_rate(CLASSIFICATION, "accuracy")
    assert is_rate(CLASSIFICATION, "recall", of_class=True)
    assert is_rate(SEGMENTATION, "false_positive_rate")
    assert not is_rate(CLASSIFICATION, "auroc")
    assert not is_rate(SEGMENTATION, "dice", of_class=True)


def test_groups_with_the_same_answers_do_not_differ():
    other = CASES.assign(predicted=[1, 0, 0, 0, 0, 0, 1, 1])
    groups = pd.factorize(CASES["group"])[0]
    assert count_differing(groups, read_answers(CASES, "accuracy"), read_answers(other, "accuracy")) == 2  # a and f


def test_a_false_positive_differs_on_lesion_free_slices_alone():
    cases = pd.DataFrame({"group": list("abc"), "true_lesion": [0, 0, 5], "predicted_lesion": [0, 3, 0]})
    other = cases.assign(predicted_lesion=[7, 9, 5])
    answers = [read_answers(each, "false_positive_rate") for each in (cases, other)]
    assert np.isnan(answers[0][2, 0])
    assert count_differing(np.arange(3), *answers) == 1  # a: the second model has a false lesion and the first has none
