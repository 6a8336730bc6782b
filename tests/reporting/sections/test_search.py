"""What a task's page says about a search."""

import pytest

from covbench.reporting.sections.search import build_search_section
from tests.reporting.compare_rows import make_row, make_table


@pytest.fixture(scope="module")
def section():
    cell = {"protocol": "audited", "epochs_run": 30}
    rows = [
        make_row("search", **cell, architecture=name, seed=0, trial=trial, fine_tune_rate=rate, **found)
        for name, trial, rate, found in [
            ("vgg16", 0, 1e-4, {"val_loss": 0.5, "seconds": 3600, "chosen": "yes"}),
            ("vgg16", 1, 3.46e-5, {"val_loss": 0.6, "seconds": 1800, "chosen": "no"}),
            ("vgg19", 0, 1e-4, {"val_loss": 0.5, "seconds": 3600, "chosen": "no"}),
            ("vgg19", 1, 3.46e-5, {"val_loss": 0.4, "seconds": 1800, "chosen": "yes"}),
            ("vgg19", 2, 9e-4, {"val_loss": None, "seconds": 0, "chosen": "no"}),
        ]
    ]
    return build_search_section(make_table("search", rows))


def test_without_trials_there_is_no_section():
    assert build_search_section(make_table("search")) is None


def test_a_sentence_says_what_was_spent_and_how_often_the_rates_changed(section):
    assert section.reading == (
        "The search spent 5 trials and 3.0 hours on 2 networks. It changed the learning rates of 1 of 2 runs. "
        "The validation fold alone decided."
    )


def test_every_trial_is_shown_with_its_rates_and_whether_it_was_chosen(section):
    assert [cell.text for cell in section.table.rows[1]] == [
        "vgg16", "audited", "0", "1", "–", "3.46e-05", "0.600", "30", "1,800", "no",
    ]  # fmt: skip
    assert section.table.rows[4][6].note == "it became infinite or no number"
