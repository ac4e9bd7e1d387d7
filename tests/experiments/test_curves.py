"""Charts against strength and frequency: one for each task and score that has the points."""

from medley.experiments.curves import curves
from medley.scoring.rows import ScoreRow


def test_psnr_and_measures_against_the_strength() -> None:
    def at(strength: float, **values: float) -> ScoreRow:
        return ScoreRow("a", "ct-denoise", "image", "s", f"r{strength}", values={"strength": strength, **values})

    charts = curves([at(x, psnr=30 + x, noise=10 / x, ssim=0.9) for x in (0.1, 0.5, 1.0)])
    assert list(charts) == ["ct-denoise-psnr-strength", "ct-denoise-noise-strength"]
    assert "PSNR (dB)" in charts["ct-denoise-psnr-strength"]
    assert "ct-denoise: noise of each record" in charts["ct-denoise-noise-strength"]
    assert "noise (HU)" in charts["ct-denoise-noise-strength"]
    assert "dose; 1: not degraded" in charts["ct-denoise-noise-strength"]


def test_curves_of_the_phantom() -> None:
    values = {"d_prime": 1.0, "transfer 0.1": 0.9, "transfer 0.2": 0.5, "noise_power 0.1": 200.0}
    rows = [
        ScoreRow(method, "ct-phantom", f"dose {dose} %", "s", str(dose), values={**values, "strength": dose / 100})
        for method in ("input", "a")
        for dose in (10, 55, 100)
    ]
    charts = curves(rows)
    assert list(charts) == [
        "ct-phantom-d_prime-strength",
        *(f"dose {dose} %-{curve}" for dose in (10, 55, 100) for curve in ("transfer", "noise_power")),
    ]
    assert "dose; 1: not degraded" in charts["ct-phantom-d_prime-strength"]
    assert "HU² mm²" in charts["dose 10 %-noise_power"]
    assert charts["dose 10 %-transfer"].count("<polyline") == 2


def test_a_task_of_another_program_has_a_plain_axis() -> None:
    rows = [ScoreRow("a", "mine", "image", "s", str(x), values={"strength": x, "psnr": x}) for x in (1.0, 2.0, 3.0)]
    assert ">strength<" in curves(rows)["mine-psnr-strength"]
