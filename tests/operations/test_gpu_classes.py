"""Classes of GPUs: hours, memory and energy from data sheets."""

import os

import pytest

from covbench.operations.gpu_classes import (
    RESERVED_MB,
    GpuClass,
    read_board_watts,
    read_classes,
)
from covbench.operations.network_work import SettingWork, StepWork, count_setting

NOTHING = StepWork(0, 0, 0, 0)
CLASSES = {gpu.name: gpu for gpu in read_classes()}

# Images per second of ResNet-50 at batch 256 on one GPU, as NVIDIA publishes them: NVIDIA/DeepLearningExamples,
# PyTorch/Classification/ConvNets/resnet50v1.5/README.md (A100 80 GB, V100 32 GB; of the T4 inference alone).
PUBLISHED = [
    ("A100", "float32", "fine_tune", 938),
    ("A100", "mixed_bfloat16", "fine_tune", 2470),
    ("V100", "float32", "fine_tune", 356),
    ("V100", "mixed_float16", "fine_tune", 1156),
    ("T4", "float32", "forward", 415),
    ("T4", "mixed_float16", "forward", 1198),
]


def make_work(**changes):
    step = StepWork(multiply_adds=7e12, bytes=7e11, layers=100, trained=0)
    usual = {"forward": step, "head": NOTHING, "fine_tune": NOTHING, "parameters": 0, "activations": 0, "passes": 0}
    return SettingWork(**usual | changes)


def test_a_step_takes_its_multiply_adds_its_bytes_and_its_launches():
    gpu = GpuClass("G", "plain", 10, 100, 1000, 16, 70, "")
    # 14 Tflop at 70 % of 10 Tflop/s: 2 s; 0.7 TB at 70 % of 1 TB/s: 1 s; 100 layers: 2 ms.
    assert gpu.estimate(make_work(), "float32", 5.0)["forward"] == pytest.approx(3.002)
    # 14 Tflop at 30 % of 100 Tflop/s: 0.467 s; half the bytes: 0.5 s.
    assert gpu.estimate(make_work(), "mixed_float16", 5.0)["forward"] == pytest.approx(0.9687, rel=1e-4)
    # Adam reads and writes 28 bytes for each of 25 million numbers: 0.7 GB, 1 ms.
    updated = make_work(forward=StepWork(0, 0, 0, 25e6))
    assert gpu.estimate(updated, "float32", 5.0)["forward"] == pytest.approx(1e-3)


@pytest.mark.parametrize(("name", "precision", "step", "speed"), PUBLISHED)
def test_resnet50_is_estimated_within_a_factor_of_1_3_of_published_speeds(name, precision, step, speed):
    setting = {"architecture": "resnet50", "head": "average_pool", "phases": ["fine_tune_epochs"]}
    work = count_setting(setting | {"size": 224, "batch_size": 256})
    estimated = 256 / CLASSES[name].estimate(work, precision, 0.0)[step]
    assert 1 / 1.3 < estimated / speed < 1.3


def test_a_batch_that_does_not_fit_is_cut_in_two_as_the_training_does():
    gpu = GpuClass("G", "plain", 10, 100, 1000, 16, 70, "")
    room = (gpu.memory_mb - RESERVED_MB) * 2**20
    sizes = [(room, 1), (1.9 * room, 2), (2.1 * room, 0)]
    assert [gpu.fit_batch(make_work(activations=size), "float32") for size, _ in sizes] == [1, 2, 0]
    assert gpu.fit_batch(make_work(activations=1.9 * room), "mixed_bfloat16") == 1
    assert gpu.estimate_memory(make_work(parameters=2**20), "float32") == RESERVED_MB + 16


def test_every_class_names_its_data_sheet():
    assert all(gpu.source.startswith("NVIDIA ") for gpu in CLASSES.values())


def test_the_power_of_a_board_is_asked_of_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_board_watts() == 0
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 350.00\necho 350.00\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert read_board_watts() == 350
    tool.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert read_board_watts() == 0
