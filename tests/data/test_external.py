"""Models on other datasets: which tasks fit, which images are new, and what is left of a score there."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covbench.audit.groups import add_groups
from covbench.audit.unseen import ExternalSet
from covbench.data.datasets import TASKS, usable_rows
from covbench.data.external import (
    external_folder,
    find_external_tasks,
    select_unseen,
    share_labels,
    share_probabilities,
)
from covbench.data.grids import SPACING
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.external_drop import EXTERNAL_METRICS, compare_external
from covbench.evaluation.comparison.intervals import STUCK
from covbench.evaluation.external import score_external
from covbench.evaluation.predictions import write_scores
from covbench.experiment.provenance import decide_inputs, describe_run
from covbench.experiment.records import seal_record
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.protocols import resolve_options
from covbench.schema import PREDICTION_COLUMNS, Run
from covbench.system.files import write_json, write_table
from covbench.system.processors import describe_processor
from covbench.training.devices import describe_device
from covbench.training.predict_external import ExternalJob, predict_external
from tests.run_records import leave_scores

SIDE = 32
RUN = Run("radiography", "audited", "small_cnn", 0)
OPTIONS = {"size": SIDE}


@pytest.mark.parametrize(
    ("task", "others"),
    [
        ("ieee8023_xray", ["radiography"]),
        ("radiography", ["ieee8023_xray"]),
        ("covid_ct", ["sarscov2_ct"]),
        ("sarscov2_ct", ["covid_ct"]),
        ("zenodo_infection", ["medseg_multiclass"]),
        ("zenodo_multiclass", ["medseg_multiclass"]),
        ("medseg_multiclass", ["zenodo_infection"]),
        ("phantom_xray", []),
        ("phantom_ct", []),
        ("phantom_lesions", []),
    ],
)
def test_each_task_is_tested_on_one_task_of_every_other_dataset_that_fits(task, others):
    assert find_external_tasks(task, list(TASKS)) == others


def test_of_two_tasks_with_the_same_images_the_first_planned_one_is_taken():
    assert find_external_tasks("medseg_multiclass", ["zenodo_multiclass", "zenodo_infection"]) == ["zenodo_multiclass"]


def test_labels_are_reduced_to_what_both_datasets_share():
    assert share_labels(TASKS["radiography"]).tolist() == [0, 0, 1]
    assert share_labels(TASKS["medseg_multiclass"]).sum() == 2
    probabilities = np.array([[0.3, 0.3, 0.4], [0.1, 0.2, 0.7]], np.float32)
    assert share_probabilities(probabilities, TASKS["radiography"]) == pytest.approx(np.array([[0.6, 0.4], [0.3, 0.7]]))


def index_of(labels, patients):
    count = len(labels)
    return pd.DataFrame(
        {
            "image_id": [f"x{number}" for number in range(count)],
            "patient_id": patients,
            "label": labels,
            "mask": "",
            "source": "crawl",
            "excluded": [label == "unusable" for label in labels],
        }
    )


@pytest.mark.parametrize(
    ("trained", "tested", "column"),
    [("radiography", "ieee8023_xray", "image_id"), ("ieee8023_xray", "radiography", "other_id")],
)
def test_copies_of_the_own_dataset_go_with_all_images_of_their_patients(trained, tested, column):
    index = index_of(["covid", "covid", "normal" if tested == "radiography" else "non_covid", "unusable"], list("ppqr"))
    other = {"image_id": "other_id", "other_id": "image_id"}[column]
    duplicates = pd.DataFrame({column: ["x0"], other: ["foreign"], "kind": "near", "correlation": 0.9})
    rows = add_groups(usable_rows(index, TASKS[tested]), pd.DataFrame({"image_id": ["x2"], "other_id": ["x3"]}))
    unseen, counts = select_unseen(rows, duplicates, trained, tested)
    assert unseen["image_id"].tolist() == ["x2"]
    assert unseen["label"].tolist() == [0]
    assert counts == {"usable": 3, "duplicates": 1, "removed": 2}


def test_a_near_duplicate_of_a_known_image_is_known_whoever_its_patient_is():
    index = index_of(["covid", "non_covid", "covid"], list("pqr"))
    rows = add_groups(index, pd.DataFrame({"image_id": ["x0"], "other_id": ["x1"]}))
    duplicates = pd.DataFrame({"image_id": ["x0"], "other_id": ["foreign"]})
    unseen, counts = select_unseen(rows, duplicates, "radiography", "ieee8023_xray")
    assert unseen["image_id"].tolist() == ["x2"]
    assert counts == {"usable": 3, "duplicates": 1, "removed": 2}


def draw_classifier(root, seeds=(0, 1)):
    """Two saved classifiers of three classes, and twelve images of another dataset with two."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 255, (12, SIDE, SIDE), np.uint8)
    index = index_of(["covid", "non_covid"] * 6, [f"p{number // 2}" for number in range(12)])
    np.save(root / "images.npy", images)
    write_table(root / "rows.parquet", index[["image_id"]])
    write_table(root / "index.parquet", index)
    write_table(root / "duplicates.parquet", pd.DataFrame({"image_id": ["x3"], "other_id": ["y"]}))
    write_table(root / "within.parquet", pd.DataFrame({"image_id": ["x4"], "other_id": ["x7"]}))
    paths = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        folder = root / str(seed)
        folder.mkdir()
        build_classifier("small_cnn", SIDE, 3, "average_pool", "own").save(folder / "model.keras")
        run = Run(RUN.task, RUN.protocol, RUN.architecture, seed)
        write_json(folder / "manifest.json", describe_run(decide_inputs(run, OPTIONS, {})))
        paths.append(str(folder / "model.keras"))
    return images, paths


def fingerprint_of(folder):
    return json.loads((folder / "manifest.json").read_text())["fingerprint"]


def predict(root, paths, run=RUN, external="ieee8023_xray"):
    task = TASKS[run.task]
    runs = [Run(run.task, run.protocol, run.architecture, seed) for seed in range(len(paths))]
    options = resolve_options("audited", task, {"audited": {task.kind: {"size": SIDE}}})
    prepared = [str(path) for name in ("images.npy", "rows.parquet", "masks.npy") if (path := root / name).exists()]
    tables = [str(root / f"{name}.parquet") for name in ("index", "duplicates", "within")]
    job = ExternalJob(runs, paths, options, ExternalSet(external, *tables, prepared), 1)
    outputs = {"predictions": root / "predictions.parquet", "manifest": root / "manifest.json"}
    predict_external(job, outputs | ({"masks": root / "predicted_masks.npz"} if (root / "masks.npy").exists() else {}))


def score(root, run=RUN, external="ieee8023_xray"):
    files = {"predictions": root / "predictions.parquet", "manifest": root / "manifest.json"}
    if (root / "masks.npy").exists():
        prepared = [root / name for name in ("rows.parquet", "masks.npy", "native_masks.npz", "native_grids.parquet")]
        files |= {"masks": root / "predicted_masks.npz", "prepared": prepared}
    outputs = {"metrics": root / "metrics.json", "cases": root / "cases.parquet"}
    score_external(TASKS[run.task], TASKS[external], files, outputs)
    return json.loads((root / "metrics.json").read_text()), pd.read_parquet(root / "cases.parquet")


def test_predictions_are_those_of_the_models_own_classes_for_every_unseen_image_and_seed(tmp_path):
    images, paths = draw_classifier(tmp_path)
    predict(tmp_path, paths)
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table.columns) == [*PREDICTION_COLUMNS, "p_0", "p_1", "p_2"]
    unseen = [number for number in range(12) if number not in (2, 3)]
    for seed, path in enumerate(paths):
        mine = table[table["seed"] == seed]
        assert mine["image_id"].tolist() == [f"x{number}" for number in unseen]
        assert mine["truth"].tolist() == [int(number % 2 == 0) for number in unseen]
        assert mine["group"].tolist() == ["p0", "p0", "p2", "p2", "p2", "p2", "p4", "p4", "p5", "p5"]
        assert mine["duplicate_set"].tolist() == ["x0", "x1", "x4", "x5", "x6", "x4", "x8", "x9", "x10", "x11"]
        shown = np.repeat(images[unseen][..., None], 3, axis=-1)
        expected = keras.saving.load_model(path).predict(shown, verbose=0)
        assert mine[["p_0", "p_1", "p_2"]].to_numpy() == pytest.approx(expected, abs=1e-6)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert {name: value for name, value in manifest.items() if name != "seal"} == {
        "external": "ieee8023_xray",
        "classes": list(TASKS["radiography"].classes),
        "usable": 12,
        "duplicates": 1,
        "removed": 2,
        "images": 10,
        "patients": 5,
        "groups": 4,
        "fingerprints": {str(seed): fingerprint_of(tmp_path / str(seed)) for seed in (0, 1)},
        "device": describe_device(),
        **describe_processor(),
        "threads": 1,
    }


def test_a_saved_classifier_is_scored_on_the_unseen_images_of_another_dataset(tmp_path):
    images, paths = draw_classifier(tmp_path)
    predict(tmp_path, paths)
    metrics, cases = score(tmp_path)
    unseen = [number for number in range(12) if number not in (2, 3)]
    counts = {"usable": 12, "duplicates": 1, "removed": 2, "images": 10, "patients": 5, "groups": 4}
    assert {name: metrics[name] for name in counts} == counts
    for seed, path in enumerate(paths):
        shown = np.repeat(images[unseen][..., None], 3, axis=-1)
        covid = keras.saving.load_model(path).predict(shown, verbose=0)[:, 2]
        mine = cases[cases["seed"] == seed]
        assert mine["image_id"].tolist() == [f"x{number}" for number in unseen]
        assert mine["p_1"].to_numpy() == pytest.approx(covid, abs=1e-6)
        truth = [number % 2 == 0 for number in unseen]
        assert metrics["seeds"][str(seed)]["metrics"]["auroc"] == pytest.approx(roc_auc_score(truth, covid))
        assert metrics["seeds"][str(seed)]["fingerprint"] == fingerprint_of(tmp_path / str(seed))


def test_without_an_unseen_image_there_is_no_score(tmp_path):
    _, paths = draw_classifier(tmp_path)
    every = pd.DataFrame({"image_id": [f"x{number}" for number in range(12)], "other_id": "y"})
    write_table(tmp_path / "duplicates.parquet", every)
    predict(tmp_path, paths)
    assert list(pd.read_parquet(tmp_path / "predictions.parquet").columns) == [*PREDICTION_COLUMNS, "p_0", "p_1", "p_2"]
    metrics, cases = score(tmp_path)
    assert (metrics["images"], metrics["removed"], metrics["seeds"], len(cases)) == (0, 12, {}, 0)


def test_a_saved_segmenter_is_scored_by_lesion_whatever_its_classes(tmp_path):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (3, SIDE, SIDE), np.uint8)
    masks = rng.integers(0, 2, (3, SIDE, SIDE)).astype(np.uint8)
    index = index_of([""] * 3, list("pqr")).assign(mask="m.png", excluded=False)
    for name, array in (("images", images), ("masks", masks)):
        np.save(tmp_path / f"{name}.npy", array)
    native = {str(number): np.kron(mask, np.ones((2, 2), np.uint8)) for number, mask in enumerate(masks)}
    np.savez_compressed(tmp_path / "native_masks.npz", **native)
    pictures = index[["image_id"]].assign(volume=-1, frame=-1, **dict.fromkeys(SPACING, np.nan))
    write_table(tmp_path / "native_grids.parquet", pictures)
    write_table(tmp_path / "rows.parquet", index[["image_id"]])
    write_table(tmp_path / "index.parquet", index)
    for name in ("duplicates", "within"):
        write_table(tmp_path / f"{name}.parquet", pd.DataFrame({"image_id": ["none"], "other_id": ["none"]}))
    keras.utils.set_random_seed(0)
    network = build_segmenter("unet_small", SIDE, len(TASKS["medseg_multiclass"].classes), "own")
    model = tmp_path / "0" / "model.keras"
    model.parent.mkdir()
    network.save(model)
    run = Run("medseg_multiclass", "audited", "unet_small", 0)
    write_json(model.with_name("manifest.json"), describe_run(decide_inputs(run, OPTIONS, {})))
    predict(tmp_path, [str(model)], run, "zenodo_infection")
    metrics, cases = score(tmp_path, run, "zenodo_infection")
    predicted = network.predict(np.repeat(images[..., None], 3, axis=-1), verbose=0).argmax(-1)
    lesion = np.isin(predicted, np.flatnonzero(share_labels(TASKS["medseg_multiclass"])))
    dice = [2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(lesion, masks == 1, strict=True)]
    assert cases["dice_lesion"].to_numpy() == pytest.approx(np.array(dice))
    assert metrics["seeds"]["0"]["metrics"]["dice_lesion"] == pytest.approx(np.mean(dice))
    assert cases["both_lesion_native"].tolist() == (4 * cases["both_lesion"]).tolist()


def test_scoring_needs_no_model_and_no_tensorflow(tmp_path):
    _, paths = draw_classifier(tmp_path, seeds=(0,))
    predict(tmp_path, paths)
    metrics, _ = score(tmp_path)
    Path(paths[0]).unlink()
    (tmp_path / "metrics.json").unlink()
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("keras", "tensorflow"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('scoring must not import {name}')")
    program = f"""
import sys
sys.path.insert(0, {str(blocked)!r})
from covbench.data.datasets import TASKS
from covbench.evaluation.external import score_external
from covbench.evaluation.predictions import write_scores
from covbench.experiment.provenance import decide_inputs, describe_run
from covbench.experiment.records import seal_record
files = {{"predictions": "predictions.parquet", "manifest": "manifest.json"}}
outputs = {{"metrics": "metrics.json", "cases": "cases.parquet"}}
score_external(TASKS["radiography"], TASKS["ieee8023_xray"], files, outputs)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def predictions(task, count, skill, rng, patients=3):
    classes = len(TASKS[task].classes)
    truth = np.arange(count) % classes
    scores = np.exp(rng.normal(0, 1, (count, classes)) + skill * np.eye(classes)[truth])
    shares = scores / scores.sum(axis=1, keepdims=True)
    table = pd.DataFrame({"image_id": [f"{task}{number}" for number in range(count)], "copy": 0, "source": ""})
    names = [f"p{number // patients}" for number in range(count)]
    table = table.assign(patient_id=names, group=names, duplicate_set=table["image_id"], fold="test", truth=truth)
    return table.assign(**{f"p_{number}": shares[:, number] for number in range(classes)})


@pytest.fixture
def results(tmp_path):
    """Two seeds of a classifier, scored in its own dataset and, by skill, worse in another."""
    from tests.synthetic_results import draw_tree, plan_runs

    plan = plan_runs({"radiography": ["vgg16"], "ieee8023_xray": ["vgg16"]}, protocols=("audited",))
    draw_tree(tmp_path, plan)
    rng = np.random.default_rng(11)
    scores, tables = {}, []
    for seed in (0, 1):
        folder = tmp_path / f"results/runs/radiography/audited/vgg16/{seed}"
        metrics, cases = evaluate_classification(predictions("radiography", 90, 1, rng), TASKS["radiography"])
        leave_scores(folder, metrics, cases)
        metrics, cases = evaluate_classification(predictions("ieee8023_xray", 60, 0.5, rng), TASKS["ieee8023_xray"])
        fingerprint = json.loads((folder / "manifest.json").read_text())["fingerprint"]
        scores[str(seed)] = {**metrics, "fingerprint": fingerprint}
        tables.append(cases.assign(seed=seed))
    there = tmp_path / external_folder("radiography", "audited", "vgg16", "ieee8023_xray")
    counts = {"usable": 70, "duplicates": 4, "removed": 10, "images": 60, "patients": 20, "groups": 20}
    found = {**counts, "seeds": scores}, pd.concat(tables, ignore_index=True)
    write_scores(there / "metrics.json", there / "cases.parquet", found, {})
    return tmp_path, plan


def rows_of(table):
    return table[table["task"] == "radiography"].set_index("metric")


def test_the_drop_is_the_mean_inside_less_the_mean_elsewhere(results):
    root, plan = results
    rows = rows_of(compare_external(plan, root))
    assert list(rows.index) == list(EXTERNAL_METRICS["classification"])
    internal = []
    for seed in (0, 1):
        cases = pd.read_parquet(root / f"results/runs/radiography/audited/vgg16/{seed}/cases.parquet")
        internal.append(roc_auc_score(cases["truth"] == 2, cases["p_2"]))
    there = pd.read_parquet(root / "results/external/radiography/audited/vgg16/ieee8023_xray/cases.parquet")
    external = [roc_auc_score(part["truth"], part["p_1"]) for _, part in there.groupby("seed")]
    auroc = rows.loc["auroc"]
    assert auroc["internal"] == pytest.approx(np.mean(internal))
    assert auroc["external"] == pytest.approx(np.mean(external))
    assert auroc["drop"] == pytest.approx(np.mean(internal) - np.mean(external))
    assert auroc["drop_low"] < auroc["drop"] < auroc["drop_high"]
    assert auroc[["usable", "duplicates", "removed", "images", "patients"]].tolist() == [70, 4, 10, 60, 20]


def test_both_datasets_are_drawn_independently(results):
    root, plan = results
    row = rows_of(compare_external(plan, root)).loc["accuracy"]
    widths = {side: row[f"{side}_high"] - row[f"{side}_low"] for side in ("internal", "external", "drop")}
    assert widths["drop"] == pytest.approx(np.hypot(widths["internal"], widths["external"]), rel=0.1)
    assert row["covers"] == "patients"  # two seeds


def test_what_is_not_there_or_of_another_training_is_a_row_with_its_reason(results):
    root, plan = results
    table = compare_external(plan, root)
    missing = table[table["task"] == "ieee8023_xray"]
    assert set(missing["reason"]) == {"not tested there yet"}
    assert missing["drop"].isna().all()
    there = root / external_folder("radiography", "audited", "vgg16", "ieee8023_xray")
    scores = json.loads((there / "metrics.json").read_text())
    scores["seeds"]["1"]["fingerprint"] = "of an earlier training"
    write_json(there / "metrics.json", seal_record(scores))
    reasons = set(rows_of(compare_external(plan, root))["reason"])
    assert reasons == {"seed 1 was not tested there with the model that is here now"}


def test_no_drop_has_an_interval_where_one_side_cannot_move(results):
    root, plan = results
    for seed in (0, 1):
        folder = root / f"results/runs/radiography/audited/vgg16/{seed}"
        cases = pd.read_parquet(folder / "cases.parquet")
        certain = {f"p_{number}": (cases["truth"] == number).astype(np.float32) for number in range(3)}
        cases = cases.assign(**certain, predicted=cases["truth"], correct=True)
        leave_scores(folder, json.loads((folder / "metrics.json").read_text()), cases)
    auroc = rows_of(compare_external(plan, root)).loc["auroc"]
    assert auroc["internal"] == 1
    assert auroc["drop"] == pytest.approx(1 - auroc["external"])
    assert auroc[["internal_low", "drop_low", "drop_high"]].isna().all()
    assert auroc["reason"] == STUCK
