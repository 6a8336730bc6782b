"""The leaders of every task in a few lines: Markdown beside the report, a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT
from covbench.reporting.balance import ACCURACY, BALANCED, accompany, find_majorities, read_majorities
from covbench.reporting.gather import Results
from covbench.reporting.headlines import HEADLINES, STUDY_HEADLINES
from covbench.reporting.origins import name_model
from covbench.reporting.sections.model_pairs import show_ranks
from covbench.reporting.steps import BOTH_STEPS, RECIPE, SPLIT, STEP_NAMES, show_step, step_target
from covbench.reporting.tables import BASELINE_TAG, count_states, order_protocols, prefer_protocols, rank_models
from covbench.reporting.wording import DASH, escape_markdown, is_number, name_protocol, plain, show, show_interval
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError
from covbench.system.files import read_table
from covbench.system.stage_files import check_files

HELP = """\
Print the network with the highest score and the best baseline of every task: AUROC for classification, Dice of the
lesion for segmentation, with 95 % intervals, under each protocol, and what the split alone and the recipe change.
Where most test images belong to one class, accuracy and balanced accuracy follow. Below the table: how many planned
runs are in which state.

The same table with the study's own metrics lies beside the report: results/report/summary.md.
"""
EXAMPLES = """\
examples:
  covbench summary                        the study, in this folder
  covbench summary demo/results           after `make demo`
  covbench summary results/partial        after `snakemake partial_report`
"""


TABLES = ("summary", "metrics", "published", "protocols", "ranks", "runs")
"""Tables of results/compare that the summary reads."""
READING = (
    "Mean over seeds, with the 95 % interval in brackets. Study: the lowest and the highest value of its models. The "
    "network is the one with the highest score, with the ranks that it may hold: the test folds cannot separate models "
    "that share a rank. Split alone: the published recipe on the audited folds minus published. Recipe: audited minus "
    "that. Groups of images in both test folds are drawn for both."
)


@dataclass(frozen=True)
class Leader:
    """The network with the highest score and the best baseline of a task on one metric, as text with intervals.

    study: the lowest and highest value that the study reports for its models. rank: the ranks that the network may
    hold. scores: by protocol. steps: by column of the table `protocols`. warnings: why accuracy misleads.
    """

    task: str
    metric: str
    study: str
    model: str
    rank: str
    scores: Mapping[str, str]
    steps: Mapping[str, str]
    baseline: str
    warnings: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The model with its rank."""
        return f"{self.model} ({self.rank})" if self.rank else self.model

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of name_columns."""
        story = {**self.scores, **self.steps}
        shown = (story[name] for name in order_story(self.scores, self.steps))
        return tuple(map(plain, (self.task, label_metric(self.metric), self.study, self.name, *shown, self.baseline)))


def order_story(protocols: Iterable[str], steps: Iterable[str]) -> list[str]:
    """Protocols and the steps between them: each step precedes the protocol that it leads to."""
    arrivals = {step_target(step): step for step in steps}
    return [name for protocol in order_protocols(protocols) for name in (arrivals.get(protocol, ""), protocol) if name]


def name_columns(protocols: Iterable[str], steps: Iterable[str]) -> tuple[str, ...]:
    """Headings of a table of leaders."""
    names = [STEP_NAMES.get(name, name_protocol(name)) for name in order_story(protocols, steps)]
    shown = [name[:1].upper() + name[1:] for name in names]
    return ("Task", "Metric", "Study", "Network with the highest score", *shown, "Best baseline")


def choose_steps(protocols: Iterable[str]) -> tuple[str, ...]:
    """The two steps if the protocol between them is there, otherwise both together if the two ends are."""
    found = set(protocols)
    if PUBLISHED_AUDITED_SPLIT in found:
        return (SPLIT, RECIPE)
    return (BOTH_STEPS,) if {PUBLISHED, AUDITED} <= found else ()


def find_leaders(compare: Mapping[str, pd.DataFrame]) -> Iterator[Leader]:
    """The leaders of every task with scores, by audited score where there is one.

    compare: the tables of comparison.tables.COMPARE_TABLES by name.

    Yields a leader by AUROC or lesion Dice, and one by the metric that corresponds to the study's accuracy or F1. Where
    accuracy misleads, one by balanced accuracy follows.
    """
    summary, published = compare["summary"], compare["published"]
    for task, rows in summary.groupby("task", sort=False):
        kind = SEGMENTATION if (rows["metric"] == "dice_lesion").any() else CLASSIFICATION
        values = published[(published["task"] == task) & (published["metric"] == STUDY_HEADLINES[kind])]
        tables = {name: table[table["task"] == task] for name, table in compare.items() if "task" in table}
        majorities = find_majorities(tables["metrics"])
        chosen = [HEADLINES[kind], *(name for ours in values["our_metric"] for name in accompany(ours, majorities))]
        for metric in dict.fromkeys(chosen):
            scored = rows.loc[(rows["metric"] == metric) & (rows["family"] != BASELINE_TAG), "mean"].notna().any()
            if metric == HEADLINES[kind] or scored:
                reported = values.loc[values["our_metric"] == metric, "reported"]
                warnings = read_majorities(majorities) if metric == ACCURACY else ()
                leader = _find_leader(str(task), metric, tables, order_protocols(summary["protocol"]))
                study = f"{show(reported.min(), 2)}{DASH}{show(reported.max(), 2)}" if len(reported) else DASH
                yield replace(leader, study=study, warnings=warnings)


def _find_leader(task: str, metric: str, tables: Mapping[str, pd.DataFrame], protocols: Sequence[str]) -> Leader:
    scores, changes = (table[table["metric"] == metric] for table in (tables["summary"], tables["protocols"]))
    baselines_only = scores["family"] == BASELINE_TAG
    deep, simple = ((rank_models(scores[chosen], metric) or [DASH])[0] for chosen in (~baselines_only, baselines_only))
    baselines = [_show_score(scores, simple, protocol) for protocol in prefer_protocols(protocols)]
    baseline = next((score for score in baselines if score != DASH), "")
    change = next(iter(changes[changes["architecture"] == deep].to_dict("records")), {})
    return Leader(
        task=task,
        metric=metric,
        study=DASH,
        model=name_model(deep, next(iter(scores.loc[scores["architecture"] == deep, "weights"]), "")),
        rank=show_ranks(tables["ranks"], metric).get(deep, ""),
        scores={protocol: _show_score(scores, deep, protocol) for protocol in protocols},
        steps={step: _show_step(change, step) for step in choose_steps(protocols)},
        baseline=f"{simple} {baseline}".strip(),
    )


def _show_score(rows: pd.DataFrame, model: str, protocol: str) -> str:
    chosen = rows[(rows["architecture"] == model) & (rows["protocol"] == protocol)]
    if chosen.empty:
        return DASH
    score = chosen.iloc[0]
    if not is_number(score["mean"]):
        return DASH
    return f"{show(score['mean'])} ({show_interval(score['low'], score['high']) or 'no interval'})"


def _show_step(change: Mapping[Any, Any], step: str) -> str:
    shown = show_step(change, step) if change else DASH
    return shown if shown == DASH or "(" in shown else f"{shown} (no interval)"


def write_summary(path: Path, results: Results, title: str) -> None:
    """Write a Markdown table of the leaders, and the number of runs in each state.

    Args:
        path: The Markdown file.
        results: The results of all tasks.
        title: Heading of the file.
    """
    counts = ", ".join(f"{number} {state}" for state, number in count_states(results.runs).items())
    lines = [f"# {escape_markdown(title)}", "", f"{len(results.runs)} runs planned: {counts}.", ""]
    protocols = order_protocols(results.summary["protocol"])
    columns = name_columns(protocols, choose_steps(protocols))
    lines += ["| " + " | ".join(map(escape_markdown, columns)) + " |", "| " + " | ".join(["---"] * len(columns)) + " |"]
    leaders = list(find_leaders(results.compare))
    lines += ["| " + " | ".join(map(escape_markdown, leader.cells)) + " |" for leader in leaders]
    lines += [""] + [f"{escape_markdown(line)}\n" for line in _list_warnings(leaders)]
    lines += [READING if leaders else "No run is scored yet.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def require_tables(results: Path) -> None:
    """Raise CovbenchError unless `results` holds the tables that a summary is made of, as they were written."""
    if (results / "compare" / "runs.csv").is_file():
        check_files(results / "compare" / f"{name}.csv" for name in TABLES)
        return
    inner = [name for name in ("results", "partial") if (results / name / "compare" / "runs.csv").is_file()]
    remedy = f"did you mean {results / inner[0]}?" if inner else "run snakemake, or snakemake partial_report, first"
    raise CovbenchError(f"{results / 'compare' / 'runs.csv'}: no such file; {remedy}")


def print_summary(results: Path) -> None:
    """Print the leaders of every task and the number of runs in each state. results: the folder that holds compare/."""
    console = Console()
    compare = {name: read_table(results / "compare" / f"{name}.csv", COMPARE_TABLES[name]) for name in TABLES}
    leaders = list(find_leaders(compare)) if len(compare["summary"]) else []
    shown = [leader for leader in leaders if leader.metric in (*HEADLINES.values(), BALANCED) or leader.warnings]
    if shown:
        console.print(_tabulate(shown))
    else:
        console.print(Text(f"{results}: no run is scored yet"), soft_wrap=True)
    for line in _list_warnings(leaders):
        console.print(Text(line))
    states = compare["runs"]["state"].value_counts()
    if len(states):
        console.print(Text("Runs: " + ", ".join(f"{number} {state}" for state, number in states.items())))


def _list_warnings(leaders: Iterable[Leader]) -> list[str]:
    return [f"{leader.task}, {sentence}" for leader in leaders for sentence in leader.warnings]


def _tabulate(leaders: Sequence[Leader]) -> Table:
    """A table that fits 80 columns: a row per protocol, intervals on lines of their own."""
    table = Table(title="Networks with the highest score (95 % interval)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Task, metric, network", no_wrap=True)
    for heading in ("Protocol", "Mean over seeds", "Change to here"):
        table.add_column(heading, overflow="fold")
    for leader in leaders:
        titles = [(leader.task, label_metric(leader.metric)), (leader.model, leader.rank)]
        lines = list(_list_lines(leader))
        for title, line in zip_longest(titles, lines, fillvalue=("", "")):
            cells = [_stack(*title), *line, *[""] * (3 - len(line))]
            table.add_row(*map(Text, cells), end_section=line == lines[-1])
    return table


def _list_lines(leader: Leader) -> Iterator[tuple[str, str, str]]:
    """Protocol, score, and the step that leads to it; last the best baseline."""
    arrivals = {step_target(step): (STEP_NAMES[step], text) for step, text in leader.steps.items() if text != DASH}
    for protocol, score in leader.scores.items():
        if score != DASH:
            name, change = arrivals.get(protocol, ("", ""))
            number, _, interval = change.partition(" ")
            first, _, second = name_protocol(protocol).partition(", ")
            value, _, spread = score.partition(" ")
            yield _stack(first, second), _stack(value, spread), _stack(f"{name} {number}".strip(), interval)
    baseline, _, score = leader.baseline.partition(" ")
    if score:
        value, _, spread = score.partition(" ")
        yield _stack("best baseline", baseline), _stack(value, spread), ""


def _stack(*lines: str) -> str:
    return "\n".join(plain(line) for line in lines if line)
