"""The task transfer function, from a disk: how much of each spatial frequency of an edge is left.

The edge is averaged around the centre of the disk, differentiated and Fourier transformed. Source: Richard et al.,
"Towards task-based assessment of CT performance: system and object MTF across different reconstruction algorithms",
Med. Phys. 39 (2012) 4115. Of a nonlinear restoration it depends on contrast and noise, so both belong to the number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal.windows import tukey

from medley.errors import MedleyError

BIN = 0.25  # pixels, of the radial profile
REACH = 12.0  # pixels on both sides of the edge


def edge_profile(image: np.ndarray, centre: Sequence[float], radius: float) -> np.ndarray:
    """The mean of an image (row, column) over circles, from `REACH` pixels within the edge of a disk to beyond it.

    Parameters
    ----------
    centre: (row, column) in pixels, best not a multiple of 0.5: pixels at the same radius would be few points of the
        edge, repeated by symmetry.
    radius: of the disk in pixels.

    Raises
    ------
    MedleyError: the disk is smaller than the reach of the profile, or too near to the border of the image.
    """
    room = min(*centre, *(size - 1 - one for size, one in zip(image.shape, centre, strict=True)))
    if radius < REACH or room < radius + REACH:
        raise MedleyError(
            f"a disk with a radius of {radius:g} pixels, {room:g} pixels from the border, has no edge to measure: "
            f"its radius must be at least {REACH:g} pixels, and as many must surround it"
        )
    rows, columns = np.indices(image.shape)
    distance = np.hypot(rows - centre[0], columns - centre[1]) - radius
    bins = np.floor((distance + REACH) / BIN).astype(int)
    size = round(2 * REACH / BIN)
    inside = (bins >= 0) & (bins < size)
    counts = np.bincount(bins[inside], minlength=size)
    sums = np.bincount(bins[inside], np.asarray(image, np.float64)[inside], size)
    there = counts > 0
    counts = counts[there]
    places = np.bincount(bins[inside], distance[inside], size)[there] / counts  # the mean radius in each bin
    return np.interp((np.arange(size) + 0.5) * BIN - REACH, places, sums[there] / counts)


def transfer_function(
    image: np.ndarray,
    reference: np.ndarray,
    centre: Sequence[float],
    radius: float,
    pixel: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies in 1/mm, task transfer function) of an image of a disk, relative to a reference of it.

    The ratio of the spectra of both edges, 1 at frequency 0, so the sampling of the disk cancels; up to 0.8 of the
    Nyquist frequency. The loss of contrast of the whole disk is not in it: see `contrast`.

    Parameters
    ----------
    image, reference: (row, column); the disk is centred at (row, column) `centre` with `radius`, in pixels.
    pixel: mm, of square pixels.

    Raises
    ------
    MedleyError: as `edge_profile`; the image or the reference shows no disk.
    """
    size = round(2 * REACH / BIN)
    frequencies = np.fft.rfftfreq(4 * size, BIN * pixel)
    spectra = []
    for name, one in (("image", image), ("reference", reference)):
        spread = np.diff(edge_profile(one, centre, radius)) * tukey(size - 1, 0.5)  # flat over the inner half
        spectrum = np.abs(np.fft.rfft(spread, 4 * size))
        if spectrum[0] <= 1e-12:
            raise MedleyError(f"the {name} shows no edge at the radius of {radius:g} pixels")
        spectra.append(spectrum / spectrum[0])
    kept = frequencies <= 0.8 * 0.5 / pixel
    return frequencies[kept], spectra[0][kept] / spectra[1][kept]
