"""Targets decode the outputs of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medley.targets import Target

MAP = Target(name="dose", kind="map", unit="Gy", scale=70.0)
STRUCTURES = Target(name="segmentation", kind="structures", names=("heart", "lung", "liver"))
CLASSES = Target(name="diagnosis", kind="classes", names=("healthy", "mild", "severe"))


def outputs(target: Target) -> np.ndarray:
    shape = (target.channels,) if target.kind == "classes" else (target.channels, 4, 5)
    return np.random.default_rng(0).normal(scale=3, size=shape).astype(np.float32)


@pytest.mark.parametrize("target", [MAP, STRUCTURES, CLASSES], ids=lambda target: target.kind)
def test_arrays_and_tensors_decode_to_the_same_values(target: Target) -> None:
    output = outputs(target)
    decoded = target.decode(output)
    tensor = target.decode(torch.from_numpy(output))
    assert isinstance(decoded, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert decoded.dtype == np.float32
    assert decoded.shape == output.shape
    np.testing.assert_allclose(decoded, tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_a_map_is_scaled_to_its_unit_and_is_zero_outside_of_its_region() -> None:
    output = outputs(MAP)
    region = np.zeros_like(output)
    region[:, 1:3] = 1
    decoded = MAP.decode(output, region=region)
    np.testing.assert_allclose(decoded[:, 1:3], 70 * output[:, 1:3], rtol=1e-6)
    assert not decoded[region == 0].any()


def test_structure_probabilities_of_opposite_outputs_sum_to_one() -> None:
    output = outputs(STRUCTURES)
    np.testing.assert_allclose(STRUCTURES.decode(output) + STRUCTURES.decode(-output), 1, rtol=1e-6)
    assert ((STRUCTURES.decode(output) > 0.5) == (output > 0)).all()


def test_class_probabilities_sum_to_one_and_ignore_a_common_offset() -> None:
    output = outputs(CLASSES)
    decoded = CLASSES.decode(output)
    assert decoded.sum() == pytest.approx(1)
    np.testing.assert_allclose(CLASSES.decode(output + 5), decoded, rtol=1e-5)


@pytest.mark.parametrize("target", [STRUCTURES, CLASSES], ids=lambda target: target.kind)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_large_outputs_decode_to_finite_probabilities(target: Target, kind: object) -> None:
    output = outputs(target) * np.float32(1e6)
    decoded = np.asarray(target.decode(kind(output)))  # type: ignore[operator]
    assert np.isfinite(decoded).all()
    assert ((decoded >= 0) & (decoded <= 1)).all()
