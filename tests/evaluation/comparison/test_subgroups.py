"""Scores in subgroups, against counts by hand, scikit-learn and simulated studies."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.contestants import Contestant
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.subgroups import FEWEST, compare_subgroups, divide_cases, find_gaps
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import CLASSIFICATION, SEGMENTATION, Run, Task
from tests.evaluation.comparison.test_model_pairs import enter
from tests.run_records import score_record

BINARY = Task("ieee8023_xray", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
LESIONS = Task("zenodo_infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
PARTS = {"F": (10, 8, 10, 9), "M": (12, 6, 12, 12), "": (2, 2, 1, 1)}
"""Sex -> patients with COVID-19, those of them who are found, patients without, those of them who are cleared."""


def make_rows(number, first=0):
    names = [f"p{first + k:03d}" for k in range(number)]
    rows = pd.DataFrame({"image_id": [f"i{name}" for name in names], "copy": 0, "patient_id": names, "group": names})
    return rows.assign(duplicate_set=rows["image_id"], source="", fold="test", seed=0, truth=-1)


@pytest.fixture
def classified():
    """A classifier on a patient per image, and the index that knows their sex."""
    rows, sexes = make_rows(sum(part[0] + part[2] for part in PARTS.values())), []
    truth, right = [], []
    for sex, (sick, found, well, cleared) in PARTS.items():
        sexes += [sex] * (sick + well)
        truth += [1] * sick + [0] * well
        right += [True] * found + [False] * (sick - found) + [True] * cleared + [False] * (well - cleared)
    called = np.where(right, truth, 1 - np.array(truth))
    p = 0.25 + 0.5 * called + np.random.default_rng(0).uniform(-0.2, 0.2, len(rows))
    scored = evaluate_classification(rows.assign(truth=truth, p_0=1 - p, p_1=p), BINARY)
    return enter("net", {0: scored}), rows[["image_id"]].assign(sex=sexes, view="PA")


def test_each_subgroup_has_the_scores_of_its_own_images(classified):
    contestant, index = classified
    table = pd.DataFrame(compare_subgroups(contestant, index)["subgroups"])
    assert set(table["fact"]) == {"sex"}  # all images have one view
    rows = table.set_index(["subgroup", "metric"])
    assert rows.loc[("F", "sensitivity"), "mean"] == pytest.approx(8 / 10)
    assert rows.loc[("M", "sensitivity"), "mean"] == pytest.approx(6 / 12)
    assert rows.loc[("F", "specificity"), "mean"] == pytest.approx(9 / 10)
    assert rows.loc[("M", "balanced_accuracy"), "mean"] == pytest.approx((6 / 12 + 1) / 2)
    cases = contestant.runs[0].cases
    women = (index["sex"] == "F").to_numpy()
    expected = roc_auc_score(cases["truth"][women], cases["p_1"][women])
    assert rows.loc[("F", "auroc"), "mean"] == pytest.approx(expected)
    assert rows.loc[("F", "auroc"), ["images", "groups", "seeds"]].tolist() == [20, 20, 1]


def test_subgroups_of_too_few_groups_are_one_row_without_a_score(classified):
    contestant, index = classified
    table = pd.DataFrame(compare_subgroups(contestant, index)["subgroups"])
    (row,) = table[table["subgroup"] == "others"].to_dict("records")
    assert (row["images"], row["groups"], row["metric"]) == (3, 3, "")
    assert row["reason"] == f"fewer than {FEWEST} groups of images: unknown"
    assert np.isnan(row["mean"])


def test_a_gap_is_best_minus_worst_and_its_error_is_that_of_independent_patients(classified):
    gaps = pd.DataFrame(compare_subgroups(*classified)["subgroup_gaps"]).set_index("metric")
    row = gaps.loc["sensitivity"]
    assert (row["best"], row["worst"], row["subgroups"]) == ("F", "M", 2)
    assert row["gap"] == pytest.approx(0.8 - 0.5)
    binomial = np.sqrt(0.8 * 0.2 / 9 + 0.5 * 0.5 / 11)  # of two independent rates, unbiased
    reach = stats.t.ppf(0.975, 9) * binomial
    assert (row["high"] - row["low"]) / 2 == pytest.approx(reach, rel=0.15)
    assert gaps.loc["specificity", "reason"].startswith("no interval: one of the two scores has no error")


def test_a_metric_that_a_subgroup_leaves_undefined_says_why(classified):
    contestant, index = classified
    truth = contestant.runs[0].cases["truth"].to_numpy()
    found = compare_subgroups(contestant, index.assign(sex=np.where(truth == 1, "M", "F")))
    rows = pd.DataFrame(found["subgroups"]).set_index(["subgroup", "metric"])
    assert np.isnan(rows.loc[("M", "auroc"), "mean"])
    assert rows.loc[("M", "auroc"), "reason"] == "undefined: the subgroup has no image of a class that it needs"
    assert found["subgroup_gaps"] == []  # sensitivity of one, specificity of the other


def test_an_image_that_the_index_does_not_know_is_unknown(classified):
    contestant, index = classified
    divided = divide_cases(contestant, index[index["sex"] == "F"])
    assert [subgroup.name for subgroup in divided["sex"]] == ["F", "unknown"]
    assert divided["sex"][1].count("image_id") == len(index) - 20


def test_lesion_sizes_follow_from_the_true_masks_alone():
    rows = make_rows(4)
    truth, guess = np.zeros((4, 10, 10), np.uint8), np.zeros((4, 10, 10), np.uint8)
    for number, pixels in enumerate((0, 1, 3, 4)):
        truth[number].flat[:pixels] = 1
        guess[number].flat[: 2 * pixels] = 1
    run = score_record(Run(LESIONS.name, "audited", "net", 0), *evaluate_segmentation(rows, truth, guess, LESIONS))
    contestant = Contestant("net", "deep", {0: run}, {}, {}, {})
    sizes = divide_cases(contestant, rows[["image_id"]])["lesion_size"]
    members = {subgroup.name: subgroup.cases[0]["image_id"].tolist() for subgroup in sizes}
    assert members == {"1 to 4 %": ["ip001", "ip002"], "4 % and above": ["ip003"]}


def test_lesion_dice_is_scored_by_size():
    """Small lesions are found as they are (Dice 1), large ones with twice their pixels (Dice 2 / 3)."""
    rows = make_rows(2 * FEWEST)
    truth, guess = (np.zeros((len(rows), 20, 20), np.uint8) for _ in range(2))
    for number in range(len(rows)):
        pixels, called = (3, 3) if number < FEWEST else (40, 80)
        truth[number].flat[:pixels] = 1
        guess[number].flat[:called] = 1
    contestant = enter("net", {0: evaluate_segmentation(rows, truth, guess, LESIONS)})
    found = compare_subgroups(contestant, rows[["image_id"]])
    means = pd.DataFrame(found["subgroups"]).set_index("subgroup")["mean"]
    assert means.to_dict() == pytest.approx({"below 1 %": 1.0, "4 % and above": 2 / 3})
    (gap,) = found["subgroup_gaps"]
    assert (gap["best"], gap["worst"], gap["gap"]) == ("below 1 %", "4 % and above", pytest.approx(1 / 3))


def simulate_gap(rng, weights, parts):
    """A study of alike subgroups, in each of which a model finds 70 % of the patients: the row of its gap."""
    found = (rng.random(len(weights)) < 0.7).astype(float)
    run = score_record(Run(BINARY.name, "audited", "net", 0), {"kind": CLASSIFICATION})
    entered = {}
    for name, part in enumerate(np.array_split(np.arange(len(weights)), parts)):
        drawn = found[part] @ weights[part] / weights[part].sum(axis=0)
        scores, draws = ({"sensitivity": values} for values in (found[part].mean(keepdims=True), drawn[None]))
        entered[str(name)] = Contestant("net", "deep", {0: run}, scores, draws, {"sensitivity": len(part)})
    return next(find_gaps(entered))


def test_alike_subgroups_are_rarely_called_different_although_the_pair_is_chosen():
    """An interval of the chosen pair alone would call 34 % of such studies different (1,000 studies)."""
    rng, weights = np.random.default_rng(1), draw_groups(240, 1000).astype(float)
    rows = [simulate_gap(rng, weights, 6) for _ in range(400)]
    assert np.mean([row["low"] > 0 for row in rows]) <= 0.05
    alone = [row["gap"] / (row["high"] - row["gap"]) * stats.t.ppf(1 - 0.025 / 15, 39) for row in rows]
    assert np.mean(np.array(alone) > stats.t.ppf(0.975, 39)) > 0.25
