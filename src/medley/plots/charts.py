"""Charts of a comparison as SVG: bars with intervals, differences from the baseline, box plots, and curves.

They follow the light or dark setting of the browser, in a page and as separate files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from medley.plots.pictures import rounded_up
from medley.scoring.statistics import Estimate, MethodScore, verdict

STYLE = """
.chart { --ink: #22252a; --soft: #646b75; --line: #e4e1db; --plain: #b9c0c9; --accent: #1f6f8b; --bad: #b4541a;
  font: 13px system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; }
@media (prefers-color-scheme: dark) {
  .chart { --ink: #e6e4df; --soft: #9aa1ac; --line: #2d323a; --plain: #596270; --accent: #5cc0dd; --bad: #e8955b; }
}
.chart text { fill: var(--ink); font-size: 13px; } .chart .soft { fill: var(--soft); font-size: 12px; }
.chart .grid { stroke: var(--line); } .chart .zero { stroke: var(--soft); }
.chart .bar { fill: var(--plain); } .chart .box { fill: var(--plain); fill-opacity: .45; stroke: var(--soft); }
.chart .whisker { stroke: var(--ink); stroke-width: 1.5; fill: none; }
.chart .middle { stroke: var(--ink); stroke-width: 2; }
.chart .dot { fill: var(--ink); fill-opacity: .55; } .chart .mean { fill: var(--accent); }
.chart .better { stroke: var(--accent); fill: var(--accent); } .chart .worse { stroke: var(--bad); fill: var(--bad); }
.chart .unclear { stroke: var(--soft); fill: var(--soft); } .chart .better, .chart .worse { stroke-width: 2; }
"""

_WIDTH = 900
_ROW, _HEAD, _FOOT = 32, 34, 44  # pixels: of a method, of the title, of the axis
_GAP = 44  # between the two panels
_LETTER = 7.2  # pixels, mean width


def bars(findings: Mapping[str, MethodScore], title: str, label: str, *, baseline: str, higher: bool) -> str:
    """Left: the score of every method with its interval and one dot per seed; right: the difference from the baseline.

    Parameters
    ----------
    findings: by method, from top to bottom. title: of the chart. label: of the axis, with the unit.
    higher: whether a higher score is better.
    """
    margin = _margin(findings)
    differences = {name: finding.difference for name, finding in findings.items() if finding.difference is not None}
    right = margin + (_WIDTH - margin - _GAP) * 0.55 if differences else _WIDTH - 12
    ends = [end for f in findings.values() for end in (0.0, *_ends(f.estimate), *f.seeds)]
    axis = _Axis.over(ends, margin, right)
    parts = [_grid(axis, len(findings), label)]
    for k, finding in enumerate(findings.values()):
        y, value = _middle(k), finding.estimate.value
        if math.isfinite(value):
            x, wide = axis.at(min(value, 0)), abs(axis.at(value) - axis.at(0))
            parts.append(f'<rect class="bar" x="{x:.1f}" y="{y - 9:.1f}" width="{wide:.1f}" height="18" rx="2"/>')
        parts.append(_whisker(axis, finding.estimate, y - 2, "whisker"))
        parts += [_dot(axis, one, y + 5.5, 2, "dot") for one in finding.seeds if len(finding.seeds) > 1]
    if differences:
        ends = [end for one in differences.values() for end in (0.0, *_ends(one))]
        way = "right" if higher else "left"
        axis = _Axis.over(ends, right + _GAP, _WIDTH - 12)
        parts.append(_grid(axis, len(findings), f"difference to {baseline}, better to the {way}"))
        parts.append(_line(axis.at(0), _HEAD, axis.at(0), _HEAD + _ROW * len(findings), "zero"))
        for k, name in enumerate(findings):
            if (one := differences.get(name)) is not None:
                look = verdict(one, higher=higher) or "unclear"
                parts.append(_whisker(axis, one, _middle(k), look))
                parts.append(_dot(axis, one.value, _middle(k), 4.5, look))
    return _chart(title, findings, margin, parts)


def boxes(findings: Mapping[str, MethodScore], title: str, label: str) -> str:
    """The records of every method: median and quartiles, whiskers to the last record within 1.5 interquartile ranges
    (Tukey), single dots beyond, and the mean as a large dot.
    """
    margin = _margin(findings)
    axis = _Axis.over([float(value) for f in findings.values() for value in f.cases], margin, _WIDTH - 12)
    parts = [_grid(axis, len(findings), label)]
    for k, finding in enumerate(findings.values()):
        if finding.cases.size:
            parts.append(_box(axis, finding.cases, _middle(k)))
    return _chart(title, findings, margin, parts)


def curves(points: Mapping[str, Sequence[tuple[float, float]]], title: str, across: str, up: str) -> str:
    """Points of several methods and a line through their means in groups of neighbours.

    Parameters
    ----------
    points: by method, (x, y) of each record with ascending x. title: of the chart. across, up: labels of the axes.
    """
    height, left = 320, 60.0
    every = [point for one in points.values() for point in one]
    x_axis = _Axis.over([x for x, _ in every], left, _WIDTH - 190)
    y_axis = _Axis.over([y for _, y in every], _HEAD + height, _HEAD)
    parts = [_grid(x_axis, height / _ROW, across)]
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        parts.append(_line(left, y, x_axis.right, y, "grid"))
        parts.append(f'<text class="soft" x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<text class="soft" x="0" y="{_HEAD - 4}">{escape(up)}</text>')
    for k, (name, own) in enumerate(points.items()):
        hue = f"hsl({(200 + 360 * k / len(points)) % 360:.0f} 60% 45%)"
        dots = "".join(f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="2"/>' for x, y in own)
        line = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in _group_means(own))
        parts.append(f'<g fill="{hue}" fill-opacity=".5">{dots}</g>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{hue}" stroke-width="2"/>')
        y = _HEAD + 14 + 20 * k
        parts.append(f'<rect x="{x_axis.right + 16:.1f}" y="{y - 9}" width="12" height="12" rx="2" fill="{hue}"/>')
        parts.append(f'<text x="{x_axis.right + 34:.1f}" y="{y + 2}">{escape(_short(name, 20))}</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEAD + height + _FOOT}" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="14" font-weight="600">{escape(title)}</text>{"".join(parts)}</svg>'
    )


def _group_means(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of (x, y) in at most eight groups of neighbours of about the same size."""
    groups = np.array_split(np.array(points, np.float64), min(8, len(points)))
    return [(float(x), float(y)) for x, y in (group.mean(axis=0) for group in groups)]


def standalone(chart: str) -> str:
    """A chart as a separate SVG file, which contains the style sheet."""
    head, rest = chart.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'


@dataclass(frozen=True)
class _Axis:
    """Maps values from low to high to pixels from left to right, with ticks at the multiples of step."""

    low: float
    high: float
    left: float
    right: float
    step: float

    @classmethod
    def over(cls, values: list[float], left: float, right: float) -> _Axis:
        """An axis slightly wider than the range of the finite values; an end at 0 stays at 0."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        if high == low:
            low, high = min(low, 0.0), max(high, 0.0) or 1.0
        spare = 0.04 * (high - low)
        return cls(low and low - spare, high and high + spare, left, right, rounded_up((high - low) / 6))

    def at(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [k * self.step for k in range(first, last + 1)]


def _chart(title: str, names: Mapping[str, MethodScore], margin: float, parts: list[str]) -> str:
    height = _HEAD + _ROW * len(names) + _FOOT
    letters = int((margin - 12) / _LETTER)
    labels = [
        f'<text x="{margin - 12:.1f}" y="{_middle(k) + 4:.1f}" text-anchor="end">{escape(_short(name, letters))}</text>'
        for k, name in enumerate(names)
    ]
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f'<text x="0" y="18" font-weight="600">{escape(title)}</text>{"".join(parts)}{"".join(labels)}</svg>'
    )


def _margin(names: Mapping[str, MethodScore]) -> float:
    return 12 + _LETTER * min(30, max(len(name) for name in names) + 1)


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _middle(k: int) -> float:
    return _HEAD + _ROW * (k + 0.5)


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _grid(axis: _Axis, rows: float, label: str) -> str:
    bottom = _HEAD + _ROW * rows
    digits = max(0, -math.floor(math.log10(axis.step) + 1e-9))
    parts = []
    for tick in axis.ticks():
        x, text = axis.at(tick), f"{tick + 0.0:.{digits}f}".replace("-", "−")
        parts.append(_line(x, _HEAD, x, bottom, "grid"))
        parts.append(f'<text class="soft" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>')
    middle = (axis.left + axis.right) / 2
    return "".join(parts) + (
        f'<text class="soft" x="{middle:.1f}" y="{bottom + 36}" text-anchor="middle">{escape(label)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, look: str) -> str:
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(axis: _Axis, value: float, y: float, radius: float, look: str) -> str:
    if not math.isfinite(value):
        return ""
    return f'<circle class="{look}" cx="{axis.at(value):.1f}" cy="{y:.1f}" r="{radius}"/>'


def _whisker(axis: _Axis, estimate: Estimate, y: float, look: str) -> str:
    if not all(map(math.isfinite, _ends(estimate))):
        return ""
    low, high = axis.at(estimate.low), axis.at(estimate.high)
    return "".join(
        [_line(low, y, high, y, look), *(_line(x, y - 5, x, y + 5, look) for x in (low, high))],
    )


def _box(axis: _Axis, cases: np.ndarray, y: float) -> str:
    first, median, third = np.percentile(cases, [25, 50, 75])
    reach = 1.5 * (third - first)
    inside = cases[(cases >= first - reach) & (cases <= third + reach)]
    left, right = axis.at(first), axis.at(third)
    ends = axis.at(inside.min()), axis.at(inside.max())
    return "".join(
        [
            _line(ends[0], y, left, y, "whisker"),
            _line(right, y, ends[1], y, "whisker"),
            *(_line(end, y - 4, end, y + 4, "whisker") for end in ends),
            f'<rect class="box" x="{left:.1f}" y="{y - 9:.1f}" width="{right - left:.1f}" height="18"/>',
            _line(axis.at(median), y - 9, axis.at(median), y + 9, "middle"),
            *(_dot(axis, v, y, 2, "dot") for v in cases[(cases < first - reach) | (cases > third + reach)]),
            _dot(axis, float(cases.mean()), y, 3.5, "mean"),
        ]
    )
