"""The command `covbench new`: write the template of a contestant, a dataset or an architecture."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from covbench.data.datasets import DATASETS
from covbench.experiment.contestants import CARD, NAME, NAME_RULE, check_name, copy_contestant
from covbench.schema import CovbenchError
from covbench.system.files import PROJECT, write_whole

HELP = """\
Write the template of something new, ready to run and to be changed.

A contestant is a folder in contestants/ with a command of its own, in any framework. A dataset and an architecture are
one file each in src/covbench. All three are found by themselves. Templates are examples of this project that its tests
run: contestants/hog_svm, and the code of CONTRIBUTING.md.
"""
EXAMPLES = """\
examples:
  covbench new contestant my_transformer
  covbench new dataset my_xrays
  covbench new architecture my_cnn
"""
TEMPLATE = "hog_svm"
PLACES = {"dataset": "src/covbench/data/datasets", "architecture": "src/covbench/models/networks"}
GUIDES = {"contestant": "add-a-contestant", "dataset": "add-a-dataset", "architecture": "add-a-model"}


def write_template(kind: str, name: str, project: Path = PROJECT) -> Iterator[str]:
    """Write a template.

    Args:
        kind: contestant, dataset or architecture.
        name: small letters, digits and _.
        project: the checkout.

    Yields:
        What was written, and what to read next.

    Raises:
        CovbenchError: the name is taken or no name.
    """
    if kind == "contestant":
        check_name(name)
        path = _copy_contestant(project / "contestants", name)
    else:
        path = project / PLACES[kind] / f"{name}.py"
        _require_free(kind, name, path)
        with write_whole(path) as temporary:
            temporary.write_text(_read_example(project, PLACES[kind], name), encoding="utf-8")
    yield f"wrote {path}"
    yield f"read docs/how-to/{GUIDES[kind]}.md"


def _require_free(kind: str, name: str, path: Path) -> None:
    if not NAME.fullmatch(name):
        raise CovbenchError(f"{kind} {name!r}: {NAME_RULE}")
    if kind == "architecture":
        check_name(name)
    if path.exists() or name in DATASETS:
        raise CovbenchError(f"{path} exists; choose another name, or edit it")


def _copy_contestant(folder: Path, name: str) -> Path:
    """Copy the template with another title. Returns the new folder."""
    path = folder / name
    if path.exists():
        raise CovbenchError(f"{path} exists; choose another name, or edit it")
    temporary = folder / f".{os.getpid()}.{name}"
    try:
        copy_contestant(folder / TEMPLATE, temporary)
        card = temporary / CARD
        titled = re.sub(r"^title: .*$", f"title: {name}", card.read_text(encoding="utf-8"), flags=re.MULTILINE)
        card.write_text(titled, encoding="utf-8")
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _read_example(project: Path, place: str, name: str) -> str:
    """Read the first example of a file in a folder from CONTRIBUTING.md, and rename what it describes."""
    text = (project / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"`{re.escape(place)}/(\w+)\.py`[^`]*\n\n```python\n(.*?)```", text, flags=re.DOTALL)
    if found is None:
        raise CovbenchError(f"CONTRIBUTING.md: has no example of a file in {place}; take one of that folder")
    return found[2].replace(found[1], name)
