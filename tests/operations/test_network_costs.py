"""What networks cost: counted by hand for a small one, and joined with what trainings took."""

from itertools import pairwise

import pandas as pd
import pytest

from covbench.models.networks.small_cnn import FILTERS
from covbench.operations import network_costs
from covbench.operations.network_costs import measure_costs, show_costs, summarize_trainings
from covbench.schema import CovbenchError
from covbench.system.files import write_table

ANSWER = {"side": 224, "parameters": 1, "multiply_adds": 2, "latency_ms": 3.4, "processor_ms": 3.0, "memory_mb": 900}


def test_a_network_is_measured_in_a_process_of_its_own_and_only_once(tmp_path, capfd):
    (row,) = measure_costs(["small_cnn"], tmp_path).to_dict("records")
    kernels = [9 * before * after for before, after in pairwise((3, *FILTERS))]
    norms, head = 4 * sum(FILTERS), 128 * 4  # four classes on the mean of the features
    assert row["parameters"] == sum(kernels) + norms + head + 4
    positions = [(224 // 2**block) ** 2 for block in range(5)]
    assert row["multiply_adds"] == sum(k * p for k, p in zip(kernels, positions, strict=True)) + head
    assert row["latency_ms"] > 0
    assert row["memory_mb"] > 100
    assert "measuring small_cnn" in capfd.readouterr().err
    again = measure_costs(["small_cnn"], tmp_path)
    assert again["latency_ms"].tolist() == [row["latency_ms"]]
    assert capfd.readouterr().err == ""


def test_an_unknown_network_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(CovbenchError, match="unknown architecture 'mobilnet'"):
        measure_costs(["mobilnet"], tmp_path)


def test_trainings_give_their_median_seconds_and_largest_memory(tmp_path, monkeypatch):
    runs = [("vgg16", 10, 900, 0.001, "estimated"), ("vgg16", 40, 1100, 0.004, "measured")]
    runs += [("vgg16", 30, 1000, 0.003, "measured"), ("vgg19", None, None, None, None)]
    folder = tmp_path / "results" / "compare"
    folder.mkdir(parents=True)
    columns = ["architecture", "seconds", "peak_memory_mb", "energy_kwh", "energy_basis"]
    write_table(folder / "runs.csv", pd.DataFrame(runs, columns=columns))
    (row,) = summarize_trainings(folder / "runs.csv").to_dict("records")
    assert row == {"architecture": "vgg16", "trainings": 3, "train_seconds": 30, "train_memory_mb": 1100} | {
        "train_kwh": 0.003,
        "energy_basis": "estimated, measured",
    }
    monkeypatch.setattr(network_costs, "_measure", lambda *_: ANSWER)
    lines = show_costs(measure_costs(["vgg16", "vgg19"], tmp_path)).splitlines()
    shown = ["vgg16", "224", "1", "2", "3.4", "3", "900", "30", "1,100", "0.003", "estimated,", "measured"]
    assert lines[1].split() == shown
    assert lines[2].split()[-4:] == ["-", "-", "-", "-"]
