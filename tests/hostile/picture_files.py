"""Writers of the pictures, DICOM files and volumes that the hostile inputs are made of."""

import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

GREY = np.array([[0, 60, 120], [180, 220, 255]], np.uint8)
WIDE = np.array([[1000, 1600, 2200], [2800, 3200, 3550]], np.uint16)  # 10 times GREY, and 1000
LPS = np.diag([-1.0, -1.0, 5.0, 1.0])


def lie(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The array that is stored where EXIF says `orientation`: which side is row 0, which is column 0."""
    stored = upright.swapaxes(0, 1) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):
        stored = stored[::-1]
    if orientation in (2, 3, 7, 8):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def write_image(path: Path, values: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(values) if mode is None else Image.fromarray(values).convert(mode)
    image.save(path, **options)
    return path


def write_tiff(path: Path, values: np.ndarray, orientation: int = 1, **options) -> Path:
    tifffile.imwrite(path, lie(values, orientation), extratags=[(274, "H", 1, orientation, True)], **options)
    return path


def write_exif(path: Path, values: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    options = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    return write_image(path, lie(values, orientation), exif=exif, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: Path, values: np.ndarray, claimed: tuple[int, int] | None = None, orientation: int = 1) -> Path:
    """A PNG of any depth and number of channels. `claimed`: width and height in its header."""
    rows, columns, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    size = claimed or (columns, rows)
    header = struct.pack(">IIBBBBB", *size, 8 * values.dtype.itemsize, colour, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(values.dtype.newbyteorder(">")).tobytes() for line in values)
    exif = chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 274, 3, 1, orientation, 0) + b"\0\0\0\0")
    body = chunk(b"IHDR", header) + exif + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def table(first: int, bits: int, entries: list[int], claimed: int | None = None) -> Dataset:
    """An item of a modality or VOI LUT sequence. `claimed`: entries that its descriptor states."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [claimed or len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return item


def write_dicom(path: Path, pixels: np.ndarray, big: bool = False, without: tuple[str, ...] = (), **fields) -> Path:
    """A DICOM file of `pixels`; `fields` go over the tags that fit them, and those in `without` are left out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    data.add_new("PixelData", "OW", stored + b"\0" * (len(stored) % 2))
    for name, value in fields.items():
        if isinstance(value, tuple):
            data.add_new(name, *value)
        else:
            setattr(data, name, value)
    for name in without:
        del data[name]
    pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=not big)
    return path


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = LPS, axes: str = "LPS") -> Path:
    """A volume whose array is given in LPS, stored in other `axes` with a right header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, affine)
    if axes != "LPS":
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt(tuple("LPS")), nib.orientations.axcodes2ornt(tuple(axes))
        )
        image = image.as_reoriented(turn)
    nib.save(image, path)
    return path
