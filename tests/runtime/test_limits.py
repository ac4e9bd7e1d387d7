"""Limits of unpacking: ratio, memory, disk, and what the user allows."""

import shutil
from collections import namedtuple

import pytest

from medley.errors import MedleyError
from medley.runtime import limits
from medley.runtime.limits import SMALL, VARIABLE, check_memory, check_unpacked, in_words

GB = 10**9
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def _machine(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(limits, "free_memory", lambda: 8 * GB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100 * GB, 80 * GB, 20 * GB))


@pytest.mark.parametrize(("packed", "unpacked"), [(1, SMALL), (GB, 3 * GB), (4 * 10**6, 8 * 10**8), (0, 0)])
@pytest.mark.parametrize("on_disk", [False, True])
def test_small_files_and_usual_ratios_are_accepted(tmp_path, packed, unpacked, on_disk):
    check_unpacked("a.zip", packed, unpacked, tmp_path if on_disk else None)


@pytest.mark.parametrize(("packed", "unpacked"), [(1, SMALL + 1), (4 * 10**6, GB), (3000, 8 * GB), (10**6, 3 * GB)])
def test_ratios_of_no_scan_are_refused_and_can_be_allowed(tmp_path, monkeypatch, packed, unpacked):
    with pytest.raises(MedleyError, match=f"^a.zip: would unpack from .*{VARIABLE}=20GB"):
        check_unpacked("a.zip", packed, unpacked, tmp_path)
    for text in ("20GB", "20 gb", "8000000000", "0.009T"):
        monkeypatch.setenv(VARIABLE, text)
        check_unpacked("a.zip", packed, unpacked, tmp_path)
    monkeypatch.setenv(VARIABLE, "100MB")
    with pytest.raises(MedleyError, match=f"{VARIABLE} allows 100 MB"):
        check_unpacked("a.zip", packed, unpacked, tmp_path)


def test_what_does_not_fit_into_memory_or_onto_the_disk_is_refused(tmp_path):
    with pytest.raises(MedleyError, match=r"a\.nii: it needs 9 GB of memory, but 8 GB are free"):
        check_unpacked("a.nii", 3 * GB, 9 * GB)
    check_unpacked("a.nii", 3 * GB, 9 * GB, tmp_path)
    with pytest.raises(MedleyError, match=r"would unpack to 19 GB, but .* has 20 GB free; .*TMPDIR"):
        check_unpacked("a.nii", 6 * GB, 19 * GB, tmp_path)
    with pytest.raises(MedleyError, match=r"one slice needs"):
        check_memory("a.nii", 8 * GB, "one slice")


def test_a_system_that_does_not_tell_its_memory_sets_no_limit(monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: None)
    check_memory("a.nii", 1 << 60)


@pytest.mark.parametrize("text", ["much", "-1", "1e9", "5 parsecs"])
def test_a_size_that_cannot_be_understood_is_named(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(MedleyError, match=f"{VARIABLE} is .*expected a size such as 20GB"):
        check_unpacked("a.zip", 1, 1)


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (3200, "3.2 KB"), (8.8e9, "8.8 GB"), (2e15, "2e+03 TB")]
)
def test_sizes_in_words(size, words):
    assert in_words(int(size)) == words
