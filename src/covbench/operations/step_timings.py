"""Time training steps on this machine, keep the timings, and estimate from them what was not timed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from covbench.data.datasets import TASKS
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import installed_packages
from covbench.models import catalogue
from covbench.operations.network_work import STEPS, count_setting, read_table
from covbench.operations.step_model import StepModel, Timing, fit_model
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_json
from covbench.system.processors import describe_processor
from covbench.system.threads import name_variables

MEASURED, ESTIMATED = "measured", "estimated"
LONGEST = 900  # s, for one setting
START_SECONDS = 8  # imports of TensorFlow and Keras, reading, saving
TIMED_STEPS = 4  # that a timing runs of each kind, the first included

PROBES = (
    ("vgg16", 224, 2, "average_pool"),
    ("pspnet_mobilenetv2", 240, 8, "softmax_map"),
    ("linknet_vgg19", 256, 2, "softmax_map"),
    ("mobilenetv2", 224, 8, "dense_512_64"),
    ("pspnet_efficientnetb3", 240, 4, "softmax_map"),
    ("resnet50", 224, 4, "average_pool"),
    ("pspnet_densenet121", 240, 4, "softmax_map"),
)
"""Networks from which all others are estimated, with size, batch size and head, the cheapest first.

They have few layers, because tracing takes most of the time. Their kinds differ: plain convolutions, separable ones, a
decoder at full size, a head of 32 million parameters, squeeze and excitation, residuals, dense connections.
"""


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


def name_machine() -> str:
    """Name a folder of timings by what they are valid for."""
    return hashlib.sha256(describe_machine().encode()).hexdigest()[:16]


def say_last(error: subprocess.SubprocessError) -> str:
    """Return the last line of what a failed process has said, or what became of it."""
    said: list[str] = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
    return said[-1]


class StepTimings:
    """The timings in benchmarks/timing/<machine>/ of a working directory."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "benchmarks" / "timing" / name_machine()
        self.kept: list[dict[str, Any]] = [_read_kept(file) for file in sorted(self.folder.glob("*.json"))]

    def find(self, planned: PlannedRun) -> tuple[Timing, str] | None:
        """Find the timing of a run's setting, and its basis.

        MEASURED: this setting was timed. `estimated, from 96 px, batch 8`: the network was timed at another size.
        ESTIMATED: other networks were timed. None: nothing is known.
        """
        setting = describe_setting(planned)
        for kept in self.kept:
            if kept["setting"] == setting:
                return kept["timing"], MEASURED
        same = [kept for kept in self.kept if _alike(kept["setting"], setting)]
        if same:
            return _scale(min(same, key=lambda kept: abs(_pixels(kept["setting"]) - _pixels(setting))), setting)
        work, model = count_setting(setting), self._models.get(_machine_use(setting))
        return (model.estimate(work), ESTIMATED) if work and model else None

    @cached_property
    def _models(self) -> dict[tuple[Any, ...], StepModel | None]:
        """A model of the steps for each precision and number of threads that was timed."""
        uses = {_machine_use(kept["setting"]) for kept in self.kept}
        return {use: fit_model(self._select(use)) for use in uses}

    def select_like(self, planned: PlannedRun) -> list[dict[str, Any]]:
        """Select the timings with the precision and the number of threads of a run."""
        return self._select(_machine_use(describe_setting(planned)))

    def _select(self, use: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [kept for kept in self.kept if _machine_use(kept["setting"]) == use]

    def measure(self, plan: Iterable[PlannedRun], seconds: float) -> None:
        """Time networks until the time is up: those that the table lacks, then PROBES, then the cheapest settings.

        A setting that takes longer than the time that is left is not begun, or stopped.

        Args:
            plan: Runs of networks.
            seconds: How long to time.
        """
        until = time.monotonic() + seconds
        settings = {json.dumps(describe_setting(planned)): planned for planned in plan}
        for planned in self._choose([run for run in settings.values() if not self._is_measured(run)]):
            left = until - time.monotonic()
            if left > 0 and not self._is_measured(planned) and self._expect(planned) < left:
                self._measure(planned, left)

    def _choose(self, plan: Sequence[PlannedRun]) -> Iterator[PlannedRun]:
        unlisted = [planned for planned in plan if planned.run.architecture not in read_table()]
        first = {planned.run.architecture: planned for planned in reversed(unlisted)}
        yield from reversed(first.values())
        yield from (planned for planned in unlisted if planned not in first.values())
        listed = [planned for planned in plan if planned.run.architecture in read_table()]
        if listed:
            yield from (plan_probe(listed[0], *probe) for probe in PROBES)
        yield from sorted(listed, key=self._expect)

    def _is_measured(self, planned: PlannedRun) -> bool:
        found = self.find(planned)
        return found is not None and found[1] == MEASURED

    def _expect(self, planned: PlannedRun) -> float:
        """Say how many seconds the timing of a setting will take; 0 if nothing is known."""
        found = self.find(planned)
        if found is None:
            return 0.0
        steps = sum(found[0][name] for name in STEPS)
        return START_SECONDS + found[0]["setup"] + TIMED_STEPS * steps

    def _measure(self, planned: PlannedRun, left: float) -> None:
        setting = describe_setting(planned)
        name = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"timing {planned.run.architecture} at {setting['size']} ...", file=sys.stderr, flush=True)
        try:
            timing = time_setting(planned, self.folder / f".{name}.tmp", min(left, LONGEST))
        except subprocess.TimeoutExpired:
            print("  stopped: no time is left for it", file=sys.stderr, flush=True)
            return
        except subprocess.SubprocessError as error:  # out of memory; others can still be forecast
            print(f"  failed: {say_last(error)}", file=sys.stderr, flush=True)
            return
        self.kept.append({"setting": setting, "timing": timing})
        self.__dict__.pop("_models", None)
        write_json(self.folder / f"{name}.json", self.kept[-1])


def plan_probe(like: PlannedRun, architecture: str, size: int, batch_size: int, head: str) -> PlannedRun:
    """Plan a run that is only timed, with the settings of another run: both phases of a classifier.

    Args:
        like: The run whose settings are taken.
        architecture: Of the timed network.
        size: Side of its images, in pixels.
        batch_size: Images in a batch.
        head: Of a classifier.

    Returns:
        The run.
    """
    kind = catalogue.architecture(architecture).kind
    task = next(task for task in TASKS.values() if task.kind == kind)
    options = replace(protocol_options(AUDITED, task), size=size, batch_size=batch_size, head=head)
    return replace(like, run=Run(task.name, AUDITED, architecture, 0), options=options)


def _machine_use(setting: Mapping[str, Any]) -> tuple[Any, ...]:
    return setting["precision"], setting["threads"]


def _scale(kept: Mapping[str, Any], setting: Mapping[str, Any]) -> tuple[Timing, str]:
    """Scale a timing of the same network by the pixels of a batch."""
    size, batch = kept["setting"]["size"], kept["setting"]["batch_size"]
    scale = _pixels(setting) / _pixels(kept["setting"])
    scaled = {name: kept["timing"][name] * scale for name in (*STEPS, "gpu_mb")}
    return kept["timing"] | scaled, f"{ESTIMATED}, from {size} px, batch {batch}"


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


def time_setting(planned: PlannedRun, answer: Path, longest: float) -> dict[str, float]:
    """Time a setting in a separate process, because memory grows if one process times several networks.

    Args:
        planned: The run.
        answer: Where the process writes its answer.
        longest: Seconds after which the process is stopped.

    Returns:
        As time_steps.Timing.

    Raises:
        subprocess.SubprocessError: The process failed or was stopped.
    """
    command = [sys.executable, "-m", "covbench.operations.time_steps", json.dumps(planned.describe()), str(answer)]
    environment = os.environ | name_variables(planned.settings.threads)
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=longest, env=environment)
    timing: dict[str, float] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    return timing
