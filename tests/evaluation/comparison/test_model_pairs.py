import numpy as np
import pandas as pd
import pytest
from scipy import stats

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import draw_patients, score_draws
from covbench.evaluation.comparison.model_pairs import DELONG, MCNEMAR, PERMUTATION, Contestant, compare_model_pairs
from covbench.schema import CLASSIFICATION, Run, Task
from tests.run_records import score_record

BINARY = Task("covid_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid")


def draw_rows(number, patients, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"p{k:03d}" for k in (np.arange(number) if patients == number else rng.integers(0, patients, number))]
    rows = pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "copy": 0, "patient_id": names})
    rows = rows.assign(group=names, duplicate_set=rows["image_id"])
    return rows.assign(source="", fold="test", seed=seed, truth=rng.integers(0, 2, number))


def enter(name, rows, skill, patients, weights, seeds=(0,)):
    """A model whose answers are drawn with a given skill, scored for real."""
    runs, averaged = {}, []
    for seed in seeds:
        rng = np.random.default_rng([seed, len(name)])
        p = 1 / (1 + np.exp(-rng.normal((rows["truth"] * 2 - 1) * skill, 1)))
        metrics, cases = evaluate_classification(rows.assign(p_0=1 - p, p_1=p), BINARY)
        runs[seed] = score_record(Run("covid_ct", "audited", name, seed), metrics, cases)
        averaged.append(score_draws(metrics, cases, patients, weights))
    names = runs[seeds[0]].metrics["metrics"]
    scores = {metric: float(np.mean([run.metrics["metrics"][metric] for run in runs.values()])) for metric in names}
    return Contestant(
        name, "deep", runs, scores, {m: np.mean([draws["", m] for draws in averaged], axis=0) for m in names}
    )


def compare(number=200, patients=200, seeds=(0,), skills=(("good", 1.5), ("twin2", 1.5), ("weakest", 0.1))):
    rows = draw_rows(number, patients)
    index = pd.Index(sorted(rows["patient_id"].unique()))
    weights = draw_patients(len(index), 2000)
    return compare_model_pairs([enter(name, rows, skill, index, weights, seeds) for name, skill in skills], index)


def test_models_alike_share_their_places_and_a_weaker_one_comes_last():
    ranks = pd.DataFrame(compare()["ranks"]).query("metric == 'auroc'").set_index("architecture")
    assert ranks.loc[["good", "twin2"], ["best", "worst"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert ranks.loc["weakest", ["best", "worst", "models"]].tolist() == [3, 3, 3]


def test_every_pair_is_tested_once_and_corrected_together():
    pairs = pd.DataFrame(compare()["pairs"])
    auroc = pairs.query("metric == 'auroc'").set_index(["one", "other"])
    assert len(auroc) == 3
    assert set(auroc["test"]) == {DELONG}
    assert auroc.loc[("good", "weakest"), "p_holm"] < 0.001 < auroc.loc[("good", "twin2"), "p_holm"]
    smallest = auroc["p"].idxmin()
    assert auroc.loc[smallest, "p_holm"] == pytest.approx(min(1, 3 * auroc.loc[smallest, "p"]))
    assert ((pairs["low"] <= pairs["difference"]) & (pairs["difference"] <= pairs["high"])).all()


def test_one_image_a_patient_is_tested_by_mcnemar_and_several_by_patients():
    alone, shared = (pd.DataFrame(compare(patients=count)["pairs"]) for count in (200, 40))
    assert set(alone.query("metric == 'accuracy'")["test"]) == {MCNEMAR}
    assert set(shared.query("metric == 'accuracy'")["test"]) == {PERMUTATION}
    several = pd.DataFrame(compare(seeds=(0, 1))["pairs"])
    assert set(several.query("metric == 'accuracy'")["test"]) == {PERMUTATION}


def test_a_model_with_fewer_seeds_is_not_compared():
    rows = draw_rows(60, 60)
    index = pd.Index(sorted(rows["patient_id"]))
    weights = draw_patients(60, 500)
    contestants = [enter("whole", rows, 1, index, weights, (0, 1)), enter("half", rows, 1, index, weights, (0,))]
    assert [row["architecture"] for row in compare_model_pairs(contestants, index)["ranks"]] == ["whole", "whole"]


def test_the_error_of_an_accuracy_alone_is_that_of_a_share():
    row = pd.DataFrame(compare(skills=(("only", 1.0),))["resolution"]).set_index("metric").loc["accuracy"]
    score = next(r["score"] for r in compare(skills=(("only", 1.0),))["ranks"] if r["metric"] == "accuracy")
    expected = np.sqrt(2 * score * (1 - score) / 200)
    assert row["error"] == pytest.approx(expected, rel=0.06)
    assert row["resolvable"] == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * row["error"])
    assert row["basis"] == "one model; a contestant independent of it"
