"""Laws of every degradation: equal parameters give equal results for a stack, a single slice and a streamed scan."""

import json

import numpy as np
import pytest
import torch

from medley.physics import DEGRADATIONS, create_degradation
from medley.volume import Slices, Volume

SPACING = (4.0, 3.0)
AFFINE = np.array([[0, 0, -3.0, 40], [0, 4.0, 0, -10], [5.0, 0, 0, 7], [0, 0, 0, 1]])
OPTIONS = [
    ("ct-low-dose", {"dose": (0.1, 0.5)}),
    ("ct-low-dose", {"dose": 0.1, "kernel": ["shepp-logan", "hann-0.8"], "scan_noise": "counted"}),
    ("mr-truncation", {"noise": 5.0}),
    ("mr-truncation", {"keep": (0.2, 0.5), "keep_columns": (0.2, 0.5), "noise_percent": (1, 5), "signal": 400.0}),
    ("mr-truncation", {"partial_fourier": (0.55, 0.7), "phase": "columns", "noise": (2.0, 9.0)}),
    ("pet-low-count", {"counts": 300.0}),
    ("pet-low-count", {"reduction": (2, 20), "psf_mm": (3.0, 8.0), "counts": 300.0}),
    ("xray-low-dose", {"photons": (10, 50)}),
    ("us-speckle", {}),
    ("oct-speckle", {}),
    ("oct-speckle", {"grain": (1.0, 3.0)}),
]


def scan(name: str, slices: int = 5, rows: int = 36, columns: int = 44) -> np.ndarray:
    """An ellipse with an insert, in the unit of the degradation; the last slice is empty."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = (y**2 / 0.6 + x**2 / 0.7 < 1).astype(np.float32)
    insert = ((y - 0.2) ** 2 + (x + 0.2) ** 2 < 0.05).astype(np.float32)
    stack = np.stack([body + insert * (1 + 0.2 * k) for k in range(slices)])
    stack[-1] = 0
    grey = (5, 80)
    known = {"ct-low-dose": (-1000, 1030), "mr-truncation": (0, 400), "pet-low-count": (0, 2)}
    low, scale = known.get(name, grey)
    return (low + scale * stack).astype(np.float32)


@pytest.fixture(params=OPTIONS, ids=lambda case: " ".join([case[0], *case[1]]))
def case(request):
    name, options = request.param
    degradation = create_degradation(name, **options)
    return degradation, scan(name), degradation.draw(np.random.default_rng(3))


@pytest.mark.parametrize(
    "options", [{}, {"slice_mm": 12.0}, {"kernel": "hann-0.5"}, {"psf_mm": 8.0}, {"phase": "columns"}]
)
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_at_the_strength_none_the_degraded_scan_is_the_reference(name, options):
    kind = DEGRADATIONS[name]
    image = scan(name)
    parameters = create_degradation(name).draw(np.random.default_rng(0))
    none = {**parameters, **kind.none, **{key: value for key, value in options.items() if key in kind.limits}}
    bad, good = (f(image, none, (5.0, *SPACING)) for f in (kind().apply, kind().reference))
    assert np.array_equal(bad, good)
    assert "slice_mm" in none or np.array_equal(bad, image)
    assert kind.strength(none) == kind.strength_of_none


def test_it_changes_the_scan_and_stays_finite(case):
    degradation, image, parameters = case
    before = image.copy()
    bad = degradation.apply(image, parameters, SPACING)
    assert bad.shape == image.shape
    assert bad.dtype == np.float32
    assert np.isfinite(bad).all()
    assert np.isfinite(degradation.reference(image, parameters, SPACING)).all()
    assert np.abs(bad - image).max() > 0.05 * np.ptp(image)
    assert np.array_equal(image, before)


def test_parameters_from_json_give_the_same_result(case):
    degradation, image, parameters = case
    again = json.loads(json.dumps(parameters))
    assert again == parameters
    other = create_degradation(degradation.name)
    assert np.array_equal(other.apply(image, again, SPACING), degradation.apply(image, parameters, SPACING))
    assert np.array_equal(other.reference(image, again, SPACING), degradation.reference(image, parameters, SPACING))


def test_equal_random_states_draw_equal_parameters(case):
    degradation, _, parameters = case
    assert degradation.draw(np.random.default_rng(3)) == parameters
    assert degradation.draw(np.random.default_rng(4))["seed"] != parameters["seed"]


def test_the_seed_determines_the_noise(case):
    degradation, image, parameters = case
    other = degradation.apply(image, {**parameters, "seed": parameters["seed"] + 1}, SPACING)
    assert not np.array_equal(other, degradation.apply(image, parameters, SPACING))


def test_a_slice_alone_is_bit_identical_to_the_slice_in_the_stack(case):
    degradation, image, parameters = case
    for work in (degradation.apply, degradation.reference):
        stack = work(image, parameters, SPACING)
        for k in range(len(image)):
            assert np.array_equal(work(image[k], parameters, SPACING, first_slice=k), stack[k]), k


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_no_bit(case, threads):
    degradation, image, parameters = case
    before = torch.get_num_threads()
    expected = degradation.apply(image, parameters, SPACING)
    torch.set_num_threads(threads)
    try:
        assert np.array_equal(degradation.apply(image, parameters, SPACING), expected)
    finally:
        torch.set_num_threads(before)


def test_equal_slices_get_different_noise(case):
    degradation, image, parameters = case
    bad = degradation.apply(np.stack([image[0], image[0]]), parameters, SPACING)
    assert not np.array_equal(bad[0], bad[1])


def test_working_in_pieces_changes_no_bit(case, monkeypatch):
    degradation, image, parameters = case
    whole = degradation.apply(image, parameters, SPACING)
    monkeypatch.setattr(type(degradation), "_pixels_at_once", 2 * image[0].size)
    assert np.array_equal(degradation.apply(image, parameters, SPACING), whole)


def test_a_volume_keeps_its_geometry_and_stays_streamed(case):
    degradation, image, parameters = case
    volume = Volume(image, AFFINE, degradation.modality, "unit")
    bad = degradation.apply(volume, parameters)
    assert np.array_equal(bad.data, degradation.apply(image, parameters, SPACING))
    assert np.array_equal(bad.affine, AFFINE)
    assert (bad.modality, bad.unit) == (volume.modality, "unit")

    streamed = degradation.apply(volume.with_data(Slices(image.shape, lambda: iter(image))), parameters)
    assert isinstance(streamed.data, Slices)
    for _ in range(2):  # each iteration starts from the beginning
        assert np.array_equal(np.asarray(streamed.data), bad.data)
