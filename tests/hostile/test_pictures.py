"""Pictures that are damaged, deceitful or merely rare: each is read right or refused with its name."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from covbench.data.pictures import read_picture
from covbench.schema import CovbenchError

from .picture_files import (
    GREY,
    WIDE,
    chunk,
    cut,
    lie,
    table,
    write_bytes,
    write_dicom,
    write_exif,
    write_image,
    write_png,
    write_tiff,
)

Make = Callable[[Path], Path]
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
COLOURS = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90], [255, 255, 255]]], np.uint8)
SHADES = [[0, 76, 150], [29, 90, 255]]  # of COLOURS, as ITU-R 601-2 weighs them
WIDE_COLOURS = np.repeat(WIDE[..., None], 3, axis=-1)


def with_alpha(values: np.ndarray) -> np.ndarray:
    """A last channel that is transparent at the left and opaque at the right."""
    alpha = np.zeros(values.shape[:2], values.dtype)
    alpha[:, 1:] = np.iinfo(values.dtype).max
    return np.dstack([values, alpha])


def write_palette(path: Path, transparency: bytes | int) -> Path:
    image = Image.fromarray(np.array([[0, 1, 2], [3, 4, 5]], np.uint8), "P")
    image.putpalette([value for value in GREY.ravel().tolist() for _ in range(3)])
    image.save(path, transparency=transparency)
    return path


def spoil(path: Path, position: int) -> Path:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    return write_bytes(path, bytes(data))


def fill_tail(path: Path) -> Path:
    """As a download that reserved its space and stopped: the second half is zeros."""
    data = path.read_bytes()
    return write_bytes(path, data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2))


def write_frames(path: Path) -> Path:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 120, 240)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


UNKNOWN_FORMAT = "it holds none of PNG, JPEG, BMP, GIF, TIFF, or a kind that Pillow does not know"
REFUSED: dict[str, tuple[Make, str]] = {
    "PostScript named .png": (
        lambda d: write_bytes(d / "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"),
        UNKNOWN_FORMAT,
    ),
    "PDF named .jpg": (lambda d: write_bytes(d / "a.jpg", b"%PDF-1.4\n%%EOF\n"), UNKNOWN_FORMAT),
    "a web page named .jpeg": (lambda d: write_bytes(d / "a.jpeg", b"<!DOCTYPE html><html></html>"), UNKNOWN_FORMAT),
    "WebP named .jpg": (lambda d: write_image(d / "a.jpg", GREY, "RGB", format="WEBP"), UNKNOWN_FORMAT),
    "JPEG 2000 named .png": (lambda d: write_image(d / "a.png", NOISE, format="JPEG2000"), UNKNOWN_FORMAT),
    "no byte at all": (lambda d: write_bytes(d / "a.png", b""), UNKNOWN_FORMAT),
    "a truncated PNG": (lambda d: cut(write_image(d / "a.png", NOISE)), "truncated|Truncated"),
    "a truncated JPEG": (lambda d: cut(write_image(d / "a.jpg", NOISE)), "the end of the JPEG is missing"),
    "a JPEG whose second half is zeros": (
        lambda d: fill_tail(write_image(d / "a.jpg", NOISE)),
        "the end of the JPEG is missing",
    ),
    "a truncated uncompressed TIFF": (lambda d: cut(write_tiff(d / "a.tif", NOISE)), "truncated|not enough"),
    "a truncated BMP": (lambda d: cut(write_image(d / "a.bmp", NOISE)), "truncated"),
    "a truncated GIF": (lambda d: cut(write_image(d / "a.gif", NOISE)), "cannot be read"),
    "a PNG with a wrong checksum": (
        lambda d: spoil(write_image(d / "a.png", NOISE, compress_level=0), 900),
        "bad header checksum",
    ),
    "a PNG that claims 60000 x 60000 pixels": (
        lambda d: write_png(d / "a.png", GREY[..., None], claimed=(60000, 60000)),
        "cannot be read|at most 100,000,000 pixels",
    ),
    "a PNG that claims 11000 x 11000 pixels": (
        lambda d: write_png(d / "a.png", GREY[..., None], claimed=(11000, 11000)),
        "claims 11000 x 11000 pixels; at most 100,000,000",
    ),
    "a GIF of three pictures": (lambda d: write_frames(d / "a.gif"), "holds 3 pictures; expected one"),
    "a TIFF of three pages": (lambda d: write_frames(d / "a.tif"), "holds 3 pictures; expected one"),
    "an animated PNG": (lambda d: write_frames(d / "a.png"), "holds 3 pictures; expected one"),
    "a float TIFF with NaN": (
        lambda d: write_tiff(d / "a.tif", np.array([[0, np.nan]], np.float32)),
        "holds NaN or infinite values",
    ),
    "a float TIFF with infinity": (
        lambda d: write_tiff(d / "a.tif", np.array([[0, -np.inf]], np.float32)),
        "holds NaN or infinite values",
    ),
    "a big-endian TIFF of 16 bits with the smallest white": (
        lambda d: write_tiff(d / "a.tif", WIDE, byteorder=">", photometric="miniswhite"),
        UNKNOWN_FORMAT,
    ),
    "a PNG named .dcm": (lambda d: write_image(d / "a.dcm", GREY, format="PNG"), "is no DICOM file"),
    "DICOM named .png": (lambda d: write_dicom(d / "a.dcm", WIDE).rename(d / "a.png"), UNKNOWN_FORMAT),
}

READ: dict[str, tuple[Make, object]] = {
    "1 bit": (lambda d: write_image(d / "a.png", GREY > 100, "1"), [[0, 0, 255], [255, 255, 255]]),
    "16 bits of which 12 are used": (lambda d: write_image(d / "a.png", WIDE), GREY),
    "16-bit RGB in PNG": (lambda d: write_png(d / "a.png", WIDE_COLOURS), GREY),
    "16-bit RGB in PNG, turned": (
        lambda d: write_png(d / "a.png", lie(WIDE_COLOURS, 6), orientation=6),
        GREY,
    ),
    "16-bit RGB in PNG with alpha": (lambda d: write_png(d / "a.png", with_alpha(WIDE_COLOURS)), GREY),
    "16-bit grey in PNG with alpha": (lambda d: write_png(d / "a.png", with_alpha(WIDE)), GREY),
    "16-bit colours in PNG": (lambda d: write_png(d / "a.png", COLOURS.astype(np.uint16) * 257), SHADES),
    "16-bit RGB in TIFF": (lambda d: write_tiff(d / "a.tif", WIDE_COLOURS, photometric="rgb"), GREY),
    "16-bit colours in TIFF": (
        lambda d: write_tiff(d / "a.tif", COLOURS.astype(np.uint16) * 257, photometric="rgb"),
        SHADES,
    ),
    "16-bit RGB in packed TIFF": (
        lambda d: write_tiff(d / "a.tif", WIDE_COLOURS, photometric="rgb", compression="zlib"),
        GREY,
    ),
    "grey with alpha": (lambda d: write_png(d / "a.png", with_alpha(GREY)), GREY),
    "RGB with alpha": (lambda d: write_png(d / "a.png", with_alpha(COLOURS)), SHADES),
    "a palette with a transparent position": (lambda d: write_palette(d / "a.png", 2), GREY),
    "a palette with transparency for each position": (lambda d: write_palette(d / "a.png", b"\0\x40\x80\xff"), GREY),
    "a GIF of one picture": (lambda d: write_image(d / "a.gif", GREY), GREY),
    "CMYK in TIFF": (lambda d: write_image(d / "a.tif", COLOURS, "CMYK"), SHADES),
    "16 bits in big-endian TIFF": (lambda d: write_tiff(d / "a.tif", WIDE, byteorder=">"), GREY),
    "float in big-endian TIFF": (lambda d: write_tiff(d / "a.tif", GREY.astype(np.float32), byteorder=">"), GREY),
    "16 bits in a TIFF in tiles": (
        lambda d: write_tiff(d / "a.tif", np.tile(WIDE, (16, 16)), tile=(16, 16)),
        np.tile(GREY, (16, 16)),
    ),
    "float from 0 to 1 in TIFF": (lambda d: write_tiff(d / "a.tif", GREY.astype(np.float32) / 255), GREY),
    "signed 16 bits in TIFF": (lambda d: write_tiff(d / "a.tif", GREY.astype(np.int16) * 10 - 1000), GREY),
    "signed 8 bits in TIFF": (lambda d: write_tiff(d / "a.tif", (GREY.astype(int) - 128).astype(np.int8)), GREY),
    "unsigned 32 bits in TIFF": (lambda d: write_tiff(d / "a.tif", GREY.astype(np.uint32) * 2**24), GREY),
    "smallest is white, 1 bit": (
        lambda d: write_tiff(d / "a.tif", GREY > 100, photometric="miniswhite"),
        [[255, 255, 0], [0, 0, 0]],
    ),
    "smallest is white, 8 bits": (lambda d: write_tiff(d / "a.tif", GREY, photometric="miniswhite"), 255 - GREY),
    "smallest is white, 16 bits": (lambda d: write_tiff(d / "a.tif", WIDE, photometric="miniswhite"), 255 - GREY),
    "smallest is white, float": (
        lambda d: write_tiff(d / "a.tif", GREY / np.float32(255), photometric="miniswhite"),
        255 - GREY,
    ),
    **{
        f"TIFF of 8 bits, orientation {n}": (lambda d, n=n: write_tiff(d / "a.tif", GREY, n), GREY) for n in range(1, 9)
    },
    **{
        f"TIFF of 16 bits, orientation {n}": (lambda d, n=n: write_tiff(d / "a.tif", WIDE, n), GREY)
        for n in range(1, 9)
    },
    **{
        f"TIFF of 16 bits in RGB, orientation {n}": (
            lambda d, n=n: write_tiff(d / "a.tif", WIDE_COLOURS, n, photometric="rgb"),
            GREY,
        )
        for n in range(2, 9)
    },
    **{f"PNG, EXIF orientation {n}": (lambda d, n=n: write_exif(d / "a.png", GREY, n), GREY) for n in (2, 5, 6, 7, 8)},
    "a turned TIFF with the smallest white": (
        lambda d: write_tiff(d / "a.tif", WIDE, 5, photometric="miniswhite"),
        255 - GREY,
    ),
}

SIGNED = WIDE.astype(np.int16) - 2000  # -1000 to 1550
PADDED = np.array([[1000, 1600, 65535], [2800, 3550, 65535]], np.uint16)
WINDOW = {"WindowCenter": 2275.5, "WindowWidth": 2551}  # LINEAR: from 1000 to 3550
EXACT = {"WindowCenter": 2275, "WindowWidth": 2550, "VOILUTFunction": "LINEAR_EXACT"}


def palette(bits: int, factor: int = 1, size: int = 6, first: int = 0) -> dict[str, object]:
    """Tags of a palette whose last entries are GREY."""
    entries = np.concatenate([np.full(size - 6, 7), GREY.ravel()]).astype(np.uint16) * factor
    stored = entries.astype(np.uint8 if bits == 8 else "<u2").tobytes()
    tags: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = ("US", [size, first, bits])
        tags[f"{name}PaletteColorLookupTableData"] = ("OW", stored)
    return tags


def enhanced(**tags: object) -> Dataset:
    item, group = Dataset(), Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    group.FrameVOILUTSequence = [item]
    return group


POSITIONS = np.arange(6, dtype=np.uint8).reshape(2, 3)
DICOM_READ: dict[str, tuple[Make, object]] = {
    "padding": (
        lambda d: write_dicom(d / "a.dcm", PADDED, PixelPaddingValue=65535),
        [[0, 60, 0], [180, 255, 0]],
    ),
    "padding in a range": (
        lambda d: write_dicom(
            d / "a.dcm",
            np.where(PADDED == 65535, [[0, 0, 60000], [0, 0, 65000]], PADDED).astype(np.uint16),
            PixelPaddingValue=("US", 65535),
            PixelPaddingRangeLimit=("US", 60000),
        ),
        [[0, 60, 0], [180, 255, 0]],
    ),
    "padding beyond a window": (
        lambda d: write_dicom(d / "a.dcm", PADDED, PixelPaddingValue=("US", 65535), **EXACT),
        [[0, 60, 0], [180, 255, 0]],
    ),
    "padding where the greatest value is black": (
        lambda d: write_dicom(
            d / "a.dcm", PADDED, PixelPaddingValue=("US", 65535), PhotometricInterpretation="MONOCHROME1"
        ),
        [[255, 195, 0], [75, 0, 0]],
    ),
    "negative padding written as unsigned": (
        lambda d: write_dicom(d / "a.dcm", np.array([[-2000, -1000, 1550]], np.int16), PixelPaddingValue=("US", 63536)),
        [[0, 0, 255]],
    ),
    "padding above the bits stored": (
        lambda d: write_dicom(d / "a.dcm", PADDED, PixelPaddingValue=("US", 65535), BitsStored=12, HighBit=11),
        [[0, 60, 0], [180, 255, 0]],
    ),
    "a palette of 8 bits": (lambda d: write_dicom(d / "a.dcm", POSITIONS, **palette(8)), GREY),
    "a palette of 16 bits": (lambda d: write_dicom(d / "a.dcm", POSITIONS, **palette(16, 257)), GREY),
    "a palette of 16 bits that holds 8": (lambda d: write_dicom(d / "a.dcm", POSITIONS, **palette(16)), GREY),
    "positions above 255 in a palette of 8 bits": (
        lambda d: write_dicom(d / "a.dcm", POSITIONS.astype(np.uint16) + 300, **palette(8, size=306)),
        GREY,
    ),
    "the greatest value is black": (
        lambda d: write_dicom(d / "a.dcm", WIDE, PhotometricInterpretation="MONOCHROME1"),
        255 - GREY,
    ),
    "the greatest value is black, said twice": (
        lambda d: write_dicom(
            d / "a.dcm", WIDE, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"
        ),
        255 - GREY,
    ),
    "inverse presentation": (lambda d: write_dicom(d / "a.dcm", WIDE, PresentationLUTShape="INVERSE"), 255 - GREY),
    "identical presentation": (lambda d: write_dicom(d / "a.dcm", WIDE, PresentationLUTShape="IDENTITY"), GREY),
    "a window": (lambda d: write_dicom(d / "a.dcm", WIDE, **WINDOW), GREY),
    "an exact window": (lambda d: write_dicom(d / "a.dcm", WIDE, **EXACT), GREY),
    "a window that is wider than the values": (
        lambda d: write_dicom(d / "a.dcm", WIDE, **EXACT | {"WindowWidth": 5100}),
        [[64, 94, 124], [154, 174, 191]],
    ),
    "two windows, of which the first counts": (
        lambda d: write_dicom(d / "a.dcm", WIDE, **EXACT | {"WindowCenter": [2275, 9], "WindowWidth": [2550, 5]}),
        GREY,
    ),
    "a sigmoid window": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowCenter=2200, WindowWidth=1200, VOILUTFunction="SIGMOID"),
        [[5, 30, 128], [225, 246, 252]],
    ),
    "a negative slope": (
        lambda d: write_dicom(d / "a.dcm", WIDE, RescaleSlope=-1, RescaleIntercept=4550, **EXACT),
        255 - GREY,
    ),
    "a VOI table of 8 bits for values above 255": (
        lambda d: write_dicom(d / "a.dcm", WIDE, VOILUTSequence=[table(0, 8, [n // 16 for n in range(4096)])]),
        WIDE // 16,
    ),
    "a VOI table goes before a window": (
        lambda d: write_dicom(
            d / "a.dcm", WIDE, VOILUTSequence=[table(0, 12, list(range(4096)))], WindowCenter=9, WindowWidth=5
        ),
        np.rint(WIDE / 4095 * 255),
    ),
    "a VOI table of negative values": (
        lambda d: write_dicom(d / "a.dcm", SIGNED, VOILUTSequence=[table(-1000, 8, [n // 10 for n in range(2551)])]),
        GREY,
    ),
    "a modality table": (
        lambda d: write_dicom(d / "a.dcm", WIDE, ModalityLUTSequence=[table(0, 16, [4095 - n for n in range(4096)])]),
        255 - GREY,
    ),
    "signed values": (lambda d: write_dicom(d / "a.dcm", SIGNED), GREY),
    "big-endian": (lambda d: write_dicom(d / "a.dcm", WIDE, big=True), GREY),
    "rubbish above 12 bits stored": (
        lambda d: write_dicom(d / "a.dcm", WIDE | np.uint16(0x5000), BitsStored=12, HighBit=11),
        GREY,
    ),
    "16-bit colours": (lambda d: write_dicom(d / "a.dcm", COLOURS.astype(np.uint16) * 257), SHADES),
    "one frame of an enhanced file with a window": (
        lambda d: write_dicom(
            d / "a.dcm",
            WIDE,
            NumberOfFrames=1,
            SharedFunctionalGroupsSequence=[enhanced(WindowCenter=2275.5, WindowWidth=2551)],
        ),
        GREY,
    ),
}

CONTRADICTION = "MONOCHROME1 and Presentation LUT Shape .* IDENTITY contradict each other"
DICOM_REFUSED: dict[str, tuple[Make, str]] = {
    "nothing but padding": (
        lambda d: write_dicom(d / "a.dcm", np.full((2, 3), 9, np.uint16), PixelPaddingValue=9),
        r"nothing but padding; see Pixel Padding Value \(0028,0120\)",
    ),
    "slope 0": (
        lambda d: write_dicom(d / "a.dcm", WIDE, RescaleSlope=0, RescaleIntercept=0),
        r"Rescale Slope \(0028,1053\) is 0",
    ),
    "an empty slope": (
        lambda d: write_dicom(d / "a.dcm", WIDE, RescaleSlope=None, RescaleIntercept=0),
        r"Rescale Slope \(0028,1053\) is empty",
    ),
    "slope NaN": (
        lambda d: write_dicom(d / "a.dcm", WIDE, RescaleSlope="NaN", RescaleIntercept=0),
        r"Rescale Slope \(0028,1053\) is nan|NaN",
    ),
    "an empty intercept": (
        lambda d: write_dicom(d / "a.dcm", WIDE, RescaleSlope=1, RescaleIntercept=None),
        r"Rescale Intercept \(0028,1052\) is empty",
    ),
    "a window of width 0": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowCenter=2000, WindowWidth=0),
        r"Window Width \(0028,1051\) is 0; with LINEAR it has to be at least 1",
    ),
    "a sigmoid of width -5": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowCenter=2000, WindowWidth=-5, VOILUTFunction="SIGMOID"),
        r"Window Width \(0028,1051\) is -5; with SIGMOID it has to be greater than 0",
    ),
    "a window without centre": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowWidth=100),
        r"only one of Window Center \(0028,1050\) and Window Width",
    ),
    "an empty centre": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowCenter=None, WindowWidth=100),
        r"Window Center \(0028,1050\) is empty",
    ),
    "an unknown window function": (
        lambda d: write_dicom(d / "a.dcm", WIDE, VOILUTFunction="CUBIC", WindowCenter=9, WindowWidth=9),
        "is 'CUBIC'; known: LINEAR, LINEAR_EXACT, SIGMOID",
    ),
    "a window in HU for values without rescaling": (
        lambda d: write_dicom(d / "a.dcm", WIDE, WindowCenter=-600, WindowWidth=1500),
        "shows one grey only: its values run from 1000 to 3550",
    ),
    "a VOI table shorter than it claims": (
        lambda d: write_dicom(d / "a.dcm", WIDE, VOILUTSequence=[table(0, 8, [1, 2, 3], claimed=9)]),
        "holds 3 entries, but its descriptor says 9",
    ),
    "polarity that contradicts itself": (
        lambda d: write_dicom(
            d / "a.dcm", WIDE, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY"
        ),
        CONTRADICTION,
    ),
    "two frames": (
        lambda d: write_dicom(d / "a.dcm", np.vstack([WIDE, WIDE]), Rows=2, NumberOfFrames=2),
        "holds 2 frames; expected one picture",
    ),
    "a high bit that does not fit": (
        lambda d: write_dicom(d / "a.dcm", WIDE, BitsStored=12, HighBit=15),
        r"High Bit \(0028,0102\) is 15, but Bits Stored \(0028,0101\) is 12",
    ),
    "fewer pixels than rows and columns say": (lambda d: write_dicom(d / "a.dcm", WIDE, Rows=9), "less than expected"),
    "more pixels than are read": (
        lambda d: write_dicom(d / "a.dcm", WIDE, Rows=65535, Columns=65535),
        "claims 65535 x 65535 pixels",
    ),
    "no pixel data": (lambda d: write_dicom(d / "a.dcm", WIDE, without=("PixelData",)), "holds no pixel data"),
    "a float picture with NaN": (
        lambda d: write_dicom(
            d / "a.dcm",
            WIDE,
            without=("PixelData", "BitsStored", "HighBit", "PixelRepresentation"),
            BitsAllocated=32,
            FloatPixelData=("OF", np.array([[0, np.nan, 1], [2, 3, 4]], "<f4").tobytes()),
        ),
        "holds NaN or infinite values",
    ),
}


PYDICOM_ALIKE = ("MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit", "MR_small_jp2klossless")
PYDICOM_REFUSED = {
    "MR_small_jpeg_ls_lossless": r"JPEG-LS Lossless Image Compression \(1\.2\.840\.10008\.1\.2\.4\.80\).*pylibjpeg",
    "JPEGLSNearLossless_08": r"JPEG-LS Lossy.*pylibjpeg-libjpeg",
    "JPGExtended": r"JPEG Extended.*12-bit precision; install .*pylibjpeg-libjpeg",
    "SC_rgb_jpeg_gdcm": r"JPEG Lossless.*install .*pylibjpeg-libjpeg",
    "rtdose": "holds 15 frames",
    "rtplan": r"holds no pixel data \(RT Plan Storage\)",
    "meta_missing_tsyntax": r"names no transfer syntax \(0002,0010\)",
    "no_meta": "is no DICOM file: the prefix DICM",
    "MR_truncated": "less than expected",
}


def shipped(name: str) -> Path:
    return Path(str(get_testdata_file(f"{name}.dcm", download=False)))


@pytest.mark.parametrize("name", [*REFUSED, *DICOM_REFUSED])
def test_what_cannot_be_read_right_is_refused_with_its_name(tmp_path, name):
    make, words = (REFUSED | DICOM_REFUSED)[name]
    path = make(tmp_path)
    with pytest.raises(CovbenchError) as error:
        read_picture(path)
    assert str(error.value).startswith(f"{path}: ")
    assert re.search(words, str(error.value)), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*READ, *DICOM_READ])
def test_what_can_be_read_shows_its_greys_upright(tmp_path, name):
    make, greys = (READ | DICOM_READ)[name]
    assert read_picture(make(tmp_path)).tolist() == np.asarray(greys).tolist()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_jpeg_is_turned_by_its_exif(tmp_path, orientation):
    upright = np.kron(GREY, np.ones((16, 16), np.uint8))
    found = read_picture(write_exif(tmp_path / "a.jpg", upright, orientation)).astype(int)
    assert np.abs(found - upright).max() <= 2


def test_a_cmyk_jpeg_is_read_as_it_looks(tmp_path):
    colours = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))
    found = read_picture(write_image(tmp_path / "a.jpg", colours, "CMYK", quality=100)).astype(int)
    assert np.abs(found[8::16, 8::16] - np.array(SHADES)).max() <= 3


@pytest.mark.parametrize("name", PYDICOM_ALIKE)
def test_one_picture_in_several_transfer_syntaxes_is_one_picture(name):
    assert np.array_equal(read_picture(shipped(name)), read_picture(shipped("MR_small")))


@pytest.mark.parametrize("name", PYDICOM_REFUSED)
def test_what_cannot_be_decoded_says_why_and_which_package_would(name):
    with pytest.raises(CovbenchError, match=PYDICOM_REFUSED[name]):
        read_picture(shipped(name))


def test_a_compressed_colour_picture_is_that_of_its_uncompressed_twin():
    pair = [read_picture(shipped(name)).astype(int) for name in ("examples_rgb_color", "examples_jpeg2k")]
    assert pair[0].std() > 10
    assert np.abs(np.array(Image.fromarray(pair[1].astype(np.uint8)).resize((320, 240))) - pair[0]).mean() < 8


def test_the_chunk_writer_makes_pictures_that_pillow_reads(tmp_path):
    """So that a refusal of a hand-made PNG is that of its fault."""
    write_png(tmp_path / "a.png", GREY[..., None])
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == GREY.tolist()
    assert chunk(b"IEND", b"") in (tmp_path / "a.png").read_bytes()
