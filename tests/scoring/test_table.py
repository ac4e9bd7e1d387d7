"""Rows of scores, their files and their means."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.scoring.table import HEADERS, Row, cells, read_csv, summary, write_csv


def row(method: str = "input", task: str = "ct-denoise", *, slices: int = 10, psnr: float = 30.0, **other) -> Row:
    scores = {"ssim": 0.9, "rmse": 12.5, "settings": '{"sigma": 0.5}', **other}
    return Row(method, task, "subject, one", "case", slices, psnr, window="[-160, 240] HU", **scores)


def test_file_and_back(tmp_path: Path) -> None:
    rows = [row(psnr=30.1234), row("gaussian", psnr=float("inf"), ssim=0.123456), row(slices=0, psnr=float("nan"))]
    path = write_csv(rows, tmp_path / "new" / "scores.csv")
    back = read_csv(path)
    assert back[:2] == rows[:2]
    assert back[2].slices == 0
    assert np.isnan(back[2].psnr)
    assert path.read_text().splitlines()[0] == "method,task,subject,case,slices,psnr,ssim,rmse,window,settings"


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = write_csv([row()], tmp_path / "scores.csv")
    with pytest.raises(MedleyError, match="exists already"):
        write_csv([], path)
    assert len(read_csv(path)) == 1
    write_csv([row(), row()], path, overwrite=True)
    assert len(read_csv(path)) == 2


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def cut_off() -> Iterator[Row]:
        yield row()
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_csv(cut_off(), tmp_path / "scores.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "", None, "method,task,subject,case,slices,psnr,ssim,rmse,window,settings\na,b\n"]
)
def test_a_file_of_something_else(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "scores.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MedleyError, match="table of scores"):
        read_csv(path)


def test_means_over_slices_or_over_cases() -> None:
    rows = [row(slices=30, psnr=40.0), row(slices=10, psnr=20.0), row(slices=0, psnr=float("nan"))]
    (over_slices,), (over_cases,) = summary(rows), summary(rows, over="cases")
    assert (over_slices.psnr, over_cases.psnr) == (35.0, 30.0)
    assert (over_slices.cases, over_slices.slices) == (2, 40)
    (nothing,) = summary(rows[2:])
    assert np.isnan(nothing.psnr)
    assert nothing.slices == 0


def test_tasks_together_methods_as_they_came() -> None:
    rows = [row("input", "mr-sr"), row("input", "ct-denoise"), row("tat", "mr-sr"), row("a", "ct-denoise")]
    found = [(one.task, one.method) for one in summary(rows)]
    assert found == [("mr-sr", "input"), ("mr-sr", "tat"), ("ct-denoise", "input"), ("ct-denoise", "a")]


def test_cells_stand_under_their_headers() -> None:
    (line,) = cells(summary([row()]))
    assert dict(zip(HEADERS, line, strict=True)) == {
        "task": "ct-denoise",
        "method": "input",
        "cases": "1",
        "slices": "10",
        "PSNR (dB)": "30.00",
        "SSIM": "0.9000",
        "RMSE": "12.5",
    }
