import numpy as np
import pytest

from medley.data.readers import PatchReader, RecordReader
from medley.data.sampling import Draw, PatchSampler
from medley.errors import MedleyError

TASKS = ("ct-denoise", "pet-denoise")
ALL = ("dose", "segmentation", "diagnosis")


def of(store, number):
    [record] = [record for record in store.records() if record.id == f"case-{number}"]
    return record


def test_a_sample_contains_what_the_store_has(case_store):
    record = of(case_store, 3)
    sample = RecordReader(case_store, ALL)(Draw(record))
    image = np.asarray(case_store.array(record, "input")[...])
    np.testing.assert_allclose(sample.input, (image / 200).clip(0, 1), rtol=1e-6)
    np.testing.assert_allclose(sample.targets["dose"] * 10, case_store.array(record, "dose")[...], rtol=1e-6)
    np.testing.assert_array_equal(sample.counts["dose"], case_store.array(record, "region")[...] > 0)
    assert sample.counts["segmentation"].tolist() == [True, True]
    assert sample.targets["diagnosis"] == 1
    assert sample.counts["diagnosis"]


def test_missing_targets_are_masked(case_store):
    sample = RecordReader(case_store, ALL)(Draw(of(case_store, 0)))
    assert not sample.counts["dose"].any()
    assert not sample.counts["diagnosis"]
    assert sample.counts["segmentation"].tolist() == [True, False]


def test_a_mirrored_record_has_left_and_right_exchanged(case_store):
    record = of(case_store, 0)  # "right" was not drawn
    reader = RecordReader(case_store, ALL)
    plain, mirrored = reader(Draw(record)), reader(Draw(record, flips=(1,)))
    np.testing.assert_array_equal(mirrored.input, plain.input[:, :, ::-1])
    np.testing.assert_array_equal(mirrored.targets["segmentation"], plain.targets["segmentation"][::-1, :, ::-1])
    assert mirrored.counts["segmentation"].tolist() == [False, True]


def test_upside_down_leaves_left_and_right(case_store):
    record = of(case_store, 0)
    reader = RecordReader(case_store, ALL)
    plain, turned = reader(Draw(record)), reader(Draw(record, flips=(0,)))
    np.testing.assert_array_equal(turned.targets["segmentation"], plain.targets["segmentation"][:, ::-1])
    assert turned.counts["segmentation"].tolist() == [True, False]


def test_masks_are_channels_and_turn_with_the_image(case_store):
    record = of(case_store, 3)
    reader = RecordReader(case_store, ("dose",), ("image", "segmentation", "region"))
    assert reader.channels == 4
    plain, mirrored = reader(Draw(record)), reader(Draw(record, flips=(1,)))
    np.testing.assert_array_equal(plain.input[1:3], case_store.array(record, "segmentation")[...])
    np.testing.assert_array_equal(mirrored.input[1:3], plain.input[1:3][::-1, :, ::-1])
    np.testing.assert_array_equal(mirrored.input[3], plain.input[3][:, ::-1])


def test_missing_targets_inputs_and_records_are_reported(case_store, small_store):
    with pytest.raises(MedleyError, match="no target 'severity'; it has dose"):
        RecordReader(case_store, ("severity",))
    with pytest.raises(MedleyError, match="no input 'organs'; it has image, segmentation, region"):
        RecordReader(case_store, ("dose",), ("image", "organs"))
    with pytest.raises(MedleyError, match="contains scans to restore"):
        RecordReader(small_store, ALL)
    with pytest.raises(MedleyError, match="does not fit into the grid"):
        RecordReader(case_store, ALL, crop=(16, 64))


def test_a_crop_that_is_transposed_is_a_square(case_store):
    task = case_store.prediction_task()
    case_store.manifest.tasks[task.name] = task.model_copy(update={"transposes": True})
    RecordReader(case_store, ALL, crop=(16, 16))
    with pytest.raises(MedleyError, match="as many rows as columns"):
        RecordReader(case_store, ALL, crop=(16, 20))


def test_a_crop_contains_targets_and_the_truth_of_the_same_place(case_store):
    record = of(case_store, 3)
    whole = RecordReader(case_store, ALL)(Draw(record, at=(0.5,)))
    reader = RecordReader(case_store, ALL, crop=(8, 12))
    for at in (0.0, 0.3, 0.999):
        sample = reader(Draw(record, at=(at,)))
        assert sample.input.shape == (1, 8, 12)
        assert sample.counts["dose"].any()
        places = [
            (r, c) for r in range(25) for c in range(21)
            if np.array_equal(whole.input[:, r : r + 8, c : c + 12], sample.input)
        ]  # fmt: skip
        [(r, c)] = places
        np.testing.assert_array_equal(sample.targets["dose"], whole.targets["dose"][:, r : r + 8, c : c + 12])
    assert reader(Draw(record)).input.shape == (1, 32, 32)


def test_records_without_an_input_are_left_out(case_store):
    reader = RecordReader(case_store, ("dose",), ("image", "region"))
    assert [record.id for record in reader.records("train")] == [f"case-{k}" for k in range(1, 8)]


def test_a_patch_is_that_part_of_the_normalised_slice(small_store):
    record = small_store.records("train", "ct-denoise")[0]
    draw = Draw(record, 2, (0.999, 0.0), (0,), True)
    sample = PatchReader(small_store, 16)(draw)
    expected = (small_store.array(record, "image")[0, 2, 24:40, :16] + 1024) / 4095
    np.testing.assert_allclose(sample.targets["image"][0], expected[::-1].T, rtol=1e-6)
    assert sample.input.shape == (1, 16, 16)
    assert sample.task == "ct-denoise"


def test_input_and_target_are_the_same_part(small_store):
    reader = PatchReader(small_store, 24)
    sampler = PatchSampler(small_store, TASKS, patches=10, seed=3)
    for draw in sampler.draw(0):
        sample = reader(draw)
        correlation = np.corrcoef(sample.input.ravel(), sample.targets["image"].ravel())[0, 1]
        assert correlation > 0.8, draw


def test_small_slices_are_filled_by_reflection(small_store):
    record = small_store.records("train", "ct-denoise")[0]  # 40 x 36
    patch = PatchReader(small_store, 128)(Draw(record, 0, (0.5, 0.5))).input[0]
    assert patch.shape == (128, 128)
    np.testing.assert_array_equal(patch[44], patch[43])  # the first row occurs twice: at the border and mirrored
    np.testing.assert_allclose(
        patch[44:84, 46:82], record.normalisation.apply(small_store.array(record, "input")[0, 0]), rtol=1e-6
    )
