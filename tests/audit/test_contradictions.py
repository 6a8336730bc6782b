"""Contradictory labels and dropped rows, in cases worked out by hand."""

import pandas as pd
import pytest

from covbench.audit.contradictions import add_fates, audit_labels, compare_labels, find_mixed_patients, list_dropped
from covbench.audit.duplicates import DUPLICATE_COLUMNS
from covbench.audit.splits import assign_folds
from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import TASKS
from covbench.protocols import split_rule
from covbench.schema import INDEX_COLUMNS

TWO = TASKS["covid_ct"]


def index_of(*rows):
    """Rows of an index: image, patient, label and official fold. Everything else is as in a plain picture."""
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "label", "official_fold"])
    rest = {name: "" for name in INDEX_COLUMNS if name not in table}
    return table.assign(**rest | {"frame": -1, "excluded": False, "path": table["image_id"]})[list(INDEX_COLUMNS)]


def copies_of(*pairs):
    return pd.DataFrame(pairs, columns=DUPLICATE_COLUMNS)


def rows_of(index, duplicates):
    return add_fates(index, duplicates, TASKS["covid_ct"])


OFFICIAL = index_of(
    ("a", "pa", "covid", "test"),
    ("b", "pb", "non_covid", "train"),  # the same bytes as a: another label
    ("c", "pc", "covid", "train"),  # near copy of a: the same label
    ("d", "pd", "covid", "val"),
    ("e", "pd", "covid", "train"),  # the patient of d
    ("f", "pf", "non_covid", "train"),
    ("g", "pf", "non_covid", "train"),  # the patient of f, in one fold
    ("h", "ph", "non_covid", "train"),  # a copy of e, which is dropped for its patient d
)
PAIRS = copies_of(("a", "b", "exact", 1.0), ("c", "a", "near", 0.9), ("e", "h", "annotated", 0.97))


def test_duplicates_with_different_labels_are_listed_with_what_the_audited_split_does_to_each():
    found = compare_labels(rows_of(OFFICIAL, PAIRS), TWO, rows_of(OFFICIAL, PAIRS), TWO, PAIRS)
    kept, dropped = "kept in the authors' test fold", "dropped from the authors' train fold"
    assert found.drop(columns=["task", "other_task"]).to_numpy().tolist() == [
        ["a", "covid", "test", kept, "b", "non_covid", "train", dropped, "exact", 1.0],
        ["e", "covid", "train", dropped, "h", "non_covid", "train", dropped, "annotated", 0.97],
    ]
    assert list(found) == list(AUDIT_TABLES["contradictions"])


def test_every_dropped_row_is_named_with_the_row_of_a_later_fold_that_it_meets():
    dropped = list_dropped(rows_of(OFFICIAL, PAIRS), PAIRS)
    assert dropped[["image_id", "because", "other_id", "other_official_fold", "contradictory"]].to_numpy().tolist() == [
        ["b", "exact", "a", "test", 1],
        ["c", "near", "a", "test", 0],
        ["e", "patient", "d", "val", 0],
        ["h", "chain", "d", "val", 0],
    ]


def test_a_contradictory_duplicate_is_named_before_a_more_similar_one():
    index = index_of(("a", "pa", "covid", "test"), ("b", "pb", "non_covid", "test"), ("c", "pc", "covid", "train"))
    pairs = copies_of(("a", "c", "near", 0.99), ("b", "c", "near", 0.9))
    (row,) = list_dropped(rows_of(index, pairs), pairs).to_dict("records")
    assert (row["other_id"], row["contradictory"]) == ("b", 1)


def test_the_named_rows_are_those_that_the_audited_split_lacks():
    more = index_of(
        *[(f"x{n}", f"px{n}", ("covid", "non_covid")[n % 2], ["train", "val", "test"][n % 3]) for n in range(12)]
    )
    index = pd.concat([OFFICIAL, more], ignore_index=True)
    split = assign_folds(index, PAIRS, TWO, split_rule("audited", TWO), 0)
    dropped = list_dropped(rows_of(index, PAIRS), PAIRS)["image_id"]
    assert set(dropped) == set(index["image_id"]) - set(split["image_id"]) == set("bceh")


def test_a_row_on_no_list_of_the_authors_is_named_as_dropped_and_meets_no_image():
    index = pd.concat([OFFICIAL, index_of(("i", "pi", "covid", ""))], ignore_index=True)
    rows = rows_of(index, PAIRS)
    last = list_dropped(rows, PAIRS).to_dict("records")[-1]
    assert (last["image_id"], last["because"], last["other_id"], last["contradictory"]) == ("i", "unlisted", "", 0)
    assert rows.set_index("image_id").loc["i", "audited"] == "dropped: on no list of the authors"


def test_without_an_authors_split_nothing_is_dropped():
    index = OFFICIAL.assign(official_fold="")
    rows = rows_of(index, PAIRS)
    assert len(list_dropped(rows, PAIRS)) == 0
    found = compare_labels(rows, TWO, rows, TWO, PAIRS)
    assert set(found["audited"]) == {"kept in one fold with its group"}


def test_a_patient_with_images_of_both_classes_is_listed_with_every_image():
    index = index_of(
        *[("b2", "both", "covid", ""), ("b1", "both", "non_covid", ""), ("b3", "both", "covid", "")],
        *[("o1", "one", "covid", ""), ("o2", "one", "covid", ""), ("s", "single", "non_covid", "")],
    )
    found = find_mixed_patients(rows_of(index, copies_of()))
    assert found[["patient_id", "image_id", "label"]].to_numpy().tolist() == [
        ["both", "b1", "non_covid"],
        ["both", "b2", "covid"],
        ["both", "b3", "covid"],
    ]


def test_across_datasets_only_covid_against_all_else_is_a_contradiction():
    indexes = {
        "ieee8023": index_of(*[(name, f"p{name}", "non_covid", "") for name in "abc"], ("d", "pd", "covid", "")),
        "radiography": index_of(
            *[("w", "w", "covid", ""), ("x", "x", "normal", ""), ("y", "y", "viral_pneumonia", "")],
            ("z", "z", "normal", ""),
        ),
    }
    across = copies_of(*[("a", "w", "near", 0.9), ("b", "x", "near", 0.9), ("c", "y", "near", 0.9)])
    across = pd.concat([across, copies_of(("d", "z", "annotated", 0.96))])
    within = copies_of(("x", "y", "near", 0.95))
    duplicates = {("ieee8023", "ieee8023"): copies_of(), ("ieee8023", "radiography"): across}
    duplicates["radiography", "radiography"] = within
    tables = audit_labels(indexes, duplicates, [TASKS["radiography"], TASKS["ieee8023_xray"]])
    columns = ["task", "image_id", "label", "other_task", "other_id", "other_label", "kind"]
    assert tables["contradictions"][columns].to_numpy().tolist() == [
        ["radiography", "x", "normal", "radiography", "y", "viral_pneumonia", "near"],
        ["ieee8023_xray", "a", "non_covid", "radiography", "w", "covid", "near"],
        ["ieee8023_xray", "d", "covid", "radiography", "z", "normal", "annotated"],
    ]
    assert len(tables["mixed_patients"]) == len(tables["dropped"]) == 0


@pytest.mark.parametrize("name", ["contradictions", "mixed_patients", "dropped"])
def test_a_table_without_findings_keeps_its_columns(name):
    index = index_of(("a", "pa", "covid", ""), ("b", "pb", "non_covid", ""))
    tables = audit_labels({"covid_ct": index}, {("covid_ct", "covid_ct"): copies_of()}, [TWO])
    assert list(tables[name]) == list(AUDIT_TABLES[name])


def test_rows_that_a_task_cannot_use_contradict_nothing():
    index = OFFICIAL.assign(excluded=OFFICIAL["image_id"] == "b")
    tables = audit_labels({"covid_ct": index}, {("covid_ct", "covid_ct"): PAIRS}, [TWO])
    assert tables["contradictions"]["image_id"].tolist() == ["e"]
    assert tables["dropped"]["image_id"].tolist() == ["c", "e", "h"]
