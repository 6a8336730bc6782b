"""Contestants from elsewhere: folders with a contestant.yaml, found by themselves and named in the config."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from covbench.experiment.config_files import check_config_file
from covbench.experiment.shapes import check_shape, suggest
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError, Run
from covbench.system.content_hashes import describe_file, hash_content
from covbench.system.files import PROJECT

CONTESTANTS = PROJECT / "contestants"
CARD = "contestant.yaml"
PREDICTIONS = "predictions"
"""The folder inside a contestant's own that holds stored predictions: TASK/PROTOCOL/SEED and one of STORED."""
STORED = {CLASSIFICATION: ".parquet", SEGMENTATION: ".npz"}
SCHEMA = PROJECT / "workflow" / "schemas" / "contestant.schema.yaml"
PLACEHOLDERS = ("input", "output", "seed", "device", "threads")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
NAME_RULE = "use at most 40 small letters, digits and _, and begin with a letter"


@dataclass(frozen=True)
class ContestantCard:
    """What contestant.yaml says. workflow/schemas/contestant.schema.yaml explains each key.

    folder: the contestant's own. environment: kind of the file -> its name. memory: MB.
    """

    name: str
    folder: Path
    title: str
    kind: str
    citation: str
    contact: str
    training_data: str
    answers: str
    command: str
    arguments: str
    images: str
    external: bool
    environment: Mapping[str, str]
    threads: int
    gpu: int
    memory: int
    hours: float

    @property
    def requirements(self) -> Path | None:
        """Its requirements file; None if it runs with the packages of covbench."""
        name = self.environment.get("requirements")
        return self.folder / name if name else None


def list_contestants(folder: Path = CONTESTANTS) -> list[str]:
    """List the contestants by name: the folders that hold a contestant.yaml."""
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD}"))


def read_contestant(name: str, folder: Path = CONTESTANTS) -> ContestantCard:
    """Read and check the contestant.yaml of a contestant.

    Args:
        name: of the contestant and of its folder.
        folder: the one that holds all contestants.

    Returns:
        The card, with defaults filled in.

    Raises:
        CovbenchError: there is no such folder, its name is taken or no name, or the file is wrong.
    """
    path = folder / name / CARD
    if not path.is_file():
        raise CovbenchError(f"{path} does not exist; {suggest(name, list_contestants(folder))}")
    return _read_card(name, folder, tuple(describe_file(path).values()))


@functools.cache
def _read_card(name: str, folder: Path, stamp: tuple[int, ...]) -> ContestantCard:
    """Read a card once: planning asks for it for each run. stamp: of its file, as describe_file."""
    path = folder / name / CARD
    check_name(name)
    check_config_file(path)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    label = f"{folder.name}/{name}/{CARD}"
    card = ContestantCard(name, path.parent, **check_shape(_require_keys(values, label), SCHEMA, label))
    if card.requirements and not card.requirements.is_file():
        raise CovbenchError(f"{label}: environment.requirements: {card.requirements} does not exist; write the file")
    if card.external and card.images == "files":
        raise CovbenchError(f"{label}: external: other datasets are shown as png, arrays or nifti; change images")
    try:
        fill_command(card.command, card.arguments, **dict.fromkeys(PLACEHOLDERS, ""))
    except CovbenchError as error:
        raise CovbenchError(f"{label}: {error}") from error
    return card


def fill_command(command: str, arguments: str = "", **values: object) -> list[str]:
    """Fill the placeholders of a command and divide it into words. A value with blanks stays one word.

    Args:
        command: as in contestant.yaml.
        arguments: words that take the place of {arguments}.
        values: for each of PLACEHOLDERS.

    Returns:
        The words.

    Raises:
        CovbenchError: a placeholder is unknown, or the quotes do not match.
    """
    try:
        words = [
            shlex.split(arguments) if word == "{arguments}" else [word.format(**values)]
            for word in shlex.split(command)
        ]
        return [word for part in words for word in part]
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        known = ", ".join(f"{{{name}}}" for name in (*PLACEHOLDERS, "arguments"))
        raise CovbenchError(
            f"command {command!r}: {error} is not understood; known: {known}; write {{{{ for {{"
        ) from error


def check_name(name: str) -> None:
    """Raise CovbenchError if a contestant cannot be called this: it is no plain name, or a network has it."""
    if not NAME.fullmatch(name):
        raise CovbenchError(f"contestant {name!r}: {NAME_RULE}")
    if name in {**CLASSIFIERS, **SEGMENTERS, **BASELINES}:
        raise CovbenchError(f"contestant {name!r}: a network or baseline has this name; choose another")


def _require_keys(values: object, label: str) -> dict[str, object]:
    if not isinstance(values, dict):
        raise CovbenchError(f"{label}: holds no keys; write `title: ...` and `kind: ...`")
    return values


def stored_path(card: ContestantCard, run: Run) -> Path | None:
    """Return the path of the stored predictions of a run; None if the contestant has a command or none are stored."""
    if card.command:
        return None
    path = card.folder / PREDICTIONS / run.task / run.protocol / f"{run.seed}{STORED[card.kind]}"
    return path if path.is_file() else None


def hash_contestant(run: Run, folder: Path = CONTESTANTS) -> dict[str, str]:
    """Hash the files of a contestant that decide a run: all but stored predictions of other runs.

    Args:
        run: the run. Its architecture is the name of the contestant.
        folder: the one that holds all contestants.

    Returns:
        sha256 by path relative to the folder's parent, such as `contestants/hog_svm/run.py`.
    """
    own = folder / run.architecture
    stored = own / PREDICTIONS
    mine = stored / run.task / run.protocol / str(run.seed)
    chosen = [path for path in _list_files(own) if stored not in path.parents or path.with_suffix("") == mine]
    return {path.relative_to(folder.parent).as_posix(): hash_content(path) for path in chosen}


def copy_contestant(source: Path, target: Path) -> None:
    """Copy the files of a contestant that decide its runs, without stored predictions, into a new folder."""
    for path in _list_files(source):
        if source / PREDICTIONS not in path.parents:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copied)


def _list_files(folder: Path) -> list[Path]:
    """List the files of a contestant. Hidden ones and compiled Python do not count."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return found
