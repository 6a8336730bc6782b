"""Find the code and the locked packages that decide what a script makes, from its imports."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from covbench.schema import CLASSIFICATION, SEGMENTATION
from covbench.system.files import PACKAGE, PROJECT, hash_file

LOCK = PROJECT / "envs" / "cpu.txt"

KINDS = {
    CLASSIFICATION: ("train", frozenset({"covbench.models.segmenter"})),
    SEGMENTATION: ("train", frozenset({"covbench.models.classifier"})),
    "baseline": ("fit_baseline", frozenset()),
    "external": ("run_contestant", frozenset()),
    "ensemble": ("average", frozenset()),
}
"""Kind of task of a network, or family -> its script in workflow/scripts, and the modules that the script imports but
such a run never uses.
"""

INERT = {
    "covbench": "holds the version",
    "covbench.system": "reads and writes files, but decides no number in them",
    "covbench.operations": "sends learning curves to another process",
    "covbench.schema": "holds the names of columns and classes",
    "covbench.protocols": "a run's resolved options are an input; changing one protocol leaves the others",
    "covbench.experiment.plan": "what it resolves for a run is an input itself",
    "covbench.experiment.provenance": "describes what other modules decide",
    "covbench.experiment.run_locks": "keeps a second process from writing the run",
    "covbench.experiment.contestants": "reads the card of a contestant from elsewhere, whose files are an input",
    "covbench.experiment.ensembles": "reads what the config says of an ensemble, which is an input",
    "covbench.data.datasets": "a run's classes are an input; its images come from prepared arrays, an input too",
    "covbench.models.catalogue": "a run's entry is an input; adding an architecture retrains no other",
    "covbench.models.architecture": "defines what an entry of the catalogue holds",
    "covbench.models.networks": "finds the networks; the file of a run's own network is an input",
    "covbench.training.checkpoints": "restores what was written, bit for bit",
}
"""Modules that runs import but whose code decides no model, with the reason. What only they import is left out too.

`system` and `operations` mean all modules of these packages. A module that holds only a docstring is inert too.
"""
INERT_PACKAGES = ("covbench.system.", "covbench.operations.")

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "cv2": ("opencv-python-headless",),
    "jax": (),  # runs train on TensorFlow
    "keras": ("keras", "h5py", "ml-dtypes"),
    "pandas": (),  # holds tables, but computes no number in them
    "PIL": ("pillow",),
    "scipy": ("scipy",),
    "segmentation_models": ("segmentation-models", "image-classifiers", "keras-applications"),
    "skimage": ("scikit-image", "scipy"),
    "sklearn": ("scikit-learn", "scipy"),
    "surface_distance": ("surface-distance", "scipy"),
    "tensorflow": ("tensorflow", "ml-dtypes"),
    "tqdm": (),
}
"""Imported name -> its distribution, and the ones below it that decide numbers too.

A name that is not here is also the name of its distribution.
"""


def depend_run(kind: str, architecture: str) -> dict[str, dict[str, str]]:
    """Find what a run depends on, as depend_script. Of the network files of this package, only its own counts."""
    script, unused = KINDS[kind]
    network = f"covbench.models.networks.{architecture}"
    return depend_script(script, (network,) if _module_file(network) else (), unused)


@functools.cache
def depend_script(
    script: str, also: tuple[str, ...] = (), unused: frozenset[str] = frozenset()
) -> dict[str, dict[str, str]]:
    """Find what a script depends on.

    Args:
        script: its name in workflow/scripts.
        also: modules that it imports by a name that only the job knows.
        unused: modules that it imports but this job never uses.

    Returns:
        `code`: sha256 of the script and of each module that it imports, by name. `packages`: locked versions, by name.
    """
    files, foreign = _trace(script, also, unused)
    pins = read_lock()
    names = sorted({name for imported in foreign for name in DISTRIBUTIONS.get(imported, (imported,))})
    return {
        "code": {name: hash_file(path) for name, path in sorted(files.items())},
        "packages": {name: pins[name] for name in names if name in pins},
    }


@functools.cache
def read_lock(lock: Path = LOCK) -> dict[str, str]:
    """Read every locked version by the name of its distribution. `tensorflow` is the version of tensorflow-cpu."""
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))
    return {name.removesuffix("-cpu"): version for name, version in pins.items()}


def _trace(script: str, also: tuple[str, ...], unused: frozenset[str]) -> tuple[dict[str, Path], set[str]]:
    """Find this project's files and the foreign packages that a script imports, directly or not, without inert ones."""
    files = {f"workflow.scripts.{script}": PROJECT / "workflow" / "scripts" / f"{script}.py"}
    files |= {name: path for name in also if (path := _module_file(name))}
    waiting, foreign = list(files.values()), set()
    while waiting:
        for name in _imports(waiting.pop()):
            path = _module_file(name)
            if path is None:
                foreign.add(name.split(".")[0])
            elif name not in {*files, *unused} and not _is_inert(name, path):
                files[name] = path
                waiting.append(path)
    return files, foreign - sys.stdlib_module_names


def _is_inert(name: str, path: Path) -> bool:
    return name in INERT or name.startswith(INERT_PACKAGES) or not _has_code(path)


@functools.cache
def _has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """Find every module that a file imports, at its top or inside a function, and the packages that hold the module."""
    return frozenset(_find_imports(path))


def _find_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in _with_packages(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from _with_packages(inner if _module_file(inner) else node.module)


def _with_packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _module_file(name: str) -> Path | None:
    """Find the file of a module of this package; None if the module is foreign or does not exist."""
    first, *rest = name.split(".")
    path = PACKAGE.joinpath(*rest)
    if first != PACKAGE.name:
        return None
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
