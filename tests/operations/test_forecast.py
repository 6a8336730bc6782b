"""Forecasts: what is planned, times what a step costs here or what finished runs took."""

import json

import numpy as np
import pandas as pd
import pytest

from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS
from covbench.experiment.config import check_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.runs import RunRecord, RunState
from covbench.operations.forecast import (
    Cost,
    Line,
    choose_trainings,
    count_folds,
    estimate_cost,
    estimate_folds,
    forecast_line,
    forecast_trainings,
    group_trainings,
    show_lines,
    show_seconds,
    wall_clock,
)
from covbench.operations.step_timings import StepTimings, describe_setting
from covbench.protocols import PROTOCOLS, split_rule
from covbench.schema import CovbenchError

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
    assert by_timing.cost.basis == "timing"
    assert (by_runs.cost.basis, by_runs.cost.seconds, by_runs.cost.disk_mb) == ("1 finished", 77.0, 1.0)


def test_a_timing_at_another_size_is_scaled_by_the_pixels(entry, tmp_path):
    known = keep_timing(entry, tmp_path, size=16)
    keep_timing(entry, tmp_path, architecture="vgg16")
    timing, note = known.find(entry)
    assert (timing["fine_tune"], timing["forward"], timing["setup"]) == (12.0, 4.0, 5.0)
    assert note == "timing at 16, batch 4"


def test_nothing_is_known_of_a_network_that_was_never_timed(entry, tmp_path):
    known = keep_timing(entry, tmp_path, architecture="vgg16")
    assert forecast_line([missing(entry)], [], known, tmp_path).cost is None


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


def test_runs_side_by_side_end_with_the_longest_line():
    lines = [
        Line("t", "p", name, runs, 9, True, Cost(s, 1, 0, 1, 1, "")) for name, runs, s in (("a", 2, 60), ("b", 1, 100))
    ]
    assert wall_clock(lines, 1) == 220
    assert wall_clock(lines, 2) == 120  # 100, and 60 + 60 beside it
    assert wall_clock(lines, 3) == 100


def test_the_total_says_how_many_runs_it_lacks():
    known = Line("t", "p", "a", 2, 9, True, Cost(3600.0, 1, 0, 1, 1, "1 finished"))
    text = show_lines([known, Line("t", "p", "b", 3, 9, False, None)], 1)
    assert "2 runs: 2.0 h" in text
    assert "3 runs are not included" in text
    assert "~9" in text


def test_times_are_told_in_the_unit_that_suits():
    assert [show_seconds(seconds) for seconds in (45, 720, 12600)] == ["45 s", "12 min", "3.5 h"]


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
    measured = forecast_trainings(plan, tmp_path, 120)
    assert "timing small_cnn at 32" in capsys.readouterr().err
    assert forecast_trainings(plan, tmp_path, 120) == measured
    assert "timing small_cnn" not in capsys.readouterr().err
    assert (measured[0].runs, measured[0].cost.basis) == (2, "timing")
