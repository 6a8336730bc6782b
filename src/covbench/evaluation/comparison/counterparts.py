"""Name the counterpart of each value of the study, and what the value is if it is not what its name says.

Both come from tables in workflow/resources. A row speaks of all values that agree with its cells task, architecture,
backbone and metric: an empty cell agrees with anything, and `a|b` with a and with b.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covbench.schema import COMPARE_TABLES, CovbenchError

SELECTORS = ["task", "architecture", "backbone", "metric"]
GIVEN = ["network", "our_metric", "class", "averaging", "test_images", "images", "note"]
"""What counterparts.csv gives: the last row that speaks of a value and has the cell filled."""


def read_counterparts(
    reported: Path | str, counterparts: Path | str, findings: Path | str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the study's values with their counterparts, and what was found about them.

    Args:
        reported: workflow/resources/published_results.csv.
        counterparts: workflow/resources/counterparts.csv.
        findings: workflow/resources/study_findings.csv.

    Returns:
        The values, a row each, with the columns of GIVEN, `step` (between two values of its precision) and `untestable`
        (why the value cannot be judged, or empty), and the table `findings` of schema.COMPARE_TABLES.

    Raises:
        CovbenchError: A value has no counterpart, or a row of the other tables speaks of no value.
    """
    values, given, found = (pd.read_csv(path, dtype=str).fillna("") for path in (reported, counterparts, findings))
    values = values.assign(**dict.fromkeys(GIVEN, ""), untestable="")
    values["network"] = [join_names(*names) for names in zip(values["architecture"], values["backbone"], strict=True)]
    for table, path in ((given, counterparts), (found, findings)):
        if idle := [line for line, (_, row) in enumerate(table.iterrows(), 2) if not select_values(values, row).any()]:
            raise CovbenchError(f"{path}: line {idle[0]} speaks of no value of {reported}; check its names")
    for _, row in given.iterrows():
        filled = [name for name in GIVEN if row[name]]
        values.loc[select_values(values, row), filled] = row[filled].to_list()
    lacking = values[(values[["our_metric", "class", "averaging", "test_images", "images"]] == "").any(axis=1)]
    if len(lacking):
        raise CovbenchError(f"{counterparts}: no counterpart for {', '.join(lacking.iloc[0][SELECTORS])}; add one")
    for _, row in found[found["untestable"] == "yes"].iterrows():
        chosen = select_values(values, row)
        values.loc[chosen, "untestable"] = (values.loc[chosen, "untestable"] + " " + row["words"]).str.strip()
    values["step"] = [10.0 ** -len(value.partition(".")[2]) for value in values["value"]]
    values = values.astype({"value": np.float64, "test_images": np.int64})
    return values, tabulate_findings(found, values)


def select_values(values: pd.DataFrame, row: pd.Series) -> pd.Series:
    """Select the values that a row of counterparts.csv or study_findings.csv speaks of: bool, one for each value."""
    chosen = pd.Series(True, index=values.index)
    for name in SELECTORS:
        if row[name]:
            chosen &= values[name].isin(row[name].split("|"))
    return chosen


def join_names(architecture: str, backbone: str) -> str:
    """Name a network as the catalogue does: `vgg16`, `unet_vgg16`."""
    return f"{architecture}_{backbone}" if backbone else architecture


def tabulate_findings(found: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Count the values that each finding concerns, and list their rows and metrics.

    found: as study_findings.csv; rows of one task with the same words are one finding. values: the study's values.
    Returns the table `findings` of schema.COMPARE_TABLES.
    """
    rows = []
    for said, several in found.groupby(["finding", "task", "untestable", "words", "evidence"], sort=False):
        chosen = pd.concat([values[select_values(values, row)] for _, row in several.iterrows()]).drop_duplicates()
        named = [join_names(*names) for names in zip(chosen["architecture"], chosen["backbone"], strict=True)]
        row = dict(zip(("finding", "task", "untestable", "words", "evidence"), said, strict=True))
        row |= {"models": " ".join(dict.fromkeys(named)), "metrics": " ".join(dict.fromkeys(chosen["metric"]))}
        rows.append(row | {"values": len(chosen)})
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["findings"]))
