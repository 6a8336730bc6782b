"""Restore the dates of outputs after DVC has brought the files back.

DVC restores the content of a file, but not its date, and Snakemake compares dates. Snakemake's metadata hold the rule,
the parameters, the inputs and the date of every output. DVC versions them with the outputs. Once the dates are
restored, Snakemake finds by its own rules what a changed config or module makes stale.
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
from covbench.system.listings import join_first

METADATA = Path(".snakemake/metadata")
TRACKING = Path("results/tracking.json")  # what MLflow holds for this folder; not versioned, so `track` runs again
FOLDERS = (
    ".snakemake/incomplete",  # without it, Snakemake reads all metadata in search of an older format
    *(f"data/{name}" for name in ("index", "thumbnails", "duplicates", "splits", "prepared", "weights")),
    *(
        f"results/{name}"
        for name in ("runs", "external", "controls", "explained", "audit", "compare", "report", "figures")
    ),
)
"""Folders that must exist, even if they are empty. dvc.yaml names those of data and results as outputs."""

HELP = """\
Prepare a folder for Snakemake after `dvc pull` or `dvc checkout`; `dvc repro` and `dvc exp run` do this by themselves.

Every output gets back the date at which it was made. The date comes from Snakemake's metadata in .snakemake/metadata,
which DVC brings with the outputs. Repeating the command changes nothing. Nothing is trained, and no result is removed.
"""
EXAMPLES = """\
examples:
  dvc pull && covbench restore-dates && snakemake -n --quiet rules     what is still to do after a pull
  covbench restore-dates --configfile config/demo.yaml --directory demo
"""


@dataclass(frozen=True)
class OutputMetadata:
    """What Snakemake stores about an output.

    made: when it was made, in seconds since 1970. params: the parameters of its rule.
    """

    made: float
    params: frozenset[str]


def read_metadata(root: Path) -> dict[str, OutputMetadata]:
    """Read the metadata of every output, by its path relative to `root`. An output of a running job is left out."""
    folder = root / METADATA
    found = {_decode_name(path.relative_to(folder)): _read_file(path) for path in folder.rglob("*") if path.is_file()}
    return {name: stored for name, stored in found.items() if stored}


def _decode_name(file: Path) -> str:
    """Decode the output that a metadata file is about. Snakemake splits a long name into folders that begin with @."""
    return base64.urlsafe_b64decode("".join(part.removeprefix("@") for part in file.parts)).decode()


def _read_file(path: Path) -> OutputMetadata | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CovbenchError(f"{path}: damaged ({error}); bring it back: dvc checkout {METADATA}") from error
    return OutputMetadata(stored["endtime"], frozenset(stored["params"] or ())) if stored.get("endtime") else None


def restore_dates(metadata: Mapping[str, OutputMetadata], root: Path) -> int:
    """Set the date of every existing output to the one in its metadata. Returns how many had another date."""
    restored = 0
    for name, stored in metadata.items():
        path = root / name
        if path.exists() and abs(path.stat().st_mtime - stored.made) > 1e-6:
            _set_date(path, stored.made)
            restored += 1
    return restored


def _set_date(path: Path, seconds: float) -> None:
    try:
        os.utime(path, (seconds, seconds))
    except PermissionError as error:
        raise CovbenchError(
            f"{path}: only its owner, {path.owner()}, can set its date; ask them to run this command"
        ) from error


def find_foreign(plan: Iterable[PlannedRun], metadata: Mapping[str, OutputMetadata], root: Path) -> list[str]:
    """Find files that do not belong to Snakemake's metadata.

    Args:
        plan: As experiment.plan.plan_runs.
        metadata: As read_metadata returns it.
        root: The folder that holds data/ and results/.

    Returns:
        Input files of planned runs without metadata, and manifests of a run that their metadata does not describe.
    """
    plan = [each for planned in plan for each in (planned, *planned.trials)]
    read = dict.fromkeys(name for planned in plan for name in planned.inputs.by_name.values())
    foreign = [name for name in read if name not in metadata and (root / name).exists()]
    manifests = [f"{planned.run.folder}/manifest.json" for planned in plan]
    return foreign + [name for name in manifests if (root / name).exists() and not _fits(name, metadata, root)]


def _fits(manifest: str, metadata: Mapping[str, OutputMetadata], root: Path) -> bool:
    """Whether the metadata describe this run: both hold the fingerprint of what decided it, without its files.

    The job of a baseline has a list of them, one for each seed.
    """
    inputs: dict[str, Any] = json.loads((root / manifest).read_text(encoding="utf-8")).get("inputs", {})
    decided_by = fingerprint_inputs({name: part for name, part in inputs.items() if name != "files"})
    return manifest in metadata and any(repr(decided_by) in parameter for parameter in metadata[manifest].params)


def reconcile(plan: Sequence[PlannedRun], root: Path = Path()) -> int:
    """Prepare the folder that holds data/ and results/ for Snakemake. Returns how many dates were restored.

    Raises CovbenchError if outputs came back without their metadata.
    """
    metadata = read_metadata(root)
    if foreign := find_foreign(plan, metadata, root):
        raise CovbenchError(
            f"{METADATA} does not say how these were made: {join_first(foreign)}. Bring outputs and metadata of one "
            "version together (dvc pull or dvc checkout without a path), or remove these files: they are made again"
        )
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    restored = restore_dates(metadata, root)
    if restored:
        (root / TRACKING).unlink(missing_ok=True)
    return restored
