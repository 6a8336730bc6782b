"""What contestants answer for other datasets: shown without labels, kept with each run, taken in one at a time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.audit.unseen import ExternalSet, list_external_sets, open_unseen
from covbench.contestants.external import take_external, write_external
from covbench.contestants.job import read_predicted
from covbench.contestants.split_export import export_split, open_split
from covbench.data.datasets import TASKS
from covbench.data.folds import ClassMaps, Predicted
from covbench.evaluation.external import score_external
from covbench.experiment.config import check_config
from covbench.experiment.contestants import read_contestant
from covbench.experiment.plan import find_options, list_external_files, plan_runs
from covbench.experiment.provenance import decide_inputs, describe_run
from covbench.experiment.workflow_files import list_external
from covbench.operations.submissions import Submission, score_submission
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_json, write_table

from .folds import make_folds, make_index

RUN = Run("covid_ct", "audited", "majority", 0)
READER = Run("covid_ct", "audited", "reader_1", 0)
OTHER, IMAGES, KNOWN = "sarscov2_ct", 12, 2
CONFIG = check_config(
    {
        "tasks": ["covid_ct", OTHER],
        "architectures": {},
        "baselines": {"classification": ["majority"]},
        "options": {"audited": {"classification": {"size": 32}}},
    }
)


def write_dataset(data, task, index, images):
    write_table(data / "index" / f"{task}.parquet", index)
    write_table(data / "prepared" / task / "32" / "rows.parquet", index[["image_id"]])
    np.save(data / "prepared" / task / "32" / "images.npy", images)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """What the workflow has made of 30 images of covid_ct and of 12 of another dataset, 2 of which covid_ct has too."""
    monkeypatch.chdir(tmp_path)
    folds, index = make_folds(30, size=32)
    data = tmp_path / "data"
    write_dataset(data, "covid_ct", index, folds["test"].images)
    split = pd.concat([fold.rows for fold in folds.values()], ignore_index=True)
    split["label"] = (split["label"] == 0).astype(int)  # covid_ct lists non_covid first
    write_table(data / "splits" / "covid_ct" / "audited" / "0.parquet", split)
    others = make_index(IMAGES).assign(excluded=False)
    others["label"] = others["label"].map({"COVID": "covid", "NonCOVID": "non_covid"})
    others["image_id"] = "other " + others["image_id"]
    rng = np.random.default_rng(5)
    write_dataset(data, OTHER, others, rng.integers(0, 256, (IMAGES, 32, 32), np.uint8))
    pairs = pd.DataFrame({"image_id": index["image_id"][:KNOWN], "other_id": others["image_id"][:KNOWN]})
    write_table(data / "duplicates" / "covid_ct" / f"{OTHER}.parquet", pairs.assign(kind="near"))
    write_table(data / "duplicates" / OTHER / f"{OTHER}.parquet", pairs[:0].assign(kind="near"))
    return tmp_path


def answer_all(root):
    """Answers to all that was given: the more certain of COVID, the brighter an image is."""
    list(export_split(CONFIG, RUN, root, root / "given", external=True))
    ids = pd.concat([pd.read_csv(root / "given" / f"{name}.csv")["id"] for name in ("test", OTHER)])
    share = np.linspace(0.1, 0.9, len(ids))
    return pd.DataFrame({"id": ids, "non_covid": 1 - share, "covid": share})


def test_images_that_are_new_are_given_without_labels_under_names_of_their_own(root):
    answers = answer_all(root)
    given = pd.read_csv(root / "given" / f"{OTHER}.csv")
    assert list(given.columns) == ["id", "file"]
    assert len(given) == IMAGES - KNOWN
    assert all((root / "given" / file).is_file() for file in given["file"])
    assert answers["id"].is_unique
    task = json.loads((root / "given" / "task.json").read_text())
    assert task["external"] == [OTHER]
    assert f"Predict every row of `test.csv` and of `{OTHER}.csv`." in (root / "given" / "README.md").read_text()
    written = b"".join(path.read_bytes() for path in (root / "given").rglob(f"*{OTHER}*") if path.is_file())
    assert b"hospital" not in written
    assert b"covid" not in written


def test_published_files_of_another_dataset_are_refused(root):
    with pytest.raises(CovbenchError, match="choose png, nifti or arrays"):
        list(export_split(CONFIG, RUN, root, root / "given", "files", external=True))
    assert not (root / "given").exists()


def test_a_missing_answer_to_another_dataset_is_named(root):
    answers = answer_all(root)
    answers.iloc[:-1].to_csv(root / "p.csv", index=False)
    with pytest.raises(CovbenchError, match=rf"1 ids are missing \({answers['id'].iloc[-1]}\)"):
        read_predicted(root / "p.csv", RUN, open_split(CONFIG, RUN, root, external=True), labels_only=False)


def test_answers_are_kept_with_the_run_and_scored_on_the_other_dataset(root):
    answers = answer_all(root)
    answers.to_csv(root / "p.csv", index=False)
    folds = open_split(CONFIG, RUN, root, external=True)
    test, other = read_predicted(root / "p.csv", RUN, folds, labels_only=False)
    assert (test.name, other.name) == ("test", OTHER)
    write_external([other], test, {"external": str(root / RUN.folder / "external.parquet")})
    write_json(root / RUN.folder / "manifest.json", describe_run(decide_inputs(RUN, {}, {})))
    files = list_external_files(CONFIG, "covid_ct", find_options(CONFIG, "covid_ct", "audited", "majority"))
    (external,) = list_external_sets(files)
    outputs = {name: str(root / "taken" / f"{name}.parquet") for name in ("predictions", "cases")}
    outputs |= {name: str(root / "taken" / f"{name}.json") for name in ("manifest", "metrics")}
    take_external([RUN], [f"{RUN.folder}/external.parquet"], [], external, outputs)
    score_external(TASKS["covid_ct"], TASKS[OTHER], outputs, outputs)
    found = json.loads((root / "taken" / "metrics.json").read_text())
    assert (found["usable"], found["duplicates"], found["images"]) == (IMAGES, KNOWN, IMAGES - KNOWN)
    cases = pd.read_parquet(root / "taken" / "cases.parquet")
    assert len(cases) == IMAGES - KNOWN
    by_id = dict(zip(answers["id"], answers["covid"], strict=True))
    named = dict(zip(folds[-1].fold.rows["image_id"], folds[-1].ids, strict=True))
    assert cases["p_1"].to_numpy() == pytest.approx([by_id[named[name]] for name in cases["image_id"]])


def test_a_run_without_another_dataset_leaves_an_empty_table_with_the_same_columns(root):
    answer_all(root).to_csv(root / "p.csv", index=False)
    folds = open_split(CONFIG, RUN, root, external=True)
    test, _ = read_predicted(root / "p.csv", RUN, folds, labels_only=False)
    write_external([], test, {"external": str(root / "external.parquet")})
    table = pd.read_parquet(root / "external.parquet")
    assert len(table) == 0
    assert {"image_id", "fold", "seed", "p_0", "p_1"} <= set(table.columns)


def test_a_submission_with_other_datasets_says_so_on_its_card(root):
    answer_all(root).to_csv(root / "p.csv", index=False)
    submission = Submission(root / "p.csv", READER, {}, external=True)
    said = "\n".join(score_submission(CONFIG, submission, root, folder=root / "contestants"))
    assert "10 test images" in said
    assert read_contestant("reader_1", root / "contestants").external
    alone = Submission(root / "p.csv", READER, {})
    with pytest.raises(CovbenchError, match="external is True, not False; choose another --name"):
        list(score_submission(CONFIG, alone, root, folder=root / "contestants"))


def test_only_a_contestant_that_asks_is_planned_for_other_datasets_and_reads_them():
    config = check_config(CONFIG | {"contestants": {"classification": ["hog_svm", "torch_convnext"]}})
    planned = {entry.run.architecture: entry for entry in plan_runs(config) if entry.run.task == "covid_ct"}
    read = planned["hog_svm"].inputs.by_name
    assert read[f"{OTHER}/index"] == f"data/index/{OTHER}.parquet"
    assert read[f"{OTHER}/images"] == f"data/prepared/{OTHER}/32/images.npy"
    assert planned["torch_convnext"].inputs.external == ()
    folders = list_external(plan_runs(config), config["tasks"])
    assert f"results/external/covid_ct/audited/hog_svm/{OTHER}" in folders
    assert not any("torch_convnext" in folder for folder in folders)


def test_masks_are_kept_and_taken_in_the_order_of_their_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folds, index = make_folds(IMAGES, masks=True)
    index["excluded"], index["mask"] = False, "m.png"
    write_table(Path("index.parquet"), index)
    write_table(Path("rows.parquet"), index[["image_id"]])
    none = pd.DataFrame({"image_id": index["image_id"][:0], "other_id": index["image_id"][:0], "kind": ""})
    write_table(Path("none.parquet"), none)
    np.save("images.npy", folds["test"].images)
    np.save("masks.npy", folds["test"].masks)
    prepared = ["images.npy", "rows.parquet", "masks.npy"]
    external = ExternalSet("zenodo_infection", "index.parquet", "none.parquet", "none.parquet", prepared)
    run = Run("medseg_multiclass", "audited", "empty_mask", 0)
    fold, _ = open_unseen(run.task, external)
    maps = np.random.default_rng(2).integers(0, 2, (IMAGES, 8, 8), np.uint8)
    own = Predicted(folds["test"], "test", 0, ClassMaps(maps[:4]))
    paths = {"external": f"{run.folder}/external.parquet", "external_masks": f"{run.folder}/external_masks.npz"}
    write_external([Predicted(fold, external.task, 0, ClassMaps(maps))], own, paths)
    write_json(Path(run.folder, "manifest.json"), describe_run(decide_inputs(run, {}, {})))
    outputs = {"predictions": "p.parquet", "manifest": "m.json", "masks": "m.npz"}
    take_external([run], [paths["external"]], [paths["external_masks"]], external, outputs)
    np.testing.assert_array_equal(np.load("m.npz")["masks"], maps)
    assert pd.read_parquet("p.parquet")["fold"].eq("test").all()
