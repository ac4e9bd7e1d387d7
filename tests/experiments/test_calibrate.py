"""Fitting the expected error: a known dependence is found, and coverage is measured on other subjects."""

import numpy as np
import pytest
import torch

from medley.errors import MedleyError
from medley.experiments import calibrate as calibrating
from medley.experiments.calibrate import Pixels, calibrate
from medley.inference.expected_error import ErrorModel
from medley.inference.restorer import Restorer
from medley.metrics.error_features import FEATURES
from medley.models.weights import Description
from medley.models.zoo import create_model


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(calibrating, "_STEPS", 300)
    monkeypatch.setattr(calibrating, "_PIXELS", 200)


@pytest.fixture
def restorer():
    torch.manual_seed(0)
    network = create_model("slab", dim=4, blocks=(1, 1, 1, 1), decoder=(1, 1, 1))
    return Restorer(network, Description("w", "slab", network.config, ("ct-denoise",), {}, "0"))


def test_errors_in_proportion_to_a_feature_are_found(quick):
    rng = np.random.default_rng(0)
    features = rng.normal(-4, 1, (6000, len(FEATURES))).astype(np.float32)
    scale = 0.3 * np.exp(features[:, 2])
    pixels = Pixels("a", "a", 1.0, features, rng.exponential(scale), np.zeros(6000), 1.0)
    found = ErrorModel(calibrating._fitted([pixels], 0)).expected(np.ascontiguousarray(features.T))
    assert np.median(np.abs(np.log(found / scale))) < 0.15


def test_the_intervals_of_a_network_that_does_nothing_follow_the_noise(quick, restorer, subjects, tmp_path):
    store = subjects.restoration(tmp_path / "store", count=10, valid=10, noise=10.0)
    models, table = calibrate(restorer, store)
    assert models["ct-denoise"].subjects == 10
    everything = table[0]
    assert (everything.task, everything.records, everything.subjects, everything.unit) == ("ct-denoise", 10, 10, "HU")
    assert everything.coverage == pytest.approx(0.9, abs=0.04)
    assert everything.least <= everything.coverage
    # The output is the input here, so the error is the noise: 1.645 standard deviations hold 90 % of it.
    assert everything.half_width == pytest.approx(1.645 * 20, rel=0.25)
    again, _ = calibrate(restorer, store)
    assert again == models


def test_scans_without_tissue_are_refused(quick, restorer, subjects, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "_PIXELS", 10**4)  # more than a slice has
    store = subjects.restoration(tmp_path / "store", count=4, valid=4)
    with pytest.raises(MedleyError, match="4 validation subjects that show tissue"):
        calibrate(restorer, store)


def test_too_few_subjects_are_refused(quick, restorer, subjects, tmp_path):
    store = subjects.restoration(tmp_path / "store", count=4, valid=3)
    with pytest.raises(MedleyError, match="training scans and 4 validation subjects"):
        calibrate(restorer, store)
