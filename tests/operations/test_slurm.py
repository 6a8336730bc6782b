"""The user's cluster file: what is wrong in it is named, what stands in it reaches the rules."""

import pytest

from covbench.operations.slurm import place_rule, read_cluster
from covbench.schema import CovbenchError
from covbench.system.files import PROJECT

TRAINING = {"gpu": 1, "mem_mb": 12000, "runtime": 480}


def write(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def test_the_file_as_it_comes_asks_for_no_partition_and_no_account():
    placed = place_rule(read_cluster(PROJECT / "config" / "cluster.yaml"), TRAINING)
    assert set(placed) == {"mem_mb", "runtime"}


def test_trainings_go_where_gpus_are_and_the_rest_elsewhere(tmp_path):
    text = "account: lung\ncpu: {partition: short}\ngpu: {partition: big, model: a100, qos: night}\n"
    cluster = read_cluster(write(tmp_path, text))
    trained, scored = place_rule(cluster, TRAINING), place_rule(cluster, {"mem_mb": 2000})
    places = {"slurm_account": "lung", "slurm_partition": "big", "gpu_model": "a100", "qos": "night"}
    assert {name: trained[name] for name in trained if name not in ("mem_mb", "runtime")} == places
    assert {name: scored[name] for name in ("slurm_account", "slurm_partition")} == {
        "slurm_account": "lung",
        "slurm_partition": "short",
    }


def test_memory_and_time_grow_by_the_attempt_from_what_the_factors_make_of_them(tmp_path):
    placed = place_rule(read_cluster(write(tmp_path, "memory: 1.5\ntime: 0.5\n")), TRAINING)
    assert [placed["mem_mb"](None, attempt) for attempt in (1, 2, 3)] == [18000, 36000, 54000]
    assert [placed["runtime"](None, attempt) for attempt in (1, 2)] == [240, 480]


def test_a_job_never_asks_for_less_memory_than_the_two_snakemakes_in_it_need(tmp_path):
    placed = place_rule(read_cluster(write(tmp_path, "memory: 0.01\n")), {"mem_mb": 2000})
    assert placed["mem_mb"](None, 1) == 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acount: lung", "acount: unknown key; did you mean 'account'?"),
        ("gpu: {partion: big}", "gpu.partion: unknown key; did you mean 'partition'?"),
        ("memory: 0", "memory: 0 is too small; it has to be above 0"),
        ("gpu: {model: 'a100; rm'}", "gpu.model: 'a100; rm'"),
        ("- a\n- b", "expected keys and values"),
        ("cpu: {", "cluster.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_the_file(tmp_path, text, message):
    with pytest.raises(CovbenchError, match=r"cluster\.yaml") as caught:
        read_cluster(write(tmp_path, text))
    assert message in str(caught.value)
