import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from covbench.evaluation.segmentation import count_pixels, evaluate_segmentation
from covbench.schema import SEGMENTATION, CovbenchError, Task

INFECTION = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
FOUR = Task("four", SEGMENTATION, ("background", "glass", "solid", "lungs"), lesions=("glass", "solid"))


def rows(patients, fold="test"):
    return pd.DataFrame(
        {
            "image_id": [f"slice{i}" for i in range(len(patients))],
            "copy": 0,
            "patient_id": list(patients),
            "source": "",
            "fold": fold,
            "truth": -1,
            "seed": 1,
        }
    )


def strips(*images):
    """Masks of one row of pixels each."""
    return np.array(images, np.uint8)[:, None, :]


def test_scores_of_three_slices_equal_those_worked_out_by_hand():
    truth = strips([1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0])
    guess = strips([1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0])
    scores, cases = evaluate_segmentation(rows("aab"), truth, guess, INFECTION)
    found = scores["metrics"]
    assert cases["dice_infection"].round(6).tolist()[:2] == [0.5, round(6 / 7, 6)]
    assert np.isnan(cases["dice_infection"][2])
    assert found["dice_lesion"] == pytest.approx((1 / 2 + 6 / 7) / 2)  # the empty slice is left out
    assert found["jaccard_lesion"] == pytest.approx((1 / 3 + 3 / 4) / 2)
    assert found["precision_lesion"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["recall_lesion"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert found["dice_lesion_volume"] == pytest.approx(2 * 4 / (6 + 5))  # patient a; b has no lesion
    assert found["dice_lesion_total"] == pytest.approx(2 * 4 / (6 + 5))
    assert found["pixel_accuracy"] == pytest.approx(9 / 12)
    assert scores["confusion"] == [[5, 1], [2, 4]]
    assert scores["per_class"]["infection"]["images_with_class"] == 2
    background = (2 * 5 / (6 + 7) + 2 * 4 / (6 + 5)) / 2
    assert found["dice_all_total"] == pytest.approx(background)


def test_a_false_alarm_on_a_lesion_free_slice_counts_in_metrics_of_its_own_and_leaves_the_dice_alone():
    truth = strips([0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0])
    guess = strips([0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0])
    found = evaluate_segmentation(rows("aab"), truth, guess, INFECTION)[0]["metrics"]
    assert found["false_positive_rate"] == pytest.approx(1 / 2)
    assert found["false_positive_volume"] == pytest.approx((1 / 4 + 0) / 2)
    assert found["dice_lesion"] == found["dice_lesion_volume"] == pytest.approx(2 / 3)
    assert found["dice_lesion_total"] == pytest.approx(2 / (2 + 2))


def test_a_lesion_that_nobody_predicts_scores_zero_not_nothing():
    found = evaluate_segmentation(rows("a"), strips([0, 1]), strips([0, 0]), INFECTION)[0]["metrics"]
    assert found["dice_lesion"] == found["precision_lesion"] == found["recall_lesion"] == 0.0
    assert found["precision_lesion_total"] is None
    assert found["false_positive_rate"] is None


def test_dice_has_one_denominator_whatever_a_model_predicts():
    truth = strips([1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1])
    for guess in (strips([0] * 4, [0] * 4, [0] * 4), strips([1] * 4, [1] * 4, [1] * 4)):
        _, cases = evaluate_segmentation(rows("abc"), truth, guess, INFECTION)
        assert cases["dice_lesion"].notna().tolist() == [True, False, True]


def test_without_a_lesion_free_slice_the_false_positive_rate_says_so():
    scores, _ = evaluate_segmentation(rows("a"), strips([0, 1]), strips([0, 1]), INFECTION)
    assert scores["undefined"]["false_positive_rate"] == "every slice of the test fold holds a lesion"


def test_two_empty_masks_leave_the_dice_undefined_with_a_reason():
    scores, cases = evaluate_segmentation(rows("ab"), strips([0, 0], [0, 0]), strips([0, 0], [0, 0]), INFECTION)
    assert scores["metrics"]["dice_lesion"] is None
    assert scores["undefined"]["dice_lesion"] == "no pixel of it in the test fold"
    assert scores["undefined"]["dice_lesion_total"] == "no pixel of it, true or predicted, in the test fold"
    assert scores["metrics"]["precision_lesion"] is None
    assert scores["undefined"]["per_class.infection.precision_volume"] == "no pixel of it in the test fold"
    assert scores["undefined"]["per_class.infection.precision_total"] == "never predicted"
    assert scores["metrics"]["pixel_accuracy"] == 1.0
    assert cases["dice_lesion"].isna().all()


def test_a_class_absent_from_the_fold_leaves_the_mean_over_classes_undefined():
    scores, _ = evaluate_segmentation(rows("a"), strips([0, 1, 3]), strips([0, 1, 3]), FOUR)
    assert scores["per_class"]["glass"]["dice"] == 1.0
    assert scores["per_class"]["solid"]["dice"] is None
    assert scores["metrics"]["dice_mean"] is None
    assert scores["undefined"]["dice_mean"] == "undefined for solid"
    assert scores["metrics"]["dice_lesion"] == 1.0


def test_the_lesion_is_the_union_of_its_classes():
    scores, _ = evaluate_segmentation(rows("a"), strips([1, 2, 3, 0]), strips([2, 1, 3, 1]), FOUR)
    assert scores["per_class"]["glass"]["dice"] == 0.0
    assert scores["metrics"]["dice_lesion"] == pytest.approx(2 * 2 / (2 + 3))


def test_volumes_weigh_patients_alike_and_totals_weigh_pixels():
    truth = strips([1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0])
    guess = strips([1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0])
    found = evaluate_segmentation(rows("aab"), truth, guess, INFECTION)[0]["metrics"]
    assert found["dice_lesion"] == pytest.approx(2 / 3)
    assert found["dice_lesion_volume"] == pytest.approx(1 / 2)
    assert found["dice_lesion_total"] == pytest.approx(2 * 8 / (9 + 9))


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_drawn_masks_equal_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 4, (2, 6, 9, 7)).astype(np.uint8)
    scores, cases = evaluate_segmentation(rows("aabbcc"), truth, guess, FOUR)
    for number, name in enumerate(FOUR.classes):
        pairs = [((t == number).ravel(), (g == number).ravel()) for t, g in zip(truth, guess, strict=True)]
        assert cases[f"jaccard_{name}"].tolist() == pytest.approx([sk.jaccard_score(t, g) for t, g in pairs])
        assert cases[f"dice_{name}"].tolist() == pytest.approx([sk.f1_score(t, g) for t, g in pairs])
        row = scores["per_class"][name]
        assert row["precision"] == pytest.approx(np.mean([sk.precision_score(t, g) for t, g in pairs]))
        assert row["recall"] == pytest.approx(np.mean([sk.recall_score(t, g) for t, g in pairs]))
        assert row["dice_total"] == pytest.approx(sk.f1_score(truth.ravel() == number, guess.ravel() == number))
        volumes = [
            sk.f1_score((truth[i : i + 2] == number).ravel(), (guess[i : i + 2] == number).ravel()) for i in (0, 2, 4)
        ]
        assert row["dice_volume"] == pytest.approx(np.mean(volumes))
    expected = sk.f1_score(truth.ravel(), guess.ravel(), average="macro")
    assert scores["metrics"]["dice_all_total"] == pytest.approx(expected)
    assert scores["metrics"]["pixel_accuracy"] == pytest.approx(sk.accuracy_score(truth.ravel(), guess.ravel()))
    assert (count_pixels(truth, guess, 4).sum(0) == sk.confusion_matrix(truth.ravel(), guess.ravel())).all()


def test_a_task_whose_class_is_called_lesion_is_scored_once():
    task = Task("phantom", SEGMENTATION, ("background", "lung", "lesion"), lesions=("lesion",))
    scores, cases = evaluate_segmentation(rows("a"), strips([0, 1, 2]), strips([0, 1, 2]), task)
    assert scores["metrics"]["dice_lesion"] == scores["per_class"]["lesion"]["dice"] == 1.0
    assert list(cases.columns).count("dice_lesion") == 1


def test_every_null_has_a_reason_and_the_json_is_strict():
    scores, _ = evaluate_segmentation(rows("a"), strips([0, 3]), strips([0, 0]), FOUR)
    nulls = {name for name, value in scores["metrics"].items() if value is None}
    nulls |= {
        f"per_class.{c}.{m}" for c, row in scores["per_class"].items() for m, value in row.items() if value is None
    }
    assert nulls == set(scores["undefined"])
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_only_the_test_fold_is_scored():
    table = rows("ab")
    table.loc[0, "fold"] = "val"
    scores, cases = evaluate_segmentation(table, strips([1], [1]), strips([0], [1]), INFECTION)
    assert len(cases) == 1
    assert scores["metrics"]["dice_lesion"] == 1.0


def test_masks_of_different_shape_are_an_error_that_says_both_shapes():
    with pytest.raises(CovbenchError, match=r"\(1, 1, 2\).*\(1, 1, 3\)"):
        evaluate_segmentation(rows("a"), strips([0, 1]), strips([0, 1, 0]), INFECTION)


def test_an_unknown_class_number_is_an_error():
    with pytest.raises(CovbenchError, match="class number 7"):
        evaluate_segmentation(rows("a"), strips([0, 1]), strips([0, 7]), INFECTION)


def test_no_test_image_is_an_error_that_names_the_task():
    with pytest.raises(CovbenchError, match="infection: no image of the test fold"):
        evaluate_segmentation(rows("a", fold="val"), strips([0]), strips([0]), INFECTION)
