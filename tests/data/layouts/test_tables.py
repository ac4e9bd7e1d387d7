"""One reader for all tables: the encodings and separators of spreadsheets are read, damaged tables are named."""

import warnings

import pytest

from medley.data.layouts.folder import studies
from medley.data.layouts.structure_names import read_structure_names
from medley.data.layouts.tables import read_rows, read_table
from medley.errors import MedleyError, MedleyNotice

TEXT = "name,structure\nLunge_groß,Lung\nPTV*,PTV70\n"
SAVED = {
    "utf-8": TEXT.encode(),
    "byte order mark": TEXT.encode("utf-8-sig"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 big endian": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "semicolon": TEXT.replace(",", ";").encode(),
    "tab": TEXT.replace(",", "\t").encode(),
    "windows line ends": TEXT.replace("\n", "\r\n").encode(),
    "no last line end": TEXT.rstrip("\n").encode(),
    "empty lines": TEXT.replace("\n", "\n,\n\n").encode(),
    "quoted": TEXT.replace("Lung\n", '"Lung"\n').encode(),
    "empty extra cells": TEXT.replace("Lung\n", "Lung,,\n").encode(),
    "spaces": TEXT.replace(",", " , ").encode(),
}


@pytest.mark.parametrize("form", SAVED)
def test_a_table_as_spreadsheets_save_it(tmp_path, form):
    path = tmp_path / "table.csv"
    path.write_bytes(SAVED[form])
    rows = read_table(path, ("name", "structure"), each="name")
    assert [row.cells for row in rows] == [
        {"name": "Lunge_groß", "structure": "Lung"},
        {"name": "PTV*", "structure": "PTV70"},
    ]
    assert read_structure_names(path).structure("lunge_groß") == "Lung"


def test_latin_1_is_read_with_a_notice(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(TEXT.encode("latin-1"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = read_rows(path, "name")
    assert list(rows) == ["Lunge_groß", "PTV*"]
    (notice,) = caught
    assert issubclass(notice.category, MedleyNotice)
    assert "is not UTF-8" in str(notice.message)


def test_short_rows_have_empty_cells_and_long_cells_are_read(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(f"name,structure,remark\nA\nB,C,{'x' * 140_000}\n")
    first, second = read_table(path, ("name",), each="name")
    assert first.cells == {"name": "A", "structure": "", "remark": ""}
    assert len(second.cells["remark"]) == 140_000
    assert (first.line, second.line) == (2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column file and no column subject"),
        (b"file\na.nii\n", "has no column subject"),
        (b"file,subject,file\na.nii,A,b.nii\n", "has the column file twice"),
        (b"file,subject\na.nii,A,train\n", "line 2: has 3 cells, but the table has 2 columns"),
        (b"file,subject\na.nii\0,A\n", "cannot be read as a CSV table"),
        (b"\xff\xfef\0i", "cannot be read as a CSV table"),
        (b"file,subject\na.nii,\n", "line 2: subject is empty"),
        (b"file,subject\n,A\n", "line 2: file is empty"),
        (b"file,subject\nmissing.nii,A\n", "line 2: there is no"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, content, message):
    (tmp_path / "a.nii").write_bytes(b"")
    (tmp_path / "sources.csv").write_bytes(content)
    with pytest.raises(MedleyError, match=message) as told:
        list(studies(tmp_path))
    assert "sources.csv" in str(told.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_id,dx\nA,nv\nA,mel\n", "line 3: A is listed twice"),
        ("image_id,dx\n,nv\n", "line 2: image_id is empty"),
    ],
)
def test_keys_are_unique(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(MedleyError, match=message):
        read_rows(path, "image_id")


def test_no_table(tmp_path):
    with pytest.raises(MedleyError, match="does not exist"):
        read_table(tmp_path / "labels.csv", ("image_id",), each="image")
