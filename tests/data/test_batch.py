import numpy as np
import pytest

from medley.data.batch import PatchReader, batches, collate
from medley.data.sampler import Draw, PatchSampler
from medley.errors import MedleyError

TASKS = ("ct-denoise", "pet-denoise")


@pytest.fixture
def sampler(small_store):
    return PatchSampler(small_store, TASKS, patches=10, seed=3)


def test_every_task_has_as_many_patches_in_every_step(sampler):
    for step in range(3):
        assert [draw.entry.task for draw in sampler.draw(step)] == ["ct-denoise"] * 5 + ["pet-denoise"] * 5


def test_only_the_asked_split_is_drawn(sampler):
    assert {draw.entry.split for step in range(20) for draw in sampler.draw(step)} == {"train"}


def test_a_step_is_the_same_whenever_it_is_drawn_and_differs_from_the_next(small_store, sampler):
    again = PatchSampler(small_store, TASKS, patches=10, seed=3)
    other_rank = PatchSampler(small_store, TASKS, patches=10, seed=3, rank=1)
    assert sampler.draw(7) == again.draw(7)
    assert sampler.draw(7) != sampler.draw(8)
    assert sampler.draw(7) != other_rank.draw(7)


def test_a_missing_task_is_named(small_store):
    with pytest.raises(MedleyError, match="no train volume for mr-sr"):
        PatchSampler(small_store, ("ct-denoise", "mr-sr"), patches=2, seed=0)


def test_a_patch_is_that_part_of_the_normalised_slice(small_store):
    entry = small_store.entries("train", "ct-denoise")[0]
    draw = Draw(entry, 2, (0.999, 0.0), (True, False), True)
    sample = PatchReader(small_store, 16)(draw)
    expected = (small_store.target(entry)[2][24:40, :16] + 1024) / 4095
    np.testing.assert_allclose(sample.targets["image"][0], expected[::-1].T, rtol=1e-6)
    assert sample.input.shape == (1, 16, 16)
    assert sample.task == "ct-denoise"


def test_input_and_target_are_cut_alike(small_store, sampler):
    reader = PatchReader(small_store, 24)
    for draw in sampler.draw(0):
        sample = reader(draw)
        correlation = np.corrcoef(sample.input.ravel(), sample.targets["image"].ravel())[0, 1]
        assert correlation > 0.8, draw


def test_small_slices_are_filled_by_reflection(small_store):
    entry = small_store.entries("train", "ct-denoise")[0]  # 40 x 36
    patch = PatchReader(small_store, 128)(Draw(entry, 0, (0.5, 0.5), (False, False), False)).input[0]
    assert patch.shape == (128, 128)
    np.testing.assert_array_equal(patch[44], patch[43])  # the first row stands twice: at the border and mirrored
    np.testing.assert_allclose(patch[44:84, 46:82], entry.normalisation.apply(small_store.input(entry)[0]), rtol=1e-6)


def test_batches_resume_where_they_were_left(small_store, sampler):
    reader = PatchReader(small_store, 16)

    def make(step):
        return collate([reader(draw) for draw in sampler.draw(step)])

    whole = list(batches(make, 0, 4))
    rest = list(batches(make, 2, 4))
    assert len(whole) == 4
    assert len(rest) == 2
    for a, b in zip(whole[2:], rest, strict=True):
        assert a.input.equal(b.input)
        assert a.targets["image"].equal(b.targets["image"])
        assert a.tasks == b.tasks
    assert list(batches(make, 4, 4)) == []
    assert whole[0].input.shape == (10, 1, 16, 16)


def test_mixed_patches_come_as_the_data_has_them(small_store):
    sampler = PatchSampler(small_store, TASKS, patches=5, mixed=True, seed=0)
    counts = {tuple(draw.entry.task for draw in sampler.draw(step)).count("ct-denoise") for step in range(30)}
    assert len(counts) > 2


def test_uneven_shares_are_refused(small_store):
    with pytest.raises(MedleyError, match="5 patches cannot be shared evenly by 2 tasks"):
        PatchSampler(small_store, TASKS, patches=5, seed=0)
