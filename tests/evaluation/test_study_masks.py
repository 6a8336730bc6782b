"""The study's scores of masks, beside those of the library that the study computed them with."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.bootstrap import score_draws
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import SEGMENTATION, Task

INFECTION = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
FOUR = Task("four", SEGMENTATION, ("background", "right", "left", "disease"), lesions=("disease",))


def score(truth, probabilities, task):
    """Score class probabilities, (N, H, W, C), as a trained network's are scored."""
    rows = pd.DataFrame({"image_id": [str(n) for n in range(len(truth))], "copy": 0, "patient_id": "p", "source": ""})
    rows = rows.assign(patient_id=[f"p{n % 3}" for n in range(len(truth))], fold="test", truth=-1, seed=0)
    rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"])
    predicted = probabilities.argmax(-1).astype(np.uint8)
    return evaluate_segmentation(rows, truth, predicted, task, probabilities.max(-1) <= 0.5)


def draw_masks(images, task, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, len(task.classes), (images, 6, 7)).astype(np.uint8)
    truth[: images // 2][truth[: images // 2] == len(task.classes) - 1] = 0  # a class absent from whole batches
    return truth, generator.dirichlet(np.ones(len(task.classes)), truth.shape).astype(np.float32)


def library_scores(truth, probabilities, classes):
    """F-score and IoU of the classes whose probabilities are given, the first ones, on all pixels together."""
    from covbench.models.sm_adapter import sm

    one_hot = np.eye(classes, dtype="float32")[truth][..., : probabilities.shape[-1]]
    return [float(metric(threshold=0.5)(one_hot, probabilities)) for metric in (sm.metrics.FScore, sm.metrics.IOUScore)]


def test_four_classes_are_scored_per_batch_of_16_in_order_without_the_incomplete_last_one():
    truth, probabilities = draw_masks(40, FOUR)
    found = score(truth, probabilities, FOUR)[0]["metrics"]
    batches = [library_scores(truth[i : i + 16], probabilities[i : i + 16], 4) for i in (0, 16)]
    expected = np.mean(batches, axis=0)
    assert [found["dice_study_batches"], found["jaccard_study_batches"]] == pytest.approx(expected, abs=1e-6)


def test_fewer_images_than_a_batch_are_one_batch():
    truth, probabilities = draw_masks(5, FOUR)
    found = score(truth, probabilities, FOUR)[0]["metrics"]
    expected = library_scores(truth, probabilities, 4)
    assert [found["dice_study_batches"], found["jaccard_study_batches"]] == pytest.approx(expected, abs=1e-6)


def test_the_background_is_scored_slice_by_slice():
    truth, probabilities = draw_masks(7, INFECTION)
    found = score(truth, probabilities, INFECTION)[0]["metrics"]
    slices = [library_scores(truth[i : i + 1], probabilities[i : i + 1, ..., :1], 2) for i in range(7)]
    expected = np.mean(slices, axis=0)
    assert [found["dice_background"], found["jaccard_background"]] == pytest.approx(expected, abs=1e-6)


def test_an_empty_mask_scores_what_the_background_fills():
    truth = np.zeros((2, 1, 10), np.uint8)
    truth[0, 0, :4], truth[1, 0, :2] = 1, 1
    probabilities = np.eye(2, dtype=np.float32)[truth]
    found = score(truth, probabilities, INFECTION)[0]["metrics"]
    assert found["dice_background"] == pytest.approx(1)
    assert found["dice_background_empty"] == pytest.approx((2 * 6 / 16 + 2 * 8 / 18) / 2, abs=1e-6)
    assert found["jaccard_background_empty"] == pytest.approx((6 / 10 + 8 / 10) / 2, abs=1e-6)
    empty = score(truth, np.eye(2, dtype=np.float32)[truth * 0], INFECTION)[0]["metrics"]
    assert empty["dice_background"] == pytest.approx(found["dice_background_empty"])
    assert empty["jaccard_background"] == pytest.approx(found["jaccard_background_empty"])


def test_a_pixel_without_a_majority_belongs_to_no_class():
    truth = np.array([[[0, 3]]], np.uint8)
    probabilities = np.array([[[[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.1, 0.6]]]], np.float32)
    metrics, cases = score(truth, probabilities, FOUR)
    assert cases[["predicted_background", "predicted_background_sure"]].iloc[0].tolist() == [1, 0]
    assert cases[["both_disease_sure", "predicted_disease_sure"]].iloc[0].tolist() == [1, 1]
    assert metrics["metrics"]["dice_background"] == pytest.approx(0, abs=1e-4)
    assert metrics["metrics"]["dice_study_batches"] == pytest.approx((0 + 1 + 1 + 1) / 4, abs=1e-4)


def test_draws_keep_the_batches_and_weigh_the_images_in_them():
    truth, probabilities = draw_masks(32, FOUR)
    metrics, cases = score(truth, probabilities, FOUR)
    weights = np.array([[1.0, 3.0], [1.0, 0.0], [1.0, 0.0]])  # everybody once; patient p0 alone
    drawn = score_draws(metrics, cases, pd.Index(["p0", "p1", "p2"]), weights)["", "dice_study_batches"]
    assert drawn[0] == pytest.approx(metrics["metrics"]["dice_study_batches"], abs=1e-6)
    first = [np.arange(start, start + 16)[np.arange(start, start + 16) % 3 == 0] for start in (0, 16)]
    expected = [library_scores(truth[part], probabilities[part], 4)[0] for part in first]
    assert drawn[1] == pytest.approx(np.mean(expected), abs=1e-5)
