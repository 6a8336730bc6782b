import numpy as np
import pandas as pd
import pytest
from scipy import stats

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import list_groups, score_draws
from covbench.evaluation.comparison.contestants import enter_contestant
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.intervals import SIGNIFICANT
from covbench.evaluation.comparison.model_pairs import (
    ARCHITECTURES,
    BETTER,
    TRAINED,
    UNDECIDABLE,
    UNDECIDED,
    WORSE,
    compare_model_pairs,
    judge_pair,
)
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import CLASSIFICATION, SEGMENTATION, Run, Task
from tests.run_records import score_record

BINARY = Task("covid_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
LESIONS = Task("zenodo_infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
SKILLS = (("good", 1.5), ("twin2", 1.5), ("weakest", 0.1))


def draw_rows(number, patients, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"p{k:03d}" for k in (np.arange(number) if patients == number else rng.integers(0, patients, number))]
    rows = pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "copy": 0, "patient_id": names})
    rows = rows.assign(group=names, duplicate_set=rows["image_id"])
    return rows.assign(source="", fold="test", seed=seed, truth=rng.integers(0, 2, number))


def answer(rows, skill, seed):
    """Predictions with a given skill, scored for real."""
    p = 1 / (1 + np.exp(-np.random.default_rng(seed).normal((rows["truth"] * 2 - 1) * skill, 1)))
    return evaluate_classification(rows.assign(p_0=1 - p, p_1=p), BINARY)


def enter(name, scored, draws=1000):
    """A contestant of scored seeds: by seed, metrics and cases."""
    runs = [score_record(Run("covid_ct", "audited", name, seed), *found) for seed, found in scored.items()]
    groups = list_groups(run.cases for run in runs)
    weights = draw_groups(len(groups), draws)
    return enter_contestant(runs, [score_draws(run.metrics, run.cases, groups, weights) for run in runs])


def compare(number=200, patients=200, seeds=(0,), skills=SKILLS):
    rows = draw_rows(number, patients)
    return compare_model_pairs(
        [enter(name, {s: answer(rows, skill, [s, len(name)]) for s in seeds}) for name, skill in skills]
    )


def table(rows, metric):
    return pd.DataFrame(rows).query("metric == @metric")


def test_models_alike_share_their_ranks_and_a_weaker_one_comes_last():
    ranks = table(compare()["ranks"], "auroc").set_index("architecture")
    assert ranks.loc[["good", "twin2"], ["best", "worst"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert ranks.loc["weakest", ["best", "worst", "models"]].tolist() == [3, 3, 3]


def test_every_pair_is_tested_once_and_corrected_together():
    auroc = table(compare()["pairs"], "auroc").set_index(["one", "other"])
    assert auroc["verdict"].tolist() == [UNDECIDED, BETTER, BETTER]
    assert auroc.loc[("good", "weakest"), "p_holm"] < 0.001 < auroc.loc[("good", "twin2"), "p_holm"]
    smallest = auroc["p"].idxmin()
    assert auroc.loc[smallest, "p_holm"] == pytest.approx(min(1, 3 * auroc.loc[smallest, "p"]))


def test_three_seeds_speak_of_architectures_and_fewer_of_trained_models_with_the_reason():
    three, one = (table(compare(seeds=seeds)["pairs"], "auroc") for seeds in ((0, 1, 2), (0,)))
    assert set(three["scope"]) == {ARCHITECTURES}
    assert set(three["reason"]) == {""}
    assert set(one["scope"]) == {TRAINED}
    assert all("1 seed is too few" in reason for reason in one["reason"])


def test_a_difference_between_seeds_is_no_difference_between_architectures():
    # the first architecture is far better in its first training, and as far worse in its second
    rows = draw_rows(400, 400)
    first = enter("first", {s: answer(rows, skill, s) for s, skill in enumerate((2.4, 0.3, 1.9))})
    second = enter("second", {s: answer(rows, 0.7, 10 + s) for s in range(3)})
    (row,) = table(compare_model_pairs([first, second])["pairs"], "auroc").to_dict("records")
    assert row["difference"] > 0.02
    assert row["verdict"] == UNDECIDED
    alone = compare_model_pairs(
        [enter("first", {0: answer(rows, 2.4, 0)}), enter("second", {0: answer(rows, 0.7, 10)})]
    )
    assert table(alone["pairs"], "auroc")["verdict"].tolist() == [BETTER]


def check_agreement(found):
    """Sentence, rank and p never disagree."""
    pairs, ranks = pd.DataFrame(found["pairs"]), pd.DataFrame(found["ranks"])
    for row in pairs.to_dict("records"):
        decided = row["verdict"] in (BETTER, WORSE)
        assert decided == bool(row["p_holm"] < SIGNIFICANT) if row["verdict"] != UNDECIDABLE else row["reason"]
        if row["p"] is not None and not np.isnan(row["p"]):
            assert (row["p"] < SIGNIFICANT) == (row["low"] > 0 or row["high"] < 0)
            assert row["p"] >= row["smallest_p"]
        if decided:
            held = ranks[ranks["metric"] == row["metric"]].set_index("architecture")
            winner, loser = (row["one"], row["other"]) if row["verdict"] == BETTER else (row["other"], row["one"])
            assert held.loc[winner, "worst"] < held["models"].max()
            assert held.loc[loser, "best"] > 1
            lower = row["metric"] == "false_positive_rate"
            assert (held.loc[winner, "score"] > held.loc[loser, "score"]) != lower
    for metric, rows in ranks.groupby("metric"):
        verdicts = pairs[pairs["metric"] == metric]
        for row in rows.to_dict("records"):
            name = row["architecture"]
            beaten = ((verdicts["one"] == name) & (verdicts["verdict"] == BETTER)).sum()
            beaten += ((verdicts["other"] == name) & (verdicts["verdict"] == WORSE)).sum()
            losses = ((verdicts["one"] == name) & (verdicts["verdict"] == WORSE)).sum()
            losses += ((verdicts["other"] == name) & (verdicts["verdict"] == BETTER)).sum()
            assert (row["best"], row["worst"]) == (1 + losses, len(rows) - beaten)


@pytest.mark.parametrize("seed", range(6))
def test_sentence_rank_and_p_agree_in_random_tables(seed):
    rng = np.random.default_rng(seed)
    rows = draw_rows(int(rng.integers(20, 120)), int(rng.integers(4, 60)), seed)
    seeds = range(int(rng.integers(1, 5)))
    contestants = [
        enter(f"model{k}", {s: answer(rows, skill + rng.normal(0, 0.2), [s, k, seed]) for s in seeds}, 300)
        for k, skill in enumerate(rng.choice([0.2, 0.8, 1.5, 2.5], int(rng.integers(2, 6))))
    ]
    check_agreement(compare_model_pairs(contestants))


@pytest.mark.parametrize(("patients", "reason"), [(5, "5 patients whose answers differ"), (4, "4 patients")])
def test_a_pair_that_so_few_patients_cannot_decide_says_so(patients, reason):
    rows = draw_rows(40, patients).assign(patient_id=[f"p{k % patients}" for k in range(40)])
    found = compare_model_pairs([enter("knows", {0: answer(rows, 9, 0)}), enter("guesses", {0: answer(rows, -9, 1)})])
    for row in found["pairs"]:
        assert row["verdict"] == UNDECIDABLE
        assert f"cannot be decided with {reason}" in row["reason"]
        assert row["low"] is row["p"] is None
        assert row["smallest_p"] == 2 / 2**patients
    assert {(row["best"], row["worst"]) for row in found["ranks"]} == {(1, 2)}


def test_six_patients_decide_one_pair_but_not_three_of_them():
    rows = draw_rows(60, 6).assign(patient_id=[f"p{k % 6}" for k in range(60)])
    two = [enter(name, {0: answer(rows, skill, seed)}) for seed, (name, skill) in enumerate((("a", 1.5), ("b", -1.5)))]
    assert table(compare_model_pairs(two)["pairs"], "accuracy")["verdict"].tolist() == [BETTER]
    three = compare_model_pairs([*two, enter("c", {0: answer(rows, 0, 9)})])
    verdicts = table(three["pairs"], "accuracy")
    assert set(verdicts["verdict"]) == {UNDECIDABLE}
    assert set(verdicts["reason"]) == {"cannot be decided with 6 patients and 3 model pairs"}


def test_where_no_patients_are_published_the_reason_counts_groups():
    rows = draw_rows(40, 4).assign(patient_id=[f"p{k % 4}" for k in range(40)])
    scored = [answer(rows, 9, 0), answer(rows, -9, 1)]
    for metrics, _ in scored:
        metrics["patients"] = None
    (row, *_) = compare_model_pairs([enter("a", {0: scored[0]}), enter("b", {0: scored[1]})])["pairs"]
    assert "cannot be decided with 4 groups of images" in row["reason"]


def test_two_models_with_the_same_answers_are_no_difference_that_could_be_decided():
    rows = draw_rows(100, 100)
    scored = answer(rows, 1.0, 0)
    for row in compare_model_pairs([enter("one", {0: scored}), enter("same", {0: scored})])["pairs"]:
        assert (row["verdict"], row["reason"]) == (UNDECIDABLE, "both models give the same answers")


def test_test_images_in_another_order_are_still_the_same_images():
    metrics, cases = answer(draw_rows(100, 100), 1.0, 0)
    shuffled = cases.sample(frac=1, random_state=0).reset_index(drop=True)
    for row in compare_model_pairs([enter("one", {0: (metrics, cases)}), enter("other", {0: (metrics, shuffled)})])[
        "pairs"
    ]:
        assert (row["groups"], row["reason"]) == (0, "both models give the same answers")


def test_a_false_positive_rate_is_better_where_it_is_smaller():
    assert [judge_pair(0.1, 0.01, lower) for lower in (False, True)] == [BETTER, WORSE]
    assert judge_pair(0.1, 0.05) == judge_pair(0.1, np.nan) == UNDECIDED


def draw_slices(patients, false_lesions):
    """Four slices a patient, two with a lesion of 8 pixels of which most are found; or all slices with a false one."""
    rng = np.random.default_rng(0)
    names = np.repeat([f"p{k}" for k in range(patients)], 4)
    rows = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(names))], "copy": 0, "patient_id": names})
    rows = rows.assign(group=names, duplicate_set=rows["image_id"])
    truth = np.zeros((len(names), 4, 8), np.uint8)
    truth[::2, 0] = truth[1::4, 0] = 1
    guess = truth * (rng.random(truth.shape) < 0.8)
    if false_lesions:
        guess[3::4, 3, :2] = 1
    return rows.assign(source="", fold="test", truth=-1, seed=0), truth, guess.astype(np.uint8)


def test_false_lesions_on_lesion_free_slices_leave_dice_alone_and_decide_the_false_positive_rate():
    models = [
        enter(name, {0: evaluate_segmentation(*draw_slices(20, false), LESIONS)})
        for name, false in (("careful", False), ("eager", True))
    ]
    found = compare_model_pairs(models)
    dice, rate = (
        table(found["pairs"], metric).to_dict("records")[0] for metric in ("dice_lesion", "false_positive_rate")
    )
    assert (dice["difference"], dice["verdict"]) == (0, UNDECIDABLE)
    assert rate["difference"] == -1
    assert rate["low"] == -1
    assert rate["high"] == pytest.approx(1 - 2 * 0.025 ** (1 / 20))  # 20 of 20 patients; a share of 1 from .832 on
    assert rate["p"] == pytest.approx(2.0**-19)  # all 20 signs alike, in either direction
    assert (rate["verdict"], rate["scope"]) == (BETTER, TRAINED)
    check_agreement(found)


def test_a_dice_that_differs_on_every_slice_has_difference_interval_and_p_that_agree():
    rows, truth, guess = draw_slices(20, True)
    worse = guess * (np.random.default_rng(1).random(guess.shape) < 0.6)
    models = [
        enter(n, {0: evaluate_segmentation(rows, truth, g, LESIONS)}) for n, g in (("one", guess), ("other", worse))
    ]
    found = compare_model_pairs(models)
    (dice,) = table(found["pairs"], "dice_lesion").to_dict("records")
    assert dice["low"] > 0.1
    assert dice["p"] < 0.001
    assert dice["verdict"] == BETTER
    check_agreement(found)


def test_a_model_with_fewer_seeds_is_not_compared():
    rows = draw_rows(60, 60)
    whole = enter("whole", {s: answer(rows, 1, s) for s in (0, 1)})
    found = compare_model_pairs([whole, enter("half", {0: answer(rows, 1, 5)})])
    assert {row["architecture"] for row in found["ranks"]} == {"whole"}


def test_the_error_of_an_accuracy_alone_is_that_of_a_share():
    found = compare(skills=(("only", 1.0),))
    row = table(found["resolution"], "accuracy").iloc[0]
    score = table(found["ranks"], "accuracy").iloc[0]["score"]
    assert row["error"] == pytest.approx(np.sqrt(2 * score * (1 - score) / 200), rel=0.08)
    expected = (stats.t.ppf(0.975, 199) + stats.t.ppf(0.8, 199)) * row["error"]
    assert row["resolvable"] == pytest.approx(expected, rel=1e-3)
    assert row["basis"] == "one model; a contestant independent of it"
