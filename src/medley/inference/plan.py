"""The plan of a restoration, and the options that it is made from: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np

from medley.inference.strength import NoiseMatch
from medley.inference.training_scans import Likeness
from medley.normalisation import Normalisation
from medley.tasks import Task
from medley.volume import Volume


@dataclass(frozen=True)
class RestorationPlan:
    """All decisions about the restoration of one scan, made before the work begins.

    Attributes
    ----------
    before: the input of the network, in the unit of the scan; on the finer grid if `scale` is 2 or 4.
    task, normalisation: the task, and the linear map from values of the scan to those of the network.
    strength: 0 gives `before`, 1 the output of the network.
    scale: how much finer the grid is than that of the scan, in both in-plane directions.
    measured: how many of the central k-space lines along (rows, columns) are put back as measured; None for none.
    window: the side in pixels of the overlapping windows in which slices are processed if they are too large for one
        pass; None if they are not. The result of a network with global attention differs slightly in windows.
    noise: standard deviation of the noise in the unit of the scan, if it was given; None: the network estimates it.
    likeness: the comparison of the scan with the training scans; None for weights that do not describe theirs, and for
        a scan that is too small to be compared.
    match: how the strength was found, if it was chosen by the noise of the result; None if it was given.
    ready: {slice number: (row, column)}, slices that the network has restored already, at full strength.
    """

    before: Volume
    task: Task
    normalisation: Normalisation
    strength: float = 1.0
    scale: int = 1
    measured: tuple[int, int] | None = None
    window: int | None = None
    noise: float | None = None
    likeness: Likeness | None = None
    match: NoiseMatch | None = None
    ready: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)


class RestoreOptions(TypedDict, total=False):
    """The options of a restoration; all are optional.

    Attributes
    ----------
    task: a name in `medley.tasks.TASKS`; "auto", the default, takes the one for the volume's modality.
    strength: 0 gives the input, 1, the default, the output of the network; values between give a linear blend. "auto"
        chooses the strength by which the noise of the result is that of the training targets, and leaves a scan without
        more noise as it is (`medley.inference.strength`).
    target_noise: in place of a strength: the wanted noise of the result, in HU for CT, in percent of the local mean for
        PET, in percent of the full scale for others (`medley.inference.noise.noise_unit`).
    scale: 1, 2 or 4, MR only: pads k-space to so many times the rows and columns before the network.
    keep_measured: MR only: put the measured part of k-space back into the result. The header of a DICOM scan states
        which part was measured.
    measured: that part as given by the user, the number of central k-space lines along (rows, columns); for scans
        whose header does not state it. Implies `keep_measured`.
    noise: standard deviation of the noise of the scan, in its unit, for networks that are told it; a larger value
        removes more. By default it is estimated.
    allow_windows: if there is not enough memory for a slice, restore it in small overlapping windows, which changes the
        result slightly. Otherwise such a scan is refused.
    """

    task: str
    strength: float | Literal["auto"]
    target_noise: float | None
    scale: int
    keep_measured: bool
    measured: tuple[int, int] | None
    noise: float | None
    allow_windows: bool
