"""The leaders of every task in a few lines: Markdown beside the report, a table in the terminal.

python -m covbench.reporting.summary results
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.gather import STATES, Results, read_table
from covbench.reporting.tables import choose_headline, rank_models
from covbench.reporting.wording import DASH, label_metric, plain, show, show_interval
from covbench.schema import CLASSIFICATION, SEGMENTATION

HEADINGS = ("Task", "Metric", "Best model", "Published", "Audited", "Best baseline")


@dataclass(frozen=True)
class Leader:
    """The best deep model of a task and the best baseline beside it, as text with intervals."""

    task: str
    metric: str
    model: str
    published: str
    audited: str
    baseline: str

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of HEADINGS."""
        values = (self.task, label_metric(self.metric), self.model, self.published, self.audited, self.baseline)
        return tuple(plain(value) for value in values)


def find_leaders(summary: pd.DataFrame, published: pd.DataFrame) -> Iterator[Leader]:
    """The leader of every task with scores, under the audited protocol where there is one.

    summary, published: as results/compare/summary.csv and published.csv.
    """
    for task, rows in summary.groupby("task", sort=False):
        kind = SEGMENTATION if (rows["metric"] == "dice_lesion").any() else CLASSIFICATION
        metric = choose_headline(kind, published[published["task"] == task])
        rows = rows[rows["metric"] == metric]
        deep, simple = (
            rank_models(rows[rows["family"] == family], metric)[:1] or [DASH] for family in ("deep", "baseline")
        )
        scores = [_show_score(rows, simple[0], protocol) for protocol in (AUDITED, PUBLISHED)]
        score = next((score for score in scores if score != DASH), "")
        yield Leader(
            task=str(task),
            metric=metric,
            model=deep[0],
            published=_show_score(rows, deep[0], PUBLISHED),
            audited=_show_score(rows, deep[0], AUDITED),
            baseline=f"{simple[0]} {score}".strip(),
        )


def _show_score(rows: pd.DataFrame, model: str, protocol: str) -> str:
    chosen = rows[(rows["architecture"] == model) & (rows["protocol"] == protocol)]
    if chosen.empty:
        return DASH
    score = chosen.iloc[0]
    interval = show_interval(score["low"], score["high"])
    return show(score["mean"]) + (f" ({interval})" if interval else "")


def write_summary(path: Path, results: Results, title: str) -> None:
    """A Markdown table of the leaders, and how much of the grid is done."""
    states = results.runs["state"].value_counts()
    counts = ", ".join(f"{states.get(state, 0)} {state}" for state in STATES)
    lines = [f"# {_escape(title)}", "", f"{len(results.runs)} runs planned: {counts}.", ""]
    lines += ["| " + " | ".join(HEADINGS) + " |", "| " + " | ".join(["---"] * len(HEADINGS)) + " |"]
    leaders = list(find_leaders(results.summary, results.published))
    lines += ["| " + " | ".join(map(_escape, leader.cells)) + " |" for leader in leaders]
    lines += ["", "Mean over seeds, in brackets the 95 % interval." if leaders else "No run has finished yet.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _escape(text: str) -> str:
    text = plain(text)
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return text


def print_summary(results: Path) -> None:
    """Print the leaders of every task and the state of the grid, from results/compare."""
    console = Console()
    table = Table(
        "Task and metric",
        title="Best models, mean over seeds (95 % interval)",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in HEADINGS[2:]:
        table.add_column(heading, overflow="fold")
    compare = results / "compare"
    summary, published = (
        read_table(compare / "summary.csv", []),
        read_table(compare / "published.csv", ["task", "our_metric"]),
    )
    for leader in find_leaders(summary, published) if len(summary) else ():
        task, metric, *scores = leader.cells
        table.add_row(Text(f"{task}\n{metric}"), *(Text(cell.replace(" (", "\n(")) for cell in scores))
    states = read_table(compare / "runs.csv", ["state"])["state"].value_counts()
    if table.row_count:
        console.print(table)
    else:
        console.print(Text(f"{results}: no run has finished yet"), soft_wrap=True)
    if len(states):
        console.print(Text("Runs: " + ", ".join(f"{number} {state}" for state, number in states.items())))


if __name__ == "__main__":
    print_summary(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
