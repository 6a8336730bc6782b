"""Find out whether the files of a run are what its stages wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet

from covbench.data.datasets import TASKS
from covbench.experiment.accepted_edits import read_acceptances
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import Difference, fingerprint_inputs
from covbench.experiment.records import SEAL, read_record, require_past, seal_record
from covbench.schema import CovbenchError, Run
from covbench.system.content_hashes import checksum_path, hash_content
from covbench.system.stage_files import find_damage, name_remedy

TRAINED_FILES = ("manifest.json", "predictions.parquet")
SCORED_FILES = ("metrics.json", "cases.parquet")
OTHER_FILES = ("predicted_masks.npz", "history.csv", "model.keras", "external.parquet", "external_masks.npz")
"""Files that only some kinds of run leave."""
MANIFEST_KEYS = {"run": dict, "options": dict, "fingerprint": str, "inputs": dict, "finished": str}
"""Keys that every manifest.json has, with their types."""


def read_manifest(path: Path, run: Run | None = None) -> dict[str, Any]:
    """Read manifest.json of a run. run: the one that it has to be of; None for any.

    Raises ValueError if it is cut short, edited, of another run or from the future, or lacks one of MANIFEST_KEYS.
    """
    manifest = read_record(path)
    for key, kind in MANIFEST_KEYS.items():
        if not isinstance(manifest.get(key), kind):
            raise ValueError(f"no {key} in it")
    if run and manifest["run"] != asdict(run):
        raise ValueError(f"it is that of another run: {manifest['run']}")
    if manifest["fingerprint"] != fingerprint_inputs(manifest["inputs"]):
        raise ValueError("its fingerprint is not that of its inputs")
    require_past(manifest["finished"])
    read_acceptances(manifest)
    return manifest


def explain_damage(run: Run, name: str, error: Exception) -> str:
    """Say that a file of a run cannot be read.

    Args:
        run: the run.
        name: name of the file in the run's folder.
        error: what reading it raised.

    Returns:
        One sentence: the file, the cause, and the command that makes the file again.
    """
    path = f"{run.folder}/{name}"
    return f"{path} cannot be read ({' '.join(str(error).split())}); {name_remedy(path)}"


def read_fingerprint(run: Run, path: Path) -> str:
    """Read the fingerprint in a run's manifest.json. Raises CovbenchError, with the remedy, if it cannot be read."""
    try:
        return str(read_manifest(path, run)["fingerprint"])
    except (ValueError, OSError) as error:
        raise CovbenchError(explain_damage(run, path.name, error)) from error


def describe_external(
    runs: Sequence[Run], folders: Sequence[Path], external: str, counts: Mapping[str, int | None], **facts: Any
) -> dict[str, Any]:
    """Make manifest.json of a model's external predictions.

    Args:
        runs: the seeds of one model.
        folders: the folder of each, with its manifest.json.
        external: the task that they predict.
        counts: of its images, as audit.unseen.open_unseen.
        facts: about the machine.

    Returns:
        The sealed content.

    Raises:
        CovbenchError: the manifest of a run cannot be read.
    """
    fingerprints = {
        str(run.seed): read_fingerprint(run, folder / "manifest.json")
        for run, folder in zip(runs, folders, strict=True)
    }
    classes = list(TASKS[runs[0].task].classes)
    return seal_record({"external": external, "classes": classes, **counts, "fingerprints": fingerprints, **facts})


def find_lost(run: Run, root: Path, names: Sequence[str]) -> str:
    """Find a file that a run has lost while another one of the same job is there.

    Args:
        run: the run.
        root: the folder that holds results/.
        names: files that one job writes.

    Returns:
        The first missing file with its remedy; empty if all or none exist.
    """
    missing = [name for name in names if not (root / run.folder / name).exists()]
    if not missing or len(missing) == len(names):
        return ""
    path = f"{run.folder}/{missing[0]}"
    return f"{path} is missing; {name_remedy(path)}"


def find_training_damage(run: Run, root: Path) -> str:
    """Compare what a run's training wrote with its checksum files. `root` is the folder that holds results/.

    Returns the first damaged file with its remedy; empty if there is none. A model is large, so its content is left to
    `covbench verify`; here it has to exist and to be complete.
    """
    for name in (*TRAINED_FILES[1:], *OTHER_FILES):
        path = root / run.folder / name
        if name != "model.keras" or not path.exists():
            problem = find_damage(path, hash_content)
        else:
            problem = "" if zipfile.is_zipfile(path) else f"{path} is cut short"
        if not problem and not checksum_path(path).exists():
            problem = _find_cut(path)
        if problem:
            return f"{_relative(problem, root)}; {name_remedy(f'{run.folder}/{name}')}"
    return ""


def _find_cut(path: Path) -> str:
    """What is wrong with a file that has no checksum file: both formats end with a list of what they hold."""
    if not path.exists():
        return ""
    if path.suffix == ".npz" and not zipfile.is_zipfile(path):
        return f"{path} is cut short"
    if path.suffix == ".parquet":
        try:
            pyarrow.parquet.read_metadata(path)
        except (ValueError, OSError) as error:
            return f"{path} cannot be read ({' '.join(str(error).split())})"
    return ""


def read_scores(run: Run, root: Path, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], str, str]:
    """Read metrics.json of a run and compare it with the files that it was made from and with.

    Args:
        run: the run, which has both SCORED_FILES.
        root: the folder that holds results/.
        manifest: the content of its manifest.json.

    Returns:
        The metrics; why the run has to be scored again, with the remedy; and what is damaged, with the remedy. Only
        one of the three is not empty.
    """
    folder = root / run.folder
    try:
        metrics = read_record(folder / "metrics.json")
        wrong = _find_wrong_cases(folder / "cases.parquet", metrics)
    except (ValueError, OSError) as error:
        return {}, "", explain_damage(run, "metrics.json", error)
    if wrong:
        return {}, "", explain_damage(run, "cases.parquet", ValueError(wrong))
    again = f"score it again: snakemake --cores 8 --forcerun {run.folder}/metrics.json"
    if SEAL not in metrics:
        return {}, f"scored by an earlier version, which recorded no hashes; {again}", ""
    predictions = hash_content(folder / "predictions.parquet")
    made_from = metrics.get("fingerprint"), metrics.get("files", {}).get("predictions.parquet")
    if made_from != (manifest["fingerprint"], predictions):
        return {}, f"not scored yet: its scores were made from other predictions; {again}", ""
    return metrics, "", ""


def _find_wrong_cases(path: Path, metrics: Mapping[str, Any]) -> str:
    recorded = metrics.get("files", {}).get(path.name)
    if recorded and hash_content(path) != recorded:
        return "it is not what was written"
    if not recorded:
        pyarrow.parquet.read_metadata(path)
    return ""


def describe_input_damage(planned: PlannedRun, differences: Sequence[Difference], root: Path) -> str:
    """Say which input files that differ from those of the training are not what their stage wrote, with the remedy.

    Args:
        planned: the run.
        differences: the inputs in which it differs from the plan.
        root: the folder that holds data/.

    Returns:
        What follows a semicolon in a message; empty if no such file is damaged.
    """
    names = [found.name for found in differences if found.part == "files" and found.name in planned.inputs.by_name]
    paths = [planned.inputs.by_name[name] for name in names]
    damaged = [(path, problem) for path in paths if (problem := find_damage(root / path, hash_content))]
    return "".join(f"; {_relative(problem, root)}; {name_remedy(path)}" for path, problem in damaged)


def _relative(sentence: str, root: Path) -> str:
    """A sentence with the paths below `root` as they are seen from there, as Snakemake names them."""
    return sentence.replace(f"{root}/", "") if root != Path() else sentence
