"""Decoded images on disk, kept by content: an image is decoded once for its index, its thumbnail and every array.

docs/explanation/decisions/018-decoded-images-are-kept.md says what this costs and saves.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import logging
import os
import struct
import threading
import zlib
from contextlib import suppress
from io import FileIO
from pathlib import Path

import numpy as np

from covbench.system.disk import LEFT_BY_CACHES, leaves_room, show_bytes
from covbench.system.files import hash_file, open_at_any_position, write_at

log = logging.getLogger(__name__)

DECODERS = ("decoding", "dicom", "dicom_tables", "images", "pictures", "row_images", "volumes", "windows")
"""Modules of covbench.data that decide how a file is decoded."""
PACKAGES = (
    *("numpy", "pillow", "opencv-python-headless", "nibabel", "pydicom"),
    *("pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"),  # pydicom uses them if there
)

_MARK = struct.Struct("<32s32sQIII")  # key, sha256 in the index, offset, height, width, CRC-32 of the pixels
_SEAL = struct.Struct("<I")  # CRC-32 of the mark
_ENTRY = _MARK.size + _SEAL.size


def open_store(raw: Path) -> DecodedStore:
    """Open the store of a dataset: data/decoded/{dataset} beside data/raw/{dataset}.

    raw: the dataset's folder. For a folder that does not lie in one called `raw`, nothing is kept.
    """
    return DecodedStore(raw.parent.with_name("decoded") / raw.name if raw.parent.name == "raw" else None)


def describe_decoding() -> str:
    """Hash the code and the versions of the packages that decide how a file is decoded: 16 hexadecimal digits."""
    code = [hash_file(Path(__file__).with_name(f"{name}.py")) for name in DECODERS]
    found = json.dumps([code, [_version(name) for name in PACKAGES]])
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


class DecodedStore:
    """Decoded images by key: a file with their pixels, and a file with a mark for each.

    Several threads and processes may use one store. A mark is written after its pixels and holds their CRC-32 and its
    own. What a kill, a full disk or a bad sector has spoilt does not match, counts as missing, and is decoded anew.
    The folder may be deleted at any time.
    """

    def __init__(self, folder: Path | None) -> None:
        """Open or make the two files, and remove those of other versions. Without a folder, nothing is kept."""
        self._places: dict[bytes, tuple[bytes, int, int, int, int]] = {}
        self._seen = 0
        self._lock = threading.Lock()
        self._pixels: FileIO | None = None
        self._marks: FileIO | None = None
        self._full = folder is None
        if folder is not None:
            try:
                self._open(folder)
            except OSError as error:
                self._stop(str(error))

    def _open(self, folder: Path) -> None:
        name = describe_decoding()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.stem != name:
                path.unlink(missing_ok=True)
        self._pixels, self._marks = (open_at_any_position(folder / f"{name}.{kind}") for kind in ("pixels", "marks"))

    def __enter__(self) -> DecodedStore:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._pixels, self._marks):
            if file is not None:
                file.close()

    def read(self, key: bytes) -> tuple[str, np.ndarray] | None:
        """Read an image.

        key: 32 bytes that stand for a file's content and for how it is decoded.

        Returns its sha256 as in the index, and the image, uint8, (H, W). None if it is not kept, or damaged.
        """
        found = self._read_pixels(key)
        if found is None and self._marks is not None:
            with self._lock, suppress(OSError):
                self._read_marks(self._marks)
            found = self._read_pixels(key)
        return found

    def _read_pixels(self, key: bytes) -> tuple[str, np.ndarray] | None:
        place = self._places.get(key)
        if place is None or self._pixels is None:
            return None
        sha256, offset, height, width, crc = place
        try:
            data = os.pread(self._pixels.fileno(), height * width, offset)
        except OSError:  # a bad sector
            return None
        if len(data) != height * width or zlib.crc32(data) != crc:
            return None
        return sha256.hex(), np.frombuffer(data, np.uint8).reshape(height, width)

    def keep(self, key: bytes, sha256: str, image: np.ndarray) -> None:
        """Keep an image that is not kept yet, or damaged. If that is not possible, the log says so once.

        Args:
            key: as for read.
            sha256: of the image, as in the index.
            image: uint8, (H, W).
        """
        with self._lock:
            if self._full or self._pixels is None or self._marks is None:
                return
            try:
                if leaves_room(self._pixels, image.nbytes):
                    self._append(self._pixels, self._marks, (key, bytes.fromhex(sha256)), image)
                else:
                    self._stop(f"less than {show_bytes(LEFT_BY_CACHES)} of the disk are free")
            except OSError as error:
                self._stop(str(error))

    def _append(self, pixels: FileIO, marks: FileIO, names: tuple[bytes, bytes], image: np.ndarray) -> None:
        """Write pixels behind all others, then their mark, while no other process does. A cut mark is written over."""
        fcntl.flock(marks, fcntl.LOCK_EX)
        try:
            self._read_marks(marks)
            if self._read_pixels(names[0]) is not None:
                return
            data, offset = image.tobytes(), os.fstat(pixels.fileno()).st_size
            write_at(pixels, data, offset)
            mark = _MARK.pack(*names, offset, *image.shape, zlib.crc32(data))
            write_at(marks, mark + _SEAL.pack(zlib.crc32(mark)), self._seen)
            self._read_marks(marks)
        finally:
            fcntl.flock(marks, fcntl.LOCK_UN)

    def _read_marks(self, marks: FileIO) -> None:
        """Read the marks that this or another process has written since. Of two marks with one key the last counts."""
        new = os.fstat(marks.fileno()).st_size - self._seen
        data = os.pread(marks.fileno(), new, self._seen) if new > 0 else b""
        for start in range(0, len(data) - _ENTRY + 1, _ENTRY):
            mark, seal = data[start : start + _MARK.size], data[start + _MARK.size : start + _ENTRY]
            if seal == _SEAL.pack(zlib.crc32(mark)):
                key, sha256, offset, height, width, crc = _MARK.unpack(mark)
                self._places[key] = sha256, offset, height, width, crc
            self._seen += _ENTRY

    def _stop(self, why: str) -> None:
        self._full = True
        log.warning("decoded images are not kept, so each later job decodes them again: %s", why)
