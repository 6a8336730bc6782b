"""The leaderboards of a task: a bar per protocol, the study's number, and flags for leaks and shortcuts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from covbench.evaluation.definitions import label_metric, list_reported
from covbench.reporting.balance import (
    ACCURACY,
    BALANCED,
    Majority,
    accompany,
    find_majorities,
    list_balanced_lines,
    read_majorities,
)
from covbench.reporting.gather import Results
from covbench.reporting.headlines import STUDY_HEADLINES, choose_headline, prefers_lower
from covbench.reporting.origins import describe_origins, find_other_training
from covbench.reporting.sections.controls import list_flags
from covbench.reporting.sections.model_pairs import show_ranks
from covbench.reporting.steps import list_step_lines
from covbench.reporting.tables import (
    MIXED_COVER,
    Bar,
    Cell,
    Table,
    describe_cover,
    keep_own_values,
    label_study,
    order_protocols,
    prefer_protocols,
    rank_models,
    score_cell,
    state_cell,
    tag_family,
)
from covbench.reporting.wording import DASH, is_number, name_protocol, show, show_interval
from covbench.schema import CLASSIFICATION

TOP = 5
SHORTCUT = 0.1
"""A prediction without the image is flagged if its AUROC exceeds chance by more than this, and its interval too."""


@dataclass(frozen=True)
class Study:
    """What the study reports for a task on one metric.

    numbers: model -> reported value. comparable: the study's metric is the one shown beside it. differences: model ->
    our value minus the study's, as text.
    """

    heading: str
    numbers: Mapping[str, float]
    comparable: bool
    note: str = ""
    differences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Leaderboards:
    """A table per metric label, headline first, and the task's warnings: word and sentence."""

    tables: Mapping[str, Table]
    warnings: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Beside:
    """What a leaderboard shows beside its scores.

    ranks: model -> the ranks that it may hold. links: model -> path of its page. flags: protocol -> the warning in its
    heading. lines: (model, protocol) -> lines below its score. notes: sentences below the table.
    """

    ranks: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


NOTHING = Beside()


@dataclass(frozen=True)
class Look:
    """What all cells of a leaderboard share. floor: left end of the bars. covers: as tables.describe_cover."""

    floor: float
    covers: str


def build_leaderboards(kind: str, results: Results, links: Mapping[str, str]) -> Leaderboards:
    """Leaderboards of one task.

    Args:
        kind: of the task.
        results: of the task alone.
        links: model -> its page.

    Returns:
        A table per metric with scores, and what to beware of.
    """
    summary, runs, published = results.summary, results.runs, results.published
    headline = choose_headline(kind, published)
    leaks = measure_leaks(results.audit["splits"])
    patients = knows_patients(results.audit["splits"])
    flags = {protocol: f"⚑ {_show_share(share)} leaked" for protocol, share in leaks.items()}
    majorities = find_majorities(results.metrics)
    boards = {}
    for metric in dict.fromkeys([headline, *list_reported(kind)]):
        if metric == headline or metric in set(summary["metric"]):
            study = find_study(kind, published, metric) if metric == headline else read_study(published, metric)
            beside = Beside(
                ranks=show_ranks(results.compare["ranks"], metric),
                links=links,
                flags=flags,
                lines=list_lines(results, metric, majorities),
                notes=read_majorities(majorities) if metric == ACCURACY else (),
            )
            boards[label_metric(metric)] = build_leaderboard(summary, runs, metric, study, beside)
    return Leaderboards(boards, [*describe_flags(leaks, results.audit["sources"], patients), *describe_origins(runs)])


def list_lines(results: Results, metric: str, majorities: Mapping[str, Majority]) -> dict[tuple[str, str], list[str]]:
    """What is shown below each score: balanced accuracy where accuracy misleads, what a step changed, and a flag.

    Args:
        results: The results of the task alone.
        metric: The metric of the leaderboard.
        majorities: As balance.find_majorities.

    Returns:
        (architecture, protocol) -> lines.
    """
    controls = results.compare["controls"]
    steps = list_step_lines(results.compare["protocols"], metric)
    misleads = BALANCED in accompany(metric, majorities)
    balanced = list_balanced_lines(results.summary) if misleads else {}
    flags = list_flags(controls[controls["metric"] == metric])
    lines = {key: [*balanced.get(key, ()), *steps.get(key, ())] for key in {**balanced, **steps}}
    return lines | {key: [*lines.get(key, ()), flag] for key, flag in flags.items()}


def read_study(published: pd.DataFrame, metric: str) -> Study:
    """The study's values of the metric that corresponds to `metric`. published: rows of one task."""
    rows = keep_own_values(published[published["our_metric"] == metric])
    return Study("Study", _map_values(rows), comparable=True, differences=dict(_describe_differences(rows)))


def find_study(kind: str, published: pd.DataFrame, headline: str) -> Study:
    """The study's number that is closest to the headline: its accuracy or F1.

    Args:
        kind: The kind of task.
        published: Rows of one task, as results/compare/published.csv.
        headline: The metric that ranks the task's models.

    Returns:
        The study's values, comparable only if their metric is the headline.
    """
    theirs = STUDY_HEADLINES.get(kind, STUDY_HEADLINES[CLASSIFICATION])
    rows = keep_own_values(published[published["metric"] == theirs])
    ours = next(iter(rows["our_metric"]), "")
    if ours in (headline, ""):
        return Study("Study", _map_values(rows), bool(ours), differences=dict(_describe_differences(rows)))
    note = f"The study's {label_study(theirs)} corresponds to our {label_metric(ours)}, which the bars do not show."
    return Study(f"Study, {label_study(theirs)}", _map_values(rows), comparable=False, note=note)


def _map_values(published: pd.DataFrame) -> dict[str, float]:
    return dict(zip(published["architecture"], published["reported"], strict=True))


def _describe_differences(published: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Model and `ours −0.049`: under published, which repeats the study."""
    for row in published.to_dict("records"):
        if is_number(row.get("difference")):
            yield row["architecture"], f"ours {row['difference']:+.3f}".replace("-", "−")


def measure_leaks(leaks: pd.DataFrame) -> dict[str, float]:
    """Protocol -> share of test images that leak, mean over seeds; protocols without leakage are left out.

    leaks: rows of one task, as results/audit/splits.csv.
    """
    if leaks.empty:
        return {}
    shares = leaks[leaks["class"] == ""].groupby("protocol")["leaked_share"].mean()
    return {str(protocol): float(share) for protocol, share in shares.items() if share > 0}


def knows_patients(leaks: pd.DataFrame) -> bool:
    """Whether anything is known of patients. leaks: rows of one task, as results/audit/splits.csv."""
    return bool(leaks["patient_in_train"].notna().any())


def describe_flags(
    leaks: Mapping[str, float], sources: pd.DataFrame, patients: bool = True
) -> Iterator[tuple[str, str]]:
    """Word and sentence per flag.

    Args:
        leaks: As measure_leaks.
        sources: Rows of one task, as results/audit/sources.csv.
        patients: Whether anything is known of patients.

    Yields:
        The flags.
    """
    seen = "the image, a duplicate or the patient" if patients else "the image or a duplicate"
    for protocol, share in leaks.items():
        words = f"for {_show_share(share)} of the test images, training has seen {seen}."
        yield f"leak, {name_protocol(protocol)}", words
    if sources.empty:
        return
    clues = {"source": "the source of an image predicts", "file": "file type, size and colour mode predict"}
    clear = (sources["auroc"] - sources["chance_auroc"] > SHORTCUT) & (sources["auroc_low"] > sources["chance_auroc"])
    for row in sources[clear].to_dict("records"):
        clue = clues.get(row["predictor"], f"{row['predictor']} predicts")
        interval = show_interval(row["auroc_low"], row["auroc_high"])
        words = f"{clue} the class with AUROC {show(row['auroc'])} ({interval}) on {row['images']:,} images"
        words += f" (chance: {show(row['chance_auroc'])})."
        yield "shortcut", words


def _show_share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def build_leaderboard(
    summary: pd.DataFrame, runs: pd.DataFrame, metric: str, reported: Study, beside: Beside = NOTHING
) -> Table:
    """Models from best to worst on one metric: a bar per protocol, the study's number beside it; baselines are marked.

    Args:
        summary: Rows of one task, as results/compare/summary.csv.
        runs: Rows of the same task, as gather.Results.runs.
        metric: The metric that orders the models.
        reported: The study's values.
        beside: What else is shown.

    Returns:
        The table; rows outside the top have the fact `top` set to `no`.
    """
    marks = reported.numbers if reported.comparable else {}
    families = dict(zip(runs["architecture"], runs["family"], strict=True))
    elsewhere = find_other_training(runs)
    ranked = rank_models(summary, metric)
    ranked += [name for name in families if name not in ranked]
    top = _find_top(ranked, families)
    protocols = order_protocols(runs["protocol"])
    scores = summary[summary["metric"] == metric].to_dict("records")
    values = {(row["architecture"], row["protocol"]): row for row in scores}
    shown = [row for row in scores if row["architecture"] in top]
    look = Look(
        floor=_find_floor(shown, [marks[name] for name in top if name in marks]),
        covers=describe_cover(row["covers"] for row in scores),
    )
    rows = []
    for name in ranked:
        named = _name_cell(name, str(families.get(name, "deep")), name in top)
        details = filter(None, (beside.ranks.get(name, ""), "leaks cannot be excluded" if name in elsewhere else ""))
        named = replace(named, detail="; ".join(details), link=beside.links.get(name, ""))
        bars = []
        for protocol in protocols:
            planned = runs[(runs["architecture"] == name) & (runs["protocol"] == protocol)]
            lines = beside.lines.get((name, protocol), ())
            bars.append(_bar_cell(values.get((name, protocol)), planned, look, marks.get(name), lines))
        rows.append([named, *bars, *_study_cells(reported, name)])
    bars_span = f"bars span {look.floor:.1f} to 1"
    caption = "; ".join((label_metric(metric), _explain_order(metric, protocols), bars_span, look.covers))
    notes = [*beside.notes, *([reported.note] if reported.numbers and reported.note else []), *_list_missing(scores)]
    flagged = {name_protocol(name): beside.flags.get(name, "") for name in protocols}
    return Table(caption, _list_headings(protocols, reported), rows, notes=notes, protocols=flagged)


def _explain_order(metric: str, protocols: Sequence[str]) -> str:
    order = f"sorted by {name_protocol(prefer_protocols(protocols)[0])}" if protocols else "not planned"
    return f"smaller is better; {order}" if prefers_lower(metric) else order


def _list_missing(scores: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Name the models whose score has no interval, a line per reason."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for row in scores:
        if is_number(row["mean"]) and not is_number(row["low"]) and row["reason"]:
            models = grouped.setdefault(row["reason"], {})
            models.setdefault(row["architecture"], []).append(row["protocol"])
    every = {row["protocol"] for row in scores}
    return [
        f"{'; '.join(_name_where(name, found, every) for name, found in models.items())}: {reason}"
        for reason, models in grouped.items()
    ]


def _name_where(model: str, protocols: Sequence[str], every: Collection[str]) -> str:
    """A model, with the protocols unless they are all."""
    if set(protocols) == set(every):
        return model
    return f"{model} ({'; '.join(map(name_protocol, order_protocols(protocols)))})"


def _list_headings(protocols: Sequence[str], reported: Study) -> list[tuple[str, str]]:
    headings = [("Model", ""), *[(name_protocol(name), "mean over seeds, 95 % interval") for name in protocols]]
    if reported.numbers:
        meaning = reported.note or "as reported by the study; below it, ours minus the study's"
        headings.append((reported.heading, meaning))
    return headings


def _name_cell(name: str, family: str, top: bool) -> Cell:
    return Cell(name, name, tag=tag_family(family), facts={"family": family, "top": "yes" if top else "no"})


def _study_cells(reported: Study, name: str) -> list[Cell]:
    """The cell of the study's column; no cell if the study reports nothing for the task."""
    if not reported.numbers:
        return []
    if name not in reported.numbers:
        return [Cell(DASH)]
    value = reported.numbers[name]
    return [Cell(show(value), value, reported.differences.get(name, ""))]


def _find_top(ranked: Sequence[str], families: Mapping[str, str]) -> set[str]:
    """The best networks and the best baseline."""
    deep = [name for name in ranked if families.get(name) != "baseline"][:TOP]
    return {*deep, *[name for name in ranked if families.get(name) == "baseline"][:1]}


def _find_floor(rows: Iterable[Mapping[Any, Any]], others: Sequence[float]) -> float:
    lowest = [value for row in rows for value in (row["low"], row["mean"]) if is_number(value)] + list(others)
    return min(max(0.0, int(min(lowest, default=0.0) * 10) / 10), 0.9)


def _bar_cell(
    row: Mapping[Any, Any] | None, planned: pd.DataFrame, look: Look, study: float | None, lines: Sequence[str]
) -> Cell:
    if row is None or not is_number(row["mean"]):
        return state_cell(planned, row is not None)

    def scale(value: object) -> float | None:
        return (float(value) - look.floor) / (1 - look.floor) if is_number(value) else None  # type: ignore[arg-type]

    seeds = [float(value) for value in str(row["values"]).split()]
    ticks = [place for value in seeds if (place := scale(value)) is not None and place >= 0] if len(seeds) > 1 else []
    bar = Bar(scale(row["low"]), scale(row["mean"]) or 0.0, scale(row["high"]), scale(study), ticks)
    cell = score_cell(row, look.covers == MIXED_COVER)
    interval = show_interval(row["low"], row["high"])
    more = [*(cell.more if interval else ()), *lines]
    return replace(cell, detail=interval or "no interval", more=more, bar=bar)
