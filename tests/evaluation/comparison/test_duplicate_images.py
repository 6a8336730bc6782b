import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.contestants import Contestant
from covbench.evaluation.comparison.duplicate_images import compare_without_duplicates
from covbench.schema import CLASSIFICATION, Run
from tests.run_records import score_record

METRICS = {"kind": CLASSIFICATION, "classes": ["non_covid", "covid"], "positive": "covid", "patients": 4}


def enter(sets):
    """Six images, of which the wrong ones come last. sets: the duplicate set of each image."""
    cases = pd.DataFrame({"image_id": list("abcdef"), "copy": 0, "group": list("abcdef"), "truth": [1, 0, 1, 0, 1, 0]})
    cases = cases.assign(predicted=[1, 0, 1, 0, 0, 1], p_1=[0.9, 0.1, 0.9, 0.1, 0.2, 0.8])
    cases = cases.assign(p_0=1 - cases["p_1"], duplicate_set=sets)
    run = score_record(Run("covid_ct", "audited", "vgg16", 0), METRICS, cases)
    return Contestant("vgg16", "deep", {0: run}, {"accuracy": np.array([4 / 6])}, {}, {"accuracy": 6})


def test_scores_without_duplicates_count_the_first_image_of_each_set():
    found = compare_without_duplicates(enter(list("abcdaa")))  # e and f show what a shows
    assert found["accuracy"] == {"without_duplicates": pytest.approx(1.0), "duplicates_dropped": 2}
    assert set(found) == {"auroc", "accuracy", "balanced_accuracy"}


def test_a_fold_without_duplicates_has_no_second_score():
    assert compare_without_duplicates(enter(list("abcdef"))) == {}
