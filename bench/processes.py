"""Call a function in a separate process, in which nothing was traced, loaded or allocated before."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = str(min(2, os.cpu_count() or 1))


def call_fresh(function: str, *arguments: Any, timeout: float = 3600, **environment: str) -> Any:
    """Call a function in a separate process.

    Args:
        function: module and name, such as "bench.loader:measure".
        arguments: plain values (JSON).
        timeout: seconds until the process is stopped.
        environment: variables in addition to those of this process.

    Returns:
        What the function returns, as plain values. Dataclasses become dicts.

    Raises:
        RuntimeError: The process failed. The message is the last line of its stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": THREADS, "TF_NUM_INTEROP_THREADS": "1"}
        command = [sys.executable, "-m", "bench.processes", function, json.dumps(arguments), str(answer)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=quiet | {"OMP_NUM_THREADS": THREADS} | dict(os.environ) | environment,
            stderr=subprocess.PIPE,
            stdout=sys.stderr,
            text=True,
            timeout=timeout,
        )
        if done.returncode or not answer.exists():
            raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
        return json.loads(answer.read_text())


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def main(function: str, arguments: str, answer: str) -> None:
    module, name = function.split(":")
    value = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    Path(answer).write_text(json.dumps(_plain(value)))


if __name__ == "__main__":
    main(*sys.argv[1:])
