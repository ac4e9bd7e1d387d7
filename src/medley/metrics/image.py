"""Agreement of a restored image with its reference: PSNR, SSIM and RMSE in the protocol of the TAT and AMIR papers.

Both images are clipped to the test window of the task (CT [-160, 240] HU, PET [0, 20] SUV, MR [0, 4095]); the data
range is the difference between the largest and the smallest value of the clipped reference; every slice is scored
separately, and the mean is taken over the slices. Sources: TAT (arXiv 2512.14550, sec. 4.1), AMIR (arXiv 2405.19769,
sec. 3.1); SSIM: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.

For images in grey levels (X-ray, ultrasound, OCT, the luminance of pathology) the window is [0, 255] and the data range
255, as in UniH3 (arXiv 2609.11156, supplement); images with more bits are scaled to it first.

A slice whose clipped reference is constant (air, an empty PET slice) has no data range, so it has no PSNR and no SSIM.
Such blank slices are excluded from every mean, also of RMSE, so that the three scores refer to the same slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from medley.errors import MedleyError
from medley.metrics.measures import MEASURES
from medley.normalisation import full_grey
from medley.runtime.registry import Registry
from medley.tasks import Task, task_named
from medley.volume import Slices, Volume

_SIGMA = 1.5  # of the SSIM window, in pixels
_RADIUS = 5  # 11 x 11 pixels
_K1, _K2 = 0.01, 0.03
_AFFINE_TOLERANCE = 0.01  # mm; rounding errors of headers in float32 or in text

_taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
_WINDOW = _taps / _taps.sum()


def rmse(restored: np.ndarray, reference: np.ndarray) -> float:
    """Root of the mean squared difference of two images (row, column), in their unit."""
    return float(np.sqrt(np.mean((_float64(restored) - _float64(reference)) ** 2)))


def psnr(restored: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio of two images (row, column), 20 log10(data_range / RMSE) in dB; inf when equal."""
    error = rmse(restored, reference)
    return float("inf") if error == 0 else float(20 * np.log10(data_range / error))


def ssim(restored: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """Structural similarity of two images: the mean of `ssim_map` over all pixels; 1 when they are equal."""
    return float(ssim_map(restored, reference, data_range).mean())


def ssim_map(restored: np.ndarray, reference: np.ndarray, data_range: float) -> np.ndarray:
    """Structural similarity at every pixel, (row, column) float64.

    An 11 x 11 Gaussian window of sigma 1.5, zeros beyond the border, variances without the n/(n-1) factor, K1 = 0.01
    and K2 = 0.03 (Wang et al. 2004, eq. 13). Images may be smaller than the window.

    Parameters
    ----------
    restored, reference: (row, column), of one unit.
    data_range: greatest minus least possible value, above 0.
    """
    x, y = _float64(restored), _float64(reference)
    moments = np.stack([x, y, x * x, y * y, x * y])  # (5, row, column)
    for axis in (1, 2):
        moments = correlate1d(moments, _WINDOW, axis=axis, mode="constant")
    mean_x, mean_y, xx, yy, xy = moments
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return luminance * structure


@dataclass(frozen=True)
class Metric:
    """A score of a restored slice.

    Attributes
    ----------
    function: (restored, reference, data_range) -> number; both (row, column) float64, clipped to the window of the
        task; `data_range` as above, in the unit of the task.
    higher: whether a higher score is better.
    title: with the unit, for tables and charts, such as "PSNR (dB)".
    form: how a value is written in tables, a format specification of Python.
    """

    function: Callable[[np.ndarray, np.ndarray, float], float]
    higher: bool
    title: str
    form: str = ".4g"


METRICS: Registry[Metric] = Registry(
    "metric",
    "a Metric",
    lambda entry: isinstance(entry, Metric),
    {
        "psnr": Metric(psnr, higher=True, title="PSNR (dB)", form=".2f"),
        "ssim": Metric(ssim, higher=True, title="SSIM", form=".4f"),
        "rmse": Metric(lambda restored, reference, data_range: rmse(restored, reference), higher=False, title="RMSE"),
    },
    reserved=(  # columns of score rows, keys of `score_slices`, other measures
        "method", "seed", "step", "task", "target", "subject", "record", "split", "parameters", "flops", "seconds",
        "window", "settings", "slices", "strength", "blank", "realisations", *MEASURES,
    ),
)  # fmt: skip


def score(
    restored: np.ndarray | Volume,
    reference: np.ndarray | Volume,
    task: str | Task,
    *,
    full_scale: float | None = None,
) -> dict[str, float]:
    """PSNR (dB), SSIM and RMSE of a restored image or scan, in the papers' protocol: means over its slices.

    Parameters
    ----------
    restored, reference: (row, column) or (slice, row, column) in the unit of the task, or Volumes (streamed ones are
        read a slice at a time).
    task: its name, such as "ct-denoise".
    full_scale: used for tasks whose scanners have no common range (MR), and for images in grey levels: the value of
        this scan that corresponds to the upper end of the papers' range. Both images are multiplied by 4095 /
        full_scale (255 / full_scale) first, and RMSE has that scale. Without it, the values of MR are assumed to be in
        [0, 4095]; for grey levels it follows from the largest value of the reference, see `full_grey`.

    Returns
    -------
    {"psnr": dB, "ssim": at most 1, "rmse": in the unit of the task}, and the metrics of plugins. Blank slices (see
    above) are left out; NaN where all are blank.

    Raises
    ------
    MedleyError: the two differ in shape or position, or a value is not finite.
    """
    slices = score_slices(restored, reference, task, full_scale=full_scale)
    kept = ~slices["blank"]
    return {name: float(slices[name][kept].mean()) if kept.any() else float("nan") for name in METRICS}


def score_slices(
    restored: np.ndarray | Volume,
    reference: np.ndarray | Volume,
    task: str | Task,
    *,
    full_scale: float | None = None,
) -> dict[str, np.ndarray]:
    """PSNR (dB), SSIM and RMSE of each slice, see above.

    Returns
    -------
    {"psnr", "ssim", "rmse", those of plugins: (slice,) float64, NaN where the slice is blank; "blank": (slice,) bool}.

    Raises
    ------
    MedleyError: the two differ in shape or position, or a value is not finite.
    """
    task = _task(task)
    stacks = _stacks(restored, reference)
    if full_scale is None and task.grey:
        full_scale = full_grey(max((float(np.max(one)) for one in stacks[1]), default=0.0))
    factor = _factor(task, full_scale)
    found = np.array([_score_slice(*pair, task, factor, k) for k, pair in enumerate(zip(*stacks, strict=True))])
    found = found.reshape(-1, len(METRICS))
    return {**dict(zip(METRICS, found.T, strict=True)), "blank": np.isnan(found[:, 0])}


def _score_slice(restored: np.ndarray, reference: np.ndarray, task: Task, factor: float, k: int) -> tuple[float, ...]:
    clipped = []
    for name, image in (("restored image", restored), ("reference", reference)):
        image = _float64(image)
        if not np.isfinite(image).all():
            raise MedleyError(f"the {name} has values that are not finite (slice {k}), so it cannot be scored")
        clipped.append(np.clip(image * factor, *task.window))
    first, second = clipped
    data_range = float(np.ptp(second))
    if data_range == 0:
        return (np.nan,) * len(METRICS)
    if task.grey:
        data_range = task.range[1] - task.range[0]
    return tuple(float(metric.function(first, second, data_range)) for metric in METRICS.values())


def _stacks(
    restored: np.ndarray | Volume, reference: np.ndarray | Volume
) -> tuple[np.ndarray | Slices, np.ndarray | Slices]:
    """Both as (slice, row, column), after a check that they are on the same grid."""
    if isinstance(restored, Volume) and isinstance(reference, Volume):
        away = float(np.abs(restored.affine - reference.affine).max())
        if away > _AFFINE_TOLERANCE:
            raise MedleyError(
                f"the restored scan and the reference do not have the same position: their affines differ by up to "
                f"{away:.3g} mm; resample them to one grid first"
            )
    first, second = (x.data if isinstance(x, Volume) else np.asarray(x) for x in (restored, reference))
    if tuple(first.shape) != tuple(second.shape):
        raise MedleyError(
            f"the restored image has the shape {tuple(first.shape)}, the reference {tuple(second.shape)}; "
            f"only images of one shape can be compared"
        )
    if len(first.shape) == 2:
        return np.asarray(first)[None], np.asarray(second)[None]
    if len(first.shape) == 3:
        return first, second
    raise MedleyError(
        f"an image to score is (row, column) or (slice, row, column), but this one has the shape {tuple(first.shape)}"
    )


def _factor(task: Task, full_scale: float | None) -> float:
    """The factor from the values to the papers' range."""
    if full_scale is None:
        return 1.0
    if not (np.isfinite(full_scale) and full_scale > 0):
        raise MedleyError(f"full_scale must be a number above 0, but it is {full_scale}")
    return task.factor(full_scale)


def _task(task: str | Task) -> Task:
    return task_named(task) if isinstance(task, str) else task


def _float64(image: np.ndarray) -> np.ndarray:
    return np.asarray(image, np.float64)
