"""The report of 144 runs on 15,000 test images: seconds to build, to build again, to open, and how it scrolls."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.rows import NotHereError, Row
from covbench.experiment.plan import PlannedRun
from covbench.models.catalogue import BASELINES, CLASSIFIERS
from covbench.reporting.page import build_report
from covbench.schema import CLASSIFICATION

NAN = float("nan")
IMAGES, SEEDS = 60_000, 4  # a quarter is tested; under two protocols
TASK = "radiography"
FRAMES = """async () => {
  const times = [];
  for (let step = 0, last = performance.now(); step < 120; step++) {
    document.querySelector(".scrollbox").scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def measure() -> list[Row]:
    """Report synthetic predictions of every classifier and baseline, four seeds each, and open the pages from disk."""
    chromium = shutil.which("chromium")
    if not chromium:
        raise NotHereError("chromium is not installed")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plan = draw(root)
        build = [time_build(root, plan) for _ in range(2)]
        size = sum(path.stat().st_size for path in (root / "results/report").rglob("*") if path.is_file())
        opened = open_pages(chromium, root / "results/report", plan)
    note = f"{len(plan)} runs, {IMAGES // 4} cases each, {size / 1e6:.0f} MB"
    rows = [Row("build", build[0], NAN, "s", build[0], "< 60", note)]
    rows.append(Row("build again, pictures are kept", build[1], build[0], "s", build[1] / build[0]))
    bars = {"first page": "< 2", "page of a model, until its first case": "< 2", "slowest of 20 frames, scrolling": ""}
    units = {"slowest of 20 frames, scrolling": "ms"}
    return rows + [Row(what, opened[what], NAN, units.get(what, "s"), opened[what], bar) for what, bar in bars.items()]


def draw(root: Path) -> list[PlannedRun]:
    """Write the data, results and tables of synthetic runs, but run no bootstrap, as the report needs none."""
    from tests.synthetic_results import draw_tree, plan_runs

    kinds = dict.fromkeys(CLASSIFIERS, CLASSIFICATION) | BASELINES
    names = [name for name, kind in kinds.items() if kind == CLASSIFICATION]
    plan = plan_runs({TASK: names}, seeds=range(SEEDS))
    draw_tree(root, plan, IMAGES)
    return plan


def time_build(root: Path, plan: list[PlannedRun]) -> float:
    started = time.monotonic()
    results = root / "results"
    build_report(results, root / "data", plan, results / "report", "synthetic", {}, printed=root / "figures")
    return time.monotonic() - started


def open_pages(chromium: str, report: Path, plan: list[PlannedRun]) -> dict[str, float]:
    """Open the report in a browser.

    Args:
        chromium: path of the browser.
        report: the report's folder.
        plan: its runs.

    Returns:
        Seconds until each page is there, and the 95th percentile of the times between frames in milliseconds.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        started = time.monotonic()
        page.goto((report / "index.html").as_uri())
        first = time.monotonic() - started
        started = time.monotonic()
        page.goto((report / f"models/{TASK}/audited/{plan[0].run.architecture}.html").as_uri())
        page.wait_for_selector("#gallery button.tile img")
        model = time.monotonic() - started
        frames = page.evaluate(FRAMES)
        browser.close()
    return {
        "first page": first,
        "page of a model, until its first case": model,
        "slowest of 20 frames, scrolling": float(np.quantile(frames, 0.95)),
    }
