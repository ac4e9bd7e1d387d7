import numpy as np
import pytest

from medley.data.cases import CaseDraw, CaseReader, CaseSampler
from medley.errors import MedleyError

ALL = ("dose", "segmentation", "diagnosis")


def sampler(store, **keys):
    return CaseSampler(store.manifest.problem, store.cases("train"), **keys)


def of(store, number):
    [case] = [case for case in store.cases() if case.id == f"case-{number}"]
    return case


def test_every_case_comes_once_an_epoch_and_the_orders_differ(case_store):
    drawn = sampler(case_store, batch=2, seed=0)
    steps = [[draw.case.id for draw in drawn.draw(step)] for step in range(8)]
    first, second = ([name for step in part for name in step] for part in (steps[:4], steps[4:]))
    assert sorted(first) == sorted(second) == sorted(case.id for case in case_store.cases("train"))
    assert first != second


def test_a_step_depends_on_its_number_alone(case_store):
    draws = [sampler(case_store, batch=3, seed=7).draw(step) for step in (0, 5, 5)]
    assert draws[1] == draws[2] != draws[0]
    assert sampler(case_store, batch=3, seed=8).draw(5) != draws[1]


def test_processes_share_an_epoch(case_store):
    ids = [
        draw.case.id
        for rank in (0, 1)
        for step in range(2)
        for draw in sampler(case_store, batch=2, seed=0, rank=rank, ranks=2).draw(step)
    ]
    assert sorted(ids) == sorted(case.id for case in case_store.cases("train"))


def test_a_sample_holds_what_the_store_has(case_store):
    case = of(case_store, 3)
    sample = CaseReader(case_store, ALL)(CaseDraw(case))
    image = np.asarray(case_store.array(case, "image")[...])
    np.testing.assert_allclose(sample.input, (image / 200).clip(0, 1), rtol=1e-6)
    np.testing.assert_allclose(sample.targets["dose"] * 10, case_store.array(case, "dose")[...], rtol=1e-6)
    np.testing.assert_array_equal(sample.counts["dose"], case_store.array(case, "region")[...] > 0)
    assert sample.counts["segmentation"].tolist() == [True, True]
    assert sample.targets["diagnosis"] == 1
    assert sample.counts["diagnosis"]


def test_what_is_missing_counts_nowhere(case_store):
    sample = CaseReader(case_store, ALL)(CaseDraw(of(case_store, 0)))
    assert not sample.counts["dose"].any()
    assert not sample.counts["diagnosis"]
    assert sample.counts["segmentation"].tolist() == [True, False]


def test_a_mirrored_case_has_left_and_right_exchanged(case_store):
    case = of(case_store, 0)  # "right" was not drawn
    reader = CaseReader(case_store, ALL)
    plain, mirrored = reader(CaseDraw(case)), reader(CaseDraw(case, flips=(1,)))
    np.testing.assert_array_equal(mirrored.input, plain.input[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.targets["segmentation"], plain.targets["segmentation"][::-1, :, ::-1])
    assert mirrored.counts["segmentation"].tolist() == [False, True]


def test_upside_down_leaves_left_and_right(case_store):
    case = of(case_store, 0)
    reader = CaseReader(case_store, ALL)
    plain, turned = reader(CaseDraw(case)), reader(CaseDraw(case, flips=(0,)))
    np.testing.assert_array_equal(turned.targets["segmentation"], plain.targets["segmentation"][:, ::-1])
    assert turned.counts["segmentation"].tolist() == [True, False]


def test_masks_come_as_channels_and_turn_with_the_image(case_store):
    case = of(case_store, 3)
    reader = CaseReader(case_store, ("dose",), ("image", "segmentation", "region"))
    assert reader.channels == 4
    plain, mirrored = reader(CaseDraw(case)), reader(CaseDraw(case, flips=(1,)))
    np.testing.assert_array_equal(plain.input[1:3], case_store.array(case, "segmentation")[...])
    np.testing.assert_array_equal(mirrored.input[1:3], plain.input[1:3][::-1, :, ::-1])
    np.testing.assert_array_equal(mirrored.input[3], plain.input[3][:, ::-1])


def test_what_the_store_lacks_is_said(case_store, small_store):
    with pytest.raises(MedleyError, match="no target 'severity'; it has dose"):
        CaseReader(case_store, ("severity",))
    with pytest.raises(MedleyError, match="no input 'organs'; it has image, segmentation, region"):
        CaseReader(case_store, ("dose",), ("image", "organs"))
    with pytest.raises(MedleyError, match="holds scans to restore"):
        CaseReader(small_store, ALL)
    with pytest.raises(MedleyError, match="no part of the grid"):
        CaseReader(case_store, ALL, crop=(16, 64))


def test_a_crop_that_is_transposed_is_a_square(case_store):
    case_store.manifest.problem = case_store.manifest.problem.model_copy(update={"transposes": True})
    CaseReader(case_store, ALL, crop=(16, 16))
    with pytest.raises(MedleyError, match="as many rows as columns"):
        CaseReader(case_store, ALL, crop=(16, 20))


def test_a_crop_has_its_voxel_of_interest_and_the_truth_of_the_same_place(case_store):
    case = of(case_store, 3)
    whole = CaseReader(case_store, ALL)(CaseDraw(case, at=0.5))
    reader = CaseReader(case_store, ALL, crop=(8, 12))
    for at in (0.0, 0.3, 0.999):
        sample = reader(CaseDraw(case, at=at))
        assert sample.input.shape == (1, 8, 12)
        assert sample.counts["dose"].any()
        places = [
            (r, c) for r in range(25) for c in range(21)
            if np.array_equal(whole.input[:, r : r + 8, c : c + 12], sample.input)
        ]  # fmt: skip
        [(r, c)] = places
        np.testing.assert_array_equal(sample.targets["dose"], whole.targets["dose"][:, r : r + 8, c : c + 12])
    assert reader(CaseDraw(case)).input.shape == (1, 32, 32)


def test_cases_without_an_input_are_left_out(case_store):
    reader = CaseReader(case_store, ("dose",), ("image", "region"))
    assert [case.id for case in reader.cases("train")] == [f"case-{k}" for k in range(1, 8)]
