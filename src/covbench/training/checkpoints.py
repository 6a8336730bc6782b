"""Keep a training on disk between restarts: its last two states and, once it has finished, its outputs."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from covbench.system.disk import require_space
from covbench.system.files import hash_file, write_checksum, write_json, write_whole

log = logging.getLogger(__name__)

KEPT_STATES = 2
LAYOUT = 2  # of a state: what its groups hold; a state of another layout is not loaded
FINISHED = "finished"

Arrays = Mapping[str, Sequence[np.ndarray]]


def save_state(folder: Path, arrays: Arrays, facts: Mapping[str, Any]) -> Path:
    """Write a state and keep the newest two.

    Args:
        folder: holds the states of the run.
        arrays: named groups of arrays, of any dtype except object.
        facts: plain values (JSON).

    Returns:
        The path of the new state.

    Raises:
        CovbenchError: The disk has no room. The earlier states stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _list_states(folder)
    path = folder / f"state-{_number(earlier[-1]) + 1 if earlier else 1:06d}.npz"
    named = {
        f"{group}_{position:05d}": array for group, members in arrays.items() for position, array in enumerate(members)
    }
    text = json.dumps({"layout": LAYOUT, "arrays": sorted(named), "facts": facts}, allow_nan=False).encode()
    what = f"the training state {path.name}; the last good one stays"
    size = sum(array.nbytes for array in named.values()) + len(text)
    require_space(folder, size, what)
    with write_whole(path, what, size) as temporary, open(temporary, "wb") as file:
        np.savez(file, contents=np.frombuffer(text, np.uint8), **named)  # type: ignore[arg-type]
    for old in [*earlier, path][:-KEPT_STATES]:
        old.unlink()
    return path


def load_state(folder: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
    """Load the newest usable state as groups of arrays and facts; None if there is none.

    Every array is checked against its CRC-32 in the archive, and the names against the list of names. The log names a
    state that is damaged or of another version's layout, and the state before it is loaded.
    """
    for path in reversed(_list_states(folder)):
        try:
            named, facts = _read_state(path)
        except Exception as error:  # a damaged archive can raise any error
            log.warning(
                "%s cannot be used (%s); the training resumes from an earlier state if there is one", path, error
            )
            continue
        groups: dict[str, list[np.ndarray]] = {}
        for name in sorted(named):
            groups.setdefault(name.rpartition("_")[0], []).append(named[name])
        return groups, facts
    return None


def _read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        named = {name: archive[name] for name in archive.files}
    contents = json.loads(named.pop("contents").tobytes())
    if contents.get("layout") != LAYOUT:
        raise ValueError("another version of covbench wrote it")
    if contents["arrays"] != sorted(named):
        raise ValueError("its arrays are not those in its list")
    return named, contents["facts"]


def _list_states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*.npz"), key=_number)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def keep_outputs(folder: Path, outputs: Mapping[str, str]) -> None:
    """Keep the outputs of a finished run as hard links, which take no space, with their hashes, and remove its states.

    The outputs get their checksum files, except JSON files, which hold their own hash. Folders of other fingerprints of
    the same run are removed, because their models are out of date.
    """
    hashes = {name: hash_file(Path(path)) for name, path in outputs.items()}
    _seal(outputs, hashes)
    with _fresh_folder(folder / FINISHED) as fresh:
        for path in outputs.values():
            _link(Path(path), fresh / Path(path).name)
        kept = {name: {"file": Path(path).name, "sha256": hashes[name]} for name, path in outputs.items()}
        write_json(fresh / "outputs.json", kept)
    for state in _list_states(folder):
        state.unlink()
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)


def publish_kept(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Write the kept outputs of a finished run again, after reading every byte of them.

    Returns False if no run has finished with these inputs, or if one of its outputs is damaged: in place, through the
    hard link, or on the disk. The damaged ones are removed, and the log says why the run is trained again.
    """
    kept = folder / FINISHED
    if not kept.is_dir():
        return False
    try:
        hashes = _check_kept(kept, outputs)
    except (ValueError, OSError) as error:
        log.warning("%s is damaged (%s): the run is trained again", kept, error)
        shutil.rmtree(kept)
        return False
    for path in outputs.values():
        with write_whole(path) as temporary:
            _link(kept / Path(path).name, temporary)
            os.utime(temporary)  # newer than the inputs, or Snakemake would run the job again
    _seal(outputs, hashes)
    return True


def _check_kept(kept: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    """Hash the kept outputs: sha256 by name. Raises ValueError if they are not what was kept, or other outputs."""
    listed = json.loads((kept / "outputs.json").read_text(encoding="utf-8"))
    if not isinstance(listed, dict) or set(listed) != set(outputs):
        raise ValueError("its list names other outputs")
    hashes = {name: hash_file(kept / Path(path).name) for name, path in outputs.items()}
    for name, entry in listed.items():
        if isinstance(entry, str):  # kept by an earlier version, which recorded no hashes
            log.warning("%s was kept without its hash, so it is not compared", kept / entry)
        elif not isinstance(entry, dict) or entry.get("sha256") != hashes[name]:
            raise ValueError(f"{Path(outputs[name]).name} is not what was kept")
    return hashes


def _seal(outputs: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    for name, path in outputs.items():
        if Path(path).suffix != ".json":
            write_checksum(Path(path), hashes[name])


@contextmanager
def _fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `folder` once it is complete."""
    fresh = folder.with_name(f".{os.getpid()}.{folder.name}")
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links, or the outputs are on another one
        shutil.copy2(source, target)
