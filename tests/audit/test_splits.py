import numpy as np
import pandas as pd
import pytest

from covbench.audit.duplicates import DUPLICATE_COLUMNS
from covbench.audit.leakage import audit_split
from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT, SplitRule, split_rule
from covbench.schema import CLASSIFICATION, SEGMENTATION, SPLIT_COLUMNS, CovbenchError, Task

CLASSES = Task("drawn", CLASSIFICATION, ("healthy", "sick", "rare"))
PIXELS = Task("slices", SEGMENTATION, ("background", "lesion"), lesions=("lesion",))
BY_GROUP = SplitRule("group", (0.6, 0.15, 0.25), official=True)
BY_IMAGE = SplitRule("image", (0.7, 0.1, 0.2))
IN_PARTS = SplitRule("group", (8 / 15, 2 / 15, 1 / 3), official=True, parts=3)
SEEDS = range(8)
NO_DUPLICATES = pd.DataFrame(columns=DUPLICATE_COLUMNS)


def index_rows(patients, labels="", **columns):
    """An index of images that are no duplicates of each other."""
    number = len(patients)
    table = pd.DataFrame({"image_id": [f"image{i:04d}" for i in range(number)], "patient_id": list(patients)})
    table = table.assign(label=labels, mask="", source="north", official_fold="", frame=-1)
    return table.assign(**columns)


def many_patients(seed, number=90):
    """Patients of one to five images; some carry two labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES.classes, number, p=[0.5, 0.4, 0.1])
    labels[:12] = np.repeat(CLASSES.classes, 4)
    sizes = rng.integers(1, 6, number)
    rows = index_rows(np.repeat([f"p{i:02d}" for i in range(number)], sizes), np.repeat(labels, sizes))
    swapped = rng.random(len(rows)) < 0.03
    rows.loc[swapped, "label"] = "sick"
    return rows


def some_duplicates(rows, seed):
    """One image in ten is a copy of another."""
    ones, others = np.random.default_rng(seed).integers(0, len(rows), (2, len(rows) // 10))
    ids = rows["image_id"].to_numpy()
    kinds = np.resize(["exact", "near", "mirrored"], len(ones))
    return pd.DataFrame({"image_id": ids[ones], "other_id": ids[others], "kind": kinds, "correlation": 0.9})


def folds_per(split, rows, column):
    values = split["image_id"].map(rows.set_index("image_id")[column])
    return split.groupby(values)["fold"].nunique()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_patient_and_no_copy_of_any_kind_crosses_folds_under_group_splits(seed):
    rows = many_patients(seed)
    duplicates = some_duplicates(rows, seed)
    split = assign_folds(rows, duplicates, CLASSES, BY_GROUP, seed)
    assert (folds_per(split, rows, "patient_id") == 1).all()
    fold = split.set_index("image_id")["fold"]
    assert (fold.loc[duplicates["image_id"]].to_numpy() == fold.loc[duplicates["other_id"]].to_numpy()).all()
    assert sorted(split["image_id"]) == sorted(rows["image_id"])
    leaks = audit_split(split, duplicates, CLASSES)
    assert [count["leaked"] for count in leaks] == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_class_stands_in_each_fold_and_folds_keep_their_share(seed):
    rows = many_patients(seed)
    split = assign_folds(rows, NO_DUPLICATES, CLASSES, BY_GROUP, seed)
    assert split.groupby("fold")["label"].nunique().to_dict() == {"train": 3, "val": 3, "test": 3}
    shares = split["fold"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 0.6, "val": 0.15, "test": 0.25}, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_class_of_three_patients_stands_in_all_three_folds(seed):
    labels = ["healthy"] * 40 + ["sick"] * 40 + ["rare"] * 6
    patients = [f"p{i}" for i in range(80)] + ["a", "a", "a", "a", "b", "c"]
    split = assign_folds(index_rows(patients, labels), NO_DUPLICATES, CLASSES, BY_GROUP, seed)
    assert set(split.loc[split["label"] == 2, "fold"]) == {"train", "val", "test"}


def test_a_class_of_two_patients_is_an_error_that_names_class_count_and_remedy():
    rows = index_rows(["a", "b", "c", "d", "e", "f", "x", "x", "y"], ["healthy", "sick"] * 3 + ["rare"] * 3)
    with pytest.raises(CovbenchError, match=r"'rare' has 2 groups .* 3 folds .* out of `tasks`"):
        assign_folds(rows, NO_DUPLICATES, CLASSES, BY_GROUP, 1)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    rows = many_patients(3)
    for rule in (BY_GROUP, BY_IMAGE, SplitRule("image", (0.5, 0.3, 0.2), pool=100)):
        first, again, other = (assign_folds(rows, NO_DUPLICATES, CLASSES, rule, seed) for seed in (5, 5, 6))
        pd.testing.assert_frame_equal(first, again)
        assert not first.equals(other)


def test_volumes_of_different_size_are_divided_differently_by_different_seeds():
    rows = index_rows(np.repeat([f"volume{i}" for i in range(20)], range(30, 50)), frame=0, mask="mask.nii")
    divisions = {tuple(assign_folds(rows, NO_DUPLICATES, PIXELS, BY_GROUP, seed)["fold"]) for seed in SEEDS}
    assert len(divisions) == len(SEEDS)


def test_slices_without_diagnosis_are_divided_by_volume_close_to_their_share():
    rows = index_rows(np.repeat([f"volume{i}" for i in range(9)], 92), mask="mask.npy")
    split = assign_folds(rows, NO_DUPLICATES, PIXELS, BY_GROUP, 1)
    assert split.groupby("patient_id")["fold"].nunique().max() == 1
    assert split.groupby("fold")["patient_id"].nunique().sum() == 9
    assert (split["label"] == -1).all()
    assert split["fold"].value_counts(normalize=True)["train"] == pytest.approx(0.6, abs=0.1)


def test_two_volumes_cannot_fill_three_folds():
    with pytest.raises(CovbenchError, match=r"'lesion' has 2 groups"):
        assign_folds(index_rows("aaaabbbb", mask="mask.npy"), NO_DUPLICATES, PIXELS, BY_GROUP, 1)


def test_published_splits_share_patients_and_the_audit_counts_them():
    rows = index_rows(np.repeat([f"p{i}" for i in range(50)], 6), np.repeat(["healthy", "sick"], 150))
    two = Task("two", CLASSIFICATION, ("healthy", "sick"))
    split = assign_folds(rows, NO_DUPLICATES, two, SplitRule("image", (0.75, 0.0, 0.25)), 3)
    test, train = split[split["fold"] == "test"], split[split["fold"] == "train"]
    shared = test["patient_id"].isin(train["patient_id"])
    total = audit_split(split, NO_DUPLICATES, two)[0]
    assert shared.sum() > 60
    assert total["patient_in_train"] == total["leaked"] == shared.sum()
    assert total["image_in_val"] == total["test_images"] == 75
    assert total["image_in_train"] == 0


def test_without_a_val_fraction_the_test_rows_stand_twice():
    # the study's COVID-CT: 349 + 195 images, 408 / 136
    rows = index_rows([f"p{i}" for i in range(544)], ["sick"] * 349 + ["healthy"] * 195)
    split = assign_folds(
        rows, NO_DUPLICATES, Task("two", CLASSIFICATION, ("healthy", "sick")), SplitRule("image", (0.75, 0, 0.25)), 3
    )
    folds = {name: set(part["image_id"]) for name, part in split.groupby("fold")}
    assert {name: len(ids) for name, ids in folds.items()} == {"train": 408, "val": 136, "test": 136}
    assert folds["val"] == folds["test"]
    assert not folds["train"] & folds["test"]
    assert (split[split["fold"] == "test"]["label"] == 1).sum() == 87


def test_too_few_images_of_a_class_are_an_error_that_counts_them():
    rows = index_rows([f"p{i}" for i in range(43)], ["healthy"] * 20 + ["sick"] * 20 + ["rare"] * 3)
    with pytest.raises(CovbenchError, match="rare"):
        assign_folds(rows, NO_DUPLICATES, CLASSES, BY_IMAGE, 1)


def test_the_pool_draws_patients_evenly_and_puts_copies_on_both_sides():
    rows = index_rows(np.repeat([f"volume{i}" for i in range(5)], [10, 40, 40, 40, 40]), mask="mask.nii", frame=0)
    split = assign_folds(rows, NO_DUPLICATES, PIXELS, SplitRule("image", (0.5, 0.3, 0.2), pool=120), 1)
    drawn = split[split["copy"] == 0]
    assert split["fold"].value_counts().to_dict() == {"train": 60, "val": 36, "test": 24}
    counts = drawn["patient_id"].value_counts()
    assert counts.pop("volume0") == 10  # all that it has; the other 50 evenly
    assert counts.between(12, 13).all()
    assert sorted(split.loc[split["copy"] == 1, "image_id"]) == sorted(drawn["image_id"])
    total = audit_split(split, NO_DUPLICATES, PIXELS)[0]
    assert total["augmented_copy_in_train"] > 5
    assert total["image_in_train"] == 0
    assert total["patient_in_train"] == 24


def test_a_pool_larger_than_the_dataset_takes_every_image_once_with_its_copy():
    rows = index_rows(np.repeat(["a", "b", "c"], 10), mask="mask.nii")
    split = assign_folds(rows, NO_DUPLICATES, PIXELS, SplitRule("image", (0.5, 0.3, 0.2), pool=1000), 1)
    assert split.groupby("image_id")["copy"].apply(sorted).map(tuple).unique().tolist() == [(0, 1)]


def test_the_official_split_is_kept_and_what_crosses_it_leaves_training():
    patients = ["a", "a", "b", "c", "d", "e", "f", "g"]
    official = ["train", "test", "train", "val", "test", "train", "val", "test"]
    labels = ["sick", "sick", "healthy", "healthy", "healthy", "sick", "sick", "sick"]
    rows = index_rows(patients, labels, official_fold=official)
    two = Task("two", CLASSIFICATION, ("healthy", "sick"))
    split = assign_folds(rows, NO_DUPLICATES, two, BY_GROUP, 1)
    assert "image0000" not in set(split["image_id"])  # its patient stands in test
    assert dict(zip(split["image_id"], split["fold"], strict=True)) == {
        f"image{i:04d}": official[i] for i in range(1, 8)
    }


def test_an_image_that_the_official_split_does_not_name_leaves_the_folds_of_the_others_as_they_are():
    official = ["train", "", "train", "val", "test", "train", "val", "test"]
    labels = ["sick", "sick", "healthy", "healthy", "healthy", "sick", "sick", "sick"]
    rows = index_rows(["a", "b", "c", "d", "e", "f", "g", "h"], labels, official_fold=official)
    two = Task("two", CLASSIFICATION, ("healthy", "sick"))
    split = assign_folds(rows, NO_DUPLICATES, two, BY_GROUP, 1)
    assert dict(zip(split["image_id"], split["fold"], strict=True)) == {
        f"image{i:04d}": official[i] for i in (0, 2, 3, 4, 5, 6, 7)
    }


def test_an_official_split_of_a_few_rows_is_an_error():
    rows = many_patients(1)
    rows.loc[0, "official_fold"] = "test"
    with pytest.raises(CovbenchError, match=f"the authors' split names 1 of {len(rows)} images"):
        assign_folds(rows, NO_DUPLICATES, CLASSES, BY_GROUP, 1)


def test_split_tables_have_the_agreed_columns_and_types():
    split = assign_folds(many_patients(0), NO_DUPLICATES, CLASSES, BY_IMAGE, 1)
    assert list(split.columns) == list(SPLIT_COLUMNS)
    assert split["copy"].dtype == split["label"].dtype == np.int64


@pytest.mark.parametrize("partition", range(4))
def test_three_seeds_in_a_row_test_every_image_once_and_no_group_crosses_folds(partition):
    rows = many_patients(partition)
    duplicates = some_duplicates(rows, partition)
    splits = [assign_folds(rows, duplicates, CLASSES, IN_PARTS, 3 * partition + part) for part in range(3)]
    tested = [image for split in splits for image in split.loc[split["fold"] == "test", "image_id"]]
    assert sorted(tested) == sorted(rows["image_id"])
    for split in splits:
        assert split.groupby("group")["fold"].nunique().max() == 1
        assert sorted(split["image_id"]) == sorted(rows["image_id"])
        assert [count["leaked"] for count in audit_split(split, duplicates, CLASSES)] == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(12))
def test_parts_keep_their_share_of_images_and_of_each_class(seed):
    rows = many_patients(seed // 3)
    split = assign_folds(rows, NO_DUPLICATES, CLASSES, IN_PARTS, seed)
    shares = split["fold"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"train": 8 / 15, "val": 2 / 15, "test": 1 / 3}, abs=0.05)
    classes = split["label"].value_counts(normalize=True)
    for fold in ("train", "val", "test"):
        found = split.loc[split["fold"] == fold, "label"].value_counts(normalize=True)
        assert found.reindex(classes.index, fill_value=0).to_numpy() == pytest.approx(classes.to_numpy(), abs=0.08)


def test_another_partition_of_three_seeds_divides_otherwise_and_changes_no_earlier_seed():
    rows = many_patients(2)
    first, again, later = (assign_folds(rows, NO_DUPLICATES, CLASSES, IN_PARTS, seed) for seed in (1, 1, 4))
    pd.testing.assert_frame_equal(first, again)
    tested, tested_later = (set(split.loc[split["fold"] == "test", "image_id"]) for split in (first, later))
    assert tested != tested_later


def test_eighteen_volumes_are_all_tested_and_each_seed_holds_six():
    rows = index_rows(np.repeat([f"volume{i:02d}" for i in range(18)], 50), mask="mask.nii", frame=0)
    splits = [assign_folds(rows, NO_DUPLICATES, PIXELS, IN_PARTS, seed) for seed in range(3)]
    tested = [set(split.loc[split["fold"] == "test", "patient_id"]) for split in splits]
    assert [len(patients) for patients in tested] == [6, 6, 6]
    assert len(set.union(*tested)) == 18


def test_too_few_groups_for_parts_are_an_error_that_names_class_count_and_remedy():
    rows = index_rows(["a", "b", "c", "d", "e", "f", "x", "x", "y"], ["healthy", "sick"] * 3 + ["rare"] * 3)
    with pytest.raises(CovbenchError, match=r"'rare' has 2 groups .* 3 folds .* out of `tasks`"):
        assign_folds(rows, NO_DUPLICATES, CLASSES, IN_PARTS, 1)


def test_an_official_split_is_the_same_for_every_seed_and_loses_no_test_row():
    patients = np.repeat([f"p{i}" for i in range(30)], 4)
    official = np.resize(["train"] * 4 + ["val"] * 4 + ["test"] * 4 + ["train", "train", "test", "test"], 120)
    rows = index_rows(patients, np.resize(["healthy", "sick"], 120), official_fold=official)
    two = Task("two", CLASSIFICATION, ("healthy", "sick"))
    splits = [assign_folds(rows, NO_DUPLICATES, two, IN_PARTS, seed) for seed in range(3)]
    assert all(split.equals(splits[0]) for split in splits)
    tested = splits[0].loc[splits[0]["fold"] == "test", "image_id"].tolist()
    assert tested == rows.loc[rows["official_fold"] == "test", "image_id"].tolist()
    assert len(splits[0]) < len(rows)  # patients in two folds lose their training rows


def test_a_split_by_image_names_groups_and_duplicate_sets_but_does_not_keep_them_together():
    rows = index_rows(np.repeat([f"p{i:02d}" for i in range(60)], 2), ["healthy", "healthy", "sick", "sick"] * 30)
    duplicates = pd.DataFrame({"image_id": ["image0000", "image0002"], "other_id": ["image0002", "image0100"]})
    two = Task("two", CLASSIFICATION, ("healthy", "sick"))
    split = assign_folds(rows, duplicates, two, BY_IMAGE, 1).set_index("image_id")
    assert split.loc[["image0000", "image0001", "image0003", "image0101"], "group"].unique().tolist() == ["p00"]
    assert split.loc[["image0000", "image0002", "image0100"], "duplicate_set"].unique().tolist() == ["image0000"]
    assert split.loc["image0001", "duplicate_set"] == "image0001"  # the same patient, another picture
    assert split.groupby("group")["fold"].nunique().max() > 1


def split_under(protocol, task, rows, seed, duplicates=NO_DUPLICATES):
    return assign_folds(rows, duplicates, task, split_rule(protocol, task), seed)


def ids_of(split, *folds):
    return split.loc[split["fold"].isin(folds), "image_id"].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_without_a_published_validation_fold_audited_train_and_val_are_trained_on_and_the_test_fold_validates(seed):
    task = TASKS["sarscov2_ct"]
    rows = many_patients(seed)
    rows["label"] = np.where(rows["label"] == "healthy", "non_covid", "covid")
    duplicates = some_duplicates(rows, seed)
    audited, third = (split_under(name, task, rows, seed, duplicates) for name in (AUDITED, PUBLISHED_AUDITED_SPLIT))
    assert ids_of(third, "test") == ids_of(third, "val") == ids_of(audited, "test")
    assert sorted(ids_of(third, "train")) == sorted(ids_of(audited, "train", "val"))
    assert audit_split(third, duplicates, task)[0]["leaked"] == 0


def test_with_a_published_validation_fold_the_folds_are_those_of_audited():
    task = TASKS["radiography"]
    rows = many_patients(5)
    rows["label"] = rows["label"].map(dict(zip(CLASSES.classes, task.classes, strict=True)))
    audited, third = (split_under(name, task, rows, 4) for name in (AUDITED, PUBLISHED_AUDITED_SPLIT))
    pd.testing.assert_frame_equal(audited, third)


@pytest.mark.parametrize("seed", range(3))
def test_the_pool_is_drawn_from_the_training_side_and_every_audited_test_image_stands_once(seed):
    task = TASKS["zenodo_infection"]
    rows = index_rows(np.repeat([f"volume{i:02d}" for i in range(20)], 90), mask="mask.nii", frame=0)
    audited, third = (split_under(name, task, rows, seed) for name in (AUDITED, PUBLISHED_AUDITED_SPLIT))
    drawn = split_under(PUBLISHED, task, rows, seed)
    assert ids_of(third, "test") == ids_of(audited, "test")
    assert (third.loc[third["fold"] == "test", "copy"] == 0).all()
    for fold in ("train", "val"):
        assert set(ids_of(third, fold)) <= set(ids_of(audited, fold))
        assert len(ids_of(third, fold)) == len(ids_of(drawn, fold))
        assert third.loc[third["fold"] == fold, "copy"].mean() == 0.5  # as many copies as images
    total = audit_split(third, NO_DUPLICATES, task)[0]
    assert total["leaked"] == total["augmented_copy_in_train"] == 0


def test_an_official_split_is_kept_under_the_published_recipe_too():
    task = TASKS["covid_ct"]
    official = ["train"] * 40 + ["val"] * 20 + ["test"] * 20
    rows = index_rows([f"p{i}" for i in range(80)], np.resize(task.classes, 80), official_fold=official)
    third = split_under(PUBLISHED_AUDITED_SPLIT, task, rows, 0)
    assert ids_of(third, "test") == ids_of(third, "val") == rows["image_id"].tolist()[60:]
    assert ids_of(third, "train") == rows["image_id"].tolist()[:60]
