"""Where a restored scan may be wrong: for every pixel an interval that contains the true value with 90 % probability.

A small network (`ErrorModel`) computes the expected error of a pixel from its surroundings before and after
(`medley.metrics.error_features`): a learnt variance. Its output is multiplied by a factor that is found on validation
subjects, so that 90 % of their pixels lie inside: split conformal prediction with a normalised score (Lei et al.,
"Distribution-free predictive inference for regression", JASA 2018, arXiv 1604.04173, sec. 5.2). Slices that were
changed weakly, moderately and strongly have factors of their own. `medley calibrate` makes all of it and writes it into
the weights file; docs/trust.md has the measured coverage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medley.errors import MedleyError
from medley.metrics.error_features import FEATURES, error_features, slice_change
from medley.models.weights import Description, reading_part
from medley.normalisation import Normalisation
from medley.targets import Plain

LEVEL = 0.9  # the share of pixels whose true value lies in the interval
_LOG_RANGE = (-14.0, 1.0)  # of the expected error in the scale of the network


class StoredLayer(Plain):
    """A linear layer: weight (output, input) and bias (output,)."""

    weight: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]


class StoredError(Plain):
    """The error model of one task as it is stored in a weights file.

    Attributes
    ----------
    features: their names, see `FEATURES`. mean, deviation: of each over the pixels of the training scans.
    layers: of the network; tanh lies between them. The output is the logarithm of the expected absolute error.
    edges: of the groups of slices, by `slice_change`. factors: from the expected error to the half-width of the
        interval, one more than edges.
    subjects: number of validation subjects on which the factors were found.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    layers: tuple[StoredLayer, ...]
    edges: tuple[float, ...]
    factors: tuple[float, ...]
    subjects: int


class ErrorModel:
    """The half-width of the interval of every pixel of a restored slice.

    Raises
    ------
    MedleyError: the stored sizes contradict each other, or the features are those of another medley.
    """

    def __init__(self, stored: StoredError) -> None:
        if stored.features != FEATURES:
            raise MedleyError("it has other features than this medley; calibrate the weights again (medley calibrate)")
        try:
            self._mean, self._deviation = (
                np.array(one, np.float32)[:, None] for one in (stored.mean, stored.deviation)
            )
            self._layers = [(np.array(one.weight, np.float32), np.array(one.bias, np.float32)) for one in stored.layers]
            self._edges, self._factors = stored.edges, stored.factors
            if len(self._factors) != len(self._edges) + 1:
                raise ValueError
            sizes = {len(one) for one in (FEATURES, stored.mean, stored.deviation)}
            if len(sizes) > 1 or self.expected(np.zeros((len(FEATURES), 1), np.float32)).shape != (1,):
                raise ValueError
        except ValueError:
            raise MedleyError("the sizes of its layers do not fit") from None

    def half_width(
        self, before: np.ndarray, after: np.ndarray, inside: np.ndarray, normalisation: Normalisation
    ) -> np.ndarray:
        """(row, column) float32 in the unit of the scan: the true value lies within after ± this with 90 % probability.

        before, after: the degraded and the restored slice (row, column), in the unit of the scan.
        inside: where it shows tissue (`medley.metrics.tissue`), bool.
        """
        width = normalisation.high - normalisation.low
        scaled = [(one - normalisation.low) / width for one in (before, after)]
        found = self.expected(error_features(*scaled).reshape(len(FEATURES), -1)).reshape(before.shape)
        change = slice_change(scaled[0], scaled[1], inside)
        return np.float32(self.factors(np.array([change]))[0] * width) * found

    def factors(self, changes: np.ndarray) -> np.ndarray:
        """The factor from the expected error to the half-width, for each `slice_change` (n,)."""
        return np.array(self._factors)[np.searchsorted(self._edges, changes, side="right")]

    def expected(self, features: np.ndarray) -> np.ndarray:
        """(feature, n) -> the expected absolute error (n,), in the scale of the network."""
        x = (features - self._mean) / self._deviation
        for k, (weight, bias) in enumerate(self._layers):
            x = weight @ x + bias[:, None]
            if k + 1 < len(self._layers):
                x = np.tanh(x, out=x)
        (logarithm,) = x
        return np.exp(np.clip(logarithm, *_LOG_RANGE))


def described_error(description: Description, task: str) -> ErrorModel | None:
    """The error model of a task in the description of weights; None if it has none.

    Raises
    ------
    MedleyError: it is damaged, or of another medley.
    """
    if task not in description.expected_error:
        return None
    with reading_part(f"the expected error of {description.name} cannot be used"):
        return ErrorModel(StoredError.model_validate(description.expected_error[task]))


def conformal_factor(ratios: Sequence[np.ndarray], level: float = LEVEL) -> float:
    """The factor by which expected errors are multiplied so that the intervals contain a share `level` of the pixels.

    Parameters
    ----------
    ratios: for each scan |error| / expected error of some of its pixels, equally many of each.

    Raises
    ------
    MedleyError: there are none.
    """
    pooled = np.sort(np.concatenate([*ratios, np.zeros(0)]))
    if not pooled.size:
        raise MedleyError("there are no pixels to calibrate on")
    return float(pooled[min(int(np.ceil(level * (pooled.size + 1))), pooled.size) - 1])
