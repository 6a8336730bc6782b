"""Copy a dataset from a folder of the user's, and make sure that the folder did not change meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from covbench.schema import Card, CovbenchError
from covbench.system.disk import require_space
from covbench.system.listings import join_first, list_differences

NOT_DATA = (".git",)  # in a mirror that is a clone

State = tuple[int, int, int]
"""Of a file: its size in bytes, and the times in ns of the last change of its content and of its inode."""


def find_in_mirror(card: Card, mirror: Path) -> Path:
    """Return the first of the card's mirror folders that exists in `mirror`. Raises CovbenchError if none does."""
    if not mirror.is_dir():
        raise CovbenchError(f"fetch.mirror: {mirror} is not a folder")
    for name in card.mirror_folders:
        if (mirror / name).is_dir():
            return mirror / name
    raise CovbenchError(
        f"fetch.mirror: {mirror} holds no folder named {' or '.join(card.mirror_folders)} for {card.title!r}; "
        "put it there under one of these names"
    )


def copy_mirror(mirrored: Path, folder: Path) -> int:
    """Copy a mirrored dataset unchanged into the new folder `folder`, and return its size in bytes.

    Links are followed. The files are listed again after the copy. Raises CovbenchError if one came, went or changed
    meanwhile, if one cannot be read, or if a link leads back to a folder that holds it.
    """
    before = list_states(mirrored)
    if not before:
        raise CovbenchError(f"fetch.mirror: {mirrored} holds no files")
    size = sum(state[0] for state in before.values())
    require_space(folder.parent, size, f"a copy of {mirrored}")
    folder.mkdir(parents=True)
    for name, state in tqdm(before.items(), desc=f"copy {mirrored.name}", unit="file", mininterval=1, leave=False):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(mirrored / name, target)
        except FileNotFoundError as error:
            if not folder.is_dir():
                raise CovbenchError(f"{folder} was removed while {mirrored} was copied into it; fetch again") from error
            raise _changed(mirrored, [f"{name} (gone)"]) from error
        except PermissionError as error:
            raise CovbenchError(f"fetch.mirror: {mirrored / name}: {error.strerror}; give this user access") from error
        if target.stat().st_size != state[0]:
            raise _changed(mirrored, [f"{name} (changed)"])
    if differing := list_differences(before, list_states(mirrored), "gone"):
        raise _changed(mirrored, differing)
    if missing := before.keys() - {path.relative_to(folder).as_posix() for path in folder.rglob("*")}:
        raise CovbenchError(f"{folder}: {min(missing)} vanished from the copy of {mirrored}; fetch again")
    return size


def list_states(folder: Path) -> dict[str, State]:
    """List every file below a folder, by path with forward slashes, with its state.

    Raises CovbenchError for what is no file or folder, cannot be read, or has a name that is not UTF-8.
    """
    states: dict[str, State] = {}
    for path in _list_files(folder, (folder.resolve(),)):
        name = path.relative_to(folder).as_posix()
        try:
            name.encode()
            states[name] = read_state(path)
        except UnicodeEncodeError as error:
            raise CovbenchError(f"fetch.mirror: the file name {name!r} is not UTF-8; rename the file") from error
        except FileNotFoundError:
            continue  # its absence shows when two lists are compared
    return states


def read_state(path: Path) -> State:
    """Return what changes when a file is written to or replaced."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _list_files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files below `folder`. above: the real folders that hold it, and its own."""
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return  # its absence shows when two lists are compared
    except PermissionError as error:
        raise CovbenchError(f"fetch.mirror: {folder}: {error.strerror}; give this user access") from error
    for path in paths:
        if path.is_dir():
            real = path.resolve()
            if real in above:
                raise CovbenchError(f"fetch.mirror: the link {path} leads to a folder that holds it; remove the link")
            if path.name not in NOT_DATA:
                yield from _list_files(path, (*above, real))
        elif path.is_file():
            yield path
        elif path.is_symlink() or path.exists():
            raise CovbenchError(
                f"fetch.mirror: {path} is neither a file nor a folder (a broken link?); repair or remove it"
            )


def _changed(mirrored: Path, differing: list[str]) -> CovbenchError:
    return CovbenchError(
        f"fetch.mirror: {mirrored} changed while it was copied: {join_first(differing)}; "
        "wait until nothing writes there, and fetch again"
    )
