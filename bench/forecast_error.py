"""How long runs take, against what the forecast from a timing said"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.rows import Row
from bench.workflow import SYNTHETIC, read_run, run_workflow
from covbench.experiment.config import check_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.runs import examine_runs
from covbench.operations.forecast import forecast_line, group_trainings
from covbench.operations.step_timings import StepTimings

CONFIG = SYNTHETIC | {
    "tasks": ["phantom_xray", "phantom_lesions"],
    "architectures": {"classification": ["mobilenetv2", "small_resnet"], "segmentation": ["unet_small"]},
    "options": {
        "audited": {
            "classification": {"head_epochs": 0, "fine_tune_epochs": 4},
            "segmentation": {"size": 96, "fine_tune_epochs": 9},
        }
    },
}


def measure() -> list[Row]:
    """Time the steps of three small runs, forecast them, then train them through the workflow."""
    plan = plan_runs(check_config(CONFIG))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_workflow(folder, CONFIG, sorted({planned.inputs.split for planned in plan}))
        known = StepTimings(folder)
        known.measure(plan, 600)
        lines = [forecast_line(*group, known, folder) for group in group_trainings(examine_runs(plan, folder))]
        run_workflow(folder, CONFIG, [f"{planned.run.folder}/manifest.json" for planned in plan])
        rows = []
        for line in lines:
            facts = read_run(folder, f"{line.task}/{line.protocol}/{line.architecture}/0")
            assert line.cost is not None, f"{line.architecture} was not timed"
            note = f"{len(facts['epochs'])} epochs, {line.images} images; other side: the forecast"
            said = line.cost.seconds
            rows.append(
                Row(f"{line.architecture}, the whole job", facts["job"], said, "s", facts["job"] / said, "", note)
            )
            memory = facts["peak_memory_mb"], line.cost.memory_mb
            rows.append(Row(f"{line.architecture}, peak memory", *memory, "MB", memory[0] / memory[1], "", ""))
    return rows
