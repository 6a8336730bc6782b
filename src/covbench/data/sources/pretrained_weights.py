"""ImageNet weight files: which exist, where they come from, and how each is fetched and verified.

The table is workflow/resources/weights.csv. A file's local name includes the library (`keras_mobilenetv2.h5`), because
two libraries publish different files under one name. A substitute is a file that nobody publishes for a network, but
that a network can start from. It has a name and a checksum of its own and is used only if the config names it.
"""

from __future__ import annotations

import csv
import functools
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from covbench.data.sources.downloads import download, find_wrong_sum
from covbench.data.sources.fetch_lock import lock_fetch
from covbench.data.sources.mirrors import read_state
from covbench.schema import CovbenchError
from covbench.system.content_hashes import checksum_path, read_checksum, write_checksum
from covbench.system.disk import explain_full_disk, require_space
from covbench.system.files import PROJECT, hash_file

log = logging.getLogger(__name__)

TABLE = PROJECT / "workflow" / "resources" / "weights.csv"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Weights:
    """One line of the table.

    key: name in the catalogue, `library/network`; of a substitute, the name in `weights.substitutes` of the config.
    file: name in data/weights.
    upstream_file: name at `url`, or the name under which the library caches it; of a substitute, a name in a mirror.
    url: address; empty for a substitute, which comes from a mirror.
    checksum: `md5:…` or `sha256:…` as published; ours where none is, with its origin in the note; empty if the file was
        never seen here.
    accepted_checksum: checksum of another file that holds the same arrays; empty if none is known.
    replaces: keys of the files that a substitute stands in for, separated by spaces; empty for a published file.
    """

    key: str
    file: str
    upstream_file: str
    url: str
    checksum: str
    accepted_checksum: str
    note: str
    replaces: str


@functools.cache
def read_weights_table(table: Path = TABLE) -> tuple[Weights, ...]:
    """Read every weight file that the catalogue's networks can start from."""
    with open(table, newline="", encoding="utf-8") as file:
        return tuple(Weights(**line) for line in csv.DictReader(file, restval=""))


@functools.cache
def weights_file(key: str, substitutes: tuple[str, ...] = ()) -> str:
    """Return the name in data/weights of the file that a network starts from.

    key: such as `keras/vgg16` or `sm/vgg19`. substitutes: as in the config; the first that replaces the file is used.
    """
    keys = {weights.key: weights for weights in read_weights_table()}
    if key not in keys:
        raise CovbenchError(f"unknown weights {key!r}; known: {', '.join(keys)}")
    known = {weights.key: weights for weights in list_substitutes()}
    fitting = [known[name].file for name in substitutes if key in known[name].replaces.split()]
    return fitting[0] if fitting else keys[key].file


def list_substitutes(table: Path = TABLE) -> tuple[Weights, ...]:
    """List the weight files that the config may use instead of published ones."""
    return tuple(weights for weights in read_weights_table(table) if weights.replaces)


def fetch_weights(file: str, folder: Path, mirror: Path | None = None, table: Path = TABLE) -> Path:
    """Fetch one weight file from its address or from a mirror, and verify it.

    The file's checksum file is written beside it as `{file}.sha256`, and a later fetch has to bring the same file. One
    process at a time fetches a file; others wait.

    Args:
        file: name of the file in data/weights.
        folder: folder for the file.
        mirror: folder that holds the file under its local or its upstream name; None fetches it from its address.
        table: path of the table of weight files.

    Returns:
        The path of the file.

    Raises:
        CovbenchError: the name is unknown, the mirror does not hold the file, there is no network, the checksum is
            wrong, the file is not HDF5, or no space is left. No unverified file of that name remains.
    """
    known = {weights.file: weights for weights in read_weights_table(table)}
    if file not in known:
        raise CovbenchError(f"unknown weight file {file!r}; known: {', '.join(known)}")
    weights, target, temporary = known[file], folder / file, folder / ".downloads" / file
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with explain_full_disk(folder, file), lock_fetch(target):
        for leftover in (*folder.glob(f".*.{file}.sha256"), *temporary.parent.glob(f".*.{file}.part.json")):
            leftover.unlink()  # of a killed fetch
        origin = _bring(weights, tuple(known.values()), mirror, temporary)
        try:
            _refuse_substitute(weights, temporary, origin, list_substitutes(table))
            _verify(weights, temporary, origin, target)
        except CovbenchError:
            temporary.unlink()
            raise
        write_checksum(target, hash_file(temporary))
        os.replace(temporary, target)
    return target


def find_origin(file: str, mirror: Path | None = None, table: Path = TABLE) -> str:
    """Where fetch_weights would bring a file from: its path in the mirror, or its address.

    Args:
        file: Name in data/weights.
        mirror: Folder that holds weight files; None: from the file's address.
        table: As workflow/resources/weights.csv.

    Returns:
        A path or a URL.

    Raises:
        CovbenchError: The name is unknown, or the mirror does not hold the file.
    """
    known = {weights.file: weights for weights in read_weights_table(table)}
    if file not in known:
        raise CovbenchError(f"unknown weight file {file!r}; known: {', '.join(known)}")
    if mirror:
        return str(_find_in_mirror(known[file], mirror, tuple(known.values())))
    _require_address(known[file])
    return known[file].url


def _bring(weights: Weights, table: tuple[Weights, ...], mirror: Path | None, target: Path) -> str:
    """Copy the file from the mirror, or download it from its address, and return where it came from."""
    if mirror is not None:
        origin = _find_in_mirror(weights, mirror, table)
        before = read_state(origin)
        require_space(target.parent, before[0], weights.file)
        shutil.copyfile(origin, target)
        if before != read_state(origin) or target.stat().st_size != before[0]:
            raise CovbenchError(f"weights.mirror: {origin} changed while it was copied; fetch again")
        return str(origin)
    _require_address(weights)
    names = " or ".join(_mirror_names(weights, table))
    remedy = (
        f"download {weights.url} elsewhere, put it into a folder as {names}, and set weights.mirror to that "
        "folder (`weights: none` trains without it)"
    )
    download(weights.url, target, checksum=weights.checksum, remedy=remedy)
    return weights.url


def _require_address(weights: Weights) -> None:
    if not weights.url:
        raise CovbenchError(
            f"{weights.file}: nobody publishes this file; set weights.mirror to a folder that holds it, or take "
            f"{weights.key} out of weights.substitutes"
        )


def _mirror_names(weights: Weights, table: tuple[Weights, ...]) -> list[str]:
    """List the names that a mirror may give the file, without an upstream name that two unverifiable files share."""
    upstream = list(dict.fromkeys(filter(None, [weights.upstream_file, Path(urlsplit(weights.url).path).name])))
    shared = [other.key for other in table if other.upstream_file == weights.upstream_file]
    return [weights.file] if len(shared) > 1 and not weights.checksum else [weights.file, *upstream]


def _find_in_mirror(weights: Weights, mirror: Path, table: tuple[Weights, ...]) -> Path:
    if not mirror.is_dir():
        raise CovbenchError(f"weights.mirror: {mirror} is not a folder")
    names = _mirror_names(weights, table)
    for name in names:
        if (mirror / name).is_file():
            return mirror / name
    remedy = f"download it from {weights.url}" if weights.url else f"its checksum is {weights.checksum}"
    raise CovbenchError(
        f"weights.mirror: {mirror} holds no {' or '.join(names)}; {remedy}, or train without it: `weights: none`"
    )


def _refuse_substitute(weights: Weights, path: Path, origin: str, substitutes: tuple[Weights, ...]) -> None:
    """Raise CovbenchError if a file that has a published one's name is a known substitute."""
    for other in substitutes:
        if other.key != weights.key and not find_wrong_sum(path, other.checksum):
            raise CovbenchError(
                f"{weights.file} from {origin}: this is not the published file but {other.key} ({other.note}); "
                f"to use it under its own name, set weights.substitutes: [{other.key}]"
            )


def _verify(weights: Weights, path: Path, origin: str, target: Path) -> None:
    """Raise CovbenchError unless the file is HDF5, has a known checksum, and is the file of earlier fetches."""
    with open(path, "rb") as file:
        if file.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            raise CovbenchError(f"{weights.file} from {origin}: not an HDF5 file; is it a login or error page?")
    wrong = find_wrong_sum(path, weights.checksum)
    accepted = weights.accepted_checksum and not find_wrong_sum(path, weights.accepted_checksum)
    if wrong and not accepted:
        raise CovbenchError(f"{weights.file} from {origin}: {wrong}; the copy was removed")
    checksum_file, before = checksum_path(target), read_checksum(target)
    if before:
        now = hash_file(path)
        if before != now:
            raise CovbenchError(
                f"{weights.file} from {origin} is not the file of an earlier fetch: sha256 was {before}, is {now}; "
                f"to accept it delete {checksum_file}"
            )
    elif not weights.checksum and not accepted:
        _require_whole_hdf5(weights.file, path, origin)
        log.warning(
            "%s: no checksum is published; its sha256 is kept in %s; to record it for everybody, put sha256:%s into "
            "the column checksum of workflow/resources/weights.csv, and where the file came from into its note",
            *(weights.file, checksum_file, hash_file(path)),
        )


def _require_whole_hdf5(file: str, path: Path, origin: str) -> None:
    """Raise CovbenchError if a file that nothing else verifies is cut off: HDF5 knows its own length."""
    import h5py  # needed for few files only

    try:
        h5py.File(path).close()
    except OSError as error:
        raise CovbenchError(f"{file} from {origin}: not a whole HDF5 file ({error}); the copy was removed") from error
