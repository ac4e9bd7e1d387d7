"""The guard around readers: one sentence for every exception of a library."""

import lzma
import struct
import warnings
import zlib

import nibabel as nib
import pytest

from medley.errors import MedleyError, MedleyNotice
from medley.runtime.guard import reading, without_warnings

FAULTS = [
    AttributeError("no attribute"),
    KeyError("tag"),
    IndexError("index out of range"),
    OSError("read failed"),
    EOFError(),
    struct.error("unpack requires 4 bytes"),
    zlib.error("Error -3"),
    lzma.LZMAError("Corrupt input data"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    nib.spatialimages.HeaderDataError("bad quaternion"),
    ValueError("several\nlines\n"),
    NotImplementedError(),
    OverflowError("too large"),
    ZeroDivisionError("division by zero"),
    StopIteration(),
    AssertionError(),
    RuntimeError("native code"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_every_exception_of_a_library_becomes_one_line_with_the_file_and_what_to_do(fault):
    with (
        pytest.raises(MedleyError, match=r"^a\.nii: cannot be read as NIfTI, .*\(.+\); copy or") as caught,
        reading("a.nii", "NIfTI"),
    ):
        raise fault
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is fault


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (FileNotFoundError(2, "No such file"), "a.nii: does not exist"),
        (PermissionError(13, "Permission denied"), "a.nii: cannot be opened (Permission denied)"),
        (IsADirectoryError(21, "Is a directory"), "a.nii: cannot be opened (Is a directory)"),
        (MemoryError(), "a.nii: needs more memory"),
        (RecursionError("maximum"), "nested too deeply"),
    ],
)
def test_causes_that_are_no_damage_are_named(fault, expected):
    with pytest.raises(MedleyError) as caught, reading("a.nii", "NIfTI"):
        raise fault
    assert expected in str(caught.value)


def test_our_own_errors_and_interrupts_pass_unchanged():
    for fault in (MedleyError("a.nii: as it is"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(fault)) as caught, reading("a.nii", "NIfTI"):
            raise fault
        assert caught.value is fault


def test_warnings_of_libraries_are_suppressed_and_notices_of_medley_are_not():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with reading("a.nii", "NIfTI"):
            warnings.warn("an irregular header", UserWarning, stacklevel=1)
            warnings.warn("this scan was restored before", MedleyNotice, stacklevel=1)
        with without_warnings(), without_warnings():
            warnings.warn("another", UserWarning, stacklevel=1)
        warnings.warn("outside", UserWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["this scan was restored before", "outside"]
