import os
import random

import pytest
import torch

from medley.errors import MedleyError, MedleyNotice
from medley.training import checkpoint
from medley.training.checkpoint import Checkpoints


def state(step: int) -> dict:
    return {"step": step, "network": {"weight": torch.full((8, 8), float(step))}, "scores": {"a psnr": 30.0}}


@pytest.fixture
def two(tmp_path) -> Checkpoints:
    """A folder with two checkpoints, of the steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    return checkpoints


def reopened(checkpoints: Checkpoints) -> Checkpoints:
    return Checkpoints(checkpoints.last.parent)


def test_the_last_two_states_are_kept(two):
    two.save(state(3))
    assert sorted(os.listdir(two.last.parent)) == ["last.ckpt", "previous.ckpt"]
    loaded = reopened(two).load()
    assert loaded["step"] == 3
    assert torch.equal(loaded["network"]["weight"], state(3)["network"]["weight"])
    two.last.unlink()
    with pytest.warns(MedleyNotice, match="is missing; the run continues from previous.ckpt, step 2"):
        assert reopened(two).load()["step"] == 2


def test_nothing_to_resume(tmp_path):
    assert not Checkpoints(tmp_path).exist()
    with pytest.raises(MedleyError, match="no checkpoint to resume from; start without --resume"):
        Checkpoints(tmp_path).load()


def test_every_flipped_bit_is_detected(two):
    content = two.last.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        place = rng.randrange(len(content))
        two.last.write_bytes(content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :])
        with pytest.warns(MedleyNotice, match="the run continues from previous.ckpt, step 1"):
            assert reopened(two).load()["step"] == 1


def foreign(content: bytes) -> bytes:
    """A valid checksum of content that torch cannot read."""
    import hashlib

    return b"text" + checkpoint.FOOTER + hashlib.sha256(b"text").digest()


DAMAGES = {
    "empty": lambda content: b"",
    "short": lambda content: content[:20],
    "half": lambda content: content[: len(content) // 2],
    "one byte less": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "text": lambda content: b"half" * 100,
    "without a checksum": lambda content: content[:-40],
    "foreign": foreign,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(two, damage):
    two.last.write_bytes(damage(two.last.read_bytes()))
    again = reopened(two)
    with pytest.warns(MedleyNotice, match=r"last\.ckpt .*; the run continues from previous.ckpt, step 1"):
        assert again.load()["step"] == 1
    valid = two.previous.read_bytes()
    again.save(state(5))
    assert two.previous.read_bytes() == valid  # a damaged file never replaces a valid one
    assert reopened(two).load()["step"] == 5


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_two_damaged_checkpoints_are_one_sentence(two, damage):
    for path in (two.last, two.previous):
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MedleyError, match="cannot be resumed: remove both files and start without --resume") as caught:
        reopened(two).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 704 vs 598"),
    ],
)
def test_a_full_disk_keeps_the_last_checkpoint(two, monkeypatch, error):
    before = {path: path.read_bytes() for path in (two.last, two.previous)}

    def fail(state, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(MedleyError, match=r"last\.ckpt: could not be written: .*(No space|disk is full)"):
        two.save(state(3))
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(two.last.parent)) == ["last.ckpt", "previous.ckpt"]
