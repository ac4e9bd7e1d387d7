"""Mean scores of restoration methods."""

import numpy as np

from medley.scoring.rows import ScoreRow
from medley.scoring.summary import HEADERS, cells, summary


def row(method: str = "input", task: str = "ct-denoise", *, slices: int = 10, psnr: float = 30.0) -> ScoreRow:
    values = {"slices": slices, "psnr": psnr, "ssim": 0.9, "rmse": 12.5}
    return ScoreRow(method, task, "image", "subject", "record", values=values)


def test_means_over_slices_or_over_records() -> None:
    rows = [row(slices=30, psnr=40.0), row(slices=10, psnr=20.0), row(slices=0, psnr=float("nan"))]
    (over_slices,), (over_records,) = summary(rows), summary(rows, over="records")
    assert (over_slices.psnr, over_records.psnr) == (35.0, 30.0)
    assert (over_slices.records, over_slices.slices) == (2, 40)
    (nothing,) = summary(rows[2:])
    assert np.isnan(nothing.psnr)
    assert nothing.slices == 0


def test_rows_are_grouped_by_task_with_methods_in_their_first_order() -> None:
    rows = [row("input", "mr-sr"), row("input", "ct-denoise"), row("tat", "mr-sr"), row("a", "ct-denoise")]
    found = [(one.task, one.method) for one in summary(rows)]
    assert found == [("mr-sr", "input"), ("mr-sr", "tat"), ("ct-denoise", "input"), ("ct-denoise", "a")]


def test_cells_have_the_order_of_the_headers() -> None:
    (line,) = cells(summary([row()]))
    assert dict(zip(HEADERS, line, strict=True)) == {
        "task": "ct-denoise",
        "method": "input",
        "records": "1",
        "slices": "10",
        "PSNR (dB)": "30.00",
        "SSIM": "0.9000",
        "RMSE": "12.5",
    }
