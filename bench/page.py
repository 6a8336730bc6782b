"""Write the results of the measurements as tables into docs/explanation/performance.md, each with its machine."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import ROOT
from bench.rows import Row

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of what was measured -->"
_PACKAGES = ("tensorflow-cpu", "tensorflow", "keras", "numpy", "opencv-python-headless")
_HEAD = ("what", "ours", "other side", "unit", "ratio", "bar", "", "note")


def describe_machine() -> str:
    """Describe processor, cores, memory, GPU and the versions that decide speed, without names and paths."""
    cpu = re.search(r"model name\s*: (.+)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _read("/proc/meminfo"))
    gpus = re.findall(r"Model:\s*(.+)", "".join(_read(str(p)) for p in Path("/proc/driver/nvidia/gpus").glob("*/inf*")))
    parts = [
        f"{cpu[1].strip() if cpu else platform.processor()}, {os.cpu_count()} cores",
        f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "",
        ", ".join(gpus) or "no GPU",
        f"Python {platform.python_version()}",
        *(f"{name} {version}" for name in _PACKAGES if (version := _version(name))),
    ]
    return ", ".join(part for part in parts if part)


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def keep_result(name: str, title: str, rows: Sequence[Row], failure: str, seconds: float) -> None:
    """Write bench/results/<name>.json, from which the page is made.

    Args:
        name: of the measurement.
        title: its heading.
        rows: what it measured.
        failure: why it could not measure; empty if it could.
        seconds: how long it took.
    """
    result = {
        "title": title,
        "command": f"python -m bench {name}",
        "machine": describe_machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "load": round(os.getloadavg()[1], 1),
        "seconds": round(seconds),
        "failure": failure.replace(f"{ROOT}/", ""),
        "rows": [
            {key: _number(value) if isinstance(value, float) else value for key, value in vars(row).items()}
            for row in rows
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def write_page() -> None:
    """Write the marked part of docs/explanation/performance.md from all stored results. The rest of the page stays."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n\n".join([_summary(results), *(_section(result) for result in results)])
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")


def _summary(results: Sequence[Mapping[str, Any]]) -> str:
    """Say how many bars were reached, and list the others."""
    rows = [read_row(row) for result in results for row in result["rows"] if row["bar"]]
    missed = [f"- {row.name}: {_show(row.ratio)}, to be {row.bar}" for row in rows if row.verdict == "not met"]
    head = f"{len(rows) - len(missed)} of {len(rows)} bars were reached."
    return "\n".join([head, "", "Not reached:", "", *missed]) if missed else head


def _section(result: Mapping[str, Any]) -> str:
    rows = [read_row(row) for row in result["rows"]]
    lines = [f"### {result['title']}", ""]
    if rows:
        lines += [_line(_HEAD), _line(["---"] * len(_HEAD)), *(_line(table_cells(row)) for row in rows), ""]
    if result["failure"]:
        lines += [f"Not measured: {result['failure']}", ""]
    lines.append(
        f"`{result['command']}`, {result['date']}, {result['seconds']} s, load {result['load']} over the last five "
        f"minutes, on: {result['machine']}."
    )
    return "\n".join(lines)


def read_row(values: Mapping[str, Any]) -> Row:
    """Make a row from its plain values. Null becomes NaN."""
    numbers: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
    return Row(**numbers)


def table_cells(row: Row) -> list[str]:
    """Show a row as the cells of a table, in the order of its columns."""
    ours, other, ratio = (_show(value) for value in (row.ours, row.other, row.ratio))
    return [row.name, ours, other, row.unit, ratio, row.bar, row.verdict, row.note]


def _show(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
