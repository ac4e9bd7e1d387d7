"""The loop that writes slices: order, checks, errors of the background thread."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import open_writer, read
from medley.io.writing import in_background, slices_to_write
from medley.volume import Slices, Volume

SHAPE = (5, 3, 4)
VOLUME = Volume(np.arange(60, dtype=np.float32).reshape(SHAPE), np.diag([2, 1, 1, 1]), "CT", "HU")


@contextmanager
def collecting(stored, fail_at=None):
    def append(values):
        if len(stored) == fail_at:
            raise OSError("no space left")
        stored.append((values, threading.current_thread().name))

    yield append


def write_all(target, slices):
    with target as writer:
        for values in slices:
            writer.append(values)


def test_slices_arrive_in_order_in_a_thread_that_ends():
    stored = []
    write_all(in_background(collecting(stored), SHAPE), VOLUME.data)
    np.testing.assert_array_equal([one for one, _ in stored], VOLUME.data)
    assert {name.rpartition("_")[0] for _, name in stored} == {"medley-writer"}
    assert not [one for one in threading.enumerate() if one.name.startswith("medley-writer")]


@pytest.mark.parametrize("fail_at", range(5))
def test_an_error_of_the_background_thread_is_raised_wherever_it_happens(fail_at):
    with pytest.raises(OSError, match="no space left"):
        write_all(in_background(collecting([], fail_at), SHAPE), VOLUME.data)


@pytest.mark.parametrize("count", [0, 4])
def test_missing_slices_are_an_error(count):
    with pytest.raises(ValueError, match=f"{count} slices were given"):
        write_all(in_background(collecting([]), SHAPE), VOLUME.data[:count])


@pytest.mark.parametrize("bad", [np.zeros((4, 3)), np.zeros((1, 3, 4))])
def test_a_slice_of_another_shape_is_an_error(bad):
    with pytest.raises(ValueError, match="slice 0 has shape"), in_background(collecting([]), SHAPE) as writer:
        writer.append(bad)


def test_more_slices_than_the_volume_has_are_an_error():
    with pytest.raises(ValueError, match="slice 5"):
        write_all(in_background(collecting([]), SHAPE), [*VOLUME.data, VOLUME.data[0]])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_a_plain_loop_writes_every_format(tmp_path, name):
    write_all(open_writer(tmp_path / name, VOLUME), VOLUME.data)
    np.testing.assert_array_equal(read(tmp_path / name).data, VOLUME.data)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "series"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, KeyboardInterrupt])
def test_nothing_is_left_of_a_file_whose_slices_fail(tmp_path, phantoms, name, bad):
    phantoms.write_ct_series(tmp_path / "ct", SHAPE)
    volume = read(tmp_path / "ct")

    def broken():
        yield from volume.data[:3]
        if bad is KeyboardInterrupt:
            raise KeyboardInterrupt
        yield np.full(SHAPE[1:], bad, np.float32)

    target = tmp_path / "new" / name
    expected = KeyboardInterrupt if bad is KeyboardInterrupt else MedleyError
    with pytest.raises(expected):
        write_all(open_writer(target, volume), broken())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["b.nii.gz", "b.mha", "series"])
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_result_has_at_most_the_permissions_of_its_source(tmp_path, phantoms, name, mode):
    for file in phantoms.write_ct_series(tmp_path / "ct", SHAPE):
        file.chmod(mode)
    volume = read(tmp_path / "ct")
    write_all(open_writer(tmp_path / name, volume), volume.data)
    made = [tmp_path / name] if (tmp_path / name).is_file() else list((tmp_path / name).iterdir())
    assert {one.stat().st_mode & 0o777 for one in made} == {mode}


def test_slices_to_write_are_counted():
    assert len(list(slices_to_write(VOLUME.data))) == 5
    with pytest.raises(ValueError, match="2 slices were given"):
        list(slices_to_write(Slices(SHAPE, lambda: iter(VOLUME.data[:2]))))
