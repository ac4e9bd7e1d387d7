"""The expected error of pixels: intervals contain what they state, units, and damaged descriptions."""

import math
from dataclasses import replace

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.inference.expected_error import (
    LEVEL,
    ErrorModel,
    StoredError,
    StoredLayer,
    conformal_factor,
    described_error,
)
from medley.metrics.error_features import FEATURES
from medley.models.weights import Description
from medley.normalisation import Normalisation

COUNT = len(FEATURES)


def stored(seed=0, **changes) -> StoredError:
    rng = np.random.default_rng(seed)

    def layer(out, inside):
        return StoredLayer(weight=rng.normal(0, 0.3, (out, inside)).tolist(), bias=rng.normal(0, 0.3, out).tolist())

    values = {
        "features": FEATURES,
        "mean": [-3.0] * COUNT,
        "deviation": [2.0] * COUNT,
        "layers": (layer(4, COUNT), layer(1, 4)),
        "edges": [-4.0, -2.0],
        "factors": [2.0, 2.5, 3.0],
        "subjects": 4,
    }
    return StoredError(**(values | changes))


def described(errors):
    return Description("w", "slab", {}, ("ct-denoise",), {}, "0", expected_error=errors)


def test_calibrated_intervals_contain_the_stated_share_of_new_pixels():
    rng = np.random.default_rng(0)
    scans = [rng.exponential(rng.uniform(0.5, 2), 2000) for _ in range(60)]
    factor = conformal_factor(scans[::2])
    inside = np.mean([np.mean(one <= factor) for one in scans[1::2]])
    assert inside == pytest.approx(LEVEL, abs=0.02)
    assert conformal_factor([np.arange(1.0, 100.0)]) == 90
    assert conformal_factor([np.array([3.0, 1.0])]) == 3.0  # too few for 90 %: the largest
    with pytest.raises(MedleyError, match="no pixels to calibrate on"):
        conformal_factor([])


def test_the_interval_has_the_unit_of_the_scan():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0, 1, (2, 24, 20)).astype(np.float32)
    model = ErrorModel(stored())
    inside = np.ones(before.shape, bool)
    once = model.half_width(before, after, inside, Normalisation(0, 1))
    scan = [-1024 + 4095 * one for one in (before, after)]
    np.testing.assert_allclose(model.half_width(*scan, inside, Normalisation(-1024, 3071)), 4095 * once, rtol=1e-2)
    double = ErrorModel(stored(factors=[4.0, 5.0, 6.0])).half_width(before, after, inside, Normalisation(0, 1))
    np.testing.assert_allclose(double, 2 * once, rtol=1e-6)
    assert once.shape == before.shape
    assert (once > 0).all()


def test_a_description_keeps_the_model():
    description = described({"ct-denoise": stored().model_dump(mode="json")})
    found = described_error(description, "ct-denoise")
    features = np.random.default_rng(0).normal(-3, 2, (COUNT, 7)).astype(np.float32)
    np.testing.assert_array_equal(found.expected(features), ErrorModel(stored()).expected(features))
    assert described_error(description, "mr-sr") is None
    assert described_error(replace(description, expected_error={}), "ct-denoise") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ("noise",)}, "calibrate the weights again"),
        ({"layers": ()}, "do not fit"),
        ({"edges": [1.0]}, "do not fit"),
        ({"mean": [1.0]}, "do not fit"),
        ({"deviation": [1.0] * (COUNT + 1)}, "do not fit"),
    ],
)
def test_a_damaged_model_is_refused_in_a_sentence(changes, message):
    content = stored().model_dump(mode="json") | changes
    with pytest.raises(MedleyError, match=f"the expected error of w cannot be used: .*{message}"):
        described_error(described({"ct-denoise": content}), "ct-denoise")
    del content["factors"]
    with pytest.raises(MedleyError, match=r"factors.*Field required"):
        described_error(described({"ct-denoise": content}), "ct-denoise")


def test_the_factor_is_that_of_the_group_of_the_slice():
    model = ErrorModel(stored())
    assert model.factors(np.array([-9, -4, -3, -2, 0.0])).tolist() == [2, 2.5, 2.5, 3, 3]


def test_extreme_features_give_finite_intervals():
    model = ErrorModel(stored())
    found = model.expected(np.full((COUNT, 3), 1e6, np.float32))
    assert np.isfinite(found).all()
    assert (found <= math.e).all()
