"""What is measured in restored scans beside PSNR, SSIM and RMSE: names, titles and units, as plain data.

`medley.metrics.physical` measures records of a store, `medley.scoring.phantom` the CT phantom; docs/image-quality.md
describes each. Values are not clipped to a window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Measure(NamedTuple):
    """A measure, or a curve of it over the spatial frequency.

    Attributes
    ----------
    title: for display. unit: "" for a ratio.
    higher: whether a higher value is better, or a lower one; None if neither is, such as for a bias.
    """

    title: str
    unit: str = ""
    higher: bool | None = None

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


RECORD = {
    "noise": Measure("noise", "HU"),
    "noise_ratio": Measure("noise / that of the target"),
    "bias": Measure("bias", "HU"),
    "sharpness": Measure("edge sharpness / that of the target"),
    "suv_bias": Measure("bias of the mean SUV", "%"),
    "recovery_max": Measure("SUVmax of hot spots / that of the target"),
    "recovery_mean": Measure("SUVmean of hot spots / that of the target"),
}
PHANTOM = {
    "d_prime": Measure("detectability d'", higher=True),
    "auc": Measure("AUC of the observer", higher=True),
    "noise": RECORD["noise"],
    "noise_frequency": Measure("mean frequency of the noise", "1/mm"),
    "bias": RECORD["bias"],
    "contrast_kept": Measure("contrast / that added"),
    "cnr": Measure("contrast / noise", higher=True),
    "transfer": Measure("transfer"),
    "noise_power": Measure("noise power", "HU² mm²"),
}
MEASURES = PHANTOM | RECORD
CURVES = ("transfer", "noise_power")  # "transfer 0.2" is the one at 0.2/mm


def is_measure(name: str) -> bool:
    """Whether a score is a measure, or a value of a curve."""
    return name.partition(" ")[0] in MEASURES


def at(curve: str, frequency: float) -> str:
    """The name of a value of a curve at a frequency in 1/mm."""
    return f"{curve} {frequency:g}"


def label(name: str) -> str:
    """The title and unit of a measure, or of a value of a curve."""
    first, _, frequency = name.partition(" ")
    measure = MEASURES[first]
    return measure._replace(title=f"{measure.title} at {frequency}/mm").label if frequency else measure.label


def units(names: Iterable[str]) -> str:
    """The units of the measures among the names of scores, such as "noise HU, sharpness ratio"; "" without any."""
    found = dict.fromkeys(first for name in names if (first := name.partition(" ")[0]) in MEASURES)
    return ", ".join(f"{name} {MEASURES[name].unit or 'ratio'}" for name in found)
