"""What `check_store` reports, each on a store with that one fault; and that a good store has none."""

import json
import shutil

import numpy as np
import pytest
from scipy import ndimage

from medley.data.checking import check_store
from medley.data.record import Record
from medley.data.store import Store, StoreWriter
from medley.tasks import TASKS

SHAPE = (3, 48, 40)


def image(seed):
    rng = np.random.default_rng(seed)
    return 300 * ndimage.gaussian_filter(rng.normal(size=SHAPE), (0, 2, 2)) / 0.14


def make(path, pairs, task="ct-denoise"):
    """A store of {id: (subject, split, input, target)}."""
    writer = StoreWriter(path, {}, TASKS)
    for name, (subject, split, low, high) in pairs.items():
        record = Record(
            id=name, subject=subject, split=split, task=task, shape=low.shape, spacing=(3, 1, 1),
            normalisation=TASKS[task].normalisation,
        )  # fmt: skip
        writer.add(record, {key: one[None].astype(np.float32) for key, one in (("input", low), ("image", high))})
    return Store(path)


@pytest.fixture
def pairs():
    noise = np.random.default_rng(9).normal(0, 60, SHAPE)
    return {
        f"r{k}": (f"s{k}", split, image(k) + noise, image(k)) for k, split in enumerate(("train", "train", "valid"))
    }


def only_problem(store):
    [problem] = check_store(store).problems
    return problem


def test_a_good_store_has_no_problem(tmp_path, pairs):
    store = make(tmp_path, pairs)
    found = check_store(store)
    assert found.problems == []
    assert {key: len(group) for key, group in found.groups.items()} == {
        ("ct-denoise", "train"): 2,
        ("ct-denoise", "valid"): 1,
    }
    for name, (_, _, low, high) in pairs.items():
        values = found.values[name]["image"]
        assert (values.low, values.high) == pytest.approx((high.min(), high.max()))
        assert values.percentiles == pytest.approx(np.percentile(high, (1, 50, 99)))
        pair = found.pairs[name]
        assert pair.distance < 0.1
        assert pair.scale == pytest.approx(1, abs=0.05)
        assert pair.correlation == pytest.approx(np.corrcoef(low.ravel(), high.ravel())[0, 1], abs=1e-4)


def test_a_displaced_pair_is_reported_with_its_shift(tmp_path, pairs):
    subject, split, _, high = pairs["r1"]
    pairs["r1"] = subject, split, ndimage.shift(high, (0, 0.8, -1.3), order=5, mode="nearest"), high
    assert "the input of r1 is displaced against its target by +0.8" in (problem := only_problem(make(tmp_path, pairs)))
    assert "and -1.3" in problem


def test_a_truncated_array_is_one_sentence(tmp_path, pairs):
    store = make(tmp_path, pairs)
    folder = tmp_path / "records" / "r1" / "input"
    chunk = max((one for one in folder.rglob("*") if one.is_file()), key=lambda one: one.stat().st_size)
    chunk.write_bytes(chunk.read_bytes()[:100])
    found = check_store(store)
    assert found.damaged == 1
    assert [one.id for one in found.records] == ["r0", "r2"]
    [problem] = found.problems
    assert "records/r1/input: cannot be read as an array of a store, it is broken or cut short" in problem
    assert "\n" not in problem


def test_a_missing_part_and_a_missing_array(tmp_path, pairs):
    store = make(tmp_path, pairs)
    chunks = [one for one in (tmp_path / "records/r0/image").rglob("*") if one.is_file() and one.name != "zarr.json"]
    chunks[0].unlink()
    shutil.rmtree(tmp_path / "records/r1/image")
    problems = check_store(store).problems
    assert "r0/image: has other values than when it was written" in problems[0]
    assert "r1/image: is missing, but the manifest lists it" in problems[1]


def test_a_subject_in_two_splits(tmp_path, pairs):
    pairs["r2"] = ("s0", *pairs["r2"][1:])
    assert "subject s0 is in the splits train and valid" in only_problem(make(tmp_path, pairs))


def test_the_same_image_under_two_names(tmp_path, pairs):
    subject, split, low, _ = pairs["r2"]
    pairs["r2"] = subject, split, low, pairs["r0"][3]
    problems = check_store(make(tmp_path, pairs)).problems
    assert any("r0 (train) and r2 (valid) have the same image" in one for one in problems)


def test_values_scaled_to_one(tmp_path, pairs):
    subject, split, low, high = pairs["r0"]
    scaled = [(one - one.min()) / np.ptp(one) for one in (low, high)]
    problems = check_store(make(tmp_path, {"r0": (subject, split, *scaled)})).problems
    assert len(problems) == 2
    assert all("as if scaled to 0..1, but ct-denoise needs HU" in one for one in problems)


def test_values_that_are_not_finite_or_constant(tmp_path, pairs):
    subject, split, low, high = pairs["r0"]
    bad = low.copy()
    bad[1, 3, 4] = np.nan
    pairs = {"nan": (subject, split, bad, high), "flat": (subject, split, low, np.zeros(SHAPE))}
    problems = check_store(make(tmp_path, pairs)).problems
    assert any("input of nan has values that are not finite" in one for one in problems)
    assert any("image of flat has the same value, 0, everywhere" in one for one in problems)


def test_another_contrast(tmp_path, pairs):
    subject, split, _, high = pairs["r0"]
    assert "has 10 times the contrast of its target" in only_problem(
        make(tmp_path, {"a": (subject, split, 10 * high, high)})
    )


def test_a_large_store_is_compared_in_part_but_verified_as_a_whole(tmp_path, pairs, monkeypatch):
    monkeypatch.setattr("medley.data.checking.PAIRS", 1)
    found = check_store(make(tmp_path, pairs))
    assert sorted(found.pairs) == ["r0", "r2"]  # one of each split
    assert len(found.values) == 3


def test_the_manifest_of_a_store_is_not_changed(tmp_path, pairs):
    store = make(tmp_path, pairs)
    before = json.loads((tmp_path / "manifest.json").read_text())
    check_store(store)
    assert json.loads((tmp_path / "manifest.json").read_text()) == before
