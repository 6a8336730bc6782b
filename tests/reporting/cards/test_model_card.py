"""The card of a model: its front matter holds the scores of the tables, its body says what they rest on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from covbench.reporting.cards.model_card import build_model_card, gather_facts, write_model_cards
from covbench.reporting.gather import Results
from covbench.reporting.places import locate_model_card
from covbench.schema import Run
from tests.reporting.compare_rows import make_row, make_table

HEADINGS = [
    "Summary",
    "Mechanism",
    "Validation and performance",
    "Uses and directions",
    "Warnings",
    "Other information",
]
MODELS = [
    Run("phantom_xray", "published", "vgg16", 0),
    Run("phantom_xray", "audited", "majority", 0),
    Run("phantom_lesions", "audited", "unet_vgg19", 0),
]


def write_card(results: Results, run: Run) -> str:
    part = results.select(run.task)
    seeds = [found for found in part.of(run.task, run.protocol) if found.architecture == run.architecture]
    return build_model_card(gather_facts(part, seeds))


def read_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def read_section(card: str, heading: str) -> str:
    return card.split(f"## {heading}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("run", MODELS, ids=lambda run: f"{run.task} {run.architecture}")
def test_the_front_matter_holds_the_scores_of_the_table_and_no_undefined_one(results, tree, run):
    (entry,) = read_matter(write_card(results, run))["model-index"]
    (internal,) = entry["results"]
    shown = {metric["type"]: metric["value"] for metric in internal["metrics"]}
    summary = pd.read_csv(tree / "results" / "compare" / "summary.csv")
    rows = summary.query("task == @run.task and protocol == @run.protocol and architecture == @run.architecture")
    means = rows.set_index("metric")["mean"]
    assert entry["name"] == run.architecture
    assert len(shown) > 5
    assert shown == {name: pytest.approx(means[name], abs=5e-5) for name in shown}
    assert not set(shown) & set(means[means.isna()].index)


def test_the_front_matter_names_what_the_hub_asks_for(results):
    matter = read_matter(write_card(results, MODELS[0]))
    (entry,) = matter["model-index"]
    (internal,) = entry["results"]
    assert (matter["license"], matter["library_name"]) == ("other", "keras")
    assert matter["datasets"] == ["phantom_xray"]
    assert internal["task"] == {"type": "image-classification", "name": "phantom_xray"}
    assert internal["dataset"]["type"] == "phantom_xray"
    assert all({"type", "name", "value"} == set(metric) for metric in internal["metrics"])


@pytest.mark.parametrize("run", MODELS, ids=lambda run: f"{run.task} {run.architecture}")
def test_the_body_follows_the_order_of_a_model_facts_label(results, run):
    assert re.findall(r"^## (.*)$", write_card(results, run), re.MULTILINE) == HEADINGS


def test_a_score_without_a_value_or_an_interval_is_a_dash_with_its_reason(results):
    performance = read_section(write_card(results, MODELS[1]), "Validation and performance")
    assert "| AUROC | 0.500 |" in performance  # one answer for every image
    assert "no interval: 4 groups of images, at least 6 are needed" in performance


def test_the_leaks_of_its_own_protocol_are_among_the_warnings(results):
    columns = ["task", "protocol", "seed", "class", "leaked_share", "patient_in_train"]
    rows = [("phantom_xray", "published", 0, "", 0.75, 9), ("phantom_xray", "audited", 0, "", 0.0, 0)]
    leaky = replace(results, audit={**results.audit, "splits": pd.DataFrame(rows, columns=columns)})
    assert "for 75% of the test images, training has seen" in read_section(write_card(leaky, MODELS[0]), "Warnings")
    assert "training has seen" not in read_section(write_card(leaky, MODELS[1]), "Warnings")


def test_external_validation_is_a_row_and_a_result(results):
    run = MODELS[0]
    scores = {"metric": "auroc", "internal": 0.9, "internal_low": 0.8, "internal_high": 0.95, "external": 0.6}
    scores |= {"external_low": 0.5, "external_high": 0.7, "drop": 0.3, "drop_low": 0.2, "drop_high": 0.4}
    named = {"task": run.task, "protocol": run.protocol, "architecture": run.architecture, "tested_on": "radiography"}
    table = make_table("external", [make_row("external", **named, **scores, covers="patients")])
    tested = replace(results, compare={**results.compare, "external": table})
    card = write_card(tested, run)
    row = "| radiography | AUROC | 0.900 (0.800–0.950) | 0.600 (0.500–0.700) | +0.300 (+0.200 to +0.400) |"
    assert row in read_section(card, "Validation and performance")
    _, external = read_matter(card)["model-index"][0]["results"]
    assert external["dataset"]["name"] == "COVID-19 Radiography Database"
    assert [metric["value"] for metric in external["metrics"]] == [0.6]


def test_every_scored_model_has_a_card(results, tmp_path):
    write_model_cards(tmp_path, results)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert written == {locate_model_card(run.task, run.protocol, run.architecture) for run in results.scored}
    assert len(written) == 8


def test_hostile_words_of_a_contestant_are_text(results, tmp_path):
    part = results.select("phantom_xray")
    seeds = [run for run in part.of("phantom_xray", "audited") if run.architecture == "vgg16"]
    manifest = {**seeds[0].manifest, "contact": "<script>alert(1)</script>"}
    card = build_model_card(gather_facts(part, [replace(seeds[0], manifest=manifest)]))
    assert "<script>" not in card
    assert r"\<script\>alert(1)" in card


def test_a_path_is_made_of_harmless_characters():
    assert locate_model_card("../t", "a b", "<m>") == "cards/models/t/a_b/m.md"
    assert not Path(locate_model_card("/", "/", "/")).is_absolute()
