"""After DVC has brought files back: their dates as Snakemake noted them when they were made.

DVC restores what was in a file, not when it was made, and Snakemake goes by dates. Its notes on every output (rule,
parameters, inputs, date) are versioned with the outputs: with the dates back, it finds by its own rules what a changed
config or module makes stale.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import fingerprint_inputs
from covbench.schema import CovbenchError

NOTES = Path(".snakemake/metadata")
SHOWN = 5  # foreign files that a message lists
TRACKING = Path("results/tracking.json")  # says what this folder's MLflow holds: not versioned, asked anew
FOLDERS = (
    ".snakemake/incomplete",  # where it is missing, Snakemake reads every note in search of an older format
    *(f"data/{name}" for name in ("index", "thumbnails", "duplicates", "splits", "prepared", "weights")),
    *(f"results/{name}" for name in ("runs", "external", "explained", "audit", "compare", "report", "figures")),
)
"""Folders that have to be there, if empty: dvc.yaml names those of data and results as outputs."""

HELP = """\
Prepare a folder for Snakemake after `dvc pull` or `dvc checkout`; `dvc repro` and `dvc exp run` do this by themselves.

Every output gets the date back at which it was made, from Snakemake's notes in .snakemake/metadata, which DVC
brings with the outputs. Repeating it changes nothing. Nothing is trained, and no result is removed.
"""
EXAMPLES = """\
examples:
  dvc pull && covbench restore-dates && snakemake -n --quiet rules     what is still to do after a pull
  covbench restore-dates --configfile config/demo.yaml --directory demo
"""


@dataclass(frozen=True)
class Note:
    """What Snakemake noted on an output: seconds since 1970 at which it was made, and the rule's parameters."""

    made: float
    params: frozenset[str]


def read_notes(root: Path) -> dict[str, Note]:
    """Output, relative to `root` -> its note; one of a job that is under way has no date and is left out."""
    folder = root / NOTES
    notes = {_decode_name(path.relative_to(folder)): _read_note(path) for path in folder.rglob("*") if path.is_file()}
    return {name: note for name, note in notes.items() if note}


def _decode_name(file: Path) -> str:
    """Snakemake cuts a long name into folders that begin with @."""
    return base64.urlsafe_b64decode("".join(part.removeprefix("@") for part in file.parts)).decode()


def _read_note(path: Path) -> Note | None:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CovbenchError(f"{path}: damaged ({error}); bring it back: dvc checkout {NOTES}") from error
    return Note(note["endtime"], frozenset(note["params"] or ())) if note.get("endtime") else None


def restore_dates(notes: Mapping[str, Note], root: Path) -> int:
    """Give every output that is there its noted date; returns how many had another."""
    restored = 0
    for name, note in notes.items():
        path = root / name
        if path.exists() and abs(path.stat().st_mtime - note.made) > 1e-6:
            _set_date(path, note.made)
            restored += 1
    return restored


def _set_date(path: Path, seconds: float) -> None:
    try:
        os.utime(path, (seconds, seconds))
    except PermissionError as error:
        raise CovbenchError(
            f"{path}: its date can be set by its owner only, {path.owner()}: let them run this"
        ) from error


def find_foreign(plan: Iterable[PlannedRun], notes: Mapping[str, Note], root: Path) -> list[str]:
    """Files of planned runs that are there without a note, and manifests of which the note tells something else."""
    plan = list(plan)
    read = dict.fromkeys(name for planned in plan for name in planned.inputs.by_name.values())
    foreign = [name for name in read if name not in notes and (root / name).exists()]
    manifests = [f"{planned.run.folder}/manifest.json" for planned in plan]
    return foreign + [name for name in manifests if (root / name).exists() and not _fits(name, notes, root)]


def _fits(manifest: str, notes: Mapping[str, Note], root: Path) -> bool:
    """Whether a run is the one that its note speaks of: of both is known what decided it, apart from its files."""
    inputs: dict[str, Any] = json.loads((root / manifest).read_text(encoding="utf-8")).get("inputs", {})
    decided_by = fingerprint_inputs({name: part for name, part in inputs.items() if name != "files"})
    return manifest in notes and repr(decided_by) in notes[manifest].params


def reconcile(plan: Sequence[PlannedRun], root: Path = Path()) -> int:
    """Prepare the folder that holds data/ and results/ for Snakemake; returns how many dates were restored.

    Raises CovbenchError where outputs came back without their notes.
    """
    notes = read_notes(root)
    if foreign := find_foreign(plan, notes, root):
        raise CovbenchError(
            f"{NOTES} does not tell how these were made: {', '.join(foreign[:SHOWN])}"
            f"{f' and {len(foreign) - SHOWN} more' if len(foreign) > SHOWN else ''}. Bring outputs and notes of one "
            "version together (dvc pull or dvc checkout without a path), or remove these files: they are made again"
        )
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    restored = restore_dates(notes, root)
    if restored:
        (root / TRACKING).unlink(missing_ok=True)
    return restored
