"""Says which model leads a task. Only the verdicts of the table `pairs` decide, as they decide the ranks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.comparison.intervals import say_too_few
from covbench.evaluation.comparison.model_pairs import BETTER, TRAINED, UNDECIDABLE, WORSE
from covbench.reporting.headlines import prefers_lower
from covbench.reporting.tables import BASELINE_TAG, order_protocols
from covbench.reporting.wording import join_words, name_metric, name_protocol, show, show_average, show_interval

OPPOSITE = {BETTER: WORSE, WORSE: BETTER}
NAMED = 4
"""Names of tied models that a sentence lists before it counts the others."""


@dataclass(frozen=True)
class Lead:
    """The model with the best score under one protocol, and how the others compare with it.

    scores: rows of the table `summary` of the compared models, best first. verdicts: other model -> verdict of the best
    model against it. reasons: other model -> reason of that verdict. scopes: what those verdicts speak of that can
    be decided. left_out: models that have a score but were not compared.
    """

    scores: pd.DataFrame
    verdicts: Mapping[str, str]
    reasons: Mapping[str, str]
    scopes: Collection[str]
    left_out: Sequence[str]

    @property
    def best(self) -> str:
        """The model with the best score."""
        return str(self.scores.iloc[0]["architecture"])

    @property
    def tied(self) -> list[str]:
        """The best model and those that it is not better than by verdict, best score first."""
        others = [str(name) for name in self.scores["architecture"][1:]]
        return [self.best, *[name for name in others if self.verdicts.get(name) != BETTER]]


def read_leaders(summary: pd.DataFrame, pairs: pd.DataFrame, metric: str) -> dict[str, str]:
    """Say under each protocol which model leads, or which models tie.

    Args:
        summary: Rows of one task, as results/compare/summary.csv.
        pairs: Rows of the task, as results/compare/pairs.csv.
        metric: The metric to compare.

    Returns:
        Protocol -> sentences, in the order of the report.
    """
    scores = summary[summary["metric"] == metric].dropna(subset="mean")
    pairs = pairs[pairs["metric"] == metric]
    return {
        protocol: _read_protocol(scores[scores["protocol"] == protocol], pairs[pairs["protocol"] == protocol], metric)
        for protocol in order_protocols(scores["protocol"])
    }


def find_lead(scores: pd.DataFrame, pairs: pd.DataFrame, metric: str) -> Lead | None:
    """Find the model with the best score, and the verdicts on it.

    Args:
        scores: Rows of the table `summary` of one task, protocol and metric with a defined mean.
        pairs: Rows of the table `pairs` of the same.
        metric: The metric; it decides whether larger is better.

    Returns:
        The lead; None if no pair of these models was compared.
    """
    compared = {*pairs["one"], *pairs["other"]}
    ordered = scores.sort_values("mean", ascending=prefers_lower(metric), kind="stable")
    shown = ordered[ordered["architecture"].isin(compared)]
    if len(shown) < 2:
        return None
    best, verdicts, reasons, scopes = shown.iloc[0]["architecture"], {}, {}, set()
    for pair in pairs.to_dict("records"):
        if best in (pair["one"], pair["other"]):
            other = pair["other"] if pair["one"] == best else pair["one"]
            verdicts[other] = pair["verdict"] if pair["one"] == best else OPPOSITE.get(pair["verdict"], pair["verdict"])
            reasons[other] = str(pair["reason"] or "")
            scopes |= {pair["scope"]} if pair["verdict"] != UNDECIDABLE else set()
    return Lead(shown, verdicts, reasons, scopes, sorted(set(ordered["architecture"]) - compared))


def _read_protocol(scores: pd.DataFrame, pairs: pd.DataFrame, metric: str) -> str:
    lead = find_lead(scores, pairs, metric)
    if lead is None:
        ordered = scores.sort_values("mean", ascending=prefers_lower(metric), kind="stable")
        first, why = ordered.iloc[0], "It is the only model" if len(ordered) == 1 else "No pair of models was compared"
        return f"{name_protocol(first['protocol'])}: {_describe_best(first, metric)}. {why}."
    sentences = [_name_leaders(lead, metric), _compare_baseline(lead), _read_undecidable(lead), _read_scope(lead)]
    if lead.left_out:
        sentences.append(f"Not compared, because seeds are missing: {join_words(lead.left_out)}.")
    return f"{name_protocol(scores.iloc[0]['protocol'])}: {' '.join(filter(None, sentences))}"


def _show_score(row: pd.Series) -> str:
    interval = show_interval(row["low"], row["high"])
    return show(row["mean"]) + (f" ({interval})" if interval else "")


def _name_leaders(lead: Lead, metric: str) -> str:
    first, models = lead.scores.iloc[0], len(lead.scores)
    if len(lead.tied) == 1:
        others = f"each of the {models - 1} other models" if models > 2 else lead.scores.iloc[1]["architecture"]
        score = f"{name_metric(metric)} {_show_score(first)}"
        return f"{_name_model(first)} leads with {score}. It is better than {others}."
    shown = lead.tied if len(lead.tied) <= NAMED + 1 else [*lead.tied[:NAMED], f"{len(lead.tied) - NAMED} others"]
    best = _describe_best(first, metric)
    best = best[:1].upper() + best[1:] if first["family"] == BASELINE_TAG else best
    return f"not decided, because {len(lead.tied)} of {models} models tie ({join_words(shown)}). {best}."


def _name_model(row: pd.Series) -> str:
    return f"the {BASELINE_TAG} {row['architecture']}" if row["family"] == BASELINE_TAG else str(row["architecture"])


def _describe_best(row: pd.Series, metric: str) -> str:
    extreme = "lowest" if prefers_lower(metric) else "highest"
    return f"{_name_model(row)} has the {extreme} {name_metric(metric)}, {_show_score(row)}"


def _compare_baseline(lead: Lead) -> str:
    """Compare the model with the best score with the best baseline."""
    simple = lead.scores["family"] == BASELINE_TAG
    if simple.iloc[0] and not simple.all():
        return f"No network has a better score than this {BASELINE_TAG}."
    if simple.iloc[0] or not simple.any():
        return ""
    baseline = lead.scores[simple].iloc[0]
    gap = show(abs(lead.scores.iloc[0]["mean"] - baseline["mean"]))
    name = f"the best {BASELINE_TAG}, {baseline['architecture']}"
    verdict = lead.verdicts.get(str(baseline["architecture"]))
    if verdict == BETTER:
        return f"It is better than {name}, by {gap}."
    state = "cannot be decided" if verdict == UNDECIDABLE else "is undecided"
    return f"Whether it is better than {name}, {state} ({gap})."


def _read_undecidable(lead: Lead) -> str:
    reasons = [lead.reasons[name] for name in lead.tied[1:] if lead.verdicts.get(name) == UNDECIDABLE]
    words = [
        f"{reasons.count(reason)} of these pairs "
        + (reason if reason.startswith(UNDECIDABLE) else f"{UNDECIDABLE}: {reason}")
        for reason in dict.fromkeys(reasons)
    ]
    return "".join(f"{word}. " for word in words).strip()


def _read_scope(lead: Lead) -> str:
    if TRAINED not in lead.scopes:
        return "This speaks of architectures." if lead.scopes else ""
    seeds = int(lead.scores["seeds"].min())
    return f"This speaks of the trained models: {say_too_few(seeds)} to speak of architectures."


def read_duplicates(summary: pd.DataFrame, metric: str) -> dict[str, str]:
    """Say under each protocol what the best model scores on one image of each set of near-duplicates.

    summary: rows of one task, as results/compare/summary.csv. metric: the metric to name.

    Returns protocol -> sentence, in the order of the report.
    """
    rows = summary[summary["metric"] == metric].dropna(subset=["mean", "without_duplicates"])
    sentences = {}
    for protocol in order_protocols(rows["protocol"]):
        chosen = rows[rows["protocol"] == protocol]
        best = chosen.sort_values("mean", ascending=prefers_lower(metric), kind="stable").iloc[0]
        dropped = show_average(best["duplicates_dropped"])
        images = "the test image that repeats" if dropped == "1" else f"the {dropped} test images that repeat"
        sentences[protocol] = (
            f"{name_protocol(protocol)}: without {images} another one of the fold, {best['architecture']} has "
            f"{name_metric(metric)} {show(best['without_duplicates'])} instead of {show(best['mean'])}."
        )
    return sentences
