"""Where lung masks come from, and the Dice of the classical segmentation with an interval over groups."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.lung_quality import tabulate_lungs


def test_masks_are_counted_by_origin_and_dice_is_averaged_over_the_shipped_ones():
    dice = np.r_[np.linspace(0.6, 0.9, 39), 0.0]
    shipped = pd.DataFrame({"origin": "shipped", "dice": dice})
    others = pd.DataFrame({"origin": ["found", "found", "none"], "dice": np.nan})
    facts = pd.concat([shipped, others], ignore_index=True)
    row = tabulate_lungs(facts, pd.Series([f"g{number // 2}" for number in range(43)]))
    counts = {name: row[name] for name in ("images", "shipped", "found", "none", "missed")}
    assert counts == {"images": 43, "shipped": 40, "found": 2, "none": 1, "missed": 1}
    assert row["dice"] == pytest.approx(39 * 0.75 / 40)
    sd = np.std([dice[start : start + 2].mean() for start in range(0, 40, 2)], ddof=1)
    assert row["dice_high"] - row["dice_low"] == pytest.approx(2 * 2.093 * sd / np.sqrt(20), rel=0.05)  # t of 19


def test_without_shipped_masks_nothing_is_measured():
    facts = pd.DataFrame({"origin": ["found"], "dice": [np.nan]})
    assert "dice" not in tabulate_lungs(facts, pd.Series(["g"]))
