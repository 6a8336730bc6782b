"""The index of the real samples, against counts made from the files with csv, unzip and Pillow alone."""

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covbench.data.datasets import DATASETS, TASKS
from covbench.data.images import read_image
from covbench.data.inspection import image_orientation
from covbench.data.masks import read_mask
from covbench.data.prepare import prepare_images, prepare_masks

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here")


@cache
def index_sample(name: str, root: Path = SAMPLES):
    (raw,) = [root / folder for folder in DATASETS[name].CARD.mirror_folders if (root / folder).is_dir()]
    return raw, DATASETS[name].index(raw)


def count_usable(table) -> dict[str, int]:
    return dict(Counter(table.loc[~table["excluded"], "label"]))


def count_patients(table, label: str) -> int:
    return table.loc[~table["excluded"] & (table["label"] == label), "patient_id"].nunique()


@pytest.fixture(scope="module")
def derived(tmp_path_factory):
    """The two segmentation sets as .npy and NIfTI, written from the pictures by the samples' own script."""
    out = tmp_path_factory.mktemp("derived")
    script = SAMPLES / "make_derived_layouts.py"
    subprocess.run([sys.executable, str(script), str(out)], check=True, capture_output=True)
    return out


def test_ieee8023():
    _, table = index_sample("ieee8023")
    assert len(table) == 751
    assert count_usable(table) == {"covid": 119, "non_covid": 72}
    assert (count_patients(table, "covid"), count_patients(table, "non_covid")) == (75, 44)
    assert table.loc[~table["excluded"], "patient_id"].nunique() == 112  # seven have images of both classes
    views = Counter(table.loc[~table["excluded"], "view"])
    assert views == {"PA": 140, "AP": 27, "AP Supine": 24}
    reasons = Counter(re.sub(r" \(first.*", "", reason) for reason in table.loc[table["excluded"], "reason"])
    assert reasons == {
        "file missing": 347,
        "CT, not an X-ray": 84,
        "lateral view": 57,
        "view unknown": 39,
        "finding unknown": 28,
        "file listed again under another patient": 5,
    }


def test_covid_ct():
    _, table = index_sample("covid_ct")
    assert count_usable(table) == {"covid": 201, "non_covid": 200}
    assert (count_patients(table, "covid"), count_patients(table, "non_covid")) == (115, 73)
    assert not table["excluded"].any()
    folds = Counter(zip(table["label"], table["official_fold"], strict=True))
    assert folds == {
        ("covid", "train"): 102,
        ("covid", "val"): 43,
        ("covid", "test"): 56,
        ("non_covid", "train"): 118,
        ("non_covid", "val"): 28,
        ("non_covid", "test"): 54,
    }
    assert (table.groupby("patient_id")["official_fold"].nunique() == 1).all()


def test_radiography():
    _, table = index_sample("radiography")
    assert count_usable(table) == {"covid": 150, "normal": 150, "viral_pneumonia": 150}
    assert len(table) == 450
    assert table["patient_id"].is_unique


def test_sarscov2_ct_finds_the_patients_that_one_sees_in_the_first_91_slices():
    _, table = index_sample("sarscov2_ct")
    assert count_usable(table) == {"covid": 160, "non_covid": 160}
    covid = table[table["label"] == "covid"].reset_index(drop=True)
    lengths = covid.loc[:90].groupby("patient_id", sort=False).size().tolist()
    # Looked at: slice 1, then 2-11, 12-66 (two scans of one patient), 67-91; slice 1 alone is not told from the next.
    assert lengths == [11, 55, 25]
    assert covid.loc[91:, "patient_id"].nunique() == 69  # single numbers, far apart


def test_medseg():
    raw, table = index_sample("medseg")
    usable = table[~table["excluded"]]
    assert (len(table), len(usable), usable["patient_id"].nunique()) == (196, 98, 98)
    assert set(table.loc[table["excluded"], "reason"]) == {"the same slice is there with more classes"}
    assert set(usable["sha256"]) == set(table.loc[table["excluded"], "sha256"])
    folder = raw / "COVID-SemiSeg" / "Dataset"
    truth = sum(
        np.bincount(np.asarray(Image.open(path)).ravel(), minlength=3)
        for path in folder.glob("*/MultiClassInfection-*/GT/*.png")
    )
    assert np.array_equal(count_pixels(raw, usable, TASKS["medseg_multiclass"].classes)[:3], truth)


def test_zenodo():
    raw, table = index_sample("zenodo")
    assert len(table) == 456
    assert not table["excluded"].any()
    assert Counter(table["source"]) == {"coronacases": 240, "radiopaedia": 216}
    assert table["patient_id"].nunique() == 18  # 20 volumes; cases 10 and 29 of Radiopaedia have two each
    assert table["path"].str.extract(r"Data-1_(.*)_\d+\.jpg")[0].nunique() == 20
    masks = [np.asarray(Image.open(path)) for path in (raw / "Inf-Net-slices" / "GT").iterdir()]
    infected = sum(int((mask >= 128).sum()) for mask in masks)
    assert count_pixels(raw, table, TASKS["zenodo_infection"].classes)[1] == infected


def count_pixels(raw: Path, table, classes: tuple[str, ...]) -> np.ndarray:
    counts = np.zeros(len(classes), np.int64)
    for row in table.to_dict("records"):
        mask = read_mask(raw / row["mask"], row["frame"], row["mask_values"], classes, image_orientation(row, raw))
        counts += np.bincount(mask.ravel(), minlength=len(classes))
    return counts


def shows_the_same(raw: Path, row: dict, other: Path, twin: dict, classes: tuple[str, ...]) -> bool:
    """Whether a picture and its mask are found again, turned alike, in the padded canvas of the derived twin."""
    same = True
    for kind in ("image", "mask"):
        small, large = (_read(kind, folder, cells, classes) for folder, cells in ((raw, row), (other, twin)))
        (height, width), (tall, wide) = small.shape, large.shape
        offsets = [
            (top, left)
            for top in ((tall - height) // 2, (tall - height + 1) // 2)
            for left in ((wide - width) // 2, (wide - width + 1) // 2)
        ]
        same &= any(np.array_equal(large[t : t + height, e : e + width], small) for t, e in offsets)
    return same


def _read(kind: str, raw: Path, row: dict, classes: tuple[str, ...]) -> np.ndarray:
    if kind == "mask":
        return read_mask(raw / row["mask"], row["frame"], row["mask_values"], classes, image_orientation(row, raw))
    return read_image(raw / row["path"], row["frame"], row["window_low"], row["window_high"], row["orientation"])


@pytest.mark.parametrize("form", ["npy", "nifti"])
def test_medseg_in_its_upstream_forms_shows_the_same_slices_upright(derived, tmp_path, form):
    raw, pictures = index_sample("medseg")
    folder = derived / "covid-segmentation"
    copy = tmp_path / "covid-segmentation"
    copy.mkdir()
    for path in folder.glob("*.npy" if form == "npy" else "*.nii.gz"):
        (copy / path.name).hardlink_to(path)  # an index refuses links that lead out of its folder
    _, table = index_sample("medseg", tmp_path)
    assert (len(table), table["excluded"].sum()) == (98, 0)
    order = pictures[~pictures["excluded"]].assign(test=lambda t: t["path"].str.contains("TestingSet"))
    twins = order.sort_values("test", kind="stable").to_dict("records")
    classes = TASKS["medseg_multiclass"].classes
    for number in (0, 49, 50, 97):
        assert shows_the_same(raw, twins[number], copy, table.to_dict("records")[number], classes)


def test_zenodo_as_nifti_shows_the_same_slices_upright(derived):
    raw, pictures = index_sample("zenodo")
    folder, table = index_sample("zenodo", derived)
    assert (len(table), table["patient_id"].nunique(), table["excluded"].sum()) == (456, 18, 0)
    assert table["patient_id"].tolist() == pictures["patient_id"].tolist()
    classes = TASKS["zenodo_infection"].classes
    for number in (0, 239, 240, 455):
        twin = table.to_dict("records")[number]
        assert shows_the_same(raw, pictures.to_dict("records")[number], folder, twin, classes)


@pytest.mark.parametrize("task", [name for name in TASKS if not name.startswith("phantom")])
def test_every_task_is_prepared(tmp_path, task):
    name = next(name for name, module in DATASETS.items() if TASKS[task] in module.CARD.tasks)
    raw, table = index_sample(name)
    rows = prepare_images(table, raw, TASKS[task], 32, tmp_path / "images.npy")
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == (len(rows), 32, 32)
    assert (images.reshape(len(rows), -1).std(axis=1) > 5).all()  # none is blank
    if TASKS[task].lesions:
        prepare_masks(table, raw, TASKS[task], 32, tmp_path / "masks.npy")
        masks = np.load(tmp_path / "masks.npy")
        assert masks.shape == images.shape
        assert set(np.unique(masks)) <= set(range(len(TASKS[task].classes)))
        assert masks.any()
    else:
        assert set(rows["label"]) == set(range(len(TASKS[task].classes)))
