"""What is wrong with a dataset's rows is told with the row."""

from dataclasses import replace

import numpy as np
import pytest

from covbench.data.datasets.covid_ct import CARD
from covbench.data.datasets.medseg import CARD as MASKS
from covbench.data.datasets.radiography import index, write_sample
from covbench.data.index import check_index, check_rows, fill_columns
from covbench.schema import CovbenchError

CLASSES = replace(CARD, official_split=False)
GOOD = {"image_id": "a.png", "patient_id": "p", "path": "a.png", "label": "covid", "modality": "ct"}


def tabulate(*rows):
    """As build_index, without opening files."""
    table = fill_columns(rows)
    return table.assign(excluded=table["reason"] != "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient": "p"}, r"row 1 \(b\): unknown column 'patient'; did you mean 'patient_id'\?; known: image_id, "),
        ({"frame": "3"}, r"row 1 \(b\): frame is '3', a str; it has to be int64"),
        ({"label": 1}, r"row 1 \(b\): label is 1, a int; it has to be str"),
        ({"window_low": "-1000"}, r"row 1 \(b\): window_low is '-1000', a str; it has to be float64"),
    ],
)
def test_an_unknown_column_or_a_wrong_type_is_told_with_its_row(changes, words):
    with pytest.raises(CovbenchError, match=words):
        check_rows([GOOD, GOOD | {"image_id": "b"} | changes])


def test_numbers_of_numpy_and_cells_without_a_value_are_taken():
    check_rows([GOOD | {"frame": np.int64(3), "window_low": np.nan, "window_high": 250, "source": None}])


@pytest.mark.parametrize(
    ("card", "changes", "words"),
    [
        (CLASSES, {"label": "sars"}, r"row 1 \(b\): label 'sars' is no class of its tasks; known: covid, non_covid"),
        (CLASSES, {"label": ""}, r"row 1 \(b\): label '' is no class"),
        (CLASSES, {"image_id": "a.png"}, "row 1: image_id 'a.png' is there already; it has to be unique"),
        (CLASSES, {"modality": "xray"}, r"row 1 \(b\): modality is 'xray', the card's is 'ct'"),
        (CLASSES, {"official_fold": "valid"}, r"row 1 \(b\): official_fold is 'valid'; known: train, val, test"),
        (CLASSES, {"sex": "m"}, r"row 1 \(b\): sex is 'm'; known: F, M, or empty"),
        (CLASSES, {"age_band": "41"}, r"row 1 \(b\): age_band is '41'; known: 0-19, .*80\+, or empty"),
        (MASKS, {}, r"row 1 \(b\): no mask; give a reason to exclude it"),
        (
            MASKS,
            {"mask": "m.png", "mask_values": "1:glass"},
            r"row 1 \(b\): mask_values '1:glass' name no class; known: ",
        ),
    ],
)
def test_a_row_that_no_task_understands_is_told(card, changes, words):
    first = GOOD | {"mask": "m.png", "mask_values": "1:ground_glass 2:effusion"}
    check_index(tabulate(first), card)
    with pytest.raises(CovbenchError, match=words):
        check_index(tabulate(first, GOOD | {"image_id": "b"} | changes), card)


def test_an_excluded_row_may_have_any_label_and_no_mask():
    check_index(tabulate(GOOD, GOOD | {"image_id": "b", "label": "sars", "reason": "class not in the study"}), CLASSES)


def test_columns_and_their_types_are_those_of_the_schema():
    table = tabulate(GOOD)
    with pytest.raises(CovbenchError, match=r"missing columns \['label'\], unknown columns \['class'\]"):
        check_index(table.rename(columns={"label": "class"}), CLASSES)
    with pytest.raises(CovbenchError, match="frame is float64, not int64; build it with"):
        check_index(table.astype({"frame": "float64"}), CLASSES)


def test_rows_whose_reason_was_dropped_are_told_apart(tmp_path):
    write_sample(tmp_path)
    table = index(tmp_path)
    assert dict(zip(table["label"], table["excluded"], strict=True))["lung_opacity"]
    with pytest.raises(CovbenchError, match=r"excluded and reason '' disagree"):
        check_index(table.assign(reason=""), CLASSES)


@pytest.mark.parametrize(
    ("patients", "patient_id", "words"),
    [
        (
            "none",
            "p",
            "1 rows name a patient, but its card says patients='none'; write 'published' or 'inferred' there",
        ),
        ("published", "a.png", "no row names a patient, but its card says patients='published'; write 'none' there"),
        ("guessed", "p", "patients is 'guessed'; known: published, inferred, none"),
    ],
)
def test_what_the_card_says_of_patients_and_what_the_rows_say_have_to_agree(patients, patient_id, words):
    card = replace(CLASSES, patients=patients)
    with pytest.raises(CovbenchError, match=f"of {CLASSES.title}: {words}"):
        check_index(tabulate(GOOD | {"patient_id": patient_id}), card)


@pytest.mark.parametrize(("patients", "patient_id"), [("none", "a.png"), ("inferred", "a.png"), ("inferred", "p")])
def test_patients_may_be_unknown_or_inferred_where_the_card_says_so(patients, patient_id):
    check_index(tabulate(GOOD | {"patient_id": patient_id}), replace(CLASSES, patients=patients))


@pytest.mark.parametrize(("fold", "promised"), [("test", False), ("", True)])
def test_a_card_that_is_wrong_about_an_authors_split_is_refused(fold, promised):
    with pytest.raises(CovbenchError, match=f"{int(fold != '')} rows name a fold .* official_split={promised}"):
        check_index(tabulate(GOOD | {"official_fold": fold}), replace(CARD, official_split=promised))
