"""Score rows and their CSV format."""

import csv
import dataclasses
from pathlib import Path

import pytest

from medley.errors import MedleyError
from medley.metrics.image import METRICS
from medley.scoring.rows import COLUMNS, FORMAT, ScoreRow, read_scores, write_scores
from medley.scoring.statistics import compare_methods

HEAD = ",".join(COLUMNS)
_FILES = sorted((Path(__file__).resolve().parents[2] / "results").glob("*.csv"))
RESULTS = [path for path in _FILES if path.read_text().startswith(FORMAT)]
ROW = ScoreRow("tat", "ct-denoise", "image", "person", "scan", values={"psnr": 30.0})


def test_rows_and_header_are_read_back(made_scores, tmp_path):
    for rows in (made_scores.multitask(cases=3), made_scores.restoration(cases=2)):
        path = write_scores(rows, tmp_path / f"{rows[0].title}.csv", header=made_scores.HEADER)
        found, header = read_scores(path)
        assert header == made_scores.HEADER
        assert [dataclasses.replace(row, values={}) for row in found] == [
            dataclasses.replace(row, values={}) for row in rows
        ]
        for one, two in zip(found, rows, strict=True):
            assert one.values == pytest.approx(dict(two.values), rel=1e-6)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_tables_in_results_are_read_and_compared(path):
    rows, header = read_scores(path)
    assert header["experiment"]
    assert compare_methods(rows, resamples=1).cases == len({row.record for row in rows})


def test_the_units_of_measures_are_in_the_header(tmp_path):
    row = dataclasses.replace(ROW, values={"psnr": 30.0, "noise": 9.5, "sharpness": 0.8})
    rows, header = read_scores(write_scores([row], tmp_path / "a.csv", header={"experiment": "x"}))
    assert rows == [row]
    assert header == {"experiment": "x", "units": "noise HU, sharpness ratio"}
    assert read_scores(write_scores(rows, tmp_path / "b.csv", header=header))[1] == header


def test_every_field_is_read_back(tmp_path):
    row = ScoreRow(
        "tat", "mr-sr", "image", "subject, one", "scan", 3, 500, "test", 10, 20, 1.5, "[0, 4095]", '{"sigma": 0.5}',
        {"psnr": float("inf"), "slices": 7.0},
    )  # fmt: skip
    assert read_scores(write_scores([row], tmp_path / "a.csv"))[0] == [row]


def test_scores_that_are_missing_stay_missing(made_scores, tmp_path):
    rows = made_scores.multitask(cases=1)[:2]
    rows[1] = dataclasses.replace(rows[1], values={"mae": float("nan"), "dvh": 2.0})
    path = write_scores(rows, tmp_path / "scores.csv")
    version, columns, first, _ = path.read_text().splitlines()
    assert version == FORMAT
    assert columns.startswith(HEAD)
    assert first.endswith(",,")  # mae, dvh
    assert [list(row.values) for row in read_scores(path)[0]] == [list(rows[0].values), ["dvh"]]


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "＝1", "'=1", "'quoted", "a\nb", "a,b", '"', "-5"]
)
@pytest.mark.parametrize("column", ["method", "subject", "record", "settings", "window"])
def test_text_is_never_a_formula_and_is_read_back_unchanged(tmp_path, column, text):
    row = dataclasses.replace(ROW, **{column: text})
    path = write_scores([row], tmp_path / "a.csv", header={"command": f"x,{text}".replace("\n", " ")})
    with open(path, newline="") as file:
        for line in csv.reader(file):
            for cell in line:
                assert not cell.startswith(("=", "+", "@", "\t", "＝")), cell
                assert not cell.startswith("-") or cell == "-5"  # a number is not a formula
    assert read_scores(path)[0] == [row]


def test_a_file_that_exists_is_not_changed(made_scores, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("mine")
    with pytest.raises(MedleyError, match="exists already"):
        write_scores(made_scores.restoration(cases=1), path)
    assert path.read_text() == "mine"
    write_scores([ROW], path, overwrite=True)
    assert read_scores(path)[0] == [ROW]


def test_an_interrupted_write_leaves_no_file(tmp_path):
    def interrupted():
        yield ROW
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_scores(interrupted(), tmp_path / "scores.csv")
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_read_back_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line breaks"):
        write_scores([ROW], tmp_path / "a.csv", header={"command": "one\ntwo"})
    with pytest.raises(ValueError, match="called seed"):
        write_scores([dataclasses.replace(ROW, values={"seed": 1.0})], tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "columns",
    [
        "method,seed,task,subject,case,parameters,flops,seconds,mae",
        "method,task,subject,case,slices,psnr,ssim,rmse,window,settings",
    ],
)
def test_files_of_older_versions_are_refused_as_old(tmp_path, columns):
    path = tmp_path / "old.csv"
    path.write_text(f"# experiment: x\n{columns}\n")
    with pytest.raises(MedleyError, match=r"old\.csv: is an old table of scores.*run evaluate or compare again"):
        read_scores(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("# experiment: x\n", "is empty"),
        ("network,what\na,b\n", "is not a table of scores: its columns begin with network, what, expected method"),
        (f"{HEAD}\n", "contains no scores"),
        (f"{HEAD},mae\nstl,0,p,dose,s,r,test,1,2,3,,,two\n", "line 2 does not fit"),
        (f"# a: b\n{HEAD}\nstl,0,dose\n", "line 3 does not fit"),
        (f"{HEAD},psnr,psnr\n", "column psnr occurs more than once"),
        (f"{HEAD}\n{'x' * 200_000}\n", "field larger than field limit"),
        ("some text\n", "is not a table"),
        (f"{HEAD}\nstl,0,p", "is cut off"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path, content, complaint):
    path = tmp_path / "some.csv"
    path.write_text(content)
    with pytest.raises(MedleyError, match=complaint):
        read_scores(path)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(MedleyError, match=r"nowhere\.csv: cannot be read"):
        read_scores(tmp_path / "nowhere.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(MedleyError, match=r"picture\.csv: cannot be read"):
        read_scores(tmp_path / "picture.csv")


def test_a_spreadsheet_may_add_a_byte_order_mark(tmp_path):
    path = write_scores([ROW], tmp_path / "a.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_scores(path)[0] == [ROW]


def test_no_metric_can_have_the_name_of_a_column():
    assert set(COLUMNS) <= set(METRICS.reserved)
