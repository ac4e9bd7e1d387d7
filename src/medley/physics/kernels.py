"""Reconstruction kernels: the windows by which the ramp filter of a filtered back-projection is multiplied."""

from __future__ import annotations

import re

import torch

KERNELS = "ramp, shepp-logan or hann-CUTOFF, with a cut-off above 0 to 1 of the Nyquist frequency, such as hann-0.8"


def is_kernel(name: str) -> bool:
    """Whether `kernel_window` has a window of that name."""
    return name in ("ramp", "shepp-logan") or _cutoff(name) is not None


def kernel_window(name: str, frequency: torch.Tensor) -> torch.Tensor:
    """The window of a kernel; 1 at frequency 0, so that every kernel preserves the mean.

    * ramp: 1 everywhere.
    * shepp-logan: sinc(f / 2), with sinc(x) = sin(pi x) / (pi x).
    * hann-C: (1 + cos(pi f / C)) / 2 up to f = C, then 0.

    Parameters
    ----------
    name: a name for which `is_kernel` is true.
    frequency: in units of the Nyquist frequency, 0 to 1; any shape.

    Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), sec. 3.3; Shepp and Logan, IEEE
    Trans. Nucl. Sci. 21 (1974) 21.
    """
    if name == "ramp":
        return torch.ones_like(frequency)
    if name == "shepp-logan":
        return torch.sinc(frequency / 2)
    cutoff = _cutoff(name)
    if cutoff is None:
        raise ValueError(f"there is no kernel {name!r}; expected {KERNELS}")
    return (1 + torch.cos(torch.pi * (frequency / cutoff).clamp(max=1))) / 2


def _cutoff(name: str) -> float | None:
    """The cut-off of a Hann window; None for other names."""
    match = re.fullmatch(r"hann-([01](?:\.\d{1,6})?)", name)
    return cutoff if match and 0 < (cutoff := float(match[1])) <= 1 else None
