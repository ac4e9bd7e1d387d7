"""The strength of a restoration whose result has a wanted noise: `--strength auto` and `--target-noise`.

There is one strength for a scan, so that no slice is smoother than its neighbours by our doing. It is found from a few
slices: their noise before and after the network gives the noise at every strength (`medley.inference.noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from medley.errors import MedleyError
from medley.inference.noise import NoiseCurve, measured_slices, noise_unit
from medley.models import weights
from medley.models.weights import Description
from medley.slabs import Slabs, stream_slabs
from medley.tasks import Task

if TYPE_CHECKING:
    from medley.inference.plan import RestorationPlan

AUTO = "auto"
# In the training record of weights: {task: median noise of the training targets}.
TARGET_NOISE = "target_noise"
# That of the packaged restorers, which were trained on the same scans; measured by `benchmarks.target_noise`.
PACKAGED: Mapping[str, float] = {"ct-denoise": 17.8, "pet-denoise": 18.0}  # HU, percent of the mean
_STRENGTHS = np.linspace(0, 1, 1001)


@dataclass(frozen=True)
class NoiseMatch:
    """A strength that was found from noise. Noise has the unit `unit`; None where it was not measured.

    Attributes
    ----------
    wanted: of the result. before: of the input.
    after: of the result, in the slices that were measured. full: of the output of the network, at full strength.
    """

    strength: float
    unit: str
    wanted: float | None = None
    before: float | None = None
    after: float | None = None
    full: float | None = None
    note: str = ""


def wanted_noise(description: Description, task: Task, target_noise: float | None) -> float | None:
    """The noise that a result should have: the given one, else that of the training targets of the network.

    None for super-resolution unless it is given: the network adds detail, and noise does not say how much is missing.

    Raises
    ------
    MedleyError: the given noise is not above 0; none is given, and the weights do not state that of their targets.
    """
    if target_noise is not None:
        if not target_noise > 0:
            raise MedleyError(f"the target noise must be above 0 {noise_unit(task)}, but is {target_noise:g}")
        return target_noise
    if task.name.endswith("-sr"):
        return None
    stated = description.training.get(TARGET_NOISE, {})
    found = ({**PACKAGED, **stated} if description.name in weights.packaged() else stated).get(task.name)
    if found is None:
        raise MedleyError(
            f"{description.name} does not state the noise of its training targets for {task.name}; give the wanted "
            f"noise in {noise_unit(task)} (--target-noise), or a strength from 0 to 1"
        )
    return float(found)


def match_noise(
    plan: RestorationPlan, wanted: float | None, reach: int, restored: Callable[[Slabs], np.ndarray]
) -> RestorationPlan:
    """The plan with the smallest strength that brings the noise down to the wanted one.

    The strength is 0 if the scan has no more noise, and 1 if the network leaves more or noise cannot be measured.
    Restored slices are kept in the plan, so that no slice is restored twice.

    Parameters
    ----------
    wanted: in the unit of `noise_unit`; None for full strength.
    reach: neighbours in the slabs that `restored` gets; it gives their slices at full strength, (n, row, column).
    """
    unit = noise_unit(plan.task)
    if wanted is None:
        text = f"auto means full strength for {plan.task.name}: noise does not say how much detail is missing"
        return replace(plan, match=NoiseMatch(1.0, unit, note=text))
    slabs = _some_slabs(plan, reach)
    before = _curve(plan, {k: (one.centre[0], one.centre[0]) for k, one in slabs.items()}).levels([0])
    if before is None:
        text = "the scan has too few homogeneous regions to measure its noise: restored at full strength"
        return replace(plan, match=NoiseMatch(1.0, unit, wanted, note=text))
    noise = float(before[0])
    if noise <= wanted:
        text = f"the noise of the scan, {noise:.3g} {unit}, is not above {wanted:.3g}: the scan is left as it is"
        return replace(plan, strength=0.0, match=NoiseMatch(0.0, unit, wanted, noise, noise, note=text))
    ready = {k: restored(one)[0] for k, one in slabs.items()}
    levels = _curve(plan, {k: (one.centre[0], ready[k]) for k, one in slabs.items()}).levels(_STRENGTHS)
    assert levels is not None  # the same blocks as before
    low_enough = np.flatnonzero(levels <= wanted)
    chosen = int(low_enough[0]) if low_enough.size else len(levels) - 1
    strength, after, full = (float(one) for one in (_STRENGTHS[chosen], levels[chosen], levels[-1]))
    text = ""
    if not low_enough.size:
        text = (
            f"a noise of {wanted:.3g} {unit} is wanted, but {full:.3g} is left at full strength, the least that this "
            "network reaches for this scan"
        )
    match = NoiseMatch(strength, unit, wanted, noise, after, full, text)
    return replace(plan, strength=strength, match=match, ready=ready)


def _some_slabs(plan: RestorationPlan, reach: int) -> dict[int, Slabs]:
    """The slices in which noise is measured, with their neighbours; the scan is read once."""
    count = plan.before.shape[0]
    chosen = measured_slices(count)
    stream = stream_slabs(plan.before.data, count, 1, reach, plan.before.spacing)
    return {k: one for k, one in zip(range(chosen[-1] + 1), stream, strict=False) if k in chosen}


def _curve(plan: RestorationPlan, pairs: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> NoiseCurve:
    curve = NoiseCurve(plan.task, plan.normalisation, plan.before.spacing)
    for pair in pairs.values():
        curve.add(*pair)
    return curve
