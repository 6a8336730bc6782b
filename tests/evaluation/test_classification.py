import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from covbench.data.datasets import TASKS
from covbench.evaluation.classification import CURVE_POINTS, evaluate_classification, rate_classes, round_logits
from covbench.evaluation.external import score_probabilities
from covbench.schema import CLASSIFICATION, LABELS_ONLY, CovbenchError, Task

BINARY = Task("binary", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
THREE = Task("three", CLASSIFICATION, ("normal", "viral", "covid"))


def predictions(truth, probabilities, fold="test"):
    probabilities = np.asarray(probabilities, np.float32)
    rows = len(truth)
    table = {
        "image_id": [f"image{i}" for i in range(rows)],
        "copy": 0,
        "patient_id": [f"patient{i // 2}" for i in range(rows)],
        "group": [f"patient{i // 4}" for i in range(rows)],
        "duplicate_set": [f"image{i}" for i in range(rows)],
        "source": "hospital",
        "fold": fold,
        "truth": np.asarray(truth, np.int64),
        "seed": 1,
    }
    return pd.DataFrame(table | {f"p_{c}": probabilities[:, c] for c in range(probabilities.shape[1])})


def binary(truth, positive):
    return predictions(truth, np.column_stack([1 - np.asarray(positive), positive]))


def drawn(rng, rows, classes):
    logits = rng.normal(size=(rows, classes))
    truth = rng.integers(0, classes, rows)
    logits[np.arange(rows), truth] += 0.8
    odds = np.exp(logits)
    return truth, odds / odds.sum(1, keepdims=True)


def test_scores_of_five_images_equal_those_worked_out_by_hand():
    # truth 1 1 1 0 0, predicted 1 1 0 1 0: two hits, one miss, one false alarm, one correct rejection
    scores, cases = evaluate_classification(binary([1, 1, 1, 0, 0], [0.9, 0.8, 0.3, 0.6, 0.1]), BINARY)
    found = scores["metrics"]
    assert scores["confusion"] == [[1, 1], [1, 2]]
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["sensitivity"] == pytest.approx(2 / 3)
    assert found["specificity"] == pytest.approx(1 / 2)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["auroc"] == pytest.approx(5 / 6)  # 5 of 6 pairs in the right order
    assert found["average_precision"] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert found["brier"] == pytest.approx(2 * (0.01 + 0.04 + 0.49 + 0.36 + 0.01) / 5)
    assert scores["per_class"]["non_covid"]["support"] == 2
    assert scores["undefined"] == {}
    assert cases["correct"].tolist() == [True, True, False, False, True]
    assert cases["confidence"].round(3).tolist() == [0.9, 0.8, 0.7, 0.6, 0.9]


def test_certain_and_wrong_answers_have_a_finite_log_loss_and_answers_without_probabilities_none():
    table = binary([1, 1], [0.0, 1.0])
    found = evaluate_classification(table, BINARY)[0]["metrics"]
    assert (found["brier"], found["log_loss"]) == pytest.approx((1.0, 24 * np.log(2) / 2))
    named, _ = evaluate_classification(table.assign(**{LABELS_ONLY: True}), BINARY)
    for name in ("brier", "log_loss"):
        assert named["metrics"][name] is None
        assert named["undefined"][name] == "the answers name a class and give no probabilities"


def test_rounded_logits_are_scored_as_the_study_scored_them():
    # as folders in the order of the alphabet: covid, normal, viral. np.argmax takes the first of equal ones.
    logits = np.array([[0.4, 0.3, 0.2], [0.6, 0.9, 0.1], [0.4, 1.6, 2.4], [-0.4, 0.4, -3], [2.5, 1, 2.4]])
    assert round_logits(logits, THREE.classes).tolist() == [2, 0, 2, 0, 2]
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    table = predictions([0, 0, 1, 1, 2], odds).assign(**{f"logit_{c}": logits[:, c] for c in range(3)})
    scores, cases = evaluate_classification(table, THREE)
    found = scores["metrics"]
    assert cases["predicted"].tolist() == [0, 1, 2, 1, 0]
    assert cases["rounded"].tolist() == [2, 0, 2, 0, 2]
    assert found["accuracy_rounded"] == pytest.approx(2 / 5)
    assert found["recall_macro_rounded"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found["f1_macro_rounded"] == pytest.approx((2 / 4 + 0 + 2 / 4) / 3)
    assert found["precision_macro_rounded"] is None
    assert scores["undefined"]["precision_macro_rounded"] == "precision is undefined for viral"


def test_on_another_dataset_logits_are_not_rounded():
    table = predictions([0, 1], [[0.5, 0.2, 0.3], [0.1, 0.2, 0.7]]).assign(
        logit_0=[1.0, 0], logit_1=[0.0, 1], logit_2=[0.0, 2]
    )
    scores, cases = score_probabilities(table, TASKS["radiography"])
    assert scores["metrics"]["accuracy"] == 1
    assert not [name for name in (*scores["metrics"], *cases) if "rounded" in name or "logit" in name]


def test_without_logits_nothing_is_rounded():
    scores, cases = evaluate_classification(predictions(*drawn(np.random.default_rng(0), 30, 3)), THREE)
    assert not [name for name in (*scores["metrics"], *scores["undefined"], *cases) if "rounded" in name]


@pytest.mark.parametrize("seed", range(3))
def test_every_score_of_three_classes_equals_scikit_learns(seed):
    truth, odds = drawn(np.random.default_rng(seed), 120, 3)
    table = predictions(truth, odds)
    odds = table[["p_0", "p_1", "p_2"]].to_numpy(np.float64)
    guess = odds.argmax(1)
    scores, _ = evaluate_classification(table, THREE)
    found = scores["metrics"]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(truth, guess, average=average)
        assert [found[f"{m}_{average}"] for m in ("precision", "recall", "f1")] == pytest.approx(list(expected[:3]))
    assert found["auroc"] == pytest.approx(
        sk.roc_auc_score(np.eye(3)[truth], odds, average="macro")  # p sums to 1 only to float32 precision
    )
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(np.eye(3)[truth], odds))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(truth, odds, scale_by_half=False))
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, odds), rel=1e-6)
    for number, name in enumerate(THREE.classes):
        (tn, fp), _ = sk.multilabel_confusion_matrix(truth, guess)[number]
        assert scores["per_class"][name]["specificity"] == pytest.approx(tn / (tn + fp))


def test_rates_of_a_stack_of_matrices_equal_those_of_each_alone():
    stack = np.random.default_rng(0).integers(0, 9, (5, 3, 3))
    together = rate_classes(stack)
    for number, matrix in enumerate(stack):
        alone = rate_classes(matrix)
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][number], value)


def test_a_class_absent_from_the_fold_has_no_recall_and_no_auroc_and_says_why():
    truth = [0, 0, 2, 2]
    scores, _ = evaluate_classification(predictions(truth, np.eye(3)[[0, 0, 2, 0]]), THREE)
    viral = scores["per_class"]["viral"]
    assert viral["recall"] is None
    assert viral["auroc"] is None
    assert viral["support"] == 0
    assert viral["specificity"] == 1.0
    assert scores["undefined"]["per_class.viral.recall"] == "no image of this class in the test fold"
    assert scores["metrics"]["auroc"] is None
    assert scores["undefined"]["auroc"] == "auroc is undefined for viral"
    assert scores["metrics"]["accuracy"] == 0.75
    assert scores["metrics"]["recall_weighted"] == 0.75
    assert set(scores["curves"]) == {"normal", "covid"}


def test_a_class_never_predicted_has_no_precision_but_an_f1_of_zero():
    scores, _ = evaluate_classification(binary([0, 0, 1], [0.1, 0.1, 0.1]), BINARY)
    assert scores["metrics"]["precision"] is None
    assert scores["undefined"]["precision"] == "precision is undefined for covid"
    assert scores["undefined"]["per_class.covid.precision"] == "never predicted"
    assert scores["metrics"]["precision_macro"] is None
    assert scores["metrics"]["f1"] == 0.0
    assert scores["metrics"]["auroc"] == 0.5


def test_a_fold_of_one_class_has_no_auroc_and_no_curve():
    scores, _ = evaluate_classification(binary([1, 1], [0.7, 0.2]), BINARY)
    assert scores["metrics"]["auroc"] is None
    assert scores["undefined"]["auroc"] == "only one class in the test fold"
    assert scores["metrics"]["specificity"] is None
    assert scores["metrics"]["accuracy"] == 0.5
    assert scores["curves"] == {}


def test_every_null_has_a_reason_and_the_json_is_strict():
    scores, _ = evaluate_classification(predictions([0, 0], np.eye(3)[[0, 1]]), THREE)
    nulls = {name for name, value in scores["metrics"].items() if value is None}
    nulls |= {
        f"per_class.{c}.{m}" for c, row in scores["per_class"].items() for m, value in row.items() if value is None
    }
    assert nulls == set(scores["undefined"])
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_curves_keep_their_ends_and_at_most_two_hundred_points():
    truth, odds = drawn(np.random.default_rng(4), 3000, 2)
    curve = evaluate_classification(predictions(truth, odds), BINARY)[0]["curves"]["covid"]
    assert curve["roc"]["fpr"][0] == curve["roc"]["tpr"][0] == 0
    assert curve["roc"]["fpr"][-1] == curve["roc"]["tpr"][-1] == 1
    assert len(curve["roc"]["fpr"]) == len(curve["pr"]["recall"]) == CURVE_POINTS


def test_only_the_test_fold_is_scored():
    both = pd.concat([binary([1, 0], [0.9, 0.1]), binary([1, 0], [0.1, 0.9]).assign(fold="val")])
    scores, cases = evaluate_classification(both, BINARY)
    assert scores["images"] == len(cases) == 2
    assert scores["metrics"]["accuracy"] == 1.0


def test_no_test_image_is_an_error_that_names_the_task():
    with pytest.raises(CovbenchError, match="binary: no image of the test fold"):
        evaluate_classification(binary([1], [0.9]).assign(fold="val"), BINARY)


def test_a_probability_that_is_not_a_number_is_an_error_that_names_the_image():
    with pytest.raises(CovbenchError, match="image1"):
        evaluate_classification(binary([1, 0], [0.9, np.nan]), BINARY)
