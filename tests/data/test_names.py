"""Which names mean the same."""

import pytest

from covbench.data.names import clean_patient, fold_folder, fold_name, unite_spellings


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("COVID-19", "covid‑19"),
        ("Jose\u0301", "JOSÉ"),
        ("Straße", "STRASSE"),
        ("Patient  12", " patient\u00a012 "),
        ("ﬁg", "FIG"),
        ("a\u200bb", "ab"),
    ],
)
def test_case_dashes_blanks_and_unicode_forms_do_not_tell_names_apart(one, other):
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(("one", "other"), [("7", "07"), ("a_b", "a-b"), ("p1", "p2"), ("COVID-19", "COVID-19?")])
def test_other_names_stay_apart(one, other):
    assert fold_name(one) != fold_name(other)


@pytest.mark.parametrize(
    ("patient", "cleaned"),
    [
        ("7.0", "7"),
        (" 7.00 ", "7"),
        ("covid 7.0", "covid 7"),
        ("2020.03.01.0", "2020.03.01.0"),
        ("P7.0", "P7.0"),
        ("7.5", "7.5"),
        ("nan", ""),
        ("Unknown", ""),
    ],
)
def test_a_patients_number_loses_the_point_of_a_float(patient, cleaned):
    assert clean_patient(patient) == cleaned


def test_the_first_spelling_is_kept():
    assert unite_spellings(["A-1", "a‑1", "B"]) == {"A-1": "A-1", "a‑1": "A-1", "B": "B"}


def test_separators_do_not_tell_folders_apart():
    assert {fold_folder(name) for name in ("Non-COVID", "non_covid", "NonCOVID ", "non covid")} == {"noncovid"}
