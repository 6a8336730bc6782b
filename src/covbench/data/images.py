"""Read PNG, JPEG, DICOM, NIfTI and .npy as grey pictures and as masks of class numbers.

Every slice is turned upright: front of the patient up, right side of the patient at the left, as radiologists look.
Whatever cannot be read raises CovbenchError naming the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from covbench.schema import BACKGROUND, CovbenchError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".dcm")
VOLUMES = (".nii", ".nii.gz")
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def is_picture(path: Path) -> bool:
    """Whether a file holds one picture, by its suffix in either case; hidden files never do."""
    return path.name.lower().endswith(PICTURES) and not path.name.startswith(".")


def is_volume(path: Path) -> bool:
    """Whether a file is a NIfTI volume, by its suffix in either case."""
    return path.name.lower().endswith(VOLUMES) and not path.name.startswith(".")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Decoders raise anything from OSError to SyntaxError on a damaged file: one error, with the file's name."""
    try:
        yield
    except CovbenchError:
        raise
    except Exception as error:
        raise CovbenchError(f"{path}: cannot be read ({error})") from error


def turn_upright(values: np.ndarray, orientation: str) -> np.ndarray:
    """A slice (H, W, …) turned so that rows run to the patient's back and columns to the patient's left.

    orientation: where the first and second axis run now, letters of L, R, A, P; empty: upright already.
    """
    if not orientation:
        return values
    down, right = orientation[0], orientation[1]
    if down in "LR":
        values, down, right = values.swapaxes(0, 1), right, down
    if down == "A":
        values = values[::-1]
    if right == "R":
        values = values[:, ::-1]
    return values


def stretch(values: np.ndarray) -> np.ndarray:
    """Any number to uint8 over its own range: the smallest becomes 0, the largest 255."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    return np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def show_values(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stored values (H, W) as uint8: `low` HU becomes 0 and `high` 255; with NaN they are display values, 0-255.

    Raises CovbenchError if a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise CovbenchError("holds NaN or infinite values")
    if math.isnan(low):
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.rint(np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def show_frame(path: Path, frame: int, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`show_values` of a slice of a file; an error names both."""
    try:
        return show_values(values, low, high)
    except CovbenchError as error:
        raise CovbenchError(f"{path}: frame {frame} {error}") from error


def read_picture(path: Path) -> np.ndarray:
    """A file that is one picture as uint8 (H, W), 0-255 grey: EXIF rotation done, alpha ignored, 16 bits stretched."""
    with _naming(path):
        if path.name.lower().endswith(".dcm"):
            return _read_dicom(path)
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode in WIDE_MODES:
                return stretch(np.asarray(upright))
            if upright.mode in ("P", "PA", "LA", "La", "RGBa"):
                upright = upright.convert("RGBA")
            if upright.mode == "RGBA":
                upright = upright.convert("RGB")
            return np.asarray(upright.convert("L"))


def _read_dicom(path: Path) -> np.ndarray:
    """First frame as its own window shows it (the whole range where it names none); MONOCHROME1 is inverted."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    data = pydicom.dcmread(path)
    pixels = data.pixel_array
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        pixels = pixels[0]
    if data.SamplesPerPixel == 3:
        return np.asarray(Image.fromarray(pixels).convert("L"))
    grey = stretch(apply_voi_lut(apply_modality_lut(pixels, data), data))
    return 255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey


def header_orientation(path: Path) -> str:
    """Where the three axes of a NIfTI volume run ('LPS'); empty where its header is a mere placeholder (identity)."""
    import nibabel as nib

    with _naming(path):
        image: Any = nib.load(path)
        affine = image.affine
        return "" if np.allclose(affine, np.eye(4)) else "".join(nib.aff2axcodes(affine))


def count_frames(path: Path) -> int:
    """Slices in a NIfTI volume or .npy stack, without reading them."""
    import nibabel as nib

    with _naming(path):
        if not is_volume(path):
            return int(np.load(path, mmap_mode="r").shape[0])
        image: Any = nib.load(path)
        return int(image.shape[_slice_axis("".join(nib.aff2axcodes(image.affine)))])


def _slice_axis(orientation: str) -> int:
    return next((axis for axis, letter in enumerate(orientation) if letter in "SI"), 2)


def read_frames(path: Path, frames: Sequence[int], orientation: str = "") -> Iterator[np.ndarray]:
    """Stored values of some slices of a volume or stack, upright, (H, W) or (H, W, C); the file is read once.

    frames: positions along the axis that runs between head and feet, in stored order. A stack has them first.
    orientation: as in the index; empty: as the NIfTI header says, and .npy slices stand upright.
    """
    with _naming(path):
        slices = _read_volume(path, frames, orientation) if is_volume(path) else _read_stack(path, frames, orientation)
        for values in slices:
            yield np.ascontiguousarray(values)


def _read_stack(path: Path, frames: Sequence[int], orientation: str) -> Iterator[np.ndarray]:
    stack = np.load(path, mmap_mode="r")
    for frame in frames:
        values = np.asarray(stack[frame])
        yield turn_upright(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values, orientation)


def _read_volume(path: Path, frames: Sequence[int], orientation: str) -> Iterator[np.ndarray]:
    """One slice alone is sliced from the file; several share one pass, kept in the stored type to save memory."""
    import nibabel as nib

    image: Any = nib.load(path)
    codes = orientation if len(orientation) == 3 else "".join(nib.aff2axcodes(image.affine))
    axis = _slice_axis(codes)
    in_plane = codes.replace(codes[axis], "")
    tail = (0,) * (len(image.shape) - 3)
    if len(frames) == 1:
        where = tuple(frames[0] if a == axis else slice(None) for a in range(3))
        yield turn_upright(np.asarray(image.dataobj[where + tail]), in_plane)
        return
    stored = np.moveaxis(np.asanyarray(image.dataobj.get_unscaled())[(slice(None),) * 3 + tail], axis, 0)
    slope, inter = image.dataobj.slope, image.dataobj.inter
    for frame in frames:
        values = np.ascontiguousarray(stored[frame])
        yield turn_upright(values if (slope, inter) == (1, 0) else values * slope + inter, in_plane)


def read_images(
    path: Path, frames: Sequence[int], window_low: float, window_high: float, orientation: str = ""
) -> Iterator[np.ndarray]:
    """Slices of one file, read once, as uint8 (H, W), 0-255 grey; frame -1: the file is one picture."""
    if list(frames) == [-1]:
        yield np.ascontiguousarray(turn_upright(read_picture(path), orientation))
        return
    for frame, values in zip(frames, read_frames(path, frames, orientation), strict=True):
        yield show_frame(path, frame, values, window_low, window_high)


def read_image(path: Path, frame: int, window_low: float, window_high: float, orientation: str = "") -> np.ndarray:
    """One picture or slice as uint8 (H, W), 0-255 grey, upright."""
    return next(read_images(path, [frame], window_low, window_high, orientation))


def parse_mask_values(mask_values: str) -> list[tuple[int, int, str]]:
    """('1:lung 128-255:infection') -> first value, last value and name of each entry."""
    entries = []
    for entry in mask_values.split():
        found = re.fullmatch(r"(\d+)(?:-(\d+))?:(\w+)", entry)
        if not found:
            raise CovbenchError(f"mask_values {mask_values!r}: {entry!r} is not VALUE:NAME or FIRST-LAST:NAME")
        first, last, name = found.groups()
        entries.append((int(first), int(last or first), name))
    return entries


def number_classes(values: np.ndarray, mask_values: str, classes: Sequence[str]) -> np.ndarray:
    """Stored mask values, (H, W) or one-hot (H, W, C), as uint8 (H, W) class numbers; names not in `classes`: 0.

    A range ('128-255:infection') is a threshold: what lies below it is background. Otherwise every value except 0
    must be declared; CovbenchError names those that are not.
    """
    one_hot = values.ndim == 3
    if one_hot:
        values = np.where(values.any(axis=-1), values.argmax(axis=-1), -1)
    entries = parse_mask_values(mask_values)
    numbers = np.zeros(values.shape, np.uint8)
    declared = values == (-1 if one_hot else 0)
    for first, last, name in entries:
        here = (values >= first) & (values <= last)
        numbers[here] = classes.index(name) if name in classes and name != BACKGROUND else 0
        declared |= (values <= last) if last > first else here
    if not declared.all():
        strange = ", ".join(f"{v:g}" for v in np.unique(values[~declared])[:10])
        raise CovbenchError(f"mask values {strange} are not declared in {mask_values!r}")
    return numbers


def read_masks(
    path: Path, frames: Sequence[int], mask_values: str, classes: Sequence[str], orientation: str = ""
) -> Iterator[np.ndarray]:
    """Masks of one file, read once, as uint8 (H, W) class numbers, turned as the image's `orientation` says."""
    stored = iter([_read_labels(path, orientation)]) if list(frames) == [-1] else read_frames(path, frames, orientation)
    for frame, values in zip(frames, stored, strict=True):
        try:
            yield number_classes(values, mask_values, classes)
        except CovbenchError as error:
            raise CovbenchError(f"{path}: {f'frame {frame} ' if frame >= 0 else ''}{error}") from error


def read_mask(path: Path, frame: int, mask_values: str, classes: Sequence[str], orientation: str = "") -> np.ndarray:
    """One mask as uint8 (H, W) class numbers: positions in `classes`."""
    return next(read_masks(path, [frame], mask_values, classes, orientation))


def _read_labels(path: Path, orientation: str) -> np.ndarray:
    """Stored numbers of a mask picture: palette positions, not colours; of grey RGB(A) the one channel."""
    with _naming(path), Image.open(path) as image:
        values = np.asarray(image)
        if values.ndim == 3:
            colours = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (colours != colours[..., :1]).any():
                raise CovbenchError(f"{path}: a mask in colours; expected one number per pixel")
            values = colours[..., 0]
        return np.ascontiguousarray(turn_upright(values.astype(np.int64), orientation))


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) squashed to (size, size), antialiased: every stored pixel has its share."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W) class numbers squashed to (size, size): the class at each new pixel's centre."""
    return np.asarray(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))


def perceptual_hash(image: np.ndarray) -> str:
    """ImageHash's 64-bit phash of uint8 (H, W), 16 hexadecimal digits (Zauner 2010)."""
    import imagehash

    return str(imagehash.phash(Image.fromarray(image)))
