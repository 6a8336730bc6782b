"""The command `covbench export-split`: write what a contestant may see of a split."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.contestants.export import Exported, Source, export_folds, open_exported, open_external
from covbench.data.datasets import TASKS, dataset_of
from covbench.experiment.plan import find_options, index_path, list_external_files, prepared_paths, split_path
from covbench.experiment.shapes import suggest
from covbench.protocols import PROTOCOLS
from covbench.schema import CLASSIFICATION, CovbenchError, Run
from covbench.system.files import sweep_leftovers

HELP = """\
Write what a contestant may see of a split: a table of the training and validation images with their labels or masks,
patients and published facts, a table of the test images without labels, and the images. A README in the folder
describes the files and what to answer.

--external adds the images of the other planned datasets that fit, without labels, for the external validation.

The images of the test fold have names that say nothing about them. For a segmentation, png and nifti are in the folders
of nnU-Net v2. Links show where published files lie, so they are for your own eyes: a job of the workflow copies them.
"""
EXAMPLES = """\
examples:
  covbench export-split covid_ct --out given/covid_ct
  covbench export-split medseg_multiclass --images nifti --out given/medseg --protocol audited --seed 1
  covbench export-split phantom_xray --configfile config/demo.yaml --directory demo --images png --out given/xray
"""


def export_split(
    config: Mapping[str, Any], run: Run, root: Path, out: Path, images: str | None = None, external: bool = False
) -> Iterator[str]:
    """Write a split for a contestant.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        run: task, protocol and seed; its architecture is not used.
        root: the folder that holds data/.
        out: a new folder.
        images: links, files, png, nifti or arrays; None chooses by the kind of task.
        external: add the images of the other planned datasets that fit.

    Yields:
        Lines about what was written.

    Raises:
        CovbenchError: the folder exists, a name is unknown, or files of the workflow are missing.
    """
    if out.exists():
        raise CovbenchError(f"{out} exists; name a new folder, or delete it")
    folds = open_split(config, run, root, external)
    task = TASKS[run.task]
    chosen = images or ("links" if task.kind == CLASSIFICATION and not external else "png")
    source = Source(pd.read_parquet(root / index_path(run.task)), root / "data" / "raw" / dataset_of(run.task))
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(out.parent, rf"\.(\d+)\.{out.name}")
    temporary = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        export_folds(temporary, run, task, folds, source, "files" if chosen == "links" else chosen, chosen == "links")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    yield f"{out}: " + ", ".join(f"{len(exported.ids):,} images in {exported.name}" for exported in folds)
    yield f"Read {out / 'README.md'} and answer {out / 'test.csv'}. Then:"
    more = " --external" * external
    yield f"covbench score ANSWERS --name NAME --task {run.task} --protocol {run.protocol} --seed {run.seed}{more}"


def open_split(config: Mapping[str, Any], run: Run, root: Path, external: bool = False) -> list[Exported]:
    """Open the folds of a split as a contestant gets them.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        run: task, protocol and seed.
        root: the folder that holds data/.
        external: add the images of the other planned datasets that fit.

    Returns:
        The folds, and a set for each other dataset.

    Raises:
        CovbenchError: a name is unknown, or files of the workflow are missing. The message says how to make them.
    """
    for name, known in ((run.task, list(TASKS)), (run.protocol, list(PROTOCOLS))):
        if name not in known:
            raise CovbenchError(f"unknown name {name!r}; {suggest(name, known)}")
    options = find_options(config, run.task, run.protocol, run.architecture)
    prepared = prepared_paths(run.task, options.size, options.resize)
    others = list_external_files(config, run.task, options) if external else {}
    require_files([split_path(run), index_path(run.task), *prepared.values(), *others.values()], root)
    folds = open_exported(run.task, str(root / split_path(run)), [str(root / path) for path in prepared.values()])
    return folds + open_external(run.task, {name: str(root / path) for name, path in others.items()})


def require_files(paths: Sequence[str], root: Path) -> None:
    """Raise CovbenchError with the command that makes them if files of the workflow are missing below `root`."""
    missing = [path for path in paths if not (root / path).exists()]
    if missing:
        where = "" if root == Path() else f" --directory {root}"
        raise CovbenchError(
            f"{root / missing[0]} does not exist; make it, with the --configfile of your benchmark: "
            f"snakemake --cores 2{where} {' '.join(missing)}"
        )
