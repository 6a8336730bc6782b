"""Read PNG, JPEG, BMP, GIF and TIFF files, whatever their depth, as grey pictures and as the numbers of a mask."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from covbench.data.decoding import check_finite, check_size, measure_luminance, naming, stretch, turn_upright
from covbench.data.dicom import read_dicom
from covbench.schema import CovbenchError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".dcm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF")
WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MASK_MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", *WIDE_MODES)
ORIENTATION = 274  # tags of TIFF and EXIF
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
MIN_IS_WHITE, UNSIGNED, SIGNED = 0, 1, 2  # values of the two tags before
PNG_DEPTH = 24  # position of the byte that holds the bits per sample


def is_picture(path: Path) -> bool:
    """Return whether a file holds one picture, by its suffix in upper or lower case. Hidden files do not."""
    return path.name.lower().endswith(PICTURES) and not path.name.startswith(".")


def read_picture(path: Path) -> np.ndarray:
    """Read a file that holds one picture as uint8, (H, W), 0-255 grey.

    The orientation in the file is applied and alpha is ignored. Values of more than 8 bits are stretched over their own
    range. Raises CovbenchError if the file is damaged, of another format, or holds several pictures.
    """
    with naming(path):
        if path.name.lower().endswith(".dcm"):
            return read_dicom(path)
        data = path.read_bytes()
        image = _open_picture(data)
        if _is_deep(image, data):
            return stretch(measure_luminance(_read_deep(image, data)[..., :3]))
        if image.mode in WIDE_MODES or _tag(image, SAMPLE_FORMAT) == SIGNED:
            return stretch(_read_wide(image))
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("P", "PA", "LA", "La", "RGBa"):
            upright = upright.convert("RGBA")
        if upright.mode == "RGBA":
            upright = upright.convert("RGB")
        return np.asarray(upright.convert("L"))


def read_colour_mode(path: Path) -> str:
    """Read how a picture stores a pixel from its header: L, LA, P, RGB, RGBA, …, as Pillow names it.

    Returns an empty text for DICOM and volumes, which store grey. Raises CovbenchError if the file cannot be read.
    """
    if not is_picture(path) or path.name.lower().endswith(".dcm"):
        return ""
    with naming(path), Image.open(path, formats=FORMATS) as image:
        return image.mode


def read_labels(path: Path, orientation: str) -> np.ndarray:
    """Read the numbers of a mask picture: palette positions, or the single channel of a grey picture.

    path: a picture. The orientation that it states is applied.
    orientation: of the slice that it shows, two letters or empty.

    Returns any number, (H, W). Raises CovbenchError if the mask has colours or hides something in its alpha channel.
    """
    with naming(path):
        data = path.read_bytes()
        image = _open_picture(data)
        if image.mode not in MASK_MODES:
            raise CovbenchError(f"the mask is a {image.mode} picture; expected one number per pixel")
        if _is_deep(image, data):
            values = _read_deep(image, data)
        elif image.mode in WIDE_MODES or _tag(image, SAMPLE_FORMAT) == SIGNED:
            values = check_finite(_read_wide(image))
        else:
            values = np.asarray(ImageOps.exif_transpose(image))
        if values.ndim == 3:
            values = _flatten_mask(values)
        return np.ascontiguousarray(turn_upright(values, orientation))


def _open_picture(data: bytes) -> Image.Image:
    """Open a picture of FORMATS and decode it. Only bytes are handed on: of a path Pillow maps the file and turns it.

    Pillow reads uncompressed TIFF that lies on a side wrongly when it maps the file (Pillow issue 7381).
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise CovbenchError(f"cannot be read (it holds none of {known}, or a kind that Pillow does not know)") from None
    check_size(image.height, image.width)
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":  # of an MPO, a JPEG with previews behind it, the first is the picture
        raise CovbenchError(f"holds {count} pictures; expected one")
    _check_bytes(image, data)
    image.load()
    return image


def _check_bytes(image: Image.Image, data: bytes) -> None:
    """Raise if a PNG's checksums are wrong, or if a JPEG lacks its end. Decoding passes over both in silence."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
    if image.format in ("JPEG", "MPO") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise CovbenchError("cannot be read (the end of the JPEG is missing)")


def _tag(image: Image.Image, number: int) -> int | None:
    """Return the value of a TIFF tag, the greatest of several, and None for another format or a missing tag."""
    value = image.tag_v2.get(number) if image.format == "TIFF" else None  # type: ignore[attr-defined]
    return max(value) if isinstance(value, tuple) else value


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether a picture has several channels of more than 8 bits, of which Pillow keeps the upper 8 only."""
    bits = data[PNG_DEPTH] if image.format == "PNG" else _tag(image, BITS) or 8
    return bits > 8 and image.mode not in WIDE_MODES


def _read_deep(image: Image.Image, data: bytes) -> np.ndarray:
    """Read all bits of a PNG or TIFF with several channels: uint16, (H, W, C), upright, red first, alpha last."""
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.dtype != np.uint16:
        raise CovbenchError(f"its {image.mode} values of more than 8 bits cannot be decoded; save it with 8 bits")
    values = values[..., [2, 1, 0, 3][: values.shape[-1]]]
    return _turn(values, image.getexif().get(ORIENTATION, 1)) if image.format == "PNG" else values


def _read_wide(image: Image.Image) -> np.ndarray:
    """Read one channel of any numbers, (H, W), upright. Where the smallest is white, the values are mirrored."""
    values = np.asarray(ImageOps.exif_transpose(image))
    if _tag(image, BITS) == 32 and _tag(image, SAMPLE_FORMAT) in (None, UNSIGNED) and values.dtype == np.int32:
        values = values.view(np.uint32)
    if _tag(image, SAMPLE_FORMAT) == SIGNED and values.dtype == np.uint8:
        values = values.view(np.int8)
    if _tag(image, PHOTOMETRIC) == MIN_IS_WHITE:
        return -values if values.dtype.kind == "f" else np.iinfo(values.dtype).max - values
    return values


def _turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array, (H, W, C), upright from one of the eight orientations of EXIF."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _flatten_mask(values: np.ndarray) -> np.ndarray:
    """Return the one channel, (H, W), that all channels of a mask repeat. The alpha channel may say nothing."""
    colours, alpha = (values[..., :-1], values[..., -1]) if values.shape[-1] in (2, 4) else (values, None)
    if (colours != colours[..., :1]).any():
        raise CovbenchError("the mask is in colours; expected one number per pixel")
    if alpha is not None and (alpha != alpha.flat[0]).any():
        raise CovbenchError("the mask's alpha channel varies; expected one number per pixel and no transparency")
    return colours[..., 0]
