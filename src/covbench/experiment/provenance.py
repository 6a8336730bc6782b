"""Describe where a number comes from: everything that decided a run, its fingerprint, and its machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covbench.data.datasets import TASKS
from covbench.experiment.code_fingerprint import depend_run
from covbench.experiment.contestants import hash_contestant
from covbench.experiment.plan import DEEP, EXTERNAL, PlannedRun, family_of
from covbench.experiment.records import seal_record
from covbench.experiment.trials import settle_run
from covbench.models.catalogue import architecture, input_size
from covbench.schema import Run
from covbench.system.content_hashes import hash_content
from covbench.system.files import PACKAGE
from covbench.system.processors import describe_processor
from covbench.system.stage_files import check_files
from covbench.system.usage import peak_memory_mb

log = logging.getLogger(__name__)

PACKAGES = ("covbench", "keras", "tensorflow", "numpy", "scikit-learn", "opencv-python-headless", "segmentation-models")


def name_inputs(split: str, prepared: Sequence[str], weights: str | None = None) -> dict[str, str]:
    """Name the files that a run reads.

    Args:
        split: path of the split.
        prepared: paths of the prepared arrays.
        weights: path of the pretrained weight file; None for random weights.

    Returns:
        The paths by `split`, `images`, `rows`, `masks` and `weights`, without those that the run does not read.
    """
    files = {"split": split, **{Path(path).stem: path for path in prepared}}
    return files | ({"weights": weights} if weights else {})


def gather_inputs(
    run: Run,
    options: Mapping[str, Any],
    input_files: Mapping[str, Path | str],
    settings: Mapping[str, Any],
    root: Path = Path(),
    family: str = "",
) -> dict[str, Any]:
    """Gather everything that decides what a run makes, for the job that makes it. The fingerprint covers it.

    Every byte of the input files is read and compared with what the stages before have recorded.

    Args:
        run: the run.
        options: resolved, as covbench.protocols.Options; empty unless a network is trained.
        input_files: paths relative to `root`, as name_inputs returns them.
        settings: `deterministic`, `precision` and `threads`; empty for a baseline.
        root: the folder that holds data/.
        family: as in decide_inputs.

    Returns:
        The inputs as plain JSON values. A file that does not exist has the hash None.

    Raises:
        CovbenchError: an input file is not what its stage wrote.
    """
    hashes = check_files(root / path for path in input_files.values())
    files = {name: hashes.get(str(root / path)) for name, path in input_files.items()}
    return decide_inputs(run, options, settings, family) | {"files": files}


def decide_inputs(
    run: Run, options: Mapping[str, Any], settings: Mapping[str, Any], family: str = ""
) -> dict[str, Any]:
    """Gather the inputs that are known before the first job: all but the files.

    Args:
        run: the run.
        options: resolved, as covbench.protocols.Options; empty for a baseline.
        settings: `deterministic`, `precision` and `threads`; empty for a baseline.

        family: of experiment.plan, which the name of an ensemble does not tell; that of the name if it is empty.

    Returns:
        The inputs as plain JSON values.
    """
    family, task = family or family_of(run.architecture), TASKS[run.task]
    depends = depend_run(family if family != DEEP else task.kind, run.architecture)
    if family == EXTERNAL:
        depends = depends | {"code": depends["code"] | hash_contestant(run)}  # what is cached stays
    inputs = {
        "run": asdict(run),
        "classes": task.classes,
        "options": dict(options),
        "network": _describe_network(run.architecture, options["size"]) if family == DEEP else {},
        "settings": dict(settings),
        **depends,
    }
    plain: dict[str, Any] = json.loads(json.dumps(inputs))
    return plain


def _describe_network(name: str, size: int) -> dict[str, Any]:
    """Describe the parts of a network's catalogue entry that change what is built."""
    entry = architecture(name)
    parts = {part: getattr(entry, part) for part in ("constructor", "encoder", "alpha", "scaling")}
    return {**parts, "input_size": input_size(name, size)}


def fingerprint_inputs(inputs: Mapping[str, Any]) -> str:
    """Compute the sha256 of the inputs as canonical JSON: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Difference:
    """One input in which a trained run differs from its plan entry.

    part: a key of gather_inputs. name: of an option, file, module or package; empty if the part is one value.
    trained, planned: the two values; None where the input does not exist.
    """

    part: str
    name: str
    trained: Any
    planned: Any

    def __str__(self) -> str:
        if self.part == "files":
            return f"{self.name} changed"
        if self.part == "code":
            return f"{self.name} edited" if self.trained and self.planned else f"{self.name} imported or no longer"
        return f"{self.name or self.part} {self.trained!r} (planned {self.planned!r})"


def expect_inputs(planned: PlannedRun, root: Path = Path()) -> dict[str, Any]:
    """Gather the inputs that a planned run would have if it were trained now. `root` is the folder that holds data/.

    A large file whose stamp fits is not read (covbench.system.content_hashes).
    """
    plain = settle_run(planned, root).describe()
    paths = {name: root / path for name, path in plain["files"].items()}
    files = {name: hash_content(path) if path.exists() else None for name, path in paths.items()}
    return decide_inputs(planned.run, plain["options"], plain["settings"], planned.family) | {"files": files}


def fingerprint_plan(plan: Sequence[PlannedRun]) -> str:
    """Compute the fingerprint of a whole plan. It changes if a run is added, removed or gets other options."""
    return fingerprint_inputs({"plan": [planned.describe() for planned in plan]})


def find_differences(planned: PlannedRun, manifest: Mapping[str, Any], root: Path = Path()) -> list[Difference]:
    """Compare the inputs of a trained run with its plan entry.

    Args:
        planned: what the config asks for now.
        manifest: manifest.json of the run.
        root: the folder that holds data/.

    Returns:
        The inputs that differ; empty if the run is up to date. A file that does not exist does not count as changed. A
        manifest with other parts than today's gives one difference for the whole manifest.
    """
    return compare_inputs(manifest["inputs"], expect_inputs(planned, root))


def compare_inputs(trained: Mapping[str, Any], planned: Mapping[str, Any]) -> list[Difference]:
    """Compare two sets of inputs. If they do not have the same parts, one difference names all the planned parts."""
    if trained.keys() != planned.keys():
        return [Difference("manifest", "", "without these inputs", ", ".join(planned))]
    return [difference for part in planned for difference in _compare_part(part, trained[part], planned[part])]


def list_differences(differences: Sequence[Difference], shown: int = 4) -> str:
    """Show the first few differences in one line, and how many more there are."""
    more = [f"{len(differences) - shown} more"] if len(differences) > shown else []
    return ", ".join([str(difference) for difference in differences[:shown]] + more)


def _compare_part(part: str, trained: Any, planned: Any) -> Iterator[Difference]:
    if trained == planned:
        return
    if not (isinstance(planned, dict) and isinstance(trained, dict)):
        yield Difference(part, "", trained, planned)
        return
    for name in {**planned, **trained}:
        before, now = trained.get(name), planned.get(name)
        absent = part == "files" and name in planned and now is None
        if before != now and not absent:
            yield Difference(part, name, before, now)


def describe_run(inputs: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Make manifest.json of a finished run: its name, all inputs with their fingerprint, the machine, and the facts.

    Packages whose installed version is not the locked one are named in the log and under `unlocked`.
    """
    unlocked = find_unlocked(inputs["packages"])
    for name, versions in unlocked.items():
        log.warning("%s %s is installed, but %s is locked", name, versions["installed"], versions["locked"])
    return seal_record(
        {
            "run": inputs["run"],
            "options": inputs["options"],
            "fingerprint": fingerprint_inputs(inputs),
            "inputs": dict(inputs),
            "git_commit": read_commit(),
            "packages": installed_packages(),
            "unlocked": unlocked,
            "python": platform.python_version(),
            **describe_processor(),
            "peak_memory_mb": peak_memory_mb(),
            "scheduler_job": os.environ.get("SLURM_JOB_ID"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
    )


def find_unlocked(pins: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Find packages whose installed version is not the locked one.

    Returns both versions by name, as `installed` and `locked`. `installed` is `none` for a package that is absent.
    """
    installed = {name: _installed_version(name) or "none" for name in pins}
    return {
        name: {"installed": installed[name], "locked": version}
        for name, version in pins.items()
        if installed[name] != version
    }


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages that decide numbers. `tensorflow` may be the version of tensorflow-cpu."""
    return {name: version for name in PACKAGES if (version := _installed_version(name))}


def _installed_version(name: str) -> str:
    for candidate in (name, f"{name}-cpu"):
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def read_commit() -> str:
    """Return the commit of this code, with `+changes` if the work tree differs; `unknown` outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", str(PACKAGE), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
