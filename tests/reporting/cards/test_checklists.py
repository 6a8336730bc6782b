"""The checklists: every item is there, what is known is filled in, and the rest is open."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from covbench.reporting.cards.checklists import CHECKLISTS, OPEN, build_checklists, fill_checklist
from covbench.reporting.cards.known import FACTS
from covbench.reporting.render import read_template

TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
NUMBERS = {"claim_2024": [str(number) for number in range(1, 45)], "tripod_ai": TRIPOD.split()}


def read_items(name):
    return yaml.safe_load(read_template(f"{name}.yaml"))["items"]


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_item_of_the_published_checklist_is_there_once_in_its_order(name):
    assert [item["number"] for item in read_items(name)] == NUMBERS[name]


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_item_is_complete_and_names_known_facts(name):
    for item in read_items(name):
        assert {"number", "section", "asks"} <= set(item) <= {"number", "section", "asks", "says", "facts", "left"}
        assert set(item) & {"says", "facts", "left"}, item
        assert set(item.get("facts", ())) <= set(FACTS), item


def test_every_fact_is_used():
    used = {fact for name in CHECKLISTS for item in read_items(name) for fact in item.get("facts", ())}
    assert used == set(FACTS)


def test_an_item_is_filled_in_partly_or_open_by_what_is_known():
    common = {"section": "s", "asks": "?"}
    items = [
        {"number": "1", **common, "facts": ["known"]},
        {"number": "2", **common, "facts": ["known"], "says": "Always.", "left": "the rest"},
        {"number": "3", **common, "facts": ["unknown"]},
        {"number": "4", **common, "left": "all of it"},
    ]
    filled = fill_checklist("c", {"title": "C", "source": "", "items": items}, {"known": ["A.", "B."], "unknown": []})
    assert [item.state for item in filled.items] == ["filled in", "partly", "open", "open"]
    assert filled.reading == "4 items: 1 filled in, 1 partly, 2 open."
    assert filled.items[1].answers == ["Always.", "A.", "B."]
    left = [row[4].text for row in filled.table.rows]
    assert left == ["–", f"{OPEN}: the rest", f"{OPEN}: nothing is known yet", f"{OPEN}: all of it"]
    assert [row[3].kind for row in filled.table.rows] == ["scored", "trained", "missing", "missing"]


def test_what_is_filled_in_is_computed_from_the_results(results, tree):
    items = {item.number: item for item in build_checklists(results, tree / "data")[0].items}
    excluded = "phantom_xray: 2 of 45 images cannot be used (lateral view: 2)."
    assert excluded in items["8"].answers
    split = pd.read_parquet(tree / "data" / "splits" / "phantom_xray" / "audited" / "0.parquet")
    test = split[split["fold"] == "test"]
    patients, groups = test["patient_id"].nunique(), test["group"].nunique()
    size = f"{len(test)} test images of {patients} patients in {groups} groups"
    assert f"phantom_xray, audited, first seed: {size}." in items["35"].answers
    assert "Networks: vgg16, unet_vgg19." in items["22"].answers
    assert "Baselines: majority, empty_mask." in items["22"].answers
    assert "phantom_xray, published: divided by image." in items["20"].answers
    assert "phantom_xray, audited: divided by group (patient with all near-duplicates)." in items["20"].answers
    assert "audited, classification: the lowest validation loss." in items["26"].answers
    assert "published, classification: the last epoch." in items["26"].answers


def test_what_no_pipeline_knows_stays_open(results, tree):
    claim, tripod = ({item.number: item.state for item in found.items} for found in build_checklists(results, tree))
    assert {claim[number] for number in ("2", "13", "15", "34", "41", "44")} == {"open"}
    assert {tripod[number] for number in ("5b", "6c", "8c", "14", "18a", "18b", "18d", "19")} == {"open"}
