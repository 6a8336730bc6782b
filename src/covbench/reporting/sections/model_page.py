"""A page per model and protocol: options, origin, learning curves, scores and every test case."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covbench.experiment.runs import RunRecord
from covbench.reporting import tables, wording
from covbench.reporting.gather import Results
from covbench.reporting.headlines import choose_headline
from covbench.reporting.places import locate_model, locate_model_card
from covbench.reporting.sections import cases, scores
from covbench.reporting.sections.learning_curves import Curves, build_curves
from covbench.reporting.tables import Cell, Table
from covbench.schema import SEGMENTATION, Task
from covbench.system.content_hashes import hash_content

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSection:
    """What the page of a model shows.

    card: path of its card. other_protocols: the model's pages under other protocols. others: other models and their
    pages. case_models: models with cases and the names of their files.
    """

    task: Task
    protocol: str
    name: str
    path: str
    card: str
    reading: str
    options: Sequence[tuple[str, str]]
    metrics: Table
    classes: Table
    confusion: Table
    cost: Table
    curves: Curves | None
    other_protocols: Sequence[tuple[str, str]]
    others: Sequence[tuple[str, str]]
    fold: cases.TestFold | None
    case_models: Sequence[tuple[str, str]]


def link_models(scored: Sequence[RunRecord]) -> dict[str, str]:
    """Model -> its page under the first protocol that has it, audited before others. scored: runs of one task."""
    links: dict[str, str] = {}
    for protocol in tables.prefer_protocols(run.protocol for run in scored):
        for run in scored:
            if run.protocol == protocol:
                links.setdefault(run.architecture, locate_model(run.task, protocol, run.architecture))
    return links


def build_model_sections(results: Results, data: Path, folder: Path, task: Task) -> Iterator[ModelSection]:
    """The page of every model of a task that has a scored run.

    Args:
        results: The results of all tasks.
        data: Folder that holds prepared/.
        folder: The report's folder, below which curves and cases are written.
        task: The task of the models.

    Yields:
        One section per protocol and model.
    """
    for protocol in tables.order_protocols(run.protocol for run in results.of(task.name)):
        runs = results.of(task.name, protocol)
        fold = cases.find_fold(data, task, protocol, runs)
        with_cases = [run for run in cases.select_first(runs) if fold is not None and not run.cases.empty]
        if fold is not None:
            cases.write_fold(folder, fold, _find_cache(runs[0], fold))
            for run in with_cases:
                explained = results_of(run) / "explained" / task.name / f"{protocol}.npz"
                cases.write_model(folder, fold, run, explained)
        named = [(run.architecture, wording.slug(run.architecture)) for run in with_cases]
        for name in dict.fromkeys(run.architecture for run in runs):
            yield _build_model_section(
                results, folder, task, [run for run in runs if run.architecture == name], fold, named
            )


def _find_cache(run: RunRecord, fold: cases.TestFold) -> Path:
    """Where pictures of these images are kept from one report to the next: results/pictures."""
    images = hash_content(fold.prepared.folder / "images.npy")[:16] if fold.prepared else "none"
    return results_of(run) / "pictures" / wording.slug(fold.task.name) / images


def results_of(run: RunRecord) -> Path:
    """The folder that holds runs/ with this run."""
    return run.folder.parents[4]


def _build_model_section(
    results: Results,
    folder: Path,
    task: Task,
    seeds: Sequence[RunRecord],
    fold: cases.TestFold | None,
    case_models: Sequence[tuple[str, str]],
) -> ModelSection:
    run = seeds[0].run
    summary, metrics, runs = (
        table[(table["task"] == task.name) & (table["architecture"] == run.architecture)]
        for table in (results.summary, results.metrics, results.runs)
    )
    summary, metrics, runs = (rows[rows["protocol"] == run.protocol] for rows in (summary, metrics, runs))
    headline = choose_headline(task.kind, results.published[results.published["task"] == task.name])
    others = link_others(results, task.name, run.protocol)
    return ModelSection(
        task=task,
        protocol=run.protocol,
        name=run.architecture,
        path=locate_model(task.name, run.protocol, run.architecture),
        card=locate_model_card(task.name, run.protocol, run.architecture),
        reading=wording.read_model(summary, headline),
        options=describe_origin(seeds),
        metrics=scores.build_metric_table(summary, metrics, runs, task.kind, headline),
        classes=scores.build_class_table(metrics, wording.CLASS_TABLE_METRICS[task.kind]),
        confusion=build_confusion(seeds, task),
        cost=tables.build_cost_table(runs),
        curves=build_curves(folder, task, seeds),
        other_protocols=[
            (protocol, locate_model(task.name, protocol, run.architecture))
            for protocol in tables.order_protocols(other.protocol for other in results.of(task.name))
            if protocol != run.protocol
            and any(o.architecture == run.architecture for o in results.of(task.name, protocol))
        ],
        others=[(name, path) for name, path in others.items() if name != run.architecture],
        fold=fold,
        case_models=case_models,
    )


def link_others(results: Results, task: str, protocol: str) -> dict[str, str]:
    """The pages of all models with a scored run of a task and protocol.

    Args:
        results: The results of all tasks.
        task: Name of the task.
        protocol: Name of the protocol.

    Returns:
        Model -> path of its page.
    """
    names = dict.fromkeys(run.architecture for run in results.of(task, protocol))
    return {name: locate_model(task, protocol, name) for name in names}


def describe_origin(seeds: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Word and value: what decided the first of a model's runs and where it came from, and edits accepted for any."""
    manifest = seeds[0].manifest
    stated = ["title", "citation", "contact", "training_data", "answers"]  # by the authors of another contestant
    facts = ["fingerprint", "git_commit", "finished", "device", "cpu", "instruction_set", "threads", "precision"]
    facts += ["weights", "parameters", "scheduler_job"]
    about = {key: manifest[key] for key in stated if manifest.get(key)}
    chosen = about | manifest["options"] | {key: manifest[key] for key in facts if manifest.get(key) is not None}
    shown = [(key.replace("_", " "), _show_value(value)) for key, value in chosen.items() if value != ""]
    return shown + [(f"seed {run.seed}", str(run.acceptance)) for run in seeds if run.acceptance]


def _show_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def build_confusion(seeds: Sequence[RunRecord], task: Task) -> Table:
    """Confusion matrix summed over seeds, as shares of the true class."""
    total = np.sum([np.array(run.metrics["confusion"], float) for run in seeds], axis=0)
    rows = []
    for name, counts in zip(task.classes, total, strict=True):
        whole = counts.sum()
        shares = [f"{count / whole:.1%}" if whole else wording.DASH for count in counts]
        rows.append(
            [Cell(name.replace("_", " "), name)]
            + [Cell(share, float(count), f"{count:,.0f}") for share, count in zip(shares, counts, strict=True)]
        )
    unit = "pixels" if task.kind == SEGMENTATION else "images"
    headings = [("Truth", "")] + [(f"predicted {name.replace('_', ' ')}", "") for name in task.classes]
    return Table(f"Confusion matrix: share of the true class, {unit} summed over seeds", headings, rows)
