"""Measure the energy of this process: by counters of the machine, or else from its processor time.

Counters are those of processor packages and their memory (RAPL, which Linux shows below /sys/class/powercap) and of
NVIDIA's GPUs (NVML). A package counts what all processes use, so this one gets its share of the machine's busy time.
"""

from __future__ import annotations

import csv
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from covbench.system.usage import busy_seconds, processor_seconds

POWERCAP = Path("/sys/class/powercap")
COUNTED = ("package", "dram")  # domains of RAPL; cores and graphics are parts of their package
READ_SECONDS = 60  # a counter of 262 kJ wraps after eleven minutes at 400 W
JOULES_PER_KWH = 3.6e6
GRID = Path(__file__).with_name("grid_intensity.csv")
MEASURED, ESTIMATED, PARTLY = "measured", "estimated", "partly measured"

Counter = Callable[[], float]
"""Returns joules since it was made."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnergySettings:
    """What the config says about energy.

    country: where the machine is, ISO 3166-1 alpha-3; None if the config does not say it.
    core_watts: of a busy core, where the processor has no counter.
    """

    country: str | None = None
    core_watts: float = 12.0


UNSAID = EnergySettings()
"""What holds where no config is read."""


@dataclass(frozen=True)
class Use:
    """What a process has used.

    joules: by counters. processor_seconds: on a processor without a counter. complete: False if something could not be
    measured, such as a GPU without a counter.
    """

    joules: float = 0.0
    processor_seconds: float = 0.0
    complete: bool = True

    def __add__(self, other: Use) -> Use:
        seconds = self.processor_seconds + other.processor_seconds
        return Use(self.joules + other.joules, seconds, self.complete and other.complete)

    @property
    def basis(self) -> str | None:
        """MEASURED, ESTIMATED or PARTLY; None if the energy is unknown."""
        if not self.complete:
            return None
        return (PARTLY if self.joules else ESTIMATED) if self.processor_seconds else MEASURED


class EnergyMeter:
    """Measures what this process and its children that have ended use from now on. It raises no error."""

    def __init__(self, gpus: Sequence[str] = (), powercap: Path = POWERCAP) -> None:
        """Start to measure.

        Args:
            gpus: those that only this process uses, by index or UUID, as gpu_leases.list_gpus.
            powercap: folder of RAPL's domains.
        """
        self._own, self._busy, self._failed = processor_seconds(), busy_seconds(), False
        self._packages, self._gpus = _open_packages(powercap), []
        try:
            self._gpus = _open_gpus(gpus) if gpus else []
        except Exception as error:
            self._fail(error)
        if self._packages:
            threading.Thread(target=self._read_now_and_then, name="energy", daemon=True).start()

    def read(self) -> Use:
        """Return what was used since the start."""
        if self._failed:
            return Use(complete=False)
        own = processor_seconds() - self._own
        try:
            joules = sum(counter() for counter in self._gpus)
            if not self._packages:
                return Use(joules, own)
            busy = max(busy_seconds() - self._busy, own)
            return Use(joules + sum(counter() for counter in self._packages) * (own / busy if busy else 0))
        except Exception as error:  # no training fails because its energy is unknown
            return self._fail(error)

    def _fail(self, error: Exception) -> Use:
        log.warning("the energy of this job is unknown: %s", error)
        self._failed = True
        return Use(complete=False)

    def _read_now_and_then(self) -> None:
        while not self._failed:
            time.sleep(READ_SECONDS)
            self.read()


def _open_packages(powercap: Path) -> list[Counter]:
    """Open RAPL's counters; none if one of the packages cannot be read, as by users without the right."""
    try:
        names = {folder: (folder / "name").read_text().strip() for folder in powercap.glob("intel-rapl:*")}
        return [_open_package(folder) for folder, name in names.items() if name.startswith(COUNTED)]
    except (OSError, ValueError):
        return []


def _open_package(folder: Path) -> Counter:
    span = int((folder / "max_energy_range_uj").read_text())
    last, microjoules, lock = int((folder / "energy_uj").read_text()), 0, threading.Lock()

    def read() -> float:
        nonlocal last, microjoules
        with lock:
            now = int((folder / "energy_uj").read_text())
            microjoules += (now - last) % span
            last = now
            return microjoules / 1e6

    return read


def _open_gpus(names: Sequence[str]) -> list[Counter]:
    """Open the counters of some GPUs. Raises an error if one has none, as GPUs before Volta and parts of a GPU."""
    import pynvml

    pynvml.nvmlInit()
    return [_open_gpu(pynvml, name) for name in names]


def _open_gpu(nvml: Any, name: str) -> Counter:
    device = nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
    first = nvml.nvmlDeviceGetTotalEnergyConsumption(device)
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(device) - first) / 1e3


def describe_energy(use: Use, settings: EnergySettings) -> dict[str, Any]:
    """Describe the energy of a training for manifest.json.

    Args:
        use: of the training, all restarts together.
        settings: of the config.

    Returns:
        `energy_kwh` and `energy_basis`, None if the energy is unknown; `country` and `grid_g_per_kwh`, None if the
        config names no country.
    """
    kwh = (use.joules + use.processor_seconds * settings.core_watts) / JOULES_PER_KWH
    return {
        "energy_kwh": float(f"{kwh:.4g}") if use.complete else None,
        "energy_basis": use.basis,
        "country": settings.country,
        "grid_g_per_kwh": read_grid()[settings.country] if settings.country else None,
    }


@cache
def read_grid() -> dict[str, int]:
    """Read the grams of CO2 equivalent per kWh of each country's electricity.

    The table is Our World in Data's (CC BY 4.0, from Ember and the Energy Institute), as codecarbon 3.3.2 ships it.
    """
    with GRID.open(encoding="utf-8", newline="") as file:
        return {row["country"]: int(row["grams_per_kwh"]) for row in csv.DictReader(file)}
