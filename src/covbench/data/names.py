"""Compare names as people mean them: ids of patients and images, findings, folders and headings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MINUS = "\u2212"
NOT_GIVEN = frozenset({"", "?", "-", "nan", "none", "null", "na", "n/a", "unknown", "todo"})
"""Folded words that stand for a value that is not known."""


def fold_name(name: str) -> str:
    """Fold what does not tell names apart: Unicode form, case, kinds of dashes and blanks, invisible characters."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(map(_fold_character, text)).split())


def _fold_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Pd" or character == MINUS:
        return "-"
    return "" if category == "Cf" else character


def fold_folder(name: str) -> str:
    """Fold the name of a folder as fold_name does, without what separates its words: 'Non-COVID' is 'noncovid'."""
    return re.sub(r"[\s_-]", "", fold_name(name))


def clean_patient(patient: str) -> str:
    """Return a patient's id without blanks around it and without the '.0' of a number that passed through a float.

    A word for a patient who is not known, such as 'nan', gives an empty id.
    """
    cleaned = re.sub(r"(?<![\w.])(\d+)\.0+$", r"\1", patient.strip())
    return "" if fold_name(cleaned) in NOT_GIVEN else cleaned


def unite_spellings(names: Iterable[str]) -> dict[str, str]:
    """Map each name to the first name that folds to the same."""
    first: dict[str, str] = {}
    return {name: first.setdefault(fold_name(name), name) for name in names}
