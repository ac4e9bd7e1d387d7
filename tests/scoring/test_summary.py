"""Mean scores of restoration methods."""

from dataclasses import replace

import numpy as np
import pytest

from medley.scoring.rows import ScoreRow
from medley.scoring.summary import (
    cells,
    frequency_curves,
    headers,
    latest,
    main_scores,
    measure_table,
    strength_curves,
    summary,
)


def row(method: str = "input", task: str = "ct-denoise", *, slices: int = 10, psnr: float = 30.0) -> ScoreRow:
    values = {"slices": slices, "psnr": psnr, "ssim": 0.9, "rmse": 12.5}
    return ScoreRow(method, task, "image", "subject", "record", values=values)


def test_means_over_slices_or_over_records() -> None:
    rows = [row(slices=30, psnr=40.0), row(slices=10, psnr=20.0), row(slices=0, psnr=float("nan"))]
    (over_slices,), (over_records,) = summary(rows), summary(rows, over="records")
    assert (over_slices.scores["psnr"], over_records.scores["psnr"]) == (35.0, 30.0)
    assert (over_slices.records, over_slices.slices) == (2, 40)
    (nothing,) = summary(rows[2:])
    assert np.isnan(nothing.scores["psnr"])
    assert nothing.slices == 0


def test_rows_are_grouped_by_task_with_methods_in_their_first_order() -> None:
    rows = [row("input", "mr-sr"), row("input", "ct-denoise"), row("tat", "mr-sr"), row("a", "ct-denoise")]
    found = [(one.task, one.method) for one in summary(rows)]
    assert found == [("mr-sr", "input"), ("mr-sr", "tat"), ("ct-denoise", "input"), ("ct-denoise", "a")]


def test_cells_have_the_order_of_the_headers() -> None:
    (line,) = cells(summary([row()]))
    assert dict(zip(headers(), line, strict=True)) == {
        "task": "ct-denoise",
        "method": "input",
        "records": "1",
        "slices": "10",
        "PSNR (dB)": "30.00",
        "SSIM": "0.9000",
        "RMSE": "12.5",
    }


def test_curves_of_score_against_strength() -> None:
    def at(task: str, strength: float, psnr: float, method: str = "a") -> ScoreRow:
        return ScoreRow(method, task, "image", "s", "r", values={"strength": strength, "psnr": psnr, "slices": 1.0})

    rows = [at("ct-denoise", x, 30 + x) for x in (0.5, 0.1, 1.0)] + [at("ct-denoise", 0.1, 33.0, "b")]
    rows += [at("pet-denoise", 10.0, 30.0)] * 5
    points = {"a": [(0.1, 30.1), (0.5, 30.5), (1.0, 31.0)], "b": [(0.1, 33.0)]}
    assert strength_curves(rows) == {("ct-denoise", "psnr"): points}
    rows = [replace(row, values={**row.values, "noise": row.values["psnr"] - 20}) for row in rows]
    lower = {method: [(x, y - 20) for x, y in own] for method, own in points.items()}
    assert strength_curves(rows) == {("ct-denoise", "psnr"): points, ("ct-denoise", "noise"): lower}


def test_curves_over_the_frequency() -> None:
    values = {"transfer 0.2": 0.5, "transfer 0.1": 0.9, "noise_power 0.1": 200.0, "d_prime": 1.0}
    rows = [ScoreRow("a", "ct-phantom", "dose 10 %", "s", "r", values=values)]
    assert frequency_curves(rows) == {
        ("dose 10 %", "transfer"): {"a": [(0.1, 0.9), (0.2, 0.5)]},
        ("dose 10 %", "noise_power"): {"a": [(0.1, 200.0)]},
    }


def test_the_table_of_measures_weighs_records_by_their_slices() -> None:
    rows = [row(slices=30), row(slices=10), row("tat"), row("tat", "pet-denoise"), row(slices=10)]
    extra = ({"noise": 10.0}, {"noise": 20.0}, {"noise": 4.0}, {"suv_bias": -1.26}, {})
    rows = [replace(one, values={**one.values, **more}) for one, more in zip(rows, extra, strict=True)]
    assert measure_table(rows) == [
        ("task", "measure", "input", "tat"),
        ("ct-denoise", "noise (HU)", "12.5", "4"),
        ("pet-denoise", "bias of the mean SUV (%)", "–", "-1.26"),
    ]
    assert summary(rows)[0].scores["psnr"] == 30
    assert measure_table([row()]) == []


def test_main_scores_of_images_and_targets() -> None:
    rows = [row(slices=30, psnr=40.0), row(slices=10, psnr=20.0)]
    rows += [ScoreRow("m", "plans", "dose", "s", f"r{k}", values={"mae": 2.0 + k}) for k in range(3)]
    assert main_scores(rows) == {"ct-denoise psnr": pytest.approx(35.0), "dose dose_score": pytest.approx(3.0)}
    assert main_scores([]) == {}


def test_the_last_step_of_each_run() -> None:
    rows = [replace(row(), step=step, seed=seed) for seed, step in ((0, 100), (0, 200), (1, 100))] + [row("other")]
    assert [(one.method, one.seed, one.step) for one in latest(rows)] == [
        ("input", 0, 200), ("input", 1, 100), ("other", 0, 0),
    ]  # fmt: skip
