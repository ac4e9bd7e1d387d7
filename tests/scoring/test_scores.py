import dataclasses

import pytest

from medley.errors import MedleyError
from medley.scoring.scores import COLUMNS, read_scores, write_scores


def test_rows_and_header_come_back(made_scores, tmp_path):
    for rows in (made_scores.multitask(cases=3), made_scores.restoration(cases=2)):
        path = write_scores(rows, tmp_path / f"{rows[0].task}.csv", header=made_scores.HEADER)
        found, header = read_scores(path)
        assert header == made_scores.HEADER
        assert [dataclasses.replace(row, values={}) for row in found] == [
            dataclasses.replace(row, values={}) for row in rows
        ]
        for one, two in zip(found, rows, strict=True):
            assert one.values == pytest.approx(dict(two.values), rel=1e-6)


def test_a_row_has_no_value_where_it_has_none(made_scores, tmp_path):
    rows = made_scores.multitask(cases=1)[:2]
    rows[1] = dataclasses.replace(rows[1], values={"mae": float("nan"), "dvh": 2.0})
    path = write_scores(rows, tmp_path / "scores.csv")
    columns, first, _ = path.read_text().splitlines()
    assert columns.startswith(",".join(COLUMNS))
    assert first.endswith(",,")  # mae, dvh
    assert [list(row.values) for row in read_scores(path)[0]] == [list(rows[0].values), ["dvh"]]


def test_a_file_that_exists_stays(made_scores, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("mine")
    with pytest.raises(MedleyError, match="exists already"):
        write_scores(made_scores.restoration(cases=1), path)
    assert path.read_text() == "mine"


def test_what_would_not_come_back_is_refused(made_scores, tmp_path):
    rows = made_scores.restoration(cases=1)
    with pytest.raises(ValueError, match="one line"):
        write_scores(rows, tmp_path / "a.csv", header={"command": "one\ntwo"})
    with pytest.raises(ValueError, match="called seed"):
        write_scores([dataclasses.replace(rows[0], values={"seed": 1.0})], tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        ("# experiment: x\n", "is empty"),
        ("method,task,subject,case\na,b,c,d\n", "begin with method, task, subject, case, expected method, seed"),
        (",".join(COLUMNS) + "\n", "holds no scores"),
        (",".join(COLUMNS) + ",mae\nstl,0,dose,p,p,1,2,3,two\n", "line 2 does not fit"),
        ("# a: b\n" + ",".join(COLUMNS) + "\nstl,0,dose\n", "line 3 does not fit"),
        ("\ufffd".encode().decode("latin-1"), "is no table"),
    ],
)
def test_other_files_are_told_what_they_are_not(tmp_path, content, complaint):
    path = tmp_path / "some.csv"
    path.write_text(content)
    with pytest.raises(MedleyError, match=complaint):
        read_scores(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(MedleyError, match=r"nowhere\.csv: cannot be read"):
        read_scores(tmp_path / "nowhere.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(MedleyError, match=r"picture\.csv: cannot be read"):
        read_scores(tmp_path / "picture.csv")
