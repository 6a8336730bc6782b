"""Where a number came from: the fingerprint of a run's inputs, and the machine that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import resource
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covbench.files import hash_file
from covbench.schema import Run

PACKAGE = Path(__file__).resolve().parent
PACKAGES = ("covbench", "keras", "tensorflow", "numpy", "scikit-learn", "opencv-python-headless", "segmentation-models")
TRAINING_CODE = ("augmentation.py", "loading.py", "training.py", "prediction.py", "schema.py", "models/*.py")


def hash_code(patterns: Iterable[str] = TRAINING_CODE) -> str:
    """One sha256 over the package's modules that decide what a trained model is."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in PACKAGE.glob(pattern)):
        digest.update(f"{path.relative_to(PACKAGE)} {hash_file(path)}\n".encode())
    return digest.hexdigest()


def fingerprint_inputs(inputs: Mapping[str, Any]) -> str:
    """sha256 of the inputs as canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def describe_run(run: Run, options: Mapping[str, Any], input_files: Mapping[str, Path], **facts: Any) -> dict[str, Any]:
    """manifest.json of a finished run: identity, fingerprint of all inputs, machine, and the given facts."""
    inputs = {
        "run": asdict(run),
        "options": dict(options),
        "files": {name: hash_file(path) for name, path in input_files.items()},
        "code": hash_code(),
        "packages": installed_packages(),
    }
    return {
        "run": asdict(run),
        "options": dict(options),
        "fingerprint": fingerprint_inputs(inputs),
        "inputs": {"files": inputs["files"], "code": inputs["code"]},
        "git_commit": read_commit(),
        "packages": inputs["packages"],
        "python": platform.python_version(),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }


def installed_packages() -> dict[str, str]:
    """Versions of the packages that decide numbers; tensorflow stands for its CPU build too."""
    versions = {}
    for name in PACKAGES:
        for candidate in (name, f"{name}-cpu"):
            try:
                versions[name] = importlib.metadata.version(candidate)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return versions


def read_commit() -> str:
    """Commit of the code that runs, with `+changes` where the work tree differs; `unknown` outside a checkout."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", str(PACKAGE), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
