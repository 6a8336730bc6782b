"""List names in messages: the first of many, and what differs between two states of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = 5  # names that a message lists


def join_first(names: Sequence[str], most: int = SHOWN) -> str:
    """Join the first `most` names with commas, and say how many more there are: 'a, b and 3 more'."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def list_differences(before: Mapping[str, Any], after: Mapping[str, Any], lost: str = "missing") -> list[str]:
    """List what differs between two states of files by name, in order: 'a.png (changed)'.

    Args:
        before: what is known of each file.
        after: the same, later.
        lost: the word for a file that is in `before` alone. The others are `new` and `changed`.

    Returns:
        A text for each name that differs.
    """
    return [
        f"{name} ({'new' if name not in before else lost if name not in after else 'changed'})"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
