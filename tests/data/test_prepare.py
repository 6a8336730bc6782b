"""One array per task and size, decoded once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.datasets import usable_rows
from covbench.data.index import build_index
from covbench.data.prepare import prepare_images, prepare_masks, prepare_native_masks, split_grid
from covbench.data.resizing import RESIZES
from covbench.experiment.plan import prepared_paths
from covbench.schema import CLASSIFICATION, INDEX_COLUMNS, SEGMENTATION, CovbenchError, Task

BINARY = Task("b", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
LESIONS = Task("l", SEGMENTATION, ("background", "lung", "lesion"), lesions=("lesion",))


def save_grey(path: Path, value: int, shape: tuple[int, int] = (20, 30)) -> None:
    values = np.full(shape, value, np.uint8)
    values[0, 0] += 1  # a picture of one grey is excluded
    Image.fromarray(values).save(path)


def picture(name: str, label: str = "covid", **cells: object) -> dict[str, object]:
    return {"image_id": name, "path": name, "label": label, "modality": "xray", **cells}


def test_the_array_holds_the_usable_images_in_index_order(tmp_path):
    for name, value in (("c.png", 30), ("a.png", 10), ("b.png", 20), ("d.png", 40)):
        save_grey(tmp_path / name, value)
    rows = [
        picture("c.png"),
        picture("a.png", "non_covid"),
        picture("b.png", reason="lateral view"),
        picture("d.png", "lung_opacity"),
    ]
    index = build_index(rows, tmp_path)
    table = prepare_images(index, tmp_path, BINARY, 8, tmp_path / "out" / "images.npy")
    images = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    assert images.dtype == np.uint8
    assert images.shape == (2, 8, 8)
    assert images[:, 4, 4].tolist() == [30, 10]
    assert table.to_dict("list") == {
        "image_id": ["c.png", "a.png"],
        "label": [1, 0],
        "height": [20, 20],
        "width": [30, 30],
    }
    assert table["label"].dtype == np.int64


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        (
            "antialias",
            [255 * 0.5 / 3.5, 255 * 2.125 / 4, 255 * 1.75 / 4, 255 * 3.125 / 3.5],
        ),  # over eight columns
        ("linear", [0, 127.5, 127.5, 255]),  # the two columns in the middle of each four
        ("nearest", [0, 0, 255, 255]),
    ],
)
def test_stripes_shrink_as_the_name_of_the_resizing_says(tmp_path, resize, expected):
    columns = 255 * np.array([0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1], np.uint8)
    Image.fromarray(np.tile(columns, (16, 1))).save(tmp_path / "a.png")
    index = build_index([picture("a.png")], tmp_path)
    prepare_images(index, tmp_path, BINARY, 4, tmp_path / "images.npy", resize)
    assert np.load(tmp_path / "images.npy")[0, 2] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("size", [224, 32])
@pytest.mark.parametrize("resize", RESIZES)
def test_the_folder_of_prepared_arrays_names_size_and_resizing(size, resize):
    folder = Path(prepared_paths("covid_ct", size, resize)["images"]).parent.name
    assert split_grid(folder) == (size, resize)


def make_stack(folder: Path) -> pd.DataFrame:
    """Three slices of 4x6, shown from 0 to 100 HU; lesion values grow with the frame, frame 1 is not to be used."""
    slices = np.stack([np.full((4, 6), value, np.float32) for value in (-50, 50, 100)])
    slices[:, -1, -1] = 30  # a slice of one grey is excluded
    np.save(folder / "x.npy", slices)
    np.save(folder / "m.npy", np.stack([np.full((4, 6), value, np.uint8) for value in (0, 1, 2)]))
    rows = [
        {
            "image_id": f"x.npy#{frame}",
            "path": "x.npy",
            "frame": frame,
            "mask": "m.npy",
            "mask_values": "1:lung 2:lesion",
            "window_low": 0.0,
            "window_high": 100.0,
            "reason": "shows no lung" if frame == 1 else "",
        }
        for frame in (2, 1, 0)
    ]
    return build_index(rows, folder)


def test_masks_stand_in_the_order_of_their_images(tmp_path):
    index = make_stack(tmp_path)
    table = prepare_images(index, tmp_path, LESIONS, 2, tmp_path / "images.npy")
    prepare_masks(index, tmp_path, LESIONS, 2, tmp_path / "masks.npy")
    assert np.load(tmp_path / "images.npy")[:, 0, 0].tolist() == [255, 0]
    assert np.load(tmp_path / "masks.npy")[:, 0, 0].tolist() == [2, 0]
    assert table["label"].tolist() == [-1, -1]
    assert table["image_id"].tolist() == ["x.npy#2", "x.npy#0"]


def test_native_masks_stand_in_the_same_order_on_the_stored_grid(tmp_path):
    prepare_native_masks(make_stack(tmp_path), tmp_path, LESIONS, tmp_path / "native_masks.npz")
    with np.load(tmp_path / "native_masks.npz") as masks:
        assert list(masks) == ["0", "1"]
        assert np.array_equal(masks["0"], np.full((4, 6), 2))
        assert np.array_equal(masks["1"], np.zeros((4, 6)))
        assert masks["0"].dtype == np.uint8


def test_an_unreadable_mask_leaves_no_native_masks(tmp_path):
    index = make_stack(tmp_path)
    (tmp_path / "m.npy").write_bytes(b"nothing")
    with pytest.raises(CovbenchError, match=r"m\.npy"):
        prepare_native_masks(index, tmp_path, LESIONS, tmp_path / "native_masks.npz")
    assert not (tmp_path / "native_masks.npz").exists()


def test_a_mask_is_turned_as_its_image_is(tmp_path):
    lying = np.zeros((6, 4), np.uint8)
    lying[5, 0] = 200  # left, front
    Image.fromarray(lying).save(tmp_path / "a.png")
    Image.fromarray((lying > 0).astype(np.uint8)).save(tmp_path / "m.png")
    cells = {"mask": "m.png", "mask_values": "1:lesion", "orientation": "LP"}
    index = build_index([picture("a.png", "", **cells)], tmp_path)
    prepare_images(index, tmp_path, LESIONS, 12, tmp_path / "images.npy")
    prepare_masks(index, tmp_path, LESIONS, 12, tmp_path / "masks.npy")
    image, mask = np.load(tmp_path / "images.npy")[0], np.load(tmp_path / "masks.npy")[0]
    assert np.unravel_index(image.argmax(), image.shape) == (0, 11)
    assert mask[0, 11] == 2
    assert (mask > 0).sum() == 3 * 2


def test_every_broken_file_is_named_at_once_and_nothing_is_left_behind(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_grey(tmp_path / name, 9, (200, 200))
    index = build_index([picture(name) for name in ("a.png", "b.png", "c.png")], tmp_path)
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    before = set(tmp_path.iterdir())
    with pytest.raises(CovbenchError, match=r"2 files in .*\n.*a\.png.*\n.*c\.png[\s\S]*fetch again"):
        prepare_images(index, tmp_path, BINARY, 8, tmp_path / "images.npy")
    assert set(tmp_path.iterdir()) == before


def test_a_task_without_a_usable_row_is_an_error(tmp_path):
    save_grey(tmp_path / "a.png", 1)
    index = build_index([picture("a.png", "lung_opacity")], tmp_path)
    with pytest.raises(CovbenchError, match="task b: the index has no usable row"):
        prepare_images(index, tmp_path, BINARY, 8, tmp_path / "images.npy")


def test_usable_rows_need_a_label_of_the_task_or_a_mask():
    rows = {
        "image_id": ["a", "b", "c", "d"],
        "label": ["covid", "other", "covid", ""],
        "mask": ["", "", "", "m"],
        "excluded": [False, False, True, False],
    }
    index = pd.DataFrame(rows)
    assert usable_rows(index, BINARY)["image_id"].tolist() == ["a"]
    assert usable_rows(index, LESIONS)["image_id"].tolist() == ["d"]


def test_the_index_has_every_column_with_its_type(tmp_path):
    save_grey(tmp_path / "a.png", 1)
    index = build_index([picture("a.png"), picture("gone.png", reason="file missing")], tmp_path)
    assert {name: str(kind) for name, kind in index.dtypes.items()} == {n: c.dtype for n, c in INDEX_COLUMNS.items()}
    assert index["patient_id"].tolist() == ["a.png", "gone.png"]
    assert index["excluded"].tolist() == [False, True]
    assert [len(value) for value in index["sha256"]] == [64, 0]
    assert [len(value) for value in index["phash"]] == [16, 0]


def test_masks_of_another_shape_truncated_images_and_strange_values_are_all_listed(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save_grey(tmp_path / name, 5, (60, 60))
    Image.new("L", (20, 20), 0).save(tmp_path / "small.png")
    Image.new("L", (60, 60), 7).save(tmp_path / "odd.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "c.png").read_bytes()[:50])
    masks = {"a.png": "small.png", "b.png": "odd.png", "c.png": "odd.png"}
    rows = [picture(name, mask=mask, mask_values="1:lesion") for name, mask in masks.items()]
    with pytest.raises(CovbenchError) as caught:
        build_index(rows, tmp_path)
    message = str(caught.value)
    assert message.startswith("3 files in ")
    assert "mask is (20, 20), its image (60, 60)" in message
    assert "odd.png: mask values 7 are not declared" in message
    assert "c.png: cannot be read" in message


def test_a_broken_file_that_is_excluded_anyway_is_no_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    index = build_index([picture("a.png", reason="lateral view")], tmp_path)
    assert index["phash"].tolist() == [""]


def test_of_very_many_broken_files_fifty_are_listed_and_the_rest_counted(tmp_path):
    for number in range(53):
        (tmp_path / f"{number:02d}.png").write_bytes(b"not a picture")
    with pytest.raises(CovbenchError, match=r"53 files in [\s\S]*and 3 more") as caught:
        build_index([picture(f"{number:02d}.png") for number in range(53)], tmp_path)
    assert str(caught.value).count("cannot be read") == 50


def test_slices_are_hashed_by_their_pixels_so_that_copies_in_other_files_are_found(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (3, 16, 16)).astype(np.uint8)
    np.save(tmp_path / "a.npy", stack)
    np.save(tmp_path / "b.npy", stack[::-1])
    rows = [
        {"image_id": f"{name}#{frame}", "path": name, "frame": frame, "label": "covid"}
        for name in ("a.npy", "b.npy")
        for frame in range(3)
    ]
    sha = build_index(rows, tmp_path)["sha256"].tolist()
    assert sha[:3] == sha[:2:-1]
    assert len(set(sha)) == 3
