"""Features of the error of a pixel."""

import numpy as np

from medley.metrics.error_features import FEATURES, error_features


def image(seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (36, 36)).astype(np.float32)


def test_features_follow_the_pixels_when_an_image_is_mirrored():
    before, after = image(), image(1)
    found = error_features(before, after)
    assert found.shape == (len(FEATURES), 36, 36)
    mirrored = error_features(before[::-1], after[::-1])
    np.testing.assert_allclose(mirrored[2:], found[2:, ::-1], atol=1e-4)  # the first two are of the slice


def test_what_was_not_changed_has_the_smallest_change():
    found = dict(zip(FEATURES, error_features(image(), image()), strict=True))
    for name, values in found.items():
        if "change" in name:
            np.testing.assert_allclose(values, np.log(1e-4), rtol=1e-6)


def test_twice_the_change_adds_ln_2():
    before, change = image(), 0.05 * image(1)
    once, twice = (error_features(before, before + factor * change) for factor in (1, 2))
    for k, name in enumerate(FEATURES):
        if "change" in name:
            np.testing.assert_allclose(twice[k] - once[k], np.log(2), atol=1e-2)
