"""The documentation site: sphinx-build -W --keep-going -b html docs docs/_build; the network is not used."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import covbench  # the package of this checkout, whatever is installed

project = "covbench"
author = copyright = "The covbench authors"
release = version = covbench.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False
myst_heading_anchors = 3

html_theme = "furo"
html_title = "covbench"
html_show_sphinx = False

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

API_PAGE = "reference/api"
API_PACKAGES = ("schema", "protocols", "models.catalogue", "data", "audit", "experiment", "evaluation")
"""What the API page describes. None of it imports TensorFlow, which an import contract checks."""

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note|Notes):\s*$")
LABEL = re.compile(r"[a-z_]\w*(, [a-z_]\w*)*: ")


def setup(app: Any) -> None:
    app.connect("source-read", list_modules)
    app.connect("autodoc-process-docstring", write_as_rst, priority=400)  # before napoleon, which has 500


def find_modules() -> Iterator[str]:
    """Every public module of API_PACKAGES, by its full name."""
    for name in API_PACKAGES:
        module = import_module(f"covbench.{name}")
        yield module.__name__
        paths = getattr(module, "__path__", ())
        inner = [info.name for info in pkgutil.walk_packages(paths, f"{module.__name__}.")]
        yield from (name for name in inner if not any(part.startswith("_") for part in name.split(".")))


def list_modules(app: Any, docname: str, source: list[str]) -> None:
    """Put a section for each module under the text of the API page."""
    if docname == API_PAGE:
        sections = [f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in find_modules()]
        source[0] += "\n" + "\n".join(sections)


def write_as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring of this project into valid reStructuredText, in place.

    Its conventions are looser than the markup: `code` has single backticks, `*` and `_` stand for themselves, and what
    a sentence says of one parameter begins with the parameter's name and a colon.
    """
    written: list[str] = []
    for line in lines:
        if SECTION.match(line):  # napoleon reads the rest
            break
        text = line.strip()
        if written and LABEL.match(line):
            written += ["", f"- {text}"]
        elif not text or not written or not line.startswith(" "):
            written.append(text)
        else:
            written[-1] += f" {text}"
    rest = lines[len(lines) - _count_rest(lines) :]
    lines[:] = [_escape(line) for line in [*_join_items(written), *rest]]


def _count_rest(lines: list[str]) -> int:
    """How many lines follow from the first Google section on, that one included."""
    found = next((number for number, line in enumerate(lines) if SECTION.match(line)), len(lines))
    return len(lines) - found


def _join_items(lines: list[str]) -> list[str]:
    """Indent what continues a bullet, so that each ends where a blank line follows."""
    joined: list[str] = []
    for line in lines:
        inside = bool(joined) and joined[-1].startswith(("- ", "  ")) and bool(line) and not line.startswith("- ")
        joined.append(f"  {line}" if inside else line)
    return [*joined, ""]


def _escape(line: str) -> str:
    """`code` as literals; elsewhere the characters that open or close markup."""
    parts = line.replace("``", "`").split("`")
    if len(parts) % 2 == 0:  # a lone backtick
        return line.replace("\\", "\\\\").replace("`", "\\`").replace("*", "\\*").replace("_", "\\_")
    plain = [re.sub(r"([\\*|])|_(?!\w)|(?<!\w)_", lambda found: f"\\{found[0]}", part) for part in parts[::2]]
    code = [f"``{part}``" if part else "" for part in parts[1::2]]
    return "".join(text for pair in zip(plain, [*code, ""], strict=True) for text in pair)
