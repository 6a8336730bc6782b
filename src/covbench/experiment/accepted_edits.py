"""Edits that somebody declared harmless for a trained run: recorded in its manifest, valid for exactly those edits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import (
    Difference,
    compare_inputs,
    decide_inputs,
    fingerprint_inputs,
    list_differences,
)
from covbench.system.files import write_json

ACCEPTABLE = ("code", "packages")
"""Parts of a run's inputs in which an edit can be harmless. Options, data, splits and weights are never accepted."""
KEY = "accepted"


@dataclass(frozen=True)
class Acceptance:
    """One entry of `accepted` in manifest.json.

    when: ISO 8601, UTC. because: the reason that was given. differences: each accepted edit, with the hash or version
    that the run was trained with and the one that was accepted.
    """

    when: str
    because: str
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        return f"accepted on {self.when[:10]}: {self.because} ({list_differences(self.differences)})"

    def covers(self, differences: Sequence[Difference]) -> bool:
        """Whether these are exactly the accepted edits."""
        return _by_name(differences) == _by_name(self.differences)


def _by_name(differences: Sequence[Difference]) -> dict[tuple[str, str], tuple[Any, Any]]:
    return {(found.part, found.name): (found.trained, found.planned) for found in differences}


def find_acceptance(differences: Sequence[Difference], manifest: Mapping[str, Any]) -> Acceptance | None:
    """Find the acceptance that covers exactly these differences; None without differences or such an acceptance."""
    if not differences:
        return None
    return next((entry for entry in read_acceptances(manifest) if entry.covers(differences)), None)


def read_acceptances(manifest: Mapping[str, Any]) -> list[Acceptance]:
    """Read every acceptance of a manifest.json, the latest first. Raises ValueError if the list is damaged."""
    try:
        return [
            Acceptance(entry["when"], entry["because"], tuple(Difference(**part) for part in entry["differences"]))
            for entry in reversed(manifest.get(KEY, []))
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"its list of accepted edits is damaged: {error!r}") from error


def record_acceptance(path: Path, differences: Sequence[Difference], because: str) -> Acceptance:
    """Add an acceptance to a manifest.json. Its date stays, so Snakemake does not make the scores of the run again.

    Args:
        path: path of manifest.json.
        differences: the edits to accept, all in ACCEPTABLE parts.
        because: the reason.

    Returns:
        What was recorded.
    """
    before = path.stat()
    manifest = json.loads(path.read_text(encoding="utf-8"))
    entry = Acceptance(datetime.now(UTC).isoformat(timespec="seconds"), because, tuple(differences))
    write_json(path, manifest | {KEY: [*manifest.get(KEY, ()), asdict(entry)]})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return entry


def fingerprint_decisions(planned: PlannedRun, root: Path = Path()) -> str:
    """Compute the fingerprint of everything that decides a run except its files. Snakemake stores it as a parameter.

    If edits were accepted, this is the fingerprint that the run was trained with, so Snakemake trains nothing.
    """
    accepted = _find_accepted(planned, root)
    return fingerprint_inputs(accepted[1] if accepted else _decide(planned))


def list_accepted(plan: Iterable[PlannedRun], root: Path = Path()) -> list[str]:
    """List the planned runs that count as current because of an acceptance, a line each."""
    found = ((planned, _find_accepted(planned, root)) for planned in plan)
    return [f"{planned.run.folder}: {accepted[0]}" for planned, accepted in found if accepted]


def _find_accepted(planned: PlannedRun, root: Path) -> tuple[Acceptance, dict[str, Any]] | None:
    """Find the acceptance of the present code and packages of a run, and the inputs that the run was trained with."""
    try:
        text = (root / planned.run.folder / "manifest.json").read_text(encoding="utf-8")
        if f'"{KEY}"' not in text:  # hundreds of manifests are read before every first job
            return None
        manifest = json.loads(text)
        trained = {part: value for part, value in manifest["inputs"].items() if part != "files"}
        acceptance = find_acceptance(compare_inputs(trained, _decide(planned)), manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # missing or damaged; experiment.runs reports it
    return (acceptance, trained) if acceptance else None


def _decide(planned: PlannedRun) -> dict[str, Any]:
    plain = planned.describe()
    return decide_inputs(planned.run, plain["options"], plain["settings"], planned.family)
