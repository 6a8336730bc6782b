"""Build the report: read the results, draw the figures, render the pages and replace the old folder."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from covbench.evaluation.definitions import METRICS
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import read_commit
from covbench.experiment.runs import RunState
from covbench.protocols import PROTOCOLS
from covbench.reporting import balance, leading, tables, wording
from covbench.reporting.cards import checklists
from covbench.reporting.cards.dataset_card import write_dataset_cards
from covbench.reporting.cards.model_card import write_model_cards
from covbench.reporting.figures import comparison_figures, task_figures
from covbench.reporting.figures.figure_cache import FigureCache
from covbench.reporting.figures.report_figure import PRINTED, Gallery, ReportFigure
from covbench.reporting.gather import Results, describe_task, find_members, read_prepared, read_results
from covbench.reporting.headlines import HEADLINES, choose_headline
from covbench.reporting.render import write_library, write_page
from covbench.reporting.sections import audit, controls, data_overview, external, model_pairs, scores, study
from covbench.reporting.sections.audit import AuditSection
from covbench.reporting.sections.calibration import build_calibration_table
from covbench.reporting.sections.controls import ControlSection
from covbench.reporting.sections.data_overview import DatasetSection
from covbench.reporting.sections.external import ExternalSection
from covbench.reporting.sections.focus import FocusSection, build_focus_section, draw_focus
from covbench.reporting.sections.leaderboard import Leaderboards, build_leaderboards
from covbench.reporting.sections.model_page import build_model_sections, link_models
from covbench.reporting.sections.model_pairs import ModelPairsSection
from covbench.reporting.sections.operating_points import OperatingPoints, build_operating_points
from covbench.reporting.sections.reader_agreement import build_agreement_table
from covbench.reporting.sections.search import SearchSection, build_search_section
from covbench.reporting.sections.study import StudySection
from covbench.reporting.sections.subgroups import SubgroupSection, build_subgroup_section
from covbench.reporting.steps import read_steps
from covbench.reporting.summary import write_summary
from covbench.reporting.tables import Table
from covbench.schema import SEGMENTATION, Task
from covbench.system.files import sweep_leftovers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Readings:
    """Sentences on the models that lead, on steps and on near-duplicates.

    whole: those of the task's page, about every protocol. first: those of the first page, about one.
    """

    whole: Sequence[str]
    first: Sequence[str]


@dataclass(frozen=True)
class TaskSection:
    """What the report shows about one task."""

    task: Task
    path: str
    dataset: DatasetSection
    images: str
    readings: Readings
    leaders: Leaderboards
    metrics: Table
    shapes: Table | None
    model_pairs: ModelPairsSection
    agreement: Table | None
    operating_points: OperatingPoints | None
    calibration: Table | None
    study: StudySection
    classes: Table
    cost: Table
    network_costs: Table
    search: SearchSection | None
    folds: Table
    flow: Table
    counts: ReportFigure | None
    audit: AuditSection
    subgroups: SubgroupSection
    external: ExternalSection
    controls: ControlSection
    focus: FocusSection
    figures: Sequence[ReportFigure]
    samples: Gallery | None
    galleries: Sequence[Gallery]


def build_report(
    results: Path,
    data: Path,
    plan: Sequence[PlannedRun],
    out: Path,
    title: str,
    provenance: Mapping[str, str],
    compare: Path | None = None,
    printed: Path | None = None,
) -> None:
    """Write index.html, a page per task and per model, cards/, summary.md and figures/ into `out`, from scored runs.

    `out` and `printed` are replaced as a whole. If anything fails, they stay as they were.

    Args:
        results: The folder results/. The folder logs/ is beside it.
        data: The folder data/.
        plan: As covbench.experiment.plan.plan_runs.
        out: The report's folder.
        title: Title of the first page.
        provenance: Heading -> text, shown at the top.
        compare: Folder of the tables; None for results/compare.
        printed: Folder for the same figures as SVG and PDF for print, with a folder per task; None for no such files.
    """
    start = time.monotonic()
    gathered = read_results(results, plan, compare or results / "compare", out)
    with replace_folder(out) as folder:
        cache = FigureCache(folder, results / "pictures" / "figures")
        context = build_context(gathered, data, cache) | {"title": title, "provenance": provenance}
        write_pages(gathered, data, cache, context)
        cache.clear()
        write_summary(folder / "summary.md", gathered, title)
        (folder / PRINTED).mkdir(exist_ok=True)
        if printed:
            shutil.rmtree(printed, ignore_errors=True)
            printed.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / PRINTED, printed)
        shutil.rmtree(folder / PRINTED, ignore_errors=True)
    log.info("%s: %d of %d runs, %.1f s", out, len(gathered.scored), len(plan), time.monotonic() - start)


def write_pages(gathered: Results, data: Path, cache: FigureCache, context: Mapping[str, Any]) -> None:
    """Write the first page, the checklists, a page per task, and a page and a card per model and protocol.

    Args:
        gathered: The results of all tasks.
        data: Folder that holds raw/, index/ and prepared/.
        cache: Its folder is the report's folder.
        context: The values that the templates use.
    """
    write_library(cache.folder)
    write_page(cache.folder, "index.html", "index.html.j2", context)
    filled = checklists.build_checklists(gathered, data)
    write_page(cache.folder, checklists.PATH, "checklists.html.j2", {**context, "checklists": filled})
    write_dataset_cards(cache.folder, data, gathered)
    write_model_cards(cache.folder, gathered)
    models = {(run.task, run.protocol, run.architecture) for run in gathered.scored}
    with tqdm(total=len(models), desc="pages of models", unit="page") as bar:
        for section in context["tasks"]:
            write_page(cache.folder, section.path, "task_page.html.j2", {**context, "section": section})
            for model in build_model_sections(gathered, data, cache.folder, section.task):
                write_page(
                    cache.folder, model.path, "model_page.html.j2", {**context, "model": model, "section": section}
                )
                bar.update()


def describe_origin() -> dict[str, str]:
    """Describe when, from which commit and with which version the report is made: heading -> text."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    commit = re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", read_commit())
    return {"Made": made, "Commit": commit, "Version": importlib.metadata.version("covbench")}


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder beside `out` to write to. It replaces `out` unless an error is raised.

    What killed processes left half written of the same folder is removed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(out.parent, rf"\.{re.escape(out.name)}\.(\d+)\.(new|old)")
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    new.mkdir(parents=True)
    try:
        yield new
        if out.exists():
            os.replace(out, old)
        os.replace(new, out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def build_context(results: Results, data: Path, cache: FigureCache) -> dict[str, Any]:
    """Gather all values that the templates of the first page and the task pages use.

    Args:
        results: The results of all tasks.
        data: Folder that holds index/, splits/, prepared/ and thumbnails/.
        cache: Where figures are drawn and kept; its folder is the report's folder.

    Returns:
        Name -> value, without title and provenance.
    """
    names = list(dict.fromkeys(results.runs["task"]))
    tasks = [describe_task(name, results.of(name)) for name in names]
    sections, counts = [], {}
    for task in tqdm(tasks, desc="figures", unit="task"):
        section, counts[task.name] = build_task(results, data, cache, task)
        sections.append(section)
        log.info("%s: %d figures", task.name, len(section.figures) + len(section.galleries))
    datasets = data_overview.build_dataset_sections(data, names, results.audit)
    protocols = tables.order_protocols(results.runs["protocol"])
    return {
        "states": tables.count_states(results.runs),
        "planned": len(results.runs),
        "grids": list(build_grids(results.runs, tasks, protocols)),
        "tasks": sections,
        "datasets": datasets,
        "dataset_table": data_overview.build_dataset_table(datasets, results.audit["sources"]),
        "split_table": data_overview.build_split_table(data, results, names),
        "audit": audit.build_audit_section(results),
        "external": external.build_external_section(results.compare["external"]),
        "study": study.build_findings_section(results.compare["findings"], results.compare["published"]),
        "matrices": comparison_figures.draw_matrices(cache, results.compare["external"]),
        "counts": task_figures.draw_counts(cache, counts),
        "exclusions": data_overview.build_exclusion_table(datasets),
        "unscored": data_overview.build_unscored_table(results.runs),
        "accepted": data_overview.build_accepted_table(results.runs),
        "unweighted": list_unweighted(results.runs),
        "protocols": {wording.name_protocol(name): PROTOCOLS[name].meaning for name in protocols if name in PROTOCOLS},
        "definitions": [METRICS[kind] for kind in dict.fromkeys(task.kind for task in tasks) if kind in METRICS],
    }


def build_grids(runs: pd.DataFrame, tasks: Sequence[Task], protocols: Sequence[str]) -> Iterator[Table]:
    """Build the tables that show the state of every planned run.

    Args:
        runs: A row per planned run, as gather.Results.runs.
        tasks: The planned tasks.
        protocols: The planned protocols, in the order of the report.

    Yields:
        A table per protocol and kind of task that has runs.
    """
    for protocol, kind in product(protocols, dict.fromkeys(task.kind for task in tasks)):
        names = [task.name for task in tasks if task.kind == kind]
        chosen = runs[(runs["protocol"] == protocol) & runs["task"].isin(names)]
        if len(chosen):
            yield tables.build_grid(chosen, f"{wording.name_protocol(protocol)}, {kind or 'unknown kind'}")


def list_unweighted(runs: pd.DataFrame) -> list[str]:
    """List the networks that started from random weights, a line per task: `task: a, b`."""
    random = runs[(runs["family"] == "deep") & (runs["state"] == RunState.SCORED) & (runs["weights"] == "none")]
    return [
        f"{task}: {', '.join(dict.fromkeys(rows['architecture']))}" for task, rows in random.groupby("task", sort=False)
    ]


def build_task(results: Results, data: Path, cache: FigureCache, task: Task) -> tuple[TaskSection, dict[str, int]]:
    """Build a task's tables and figures, and count its images per class.

    Args:
        results: The results of all tasks.
        data: Folder that holds index/, splits/, prepared/ and thumbnails/.
        cache: Where figures are drawn and kept; its folder is the report's folder.
        task: The task.

    Returns:
        The section, and class -> images.
    """
    part = results.select(task.name)
    headline = choose_headline(task.kind, part.published)
    metrics = balance.accompany(headline, balance.find_majorities(part.metrics))
    prepared = read_prepared(data, task.name)
    members = find_members(task, prepared) if prepared else {}
    counts = {name: len(positions) for name, positions in members.items()}
    section = TaskSection(
        task=task,
        path=f"tasks/{wording.slug(task.name)}.html",
        dataset=data_overview.build_dataset_sections(data, [task.name], results.audit)[0],
        images=describe_size(part, task),
        readings=read_task(part, headline, metrics),
        leaders=build_leaderboards(task.kind, part, link_models(part.scored)),
        metrics=scores.build_metric_table(part.summary, part.metrics, part.runs, task.kind, headline),
        shapes=scores.build_shape_table(part.summary, part.metrics, part.runs, headline),
        model_pairs=model_pairs.build_model_pairs_section(part.compare, metrics),
        agreement=build_agreement_table(part.compare["agreement"]),
        operating_points=build_operating_points(part.compare["operating_points"]),
        calibration=build_calibration_table(part.compare["calibration"]),
        study=study.build_study_section(part.published, part.compare["literature"]),
        classes=scores.build_class_table(part.metrics, wording.CLASS_TABLE_METRICS[task.kind]),
        cost=tables.build_cost_table(part.runs),
        network_costs=tables.build_network_cost_table(part.costs),
        search=build_search_section(part.compare["search"]),
        folds=data_overview.build_split_table(data, part, [task.name]),
        flow=data_overview.build_flow_table(part.audit["flow"]),
        counts=task_figures.draw_counts(cache, {task.name: counts}, task.name),
        audit=audit.build_task_audit_section(data, cache.folder, part),
        subgroups=build_subgroup_section(
            part.compare["subgroups"], part.compare["subgroup_gaps"], HEADLINES.get(task.kind, "")
        ),
        external=external.build_external_section(part.compare["external"]),
        controls=controls.build_control_section(
            part.compare["controls"], part.audit["lungs"], controls.draw_controls(cache.folder, task, prepared)
        ),
        focus=build_focus_section(part.compare["focus"], draw_focus(cache.folder, part.scored, prepared)),
        figures=[*task_figures.draw_task(cache, task, part), *comparison_figures.draw_comparisons(cache, task, part)],
        samples=task_figures.draw_samples(cache.folder, task, prepared, members) if prepared else None,
        galleries=list(draw_galleries(cache.folder, data, task, part)),
    )
    return section, counts


def read_task(results: Results, headline: str, metrics: Sequence[str]) -> Readings:
    """Compute the sentences about a task.

    Args:
        results: The results of the task alone.
        headline: The metric that ranks its models.
        metrics: The metrics whose steps are named.

    Returns:
        The sentences.
    """
    leaders = leading.read_leaders(results.summary, results.compare["pairs"], headline)
    steps = read_steps(results.compare["protocols"], metrics)
    duplicates = leading.read_duplicates(results.summary, headline)
    return Readings(
        whole=[*leaders.values(), *steps, *duplicates.values()],
        first=[*_choose_first(leaders), *steps, *_choose_first(duplicates)],
    )


def _choose_first(sentences: Mapping[str, str]) -> list[str]:
    """The sentence about the protocol that the first page speaks of; none if there is none."""
    return [sentences[name] for name in tables.prefer_protocols(sentences)][:1]


def draw_galleries(folder: Path, data: Path, task: Task, results: Results) -> Iterator[Gallery]:
    """Draw the cases of a segmentation as pictures.

    Args:
        folder: The report's folder.
        data: Folder that holds prepared/.
        task: The task.
        results: The results of this task.

    Yields:
        The galleries of each protocol. A classification has none.
    """
    if task.kind == SEGMENTATION:
        for protocol in tables.order_protocols(results.runs["protocol"]):
            yield from task_figures.draw_cases(folder, data, task, protocol, results)


def describe_size(results: Results, task: Task) -> str:
    """Describe the size of each protocol's test fold: `audited: 40 test images of 12 patients in 11 groups`."""
    parts = []
    for protocol in tables.order_protocols(run.protocol for run in results.of(task.name)):
        fold = results.of(task.name, protocol)[0].metrics
        size = wording.describe_size(fold.get("images", 0), fold.get("patients"), fold.get("groups"), "test image")
        parts.append(f"{wording.name_protocol(protocol)}: {size}")
    return "; ".join(parts)
