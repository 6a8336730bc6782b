"""What a forecast knows of the default grid after five minutes of timing, and how far its estimates are off"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from bench.rows import Row
from covbench.experiment.config import read_config
from covbench.experiment.plan import plan_runs
from covbench.operations.forecast import forecast_study
from covbench.operations.step_model import leave_one_out
from covbench.operations.step_timings import StepTimings

LIMIT = 300  # s


def measure() -> list[Row]:
    """Forecast the default grid in an empty folder, then estimate each timed network from the others."""
    plan = [planned for planned in plan_runs(read_config()) if planned.is_deep]
    with tempfile.TemporaryDirectory() as name:
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        forecast = forecast_study(plan, Path(name), LIMIT)
        seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        kept = StepTimings(Path(name)).kept
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    runs = sum(line.runs for line in forecast.lines if line.cost)
    note = f"{len(kept)} settings timed, {processor:.0f} s of processor; the rest estimated"
    rows = [
        Row("runs that are known", runs, len(plan), "runs", runs / len(plan), ">= 1", f"other side: planned; {note}"),
        Row("timing", seconds, LIMIT, "s", seconds / LIMIT, "<= 1.1", "the last timing is stopped when the time is up"),
    ]
    for network, quotient in leave_one_out(kept).items():
        rows.append(Row(f"{network}, a step", quotient, 1, "", max(quotient, 1 / quotient), "", "estimated / measured"))
    return rows
