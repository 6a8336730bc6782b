"""Annotated copies of the real samples: arrows, boxes, dates and words burnt in, also after a crop."""

import zlib

import cv2
import numpy as np
import pandas as pd
import pytest

from covbench.audit.duplicates import SIDE, Thumbnails, find_duplicates, hash_crops
from covbench.audit.groups import group_images
from covbench.data.images import read_image, resize_image
from tests.real.test_index import SAMPLES, index_sample
from tests.real.test_planted_duplicates import NAMES, audit_sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here"),
]
EACH = 20


def write_words(image, words, at, size):
    """Words at a place of the picture (shares of its width and height), `size` of its height tall."""
    height, width = image.shape
    scale, stroke = size * height / 30, max(1, round(size * height / 8))
    (wide, tall), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    left, bottom = int(at[0] * max(width - wide, 0)), int(at[1] * max(height - tall - below, 0)) + tall
    cv2.putText(image, words, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)


def add_day(image, rng):
    write_words(image, f"day {rng.integers(2, 15)}", rng.choice([0.02, 0.98], 2), rng.uniform(0.06, 0.1))


def add_date(image, rng):
    write_words(image, f"2020-03-{rng.integers(10, 31)}", rng.choice([0.02, 0.98], 2), rng.uniform(0.05, 0.08))


def add_text(image, rng):
    words = ("Figure 2B", "PORTABLE", "AP SUPINE", "COVID-19")[rng.integers(4)]
    write_words(image, words, rng.uniform(0.1, 0.9, 2), rng.uniform(0.06, 0.1))


def add_arrows(image, rng):
    size = np.array(image.shape[::-1])
    for _ in range(3):
        tip, angle = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0, 2 * np.pi)
        tail = tip + rng.uniform(0.1, 0.2) * size.min() * np.array([np.cos(angle), np.sin(angle)])
        ends, ink = [tuple(map(int, end)) for end in (tail, tip)], int(rng.choice([0, 255]))
        cv2.arrowedLine(image, *ends, ink, max(1, round(0.012 * size.min())), cv2.LINE_AA, tipLength=0.35)


def add_boxes(image, rng):
    size = np.array(image.shape[::-1])
    for _ in range(2):
        corner, extent = rng.uniform(0.1, 0.55, 2) * size, rng.uniform(0.2, 0.35, 2) * size
        ends = [tuple(map(int, end)) for end in (corner, corner + extent)]
        cv2.rectangle(image, *ends, 255, max(1, round(0.01 * size.min())), cv2.LINE_AA)


def crop(image, rng):
    height, width = image.shape
    tall, wide = round(height * 0.95), round(width * 0.95)
    top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
    return image[top : top + tall, left : left + wide]


ANNOTATIONS = {"day": add_day, "date": add_date, "text": add_text, "arrows": add_arrows, "boxes": add_boxes}
PLANTED = (*ANNOTATIONS, "crop and text")
FOUND_AT_LEAST = {"ieee8023": 110, "radiography": 110}
"""Of 120. An annotation can move the hash of an X-ray so far that the pair is no candidate."""


def plant_annotation(image, kind, rng):
    """A copy of a picture with one kind of annotation."""
    copy = np.ascontiguousarray(crop(image, rng) if kind.startswith("crop") else image).copy()
    ANNOTATIONS[kind.removeprefix("crop and ")](copy, rng)
    return copy


def is_held_out(name, patient):
    """Whether a patient is in the half of the sample on which no number of audit/duplicates.py was chosen."""
    return zlib.crc32(f"{name}{patient}".encode()) % 2 == 1


@pytest.mark.parametrize("name", NAMES)
def test_annotated_copies_of_pictures_that_chose_no_threshold_are_found_and_no_others(name):
    rows, thumbnails, known = audit_sample(name)
    raw, _ = index_sample(name)
    held_out = rows[[is_held_out(name, patient) for patient in rows["patient_id"]]].sample(EACH, random_state=0)
    rng = np.random.default_rng(15)
    planted, images = [], []
    for row in held_out.to_dict("records"):
        image = read_image(raw / row["path"], row["frame"], row["window_low"], row["window_high"], row["orientation"])
        for kind in PLANTED:
            name_of_copy = f"planted{len(images)}"
            planted.append({**row, "image_id": name_of_copy, "patient_id": name_of_copy, "sha256": name_of_copy})
            planted[-1] |= {"of": row["image_id"]}
            images.append(resize_image(plant_annotation(image, kind, rng), SIDE))
    others = pd.DataFrame(planted)
    hashes = np.stack([hash_crops(image) for image in images])
    copies = Thumbnails(others["image_id"].to_numpy(str), np.stack(images), hashes, np.zeros((len(images), 2), int))
    found = find_duplicates(rows, thumbnails, others, copies)
    of = others.set_index("image_id")["of"]
    hits = found[found["image_id"].to_numpy() == of.loc[found["other_id"]].to_numpy()]
    assert set(hits["kind"]) == {"near", "annotated"}
    assert len(hits) >= FOUND_AT_LEAST.get(name, len(images) - 2)
    rest = found.drop(hits.index)
    group = pd.Series(group_images(rows, known).to_numpy(), rows["image_id"])
    false = group.loc[rest["image_id"]].to_numpy() != group.loc[of.loc[rest["other_id"]]].to_numpy()
    assert false.sum() == 0
