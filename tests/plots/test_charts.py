import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from medley.plots.charts import bars, boxes, curves, standalone
from medley.scoring.statistics import Estimate, MethodScore


def finding(value, *, difference=None, seeds=(), cases=()):
    estimate = Estimate(value, value - 0.1, value + 0.1)
    return MethodScore(estimate, tuple(seeds) or (value,), difference, np.array(cases, float))


@pytest.fixture
def findings():
    return {
        "base": finding(2.0, seeds=(1.9, 2.1), cases=range(10)),
        "good <&>": finding(1.0, difference=Estimate(-1.0, -1.2, -0.8), seeds=(1.0, 1.0), cases=[5, 5, 5, 5, 90]),
        "bad": finding(3.0, difference=Estimate(1.0, 0.5, 1.5), seeds=(2.9, 3.1), cases=[1, 2, 3]),
        "same": finding(2.0, difference=Estimate(0.0, -0.1, 0.1), cases=[4]),
    }


def elements(chart, tag, look):
    root = ElementTree.fromstring(chart)
    return [one.attrib for one in root.iter() if one.tag.endswith(tag) and one.attrib.get("class") == look]


def test_bars_are_as_long_as_the_scores(findings):
    widths = [
        float(bar["width"]) for bar in elements(bars(findings, "t", "l", baseline="base", higher=False), "rect", "bar")
    ]
    assert np.divide(widths, widths[0]) == pytest.approx([1, 0.5, 1.5, 1], abs=0.002)


@pytest.mark.parametrize(("higher", "better"), [(False, 1), (True, 2)])
def test_whether_a_difference_is_better_depends_on_the_score(findings, higher, better):
    chart = bars(findings, "t", "l", baseline="base", higher=higher)
    rows = {look: elements(chart, "circle", look) for look in ("better", "worse", "unclear")}
    middles = [float(bar["y"]) + 9 for bar in elements(chart, "rect", "bar")]
    assert [len(found) for found in rows.values()] == [1, 1, 1]
    assert float(rows["better"][0]["cy"]) == pytest.approx(middles[better])
    zero = float(elements(chart, "line", "zero")[0]["x1"])
    assert float(rows["unclear"][0]["cx"]) == pytest.approx(zero)
    assert f"better to the {'right' if higher else 'left'}" in chart


def test_every_training_is_a_dot_unless_there_is_one(findings):
    assert len(elements(bars(findings, "t", "l", baseline="base", higher=True), "circle", "dot")) == 6


def test_without_a_difference_the_scores_take_the_whole_width(findings):
    alone = {"base": findings["base"]}
    chart = bars(alone, "t", "l", baseline="base", higher=True)
    assert "difference" not in chart
    wide = float(elements(chart, "rect", "bar")[0]["width"])
    assert wide > 1.3 * float(
        elements(bars(findings, "t", "l", baseline="base", higher=True), "rect", "bar")[0]["width"]
    )


def test_boxes_show_quartiles_and_what_lies_beyond(findings):
    chart = boxes({"base": findings["base"], "good": findings["good <&>"]}, "t", "l")
    first, second = elements(chart, "rect", "box")
    per_unit = float(first["width"]) / 4.5  # quartiles of 0..9 are 2.25 and 6.75
    assert float(second["width"]) == 0
    middle = [float(line["x1"]) for line in elements(chart, "line", "middle")]
    assert middle[1] - middle[0] == pytest.approx(0.5 * per_unit, abs=0.2)
    (beyond,) = elements(chart, "circle", "dot")
    assert float(beyond["cx"]) - middle[1] == pytest.approx(85 * per_unit, abs=2)


def test_numbers_that_are_none_are_not_drawn(findings):
    nan = float("nan")
    findings["none"] = dataclasses.replace(
        findings["bad"], estimate=Estimate(nan, nan, nan), seeds=(nan, nan), difference=Estimate(nan, nan, nan),
        cases=np.array([]),
    )  # fmt: skip
    for chart in (bars(findings, "t", "l", baseline="base", higher=True), boxes(findings, "t", "l")):
        assert "nan" not in chart
        assert ">none<" in chart


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [-3.0, -3.0]])
def test_values_that_are_all_the_same_have_an_axis(values):
    ElementTree.fromstring(boxes({"one": finding(0, cases=values)}, "t", "l"))


def test_ticks_are_round_and_within_the_chart(findings):
    chart = bars(findings, "t", "l", baseline="base", higher=True)
    ticks = re.findall(r'x="([\d.]+)" y="\d+" text-anchor="middle">(−?[\d.]+)<', chart)
    assert {0, 1, 2, 3} <= {float(text.replace("−", "-")) for _, text in ticks}
    assert all(0 <= float(x) <= 900 for x, _ in ticks)
    assert "−0.0<" not in chart


def test_alone_it_is_a_file_with_its_own_style_and_escaped_names(findings):
    chart = standalone(bars(findings, "a < b", "l", baseline="base", higher=True))
    root = ElementTree.fromstring(chart)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in root[0].text
    assert "good <&>" in "".join(root.itertext())


def test_long_names_are_cut(findings):
    chart = boxes({"x" * 60: findings["base"]}, "t", "l")
    assert f"{'x' * 29}…" in chart


def test_a_curve_has_a_dot_for_each_record_and_a_line_for_each_method():
    points = {"tat <&>": [(0.1 * k, 30 + k) for k in range(1, 11)], "input": [(0.1, 28.0), (0.5, 28.5), (1.0, 29.0)]}
    root = ElementTree.fromstring(curves(points, "a title", "dose", "PSNR (dB)"))
    groups = [one for one in root.iter() if one.tag == "g"]
    dots = [[(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in group] for group in groups]
    assert [len(one) for one in dots] == [10, 3]
    assert dots[0] == sorted(dots[0])  # ascending strength from left to right
    assert dots[0][0][1] > dots[0][-1][1]  # a higher PSNR is higher up
    lines = [one for one in root.iter() if one.tag == "polyline"]
    assert [len(one.attrib["points"].split()) for one in lines] == [8, 3]
    assert "tat &lt;&amp;&gt;" in standalone(curves(points, "t", "x", "y"))
