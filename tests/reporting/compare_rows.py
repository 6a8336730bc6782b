"""Rows of results/compare by hand: what a test does not name is empty."""

import pandas as pd

from covbench.evaluation.comparison.tables import COMPARE_TABLES


def make_row(table, **values):
    """A row with every column of the table; text is empty and numbers are missing unless given."""
    empty = {name: "" if column.dtype == "str" else None for name, column in COMPARE_TABLES[table].items()}
    unknown = set(values) - set(empty)
    assert not unknown, unknown
    return empty | {"task": "t"} | values


def make_table(table, rows=()):
    """A data frame of such rows, with numbers as floats."""
    frame = pd.DataFrame(rows, columns=list(COMPARE_TABLES[table]))
    numbers = [name for name, column in COMPARE_TABLES[table].items() if column.dtype != "str"]
    return frame.astype(dict.fromkeys(numbers, float))


def make_score(protocol, architecture, mean, low=None, high=None, **values):
    """A row of `summary`: AUROC of a network over three seeds, unless said otherwise."""
    values = {"family": "deep", "metric": "auroc", "seeds": 3, "covers": "patients and training"} | values
    return make_row("summary", protocol=protocol, architecture=architecture, mean=mean, low=low, high=high, **values)


def make_pair(one, other, verdict, **values):
    """A row of `pairs` under audited, which speaks of architectures unless said otherwise."""
    values = {"protocol": "audited", "metric": "auroc", "scope": "architectures"} | values
    return make_row("pairs", one=one, other=other, verdict=verdict, **values)


def make_change(architecture, steps, **values):
    """A row of `protocols`. steps: column -> (difference, low, high)."""
    ends = {
        f"{step}{end}": value
        for step, found in steps.items()
        for end, value in zip(("", "_low", "_high"), found, strict=True)
    }
    values = {"family": "deep", "metric": "accuracy"} | ends | values
    return make_row("protocols", architecture=architecture, **values)
