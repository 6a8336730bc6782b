"""Volumes, stacks and masks that claim what they do not hold: each is read right or refused with its name."""

import gzip
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from covbench.data.datasets.zenodo import index
from covbench.data.images import read_images
from covbench.data.index import build_index
from covbench.data.inspection import read_row_masks
from covbench.data.masks import number_classes, read_mask
from covbench.data.volumes import check_whole, count_frames, read_frames
from covbench.data.windows import DISPLAY, HU, detect_scale
from covbench.schema import CovbenchError

from .picture_files import LPS, cut, write_bytes, write_exif, write_image, write_nifti, write_png, write_tiff

CLASSES = ("background", "right_lung", "left_lung", "infection")
VALUES = "1:left_lung 2:right_lung 3:infection"
THRESHOLD = "128-255:infection"
AIR, BODY, LUNG, LESION = -1000, 40, -850, -300


def draw_chest() -> tuple[np.ndarray, np.ndarray]:
    """HU, int16, and labels, uint8, both (14, 12, 4) in LPS, with the patient's right at index 0."""
    values, labels = np.full((14, 12, 4), AIR, np.int16), np.zeros((14, 12, 4), np.uint8)
    values[1:13, 1:11] = BODY
    values[2:6, 3:9], values[8:12, 3:9] = LUNG, LUNG
    labels[2:6, 3:9], labels[8:12, 3:9] = 2, 1
    values[3:5, 6:8, 1], labels[3:5, 6:8, 1] = LESION, 3
    labels[9:11, 3:5, 2:], values[9:11, 3:5, 2:] = 3, LESION
    values[0, 0, 0] = -1250
    return values, labels


CHEST, LABELS = draw_chest()
SHOWN = np.rint(np.clip((CHEST.astype(np.float32) + 1250) / 1500, 0, 1) * 255).astype(np.uint8)
NUMBERS = np.array([0, 2, 1, 3], np.uint8)[LABELS]


def write_pair(
    raw: Path, image: Callable[[Path], Path], mask: Callable[[Path], Path], case: str = "coronacases_001"
) -> Path:
    for folder, write in (("COVID-19-CT-Seg_20cases", image), ("Lung_and_Infection_Mask", mask)):
        (raw / folder).mkdir(parents=True)
        write(raw / folder / f"{case}.nii.gz")
    return raw


def nifti(values: np.ndarray, **options) -> Callable[[Path], Path]:
    return lambda path: write_nifti(path, values, **options)


def read_pair(raw: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of the usable slices as they are prepared, each (N, H, W)."""
    table = index(raw)
    rows = table[~table["excluded"]]
    first = rows.iloc[0]
    window = first["window_low"], first["window_high"]
    images = read_images(raw / first["path"], rows["frame"].tolist(), *window, first["orientation"])
    return np.stack(list(images)), np.stack(list(read_row_masks(rows, raw, CLASSES)))


def scale_header(values: np.ndarray, slope: float, inter: float) -> Callable[[Path], Path]:
    """A volume whose header holds this slope and intercept, whatever they are."""

    def write(path: Path) -> Path:
        data = bytearray(nib.Nifti1Image(values, LPS).to_bytes())
        data[112:120] = np.array([slope, inter], "<f4").tobytes()
        return write_bytes(path, gzip.compress(bytes(data)))

    return write


def edit_header(values: np.ndarray, **fields) -> Callable[[Path], Path]:
    """A volume whose header says something else than what was saved."""

    def write(path: Path) -> Path:
        image = nib.Nifti1Image(values, LPS)
        data = bytearray(image.to_bytes())
        header = image.header.copy()
        for name, value in {"vox_offset": 352, **fields}.items():
            header[name] = value
        data[:348] = header.binaryblock
        return write_bytes(path, gzip.compress(bytes(data)))

    return write


def moved(voxels: float) -> np.ndarray:
    affine = LPS.copy()
    affine[0, 3] = voxels
    return affine


BITTEN = CHEST.astype(np.float32)
BITTEN[0, 0, 0] = np.nan
DISPLAYED = SHOWN.astype(np.float32)
DISPLAYED[0, 0, 0] = -0.4

READ: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path]]] = {
    "headers that agree": (nifti(CHEST), nifti(LABELS)),
    **{
        f"an image in LAS and a mask in {axes}": (nifti(CHEST, axes="LAS"), nifti(LABELS, axes=axes))
        for axes in ("RAS", "LPS", "PLS", "LAI", "SPL", "RPI")
    },
    "an image in PSL and a mask in LPS": (nifti(CHEST, axes="PSL"), nifti(LABELS)),
    "a mask without orientation": (nifti(CHEST, axes="LAS"), nifti(LABELS[:, ::-1], affine=np.eye(4))),
    "a mask whose header has no codes": (nifti(CHEST, axes="LAS"), nifti(LABELS[:, ::-1], affine=None)),
    "neither has an orientation": (nifti(CHEST[:, ::-1], affine=None), nifti(LABELS[:, ::-1], affine=None)),
    "headers that differ by rounding": (nifti(CHEST), nifti(LABELS, affine=moved(0.01))),
    "mask numbers like 2.9999998": (nifti(CHEST), nifti(LABELS * np.float32(0.99999994))),
    "mask numbers of a slope in the header": (nifti(CHEST), scale_header(LABELS * 10, 0.1, 0)),
    "a slope of 0, which the format defines as none": (scale_header(CHEST, 0, 7), nifti(LABELS)),
    "a slope of NaN, which is none": (scale_header(CHEST, np.nan, np.nan), nifti(LABELS)),
    "HU as slope and intercept": (scale_header((CHEST + 1024).astype(np.int16), 1, -1024), nifti(LABELS)),
    "HU in float": (nifti(CHEST.astype(np.float32)), nifti(LABELS)),
    "display values": (nifti(SHOWN), nifti(LABELS)),
    "display values with one voxel at -0.4": (nifti(DISPLAYED), nifti(LABELS)),
    "four axes with one volume": (nifti(CHEST[..., None]), nifti(LABELS)),
}

NEITHER = "that is neither HU, with lung near -800 and tissue near 0, nor display values in 0-255"
ELSEWHERE = "voxels away from its image; resample the mask"
COLOURS = np.zeros((14, 12, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
REFUSED: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path], str]] = {
    "a mask of one slice more": (nifti(CHEST[..., :3]), nifti(LABELS), "has 4 slices, its image coronacases_001"),
    "a mask of one slice fewer": (nifti(CHEST), nifti(LABELS[..., 1:]), "has 3 slices, its image coronacases_001"),
    "a mask of another width": (
        nifti(CHEST),
        nifti(LABELS[1:]),
        r"its shape in the image's directions is \(13, 12, 4\)",
    ),
    "a mask of another width without orientation": (
        nifti(CHEST),
        nifti(LABELS[1:], affine=np.eye(4)),
        r"mask is \(12, 13\), its image \(12, 14\)",
    ),
    "a mask a voxel aside": (nifti(CHEST), nifti(LABELS, affine=moved(1)), f"1.0 {ELSEWHERE}"),
    "a mask of another voxel size": (nifti(CHEST), nifti(LABELS, affine=np.diag([-2.0, -1, 5, 1])), ELSEWHERE),
    "a mask in another orientation that lies elsewhere": (
        nifti(CHEST, axes="LAS"),
        nifti(LABELS, affine=moved(9), axes="RAS"),
        ELSEWHERE,
    ),
    "a mask number that is not declared": (
        nifti(CHEST),
        nifti(LABELS + (LABELS == 3)),
        "mask values 4 are not declared",
    ),
    "a mask number that is not whole": (
        nifti(CHEST),
        nifti(np.where(LABELS == 3, np.float32(2.98), LABELS.astype(np.float32))),
        "mask values 2.98 are not whole numbers",
    ),
    "a mask with NaN": (nifti(CHEST), nifti(np.where(LABELS == 3, np.float32(np.nan), LABELS)), "nan are not whole"),
    "HU + 1024": (nifti((CHEST + 1024).astype(np.uint16)), nifti(LABELS), NEITHER),
    "HU - 1024, rescaled twice": (nifti(CHEST - 1024), nifti(LABELS), NEITHER),
    "values from 0 to 1": (nifti(SHOWN / np.float32(255)), nifti(LABELS), NEITHER),
    "values from -1 to 1": (nifti(SHOWN / np.float32(127.5) - 1), nifti(LABELS), NEITHER),
    "values from 0 to 100": (nifti(SHOWN / np.float32(2.55)), nifti(LABELS), NEITHER),
    "values from 0 to 65535": (nifti(SHOWN.astype(np.uint16) * 257), nifti(LABELS), NEITHER),
    "display values read as signed": (nifti(SHOWN.view(np.int8)), nifti(LABELS), NEITHER),
    "display values with one voxel of -1000": (
        nifti(np.where(np.arange(SHOWN.size).reshape(SHOWN.shape) == 0, np.int16(-1000), SHOWN)),
        nifti(LABELS),
        NEITHER,
    ),
    "display values with padding of -1000": (
        nifti(np.where(CHEST == AIR, np.int16(-1000), SHOWN)),
        nifti(LABELS),
        NEITHER,
    ),
    "NaN in one voxel": (nifti(BITTEN), nifti(LABELS), "frame 0 holds NaN or infinite values"),
    "two volumes in one file": (
        nifti(np.stack([CHEST, CHEST], axis=-1)),
        nifti(LABELS),
        r"holds 2 volumes \(\(14, 12, 4, 2\)\); expected one",
    ),
    "colours": (nifti(COLOURS), nifti(LABELS), "holds colours; expected one real number per voxel"),
    "complex numbers": (nifti(CHEST.astype(np.complex64)), nifti(LABELS), "holds complex64 numbers"),
    "a single slice of two axes": (nifti(CHEST[..., 0]), nifti(LABELS), "expected three axes with voxels"),
    "a truncated volume": (lambda path: cut(write_nifti(path, CHEST)), nifti(LABELS), "cannot be read"),
    "a volume that lacks its checksum": (
        lambda path: write_bytes(path, write_nifti(path, CHEST).read_bytes()[:-8]),
        nifti(LABELS),
        "cannot be read",
    ),
    "a truncated mask": (nifti(CHEST), lambda path: cut(write_nifti(path, LABELS), 0.9), "cannot be read"),
    "a header that claims more than memory": (
        edit_header(CHEST, dim=[3, 9000, 9000, 9000, 1, 1, 1, 1]),
        nifti(LABELS),
        "header claims 1,458,000,000,000 bytes",
    ),
    "a header that claims a slice too many": (
        edit_header(CHEST, dim=[3, 14, 12, 5, 1, 1, 1, 1]),
        nifti(LABELS),
        "cannot be read",
    ),
    "a header that claims a slice too few": (
        edit_header(CHEST, dim=[3, 14, 12, 3, 1, 1, 1, 1]),
        nifti(LABELS[..., :3]),
        "header claims 1,360 bytes, but the file holds 1,696",
    ),
    "voxels inside the header": (
        edit_header(CHEST, vox_offset=0),
        nifti(LABELS),
        "places the voxels at byte 0, inside",
    ),
    "a singular matrix": (edit_header(CHEST, srow_x=[0, 0, 0, 0]), nifti(LABELS), "singular or not finite"),
    "sform and qform that disagree": (
        edit_header(CHEST, srow_x=[1, 0, 0, 0], qform_code=1),
        nifti(LABELS),
        "its sform says RPS, its qform LPS",
    ),
    "no NIfTI": (lambda path: write_bytes(path, gzip.compress(b"hello" * 200)), nifti(LABELS), "cannot be read"),
}


@pytest.mark.parametrize("name", READ)
def test_a_mask_lies_on_its_image_whatever_their_headers(tmp_path, name):
    images, masks = read_pair(write_pair(tmp_path, *READ[name]))
    for found, upright in ((images, SHOWN), (masks, NUMBERS)):
        expected = np.moveaxis(upright, 2, 0).swapaxes(1, 2)
        assert sorted(values.tobytes() for values in found) == sorted(values.tobytes() for values in expected)
    lesion = masks == 3
    assert set(images[lesion].tolist()) == {162}  # -300 HU, so that each mask lies on its own slice


@pytest.mark.parametrize("name", REFUSED)
def test_a_pair_that_does_not_fit_is_refused_with_its_name(tmp_path, name):
    *pair, words = REFUSED[name]
    with pytest.raises(CovbenchError, match=words) as error:
        index(write_pair(tmp_path, *pair))
    assert "coronacases_001.nii.gz" in str(error.value)


def test_a_radiopaedia_header_that_is_known_to_be_wrong_is_not_believed(tmp_path, caplog):
    stored, labels = nifti(SHOWN, affine=np.diag([-1.0, 1, 5, 1])), nifti(LABELS, affine=np.diag([-1.0, 1, 5, 1]))
    raw = write_pair(tmp_path, stored, labels, "radiopaedia_4_85506_1")
    images, _ = read_pair(raw)
    assert np.array_equal(images[0], SHOWN[..., 0].T)
    assert "1 volumes of radiopaedia are read as LPS, not as stated" in caplog.text


def test_guesses_are_counted_in_the_log(tmp_path, caplog):
    index(write_pair(tmp_path, nifti(SHOWN[:, ::-1], affine=None), nifti(LABELS[:, ::-1], affine=np.eye(4))))
    assert "1 volumes state no orientation: LAS is taken" in caplog.text
    assert "1 masks state no orientation: each is read like its image" in caplog.text
    assert "1 volumes of coronacases hold display values, the record HU" in caplog.text


def save(path: Path, values: np.ndarray) -> Path:
    np.save(path, values)
    return path


class Payload:
    def __reduce__(self):
        return print, ("the pickle ran",)


SCALES: dict[str, tuple[np.ndarray, str]] = {
    "HU": (CHEST.astype(np.float32), HU),
    "HU with padding of -3024": (np.where(CHEST == AIR, -3024, CHEST), HU),
    "HU cut off at the study's window": (np.clip(CHEST, -1250, 250), HU),
    "display values": (SHOWN, DISPLAY),
    "display values that reach 255.4": (SHOWN * (255.4 / 219), DISPLAY),
}
STACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a pickle named .npy": (lambda p: write_bytes(p, pickle.dumps(Payload())), "pickled Python objects, which can run"),
    "an array of objects": (lambda p: save(p, np.array([[[Payload()]]], object)), "pickled Python objects, which can"),
    "an archive named .npy": (
        lambda p: np.savez(p.with_suffix(".npz"), a=1) or p.with_suffix(".npz").rename(p),
        "archive",
    ),
    "a truncated stack": (lambda p: cut(save(p, np.moveaxis(CHEST, 2, 0))), "cannot be read"),
    "two axes": (lambda p: save(p, CHEST[..., 0]), "expected slices, rows, columns and perhaps channels"),
    "five axes": (lambda p: save(p, CHEST[None, None]), "expected slices, rows, columns"),
    "no slice": (lambda p: save(p, np.zeros((0, 9, 9))), "expected slices, rows, columns"),
    "text": (lambda p: save(p, np.full((1, 2, 2), "a")), "expected real numbers"),
    "complex numbers": (lambda p: save(p, np.ones((1, 2, 2), np.complex64)), "holds complex64 values"),
    "colours": (lambda p: save(p, np.full((2, 9, 9, 3), 200, np.uint8)), "frame 0 holds 3 channels; expected grey"),
    "a stack with infinity": (lambda p: save(p, np.full((1, 3, 3), np.inf)), "frame 0 holds NaN or infinite"),
}


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_of_values_is_told_from_air_and_tissue(tmp_path, name):
    values, scale = SCALES[name]
    assert detect_scale(save(tmp_path / "a.npy", np.moveaxis(values, 2, 0))) == scale


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_that_is_no_stack_of_grey_slices_is_refused(tmp_path, name, capsys):
    write, words = STACKS[name]
    path = tmp_path / "a.npy"
    write(path)
    with pytest.raises(CovbenchError, match=words) as error:
        detect_scale(path)
    assert str(error.value).startswith(str(path))
    assert "the pickle ran" not in capsys.readouterr().out


def test_hu_without_a_window_are_no_display_values(tmp_path):
    save(tmp_path / "a.npy", np.moveaxis(CHEST, 2, 0))
    with pytest.raises(CovbenchError, match=r"a\.npy: frame 0 holds values from -1250 to 40; display values are 0-255"):
        next(read_images(tmp_path / "a.npy", [0], np.nan, np.nan))


def test_an_empty_window_is_refused(tmp_path):
    save(tmp_path / "a.npy", np.moveaxis(CHEST, 2, 0))
    with pytest.raises(CovbenchError, match="empty window: 250 to 250"):
        next(read_images(tmp_path / "a.npy", [0], 250.0, 250.0))


ONE = np.array([[0, 1, 0], [1, 0, 0]], np.uint8)
COLOURED = np.dstack([ONE * 255, ONE, ONE])
MASKS: dict[str, tuple[Callable[[Path], Path], str, object]] = {
    "0 and 255 under a threshold": (lambda d: write_image(d / "m.png", ONE * 255), THRESHOLD, ONE * 3),
    "grey edges under a threshold": (
        lambda d: write_image(d / "m.png", np.array([[0, 7, 127, 128, 255]], np.uint8)),
        THRESHOLD,
        [[0, 0, 0, 3, 3]],
    ),
    "an empty mask under a threshold": (lambda d: write_image(d / "m.png", ONE * 0), THRESHOLD, ONE * 0),
    "a full mask under a threshold": (lambda d: write_image(d / "m.png", ONE * 0 + 255), THRESHOLD, ONE * 0 + 3),
    "0 and 1 under a threshold": (lambda d: write_image(d / "m.png", ONE), THRESHOLD, "mask values 1 are not declared"),
    "1 bit under a threshold": (
        lambda d: write_image(d / "m.png", ONE * 255, "1"),
        THRESHOLD,
        "mask values 1 are not decl",
    ),
    "0 and 100 under a threshold": (lambda d: write_image(d / "m.png", ONE * 100), THRESHOLD, "100 are not declared"),
    "16 bits of full range under a threshold": (
        lambda d: write_image(d / "m.png", ONE.astype(np.uint16) * 65535),
        THRESHOLD,
        "mask values 65535 are not declared",
    ),
    "0 and 255 where 3 is declared": (lambda d: write_image(d / "m.png", ONE * 255), VALUES, "255 are not declared"),
    "16 bits with small numbers": (lambda d: write_image(d / "m.png", ONE.astype(np.uint16) * 3), VALUES, ONE * 3),
    "16-bit RGB with small numbers": (
        lambda d: write_png(d / "m.png", np.repeat(ONE.astype(np.uint16)[..., None] * 3, 3, axis=-1)),
        VALUES,
        ONE * 3,
    ),
    "float with 2.9999998": (lambda d: write_tiff(d / "m.tif", ONE * np.float32(2.9999998)), VALUES, ONE * 3),
    "float with 0.9999999": (lambda d: write_tiff(d / "m.tif", ONE * np.float32(0.9999999)), "1:infection", ONE * 3),
    "float with 3.9999998": (
        lambda d: write_tiff(d / "m.tif", ONE * np.float32(3.9999998)),
        VALUES,
        "mask values 3.9999998 are not declared",
    ),
    "float with 0.5": (lambda d: write_tiff(d / "m.tif", ONE * np.float32(0.5)), VALUES, "0.5 are not whole numbers"),
    "float with NaN": (lambda d: write_tiff(d / "m.tif", ONE * np.float32(np.nan)), VALUES, "NaN or infinite values"),
    "a negative number": (lambda d: write_tiff(d / "m.tif", -ONE.astype(np.int16)), VALUES, "-1 are not declared"),
    "colours": (lambda d: write_image(d / "m.png", COLOURED), VALUES, "the mask is in colours"),
    "CMYK": (lambda d: write_image(d / "m.tif", COLOURED, "CMYK"), VALUES, "the mask is a CMYK picture"),
    "numbers in the alpha channel": (
        lambda d: write_png(d / "m.png", np.dstack([ONE * 0, ONE * 255])),
        VALUES,
        "the mask's alpha channel varies",
    ),
    "grey RGB that is opaque": (
        lambda d: write_png(d / "m.png", np.dstack([ONE * 3, ONE * 3, ONE * 3, ONE * 0 + 255])),
        VALUES,
        ONE * 3,
    ),
    "a mask turned by EXIF": (lambda d: write_exif(d / "m.png", ONE * 3, 6), VALUES, ONE * 3),
    "a turned TIFF": (lambda d: write_tiff(d / "m.tif", ONE * 3, 8), VALUES, ONE * 3),
    "a JPEG, which keeps no numbers": (
        lambda d: write_image(d / "m.jpg", np.tile(ONE * 255, (9, 9)), quality=30),
        VALUES,
        "are not declared",
    ),
    "a GIF of several pictures": (
        lambda d: (
            Image.fromarray(ONE).save(d / "m.gif", save_all=True, append_images=[Image.fromarray(1 - ONE)])
            or d / "m.gif"
        ),
        VALUES,
        "holds 2 pictures",
    ),
    "a truncated mask": (lambda d: cut(write_image(d / "m.png", ONE)), VALUES, "cannot be read"),
    "PostScript": (lambda d: write_bytes(d / "m.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), VALUES, "it holds none of PNG"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_picture_gives_its_classes_or_shows_the_value(tmp_path, name):
    write, values, expected = MASKS[name]
    path = write(tmp_path)
    if isinstance(expected, str):
        with pytest.raises(CovbenchError, match=expected) as error:
            read_mask(path, -1, values, CLASSES)
        assert str(error.value).startswith(str(path))
    else:
        assert read_mask(path, -1, values, CLASSES).tolist() == np.asarray(expected).tolist()


ONE_HOT = "0:ground_glass 1:consolidation"
CHANNELS: dict[str, tuple[list, str]] = {
    "two channels at one pixel": ([[[1, 1]]], "sets two channels at one pixel"),
    "a channel that nobody declared": ([[[1, 0, 0]]], "has 3 channels, but 2 are declared"),
    "shares instead of 0 and 1": ([[[0.6, 0.4]]], "mask values 0.4, 0.6 are not whole numbers"),
    "0 and 255": ([[[255, 0]]], "mask values 255 are not 0 or 1 in a channel"),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_one_hot_mask_says_one_thing_of_each_pixel(name):
    values, words = CHANNELS[name]
    with pytest.raises(CovbenchError, match=words):
        number_classes(np.array(values), ONE_HOT, ("background", "ground_glass", "consolidation"))


ROW = {"label": "covid", "modality": "ct"}
CONSTANT: dict[str, Callable[[Path], Path]] = {
    "8 bits": lambda d: write_image(d / "a.png", np.full((9, 9), 90, np.uint8)),
    "16 bits": lambda d: write_image(d / "a.png", np.full((9, 9), 900, np.uint16)),
    "colours": lambda d: write_image(d / "a.png", np.full((9, 9, 3), 90, np.uint8)),
    "float": lambda d: write_tiff(d / "a.tif", np.full((9, 9), 0.5, np.float32)),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_picture_of_one_grey_is_excluded_with_its_reason(tmp_path, name):
    path = CONSTANT[name](tmp_path)
    write_image(tmp_path / "b.png", np.arange(81, dtype=np.uint8).reshape(9, 9))
    table = build_index([ROW | {"image_id": n, "path": n} for n in (path.name, "b.png")], tmp_path)
    assert table["reason"].tolist() == ["shows one grey only", ""]
    assert table["excluded"].tolist() == [True, False]


def test_a_slice_of_one_grey_is_excluded_and_the_others_stay(tmp_path):
    stack = np.moveaxis(SHOWN, 2, 0).copy()
    stack[1] = 7
    save(tmp_path / "a.npy", stack)
    rows = [ROW | {"image_id": f"a.npy#{n}", "path": "a.npy", "frame": n} for n in range(4)]
    assert build_index(rows, tmp_path)["reason"].tolist() == ["", "shows one grey only", "", ""]


def test_a_stack_divided_by_255_is_refused_where_its_dataset_states_no_window(tmp_path):
    save(tmp_path / "a.npy", np.moveaxis(SHOWN, 2, 0) / 255)
    rows = [ROW | {"image_id": f"a.npy#{n}", "path": "a.npy", "frame": n} for n in range(4)]
    with pytest.raises(CovbenchError, match=r"a\.npy: its display values end at 1; multiply them by 255"):
        build_index(rows, tmp_path)


def test_a_damaged_byte_inside_a_packed_volume_is_found(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 255, (64, 64, 8), np.uint8))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # of the checksum: the voxels themselves are read without a complaint
    path.write_bytes(bytes(data))
    assert len(list(read_frames(path, range(count_frames(path))))) == 8
    with pytest.raises(CovbenchError, match=re.escape(f"{path}: cannot be read (CRC check failed")):
        check_whole(path)
