"""The audit on the real samples: planted duplicates, every split, and checks by other means than its own."""

import io
from functools import cache
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.audit.duplicates import SIDE, Thumbnails, find_duplicates, hash_crops
from covbench.audit.groups import group_images
from covbench.audit.leakage import audit_split
from covbench.audit.splits import assign_folds
from covbench.audit.thumbnails import make_thumbnails
from covbench.data.datasets import TASKS, dataset_of, usable_rows
from covbench.data.images import read_image, resize_image
from covbench.protocols import split_rule
from tests.real.test_index import SAMPLES, index_sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here"),
]

NAMES = ("covid_ct", "ieee8023", "medseg", "radiography", "sarscov2_ct", "zenodo")
REAL_TASKS = [name for name in TASKS if not name.startswith("phantom")]


@cache
def audit_sample(name):
    """Usable rows, their thumbnails and the duplicates among them."""
    raw, index = index_sample(name)
    rows = index[~index["excluded"]].reset_index(drop=True)
    thumbnails = make_thumbnails(index, raw, SIDE)
    return rows, thumbnails, find_duplicates(rows, thumbnails, rows, thumbnails)


def plant_duplicates(image, rng):
    """Five disguises of one picture: exact, rescaled, JPEG of quality 50, cropped by 5 % a side, mirrored."""
    height, width = image.shape
    factor = rng.uniform(0.5, 0.8)
    yield image
    yield np.asarray(Image.fromarray(image).resize((round(width * factor), round(height * factor))))
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=50)
    yield np.asarray(Image.open(stream))
    tall, wide = round(height * 0.95), round(width * 0.95)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    yield image[top : top + tall, left : left + wide]
    yield image[:, ::-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_planted_copies_are_found_and_no_others(name):
    rows, thumbnails, known = audit_sample(name)
    raw, _ = index_sample(name)
    rng = np.random.default_rng(20)
    chosen = rng.choice(len(rows), 20, replace=False)
    images, planted = [], []
    for row in rows.iloc[chosen].to_dict("records"):
        image = read_image(raw / row["path"], row["frame"], row["window_low"], row["window_high"], row["orientation"])
        for kind, copy in zip(("exact", "near", "near", "near", "mirrored"), plant_duplicates(image, rng), strict=True):
            sha256 = row["sha256"] if kind == "exact" else f"planted{len(images)}"
            planted.append({**row, "image_id": f"planted{len(images)}", "sha256": sha256, "kind": kind})
            planted[-1]["of"], planted[-1]["patient_id"] = row["image_id"], planted[-1]["image_id"]
            images.append(resize_image(np.ascontiguousarray(copy), SIDE))
    others = pd.DataFrame(planted)
    hashes = np.stack([hash_crops(image) for image in images])
    duplicates = Thumbnails(others["image_id"].to_numpy(str), np.stack(images), hashes, np.zeros((100, 2), int))
    found = find_duplicates(rows, thumbnails, others, duplicates)
    of = others.set_index("image_id")
    hits = found[found["image_id"].to_numpy() == of.loc[found["other_id"], "of"].to_numpy()]
    assert len(hits) == 100
    assert (hits["kind"].to_numpy() == of.loc[hits["other_id"], "kind"].to_numpy()).all()
    # Every other reported pair is in the dataset itself, or shows another slice or view of the same patient.
    # Each was looked at: docs/explanation/audit.md.
    rest = found.drop(hits.index)
    group = pd.Series(group_images(rows, known).to_numpy(), rows["image_id"])
    false = group.loc[rest["image_id"]].to_numpy() != group.loc[of.loc[rest["other_id"], "of"]].to_numpy()
    assert false.sum() == 0


PAIRS_LOOKED_AT = {"covid_ct": 15, "ieee8023": 4, "medseg": 5, "radiography": 0, "sarscov2_ct": 92, "zenodo": 70}


@pytest.mark.parametrize("name", NAMES)
def test_the_pairs_of_the_sample_are_those_that_were_looked_at(name):
    rows, _, duplicates = audit_sample(name)
    assert len(duplicates) == PAIRS_LOOKED_AT[name]
    assert len(duplicates) <= len(rows)


def test_one_picture_of_ieee8023_stands_in_radiography_too_and_no_ct_dataset_shares_any():
    shared = {}
    for one, other in combinations(NAMES, 2):
        if ("ieee8023" in (one, other)) + ("radiography" in (one, other)) != 1:
            found = find_duplicates(*audit_sample(one)[:2], *audit_sample(other)[:2])
            shared |= {(one, other): found["other_id"].tolist()} if len(found) else {}
    assert shared == {("ieee8023", "radiography"): ["covid/COVID-1398.png"]}


def correlate_all(images):
    """Largest correlation of each pair of pictures, shifted by up to 3 of 64 pixels, also mirrored; numpy's FFT alone.

    Every picture is sharpened (less its 9x9 mean) and held against all others by cross-correlation.
    """
    small = np.stack([resize_image(image, 64) for image in images]).astype(np.float32)
    sharp = np.stack([image - cv2.blur(image, (9, 9)) for image in small])[:, 4:-4, 4:-4]
    sharp -= sharp.mean(axis=(1, 2), keepdims=True)
    sharp /= np.linalg.norm(sharp, axis=(1, 2), keepdims=True) + 1e-6
    waves = np.fft.rfft2(sharp)
    mirrored = np.fft.rfft2(sharp[:, :, ::-1])
    best = np.empty((len(images), len(images)), np.float32)
    for number, wave in enumerate(waves):
        both = [np.fft.irfft2(wave * other.conj(), s=sharp.shape[1:]) for other in (waves, mirrored)]
        near = [np.roll(product, (3, 3), axis=(1, 2))[:, :7, :7].max(axis=(1, 2)) for product in both]
        best[number] = np.maximum(*near)
    return best


ALIKE = 0.8


@cache
def correlate_sample(name):
    return correlate_all(audit_sample(name)[1].images)


@pytest.mark.parametrize("task", REAL_TASKS)
def test_audited_splits_leak_nothing_by_the_audits_measure_and_by_an_independent_one(task):
    name = dataset_of(task)
    index, thumbnails, duplicates = audit_sample(name)
    rows = usable_rows(index, TASKS[task])
    for seed in range(3):
        split = assign_folds(rows, duplicates, TASKS[task], split_rule("audited", TASKS[task]), seed)
        assert [count["leaked"] for count in audit_split(split, duplicates, TASKS[task])] == [0] * (
            1 + len(TASKS[task].classes) * (TASKS[task].kind == "classification")
        )
        folds = {fold: split[split["fold"] == fold] for fold in ("train", "val", "test")}
        place = {image: number for number, image in enumerate(thumbnails.image_id)}
        hashes = rows.set_index("image_id")["sha256"]
        for one, other in combinations(folds.values(), 2):
            assert not set(one["patient_id"]) & set(other["patient_id"])
            assert not set(hashes[one["image_id"]]) & set(hashes[other["image_id"]])
            alike = correlate_sample(name)[np.ix_(one["image_id"].map(place), other["image_id"].map(place))]
            assert alike.max() < ALIKE


def test_the_independent_measure_sees_the_leaks_of_a_split_by_image():
    task = TASKS["sarscov2_ct"]
    rows, thumbnails, duplicates = audit_sample("sarscov2_ct")
    split = assign_folds(rows, duplicates, task, split_rule("published", task), 0)
    train, test = (split.loc[split["fold"] == fold, "image_id"] for fold in ("train", "test"))
    place = {image: number for number, image in enumerate(thumbnails.image_id)}
    alike = correlate_sample("sarscov2_ct")[np.ix_(test.map(place), train.map(place))]
    assert (alike.max(axis=1) >= ALIKE).sum() >= 5
    assert audit_split(split, duplicates, task)[0]["near_duplicate_in_train"] >= 5
