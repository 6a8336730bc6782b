"""Read DICOM files as grey pictures: decode, rescale, leave padding out, apply window or lookup table, and polarity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from covbench.data.decoding import check_finite, check_size, measure_luminance, stretch
from covbench.data.dicom_tables import apply_table, read_palette
from covbench.schema import CovbenchError

if TYPE_CHECKING:
    from pydicom import Dataset

TAGS = {
    "RescaleSlope": "Rescale Slope (0028,1053)",
    "RescaleIntercept": "Rescale Intercept (0028,1052)",
    "WindowCenter": "Window Center (0028,1050)",
    "WindowWidth": "Window Width (0028,1051)",
}
WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def read_dicom(path: Path) -> np.ndarray:
    """Read a file that holds one picture as uint8, (H, W), 0-255 grey.

    Its own window or lookup table maps to 0-255. Without one, all values except padding are stretched over their range.
    Padding is black. Raises CovbenchError for a file without pixels, with several frames, with tags that contradict
    each other, or whose transfer syntax cannot be decoded.
    """
    data = _load(path)
    pixels = _decode(data)
    if pixels.ndim == 3:
        return _show_colours(pixels)
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return _show_colours(read_palette(data, pixels))
    seen = ~_find_padding(data, pixels)
    if not seen.any():
        raise CovbenchError("holds nothing but padding; see Pixel Padding Value (0028,0120)")
    grey = _show_values(data, _rescale(data, pixels), seen)
    if _is_inverted(data):
        grey = 255 - grey
    return np.where(seen, grey, 0).astype(np.uint8)


def _load(path: Path) -> Dataset:
    """Read the tags and check what they claim of the picture."""
    import pydicom

    try:
        data = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError:
        raise CovbenchError("is no DICOM file: the prefix DICM or its file meta information is missing") from None
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        kind = data.SOPClassUID.name if data.get("SOPClassUID") else "no SOP class"
        raise CovbenchError(f"holds no pixel data ({kind})")
    if not data.file_meta.get("TransferSyntaxUID"):
        raise CovbenchError("names no transfer syntax (0002,0010)")
    check_size(int(data.get("Rows") or 0), int(data.get("Columns") or 0))
    frames = int(data.get("NumberOfFrames") or 1)
    if frames != 1:
        raise CovbenchError(f"holds {frames} frames; expected one picture: save each frame as a file of its own")
    if data.get("SamplesPerPixel") not in (1, 3):
        raise CovbenchError(f"holds {data.get('SamplesPerPixel')} samples per pixel; expected 1 or 3")
    stored, high = data.get("BitsStored"), data.get("HighBit")
    if stored and high is not None and high != stored - 1:
        raise CovbenchError(f"High Bit (0028,0102) is {high}, but Bits Stored (0028,0101) is {stored}")
    return _lift_frame(data)


def _lift_frame(data: Dataset) -> Dataset:
    """Copy rescaling and window of an enhanced file with one frame to the top level, where other files have them."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in (part for group in (data.get(groups) or [])[:1] for part in group.get(name) or []):
                data.update({element.tag: element for element in item})
    return data


def _decode(data: Dataset) -> np.ndarray:
    """Decode the pixels: any number, (H, W) or (H, W, 3) in RGB."""
    from pydicom.pixels import pixel_array
    from pydicom.pixels.decoders.base import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    try:
        return pixel_array(data, index=0)
    except (RuntimeError, NotImplementedError) as error:  # pydicom's errors for a missing package and a foreign syntax
        reason = " ".join(str(error).split())
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:  # pydicom has no decoder for this syntax, whatever is installed
            raise CovbenchError(f"its transfer syntax {syntax.name} ({syntax}) cannot be decoded: {reason}") from error
        needs = "; or ".join(part.partition(" - requires ")[2] for part in decoder.missing_dependencies)
        why = reason if decoder.is_available else "no package that decodes it is installed"
        remedy = f"; install {needs}, or save the file uncompressed" if needs else ""
        raise CovbenchError(f"its transfer syntax {syntax.name} ({syntax}) cannot be decoded: {why}{remedy}") from error


def _show_colours(colours: np.ndarray) -> np.ndarray:
    """Convert RGB, (H, W, 3), to grey. Values of more than 8 bits are stretched over their own range."""
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))
    return stretch(measure_luminance(colours))


def _find_padding(data: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Mark the pixels whose stored value is padding: bool, (H, W)."""
    from pydicom.pixels import pixel_array

    first = data.get("PixelPaddingValue")
    if first is None or pixels.dtype.kind == "f":
        return np.zeros(pixels.shape, bool)
    last = data.get("PixelPaddingRangeLimit")
    stored = pixel_array(data, index=0, correct_unused_bits=False)  # padding may use bits that values do not
    bits = 8 * stored.dtype.itemsize
    bounds = np.array([first, first if last is None else last], np.int64)
    if (bounds < -(2 ** (bits - 1))).any() or (bounds >= 2**bits).any():
        return np.zeros(pixels.shape, bool)
    low, high = sorted(bounds.astype(stored.dtype).tolist())  # a negative value may be written as unsigned
    return (stored >= low) & (stored <= high)


def _number(data: Dataset, name: str, default: float) -> float:
    """Return a tag's first value; `default` without the tag. Raise if it is empty or not finite."""
    if name not in data:
        return default
    value: Any = data.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    if value is None or not np.isfinite(float(value)):
        raise CovbenchError(f"{TAGS[name]} is {'empty' if value is None else value}; remove or correct it")
    return float(value)


def _rescale(data: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Apply the modality lookup table or the rescaling: any number, (H, W)."""
    if data.get("ModalityLUTSequence"):
        return apply_table(data, data.ModalityLUTSequence[0], pixels)[0]
    slope, intercept = _number(data, "RescaleSlope", 1.0), _number(data, "RescaleIntercept", 0.0)
    if slope == 0:
        raise CovbenchError(f"{TAGS['RescaleSlope']} is 0, so every pixel has one value; remove or correct it")
    return pixels if (slope, intercept) == (1.0, 0.0) else check_finite(pixels * slope + intercept)


def _show_values(data: Dataset, values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Convert values, (H, W), to uint8 grey. `seen` marks those that are no padding: bool, (H, W)."""
    check_finite(values[seen])
    if data.get("VOILUTSequence"):
        shown, largest = apply_table(data, data.VOILUTSequence[0], values)
        grey, name = np.rint(shown / largest * 255), "VOI LUT Sequence (0028,3010)"
    elif data.get("WindowWidth") is not None or data.get("WindowCenter") is not None:
        grey, name = np.rint(_window(data, values) * 255), "the window (0028,1050-1051)"
    else:
        low, high = values[seen].min(), values[seen].max()
        return stretch(np.clip(values, low, high))
    if np.ptp(grey[seen]) == 0 < np.ptp(values[seen]):
        low, high = values[seen].min(), values[seen].max()
        raise CovbenchError(f"{name} shows one grey only: its values run from {low:g} to {high:g}")
    return grey.astype(np.uint8)


def _window(data: Dataset, values: np.ndarray) -> np.ndarray:
    """Apply the first window as PS3.3 C.11.2.1.2 and C.11.2.1.3 define it: float64, (H, W), 0-1."""
    if "WindowCenter" not in data or "WindowWidth" not in data:
        raise CovbenchError(f"has only one of {TAGS['WindowCenter']} and {TAGS['WindowWidth']}")
    center, width = _number(data, "WindowCenter", 0.0), _number(data, "WindowWidth", 0.0)
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if function not in WINDOWS:
        raise CovbenchError(f"VOI LUT Function (0028,1056) is {function!r}; known: {', '.join(WINDOWS)}")
    if (width < 1 and function == "LINEAR") or width <= 0:
        least = "at least 1" if function == "LINEAR" else "greater than 0"
        raise CovbenchError(f"{TAGS['WindowWidth']} is {width:g}; with {function} it has to be {least}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values.astype(np.float64) - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values.astype(np.float64) - center) / width + 0.5, 0, 1)


def _is_inverted(data: Dataset) -> bool:
    """Return whether the greatest value is black. Both tags that say so together still mean it once."""
    shape, kind = data.get("PresentationLUTShape"), data.PhotometricInterpretation
    if kind == "MONOCHROME1" and shape == "IDENTITY":
        raise CovbenchError(
            "Photometric Interpretation (0028,0004) MONOCHROME1 and Presentation LUT Shape (2050,0020) IDENTITY "
            "contradict each other; remove the wrong one"
        )
    return kind == "MONOCHROME1" or shape == "INVERSE"
