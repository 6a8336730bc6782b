"""Groups and leaks, on tables small enough to be counted by hand."""

import pandas as pd

from covbench.audit.duplicates import DUPLICATE_COLUMNS
from covbench.audit.groups import find_duplicate_sets, group_images
from covbench.audit.leakage import audit_split, count_duplicates, find_leaked_pairs
from covbench.schema import CLASSIFICATION, SEGMENTATION, Task

TWO = Task("two", CLASSIFICATION, ("healthy", "sick"))
PIXELS = Task("pixels", SEGMENTATION, ("background", "lesion"), lesions=("lesion",))


def copies_of(*pairs):
    return pd.DataFrame(pairs, columns=DUPLICATE_COLUMNS)


def split_rows(*rows):
    table = pd.DataFrame(rows, columns=["image_id", "copy", "patient_id", "label", "fold"])
    return table.assign(group=table["patient_id"], duplicate_set=table["image_id"], source="")


def test_groups_join_patients_and_copies_in_chains_and_take_the_first_name():
    rows = pd.DataFrame({"image_id": list("uvwxyz"), "patient_id": ["b", "c", "c", "a", "d", "e"]})
    duplicates = copies_of(("u", "v", "near", 0.9), ("w", "x", "mirrored", 0.9), ("y", "gone", "exact", 1.0))
    assert group_images(rows, duplicates).tolist() == ["a", "a", "a", "a", "d", "e"]


def test_a_dataset_without_patients_is_grouped_by_its_chains_of_copies():
    rows = pd.DataFrame({"image_id": list("abcde"), "patient_id": list("abcde")})
    duplicates = copies_of(("a", "b", "near", 0.9), ("b", "c", "near", 0.9))
    assert group_images(rows, duplicates).tolist() == ["a", "a", "a", "d", "e"]


def test_a_duplicate_set_joins_pictures_that_look_alike_and_not_the_images_of_a_patient():
    rows = pd.DataFrame({"image_id": list("zyxwvu"), "patient_id": list("ppqqrs")})
    duplicates = copies_of(("z", "x", "near", 0.9), ("x", "u", "exact", 1.0), ("v", "gone", "exact", 1.0))
    assert find_duplicate_sets(rows, duplicates).tolist() == ["u", "y", "u", "w", "v", "u"]


def test_leaks_by_patient_are_empty_where_no_patient_is_known():
    split = split_rows(("t", 0, "t", 0, "train"), ("a", 0, "a", 1, "test"))
    assert [row["patient_in_train"] for row in audit_split(split, copies_of(), TWO)] == [None, None, None]


def test_each_kind_of_leak_is_counted_per_class_and_an_image_once_in_all():
    split = split_rows(
        *[("t1", 0, "p1", 0, "train"), ("t2", 0, "p2", 0, "train"), ("t3", 0, "p3", 1, "train")],
        *[("v1", 0, "p4", 1, "val"), ("v1", 0, "p4", 1, "test")],  # the test fold validates too
        ("a", 0, "p1", 0, "test"),  # its patient, and a near copy of t1
        ("b", 0, "p5", 0, "test"),  # an exact copy of t2
        ("c", 0, "p6", 1, "test"),  # t3 mirrored
        ("d", 0, "p7", 1, "test"),
        ("e", 0, "p8", 1, "test"),  # t3 with an arrow
    )
    duplicates = copies_of(("t1", "a", "near", 0.9), ("b", "t2", "exact", 1.0))
    duplicates = pd.concat([duplicates, copies_of(("c", "t3", "mirrored", 0.95), ("t3", "e", "annotated", 0.98))])
    total, healthy, sick = audit_split(split, duplicates, TWO)
    assert total == {
        "class": "",
        "test_images": 6,
        "image_in_val": 1,
        "image_in_train": 0,
        "augmented_copy_in_train": 0,
        "patient_in_train": 1,
        "duplicate_in_train": 1,
        "near_duplicate_in_train": 3,
        "leaked": 4,
        "leaked_share": 4 / 6,
    }
    assert (healthy["test_images"], healthy["leaked"], healthy["leaked_share"]) == (2, 2, 1.0)
    assert (sick["near_duplicate_in_train"], sick["leaked"], sick["leaked_share"]) == (2, 2, 0.5)
    pairs = find_leaked_pairs(split, duplicates, TWO)
    assert pairs[["class", "image_id", "train_id", "kind"]].to_numpy().tolist() == [
        ["healthy", "a", "t1", "near"],
        ["healthy", "b", "t2", "exact"],
        ["sick", "c", "t3", "mirrored"],
        ["sick", "e", "t3", "annotated"],
    ]


def test_an_augmented_copy_in_training_is_a_leak_of_its_own_kind():
    split = split_rows(("s", 0, "v1", -1, "train"), ("s", 1, "v1", -1, "test"), ("r", 0, "v2", -1, "test"))
    (total,) = audit_split(split, copies_of(), PIXELS)
    assert (total["augmented_copy_in_train"], total["image_in_train"], total["leaked"]) == (1, 0, 1)
    pair = find_leaked_pairs(split, copies_of(), PIXELS).iloc[0]
    assert (pair["class"], pair["image_id"], pair["copy"], pair["train_copy"], pair["kind"]) == (
        *("", "s", 1, 0),
        "augmented",
    )


def test_copies_across_datasets_count_pairs_by_kind_and_images_once():
    duplicates = copies_of(("a", "x", "near", 0.9), ("a", "y", "exact", 1.0), ("b", "y", "annotated", 0.96))
    counted = count_duplicates("one", "two", duplicates, {"one": 10, "two": 20})
    assert counted == {
        "dataset": "one",
        "other": "two",
        "images": 10,
        "other_images": 20,
        "exact": 1,
        "near": 1,
        "mirrored": 0,
        "annotated": 1,
        "images_with_duplicate": 2,
        "other_images_with_duplicate": 2,
    }
