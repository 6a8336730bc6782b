"""Read slices of NIfTI volumes and .npy stacks, and check their headers against what the files hold."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covbench.data.decoding import MAX_BYTES, check_size, naming, turn_upright
from covbench.schema import CovbenchError

VOLUMES = (".nii", ".nii.gz")
DEFAULT_AXES = "RAS"  # of NIfTI's own space, taken where neither header nor dataset states any
OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
MAX_RATIO = 1100  # gzip packs at most 1032 bytes into one
CHUNK = 2**20


def is_volume(path: Path) -> bool:
    """Return whether a file is a NIfTI volume, by its suffix in upper or lower case. Hidden files are not."""
    return path.name.lower().endswith(VOLUMES) and not path.name.startswith(".")


def open_volume(path: Path) -> Any:
    """Open a NIfTI volume without reading its voxels. Raises CovbenchError if it is not one volume of grey numbers."""
    import nibabel as nib

    with naming(path):
        image: Any = nib.load(path)
        shape, kind = image.shape, image.get_data_dtype()
        if kind.kind not in "iuf":
            what = "colours" if kind.names else f"{kind} numbers"
            raise CovbenchError(f"holds {what}; expected one real number per voxel")
        if len(shape) < 3 or 0 in shape:
            raise CovbenchError(f"its shape is {shape}; expected three axes with voxels")
        if np.prod(shape[3:]) > 1:
            raise CovbenchError(f"holds {int(np.prod(shape[3:]))} volumes ({shape}); expected one")
        check_size(*sorted(shape[:3])[1:])
        if image.dataobj.offset < image.header.sizeof_hdr:
            raise CovbenchError(f"its header places the voxels at byte {image.dataobj.offset}, inside itself")
        size, limit = int(np.prod(shape, dtype=np.int64)) * kind.itemsize, path.stat().st_size
        if size > (limit * MAX_RATIO if path.name.lower().endswith(".gz") else limit):
            raise CovbenchError(f"its header claims {size:,} bytes of voxels, more than the file holds")
        if size > MAX_BYTES:
            raise CovbenchError(f"its header claims {size:,} bytes of voxels; at most {MAX_BYTES:,} are read")
        return image


def open_stack(path: Path) -> np.ndarray:
    """Map a .npy stack, (N, H, W) or (N, H, W, C). Raises CovbenchError if it is no array of real numbers."""
    with naming(path):
        with path.open("rb") as file:
            start = file.read(6)
        if start[:1] == b"\x80" or start[:4] == b"PK\x03\x04":
            what = "pickled Python objects, which can run code" if start[:1] == b"\x80" else "an archive of arrays"
            raise CovbenchError(f"holds {what}; save it with numpy.save as one array of numbers")
        try:
            stack = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "object" not in str(error).lower():
                raise
            raise CovbenchError("holds pickled Python objects, which can run code; save it as numbers") from error
        if stack.dtype.kind not in "biuf":
            raise CovbenchError(f"holds {stack.dtype} values; expected real numbers")
        if stack.ndim not in (3, 4) or 0 in stack.shape:
            raise CovbenchError(f"its shape is {stack.shape}; expected slices, rows, columns and perhaps channels")
        check_size(*stack.shape[1:3])
        return stack


def check_whole(path: Path) -> None:
    """Read a packed NIfTI file to its end.

    Raises CovbenchError if it is truncated, if its checksum is wrong, or if it holds more slices than its header says.
    """
    image = open_volume(path)
    end = image.dataobj.offset + int(np.prod(image.shape, dtype=np.int64)) * image.get_data_dtype().itemsize
    slice_bytes = (end - image.dataobj.offset) // max(image.shape[:3])
    with naming(path):
        size = path.stat().st_size
        if path.name.lower().endswith(".gz"):
            size = 0
            with gzip.open(path) as file:
                while size < end + slice_bytes and (chunk := file.read(CHUNK)):
                    size += len(chunk)
        if not end <= size < end + slice_bytes:
            raise CovbenchError(f"its header claims {end:,} bytes, but the file holds {size:,} or more")


def header_orientation(path: Path) -> str:
    """Return the directions of a NIfTI volume's three axes ('LPS'), empty if its header is a placeholder.

    A header is a placeholder if both its codes are 0, or if its matrix is the identity. Raises CovbenchError if its
    matrix is singular, or if its two statements contradict each other.
    """
    image = open_volume(path)
    with naming(path):
        stated = [
            matrix
            for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True))
            if code and matrix is not None
        ]
        axes = [_name_axes(matrix) for matrix in stated]
        if len(set(axes)) > 1:
            raise CovbenchError(f"its sform says {axes[0]}, its qform {axes[1]}; correct the wrong one")
        return "" if not axes or np.allclose(stated[0], np.eye(4)) else axes[0]


def _name_axes(matrix: np.ndarray) -> str:
    import nibabel as nib

    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(matrix[:3, :3]) < 3:
        raise CovbenchError("the matrix in its header is singular or not finite")
    return "".join(nib.aff2axcodes(matrix))


def stored_axes(path: Path, orientation: str = "") -> str:
    """Return the directions of a volume's three axes.

    path: a NIfTI volume.
    orientation: three letters that go before the header, or fewer, which do not.
    """
    return orientation if len(orientation) == 3 else header_orientation(path) or DEFAULT_AXES


def count_frames(path: Path) -> int:
    """Count the slices in a NIfTI volume or .npy stack, without reading them."""
    if not is_volume(path):
        return int(open_stack(path).shape[0])
    return int(open_volume(path).shape[_slice_axis(stored_axes(path))])


def _slice_axis(axes: str) -> int:
    return next((axis for axis, letter in enumerate(axes) if letter in "SI"), 2)


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
    with naming(path):
        slices = _read_volume(path, frames, orientation) if is_volume(path) else _read_stack(path, frames, orientation)
        for values in slices:
            yield np.ascontiguousarray(values)


def _read_stack(path: Path, frames: Sequence[int], orientation: str) -> Iterator[np.ndarray]:
    stack = open_stack(path)
    for frame in frames:
        values = np.asarray(stack[frame])
        yield turn_upright(values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values, orientation)


def _read_volume(path: Path, frames: Sequence[int], orientation: str) -> Iterator[np.ndarray]:
    """Read slices of a NIfTI volume.

    A single slice is sliced from the file. Several share one pass and are kept in the stored type to save memory.
    """
    image = open_volume(path)
    axes = stored_axes(path, orientation)
    axis = _slice_axis(axes)
    in_plane = axes.replace(axes[axis], "")
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


def match_mask(image: Path, mask: Path, axes: str) -> tuple[str, bool]:
    """Compare the grid of a mask with that of its image.

    A mask may be stored in other directions than its image, if both headers say so. A header that is a placeholder says
    nothing, and then the mask is stored like its image.

    Args:
        image: a NIfTI volume or .npy stack.
        mask: a NIfTI volume or .npy stack.
        axes: the directions of the image's axes, as it is read.

    Returns:
        The directions in which the mask is to be read, and whether its slices run the other way.

    Raises:
        CovbenchError: they differ in the number of slices, in shape, or by more than half a voxel in place.
    """
    with naming(mask):
        here, there = count_frames(mask), count_frames(image)
        if here != there:
            raise CovbenchError(f"has {here} slices, its image {image.name} {there}")
        if not (is_volume(image) and is_volume(mask) and header_orientation(image) and header_orientation(mask)):
            return axes, False
        turns = _compare_grids(open_volume(image), open_volume(mask))
        found = [axes[axis] if flip > 0 else OPPOSITE[axes[axis]] for axis, flip in turns]
        flipped = next(flip < 0 for axis, flip in turns if axis == _slice_axis(axes))
        return "".join(found), flipped


def _compare_grids(image: Any, mask: Any) -> list[tuple[int, int]]:
    """Return for each axis of the mask the axis of the image beside which it lies, and -1 where it runs against it."""
    from nibabel.orientations import inv_ornt_aff, io_orientation, ornt_transform

    turn = ornt_transform(io_orientation(mask.affine), io_orientation(image.affine))
    turns = [(int(axis), int(flip)) for axis, flip in turn]
    shape = tuple(int(mask.shape[[a for a, _ in turns].index(axis)]) for axis in range(3))
    if shape != image.shape[:3]:
        raise CovbenchError(f"its shape in the image's directions is {shape}, that of its image {image.shape[:3]}")
    corners = np.array([[*np.unravel_index(n, (2, 2, 2))] for n in range(8)]) * (np.array(shape) - 1)
    homogeneous = np.column_stack([corners, np.ones(8)])
    to_mask = mask.affine @ inv_ornt_aff(turn, mask.shape[:3])
    off = (np.linalg.inv(image.affine) @ to_mask @ homogeneous.T).T[:, :3] - corners
    if np.abs(off).max() > 0.5:
        raise CovbenchError(
            f"its header places it {np.abs(off).max():.1f} voxels away from its image; resample the mask to the "
            "image's grid, or correct the header that is wrong"
        )
    return turns
