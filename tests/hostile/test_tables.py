"""Tables, labels, names and configs that are damaged, hostile or unusual, each beside the demanded answer."""

import io
import logging
import shutil
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image

from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS, covid_ct, ieee8023, radiography, sarscov2_ct, usable_rows
from covbench.data.datasets.ieee8023 import read_finding
from covbench.data.index import build_index
from covbench.data.metadata import find_hosts, read_metadata
from covbench.experiment.config import check_config, read_config
from covbench.experiment.config_files import check_config_file
from covbench.protocols import split_rule
from covbench.schema import Column, CovbenchError
from covbench.system.files import read_table, write_table

WANTED = ("name", "patient")
GOOD = "name,patient,note\na.png,7,x\nb.png,8,\n"
ROWS = [("a.png", "7"), ("b.png", "8")]


def save_picture(path: Path, shade: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.tile(np.arange(8, dtype=np.uint8) * 9 + shade, (8, 1))
    Image.fromarray(values).save(path, format="PNG")


def ask(question):
    """The answer of a call, or the words of its error."""
    try:
        return question()
    except CovbenchError as error:
        return str(error)


def expect(answer, demanded):
    """An error holds the demanded words; anything else is equal."""
    if isinstance(demanded, str) and isinstance(answer, str):
        assert demanded in answer
    else:
        assert answer == demanded


# ------------------------------------------------------------------ tables of text

TEXTS = {
    "utf-8": (GOOD.encode(), ROWS),
    "utf-8 with a byte order mark": (GOOD.encode("utf-8-sig"), ROWS),
    "utf-16 little-endian": (b"\xff\xfe" + GOOD.encode("utf-16-le"), ROWS),
    "utf-16 big-endian": (b"\xfe\xff" + GOOD.encode("utf-16-be"), ROWS),
    "utf-32": (GOOD.encode("utf-32"), ROWS),
    "utf-16 without a mark": (GOOD.encode("utf-16-le"), "line 1 holds a NUL byte"),
    "latin-1": (GOOD.replace("x", "é").encode("latin-1"), "t.csv: line 2: byte 0xe9 is not UTF-8"),
    "windows-1252": (GOOD.replace("x", "“x”").encode("cp1252"), "line 2: byte 0x93 is not UTF-8"),
    "shift-jis": (GOOD.replace("x", "肺").encode("shift-jis"), "is not UTF-8"),
    "utf-8 cut in a character": (GOOD.encode() + "é".encode()[:1], "line 4: byte 0xc3 is not UTF-8"),
    "utf-16 with a NUL character": (b"\xff\xfe" + GOOD.replace("x", "\0").encode("utf-16-le"), "line 2 holds a NUL"),
    "utf-16 cut in a character": (b"\xff\xfe" + GOOD.encode("utf-16-le")[:-1], "is no valid UTF-16"),
    "a NUL byte": (GOOD.replace("x", "\0").encode(), "line 2 holds a NUL byte"),
    "line ends of Windows": (GOOD.replace("\n", "\r\n").encode(), ROWS),
    "line ends of an old Mac": (GOOD.replace("\n", "\r").encode(), ROWS),
    "a line break in quotes": (GOOD.replace("x", '"x\ny"').encode(), ROWS),
    "empty lines": (GOOD.replace("\n", "\n\n").encode(), ROWS),
    "semicolons": (GOOD.replace(",", ";").encode(), "line 1: no column name, patient; its cells are separated by semi"),
    "tabs": (GOOD.replace(",", "\t").encode(), "separated by tabs, not by commas"),
    "a web page": (b"<!DOCTYPE html>\n<html><body>429</body></html>", "is a web page"),
    "a web page after a mark": (b"\xef\xbb\xbf\n <HTML>", "is a web page"),
    "json": (b'{"message": "Not Found"}', "line 1: no column name, patient"),
    "a zip archive": (b"PK\x03\x04\x14\x00\x00\x00\xff\xff", "holds a NUL byte"),
    "an empty file": (b"", "is empty; expected the columns name, patient"),
    "blanks only": (b"\n \n", "is empty"),
    "a header only": (b"name,patient\n", "has a header but no rows"),
    "a row too long": (GOOD.encode() + b"c.png,9,,,\n", "line 4 has 5 cells, the header has 3"),
    "a row cut off": (GOOD.encode() + b"c.png", "line 4 has 1 cells, the header has 3"),
    "a quote that never ends": (GOOD.encode() + b'c.png,9,"so', "line 4 is no row"),
    "a column missing": (b"name,note\na.png,x\n", "line 1: no column patient; there are: name, note"),
    "a column twice": (b"name,patient,Patient\na.png,7,8\n", "the column patient is there twice"),
    "another column twice": (b"name,patient,note,note\na.png,7,,\nb.png,8,,\n", ROWS),
    "headings in capitals and blanks": (GOOD.replace("name,patient", "Name , PATIENT").encode(), ROWS),
    "blanks around cells": (GOOD.replace("a.png,7", " a.png , 7").encode(), ROWS),
    "NA as a name": (b"name,patient\nNA,7\nnull,8\n", [("NA", "7"), ("null", "8")]),
    "leading zeros": (b"name,patient\na.png,007\nb.png,1e5\n", [("a.png", "007"), ("b.png", "1e5")]),
    "a cell without end": (b"name,patient\n" + b"a" * 200_000 + b",7\n", "line 2 is no row"),
}


@pytest.mark.parametrize(("content", "demanded"), TEXTS.values(), ids=TEXTS)
def test_a_table_of_text_is_read_right_or_refused_with_its_line(tmp_path, content, demanded):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    answer = ask(lambda: list(read_metadata(path, WANTED).itertuples(index=False, name=None)))
    expect(answer, demanded)


# ------------------------------------------------------------------ workbooks

PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override '
        'PartName="/xl/worksheets/sheet1.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    ),
    "xl/workbook.xml": (
        '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
        'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="s" '
        'sheetId="1" r:id="r1"/></sheets></workbook>'
    ),
    "xl/_rels/workbook.xml.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>'
    ),
}


def write_cells(*rows: str) -> str:
    """The XML of a sheet: a header, then each row as 'number cell=text cell=text'."""
    found = ""
    for row in ("1 A1=name B1=patient", *rows):
        number, *cells = row.split()
        pairs = [cell.split("=") for cell in cells]
        inner = "".join(f'<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>' for at, text in pairs)
        found += f'<row r="{number}">{inner}</row>'
    return f"<sheetData>{found}</sheetData>"


def pack_sheet(body: str, opening: str = "") -> bytes:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in PARTS.items():
            archive.writestr(name, text)
        archive.writestr("xl/worksheets/sheet1.xml", f'{opening}<worksheet xmlns="{main}">{body}</worksheet>')
    return stream.getvalue()


def pack_values(*rows) -> bytes:
    workbook, stream = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        workbook.active.append(row)
    workbook.save(stream)
    return stream.getvalue()


def lie_about_size(content: bytes, size: int) -> bytes:
    """State that a part of `size` bytes unpacks to 100."""
    assert struct.pack("<I", size) in content
    return content.replace(struct.pack("<I", size), struct.pack("<I", 100))


HUGE = pack_sheet(write_cells("2 A2=a.png B2=7") + " " * 33_000_000)
with zipfile.ZipFile(io.BytesIO(HUGE)) as _archive:
    HUGE_SIZE = _archive.getinfo("xl/worksheets/sheet1.xml").file_size
HEAD = ["name", "patient"]
BOTH = pack_values(HEAD, ["a.png", "7"], ["b.png", "8"])

WORKBOOKS = {
    "text": (BOTH, ROWS),
    "numbers": (pack_values(HEAD, ["a.png", 7], ["b.png", 8.0]), ROWS),
    "a blank row": (pack_values(HEAD, ["a.png", 7], [None, None], ["b.png", 8]), ROWS),
    "a row that ends early": (pack_values([*HEAD, "note"], ["a.png", 7], ["b.png", 8, "x"]), ROWS),
    "a date for an id": (
        pack_values(HEAD, [pd.Timestamp("2020-03-01"), 7]),
        "line 2, column name: Excel turned a text",
    ),
    "an error for a name": (pack_values(HEAD, ["#NAME?", 7]), "line 2, column name: Excel shows the error #NAME?"),
    "a far cell": (pack_sheet(write_cells("2 A2=a.png B2=7", "40000 XFD40000=x")), "value in column XFD"),
    "a far row": (pack_sheet(write_cells("2 A2=a.png B2=7", "9000 A9000=b.png B9000=8")), ROWS),
    "a row that no sheet has": (pack_sheet(write_cells("2 A2=a.png B2=7", "99000000 A99000000=x")), "500,000 cells"),
    "a wrong size in the sheet": (pack_sheet('<dimension ref="A1"/>' + write_cells("2 A2=a.png B2=7")), ROWS[:1]),
    "a header only": (pack_values(HEAD), "has a header but no rows"),
    "nothing": (pack_values(), "is empty"),
    "other columns": (pack_values(["file", "id"], ["a", 1]), "no column name, patient; there are: file, id"),
    "a column twice": (pack_values(["name", "patient", "NAME"], ["a", 1, "b"]), "the column name is there twice"),
    "parts that unpack to 33 MB": (HUGE, "unpacks to 33,0"),
    "the same with a false size": (lie_about_size(HUGE, HUGE_SIZE), "cannot be read as an Excel workbook"),
    "a lock file of Excel": (b"\x05alice" + b" " * 159, "is no Excel workbook"),
    "a web page": (b"<html>sign in</html>", "is no Excel workbook"),
    "an old .xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "is an old .xls file or has a password"),
    "an empty file": (b"", "is no Excel workbook"),
    "cut in half": (BOTH[: len(BOTH) // 2], "is no Excel workbook"),
    "another zip archive": (b"PK\x05\x06" + bytes(18), "cannot be read as an Excel workbook"),
    "broken XML": (pack_sheet("<sheetData><row>"), "cannot be read as an Excel workbook"),
}


@pytest.mark.parametrize(("content", "demanded"), WORKBOOKS.values(), ids=WORKBOOKS)
def test_a_workbook_is_read_right_or_refused_and_takes_little_memory(tmp_path, content, demanded):
    path = tmp_path / "t.xlsx"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        answer = ask(lambda: list(read_metadata(path, WANTED).itertuples(index=False, name=None)))
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    expect(answer, demanded)


# ------------------------------------------------------------------ findings

UNKNOWN, ODD = ("", "finding unknown"), "finding not understood: "
FINDINGS = {
    "COVID-19": ("covid", ""),
    "COVID-19, ARDS": ("covid", ""),
    "Pneumonia/Viral/COVID-19": ("covid", ""),
    "covid-19": ("covid", ""),
    " Covid-19 ": ("covid", ""),
    "COVID‑19": ("covid", ""),  # U+2011
    "COVID–19": ("covid", ""),  # U+2013
    "COVID−19": ("covid", ""),  # U+2212
    "ＣＯＶＩＤ-１９": ("covid", ""),
    "COVID-19\u200b": ("covid", ""),
    "COVID-19; ARDS": ("covid", ""),
    "Pneumonia/Viral/SARS": ("non_covid", ""),
    "SARS": ("non_covid", ""),
    "Pneumonia/Viral/Herpes ": ("non_covid", ""),
    "Pneumonia/Bacterial/Staphylococcus/MRSA": ("non_covid", ""),
    "Pneumonia/Viral/Influenza/H1N1": ("non_covid", ""),
    "Mycoplasma Bacterial Pneumonia": ("non_covid", ""),
    "No finding": ("non_covid", ""),
    "todo": UNKNOWN,
    "Unknown": UNKNOWN,
    "?": UNKNOWN,
    "nan": UNKNOWN,
    "": UNKNOWN,
    "COVID-19?": ("", ODD + "COVID-19?"),
    "COVID-19 (suspected)": ("", ODD + "COVID-19 (suspected)"),
    "COVID-19, suspected": ("", ODD + "COVID-19, suspected"),
    "possible COVID-19": ("", ODD + "possible COVID-19"),
    "non-COVID-19": ("", ODD + "non-COVID-19"),
    "No COVID-19": ("", ODD + "No COVID-19"),
    "COVID": ("", ODD + "COVID"),
    "COVID 19": ("", ODD + "COVID 19"),
    "SARS-CoV-2": ("", ODD + "SARS-CoV-2"),
    "2019-nCoV": ("", ODD + "2019-nCoV"),
    "СOVID-19": ("", ODD + "СOVID-19"),  # a Cyrillic letter
    "No Finding, COVID-19": ("", ODD + "No Finding, COVID-19"),
    "inconclusive": ("", ODD + "inconclusive"),
    "Pneumonia/": ("", ODD + "Pneumonia/"),
}


@pytest.mark.parametrize(("finding", "demanded"), FINDINGS.items())
def test_a_finding_has_the_class_that_it_names_or_none(finding, demanded):
    assert read_finding(finding) == demanded


# ------------------------------------------------------------------ ieee8023

LINE = {"patientid": "1", "finding": "COVID-19", "view": "PA", "modality": "X-ray", "folder": "images"}
OTHER = LINE | {"patientid": "2", "finding": "SARS", "filename": "z.png", "url": ""}


def index_ieee8023(raw: Path, *lines: dict) -> pd.DataFrame:
    """An index of some lines and of one more, which is sound."""
    save_picture(raw / "images" / "z.png")
    pd.DataFrame([{"filename": "a.png", "url": "https://a.org/1"} | LINE | line for line in (*lines, OTHER)]).to_csv(
        raw / "metadata.csv", index=False
    )
    return ieee8023.index(raw)


def answer_lines(raw: Path, *lines: dict):
    def question():
        table = index_ieee8023(raw, *lines)
        return list(table[["patient_id", "label", "reason"]].itertuples(index=False, name=None))[:-1]

    return ask(question)


LINES = {
    "patients 7 and 7.0": ([{"patientid": "7"}, {"patientid": "7.0", "filename": "b.png"}], [("7", "covid", "")] * 2),
    "patients 311a and 311A": (
        [{"patientid": "311a"}, {"patientid": "311A", "filename": "b.png"}],
        [("311a", "covid", "")] * 2,
    ),
    "patients with two kinds of dashes": (
        [{"patientid": "p-1"}, {"patientid": "p‑1 ", "filename": "b.png"}],
        [("p-1", "covid", "")] * 2,
    ),
    "patients in two Unicode forms": (
        [{"patientid": "Jose\u0301"}, {"patientid": "Jos\u00e9", "filename": "b.png"}],
        [("Jose\u0301", "covid", "")] * 2,
    ),
    "patients 7 and 70": (
        [{"patientid": "7"}, {"patientid": "70", "filename": "b.png"}],
        [("7", "covid", ""), ("70", "covid", "")],
    ),
    "a patient who is not known": ([{"patientid": "nan"}], [("images/a.png", "covid", "")]),
    "a CT in small letters": ([{"modality": "ct"}], [("1", "covid", "CT, not an X-ray")]),
    "an MRI": ([{"modality": "MRI"}], [("1", "covid", "modality unknown")]),
    "a view in small letters": ([{"view": "ap supine"}], [("1", "covid", "")]),
    "both views in one picture": ([{"view": "PA Lateral"}], [("1", "covid", "view unknown")]),
    "an odd finding": ([{"finding": "COVID-19?"}], [("1", "", "finding not understood: COVID-19?")]),
    "a file listed twice": ([{}, {}], [("1", "covid", ""), ("1", "covid", "file listed again")]),
    "a file listed thrice": ([{}, {}, {}], [("1", "covid", "")] + [("1", "covid", "file listed again")] * 2),
    "a file under two spellings of its path": (
        [{}, {"folder": "images/."}],
        [("1", "covid", ""), ("1", "covid", "file listed again")],
    ),
    "a file with two findings": (
        [{}, {"patientid": "3", "finding": "SARS"}],
        [
            ("1", "covid", "file listed with two findings of different classes"),
            ("3", "non_covid", "file listed with two findings of different classes"),
        ],
    ),
    "a path with two points": ([{"folder": "images/../../private"}], "path 'images/../../private/a.png'; write it rel"),
    "two points that come back": ([{"folder": "images/../images"}], "paths lead outside this folder"),
    "an absolute folder": ([{"folder": "/etc"}], "path '/etc/a.png'; write it relative"),
    "an absolute name": ([{"filename": "/etc/passwd"}], "path '/etc/passwd'; write it relative"),
    "two points of Windows": ([{"folder": "..\\private"}], [("1", "covid", "file missing")]),
    "a name too long": ([{"filename": "a" * 5000 + ".png"}], [("1", "covid", "file missing")]),
    "an address that is none": ([{"url": "http://[::1"}], [("1", "covid", "")]),
}


@pytest.mark.parametrize(("lines", "demanded"), LINES.values(), ids=LINES)
def test_a_line_of_ieee8023_is_used_excluded_or_refused(tmp_path, lines, demanded):
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "raw" / "images" / name)
    answer = answer_lines(tmp_path / "raw", *lines)
    if isinstance(answer, list):
        answer = [row for row in answer if row[2] != "not in metadata.csv"][: len(demanded)]
    expect(answer, demanded)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, linked):
    raw, private = tmp_path / "raw", tmp_path / "private"
    save_picture(private / "a.png")
    (raw / "images").mkdir(parents=True)
    where = ("images/a.png", private / "a.png") if linked == "file" else ("scans", private)
    (raw / where[0]).symlink_to(where[1])
    line = {"folder": "images" if linked == "file" else "scans"}
    assert "is a link out of the folder" in answer_lines(raw, line)


def test_a_link_that_stays_inside_is_followed(tmp_path):
    save_picture(tmp_path / "images" / "b.png")
    (tmp_path / "images" / "a.png").symlink_to("b.png")
    assert answer_lines(tmp_path, {})[0] == ("1", "covid", "")


def test_broken_addresses_are_counted(caplog):
    assert find_hosts(Path("m.csv"), ["https://www.a.org/x", "http://[::1", "", "a.org"]) == ["a.org", "", "", ""]
    assert "m.csv: 1 addresses cannot be read" in caplog.text


# ------------------------------------------------------------------ folders of classes


def answer_folders(dataset, raw: Path):
    table = ask(lambda: dataset.index(raw))
    return (
        table
        if isinstance(table, str)
        else dict(zip(table["path"], zip(table["label"], table["reason"], strict=True), strict=True))
    )


NO_CLASS = "its folder is no class: "
FOLDERS = {
    "dashes and capitals": (
        radiography,
        ["COVID-19/images/a.png", "viral_pneumonia/b.png"],
        ["covid", "viral_pneumon"],
    ),
    "another dash": (radiography, ["COVID‑19/a.png"], ["covid"]),
    "a suspicion": (radiography, ["COVID/a.png", "COVID-19 (suspected)/b.png"], ["covid", NO_CLASS + "COVID-19 (susp"]),
    "a folder in a class": (
        radiography,
        ["COVID/a.png", "COVID/doubtful/b.png"],
        ["covid", NO_CLASS + "COVID/doubtful"],
    ),
    "the opposite": (radiography, ["COVID/a.png", "non-COVID/b.png"], ["covid", NO_CLASS + "non-COVID"]),
    "names twice": (radiography, ["COVID/a.png", "v1/COVID/a.png"], "'covid/a.png': COVID/a.png and v1/COVID/a.png"),
    "names in two cases": (radiography, ["COVID/a.png", "v1/COVID/A.PNG"], "COVID/a.png and v1/COVID/A.PNG"),
    "an underscore": (
        sarscov2_ct,
        ["COVID/Covid (1).png", "COVID/Covid (2).png", "non_COVID/Non-Covid (1).png", "non_COVID/Non-Covid (2).png"],
        ["covid", "covid", "non_covid", "non_covid"],
    ),
    "a third class": (
        sarscov2_ct,
        ["COVID/Covid (1).png", "non-COVID/Non-Covid (1).png", "COVID?/Covid (2).png"],
        ["covid", "non_covid", NO_CLASS + "COVID?"],
    ),
    "a copy": (
        sarscov2_ct,
        ["COVID/Covid (1).png", "copy/COVID/Covid (1).png", "non-COVID/Non-Covid (1).png"],
        "'covid/Covid (1).png': COVID/Covid (1).png and copy/COVID/Covid (1).png",
    ),
    "one class only": (sarscov2_ct, ["COVID/Covid (1).png"], "no pictures of non_covid"),
}


@pytest.mark.parametrize(("dataset", "files", "demanded"), FOLDERS.values(), ids=FOLDERS)
def test_a_picture_has_the_class_of_its_folder_or_none(tmp_path, dataset, files, demanded):
    for number, name in enumerate(files):
        save_picture(tmp_path / name, 10 * number)
    answer = answer_folders(dataset, tmp_path)
    if isinstance(demanded, str):
        assert demanded in answer
    else:
        for name, words in zip(files, demanded, strict=True):
            label, reason = answer[name]
            assert (reason or label).startswith(words)
            assert not (label and NO_CLASS in reason)


UNREAD = {
    "a.webp": ".webp",
    "A.WEBP": ".webp",
    "a.jfif": ".jfif",
    "a.jp2": ".jp2",
    "1.2.840.10008": "no suffix",
    "IM0001": "no suffix",
    "~$COVID.metadata.xlsx": "Excel lock file",
    "._a.png": "hidden",
    "scan.nii.gz": ".nii.gz",
    "notes 2.0 final": "no suffix",
}


def test_files_that_are_not_read_are_counted_by_suffix_in_the_index_and_in_the_log(tmp_path, caplog):
    top = tmp_path / "COVID-19_Radiography_Dataset"
    save_picture(top / "COVID" / "a.png")
    (top / "COVID.metadata.xlsx").write_bytes(pack_values(["FILE NAME", "URL"], ["a", "https://www.b.org/1"]))
    for name in UNREAD:
        (top / name).write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        table = radiography.index(tmp_path)
    kinds = list(UNREAD.values())
    assert table.attrs["unread"] == {kind: kinds.count(kind) for kind in kinds}
    assert "2 .webp" in caplog.text
    assert table["source"].tolist() == ["b.org"]
    table.to_parquet(tmp_path / "i.parquet")
    assert pd.read_parquet(tmp_path / "i.parquet").attrs == table.attrs
    assert usable_rows(table, TASKS["radiography"]).attrs == {}


# ------------------------------------------------------------------ the authors' split of COVID-CT

SPLIT = {"train": range(6), "val": range(6, 8), "test": range(8, 12)}


def name_slice(folder: str, number: int) -> str:
    return f"2020.03.0{number}.1-p{number}-1%0.png" if folder == "COVID" else f"{number}%0.png"


def draw_covid_ct(raw: Path) -> None:
    for folder in ("COVID", "NonCOVID"):
        for number in range(12):
            save_picture(raw / f"CT_{folder}" / name_slice(folder, number), 5 * number)
        for fold, numbers in SPLIT.items():
            path = raw / "Data-split" / folder / f"{fold}CT_{folder}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name_slice(folder, number)}\n" for number in numbers))
    (raw / "COVID-CT-MetaInfo.xlsx").write_bytes(
        pack_values(["File name", "Patient ID"], [name_slice("COVID", 0), "Patient 1"])
    )
    (raw / "NonCOVID-CT-MetaInfo.csv").write_text("image name,patient id\n0%0.png,crawled_patient_0\n")


TRAIN, TEST = "Data-split/COVID/trainCT_COVID.txt", "Data-split/COVID/testCT_COVID.txt"


def recode(name: str, change):
    def damage(raw: Path) -> None:
        (raw / name).write_bytes(change((raw / name).read_text()))

    return damage


def move(old: str, new: str):
    def damage(raw: Path) -> None:
        (raw / new).parent.mkdir(parents=True, exist_ok=True)
        (raw / old).rename(raw / new)

    return damage


SLICE = f"CT_COVID/{name_slice('COVID', 8)}"
SPLITS = {
    "as published": (lambda raw: None, 0),
    "another suffix": (move(SLICE, SLICE.replace(".png", ".jpeg")), 0),
    "another case of a name": (move(SLICE, SLICE.replace("-p8", "-P8")), 0),
    "percent signs as underscores": (move(SLICE, SLICE.replace("%", "_")), 0),
    "a byte order mark": (recode(TRAIN, lambda text: text.encode("utf-8-sig")), 0),
    "a list in utf-16": (recode(TRAIN, lambda text: text.encode("utf-16")), 0),
    "line ends of Windows": (recode(TRAIN, lambda text: text.replace("\n", " \r\n").encode()), 0),
    "a list in capitals": (recode(TRAIN, lambda text: text.upper().encode()), 0),
    "another case of Data-split": (move("Data-split", "Data-Split"), 0),
    "another case of CT_COVID": (move("CT_COVID", "CT_Covid"), 0),
    "one folder deeper": (
        lambda raw: [move(p.name, f"COVID-CT-master/{p.name}")(raw) for p in sorted(raw.iterdir())],
        0,
    ),
    "one file renamed": (move(SLICE, "CT_COVID/renamed.png"), 1),
    "one file more": (lambda raw: save_picture(raw / "CT_COVID/more.png"), 1),
    "a name for two files": (lambda raw: shutil.copy(raw / SLICE, raw / SLICE.replace(".png", ".bmp")), 1),
    "names that are not there": (recode(TRAIN, lambda text: (text + "gone.png\n").encode()), 0),
    "a list missing": (lambda raw: (raw / TRAIN).unlink(), "Data-split/COVID/trainCT_COVID.txt: not found"),
    "no lists": (lambda raw: shutil.rmtree(raw / "Data-split"), "trainCT_COVID.txt: not found"),
    "an empty list": (recode(TRAIN, lambda text: b"\n"), "trainCT_COVID.txt: is empty"),
    "a web page as a list": (recode(TRAIN, lambda text: b"<html>404</html>"), "trainCT_COVID.txt: is a web page"),
    "a list in latin-1": (recode(TRAIN, lambda text: text.encode() + b"\xe9.png"), "line 7: byte 0xe9 is not UTF-8"),
    "a name on two lists": (
        recode(TEST, lambda text: (text + name_slice("COVID", 0)).encode()),
        "is on the train list and on the test list",
    ),
    "lists of another release": (
        lambda raw: [recode(name, lambda text: text.replace("2020", "2021").encode())(raw) for name in (TRAIN, TEST)],
        "10 of 12 files are on no list in Data-split, such as 2020.03.00.1-p0-1%0.png",
    ),
    "two lists of one fold": (
        lambda raw: move("x", f"old/{TRAIN}")(raw) if (raw / "x").write_text("other.png\n") else None,
        "and either could be Data-split/COVID/trainCT_COVID.txt",
    ),
    "a patient's table in semicolons": (
        recode("NonCOVID-CT-MetaInfo.csv", lambda text: text.replace(",", ";").encode()),
        "NonCOVID-CT-MetaInfo.csv: line 1: no column image name, patient id; its cells are separated by semicolons",
    ),
    "a slice of two patients": (
        recode("NonCOVID-CT-MetaInfo.csv", lambda text: (text + "0_0.PNG,crawled_patient_9\n").encode()),
        "line 3: 0_0.PNG is of crawled_patient_9, but of crawled_patient_0 before",
    ),
}


@pytest.mark.parametrize(("damage", "demanded"), SPLITS.values(), ids=SPLITS)
def test_every_listed_slice_keeps_the_authors_fold(tmp_path, damage, demanded):
    draw_covid_ct(tmp_path)
    damage(tmp_path)
    table = ask(lambda: covid_ct.index(tmp_path))
    if isinstance(demanded, str):
        assert demanded in table
        return
    wanted = {f"{number}": fold for fold, numbers in SPLIT.items() for number in numbers}
    listed = table[table["official_fold"] != ""]
    assert len(table) - len(listed) == demanded
    numbers = listed["path"].str.extract(r"(?i)(?:-p|/)(\d+)(?:-1)?[%_]0\.", expand=False)
    assert listed["official_fold"].tolist() == [wanted[number] for number in numbers]
    none = pd.DataFrame(columns=["image_id", "other_id", "kind", "correlation"])
    split = assign_folds(table, none, TASKS["covid_ct"], split_rule("audited", TASKS["covid_ct"]), 0)
    folds = dict(zip(listed["image_id"], listed["official_fold"], strict=True))
    assert dict(zip(split["image_id"], split["fold"], strict=True)) == folds


# ------------------------------------------------------------------ configs

CONFIG = "tasks: [radiography]\narchitectures: {classification: [vgg16]}\n"
OPTION = "options: {audited: {classification: {%s}}}\n"
CONFIGS = {
    "sound": (CONFIG.encode(), None),
    "a byte order mark": (CONFIG.encode("utf-8-sig"), None),
    "line ends of Windows": (CONFIG.replace("\n", "\r\n").encode(), None),
    "json": (b'{\n\t"tasks": ["radiography"], "architectures": {"classification": ["vgg16"]}}', None),
    "latin-1": (f"# é\n{CONFIG}".encode("latin-1"), "c.yaml: line 1: byte 0xe9 is not UTF-8"),
    "utf-16": (CONFIG.encode("utf-16"), "c.yaml: is UTF-16, not UTF-8"),
    "a NUL byte": (f"{CONFIG}# \0".encode(), "line 3 holds a NUL byte"),
    "a tab": (b"tasks:\n\t- radiography\n", "c.yaml: line 2: found character '\\t'"),
    "a web page": (b"<!doctype html><html>", "is a web page"),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00", "holds a NUL byte: it is no text file"),
    "a seed as a float": (f"{CONFIG}seeds: [1.0]\n".encode(), "seeds.0: 1.0 is not a whole number; write 1"),
    "a seed of a half": (f"{CONFIG}seeds: [0.5]\n".encode(), "seeds.0: 0.5 is no whole number"),
    "a truth as a seed": (f"{CONFIG}seeds: [true]\n".encode(), "seeds.0: true is no whole number"),
    "yes as a seed": (f"{CONFIG}seeds: [yes]\n".encode(), "seeds.0: true is no whole number"),
    "an octal seed": (f"{CONFIG}seeds: [010]\n".encode(), "line 3: 010 is read as 8; write 8"),
    "a sexagesimal seed": (f"{CONFIG}seeds: [1:30]\n".encode(), "line 3: 1:30 is read as 90; write 90"),
    "a hexadecimal seed": (f"{CONFIG}seeds: [0x1F]\n".encode(), "line 3: 0x1F is read as 31; write 31"),
    "a seed with an underscore": (f"{CONFIG}seeds: [1_0]\n".encode(), "line 3: 1_0 is read as 10; write 10"),
    "a rate of nan": ((CONFIG + OPTION % "head_rate: .nan").encode(), "head_rate: .nan is no finite number"),
    "a rate of inf": ((CONFIG + OPTION % "head_rate: .inf").encode(), "head_rate: .inf is no finite number"),
    "a rate that overflows": (
        (CONFIG + OPTION % "head_rate: 1.0e+999").encode(),
        "head_rate: .inf is no finite number",
    ),
    "a truth as a rate": ((CONFIG + OPTION % "head_rate: true").encode(), "head_rate: true is no number"),
    "a size as a float": ((CONFIG + OPTION % "size: 96.0").encode(), "size: 96.0 is not a whole number; write 96"),
    "a key twice": (f"{CONFIG}tasks: [covid_ct]\n".encode(), "line 3: the key 'tasks' is there twice, on line 1 too"),
    "an option twice": (
        (CONFIG + OPTION % "size: 96, size: 128").encode(),
        "line 3: the key 'size' is there twice",
    ),
    "a key twice in json": (b'{"tasks": ["radiography"], "tasks": []}', "the key 'tasks' is there twice"),
    "an alias of itself": (b"tasks: &a [*a]\n", "tasks"),
    "a list at the top": (b"- radiography\n", "keys at top level"),
}


@pytest.mark.parametrize(("content", "demanded"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_is_read_right_or_refused_in_a_sentence(tmp_path, content, demanded):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    answer = ask(lambda: read_config(path))
    if demanded is None:
        assert answer["tasks"] == ["radiography"]
    else:
        expect(answer, demanded)


def test_a_config_that_python_passes_is_checked_like_a_file():
    with pytest.raises(CovbenchError, match=r"seeds\.0: 1\.0 is not a whole number; write 1"):
        check_config({"tasks": ["radiography"], "architectures": {"classification": ["vgg16"]}, "seeds": [1.0]})


def test_an_alias_is_checked_once(tmp_path):
    levels = "".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (tmp_path / "c.yaml").write_text(f"k0: &k0 [1]\n{levels}")
    check_config_file(tmp_path / "c.yaml")


# ------------------------------------------------------------------ formulas in our own tables

CELLS = {
    "=HYPERLINK('http://x','y')": "'=HYPERLINK('http://x','y')",
    "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
    "-2+3": "'-2+3",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'\t=1",
    "\r=1": "'\r=1",
    "＝1+1": "'＝1+1",
    "'=1": "''=1",
    "-": "'-",
    "-0.5": "-0.5",
    "+1e-4": "+1e-4",
    "'tis": "'tis",
    "a=b": "a=b",
    "": "",
    "–": "–",
}


@pytest.mark.parametrize(("cell", "stored"), CELLS.items())
def test_a_text_is_no_formula_to_a_spreadsheet_and_comes_back_as_it_was(tmp_path, cell, stored):
    columns = {"name": Column("str", ""), "value": Column("float64", "")}
    write_table(tmp_path / "t.csv", pd.DataFrame({"name": [cell, "b"], "value": [-0.5, np.nan]}))
    plain = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert plain.to_numpy().tolist() == [[stored, "-0.5"], ["b", ""]]
    table = read_table(tmp_path / "t.csv", columns)
    assert table["name"].tolist() == [cell, "b"]
    assert table["value"].tolist()[0] == -0.5


# ------------------------------------------------------------------ the index itself


def test_two_rows_of_one_image_id_name_both_files(tmp_path):
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name)
    rows = [{"image_id": "X-1", "path": "a.png"}, {"image_id": "x‑1", "path": "b.png"}]
    with pytest.raises(CovbenchError, match=r"1 image_ids are there twice.*\n.*a\.png and b\.png"):
        build_index(rows, tmp_path)


def test_the_mask_of_a_row_cannot_lie_outside_either(tmp_path):
    save_picture(tmp_path / "raw" / "a.png")
    row = {"image_id": "a", "path": "a.png", "mask": "../m.png", "mask_values": "1:lesion"}
    with pytest.raises(CovbenchError, match=r"a: mask '\.\./m\.png'; write it relative"):
        build_index([row], tmp_path / "raw")
