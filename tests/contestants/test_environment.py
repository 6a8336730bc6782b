"""Packages of a contestant come from its requirements file alone, hashes included."""

import pytest

from covbench.contestants.environment import find_builder, make_environment
from covbench.schema import CovbenchError

BUILDER = "setuptools==84.2.1 \\\n    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
LOCK = f"numpy==2.4.6 \\\n    --hash=sha256:aa\n{BUILDER}scipy==1.17.1\n"


def test_the_builder_is_the_locked_setuptools_with_its_hashes():
    assert find_builder(LOCK) == BUILDER
    assert find_builder(LOCK.replace("setuptools", "other")) == ""


def test_a_package_without_a_hash_is_refused_with_the_words_of_pip(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("packaging\n")
    with pytest.raises(CovbenchError, match=r"requirements.txt: cannot be installed; pip says:\n(.|\n)*hash"):
        make_environment(requirements, tmp_path / "environment")
