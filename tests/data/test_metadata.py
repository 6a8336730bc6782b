"""The table of a dataset is found by its name, and its rows keep their number in the file."""

import pytest

from covbench.data.metadata import find_metadata, read_metadata
from covbench.schema import CovbenchError


def test_a_table_is_found_in_any_folder_and_case_and_its_copies_do_not_matter(tmp_path, caplog):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "metainfo.CSV").write_text("a\n")
    assert find_metadata(tmp_path, "MetaInfo.csv").name == "metainfo.CSV"
    assert "metainfo.CSV is read as MetaInfo.csv" in caplog.text
    (tmp_path / "MetaInfo.csv").write_text("a\n")
    assert find_metadata(tmp_path, "MetaInfo.csv").name == "MetaInfo.csv"


def test_two_tables_that_differ_are_named(tmp_path):
    (tmp_path / "inner").mkdir()
    for folder, text in ((tmp_path, "a\n"), (tmp_path / "inner", "b\n")):
        (folder / "m.csv").write_text(text)
    with pytest.raises(CovbenchError, match=r"inner/m\.csv and .*m\.csv differ, and either could be m\.csv"):
        find_metadata(tmp_path, "m.csv")


def test_rows_are_numbered_as_in_the_file(tmp_path):
    (tmp_path / "m.csv").write_text('name,note\n\na,"two\nlines"\nb,\n')
    assert read_metadata(tmp_path / "m.csv", ["name"])["name"].to_dict() == {3: "a", 5: "b"}
