"""The leaders of every task in a few lines: Markdown beside the report, a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.gather import Results
from covbench.reporting.headlines import HEADLINES, STUDY_HEADLINES
from covbench.reporting.origins import name_model
from covbench.reporting.tables import count_states, order_protocols, rank_models, signed_cell
from covbench.reporting.wording import DASH, is_number, plain, show, show_interval
from covbench.schema import CLASSIFICATION, COMPARE_TABLES, SEGMENTATION, CovbenchError
from covbench.system.files import read_table

HELP = """\
Print the best network and the best baseline of every task: AUROC for classification, Dice of the lesion for
segmentation, with the 95 % interval over patients. Below the table: how many planned runs are in which state.

The same table with the study's own metrics lies beside the report: results/report/summary.md.
"""
EXAMPLES = """\
examples:
  covbench summary                        the study, in this folder
  covbench summary demo/results           after `make demo`
  covbench summary results/partial        after `snakemake partial_report`
"""


READING = (
    "Mean over seeds, with the 95 % interval over patients in brackets. Study: the lowest and the highest value of its "
    "models. Change: audited minus published. Patients in both test folds are resampled together."
)


@dataclass(frozen=True)
class Leader:
    """The best deep model and the best baseline of a task on one metric, as text with intervals.

    study: the lowest and highest value that the study reports for its models. scores: by protocol, those of
    list_protocols. change: audited minus published.
    """

    task: str
    metric: str
    study: str
    model: str
    scores: Mapping[str, str]
    change: str
    baseline: str

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of name_columns."""
        values = (self.task, label_metric(self.metric), self.study, self.model, *self.scores.values())
        return tuple(plain(value) for value in (*values, self.change, self.baseline))


def list_protocols(names: Iterable[str]) -> list[str]:
    """The study's protocol and the audited one, then others by name."""
    return [PUBLISHED, AUDITED, *sorted(set(names) - {PUBLISHED, AUDITED})]


def name_columns(protocols: Iterable[str]) -> tuple[str, ...]:
    """Headings of a table of leaders."""
    scores = [name.capitalize() for name in protocols]
    return ("Task", "Metric", "Study", "Best model", *scores, "Change", "Best baseline")


def find_leaders(summary: pd.DataFrame, published: pd.DataFrame, protocols: pd.DataFrame) -> Iterator[Leader]:
    """The leaders of every task with scores, by audited score where there is one.

    Args:
        summary: Rows of results/compare/summary.csv.
        published: Rows of results/compare/published.csv.
        protocols: Rows of results/compare/protocols.csv.

    Yields:
        A leader by AUROC or lesion Dice, and one by the metric that corresponds to the study's accuracy or F1.
    """
    shown = list_protocols(summary["protocol"])
    for task, rows in summary.groupby("task", sort=False):
        kind = SEGMENTATION if (rows["metric"] == "dice_lesion").any() else CLASSIFICATION
        values = published[(published["task"] == task) & (published["metric"] == STUDY_HEADLINES[kind])]
        for metric in dict.fromkeys([HEADLINES[kind], *values["our_metric"]]):
            scores = rows[rows["metric"] == metric]
            reported = values.loc[values["our_metric"] == metric, "reported"]
            changes = protocols[(protocols["task"] == task) & (protocols["metric"] == metric)]
            if metric == HEADLINES[kind] or scores.loc[scores["family"] == "deep", "mean"].notna().any():
                yield _find_leader((str(task), metric), scores, changes, reported, shown)


def _find_leader(
    names: tuple[str, str], scores: pd.DataFrame, changes: pd.DataFrame, reported: pd.Series, protocols: Sequence[str]
) -> Leader:
    task, metric = names
    deep, simple = (
        (rank_models(scores[scores["family"] == family], metric) or [DASH])[0] for family in ("deep", "baseline")
    )
    baselines = [_show_score(scores, simple, protocol) for protocol in order_protocols(protocols)]
    baseline = next((score for score in baselines if score != DASH), "")
    return Leader(
        task=task,
        metric=metric,
        study=f"{show(reported.min(), 2)}{DASH}{show(reported.max(), 2)}" if len(reported) else DASH,
        model=_name_leader(scores, deep),
        scores={protocol: _show_score(scores, deep, protocol) for protocol in protocols},
        change=_show_change(changes[changes["architecture"] == deep]),
        baseline=f"{simple} {baseline}".strip(),
    )


def _name_leader(scores: pd.DataFrame, model: str) -> str:
    if "weights" not in scores:  # a table of an earlier version
        return model
    return name_model(model, next(iter(scores.loc[scores["architecture"] == model, "weights"]), ""))


def _show_change(rows: pd.DataFrame) -> str:
    if rows.empty or not is_number(rows.iloc[0]["change"]):
        return DASH
    cell = signed_cell(*rows.iloc[0][["change", "change_low", "change_high"]])
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text


def _show_score(rows: pd.DataFrame, model: str, protocol: str) -> str:
    chosen = rows[(rows["architecture"] == model) & (rows["protocol"] == protocol)]
    if chosen.empty:
        return DASH
    score = chosen.iloc[0]
    interval = show_interval(score["low"], score["high"])
    return show(score["mean"]) + (f" ({interval})" if interval else "")


def write_summary(path: Path, results: Results, title: str) -> None:
    """Write a Markdown table of the leaders, and the number of runs in each state.

    Args:
        path: The Markdown file.
        results: The results of all tasks.
        title: Heading of the file.
    """
    counts = ", ".join(f"{number} {state}" for state, number in count_states(results.runs).items())
    lines = [f"# {_escape(title)}", "", f"{len(results.runs)} runs planned: {counts}.", ""]
    columns = name_columns(list_protocols(results.summary["protocol"]))
    lines += ["| " + " | ".join(map(_escape, columns)) + " |", "| " + " | ".join(["---"] * len(columns)) + " |"]
    leaders = list(find_leaders(results.summary, results.compare["published"], results.compare["protocols"]))
    lines += ["| " + " | ".join(map(_escape, leader.cells)) + " |" for leader in leaders]
    lines += ["", READING if leaders else "No run is scored yet.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _escape(text: str) -> str:
    text = plain(text)
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text


def require_tables(results: Path) -> None:
    """Raise CovbenchError unless `results` holds the tables that a summary is made of."""
    if (results / "compare" / "runs.csv").is_file():
        return
    inner = [name for name in ("results", "partial") if (results / name / "compare" / "runs.csv").is_file()]
    remedy = f"did you mean {results / inner[0]}?" if inner else "run snakemake, or snakemake partial_report, first"
    raise CovbenchError(f"{results / 'compare' / 'runs.csv'}: no such file; {remedy}")


def print_summary(results: Path) -> None:
    """Print the leaders of every task and the number of runs in each state. results: the folder that holds compare/."""
    console = Console()
    compare = results / "compare"
    summary, published, protocols, runs = (
        read_table(compare / f"{name}.csv", COMPARE_TABLES[name])
        for name in ("summary", "published", "protocols", "runs")
    )
    leaders = list(find_leaders(summary, published, protocols)) if len(summary) else []
    leaders = [leader for leader in leaders if leader.metric in HEADLINES.values()]
    if leaders:
        console.print(_tabulate(leaders))
    else:
        console.print(Text(f"{results}: no run is scored yet"), soft_wrap=True)
    states = runs["state"].value_counts()
    if len(states):
        console.print(Text("Runs: " + ", ".join(f"{number} {state}" for state, number in states.items())))


def _tabulate(leaders: Sequence[Leader]) -> Table:
    """A table that fits 80 columns: names and intervals get their own lines, columns without values are left out."""
    table = Table(title="Best models, mean over seeds (95 % interval)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Task, metric, model", no_wrap=True)
    columns = name_columns(leaders[0].scores)[3:]
    rows = []
    for leader in leaders:
        task, metric, _, model, *scores, change, baseline = leader.cells
        cells = [*scores, change.split(" (")[0], baseline.replace(" ", "\n", 1)]
        rows.append([f"{task}\n{metric}\n{model}", *(cell.replace(" (", "\n(") for cell in cells)])
    shown = [number for number, column in enumerate(zip(*rows, strict=True)) if set(column) != {DASH}]
    for number in shown[1:]:
        table.add_column(columns[number], overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[number]) for number in shown))
    return table
