"""Copies among drawn images, each one unlike the others in its fine detail, as people are."""

import io
import tracemalloc

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.audit import duplicates
from covbench.audit.alignment import SIDE, align_detail, correlate_blocks, correlate_whole
from covbench.audit.duplicates import ALIKE, BOXES, STROKE, Thumbnails, find_duplicates, hash_crops
from covbench.audit.thumbnails import make_thumbnails, read_thumbnails, write_thumbnails
from covbench.audit.window_search import search_windows
from covbench.data.images import resize_image
from covbench.system.files import hash_file

SIZE = 220


def draw_image(seed):
    """Clouds over several scales on a shape that all images share: uint8, (SIZE, SIZE)."""
    rng = np.random.default_rng(seed)
    across = np.linspace(-1, 1, SIZE)
    image = 60.0 * (across[:, None] ** 2 + across**2 < 0.7)
    for cells, depth in ((6, 30), (14, 25), (30, 20), (60, 10)):
        small = Image.fromarray(rng.normal(0, depth, (cells, cells)).astype(np.float32))
        image += np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return np.clip(image + 90, 0, 255).astype(np.uint8)


def compress(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


PLANTED = {
    "half the size": lambda image: resize_image(image, SIZE // 2),
    "squashed": lambda image: np.asarray(Image.fromarray(image).resize((SIZE, SIZE * 3 // 4))),
    "JPEG quality 50": lambda image: compress(image, 50),
    "5 % cropped at one corner": lambda image: image[SIZE // 20 :, SIZE // 20 :],
    "5 % cropped at every edge": lambda image: image[SIZE // 20 : -SIZE // 20, SIZE // 20 : -SIZE // 20],
    "darker": lambda image: (image * 0.7).astype(np.uint8),
}


def shrink(images, ids=None):
    """Rows of an index and thumbnails of some images; equal pixels have equal sha256."""
    small = np.stack([resize_image(image, SIDE) for image in images])
    ids = np.array(ids if ids is not None else [f"i{number:02d}" for number in range(len(images))])
    rows = pd.DataFrame({"image_id": ids, "patient_id": ids, "frame": -1})
    rows["sha256"] = [str(hash(image.tobytes())) for image in images]
    shapes = np.array([image.shape for image in images])
    return rows, Thumbnails(ids, small, np.stack([hash_crops(image) for image in small]), shapes)


def find_within(images, **columns):
    rows, thumbnails = shrink(images)
    found = find_duplicates(rows.assign(**columns), thumbnails, rows.assign(**columns), thumbnails)
    return [tuple(pair) for pair in found[["image_id", "other_id", "kind"]].to_numpy()], found


@pytest.mark.parametrize("name", PLANTED)
def test_a_copy_is_found_whatever_was_done_to_it_also_mirrored_and_nothing_else(name):
    images = [draw_image(seed) for seed in range(12)]
    copy = PLANTED[name](images[7])
    pairs, found = find_within([*images, copy, np.ascontiguousarray(PLANTED[name](images[3])[:, ::-1])])
    assert pairs == [("i03", "i13", "mirrored"), ("i07", "i12", "near")]
    assert (found["correlation"] > 0.9).all()


def test_exact_copies_are_exact_and_named_once():
    images = [draw_image(seed) for seed in range(4)]
    pairs, found = find_within([*images, images[1], images[1]])
    assert pairs == [("i01", "i04", "exact"), ("i01", "i05", "exact"), ("i04", "i05", "exact")]
    assert (found["correlation"] == 1).all()


def test_copies_between_two_datasets_are_found_whichever_of_the_two_is_cropped():
    images = [draw_image(seed) for seed in range(6)]
    crop = PLANTED["5 % cropped at every edge"]
    one, other = (
        shrink([*images[:3], crop(images[4])], list("abcd")),
        shrink([crop(images[0]), *images[3:]], list("wxyz")),
    )
    found = find_duplicates(*one, *other)
    assert found[["image_id", "other_id", "kind"]].to_numpy().tolist() == [["a", "w", "near"], ["d", "y", "near"]]


def test_blocks_change_nothing(monkeypatch):
    images = [draw_image(seed) for seed in range(9)]
    images += [PLANTED["JPEG quality 50"](images[seed]) for seed in (0, 4, 8)]
    whole, _ = find_within(images)
    monkeypatch.setattr(duplicates, "BLOCK", 2)
    assert find_within(images)[0] == whole == [("i00", "i09", "near"), ("i04", "i10", "near"), ("i08", "i11", "near")]


def test_hashes_that_differ_in_every_bit_are_no_candidates():
    """256 differing bits must not be counted as 0, as a number of eight bits would."""
    bits = np.random.default_rng(0).integers(0, 256, (1, 13, 32), np.uint8)
    image = resize_image(draw_image(0), SIDE)
    small = Thumbnails(np.array(["a", "b"]), np.stack([image] * 2), np.concatenate([bits, ~bits]), np.zeros((2, 2)))
    assert duplicates.find_candidates(small, small) == []


def test_the_search_for_candidates_needs_less_memory_than_the_thumbnails():
    rng = np.random.default_rng(0)
    images, hashes = (rng.integers(0, 256, shape, np.uint8) for shape in ((1500, SIDE, SIDE), (1500, 13, 32)))
    small = Thumbnails(np.arange(1500).astype(str), images, hashes, np.zeros((1500, 2)))
    tracemalloc.start()
    duplicates.find_candidates(small, small)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.nbytes / 2


def test_blank_images_equal_though_they_are_have_no_copies():
    assert find_within([np.full((SIZE, SIZE), 9, np.uint8)] * 3 + [draw_image(1)])[0] == []


def test_slices_of_one_patients_volume_are_no_pair_but_slices_of_a_stack_without_patients_are():
    image = draw_image(1)
    neighbours = [image, PLANTED["JPEG quality 50"](image)]
    assert find_within(neighbours, frame=[4, 5], patient_id="p1")[0] == []
    assert find_within(neighbours, frame=[4, 5])[0] == [("i00", "i01", "near")]


def test_images_of_the_same_anatomy_that_differ_in_detail_do_not_correlate():
    one, other = (resize_image(draw_image(seed), SIDE) for seed in (1, 2))
    assert correlate_whole(*align_detail(one, one)) == pytest.approx(1)
    assert abs(correlate_whole(*align_detail(one, other))) < 0.5


def annotate(image):
    """Burn a date, an arrow and a box into a copy of an image."""
    image = image.copy()
    cv2.putText(image, "2020-03-14", (8, SIZE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    cv2.arrowedLine(image, (40, 60), (90, 90), 255, 3, tipLength=0.4)
    cv2.rectangle(image, (120, 70), (180, 140), 255, 2)
    return image


def test_an_annotated_copy_is_found_also_mirrored_though_its_whole_no_longer_correlates():
    images = [draw_image(seed) for seed in range(8)]
    mirrored = np.ascontiguousarray(annotate(images[2])[:, ::-1])
    pairs, found = find_within([*images, annotate(images[5]), mirrored])
    assert pairs == [("i02", "i09", "annotated"), ("i05", "i08", "annotated")]
    assert (found["correlation"] >= 0.95).all()
    small = [resize_image(image, SIDE) for image in (images[5], annotate(images[5]))]
    assert correlate_whole(*align_detail(*small)) < 0.85


def test_pictures_that_are_alike_only_without_strokes_are_candidates_too():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (4, 13, 256), np.uint8)
    bits[:, duplicates.SMOOTH] = bits[0, duplicates.SMOOTH]
    bits[1, duplicates.SMOOTH, :50] ^= 1
    bits[2, duplicates.SMOOTH, 50:102] ^= 1  # 52 bits from the first, 102 from the second
    bits[3, duplicates.SMOOTH, 102:] ^= 1
    images = rng.integers(0, 256, (4, SIDE, SIDE), np.uint8)
    small = Thumbnails(np.array([*"abcd"]), images, np.packbits(bits, axis=2), np.zeros((4, 2), int))
    alike = duplicates.Candidate(0, 1, "near", crop=0, cropped="two")
    assert duplicates.find_candidates(small, small) == [alike]
    again = Thumbnails(*vars(small).values())
    bits[0, 4] = bits[1, 0]  # also a crop, which says more about where to start
    small = Thumbnails(small.image_id, images, np.packbits(bits, axis=2), small.shapes)
    assert duplicates.find_candidates(small, small) == [duplicates.Candidate(0, 1, "near", crop=4, cropped="one")]
    pairs = {(found.one, found.two) for found in duplicates.find_candidates(again, Thumbnails(*vars(again).values()))}
    assert pairs == {(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0)}


def test_pairs_without_similar_windows_are_not_aligned_and_the_table_is_as_if_all_were(monkeypatch):
    images = [draw_image(seed) for seed in range(10)]
    images += [annotate(images[1]), PLANTED["squashed"](images[2]), np.ascontiguousarray(images[3][:, ::-1])]
    monkeypatch.setattr(duplicates, "RADIUS", 110)
    aligned = []

    def count(*arguments, **options):
        aligned.append(arguments)
        return align_detail(*arguments, **options)

    monkeypatch.setattr(duplicates, "align_detail", count)
    _, found = find_within(images)
    few = len(aligned)
    monkeypatch.setattr(duplicates, "ALIKE", -1.0)
    _, found_by_aligning_all = find_within(images)
    assert sorted(found["kind"]) == ["annotated", "mirrored", "near"]
    pd.testing.assert_frame_equal(found, found_by_aligning_all)
    assert len(aligned) - few > 10 * few


@pytest.mark.parametrize("name", [*PLANTED, "annotated"])
def test_windows_of_a_duplicate_are_far_more_alike_than_asked_for_and_those_of_others_are_not(name):
    disguise = PLANTED.get(name, annotate)
    images = [resize_image(draw_image(seed), SIDE) for seed in range(4)]
    duplicate = resize_image(disguise(draw_image(0)), SIDE)
    crops = {"5 % cropped at one corner": (0.05, 0.05, 1.0, 1.0), "5 % cropped at every edge": duplicates.BOXES[-1]}
    box = crops.get(name, duplicates.BOXES[0])
    assert search_windows(duplicate, images[0], box) > ALIKE + 0.1
    assert max(search_windows(duplicate, other, box) for other in images[1:]) < ALIKE - 0.1


def test_windows_that_show_nothing_are_not_alike():
    image = resize_image(draw_image(0), SIDE)
    blank = np.full_like(image, 90)
    assert max(search_windows(*pair) for pair in ((image, blank), (blank, image), (blank, blank))) < 0.2


def test_two_images_with_the_same_annotation_are_no_pair():
    assert find_within([annotate(draw_image(seed)) for seed in range(6)])[0] == []


def test_the_median_counts_only_blocks_that_both_images_show_and_that_lie_in_the_overlap():
    rng = np.random.default_rng(0)
    one = rng.normal(0, 5, (SIDE, SIDE)).astype(np.float32)
    two, everywhere = one.copy(), np.ones((SIDE, SIDE), bool)
    two[:, :56] = rng.normal(0, 5, (SIDE, 56))  # 7 of 16 columns of blocks are other noise
    assert correlate_blocks(one, two, everywhere) > 0.999
    two[:, 56:72] = rng.normal(0, 5, (SIDE, 16))  # now 9 of 16
    assert abs(correlate_blocks(one, two, everywhere)) < 0.5
    right = everywhere.copy()
    right[:, :71] = False  # block 8 is cut in two, so that only the last 7 columns of blocks count
    assert correlate_blocks(one, two, right) > 0.999
    one[:, :72] = 0
    assert correlate_blocks(one, two, everywhere) > 0.999  # where one is blank, nothing can be compared
    one[64:], one[:, :80] = 0, 0  # 8 x 6 = 48 blocks are left
    assert correlate_blocks(one, two, everywhere) == 0


def hash_one_by_one(image):
    """imagehash's own hash of each view, as hash_crops defines them."""
    edges = np.round(np.array(BOXES) * SIDE).astype(int).tolist()
    views = [image[top:bottom, left:right] for top, left, bottom, right in edges]
    views += [image[:, ::-1], cv2.medianBlur(image, STROKE)]
    pictures = [Image.fromarray(np.ascontiguousarray(view)) for view in views]
    return np.stack([np.packbits(imagehash.phash(picture, hash_size=16).hash) for picture in pictures])


def draw_odd_images():
    """Thumbnails whose cosines are often equal or zero: flat, striped, symmetric, a square, noise."""
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.uint8) * 2, (SIDE, SIDE)).copy()
    square = np.zeros((SIDE, SIDE), np.uint8)
    square[40:90, 30:100] = 255
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    flat = [np.full((SIDE, SIDE), value, np.uint8) for value in (0, 7, 128, 255)]
    stripes = np.where(ramp // 16 % 2, 255, 0).astype(np.uint8)
    return [*flat, ramp, ramp.T.copy(), stripes, square, np.maximum(ramp, ramp[:, ::-1]), noise, noise // 128 * 255]


def test_all_views_hashed_together_have_the_bits_that_imagehash_gives_each():
    images = [resize_image(draw_image(seed), SIDE) for seed in range(20)] + draw_odd_images()
    for image in images:
        assert np.array_equal(hash_crops(image), hash_one_by_one(image))


def test_thumbnails_follow_the_index_skip_what_is_excluded_and_come_back_from_disk(tmp_path):
    images = [draw_image(seed)[:150] for seed in range(3)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    index = pd.DataFrame({"image_id": ["b", "gone", "a"], "path": ["2.png", "x.png", "0.png"], "frame": -1})
    index = index.assign(window_low=np.nan, window_high=np.nan, orientation="", excluded=[False, True, False])
    index["sha256"] = [hash_file(tmp_path / "2.png"), "", hash_file(tmp_path / "0.png")]
    write_thumbnails(tmp_path / "small.npz", make_thumbnails(index, tmp_path, SIDE))
    small = read_thumbnails(tmp_path / "small.npz")
    assert small.image_id.tolist() == ["b", "a"]
    assert small.shapes.tolist() == [[150, SIZE], [150, SIZE]]
    assert np.array_equal(small.images[1], resize_image(images[0], SIDE))
    assert np.array_equal(small.hashes[1], hash_crops(small.images[1]))
