"""The card of a dataset: a Croissant file that the reference library accepts and reads the index with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import mlcroissant
import pandas as pd
import pytest

from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import DATASETS
from covbench.data.sources.manifests import build_manifest, write_manifests
from covbench.reporting.cards import dataset_card
from covbench.reporting.cards.dataset_card import build_croissant, write_dataset_cards
from covbench.reporting.places import locate_dataset_card
from covbench.schema import Synthetic
from covbench.system.files import write_json, write_table

NOTHING = {name: pd.DataFrame(columns=list(columns)) for name, columns in AUDIT_TABLES.items()}
RAI = ("dataCollection", "dataAnnotationProtocol", "dataBiases", "dataLimitations", "personalSensitiveInformation")


@pytest.fixture(scope="module", params=sorted(DATASETS))
def fetched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A dataset's name, and the folder of a benchmark that has fetched and indexed a sample of it."""
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    module, raw = DATASETS[name], root / "data" / "raw" / name
    raw.mkdir(parents=True)
    drawn = [source.draw for source in module.CARD.sources if isinstance(source, Synthetic)]
    (drawn[0] if drawn else module.write_sample)(raw)
    write_manifests(raw, build_manifest(raw, "a sample"))
    write_table(root / "data" / "index" / f"{name}.parquet", module.index(raw))
    return name, root


def write_card(name: str, root: Path) -> tuple[Path, dict[str, Any]]:
    path = root / "results" / "report" / locate_dataset_card(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    card = build_croissant(name, DATASETS[name].CARD, root / "data", path.parent, NOTHING)
    write_json(path, card)
    return path, card


def test_the_reference_library_accepts_every_card_and_reads_the_index_with_it(fetched):
    name, root = fetched
    path, _ = write_card(name, root)
    dataset = mlcroissant.Dataset(path)
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.name == name
    rows = pd.read_parquet(root / "data" / "index" / f"{name}.parquet")
    records = list(dataset.records("index"))
    assert [record["index/image_id"].decode() for record in records] == list(rows["image_id"])
    assert [record["index/label"].decode() for record in records] == list(rows["label"])
    assert [record["index/excluded"] for record in records] == list(rows["excluded"])


def test_every_file_that_a_card_names_has_the_hash_that_it_states(fetched):
    path, card = write_card(*fetched)
    files = [entry for entry in card["distribution"] if entry["@type"] == "cr:FileObject"]
    assert {"manifest", "index.parquet"} < {entry["@id"] for entry in files}
    for entry in files:
        found = hashlib.sha256((path.parent / entry["contentUrl"]).read_bytes()).hexdigest()
        assert entry["sha256"] == found, entry["@id"]


def test_many_files_of_one_suffix_are_one_set_that_finds_them_all(fetched, monkeypatch):
    name, root = fetched
    monkeypatch.setattr(dataset_card, "MANY", 1)
    path, card = write_card(name, root)
    assert mlcroissant.Dataset(path).metadata.ctx.issues.errors == set()
    files = [file for file in (root / "data" / "raw" / name).rglob("*") if file.is_file()]
    sets = [entry for entry in card["distribution"] if entry["@type"] == "cr:FileSet"]
    found = {file.resolve() for entry in sets for file in path.parent.glob(entry["includes"])}
    single = [entry for entry in card["distribution"] if entry["@id"].startswith("raw-") and entry not in sets]
    assert sets
    assert found | {(path.parent / entry["contentUrl"]).resolve() for entry in single} == {*map(Path.resolve, files)}


def test_a_card_without_hashes_is_refused_by_the_library(tmp_path):
    (tmp_path / "data" / "index").mkdir(parents=True)
    write_table(tmp_path / "data/index/covid_ct.parquet", pd.DataFrame({"image_id": ["a"], "excluded": [False]}))
    path, card = write_card("covid_ct", tmp_path)
    del card["distribution"][0]["sha256"]
    write_json(path, card)
    with pytest.raises(mlcroissant.ValidationError, match="sha256"):
        mlcroissant.Dataset(path)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_card_states_how_labels_were_made_even_before_anything_is_fetched(name, tmp_path):
    path, card = write_card(name, tmp_path)
    assert mlcroissant.Dataset(path).metadata.ctx.issues.errors == set()
    assert all(card[f"rai:{term}"] for term in RAI)
    origin = card["rai:dataAnnotationProtocol"][0]
    assert DATASETS[name].CARD.datasheet.label_origin in origin
    assert DATASETS[name].CARD.datasheet.label_source in origin


def test_what_the_audit_has_found_is_among_biases_and_limitations(tmp_path):
    row = {"task": "covid_ct", "predictor": "file", "images": 44, "chance_auroc": 0.5}
    row |= {"auroc": 0.8, "auroc_low": 0.7, "auroc_high": 0.9}
    pairs = {"dataset": "covid_ct", "other": "covid_ct", "exact": 1, "near": 2, "mirrored": 0, "annotated": 3}
    audit = NOTHING | {
        "sources": pd.DataFrame([row]),
        "across": pd.DataFrame([pairs | {"images_with_duplicate": 9}]),
    }
    index = pd.DataFrame({"image_id": ["a", "b", "c"], "excluded": [True, True, False], "reason": ["x", "x", ""]})
    write_table(tmp_path / "data/index/covid_ct.parquet", index)
    card = build_croissant("covid_ct", DATASETS["covid_ct"].CARD, tmp_path / "data", tmp_path, audit)
    clue = "covid_ct: file type, size and colour mode predict the class with AUROC 0.800 (0.700–0.900) on 44 images"
    assert f"{clue} (chance: 0.500)." in card["rai:dataBiases"]
    assert "2 of 3 images cannot be used (x: 2)." in card["rai:dataLimitations"]
    assert "9 images in 6 pairs of duplicates." in card["rai:dataLimitations"]


def test_every_planned_dataset_has_one_card(results, tree, tmp_path):
    write_dataset_cards(tmp_path, tree / "data", results)
    names = ["phantom_ct", "phantom_xray"]  # phantom_lesions is a task of the first
    assert sorted(path.stem for path in tmp_path.rglob("*.json")) == names
    for name in names:
        assert json.loads((tmp_path / locate_dataset_card(name)).read_text(encoding="utf-8"))["name"] == name
