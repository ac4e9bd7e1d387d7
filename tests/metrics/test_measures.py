"""Names, titles and units of measures."""

from medley.metrics.measures import CURVES, MEASURES, at, is_measure, label, units


def test_titles_have_the_unit() -> None:
    assert label("noise") == "noise (HU)"
    assert label("sharpness") == "edge sharpness / that of the target"
    assert label(at("noise_power", 0.05)) == "noise power at 0.05/mm (HU² mm²)"
    assert set(CURVES) < MEASURES.keys()


def test_measures_are_told_from_other_scores() -> None:
    assert [is_measure(name) for name in ("noise", "transfer 0.2", "psnr", "dice Larynx")] == [True, True, False, False]


def test_units_are_listed_once() -> None:
    assert (
        units(["psnr", "noise", "transfer 0.1", "transfer 0.2", "suv_bias"]) == "noise HU, transfer ratio, suv_bias %"
    )
    assert units(["psnr"]) == ""
