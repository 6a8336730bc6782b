"""Estimate training steps on classes of GPUs, from their data sheets and a stated efficiency. Nothing here is measured.

A step takes the time of its multiply-adds, plus that of its bytes, plus that of starting its kernels. The three shares
below reproduce published speeds of ResNet-50: docs/explanation/forecast.md sets them beside the estimates.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from covbench.operations.network_work import BYTES, STEPS, SettingWork, StepWork

TABLE = Path(__file__).with_name("gpu_classes.csv")
COMPUTE_SHARE = {"plain": 0.7, "tensor": 0.3}  # of the data sheet's peak; cuDNN seldom keeps tensor cores busy
BANDWIDTH_SHARE = 0.7
LAUNCH_SECONDS = 2e-5  # for each layer and pass: some operations of TensorFlow, 5 microseconds each
ADAM_BYTES = 7 * BYTES  # for each trained number: reads gradient, weight, two moments; writes the last three
STATE_BYTES = 4 * BYTES  # for each parameter: weight, gradient, two moments
RESERVED_MB = 1000  # CUDA's context, and what cuDNN works in
SETUP_SECONDS = 0.025  # for each traced layer, where no network was timed: MobileNetV2 takes 15 s, NASNetLarge 100 s


@dataclass(frozen=True)
class GpuClass:
    """A GPU as its maker describes it.

    float32_unit: `plain` or `tensor` (TF32), what multiplies float32. teraflops: peak of dense matrices.
    bandwidth_gb_s: of its memory. memory_gb: size of its memory. watts: of the board, at most. source: data sheet.
    """

    name: str
    float32_unit: str
    float32_teraflops: float
    mixed_teraflops: float
    bandwidth_gb_s: float
    memory_gb: float
    watts: float
    source: str

    @property
    def memory_mb(self) -> float:
        """Size of the memory in MB of 2**20 bytes."""
        return self.memory_gb * 1e9 / 2**20

    def estimate(self, work: SettingWork, precision: str, setup: float) -> dict[str, float]:
        """Estimate a Timing of a setting, with the keys of time_steps.Timing.

        Args:
            work: Of the setting.
            precision: As in the config; `mixed_float16` and `mixed_bfloat16` halve the bytes of activations.
            setup: Seconds to build and trace the network, which is work of the host.

        Returns:
            Seconds and MB by name.
        """
        seconds = {name: self._step(getattr(work, name), precision) for name in STEPS}
        return seconds | {
            "setup": setup,
            "memory_mb": 0.0,
            "gpu_mb": self.estimate_memory(work, precision),
            "parameters": work.parameters,
        }

    def _step(self, work: StepWork, precision: str) -> float:
        mixed = precision != "float32"
        unit, peak = ("tensor", self.mixed_teraflops) if mixed else (self.float32_unit, self.float32_teraflops)
        moved = work.bytes / (2 if mixed else 1) + work.trained * ADAM_BYTES
        return (
            2 * work.multiply_adds / (peak * 1e12 * COMPUTE_SHARE[unit])
            + moved / (self.bandwidth_gb_s * 1e9 * BANDWIDTH_SHARE)
            + work.layers * LAUNCH_SECONDS
        )

    @staticmethod
    def estimate_memory(work: SettingWork, precision: str, micro_batches: int = 1) -> float:
        """Estimate the peak memory: activations of a micro-batch, which the backward pass needs, and weights.

        Args:
            work: Of the setting.
            precision: As in the config.
            micro_batches: Into which a batch is cut.

        Returns:
            The memory in MB.
        """
        activations = work.activations / micro_batches / (1 if precision == "float32" else 2)
        return RESERVED_MB + (activations + work.parameters * STATE_BYTES) / 2**20

    def fit_batch(self, work: SettingWork, precision: str) -> int:
        """Say into how many micro-batches a batch has to be cut, as training.job does: 1, 2, or 0 if 2 do not fit."""
        fits = (parts for parts in (1, 2) if self.estimate_memory(work, precision, parts) <= self.memory_mb)
        return next(fits, 0)


@cache
def read_classes() -> tuple[GpuClass, ...]:
    """Read the table of GPU classes, slowest first."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_read_class(row) for row in csv.DictReader(file))


def _read_class(row: Mapping[str, str]) -> GpuClass:
    return GpuClass(
        name=row["name"],
        float32_unit=row["float32_unit"],
        float32_teraflops=float(row["float32_teraflops"]),
        mixed_teraflops=float(row["mixed_teraflops"]),
        bandwidth_gb_s=float(row["bandwidth_gb_s"]),
        memory_gb=float(row["memory_gb"]),
        watts=float(row["watts"]),
        source=row["source"],
    )


def read_board_watts() -> float:
    """Read the power limit of this machine's first GPU from nvidia-smi, in watts; 0 if it does not say."""
    command = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
        return float(said[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0.0
