"""Time training steps on this machine, keep the timings, and scale them to other image sizes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from covbench.data.datasets import TASKS
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import installed_packages
from covbench.schema import CovbenchError
from covbench.system.files import write_json
from covbench.system.processors import describe_processor
from covbench.system.threads import name_variables

Timing = Mapping[str, float]

EXACT = "timing"
_LONGEST = 900  # s, for one setting


def describe_setting(planned: PlannedRun) -> dict[str, Any]:
    """Describe the parts of a planned run that decide the cost of a step."""
    options = planned.options
    assert options is not None, "a baseline has no steps"
    return {
        "architecture": planned.run.architecture,
        "kind": TASKS[planned.run.task].kind,
        "head": options.head,
        "phases": [name for name in ("head_epochs", "fine_tune_epochs") if getattr(options, name)],
        "precision": planned.settings.precision,
        "threads": planned.settings.threads,
        "size": options.size,
        "batch_size": options.batch_size,
    }


def describe_machine() -> str:
    """Describe the processor, cores, GPUs and package versions for which a timing is valid, without machine names."""
    gpus = sorted(path.read_text() for path in Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [found[1].strip() for gpu in gpus if (found := re.search(r"Model:\s*(.+)", gpu))]
    return json.dumps([describe_processor(), os.cpu_count(), models, installed_packages()])


class StepTimings:
    """The timings in benchmarks/timing/<machine>/ of a working directory."""

    def __init__(self, directory: Path) -> None:
        machine = hashlib.sha256(describe_machine().encode()).hexdigest()[:16]
        self.folder = directory / "benchmarks" / "timing" / machine
        self.kept: list[dict[str, Any]] = [_read_kept(file) for file in sorted(self.folder.glob("*.json"))]

    def find(self, planned: PlannedRun) -> tuple[Timing, str] | None:
        """Find the timing of a run's setting, and its basis: measured, or scaled from the nearest size."""
        setting = describe_setting(planned)
        for kept in self.kept:
            if kept["setting"] == setting:
                return kept["timing"], EXACT
        same = [kept for kept in self.kept if _alike(kept["setting"], setting)]
        if not same:
            return None
        nearest = min(same, key=lambda kept: abs(_pixels(kept["setting"]) - _pixels(setting)))
        scale = _pixels(setting) / _pixels(nearest["setting"])
        scaled = {name: nearest["timing"][name] * scale for name in ("head", "fine_tune", "forward", "gpu_mb")}
        size, batch = nearest["setting"]["size"], nearest["setting"]["batch_size"]
        return nearest["timing"] | scaled, f"{EXACT} at {size}, batch {batch}"

    def measure(self, plan: Iterable[PlannedRun], seconds: float) -> None:
        """Time the missing settings, starting with one setting of each architecture, until the time is up.

        Args:
            plan: Runs of networks.
            seconds: After this time, no further timing begins.
        """
        until = time.monotonic() + seconds
        settings = {json.dumps(describe_setting(planned)): planned for planned in plan}
        first = {planned.run.architecture: planned for planned in reversed(settings.values())}
        for planned in [
            *reversed(first.values()),
            *(planned for planned in settings.values() if planned not in first.values()),
        ]:
            found = self.find(planned)
            if time.monotonic() < until and (found is None or found[1] != EXACT):
                self._measure(planned)

    def _measure(self, planned: PlannedRun) -> None:
        setting = describe_setting(planned)
        name = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"timing {planned.run.architecture} at {setting['size']} ...", file=sys.stderr, flush=True)
        try:
            timing = time_setting(planned, self.folder / f".{name}.tmp")
        except subprocess.SubprocessError as error:  # out of memory or too slow; others can still be forecast
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            print(f"  failed: {said[-1]}", file=sys.stderr, flush=True)
            return
        self.kept.append({"setting": setting, "timing": timing})
        write_json(self.folder / f"{name}.json", self.kept[-1])


def _read_kept(file: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CovbenchError(f"{file}: damaged ({error}); delete it, then the network is timed again") from error
    return kept


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    same = ("architecture", "kind", "phases", "head", "precision", "threads")
    return all(one[name] == other[name] for name in same)


def _pixels(setting: Mapping[str, Any]) -> int:
    return setting["batch_size"] * setting["size"] ** 2


def time_setting(planned: PlannedRun, answer: Path) -> dict[str, float]:
    """Time a setting in a separate process, because memory grows if one process times several networks."""
    command = [sys.executable, "-m", "covbench.operations.time_steps", json.dumps(planned.describe()), str(answer)]
    environment = os.environ | name_variables(planned.settings.threads)
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_LONGEST, env=environment)
    timing: dict[str, float] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return timing
