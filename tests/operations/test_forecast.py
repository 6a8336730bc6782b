"""Forecasts: what is planned, times what a step costs here or what finished runs took."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS
from covbench.experiment.config import check_config, read_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.runs import RunRecord, RunState
from covbench.operations.forecast import (
    Line,
    choose_trainings,
    forecast_line,
    forecast_study,
    forecast_trainings,
    group_trainings,
    wall_clock,
)
from covbench.operations.gpu_classes import read_classes
from covbench.operations.run_costs import Cost, count_folds, estimate_cost, estimate_folds
from covbench.operations.step_timings import PROBES, StepTimings, describe_setting, plan_probe
from covbench.protocols import PROTOCOLS, split_rule
from covbench.schema import CovbenchError
from tests.run_records import finish_trial

CONFIG = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["small_cnn"], "segmentation": []},
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0, 1],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": {"size": 32, "batch_size": 4, "head_epochs": 0, "fine_tune_epochs": 2}}},
    "tracking": {"uri": "sqlite:///mlflow.db"},
}
TIMING = {
    "setup": 5.0,
    "head": 0.0,
    "fine_tune": 3.0,
    "forward": 1.0,
    "memory_mb": 900.0,
    "gpu_mb": 0.0,
    "parameters": 2**18,
}


@pytest.fixture
def plan():
    return plan_runs(check_config(CONFIG))


@pytest.fixture
def entry(plan):
    return next(planned for planned in plan if planned.run.architecture == "small_cnn")


def keep_timing(entry, folder, **changes):
    """A timing of an entry's setting, changed a little, as an earlier forecast would have left it."""
    known = StepTimings(folder)
    known.folder.mkdir(parents=True, exist_ok=True)
    kept = {"setting": describe_setting(entry) | changes, "timing": TIMING}
    (known.folder / f"{len(known.kept)}.json").write_text(json.dumps(kept))
    return StepTimings(folder)


def finish(entry, folder, seconds):
    facts = {"seconds": seconds, "peak_memory_mb": 1000, "parameters": 2**18}
    record = RunRecord(entry, RunState.SCORED, folder, manifest=facts)
    record.folder.mkdir(parents=True)
    (record.folder / "model.keras").write_bytes(bytes(2**20))
    return record


def missing(entry):
    return RunRecord(entry, RunState.MISSING)


def test_a_run_costs_its_epochs_of_steps_refreshing_and_validating_and_its_predictions(entry):
    # An epoch: 10 steps of 3 s, 10 batches refreshed and 2 validated at 1 s. Then 2 + 3 batches predicted.
    cost = estimate_cost(entry, {"train": 40, "val": 8, "test": 9}, TIMING, "timing")
    assert cost.seconds == 8 + 5 + 2 * (30 + 10 + 2) + 2 + 3
    assert cost.disk_mb == 1
    assert cost.scratch_mb == 8


def test_finished_runs_outweigh_a_timing(plan, entry, tmp_path):
    known = keep_timing(entry, tmp_path)
    first, second = (planned for planned in plan if planned.run.architecture == "small_cnn")
    by_timing = forecast_line([missing(second)], [], known, tmp_path)
    by_runs = forecast_line([missing(second)], [finish(first, tmp_path, 77.0)], known, tmp_path)
    assert by_timing.cost.basis == "measured"
    assert (by_runs.cost.basis, by_runs.cost.seconds, by_runs.cost.disk_mb) == ("1 finished", 77.0, 1.0)


def test_a_timing_at_another_size_is_scaled_by_the_pixels(entry, tmp_path):
    known = keep_timing(entry, tmp_path, size=16)
    keep_timing(entry, tmp_path, architecture="vgg16")
    timing, note = known.find(entry)
    assert (timing["fine_tune"], timing["forward"], timing["setup"]) == (12.0, 4.0, 5.0)
    assert note == "estimated, from 16 px, batch 4"


def test_nothing_is_known_of_a_network_that_was_never_timed(entry, tmp_path):
    known = keep_timing(entry, tmp_path, architecture="vgg16")
    assert forecast_line([missing(entry)], [], known, tmp_path).cost is None


def test_kept_features_cost_the_backbone_once_per_view_and_the_head_in_every_epoch(entry):
    options = replace(entry.options, head_epochs=3, fine_tune_epochs=0, augmented_views=8)
    timing = TIMING | {"head": 1.5}
    # 8 views of 10 batches and 2 batches of validation images at 1 s; 3 epochs of 10 steps, 0.5 s of each for the head.
    cost = estimate_cost(replace(entry, options=options), {"train": 40, "val": 8, "test": 9}, timing, "measured")
    assert cost.seconds == 8 + 5 + (80 + 2) + 3 * 10 * 0.5 + 2 + 3


def keep_probes(folder):
    """Timings of all probes for the default config, with invented seconds."""
    plan = plan_runs(read_config())
    for probe in PROBES:
        keep_timing(plan_probe(next(run for run in plan if run.is_deep), *probe), folder)
    return plan


def test_a_few_timed_networks_make_every_run_of_the_default_grid_known(tmp_path):
    forecast = forecast_study(keep_probes(tmp_path), tmp_path, 0)
    assert sum(line.runs for line in forecast.lines) == 1107
    assert {line.cost.basis.split(",")[0] for line in forecast.lines} == {"estimated"}
    assert all(line.cost.seconds > 0 and line.cost.disk_mb > 0 for line in forecast.lines)
    assert f"of {len(PROBES)} networks" in forecast.error


def test_classes_of_gpus_are_forecast_without_any_timing(tmp_path, monkeypatch):
    monkeypatch.setattr("covbench.operations.forecast.list_gpus", list)
    forecast = forecast_study(plan_runs(read_config()), tmp_path, 0)
    assert {line.cost for line in forecast.lines} == {None}
    assert [gpu for gpu, _ in forecast.on_classes] == list(read_classes())
    assert all(line.cost and line.cost.basis == "estimated" for _, lines in forecast.on_classes for line in lines)
    hours = [wall_clock([line for line in lines if line.cost.micro_batches], 1) for _, lines in forecast.on_classes]
    assert hours[0] == max(hours)  # the T4's


def test_no_class_is_shown_where_a_gpu_is_at_hand(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("covbench.operations.forecast.list_gpus", lambda: ["0"])
    assert forecast_study(plan, tmp_path, 0).on_classes == []


def test_a_drawn_split_says_how_many_images_there_are(entry, tmp_path):
    split = tmp_path / entry.inputs.split
    split.parent.mkdir(parents=True)
    pd.DataFrame({"fold": ["train"] * 5 + ["val", "test", "test"]}).to_parquet(split)
    assert count_folds(entry, tmp_path) == {"train": 5, "val": 1, "test": 2}


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("name", ["sarscov2_ct", "radiography", "zenodo_infection"])
def test_the_images_of_a_rule_are_about_those_of_the_split_that_it_makes(name, protocol):
    task, number = TASKS[name], 1800
    rows = pd.DataFrame({"image_id": [f"i{i}" for i in range(number)]})
    rows["patient_id"] = [f"p{i // 3}" for i in range(number)]
    rows = rows.assign(label=np.resize(task.classes, number // 3).repeat(3), source="", official_fold="")
    pairs = pd.DataFrame({"image_id": [], "other_id": []})
    rule = split_rule(protocol, task)
    made = assign_folds(rows, pairs, task, rule, 0)["fold"].value_counts().to_dict()
    assert estimate_folds(rule, number) == pytest.approx(made, rel=0.03)


def test_only_trainings_that_are_still_to_do_are_forecast(plan):
    deep = [planned for planned in plan if planned.is_deep]
    runs = [RunRecord(deep[0], RunState.TRAINED), RunRecord(deep[1], RunState.STALE), *map(missing, plan[2:])]
    ((to_do, finished),) = group_trainings(runs)
    assert [run.seed for run in to_do] == [1]
    assert [run.seed for run in finished] == [0]
    assert group_trainings([RunRecord(entry, RunState.SCORED) for entry in deep]) == []


def test_the_trials_of_a_search_have_a_line_of_their_own_and_keep_no_model(tmp_path):
    plan = plan_runs(check_config(CONFIG | {"search": {"trials": 3}}))
    entry = next(planned for planned in plan if planned.trials)
    keep_timing(entry, tmp_path)
    trials, runs = forecast_trainings(plan, tmp_path, 0)
    assert (trials.architecture, trials.runs, trials.cost.disk_mb) == ("small_cnn trials", 6, 0)
    assert (runs.architecture, runs.runs, runs.cost.disk_mb) == ("small_cnn", 2, 1)
    assert trials.cost.seconds == runs.cost.seconds > 0
    finish_trial(tmp_path, entry.trials[1], 0.5)
    assert forecast_trainings(plan, tmp_path, 0)[0].runs == 5


def test_runs_side_by_side_end_with_the_longest_line():
    lines = [
        Line("t", "p", name, runs, 9, True, Cost(s, 1, 0, 1, 1, "")) for name, runs, s in (("a", 2, 60), ("b", 1, 100))
    ]
    assert wall_clock(lines, 1) == 220
    assert wall_clock(lines, 2) == 120  # 100, and 60 + 60 beside it
    assert wall_clock(lines, 3) == 100


def test_networks_are_chosen_by_name_and_a_name_that_fits_none_is_refused(plan):
    assert {run.run.architecture for run in choose_trainings(plan, ["small_*"])} == {"small_cnn"}
    assert choose_trainings(plan, []) == plan
    with pytest.raises(CovbenchError, match="small_cmn: no planned network has this name; did you mean 'small_cnn'"):
        choose_trainings(plan, ["small_cnn", "small_cmn"])
    with pytest.raises(CovbenchError, match="--only majority: no planned network"):
        choose_trainings(plan, ["majority"])  # a baseline, which is not forecast


def test_a_timing_that_was_cut_short_is_named(entry, tmp_path):
    known = keep_timing(entry, tmp_path)
    (known.folder / "0.json").write_text('{"setting": ')
    with pytest.raises(CovbenchError, match=r"0\.json: damaged .* delete it"):
        StepTimings(tmp_path)


def test_steps_are_timed_for_real_once_and_the_next_forecast_reads_what_was_kept(plan, tmp_path, capsys):
    assert [line.cost for line in forecast_trainings(plan, tmp_path, 0)] == [None]
    measured = forecast_trainings(plan, tmp_path, 600)
    assert "timing small_cnn at 32" in capsys.readouterr().err
    assert forecast_trainings(plan, tmp_path, 600) == measured
    assert "timing small_cnn" not in capsys.readouterr().err
    assert (measured[0].runs, measured[0].cost.basis) == (2, "measured")


def test_a_timing_that_needs_longer_than_is_left_is_stopped(plan, tmp_path, capsys):
    assert [line.cost for line in forecast_trainings(plan, tmp_path, 0.5)] == [None]
    assert "stopped: no time is left" in capsys.readouterr().err
    assert StepTimings(tmp_path).kept == []


def test_networks_that_the_table_lacks_come_first_then_probes_then_the_quickest(plan, entry, tmp_path, monkeypatch):
    grid = [run for run in plan_runs(read_config()) if run.run.architecture in ("nasnetlarge", "xception")]
    asked = []
    monkeypatch.setattr(StepTimings, "_measure", lambda _, planned, left: asked.append(planned.run.architecture))
    StepTimings(tmp_path).measure([*grid, entry], 60)
    assert asked[: 1 + len(PROBES)] == ["small_cnn", *(name for name, *_ in PROBES)]
    keep_probes(tmp_path)
    asked.clear()
    StepTimings(tmp_path).measure([*grid, entry], 1e6)
    assert (asked[:2], set(asked[2:])) == (["small_cnn", "xception"], {"xception", "nasnetlarge"})
    asked.clear()
    StepTimings(tmp_path).measure([*grid, entry], 1e-3)
    assert asked in ([], ["small_cnn"])  # what is expected to take longer than the time that is left is not begun
