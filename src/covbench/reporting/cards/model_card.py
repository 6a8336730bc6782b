"""The card of a model: Markdown with Hugging Face's front matter, and a body in the order of Model Facts labels.

Front matter: the Hub's model card specification, with `model-index` for results. Body: Sendak et al. 2020, npj Digital
Medicine 3:41.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from covbench.evaluation.definitions import label_metric, list_reported
from covbench.experiment.plan import BASELINE, DEEP, ENSEMBLE, EXTERNAL
from covbench.experiment.runs import RunRecord
from covbench.models.catalogue import CLASSIFIERS, SEGMENTERS
from covbench.protocols import PROTOCOLS
from covbench.reporting.balance import find_majorities, read_majorities
from covbench.reporting.gather import Results, describe_task, find_card
from covbench.reporting.headlines import HEADLINES, choose_headline
from covbench.reporting.origins import describe_origins, list_commits, list_packages
from covbench.reporting.places import locate_model_card
from covbench.reporting.sections.leaderboard import describe_flags, knows_patients, measure_leaks
from covbench.reporting.tables import rank_models
from covbench.reporting.wording import (
    DASH,
    describe_size,
    escape_markdown,
    is_number,
    name_protocol,
    read_model,
    show,
    show_interval,
    show_signed,
)
from covbench.schema import CLASSIFICATION, NOT_STATED, Card, Datasheet, Task

HUB_TASKS = {CLASSIFICATION: "image-classification"}
"""Kind of task -> its name on the Hub; every other kind is a segmentation."""
FAMILIES = {DEEP: "network", BASELINE: "baseline", EXTERNAL: "contestant from elsewhere", ENSEMBLE: "ensemble"}
MODALITIES = {"xray": "chest X-ray", "ct": "CT slice"}
NO_LICENCE = "Nobody has chosen a licence for these weights. The licence of the training images limits the choice."
NO_PARTS = "This card holds no scores by age, sex or scanner. Those that can be computed are on the task's page."
RESEARCH = "It serves to compare methods. It is no medical device, and no decision about a patient may rest on it."


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of: the runs of one model, their rows of the tables, and the card of their dataset.

    part: the results of the model's task. summary, runs, external: the model's rows of these tables. card: None for an
    unregistered task.
    """

    task: Task
    dataset: str
    card: Card | None
    seeds: Sequence[RunRecord]
    part: Results
    summary: pd.DataFrame
    runs: pd.DataFrame
    external: pd.DataFrame

    @property
    def protocol(self) -> str:
        return self.seeds[0].protocol

    @property
    def name(self) -> str:
        return self.seeds[0].architecture

    @property
    def sheet(self) -> Datasheet:
        return self.card.datasheet if self.card else Datasheet()

    @property
    def headline(self) -> str:
        """The metric that ranks the task's models."""
        return choose_headline(self.task.kind, self.part.published)


def write_model_cards(folder: Path, results: Results) -> None:
    """Write a card for every model with a scored run, by task and protocol. folder: the report's folder."""
    for task in dict.fromkeys(run.task for run in results.scored):
        part = results.select(task)
        models: dict[tuple[str, str], list[RunRecord]] = {}
        for run in part.scored:
            models.setdefault((run.protocol, run.architecture), []).append(run)
        for (protocol, architecture), seeds in models.items():
            path = folder / locate_model_card(task, protocol, architecture)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(build_model_card(gather_facts(part, seeds)), encoding="utf-8")


def gather_facts(part: Results, seeds: Sequence[RunRecord]) -> CardFacts:
    """Gather what a card is made of. part: the task's results. seeds: scored runs of one model under one protocol."""
    run = seeds[0]
    dataset, card = find_card(run.task)
    own = [
        table[(table["protocol"] == run.protocol) & (table["architecture"] == run.architecture)]
        for table in (part.summary, part.runs, part.compare["external"])
    ]
    return CardFacts(describe_task(run.task, part.scored), dataset, card, seeds, part, *own)


def build_model_card(facts: CardFacts) -> str:
    """Write the card of one model as Markdown."""
    matter = yaml.safe_dump(build_front_matter(facts), sort_keys=False, allow_unicode=True, width=120)
    sections = {
        "Summary": list_summary(facts),
        "Mechanism": list_mechanism(facts),
        "Validation and performance": list_performance(facts),
        "Uses and directions": list_uses(facts),
        "Warnings": list_warnings(facts),
        "Other information": list_origin(facts),
    }
    title = f"# {escape_markdown(facts.name)} for {escape_markdown(facts.task.name)}"
    lines = [title, "", *list_names(facts)]
    for heading, body in sections.items():
        lines += ["", f"## {heading}", "", *body]
    return f"---\n{matter}---\n\n" + "\n".join(lines) + "\n"


def build_front_matter(facts: CardFacts) -> dict[str, Any]:
    """The front matter: licence, tags and `model-index`. A score that is undefined has no entry."""
    deep = facts.seeds[0].family == DEEP
    kind = HUB_TASKS.get(facts.task.kind, "image-segmentation")
    results = list(_list_results(facts, kind))
    return {
        "license": "other",
        "license_name": "not-chosen",
        "library_name": "keras" if deep else "covbench",
        "pipeline_tag": kind,
        "tags": ["covid-19", "medical-imaging", facts.card.modality if facts.card else "unknown", facts.protocol],
        "datasets": [facts.dataset],
        **({"model-index": [{"name": facts.name, "results": results}]} if results else {}),
    }


def _list_results(facts: CardFacts, kind: str) -> Iterator[dict[str, Any]]:
    """The internal result, then one per external dataset with a score."""
    internal = [
        _describe_score(row["metric"], row["mean"], row["low"], row["high"], row["covers"])
        for row in facts.summary.to_dict("records")
        if is_number(row["mean"]) and row["metric"] in list_reported(facts.task.kind)
    ]
    if internal:
        yield _describe_result(kind, facts.task.name, f"{facts.protocol}, test folds", internal)
    for row in facts.external[facts.external["metric"].isin(HEADLINES.values())].to_dict("records"):
        if is_number(row["external"]):
            score = _describe_score(
                row["metric"], row["external"], row["external_low"], row["external_high"], row["covers"]
            )
            yield _describe_result(kind, row["tested_on"], f"{facts.protocol}, external validation", [score])


def _describe_result(kind: str, task: str, config: str, metrics: list[dict[str, Any]]) -> dict[str, Any]:
    dataset, card = find_card(task)
    data = {"type": dataset, "name": card.title if card else dataset, "config": config, "split": "test"}
    return {"task": {"type": kind, "name": task}, "dataset": data, "metrics": metrics}


def _describe_score(metric: str, value: float, low: float, high: float, covers: str) -> dict[str, Any]:
    interval = show_interval(low, high)
    words = f", 95 % interval {interval} over {covers}" if interval else ", no interval"
    return {"type": metric, "name": f"{label_metric(metric)}, mean over seeds{words}", "value": round(float(value), 4)}


def list_names(facts: CardFacts) -> list[str]:
    """Name, locale and version."""
    entry = (CLASSIFIERS | SEGMENTERS).get(facts.name)
    title = entry.title if entry else facts.seeds[0].manifest.get("title", facts.name)
    finished = max(str(run.manifest.get("finished", "")) for run in facts.seeds)
    family = FAMILIES[facts.seeds[0].family]
    return [
        f"- **Model:** {escape_markdown(title)} ({family}), protocol {escape_markdown(name_protocol(facts.protocol))}",
        f"- **Locale:** {escape_markdown(facts.sheet.collection)}",
        f"- **Version:** commit {', '.join(list_commits(facts.seeds)) or DASH}, trained until {finished or DASH}",
    ]


def list_summary(facts: CardFacts) -> list[str]:
    """What the model answers, and how well."""
    classes = ", ".join(facts.task.classes)
    image = MODALITIES.get(facts.card.modality, "image") if facts.card else "image"
    verb = "Names the class of a" if facts.task.kind == CLASSIFICATION else "Marks the class of every pixel of a"
    lines = [f"{verb} {image}: {escape_markdown(classes)}.", "", RESEARCH]
    if reading := read_model(facts.summary, facts.headline):
        lines += ["", escape_markdown(reading)]
    return [*lines, *_compare_baseline(facts)]


def _compare_baseline(facts: CardFacts) -> Iterator[str]:
    """Name the baseline with the best score, which a network has to beat."""
    rows = facts.part.summary
    rows = rows[(rows["protocol"] == facts.protocol) & (rows["family"] == BASELINE)]
    rows = rows[(rows["metric"] == facts.headline) & rows["mean"].notna()]
    best = next(iter(rank_models(rows, facts.headline)), "")
    if best and best != facts.name:
        row = rows[rows["architecture"] == best].iloc[0]
        interval = show_interval(row["low"], row["high"])
        yield ""
        yield f"Best baseline: {escape_markdown(best)} with {show(row['mean'])} ({interval or 'no interval'})."


def list_mechanism(facts: CardFacts) -> list[str]:
    """Outcome, output, input, kind of model, training data and training."""
    manifest = facts.seeds[0].manifest
    options = manifest.get("options") or {}
    entry = (CLASSIFIERS | SEGMENTERS).get(facts.name)
    output = "a probability per class" if facts.task.kind == CLASSIFICATION else "a class per pixel"
    size = options.get("size")
    parameters = manifest.get("parameters")
    training = ", ".join(f"{key} {value}" for key, value in options.items()) or "as its family prescribes"
    other = manifest.get("training_data")
    rows = {
        "Outcome": f"{', '.join(facts.task.classes)}",
        "Labels": facts.sheet.labels,
        "Output": output,
        "Input": f"one image of {size} x {size} pixels" if size else "one image",
        "Type of model": f"{entry.family}, {entry.citation}" if entry else FAMILIES[facts.seeds[0].family],
        "Parameters": f"{parameters:,.0f}" if is_number(parameters) and parameters else DASH,
        "First weights": str(manifest.get("weights") or "none"),
        "Training data": f"training folds of {facts.dataset}" + (f"; also {other}" if other else ""),
        "Training": training,
        "Time of data": NOT_STATED,
    }
    return [f"- **{word}:** {escape_markdown(text)}" for word, text in rows.items()]


def list_performance(facts: CardFacts) -> list[str]:
    """Sizes of the test folds, every reported score with its interval, and external validation."""
    sizes = [
        f"- Seed {run.seed}: "
        + describe_size(run.metrics.get("images", 0), run.metrics.get("patients"), run.metrics.get("groups"))
        for run in facts.seeds
    ]
    scores = facts.summary[facts.summary["metric"].isin(list_reported(facts.task.kind))].to_dict("records")
    rows = [(label_metric(row["metric"]), show(row["mean"]), _show_ends(row), row["covers"] or DASH) for row in scores]
    table = _table(("Metric", "Mean", "95 % interval", "Covers"), rows)
    return ["Test folds:", "", *sizes, "", *table, *_list_reasons(scores), "", *_list_external(facts)]


def _list_reasons(scores: Sequence[Any]) -> list[str]:
    """Why scores have no interval, or one of patients alone: a line per reason."""
    reasons: dict[str, list[str]] = {}
    for row in scores:
        if row["reason"]:
            reasons.setdefault(row["reason"], []).append(label_metric(row["metric"]))
    return ["", *[f"- {', '.join(names)}: {escape_markdown(reason)}." for reason, names in reasons.items()]]


def _list_external(facts: CardFacts) -> list[str]:
    tested = facts.external[facts.external["metric"].isin(HEADLINES.values())].to_dict("records")
    if not tested:
        return ["No external validation."]
    rows = [
        (
            row["tested_on"],
            label_metric(row["metric"]),
            f"{show(row['internal'])} ({_show_ends(row, 'internal_')})",
            f"{show(row['external'])} ({_show_ends(row, 'external_')})",
            show_signed(row["drop"], row["drop_low"], row["drop_high"]),
            row["reason"],
        )
        for row in tested
    ]
    return ["External validation:", "", *_table(("Tested on", "Metric", "Internal", "External", "Drop", "Note"), rows)]


def _show_ends(row: Any, prefix: str = "") -> str:
    return show_interval(row[f"{prefix}low"], row[f"{prefix}high"]) or "no interval"


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *[[escape_markdown(cell) for cell in row] for row in rows]]
    return ["| " + " | ".join(line) + " |" for line in lines]


def list_uses(facts: CardFacts) -> list[str]:
    """What the model may be used for, and for what not."""
    image = MODALITIES.get(facts.card.modality, "image") if facts.card else "image"
    meaning = PROTOCOLS[facts.protocol].meaning if facts.protocol in PROTOCOLS else ""
    lines = [
        f"- **Use:** Compare it with other models of {escape_markdown(facts.task.name)} on the same test folds.",
        "- **Not for:** Diagnosis, triage or any decision about a patient.",
        f"- **Images:** Only a {image} like those of {escape_markdown(facts.dataset)}; see external validation.",
        "- **Before another use:** Validate it on images of the place where it is to be used.",
    ]
    return [*lines, *([f"- **Protocol:** {escape_markdown(meaning.replace('`', ''))}"] if meaning else [])]


def list_warnings(facts: CardFacts) -> list[str]:
    """Leaks, shortcuts, other training data, uneven classes, and what the dataset cannot show."""
    audit = facts.part.audit
    leaks = {name: share for name, share in measure_leaks(audit["splits"]).items() if name == facts.protocol}
    found = [*describe_flags(leaks, audit["sources"], knows_patients(audit["splits"])), *describe_origins(facts.runs)]
    majorities = find_majorities(facts.part.metrics)
    uneven = {name: found for name, found in majorities.items() if name == facts.protocol}
    lines = [f"{word}: {sentence}" for word, sentence in found] + read_majorities(uneven)
    lines += [text for text in (facts.sheet.biases, facts.sheet.limitations) if text != NOT_STATED]
    return [f"- {escape_markdown(line)}" for line in [*lines, NO_PARTS]]


def sum_energy(manifests: Sequence[Mapping[str, Any]]) -> str:
    """Sum the energy of some trainings, with how it is known; a dash if that of one is unknown."""
    known = [manifest["energy_kwh"] for manifest in manifests if manifest.get("energy_kwh") is not None]
    if len(known) < len(manifests):
        return DASH
    return f"{1000 * sum(known):,.1f} Wh in all, {', '.join(sorted({m['energy_basis'] for m in manifests}))}"


def list_origin(facts: CardFacts) -> list[str]:
    """Licences, citations, fingerprints, packages and cost."""
    manifest, card = facts.seeds[0].manifest, facts.card
    seconds = sum(float(run.manifest.get("seconds") or 0) for run in facts.seeds)
    rows = {
        "Licence of the weights": NO_LICENCE,
        "Licence of the training images": card.licence if card else NOT_STATED,
        "Cite the images": card.citation if card else NOT_STATED,
        "Contact": manifest.get("contact") or "the authors of the benchmark run",
        "Packages": list_packages(manifest) or DASH,
        "Training": f"{seconds:,.0f} s in all on {manifest.get('device') or DASH}",
        "Energy": sum_energy([run.manifest for run in facts.seeds]),
        **{f"Fingerprint of seed {run.seed}": str(run.manifest.get("fingerprint", DASH)) for run in facts.seeds},
    }
    return [f"- **{word}:** {escape_markdown(text)}" for word, text in rows.items()]
