"""The list of planned runs, on results trees that are drawn; real trainings are in tests/workflow."""

import pytest
import yaml

from covbench.experiment.config import read_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.run_locks import lock_run, note_failure, run_checkpoints
from covbench.experiment.runs import RunRecord, RunState, examine_runs
from covbench.experiment.status import count_states, describe_status, list_machines, shorten_seeds, show_runs
from covbench.schema import CovbenchError, Run
from tests.run_records import ONE_NETWORK, finish_training, plan_unknown


def write_config(folder, **changes):
    path = folder / "changes.yaml"
    path.write_text(yaml.safe_dump(ONE_NETWORK | changes))
    return path


COUNTS = {"scored": 0, "trained": 4, "stale": 1, "running": 0, "failed": 0, "missing": 1}


@pytest.fixture
def results(tmp_path):
    """vgg16: seed 0 trained, seed 1 trained with other options, seed 2 missing; majority trained for all seeds."""
    other = write_config(tmp_path, options={"audited": {"classification": {"batch_size": 7}}})
    vgg16 = [planned for planned in plan_runs(read_config(other)) if planned.run.architecture == "vgg16"]
    finish_training(tmp_path, vgg16[1])
    plan = plan_runs(read_config(write_config(tmp_path)))
    for planned in plan:
        if planned.run.architecture == "majority" or planned.run.seed == 0:
            finish_training(tmp_path, planned)
    return tmp_path, plan


def test_runs_are_counted_by_state_and_a_stale_one_says_why(results):
    root, plan = results
    runs = examine_runs(plan, root)
    assert count_states(runs) == COUNTS
    lines = [line.split(maxsplit=5) for line in show_runs(runs).splitlines()]
    assert lines[0][:3] == ["6", "runs", "planned:"]
    assert lines[3][:5] == ["covid_ct", "audited", "majority", "trained", "0-2"]
    assert ["covid_ct", "audited", "vgg16", "stale", "1", "batch_size 7 (planned 32)"] in lines
    assert ["covid_ct", "audited", "vgg16", "missing", "2"] in lines


def test_networks_from_different_machines_are_counted_and_those_of_one_machine_are_not_mentioned():
    def record(seed, **machine):
        manifest = {"device": "cpu", "cpu": "EPYC", "instruction_set": "AVX512_CORE"} | machine
        return RunRecord(plan_unknown(Run("covid_ct", "audited", "vgg16", seed)), RunState.TRAINED, manifest=manifest)

    assert list_machines([record(0), record(1)]) == []
    runs = [record(0), record(1), record(2, instruction_set="AVX2"), record(3, device="NVIDIA A100")]
    (line,) = list_machines(runs)
    assert line.endswith("numbers: 2 on EPYC (AVX512_CORE), 1 on EPYC (AVX2), 1 on NVIDIA A100")
    assert line in show_runs(runs)


def test_a_run_whose_lock_is_held_is_running_and_missing_again_when_its_process_is_gone(results):
    root, plan = results
    missing = Run("covid_ct", "audited", "vgg16", 2)
    with lock_run(root / run_checkpoints(missing)):
        assert count_states(examine_runs(plan, root))["running"] == 1
    assert count_states(examine_runs(plan, root)) == COUNTS


def test_a_run_whose_training_raised_an_error_has_failed_until_it_is_started_again(results, monkeypatch):
    root, plan = results
    monkeypatch.chdir(root)
    run = Run("covid_ct", "audited", "vgg16", 2)
    with pytest.raises(CovbenchError), note_failure(run):
        raise CovbenchError("batch 3: the loss is\nno number")
    (failed,) = [planned for planned in examine_runs(plan, root) if planned.state == "failed"]
    assert (failed.seed, failed.reason) == (2, "batch 3: the loss is no number")
    assert "batch 3" in show_runs(examine_runs(plan, root))
    with pytest.raises(SystemExit), note_failure(run):
        raise SystemExit(75)  # told to stop, which is no failure; and the note of the last one is gone
    assert count_states(examine_runs(plan, root))["failed"] == 0


def test_json_holds_each_run_with_its_state_and_differences(results):
    root, plan = results
    described = describe_status(examine_runs(plan, root))
    assert described["counts"] == COUNTS
    (stale,) = [run for run in described["runs"] if run["state"] == "stale"]
    assert (stale["folder"], stale["seed"], stale["accepted"]) == ("results/runs/covid_ct/audited/vgg16/1", 1, None)
    assert stale["differences"] == [{"part": "options", "name": "batch_size", "trained": 7, "planned": 32}]


def test_a_config_is_merged_and_checked_as_snakemake_does(tmp_path):
    config = read_config(write_config(tmp_path))
    assert config["tracking"]["uri"] == "sqlite:///results/mlflow.db"  # from config/config.yaml
    assert config["weights"] == "none"
    with pytest.raises(CovbenchError, match="unknown name 'vgg61'"):
        read_config(write_config(tmp_path, architectures={"classification": ["vgg61"], "segmentation": []}))
    with pytest.raises(CovbenchError, match=r"absent\.yaml: No such file"):
        read_config(tmp_path / "absent.yaml")


def test_seeds_in_a_row_are_written_as_a_range():
    assert shorten_seeds([2, 0, 1, 7]) == "0-2,7"
    assert shorten_seeds([5]) == "5"
