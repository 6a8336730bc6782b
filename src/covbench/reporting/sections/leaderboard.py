"""Who leads a task on a metric: a bar per protocol, the study's number beside it, flags for leaks and shortcuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pandas as pd

from covbench.evaluation.definitions import label_metric, list_reported
from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.sections.model_pairs import show_ranks
from covbench.reporting.tables import (
    BASELINE_TAG,
    Bar,
    Cell,
    Table,
    label_study,
    order_protocols,
    rank_models,
    state_cell,
)
from covbench.reporting.wording import DASH, is_number, show, show_interval
from covbench.schema import SEGMENTATION

TOP = 5
SHORTCUT = 0.1
"""AUROC above chance from which on a prediction without a look at the image is flagged."""


@dataclass(frozen=True)
class Study:
    """What the study reports for a task on one metric, and what ours differs from it, in words, per model.

    comparable: it is the very metric that is shown here.
    """

    heading: str
    numbers: Mapping[str, float]
    comparable: bool
    note: str = ""
    differences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Leaderboards:
    """A table per metric by its label, the headline first; and what to beware of in this task, word and sentence."""

    tables: Mapping[str, Table]
    warnings: Sequence[tuple[str, str]]


def choose_headline(kind: str, published: pd.DataFrame) -> str:
    """The metric that ranks a task's models: lesion Dice; accuracy where the study reports it; else AUROC."""
    if kind == SEGMENTATION:
        return "dice_lesion"
    return "accuracy" if "accuracy" in set(published["our_metric"]) else "auroc"


def view_leaderboards(kind: str, tables: Mapping[str, pd.DataFrame], links: Mapping[str, str]) -> Leaderboards:
    """Leaderboards of one task.

    tables: rows of the task in summary, runs, published, ranks, leaks and sources. links: model -> its page.
    """
    summary, runs, published = (tables[name] for name in ("summary", "runs", "published"))
    headline = choose_headline(kind, published)
    leaks = measure_leaks(tables["leaks"])
    flags = {protocol: f"⚑ {_show_share(share)} leaked" for protocol, share in leaks.items()}
    boards = {}
    for metric in dict.fromkeys([headline, *list_reported(kind)]):
        if metric == headline or metric in set(summary["metric"]):
            study = find_study(kind, published, metric) if metric == headline else read_study(published, metric)
            ranks = show_ranks(tables["ranks"], metric)
            boards[label_metric(metric)] = build_leaderboard(summary, runs, metric, study, ranks, links, flags)
    return Leaderboards(boards, list(describe_flags(leaks, tables["sources"])))


def read_study(published: pd.DataFrame, metric: str) -> Study:
    """The study's values of the metric that corresponds to ours. published: rows of one task."""
    rows = published[published["our_metric"] == metric]
    values = dict(zip(rows["architecture"], rows["reported"], strict=True))
    return Study("Study", values, comparable=True, differences=dict(_tell_differences(rows)))


def find_study(kind: str, published: pd.DataFrame, headline: str) -> Study:
    """The study's number nearest to the headline: its accuracy or F1. published: rows of one task."""
    theirs = "f1" if kind == SEGMENTATION else "accuracy"
    rows = published[published["metric"] == theirs]
    ours = next(iter(rows["our_metric"]), "")
    values = dict(zip(rows["architecture"], rows["reported"], strict=True))
    if ours in (headline, ""):
        return Study("Study", values, comparable=bool(ours), differences=dict(_tell_differences(rows)))
    note = f"The study's F1 corresponds to our {label_metric(ours)}, not to the bars."
    return Study(f"Study, {label_study(theirs)}", values, comparable=False, note=note)


def _tell_differences(published: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Model -> `ours −0.049`, under published, which repeats the study; else under audited, which is then named."""
    for row in published.to_dict("records"):
        for protocol, word in ((PUBLISHED, "ours"), (AUDITED, "ours, audited,")):
            if is_number(row.get(f"difference_{protocol}")):
                yield row["architecture"], f"{word} {row[f'difference_{protocol}']:+.3f}".replace("-", "−")
                break


def measure_leaks(leaks: pd.DataFrame) -> dict[str, float]:
    """Protocol -> share of test images of which training has seen something, mean over seeds; 0 is left out.

    leaks: rows of one task, as results/audit/splits.csv.
    """
    if leaks.empty:
        return {}
    shares = leaks[leaks["class"] == ""].groupby("protocol")["leaked_share"].mean()
    return {str(protocol): float(share) for protocol, share in shares.items() if share > 0}


def describe_flags(leaks: Mapping[str, float], sources: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Word and sentence per flag. sources: rows of one task, as results/audit/sources.csv."""
    for protocol, share in leaks.items():
        words = f"training has seen {_show_share(share)} of the test images, a copy of them or their patient."
        yield f"leak, {protocol}", words
    if sources.empty:
        return
    for row in sources[sources["auroc"] - sources["chance_auroc"] > SHORTCUT].to_dict("records"):
        seen = {"source": "where an image comes from", "file": "the type and size of the file"}
        told = seen.get(row["predictor"], row["predictor"])
        words = f"{told} tells the class with AUROC {show(row['auroc'])}, chance {show(row['chance_auroc'])}."
        yield "shortcut", words


def _show_share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def build_leaderboard(
    summary: pd.DataFrame,
    runs: pd.DataFrame,
    metric: str,
    reported: Study,
    ranks: Mapping[str, str] = MappingProxyType({}),
    links: Mapping[str, str] = MappingProxyType({}),
    flags: Mapping[str, str] = MappingProxyType({}),
) -> Table:
    """Models from best to worst on one metric: a bar per protocol, the study's number beside; baselines marked.

    summary, runs: rows of one task. ranks: model -> the ranks that it may hold, shown beneath its name. links: model
    -> its page. flags: protocol -> what its heading warns of.
    """
    study = reported.numbers
    marks = study if reported.comparable else {}
    families = dict(zip(runs["architecture"], runs["family"], strict=True))
    ranked = rank_models(summary, metric)
    ranked += [name for name in families if name not in ranked]
    top = _find_top(ranked, families)
    protocols = order_protocols(runs["protocol"])
    scores = summary[summary["metric"] == metric].to_dict("records")
    values = {(row["architecture"], row["protocol"]): row for row in scores}
    shown = [row for (name, _), row in values.items() if name in top]
    floor = _find_floor(shown, [marks[name] for name in top if name in marks])
    rows = []
    for name in ranked:
        family = str(families.get(name, "deep"))
        facts = {"family": family, "top": "yes" if name in top else "no"}
        tag = BASELINE_TAG if family == "baseline" else ""
        cells = [Cell(name, name, ranks.get(name, ""), tag=tag, link=links.get(name, ""), facts=facts)]
        cells += [_bar_cell(values.get((name, p)), name, p, runs, floor, marks.get(name)) for p in protocols]
        if study:
            known = name in study
            cells.append(Cell(show(study[name]), study[name], reported.differences.get(name, "")) if known else _NONE)
        rows.append(cells)
    headings = [("Model", ""), *[(protocol, "mean over seeds, 95 % interval") for protocol in protocols]]
    if study:
        headings.append((reported.heading, reported.note or "as the study reports it; beneath, ours less the study's"))
    notes = [reported.note] if study and reported.note else []
    caption = f"{label_metric(metric)}; bars span {floor:.1f} to 1"
    return Table(caption, headings, rows, notes=notes, protocols={name: flags.get(name, "") for name in protocols})


_NONE = Cell(DASH)


def _find_top(ranked: Sequence[str], families: Mapping[str, str]) -> set[str]:
    """The first few networks and the best baseline."""
    deep = [name for name in ranked if families.get(name) != "baseline"][:TOP]
    return {*deep, *[name for name in ranked if families.get(name) == "baseline"][:1]}


def _find_floor(rows: Iterable[Mapping[Any, Any]], others: Sequence[float]) -> float:
    lowest = [value for row in rows for value in (row["low"], row["mean"]) if is_number(value)] + list(others)
    return min(max(0.0, int(min(lowest, default=0.0) * 10) / 10), 0.9)


def _bar_cell(
    row: Mapping[Any, Any] | None, name: str, protocol: str, runs: pd.DataFrame, floor: float, study: float | None
) -> Cell:
    if row is None or not is_number(row["mean"]):
        return state_cell(runs[(runs["architecture"] == name) & (runs["protocol"] == protocol)], row is not None)

    def scale(value: object) -> float | None:
        return (float(value) - floor) / (1 - floor) if is_number(value) else None  # type: ignore[arg-type]

    bar = Bar(scale(row["low"]), scale(row["mean"]) or 0.0, scale(row["high"]), scale(study))
    return Cell(show(row["mean"]), float(row["mean"]), show_interval(row["low"], row["high"]), bar=bar)
