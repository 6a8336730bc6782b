"""The flow of images into folds, counted by hand."""

import pandas as pd
import pytest

from covbench.audit.contradictions import add_fates
from covbench.audit.flow import NO_CLASS, NOT_DRAWN, OF_NO_TASK, count_flow
from covbench.data.datasets import usable_rows
from covbench.data.index import fill_columns
from covbench.schema import CLASSIFICATION, SEGMENTATION, Task

BINARY = Task("covid_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
LESIONS = Task("zenodo_infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
PAIRS = pd.DataFrame({"image_id": ["c"], "other_id": ["d"], "kind": ["near"], "correlation": [0.99]})
NO_PAIRS = PAIRS.iloc[:0]


def make_index(rows):
    """Rows of image_id, patient_id, label and reason."""
    table = fill_columns([dict(zip(("image_id", "patient_id", "label", "reason"), row, strict=True)) for row in rows])
    return table.assign(excluded=table["reason"] != "")


def make_split(*rows):
    """Rows of image_id, copy, patient_id, group and fold."""
    split = pd.DataFrame(rows, columns=["image_id", "copy", "patient_id", "group", "fold"])
    return split.assign(duplicate_set=split["image_id"], source="", label=0)


def flow_of(index, split, pairs, task, published):
    return count_flow(index, add_fates(usable_rows(index, task), pairs, task), split, task, published)


@pytest.fixture
def rows():
    """Two patients with COVID-19, two without, a lateral view, an unlabelled file, and a class of no task."""
    index = make_index(
        [
            ("a", "1", "covid", ""),
            ("b", "1", "covid", ""),
            ("c", "2", "covid", ""),
            ("d", "3", "non_covid", ""),
            ("e", "4", "non_covid", ""),
            ("f", "1", "covid", "lateral view"),
            ("g", "g", "", "not in metadata.csv"),
            ("h", "5", "opacity", ""),
        ]
    )
    split = make_split(
        ("a", 0, "1", "1", "train"),
        ("a", 1, "1", "1", "train"),
        ("b", 0, "1", "1", "train"),
        ("c", 0, "2", "2", "val"),
        ("c", 0, "2", "2", "test"),
        ("d", 0, "3", "2", "test"),
    )
    return pd.DataFrame(flow_of(index, split, PAIRS, BINARY, True)).set_index(["class", "step"])


def counts(rows, *key):
    return rows.loc[[key], ["images", "patients", "groups"]].fillna(-1).to_numpy().tolist()


def test_each_step_counts_images_patients_and_groups(rows):
    assert counts(rows, "", "seen") == [[8, 5, -1]]  # g names no patient
    assert counts(rows, "", "usable") == [[5, 4, 3]]  # c and d are near-duplicates
    assert counts(rows, "", "train") == [[2, 1, 1]]  # without the augmented copy
    assert counts(rows, "", "val") == [[1, 1, 1]]
    assert counts(rows, "", "test") == [[2, 2, 1]]


def test_each_class_has_its_own_flow(rows):
    assert counts(rows, "covid", "seen") == [[4, 2, -1]]
    assert counts(rows, "covid", "usable") == [[3, 2, 2]]
    assert counts(rows, "non_covid", "train") == [[0, 0, 0]]
    assert counts(rows, "non_covid", "test") == [[1, 1, 1]]
    assert counts(rows, NO_CLASS, "seen") == [[1, 0, -1]]


def test_whatever_is_left_out_is_counted_with_its_reason(rows):
    excluded = rows.loc[[("", "excluded")]].set_index("reason")["images"].to_dict()
    assert excluded == {"lateral view": 1, "not in metadata.csv": 1, OF_NO_TASK: 1}
    left_out = rows.loc[[("non_covid", "in no fold")]]
    assert left_out[["reason", "images"]].to_numpy().tolist() == [[NOT_DRAWN, 1]]


def test_a_row_of_the_authors_split_that_is_dropped_says_so():
    index = make_index([("c", "2", "covid", ""), ("d", "3", "covid", "")]).assign(official_fold=["train", "test"])
    flow = flow_of(index, make_split(("d", 0, "3", "2", "test")), PAIRS, BINARY, True)
    dropped = [row for row in flow if row["step"] == "in no fold" and not row["class"]]
    assert [(row["reason"], row["images"]) for row in dropped] == [("dropped from the authors' train fold", 1)]


def test_a_segmentation_has_one_flow_and_unknown_patients_are_not_counted():
    index = make_index([("a", "a", "", ""), ("b", "b", "", "no mask published")]).assign(mask=["m", ""])
    flow = flow_of(index, make_split(("a", 0, "a", "a", "test")), NO_PAIRS, LESIONS, False)
    assert {row["class"] for row in flow} == {""}
    assert {row["patients"] for row in flow} == {None}
    assert [row["images"] for row in flow] == [2, 1, 1, 0, 0, 1]
