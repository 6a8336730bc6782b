"""The metric that ranks a task's models."""

import pandas as pd
import pytest

from covbench.reporting.headlines import choose_headline


@pytest.mark.parametrize(
    ("kind", "study", "headline"),
    [
        ("classification", ["f1", "accuracy"], "accuracy"),
        ("classification", ["f1"], "auroc"),
        ("classification", [], "auroc"),
        ("segmentation", ["accuracy"], "dice_lesion"),
    ],
)
def test_models_are_ranked_by_the_studys_accuracy_else_auroc_and_segmenters_by_lesion_dice(kind, study, headline):
    assert choose_headline(kind, pd.DataFrame({"metric": study})) == headline
