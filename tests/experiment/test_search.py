"""A search: the same rates for every network, chosen by the validation loss alone, and nothing of it when it is off."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from covbench.evaluation.comparison.searches import tabulate_search
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.experiment.acceptance import accept
from covbench.experiment.accepted_edits import fingerprint_decisions
from covbench.experiment.config import check_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.provenance import expect_inputs, fingerprint_plan
from covbench.experiment.runs import RunState, examine_runs
from covbench.experiment.search import choose_trial, draw_factors
from covbench.experiment.trials import UNSEARCHED, read_trials, settle_run
from covbench.experiment.verify import verify
from covbench.operations.dvc_timestamps import find_foreign
from covbench.operations.forecast import examine_trials
from covbench.schema import Run
from tests.run_records import finish_training, finish_trial, rewrite_manifest

TWO_TASKS = {
    "tasks": ["covid_ct", "radiography"],
    "architectures": {"classification": ["vgg16", "resnet50"], "segmentation": []},
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["published", "audited"],
    "seeds": [0, 1],
    "weights": "none",
}
SEARCHED = TWO_TASKS | {"search": {"trials": 4, "factors": [0.1, 10.0]}}
ONE = {"tasks": ["covid_ct"], "architectures": {"classification": ["vgg16"]}, "protocols": ["audited"]}
FIT = "covbench.training.fit"


def plan_one(**changes):
    """The only run of a config, with three trials."""
    (planned,) = plan_runs(
        check_config(TWO_TASKS | ONE | {"seeds": [0], "baselines": {}, "search": {"trials": 3}} | changes)
    )
    return planned


@pytest.fixture
def planned():
    return plan_one()


def finish(root, planned, *losses):
    for trial, loss in zip(planned.trials, losses, strict=False):
        finish_trial(root, trial, loss)


def test_without_a_search_the_plan_is_the_same_whether_or_not_the_key_is_there():
    off = plan_runs(check_config(TWO_TASKS | {"search": None}))
    without = check_config(TWO_TASKS)
    del without["search"]
    assert off == plan_runs(without)
    assert not any(planned.trials or "trials" in planned.describe() for planned in off)
    on = plan_runs(check_config(SEARCHED))
    assert [replace(planned, trials=()) for planned in on] == off
    assert fingerprint_plan(on) != fingerprint_plan(off)


def test_only_networks_under_audited_are_searched_and_each_seed_has_as_many_trials():
    for planned in plan_runs(check_config(SEARCHED)):
        searched = planned.is_deep and planned.run.protocol == "audited"
        assert len(planned.trials) == (4 if searched else 0)


def test_every_network_of_every_task_gets_the_same_rates_and_every_seed_others():
    rates = {}
    for planned in plan_runs(check_config(SEARCHED)):
        if planned.trials:
            options = [(trial.options.head_rate, trial.options.fine_tune_rate) for trial in planned.trials]
            rates.setdefault(planned.run.seed, []).append(options)
    assert {seed: len(found) for seed, found in rates.items()} == {0: 4, 1: 4}
    assert all(found.count(found[0]) == 4 for found in rates.values())
    assert not {*rates[0][0][1:]} & {*rates[1][0][1:]}


def test_the_first_trial_has_the_options_of_the_run_and_the_others_one_factor_for_both_rates(planned):
    own, *others = [trial.options for trial in planned.trials]
    assert own == planned.options
    for options in others:
        factor = options.fine_tune_rate / own.fine_tune_rate
        assert options.head_rate / own.head_rate == pytest.approx(factor, rel=1e-2)
        assert replace(options, head_rate=own.head_rate, fine_tune_rate=own.fine_tune_rate) == own
        assert float(f"{options.head_rate:.3g}") == options.head_rate


def test_factors_are_spread_evenly_over_orders_of_magnitude():
    factors = np.array(draw_factors(3000, (0.1, 10.0), 0))
    assert 0.1 <= factors.min() < 0.101
    assert 9.9 < factors.max() <= 10.0
    counts, _ = np.histogram(np.log10(factors), 4, (-1, 1))
    assert (abs(counts - 750) < 5 * math.sqrt(750)).all()


def test_more_trials_leave_the_first_ones_as_they_are(planned):
    assert plan_one(search={"trials": 5}).trials[:3] == planned.trials


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [([0.5, 0.4, 0.6], 1), ([0.5, 0.4, 0.4], 1), ([0.4, 0.4, 0.5], 0), ([None, 0.9, 0.8], 2), ([None, None], 0)],
)
def test_the_lowest_validation_loss_wins_and_the_earlier_of_two_equal_ones(losses, chosen):
    assert choose_trial(losses) == chosen


def test_a_run_has_the_rates_of_the_best_trial_once_all_have_finished(planned, tmp_path):
    finish(tmp_path, planned, 0.5, 0.4)
    assert settle_run(planned, tmp_path).options.fine_tune_rate == UNSEARCHED
    assert settle_run(planned, tmp_path).options.size == planned.options.size
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    assert settle_run(planned, tmp_path).options == planned.trials[1].options
    assert expect_inputs(planned, tmp_path)["options"] == vars(planned.trials[1].options)


def test_what_decides_a_run_is_what_decides_it_with_these_rates_in_the_config(planned, tmp_path):
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    rates = {name: getattr(planned.trials[1].options, name) for name in ("head_rate", "fine_tune_rate")}
    by_hand = plan_one(search=None, options={"audited": {"covid_ct": rates}})
    assert fingerprint_decisions(settle_run(planned, tmp_path)) == fingerprint_decisions(by_hand)


@pytest.mark.parametrize("damage", ["cut", "edited", "of another trial", "of other options"])
def test_a_trial_that_is_not_the_planned_one_decides_nothing(planned, tmp_path, damage):
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    path = tmp_path / planned.trials[1].run.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if damage == "cut":
        path.write_text(path.read_text()[:-20])
    elif damage == "edited":
        path.write_text(json.dumps(manifest | {"val_loss": 0.9}))
    elif damage == "of another trial":
        manifest["inputs"]["run"]["trial"] = 2
        rewrite_manifest(path, manifest)
    else:
        manifest["inputs"]["options"]["batch_size"] = 1
        rewrite_manifest(path, manifest)
    assert read_trials(planned, tmp_path) == []
    assert settle_run(planned, tmp_path).options.head_rate == UNSEARCHED
    assert len(verify(tmp_path).damages) == (damage in ("cut", "edited"))


def test_the_trial_that_wins_after_the_run_makes_it_stale_and_an_edited_search_too(planned, tmp_path):
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    finish_training(tmp_path, planned)
    assert [record.state for record in examine_runs([planned], tmp_path)] == [RunState.TRAINED]
    assert [record.state for record in examine_trials([planned], tmp_path)] == [RunState.TRAINED] * 3
    more = plan_one(search={"trials": 4})
    (record,) = examine_runs([more], tmp_path)
    assert record.state is RunState.STALE
    assert f"planned '{UNSEARCHED}'" in record.reason
    assert [record.state for record in examine_trials([more], tmp_path)] == [RunState.TRAINED] * 3 + [RunState.MISSING]
    finish_trial(tmp_path, more.trials[3], 0.45)
    assert [record.state for record in examine_runs([more], tmp_path)] == [RunState.TRAINED]
    finish_trial(tmp_path, more.trials[3], 0.35)
    (record,) = examine_runs([more], tmp_path)
    assert {difference.name for difference in record.differences} == {"head_rate", "fine_tune_rate"}


def test_an_accepted_edit_is_accepted_for_the_trials_too(planned, tmp_path):
    for trial, loss in zip(planned.trials, (0.5, 0.4, 0.6), strict=True):
        finish_trial(tmp_path, trial, loss, edited=FIT)
    finish_training(tmp_path, planned, edited=FIT)
    assert [record.state for record in examine_trials([planned], tmp_path)] == [RunState.STALE] * 3
    before = [fingerprint_decisions(trial, tmp_path) for trial in planned.trials]
    accept([planned], [planned.run.folder], "a comment", tmp_path)
    assert [record.state for record in examine_runs([planned], tmp_path)] == [RunState.TRAINED]
    assert [record.state for record in examine_trials([planned], tmp_path)] == [RunState.TRAINED] * 3
    after = [fingerprint_decisions(trial, tmp_path) for trial in planned.trials]
    assert not {*before} & {*after}


def test_trials_whose_snakemake_metadata_are_missing_are_foreign(planned, tmp_path):
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    assert find_foreign([planned], {}, tmp_path) == [f"{trial.run.folder}/manifest.json" for trial in planned.trials]


def test_a_trial_and_its_run_share_no_folder_of_results_or_checkpoints(planned):
    paths = [planned.run.path, *(trial.run.path for trial in planned.trials)]
    assert paths[0] == Run("covid_ct", "audited", "vgg16", 0).path == "covid_ct/audited/vgg16/0"
    assert not any(one != other and f"{other}/".startswith(f"{one}/") for one in paths for other in paths)


def test_the_table_has_every_trial_with_its_cost_and_marks_the_chosen_one(planned, tmp_path):
    finish(tmp_path, planned, 0.5, 0.4)
    assert tabulate_search([planned], tmp_path).empty
    finish(tmp_path, planned, 0.5, 0.4, None)
    table = tabulate_search([planned], tmp_path)
    assert list(table) == list(COMPARE_TABLES["search"])
    assert table["chosen"].tolist() == ["no", "yes", "no"]
    assert table["val_loss"].tolist()[:2] == [0.5, 0.4]
    assert math.isnan(table["val_loss"][2])
    assert table["fine_tune_rate"].tolist() == [trial.options.fine_tune_rate for trial in planned.trials]
    assert table["seconds"].sum() == 180


def test_the_table_leaves_out_the_rate_of_a_phase_that_is_skipped(tmp_path):
    planned = plan_one(options={"audited": {"covid_ct": {"head_epochs": 0}}})
    finish(tmp_path, planned, 0.5, 0.4, 0.6)
    assert tabulate_search([planned], tmp_path)["head_rate"].isna().all()
