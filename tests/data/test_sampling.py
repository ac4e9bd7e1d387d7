import numpy as np
import pytest

from medley.data.sampling import PatchSampler, RecordSampler
from medley.errors import MedleyError

TASKS = ("ct-denoise", "pet-denoise")


def of_records(store, **keys):
    return RecordSampler(store.prediction_task(), store.records("train"), **keys)


@pytest.fixture
def sampler(small_store):
    return PatchSampler(small_store, TASKS, patches=10, seed=3)


def test_every_task_has_as_many_patches_in_every_step(sampler):
    for step in range(3):
        assert [draw.record.task for draw in sampler.draw(step)] == ["ct-denoise"] * 5 + ["pet-denoise"] * 5


def test_only_the_given_split_is_drawn(sampler):
    assert {draw.record.split for step in range(20) for draw in sampler.draw(step)} == {"train"}


def test_a_step_is_the_same_whenever_it_is_drawn_and_differs_from_the_next(small_store, sampler):
    again = PatchSampler(small_store, TASKS, patches=10, seed=3)
    assert sampler.draw(7) == again.draw(7)
    assert sampler.draw(7) != sampler.draw(8)


def test_a_missing_task_is_named(small_store):
    with pytest.raises(MedleyError, match="no train record of mr-sr"):
        PatchSampler(small_store, ("ct-denoise", "mr-sr"), patches=2, seed=0)


def test_every_record_is_drawn_once_per_epoch_and_the_orders_differ(case_store):
    drawn = of_records(case_store, batch=2, seed=0)
    steps = [[draw.record.id for draw in drawn.draw(step)] for step in range(8)]
    first, second = ([name for step in part for name in step] for part in (steps[:4], steps[4:]))
    assert sorted(first) == sorted(second) == sorted(record.id for record in case_store.records("train"))
    assert first != second


def test_a_step_of_records_depends_only_on_its_number(case_store):
    draws = [of_records(case_store, batch=3, seed=7).draw(step) for step in (0, 5, 5)]
    assert draws[1] == draws[2] != draws[0]
    assert of_records(case_store, batch=3, seed=8).draw(5) != draws[1]


def share_of_ct(store, **keys):
    sampler = PatchSampler(store, TASKS, patches=5, seed=0, **keys)
    drawn = [draw.record.task for step in range(600) for draw in sampler.draw(step)]
    return drawn.count("ct-denoise") / len(drawn)


@pytest.mark.parametrize("temperature", [0.5, 1, 2, 1e6])
def test_a_task_is_drawn_in_proportion_to_a_power_of_its_data(small_store, temperature):
    """Three standard errors of 3000 draws: 0.027."""
    sizes = {record.task: np.prod(record.shape) for record in small_store.records("train")}
    ct, pet = (sizes[task] ** (1 / temperature) for task in TASKS)
    assert share_of_ct(small_store, temperature=temperature, exponent=1) == pytest.approx(ct / (ct + pet), abs=0.027)


def test_with_a_temperature_the_number_of_patches_of_a_task_varies(small_store):
    sampler = PatchSampler(small_store, TASKS, patches=5, temperature=1, seed=0)
    counts = {[draw.record.task for draw in sampler.draw(step)].count("ct-denoise") for step in range(30)}
    assert len(counts) > 2


def test_uneven_shares_are_refused(small_store):
    with pytest.raises(MedleyError, match="5 patches cannot be divided into 2 equal parts"):
        PatchSampler(small_store, TASKS, patches=5, seed=0)


def test_shares_give_the_number_of_patches_of_each_task(small_store):
    tasks, shares = ("ct-denoise", "pet-denoise"), {"ct-denoise": 3}
    draws = PatchSampler(small_store, tasks, patches=8, seed=0, shares=shares).draw(0)
    assert [draw.record.task for draw in draws] == ["ct-denoise"] * 6 + ["pet-denoise"] * 2
