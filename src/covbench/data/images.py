"""Read PNG, JPEG, DICOM, NIfTI and .npy files as grey pictures and as masks of class numbers.

Every slice is turned upright as radiologists see it: the front of the patient is up, and the patient's right side is on
the left. A file that cannot be read raises CovbenchError, which names it.
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
    """Return whether a file holds one picture, by its suffix in upper or lower case. Hidden files do not."""
    return path.name.lower().endswith(PICTURES) and not path.name.startswith(".")


def is_volume(path: Path) -> bool:
    """Return whether a file is a NIfTI volume, by its suffix in upper or lower case. Hidden files are not."""
    return path.name.lower().endswith(VOLUMES) and not path.name.startswith(".")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn any error into one CovbenchError that names the file.

    On a damaged file decoders raise anything from OSError to SyntaxError.
    """
    try:
        yield
    except CovbenchError:
        raise
    except Exception as error:
        raise CovbenchError(f"{path}: cannot be read ({error})") from error


def turn_upright(values: np.ndarray, orientation: str) -> np.ndarray:
    """Turn a slice so that its rows run to the patient's back and its columns to the patient's left.

    values: (H, W) or (H, W, C).
    orientation: the directions in which the first and the second axis run now, two letters of L, R, A, P. An empty one
        means that the slice is upright already.
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
    """Stretch any numbers to uint8 over their own range, so that the smallest becomes 0 and the largest 255."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    return np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def show_values(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Convert the stored values of a slice to grey.

    Args:
        values: any number, (H, W), HU or display values.
        low: the value in HU that becomes 0. NaN means that the values are display values, 0-255, already.
        high: the value in HU that becomes 255. It is not used if `low` is NaN.

    Returns:
        uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise CovbenchError("holds NaN or infinite values")
    if math.isnan(low):
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.rint(np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def show_frame(path: Path, frame: int, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Convert the stored values of a slice to grey as show_values does, with errors that name file and slice.

    Args:
        path: the file, for error messages.
        frame: number of the slice, for error messages.
        values: any number, (H, W), HU or display values.
        low: the value in HU that becomes 0, or NaN for display values.
        high: the value in HU that becomes 255.

    Returns:
        uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: a value is NaN or infinite.
    """
    try:
        return show_values(values, low, high)
    except CovbenchError as error:
        raise CovbenchError(f"{path}: frame {frame} {error}") from error


def read_picture(path: Path) -> np.ndarray:
    """Read a file that holds one picture as uint8, (H, W), 0-255 grey.

    EXIF rotation is applied, alpha is ignored, and 16-bit values are stretched.
    """
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
    """Read the first frame in its own window, or over its whole range if it has none. MONOCHROME1 is inverted."""
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
    """Return the directions of a NIfTI volume's three axes ('LPS'), empty if its header is a placeholder (identity)."""
    import nibabel as nib

    with _naming(path):
        image: Any = nib.load(path)
        affine = image.affine
        return "" if np.allclose(affine, np.eye(4)) else "".join(nib.aff2axcodes(affine))


def count_frames(path: Path) -> int:
    """Count the slices in a NIfTI volume or .npy stack, without reading them."""
    import nibabel as nib

    with _naming(path):
        if not is_volume(path):
            return int(np.load(path, mmap_mode="r").shape[0])
        image: Any = nib.load(path)
        return int(image.shape[_slice_axis("".join(nib.aff2axcodes(image.affine)))])


def _slice_axis(orientation: str) -> int:
    return next((axis for axis, letter in enumerate(orientation) if letter in "SI"), 2)


def read_frames(path: Path, frames: Sequence[int], orientation: str = "") -> Iterator[np.ndarray]:
    """Read the stored values of some slices of a volume or stack. The file is read once.

    Args:
        path: a NIfTI volume or .npy stack.
        frames: positions along the axis between head and feet, in stored order. In a stack this axis is the first.
        orientation: as in the index. If it is empty, the header of a NIfTI file decides, and .npy slices are upright.

    Yields:
        The upright slices, (H, W) or (H, W, C), in the order of `frames`.

    Raises:
        CovbenchError: the file cannot be read.
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
    """Read slices of a NIfTI volume.

    A single slice is sliced from the file. Several share one pass and are kept in the stored type to save memory.
    """
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
    """Read slices of one file as grey images. The file is read once.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frames: slice numbers, or [-1] for a file that is one picture.
        window_low: the value in HU that becomes 0, or NaN for display values. Pictures do not use it.
        window_high: the value in HU that becomes 255. Pictures do not use it.
        orientation: as in the index.

    Yields:
        Upright images, uint8, (H, W), 0-255 grey, in the order of `frames`.

    Raises:
        CovbenchError: the file cannot be read, or a value is NaN or infinite.
    """
    if list(frames) == [-1]:
        yield np.ascontiguousarray(turn_upright(read_picture(path), orientation))
        return
    for frame, values in zip(frames, read_frames(path, frames, orientation), strict=True):
        yield show_frame(path, frame, values, window_low, window_high)


def read_image(path: Path, frame: int, window_low: float, window_high: float, orientation: str = "") -> np.ndarray:
    """Read one picture or slice as a grey image.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frame: slice number, or -1 for a file that is one picture.
        window_low: the value in HU that becomes 0, or NaN for display values. Pictures do not use it.
        window_high: the value in HU that becomes 255. Pictures do not use it.
        orientation: as in the index.

    Returns:
        The upright image: uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: the file cannot be read, or a value is NaN or infinite.
    """
    return next(read_images(path, [frame], window_low, window_high, orientation))


def parse_mask_values(mask_values: str) -> list[tuple[int, int, str]]:
    """Parse '1:lung 128-255:infection' into the first value, last value and name of each entry."""
    entries = []
    for entry in mask_values.split():
        found = re.fullmatch(r"(\d+)(?:-(\d+))?:(\w+)", entry)
        if not found:
            raise CovbenchError(f"mask_values {mask_values!r}: {entry!r} is not VALUE:NAME or FIRST-LAST:NAME")
        first, last, name = found.groups()
        entries.append((int(first), int(last or first), name))
    return entries


def number_classes(values: np.ndarray, mask_values: str, classes: Sequence[str]) -> np.ndarray:
    """Convert stored mask values to class numbers.

    A range ('128-255:infection') is a threshold, and every value below it is background. Otherwise every value except 0
    must be declared.

    Args:
        values: numbers, (H, W), or one-hot, (H, W, C).
        mask_values: what the numbers mean, as in the index.
        classes: class names in the order of their numbers. A name that is not among them becomes 0.

    Returns:
        Class numbers: uint8, (H, W).

    Raises:
        CovbenchError: a value is not declared. The message names such values.
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
    """Read masks of one file. The file is read once.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frames: slice numbers, or [-1] for a file that is one picture.
        mask_values: what the numbers in the file mean, as in the index.
        classes: class names in the order of their numbers.
        orientation: how the image is stored. Its mask is turned in the same way.

    Yields:
        Class numbers, uint8, (H, W), in the order of `frames`.

    Raises:
        CovbenchError: the file cannot be read, or a value is not declared.
    """
    stored = iter([_read_labels(path, orientation)]) if list(frames) == [-1] else read_frames(path, frames, orientation)
    for frame, values in zip(frames, stored, strict=True):
        try:
            yield number_classes(values, mask_values, classes)
        except CovbenchError as error:
            raise CovbenchError(f"{path}: {f'frame {frame} ' if frame >= 0 else ''}{error}") from error


def read_mask(path: Path, frame: int, mask_values: str, classes: Sequence[str], orientation: str = "") -> np.ndarray:
    """Read one mask.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frame: slice number, or -1 for a file that is one picture.
        mask_values: what the numbers in the file mean, as in the index.
        classes: class names in the order of their numbers.
        orientation: how the image is stored. Its mask is turned in the same way.

    Returns:
        Class numbers: uint8, (H, W).

    Raises:
        CovbenchError: the file cannot be read, or a value is not declared.
    """
    return next(read_masks(path, [frame], mask_values, classes, orientation))


def _read_labels(path: Path, orientation: str) -> np.ndarray:
    """Read the stored numbers of a mask picture: palette positions, or the single channel of grey RGB(A)."""
    with _naming(path), Image.open(path) as image:
        values = np.asarray(image)
        if values.ndim == 3:
            colours = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (colours != colours[..., :1]).any():
                raise CovbenchError(f"{path}: the mask is in colours; expected one number per pixel")
            values = colours[..., 0]
        return np.ascontiguousarray(turn_upright(values.astype(np.int64), orientation))


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Squash an image, uint8 or float32, (H, W), to (size, size) with antialiasing: every stored pixel contributes."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0))


def perceptual_hash(image: np.ndarray) -> str:
    """Compute ImageHash's 64-bit phash of an image, uint8, (H, W): 16 hexadecimal digits (Zauner 2010)."""
    import imagehash

    return str(imagehash.phash(Image.fromarray(image)))
