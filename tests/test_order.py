"""The order in which files of tests start names files that are there."""

from pathlib import Path

from tests.conftest import APART, LONGEST_FIRST, group_of

ROOT = Path(__file__).resolve().parents[1]


def test_every_file_with_a_place_of_its_own_in_the_order_exists():
    named = {*APART, *LONGEST_FIRST}
    assert {file for file in named if not (ROOT / file).is_file()} == set()


def test_tests_of_a_file_stay_together_and_contracts_of_architectures_do_not():
    assert group_of("tests/training/test_fit.py::test_a") == group_of("tests/training/test_fit.py::test_b[1]")
    one, other = (f"tests/contracts/test_models.py::test_a[{number}]" for number in (1, 2))
    assert group_of(one) != group_of(other)
