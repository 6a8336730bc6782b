"""Reporting checklists: what the pipeline knows is filled in, and the rest is left to the authors, visibly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from covbench.reporting.cards.known import FACTS, gather_known
from covbench.reporting.gather import Results
from covbench.reporting.render import read_template
from covbench.reporting.tables import Cell, Table
from covbench.reporting.wording import DASH

PATH = "checklists.html"
"""The page of the checklists in the report's folder."""
CHECKLISTS = ("claim_2024", "tripod_ai")
"""Names of the files in templates/."""
OPEN = "to be answered by the authors"
FILLED, PARTLY, UNANSWERED = "filled in", "partly", "open"


@dataclass(frozen=True)
class Item:
    """One item of a checklist. answers: what the pipeline knows. left: what the authors still have to answer."""

    number: str
    section: str
    asks: str
    answers: Sequence[str]
    left: str

    @property
    def state(self) -> str:
        """FILLED, PARTLY or UNANSWERED."""
        if not self.answers:
            return UNANSWERED
        return PARTLY if self.left else FILLED


@dataclass(frozen=True)
class Checklist:
    """A checklist with its answers. anchor: of its section on the page."""

    anchor: str
    title: str
    source: str
    items: Sequence[Item]

    @property
    def reading(self) -> str:
        """How many items are in which state."""
        counts = {state: sum(item.state == state for item in self.items) for state in (FILLED, PARTLY, UNANSWERED)}
        shown = ", ".join(f"{number} {state}" for state, number in counts.items())
        return f"{len(self.items)} items: {shown}."

    @property
    def table(self) -> Table:
        """A row per item."""
        headings = [("Item", ""), ("Section", ""), ("Asks for", ""), ("State", ""), ("Left", ""), ("Answer", "")]
        return Table(self.title, headings, [_build_row(item) for item in self.items], ("Section", "State"))


def _build_row(item: Item) -> list[Cell]:
    first, *more = item.answers or [DASH]
    left = f"{OPEN}: {item.left}" if item.left else DASH
    state = Cell(item.state, item.state, kind={UNANSWERED: "missing", PARTLY: "trained"}.get(item.state, "scored"))
    answer = Cell(first, more=more, kind="" if item.answers else "undefined")
    return [Cell(item.number, item.number), Cell(item.section), Cell(item.asks), state, Cell(left), answer]


def build_checklists(results: Results, data: Path) -> list[Checklist]:
    """Fill in the checklists. results: of all tasks. data: folder that holds index/."""
    known = gather_known(results, data)
    facts = {name: list(function(known)) for name, function in FACTS.items()}
    return [fill_checklist(name, yaml.safe_load(read_template(f"{name}.yaml")), facts) for name in CHECKLISTS]


def fill_checklist(name: str, stated: Mapping[str, Any], facts: Mapping[str, Sequence[str]]) -> Checklist:
    """Fill in one checklist.

    Args:
        name: Anchor of its section.
        stated: As its file in templates/ holds it: title, source, items.
        facts: Name of a fact -> sentences; none where nothing is known.

    Returns:
        The checklist. An item without any answer is left to the authors.
    """
    items = []
    for entry in stated["items"]:
        answers = [entry["says"]] if "says" in entry else []
        answers += [sentence for fact in entry.get("facts", ()) for sentence in facts[fact]]
        left = entry.get("left", "" if answers else "nothing is known yet")
        items.append(Item(entry["number"], entry["section"], entry["asks"], answers, left))
    return Checklist(name, stated["title"], stated["source"], items)
