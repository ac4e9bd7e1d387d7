"""The classical methods and their tuning."""

import json
import sys

import numpy as np
import pytest

from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.noise import noise_level
from medley.normalisation import Normalisation
from medley.scoring import classical
from medley.scoring.classical import CLASSICAL, Classical, draw_pairs, tune

pytest.importorskip("skimage")

PARAMETERS = {
    "gaussian": {"sigma": 0.5},
    "total-variation": {"strength": 1.5, "relative": True},
    "non-local-means": {"strength": 1.0, "relative": True, "patch": 3, "reach": 4},
}


def noisy_disc(noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:40, :52]
    disc = np.where(np.hypot(y - 20, x - 26) < 14, 0.7, 0.2).astype(np.float32)
    return disc, disc + np.random.default_rng(1).normal(0, noise, disc.shape).astype(np.float32)


@pytest.mark.parametrize("name", CLASSICAL)
def test_takes_noise_away(name: str) -> None:
    disc, noisy = noisy_disc()
    restored = CLASSICAL[name].function(noisy, **PARAMETERS[name])
    assert restored.shape == disc.shape
    assert np.std(restored - disc) < 0.9 * np.std(noisy - disc)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_weak_one_gives_the_input(name: str) -> None:
    _, noisy = noisy_disc()
    weak = {**PARAMETERS[name], CLASSICAL[name].knob: 1e-3}
    np.testing.assert_allclose(CLASSICAL[name].function(noisy, **weak), noisy, atol=1e-3)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_constant_image_stays(name: str) -> None:
    constant = np.full((20, 24), 0.3, np.float32)
    np.testing.assert_allclose(CLASSICAL[name].function(constant, **PARAMETERS[name]), constant, atol=1e-6)


@pytest.mark.parametrize("name", ["total-variation", "non-local-means"])
def test_relative_strength_follows_the_noise(name: str) -> None:
    _, noisy = noisy_disc()
    absolute = {**PARAMETERS[name], "relative": False, "strength": PARAMETERS[name]["strength"] * noise_level(noisy)}
    expected = CLASSICAL[name].function(noisy, **absolute)
    np.testing.assert_allclose(CLASSICAL[name].function(noisy, **PARAMETERS[name]), expected, atol=1e-6)


def test_grids_hold_the_knob_and_nothing_unknown() -> None:
    _, noisy = noisy_disc()
    for method in CLASSICAL.values():
        combinations = method.combinations()
        assert all(method.knob in one for one in combinations)
        assert len({json.dumps(one, sort_keys=True) for one in combinations}) == len(combinations)
        method.function(noisy, **combinations[0])


@pytest.fixture
def short_grid(monkeypatch: pytest.MonkeyPatch) -> str:
    """A grid of total variation that takes no time."""
    method = CLASSICAL["total-variation"]
    grid = {"relative": (True, False), "strength": (0.01, 0.25, 1.0, 4.0, 16.0)}
    short = Classical(method.name, method.function, method.knob, (grid,))
    monkeypatch.setattr(classical, "CLASSICAL", {**CLASSICAL, method.name: short})
    return method.name


@pytest.mark.parametrize("task", ["mr-sr", "ct-denoise", "pet-denoise"])
def test_tuning_betters_the_input_and_is_the_best_of_its_trials(store: Store, short_grid: str, task: str) -> None:
    tuned = tune(store, task, short_grid, slices=3, seed=4)
    assert tuned.psnr > tuned.before + 2
    assert (tuned.parameters, tuned.psnr) == max(tuned.trials, key=lambda trial: trial[1])
    assert len(tuned.trials) == 2 * 5 + 2
    assert 0.01 < tuned.parameters["strength"] < 16
    assert (tuned.task, tuned.slices, tuned.seed) == (task, 3, 4)


def test_tuning_is_the_same_every_time(store: Store, short_grid: str) -> None:
    steps: list[tuple[int, int]] = []
    first = tune(store, "ct-denoise", short_grid, slices=3, progress=lambda *step: steps.append(step))
    assert tune(store, "ct-denoise", short_grid, slices=3) == first
    assert steps == [(k, 12) for k in range(1, 13)]


def test_refines_between_the_steps_of_the_grid(store: Store, short_grid: str) -> None:
    tuned = tune(store, "ct-denoise", short_grid, slices=3)
    best_of_grid = max(tuned.trials[:10], key=lambda trial: trial[1])[0]["strength"]
    refined = [parameters["strength"] for parameters, _ in tuned.trials[10:]]
    assert refined == [pytest.approx(best_of_grid / 2**0.5), pytest.approx(best_of_grid * 2**0.5)]


def test_a_tuned_method_restores_in_physical_units(store: Store, short_grid: str) -> None:
    tuned = tune(store, "ct-denoise", short_grid, slices=2)
    entry = store.records("valid", "ct-denoise")[0]
    before, target = store.array(entry, "input")[0], store.array(entry, "image")[0]
    kept = before.copy()
    restored = tuned.restore(before, entry.normalisation)
    assert restored.dtype == np.float32
    assert restored.shape == before.shape
    assert np.std(restored - target) < 0.7 * np.std(before.clip(-1024, 3071) - target)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_allclose(tuned.restore(before[2:3], entry.normalisation), restored[2:3], atol=1e-3)
    assert json.loads(tuned.describe()).keys() == {"strength", "relative"}


def test_draws_from_the_training_subjects_only(store: Store) -> None:
    pairs = draw_pairs(store, "ct-denoise", split="train", count=100, seed=0)
    assert len(pairs) == 8  # all there are
    there = [
        tuple(image[0].ravel())
        for e in store.records("train", "ct-denoise")
        for image in [store.array(e, "input")[0, k : k + 1] for k in range(4)]
    ]
    assert {tuple(pair.input.ravel()) for pair in pairs} == set(there)


def test_draws_no_blank_slice(store: Store) -> None:
    assert len(draw_pairs(store, "ct-denoise", split="valid", count=100, seed=0)) == 7


def test_draws_other_slices_with_another_seed(store: Store) -> None:
    first, second, third = (draw_pairs(store, "pet-denoise", split="train", count=2, seed=s) for s in (0, 0, 3))
    np.testing.assert_array_equal(first[0].input, second[0].input)
    assert not np.array_equal(first[0].input, third[0].input)


def test_nothing_to_tune_on(store: Store) -> None:
    with pytest.raises(MedleyError, match=r"has no slice of ct-denoise in the split 'test'"):
        draw_pairs(store, "ct-denoise", split="test", count=2, seed=0)


def test_without_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.filters", None)
    with pytest.raises(MedleyError, match=r"install medley\[baselines\]"):
        classical.gaussian(np.zeros((20, 20), np.float32), sigma=1.0)


def test_values_outside_the_range_are_clipped_first(store: Store) -> None:
    """The window of every task lies within its range, so that this changes no score."""
    restored = classical._restored(
        CLASSICAL["gaussian"], {"sigma": 0.5}, np.full((1, 9, 9), 9000.0), Normalisation(-1024, 3071)
    )
    np.testing.assert_allclose(restored, 3071, rtol=1e-6)
