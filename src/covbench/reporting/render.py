"""Renders templates to pages. All values are escaped, and a page may run only its own styles and scripts."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from covbench.reporting.wording import name_protocol, show


def write_page(folder: Path, path: str, template: str, context: Mapping[str, Any]) -> None:
    """Render a template to a page.

    Args:
        folder: The report's folder.
        path: The page, relative to `folder`.
        template: Name of the template.
        context: Values that the template uses. It also gets `root`, the path back to `folder` (`../` or empty).
    """
    page = folder / path
    page.parent.mkdir(parents=True, exist_ok=True)
    text = _environment().get_template(template).render(**context, root="../" * path.count("/"), **_inline())
    page.write_text(text, encoding="utf-8")


def write_library(folder: Path) -> None:
    """Write uPlot, the chart library of the learning curves, beside the pages that load it."""
    (folder / "uplot.js").write_text(read_template("uplot/uPlot.iife.min.js"), encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("covbench.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"show": show, "name_protocol": name_protocol}
    return environment


@functools.cache
def _inline() -> dict[str, str]:
    """The styles and scripts of a page, and the hashes by which its security policy allows them."""
    names = {"script": "report.js", "case_script": "cases.js", "curve_script": "curves.js"}
    texts = {word: read_template(name) for word, name in names.items()}
    texts["style"] = read_template("style.css") + read_template("uplot/uPlot.min.css")
    return texts | {f"{word}_hash": _hash(text) for word, text in texts.items()}


def read_template(name: str) -> str:
    """Read a file of templates/ as it is."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
