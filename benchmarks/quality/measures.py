"""Measures of a restored scan: (slice, row, column) arrays in HU, SUV or the scanner's units in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medley.metrics import physical
from medley.metrics.noise import noise_levels

TISSUE = {"CT": -500.0, "PT": 1.0}  # HU and SUV, values above are tissue; in MR, those above the mean
BONE = (150.0, 700.0)  # HU, trabecular bone


def body_change(restored: np.ndarray, target: np.ndarray) -> float:
    """Root of the mean squared change in the foreground of `noise_levels`: the pixels above the mean of their slice."""
    inside = target > target.mean(axis=(1, 2), keepdims=True)
    return float(np.sqrt(np.square((restored - target)[inside], dtype=np.float64).mean())) if inside.any() else 0.0


def own_noise(target: np.ndarray) -> tuple[float, float]:
    """The noise of a scan, as it is and averaged over 2 x 2 pixels: medians over its slices of `noise_levels`.

    On grids of several mm, edges of the anatomy are part of the estimates.
    """
    as_it_is, averaged = np.median([noise_levels(one) for one in target], axis=0)
    return float(as_it_is), float(averaged)


def block_biases(restored: np.ndarray, target: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Mean of restored - target in every homogeneous block of a CT (`physical.homogeneous`), in HU."""
    wanted, found = (physical.blocks(one, spacing) for one in (target, restored))
    return (found - wanted)[physical.homogeneous(wanted)].mean(axis=1)


def hot_spot_ratios(restored: np.ndarray, target: np.ndarray) -> np.ndarray:
    """SUVmax restored / target of every hot spot: 4 or more connected voxels of the target above SUV 3."""
    places = np.nonzero(target > physical.HOT)
    return physical.hot_spot_ratios(np.stack(places), restored[places], target[places])[0]


def tissue(target: np.ndarray, modality: str) -> np.ndarray:
    """The mask in which steps are compared."""
    return target > TISSUE.get(modality, float(target.mean()))


def step_ratio(values: np.ndarray, inside: np.ndarray) -> float:
    """Mean absolute step between neighbouring slices / that between neighbouring pixels of a slice, within a mask.

    Stripes in reformatted planes and projections raise it. NaN without neighbours, or without a step within slices.
    """
    between, rows, columns = (_steps(values, inside, axis) for axis in range(3))
    within = np.concatenate([rows, columns])
    return float(between.mean() / within.mean()) if between.size and within.any() else float("nan")


def texture_kept(restored: np.ndarray, scan: np.ndarray) -> float:
    """Standard deviation restored / before of the high-pass image (image - 3 x 3 mean) in trabecular bone.

    NaN for a scan without bone.
    """
    bone = (scan > BONE[0]) & (scan < BONE[1])
    after, before = ((one - ndimage.uniform_filter(one, (0, 3, 3)))[bone] for one in (restored, scan))
    return float(after.std() / before.std()) if bone.any() else float("nan")


def amplitudes_kept(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Amplitude after over amplitude before in the lower (from 0.02) and the upper half of the in-plane frequencies.

    It is the root of the ratio of the power, over all slices; the frequency 1 is that of Nyquist.
    """
    rows, columns = (np.fft.fftfreq(length, 0.5) for length in before.shape[1:])
    radius = np.hypot(rows[:, None], columns)
    bands = (radius > 0.02) & (radius <= 0.5), (radius > 0.5) & (radius <= 1)
    none = np.zeros(before.shape[1:])
    power = [sum((np.square(np.abs(np.fft.fft2(one))) for one in volume), none) for volume in (before, after)]
    kept = [float(np.sqrt(power[1][band].sum() / power[0][band].sum())) for band in bands]
    return kept[0], kept[1]


def noise_removed(restored: np.ndarray, noisy: np.ndarray, where: np.ndarray) -> float:
    """The share of the noise that is removed in a region (row, column) of an object that is the same in all slices.

    The noise is the root of the variance over the slices, averaged over the region.
    """
    after, before = (float(np.sqrt(one[:, where].var(axis=0, dtype=np.float64).mean())) for one in (restored, noisy))
    return 1 - after / before


def _steps(values: np.ndarray, inside: np.ndarray, axis: int) -> np.ndarray:
    """Absolute differences of neighbours along an axis where both are within the mask."""
    first, second = np.arange(values.shape[axis] - 1), np.arange(1, values.shape[axis])
    both = inside.take(first, axis) & inside.take(second, axis)
    return np.abs(np.diff(values.astype(np.float64), axis=axis))[both]
