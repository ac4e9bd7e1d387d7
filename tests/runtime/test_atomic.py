"""Writing scans: nothing half-written is left, nothing existing is lost. The writer itself: test_replacing.py."""

import errno
import os

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.files import read, write
from medley.runtime import atomic
from medley.volume import Slices, Volume

FORMATS = ["out.nii", "out.nii.gz", "out.mha", "out.nrrd", "out"]


@pytest.fixture
def volume(tmp_path_factory, phantoms):
    folder = tmp_path_factory.mktemp("source")
    phantoms.write_ct_series(folder)
    return read(folder)


def needs(name):
    if name.endswith((".mha", ".nrrd")):
        pytest.importorskip("SimpleITK")


def failing(volume, error):
    """The volume with slices that raise an error after two."""

    def make():
        yield volume.data[0]
        yield volume.data[1]
        raise error

    return volume.with_data(Slices(volume.shape, make))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("error", [RuntimeError("the network broke"), KeyboardInterrupt(), MedleyError("bad slice")])
def test_slices_that_fail_leave_nothing(tmp_path, volume, name, error):
    needs(name)
    with pytest.raises(type(error)):
        write(failing(volume, error), tmp_path / "new" / "deep" / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_failing_overwrite_leaves_what_was_there(tmp_path, volume, name):
    needs(name)
    write(volume, tmp_path / name)
    with pytest.raises(RuntimeError):
        write(failing(volume, RuntimeError()), tmp_path / name, overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / name).data, volume.data)
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, volume, name):
    """The system itself refuses to let any file grow beyond 600 bytes."""
    needs(name)
    resource = pytest.importorskip("resource")
    noisy = volume.with_data(np.random.default_rng(0).normal(0, 100, volume.shape).astype(np.float32))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, before[1]))
    try:
        with pytest.raises(MedleyError) as caught:
            write(noisy, tmp_path / "new" / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'new' / name}: could not be written")
    assert "\n" not in message
    if name in ("out.nii", "out.nii.gz", "out"):
        assert message.endswith(": " + os.strerror(errno.EFBIG))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_failing_rename_leaves_nothing(tmp_path, volume, name, monkeypatch):
    needs(name)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    for function in ("replace", "rename", "link"):
        monkeypatch.setattr(atomic.os, function, refuse)
    with pytest.raises(MedleyError, match=f"{name}: could not be written: Permission denied"):
        write(volume, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_put_back_when_the_new_one_cannot_be_moved(tmp_path, volume, monkeypatch):
    write(volume, tmp_path / "out")
    real, calls = os.replace, []

    def fail_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", fail_second)
    with pytest.raises(MedleyError, match="Permission denied"):
        write(volume.with_data(volume.data * 0), tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(read(tmp_path / "out").data, volume.data)
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_exists_is_only_overwritten_on_request(tmp_path, volume, name):
    needs(name)
    write(volume, tmp_path / name)
    with pytest.raises(MedleyError, match=f"{name}: exists already"):
        write(volume.with_data(volume.data * 0), tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name).data, volume.data)
    write(volume.with_data(volume.data * 0), tmp_path / name, overwrite=True)
    assert not read(tmp_path / name).data.any()


def test_a_file_never_replaces_a_folder_nor_a_folder_a_file(tmp_path, volume):
    (tmp_path / "a.nii").mkdir()
    (tmp_path / "b").write_text("words")
    with pytest.raises(MedleyError, match=r"a\.nii: is a folder already"):
        write(volume, tmp_path / "a.nii", overwrite=True)
    with pytest.raises(MedleyError, match="b: is a file already"):
        write(volume, tmp_path / "b", overwrite=True)
    assert (tmp_path / "b").read_text() == "words"


@pytest.mark.parametrize("name", FORMATS)
def test_values_that_are_not_finite_are_not_written(tmp_path, volume, name):
    needs(name)
    data = volume.data.copy()
    data[3, 1, 1] = np.nan
    with pytest.raises(MedleyError, match=r"slice 3 .*NaN"):
        write(volume.with_data(data), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.nii", "out"])
@pytest.mark.parametrize("count", [4, 6])
def test_a_wrong_number_of_slices_is_a_programming_error(tmp_path, volume, name, count):
    data = np.resize(volume.data, (count, *volume.shape[1:]))
    with pytest.raises(ValueError):  # noqa: PT011
        write(volume.with_data(Slices(volume.shape, lambda: iter(data))), tmp_path / name)
    with pytest.raises(ValueError, match="shape"):
        write(volume.with_data(Slices(volume.shape, lambda: iter(volume.data[:, 1:]))), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_sheared_volume_is_not_written(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.3
    with pytest.raises(MedleyError, match=r"out\.nii: its axes are not at right angles"):
        write(Volume(np.zeros((2, 3, 4), np.float32), affine), tmp_path / "out.nii")
