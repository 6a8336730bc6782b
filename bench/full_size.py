"""The whole grid on 15,000 radiographs and 500 X-rays of another dataset: what all jobs and each rule cost

It runs the grid twice, with the code of this checkout and with that of BEFORE, and needs two hours of two cores. The
code has new rules, such as shortcut controls, so the rules that both have are compared too.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import pandas as pd

from bench.near_duplicates import draw_chests
from bench.processes import ROOT
from bench.rows import Row
from bench.workflow import run_workflow

BEFORE = "d5752f9"
RADIOGRAPHS, OTHERS, SIDE = 15_000, 500, 299
CLASSES = {"COVID": 0.24, "Normal": 0.67, "Viral Pneumonia": 0.09}
"""Folder of a class -> its share, as in the published dataset."""
USED = re.compile(r"used ([\d.]+) s of processor time and at most (\d+) MB of memory$")
GRID = {
    "tasks": ["radiography", "ieee8023_xray"],
    "architectures": {"classification": ["mobilenetv2_035"], "segmentation": []},
    "baselines": {"classification": ["majority", "hog_logistic"], "segmentation": []},
    "protocols": ["published", "audited"],
    "seeds": [0, 1, 2],
    "weights": "none",
    "options": {
        "published": {"classification": {"size": 224, "head_epochs": 5}},
        "audited": {"classification": {"size": 224, "head_epochs": 8, "fine_tune_epochs": 0, "augmented_views": 1}},
    },
    "deterministic": True,
    "threads": 1,
    "tracking": {"uri": "sqlite:///results/mlflow.db"},
}


def measure() -> list[Row]:
    """Run the grid with the earlier code and with this code. Memory and the rules are those of this code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_mirror(folder / "mirror", RADIOGRAPHS, OTHERS)
        after = _run_grid(folder / "after", folder / "mirror", ROOT)
        rules = tabulate_rules(folder / "after")
        print(f"with this code: {after:.0f} s\n{rules}", file=sys.stderr, flush=True)  # the other half takes longer
        shutil.rmtree(folder / "after")
        earlier = folder / "earlier code"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", earlier, BEFORE], check=True)
        try:
            before = _run_grid(folder / "before", folder / "mirror", earlier)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", earlier], check=True)
        known = {path.stem for path in (folder / "before" / "logs").iterdir()}
    new = rules.loc[~rules.index.isin(known), "seconds"]
    shared = after - float(new.sum())
    note = f"{RADIOGRAPHS + OTHERS:,} images, 12 trainings, 24 baselines; other side: {BEFORE}"
    largest = int(rules["megabytes"].max())
    return [
        Row("processor time of the rules that both have", shared, before, "s", shared / before, "<= 0.5", note),
        Row("processor time of all jobs", after, before, "s", after / before, "", f"new: {', '.join(new.index)}"),
        Row("the largest job", largest, math.nan, "MB", largest, "<= 2500", str(rules["megabytes"].idxmax())),
        *(
            Row(str(rule), row["seconds"], math.nan, "s", math.nan, "", f"{row['jobs']} jobs, {row['megabytes']} MB")
            for rule, row in rules.iterrows()
        ),
    ]


def _run_grid(folder: Path, mirror: Path, tree: Path) -> float:
    folder.mkdir()
    return run_workflow(folder, {**GRID, "fetch": {"mirror": str(mirror)}}, ["all"], tree, trainings=2)


def draw_mirror(folder: Path, radiographs: int, others: int) -> None:
    """Write both datasets as they are published: one file per image, (SIDE, SIDE), PNG."""
    images = draw_chests(radiographs + others)
    top = folder / "covid19-radiography-database" / "COVID-19_Radiography_Dataset"
    start = 0
    for name, share in CLASSES.items():
        (top / name / "images").mkdir(parents=True)
        end = min(radiographs, start + round(share * radiographs))
        for number in range(start, end):
            _write(top / name / "images" / f"{name}-{number}.png", images[number])
        start = end
    rows = []
    other = folder / "covid-chestxray-dataset"
    (other / "images").mkdir(parents=True)
    for number in range(others):
        _write(other / "images" / f"{number}.png", images[radiographs + number])
        finding = "Pneumonia/Viral/COVID-19" if number % 2 else "No Finding"
        rows.append({"patientid": number // 2, "finding": finding, "view": "PA", "modality": "X-ray"})
        rows[-1] |= {"folder": "images", "filename": f"{number}.png", "url": ""}
    pd.DataFrame(rows).to_csv(other / "metadata.csv", index=False)


def _write(path: Path, image: Any) -> None:
    cv2.imwrite(str(path), cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def tabulate_rules(folder: Path) -> pd.DataFrame:
    """Tabulate what the jobs of each rule used, from the last lines of their logs, the dearest rule first.

    Returns:
        By rule: `jobs`; `seconds` of processor time, summed; `megabytes`, the peak of the largest job.
    """
    rows = []
    for path in sorted((folder / "logs").rglob("*.log")):
        rule = path.relative_to(folder / "logs").parts[0].removesuffix(".log")
        found = USED.search(path.read_text(encoding="utf-8").rstrip())
        if found:
            rows.append({"rule": rule, "seconds": float(found[1]), "megabytes": int(found[2])})
    used = pd.DataFrame(rows).groupby("rule")
    table = used.agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), megabytes=("megabytes", "max"))
    return table.sort_values("seconds", ascending=False)
