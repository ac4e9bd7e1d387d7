"""Pickled arrays: read as numpy reads them, and nothing else is constructed or executed."""

import os
import pickle
from contextlib import suppress

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.pickled import read_pickled_array

ARRAYS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    np.arange(6, dtype=">i2").reshape(2, 3),
    np.arange(20, dtype=np.uint8).reshape(4, 5)[:, ::2],
    np.array([[True, False]]),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_of_all_protocols(tmp_path, array, protocol):
    file = tmp_path / "a.bin"
    file.write_bytes(pickle.dumps(array, protocol))
    found = read_pickled_array(file)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_names_of_numpy_1(tmp_path, protocol):
    content = pickle.dumps(ARRAYS[0], protocol)
    old = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    if protocol == 4:  # the length of the name, and of the frame, are stated before it
        old = old.replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
        old = old[:3] + (len(old) - 11).to_bytes(8, "little") + old[11:]
    file = tmp_path / "a.bin"
    file.write_bytes(old)
    np.testing.assert_array_equal(read_pickled_array(file), ARRAYS[0])


class Runs:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: [ARRAYS[0], x], lambda x: np.array([x], object)])
def test_a_pickle_that_would_execute_code_is_refused_and_nothing_is_executed(tmp_path, wrapped, protocol):
    marker = tmp_path / "executed"
    file = tmp_path / "bad.bin"
    content = pickle.dumps(wrapped(Runs(os.mkdir, str(marker))), protocol)
    file.write_bytes(content)
    with pytest.raises(MedleyError, match=r"bad\.bin: (names|cannot be read)") as raised:
        read_pickled_array(file)
    assert not marker.exists()
    assert "\n" not in str(raised.value)
    pickle.loads(content)  # the same bytes do execute in an ordinary reader
    assert marker.exists()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(eval, ("1",)), (getattr, ("a", "upper")), (np.load, ("x",)), (np.frombuffer, (b"12",)), (bytearray, (10,))],
)
def test_other_functions_also_of_numpy_are_refused(tmp_path, function, arguments):
    file = tmp_path / "bad.bin"
    file.write_bytes(pickle.dumps(Runs(function, *arguments)))
    with pytest.raises(MedleyError, match=r"names .*nothing was executed"):
        read_pickled_array(file)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", None, 3.5, (ARRAYS[0],)], ids=lambda v: type(v).__name__)
def test_other_contents_are_refused(tmp_path, value):
    file = tmp_path / "a.bin"
    file.write_bytes(pickle.dumps(value))
    with pytest.raises(MedleyError, match=r"is a pickle of a \w+, expected one numpy array"):
        read_pickled_array(file)


@pytest.mark.parametrize("array", [np.array([{}, 1], object), np.array(["a"]), np.zeros(2, "i4,f4"), np.zeros((0, 3))])
def test_arrays_of_other_things_than_numbers_are_refused(tmp_path, array):
    file = tmp_path / "a.bin"
    file.write_bytes(pickle.dumps(array))
    with pytest.raises(MedleyError, match=r"a\.bin"):
        read_pickled_array(file)


def test_every_truncation_is_one_sentence(tmp_path):
    content = pickle.dumps(ARRAYS[0])
    file = tmp_path / "cut.bin"
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(MedleyError, match=r"cut\.bin"):
            read_pickled_array(file)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    content = pickle.dumps(ARRAYS[0])
    file = tmp_path / "damaged.bin"
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        for at in rng.integers(len(content), size=3):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged)
        with suppress(MedleyError):
            read_pickled_array(file)
