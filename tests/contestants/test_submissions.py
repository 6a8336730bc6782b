"""`covbench export-split` and `covbench score`: from a split to a contestant in the config, as a user calls them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from covbench.contestants.split_export import export_split
from covbench.experiment.config import check_config
from covbench.experiment.contestants import read_contestant, stored_path
from covbench.operations.submissions import Submission, score_submission
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_table

from .folds import make_folds

RUN = Run("covid_ct", "audited", "reader_1", 0)
CONFIG = {
    "tasks": ["covid_ct"],
    "architectures": {},
    "baselines": {"classification": ["majority"]},
    "options": {"audited": {"classification": {"size": 32}}},
}


@pytest.fixture
def root(tmp_path):
    """What the workflow has made of 30 images of covid_ct."""
    folds, index = make_folds(30, size=32)
    prepared = tmp_path / "data" / "prepared" / "covid_ct" / "32"
    write_table(tmp_path / "data" / "index" / "covid_ct.parquet", index)
    split = pd.concat([fold.rows for fold in folds.values()], ignore_index=True)
    split["label"] = (split["label"] == 0).astype(int)  # covid_ct lists non_covid first
    write_table(tmp_path / "data" / "splits" / "covid_ct" / "audited" / "0.parquet", split)
    write_table(prepared / "rows.parquet", index[["image_id"]])
    np.save(prepared / "images.npy", folds["test"].images)
    return tmp_path


def export(root, **more):
    out = root / "given"
    lines = list(export_split(check_config(CONFIG), RUN, root, out, "png", **more))
    return pd.read_csv(out / "test.csv"), lines


def score(root, answers, labels_only=False, keep=True, **words):
    submission = Submission(answers, RUN, words, labels_only)
    return "\n".join(score_submission(check_config(CONFIG), submission, root, keep, root / "contestants"))


def answer(root, table, name="p.csv"):
    table.to_csv(root / name, index=False)
    return root / name


def guess(test):
    share = np.linspace(0.1, 0.9, len(test))
    return pd.DataFrame({"id": test["id"], "non_covid": 1 - share, "covid": share})


def test_answers_are_scored_and_kept_as_a_contestant(root):
    test, lines = export(root)
    assert lines[-1] == "covbench score ANSWERS --name NAME --task covid_ct --protocol audited --seed 0"
    said = score(root, answer(root, guess(test)), title="A guess", training_data="ImageNet")
    assert "10 test images, 10 groups" in said
    assert yaml.safe_load("\n".join(said.splitlines()[-2:])) == {"contestants": {"classification": ["reader_1"]}}
    card = read_contestant("reader_1", root / "contestants")
    assert (card.title, card.training_data, card.answers, card.command) == ("A guess", "ImageNet", "probabilities", "")
    kept = pd.read_parquet(stored_path(card, RUN)).sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(kept, guess(test), check_dtype=False, rtol=1e-6)


def test_a_reader_without_probabilities_has_the_scores_that_are_defined(root):
    test, _ = export(root)
    named = pd.DataFrame({"id": test["id"], "label": ["covid", "non_covid"] * 5})
    said = score(root, answer(root, named), labels_only=True)
    assert "AUROC                        undefined: " in said
    assert "Accuracy                     0." in said


def test_wrong_answers_leave_nothing_behind(root):
    test, _ = export(root)
    with pytest.raises(CovbenchError, match="1 ids are missing"):
        score(root, answer(root, guess(test).iloc[1:]))
    assert not (root / "contestants").exists()


def test_a_dry_run_keeps_nothing(root):
    test, _ = export(root)
    assert "Nothing was kept" in score(root, answer(root, guess(test)), keep=False)
    assert not (root / "contestants").exists()


def test_a_contestant_does_not_change_its_kind_of_answers_from_one_seed_to_the_next(root):
    test, _ = export(root)
    score(root, answer(root, guess(test)))
    named = pd.DataFrame({"id": test["id"], "label": "covid"})
    with pytest.raises(CovbenchError, match="answers is probabilities, not labels; choose another --name"):
        score(root, answer(root, named), labels_only=True)


def test_a_second_submission_keeps_the_words_of_the_first(root):
    test, _ = export(root)
    score(root, answer(root, guess(test)), title="A guess", citation="Doe 2026")
    score(root, answer(root, guess(test)), contact="doe@example.org")
    card = read_contestant("reader_1", root / "contestants")
    assert (card.title, card.citation, card.contact) == ("A guess", "Doe 2026", "doe@example.org")


def test_a_folder_that_exists_is_not_written_into(root):
    export(root)
    with pytest.raises(CovbenchError, match="given exists; name a new folder"):
        export(root)


def test_a_split_that_is_not_there_names_the_command_that_makes_it(root):
    (root / "data" / "splits" / "covid_ct" / "audited" / "0.parquet").unlink()
    with pytest.raises(
        CovbenchError, match=r"snakemake --cores 2 --directory .* data/splits/covid_ct/audited/0.parquet$"
    ):
        export(root)
