"""Finding scans at a path, and reading and writing each format."""

import gc
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import medley
from medley.errors import MedleyError
from medley.io.files import Scan, find_scans, open_scan, read, write
from medley.runtime import limits
from medley.volume import Volume

VOLUME = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.diag([2, 1, 1, 1]), "CT", "HU")


def names(path):
    return [scan.name for scan in find_scans(path)]


def zipped(path, *files, folder="study"):
    with zipfile.ZipFile(path, "w") as archive:
        for file in files:
            archive.write(file, f"{folder}/{file.parent.name}/{file.name}")
    return path


def test_the_public_names():
    assert medley.read is read
    assert medley.write is write


def test_all_scans_below_a_folder_sorted_by_name_without_hidden_ones(tmp_path, phantoms):
    root = tmp_path / "study"
    phantoms.write_ct_series(root / "b" / "thin")
    phantoms.write_mr_series(root / "a")
    for file in phantoms.write_ct_series(tmp_path / "other", (2, 12, 16), seed=1):
        file.rename(root / "a" / f"ct-{file.name}")
    write(VOLUME, root / "c.nii.gz")
    write(VOLUME, root / "b" / "d.nii")
    write(VOLUME, root / ".hidden.nii")
    phantoms.write_ct_series(root / ".cache")
    (root / "notes.txt").write_text("words")
    (root / "nothing").mkdir()
    assert names(root) == ["a/003-MR-phantom", "a/004-CT-phantom", "b/d", "b/thin", "c"]
    shapes = [open_scan(scan).shape for scan in find_scans(root)]
    assert shapes == [(5, 12, 16), (2, 12, 16), (2, 3, 4), (5, 12, 16), (2, 3, 4)]
    scan = find_scans(root)[3]
    assert scan == Scan(root / "b" / "thin", scan.series_uid, "b/thin")


def test_a_file_is_one_scan_and_a_folder_with_one_series_has_its_name(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct")
    assert find_scans(files[0]) == [Scan(files[0], None, "005")]
    assert names(tmp_path / "ct") == ["ct"]
    assert read(str(files[0])).shape == (1, 12, 16)


def test_repeated_names_get_a_number(tmp_path):
    for suffix in (".nii", ".nii.gz"):
        write(VOLUME, tmp_path / f"a{suffix}")
    write(VOLUME, tmp_path / "a-2.nii")
    assert len(set(names(tmp_path))) == 3


def test_a_damaged_file_is_a_scan_whose_opening_gives_the_error(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.dcm").write_text("words")
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    write(VOLUME, tmp_path / "good.nii")
    assert names(tmp_path) == ["bad/text", "broken", "good"]
    for scan, word in zip(find_scans(tmp_path), ("not a DICOM file", "cannot be read as a zip archive"), strict=False):
        with pytest.raises(MedleyError, match=word):
            open_scan(scan)


def test_a_zip_is_read_like_a_folder_and_cleaned_up_after(tmp_path, phantoms, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    files = phantoms.write_ct_series(tmp_path / "ct")
    path = zipped(tmp_path / "scan.zip", *files)
    assert names(path) == ["scan"]
    volume = open_scan(path)
    again = volume.with_data(volume.data)
    del volume
    gc.collect()
    np.testing.assert_array_equal(again.load().data, read(tmp_path / "ct").data)
    write(again, tmp_path / "out")
    np.testing.assert_array_equal(read(tmp_path / "out").data, read(tmp_path / "ct").data)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del again
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_zip_with_several_series_is_several_scans(tmp_path, phantoms):
    ct, mr = phantoms.write_ct_series(tmp_path / "ct"), phantoms.write_mr_series(tmp_path / "mr", seed=1)
    path = zipped(tmp_path / "both.zip", *ct, *mr)
    assert names(path) == ["both/003-CT-phantom", "both/004-MR-phantom"]
    assert [open_scan(scan).modality for scan in find_scans(path)] == ["CT", "MR"]
    with pytest.raises(MedleyError, match=r"both\.zip: holds 2 scans, expected one"):
        read(path)


def test_zips_that_cannot_be_read(tmp_path, phantoms):
    (file,) = phantoms.write_ct_series(tmp_path / "ct", (1, 64, 64))
    path = zipped(tmp_path / "scan.zip", file)
    raw = path.read_bytes()
    (tmp_path / "cut.zip").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(MedleyError, match=r"cut\.zip: cannot be read as a zip"):
        open_scan(tmp_path / "cut.zip")
    # Bit 0 of the flags says encrypted; it stands in the local header and in the directory at the end.
    secret = bytearray(raw)
    secret[6] |= 1
    secret[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(secret)
    with pytest.raises(MedleyError, match=r"secret\.zip: is encrypted"):
        open_scan(tmp_path / "secret.zip")
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("a.txt", "words")
    with pytest.raises(MedleyError, match=r"text\.zip: holds no DICOM series"):
        open_scan(tmp_path / "text.zip")


def test_a_zip_cannot_write_outside_its_folder(tmp_path, phantoms, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a" / "b"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    (file,) = phantoms.write_ct_series(tmp_path / "ct", (1, 12, 16))
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(file, "../../escaped.dcm")
    assert read(tmp_path / "scan.zip").shape == (1, 12, 16)
    assert not list(tmp_path.glob("escaped.dcm")) + list((tmp_path / "a").glob("*.dcm"))


@pytest.mark.parametrize("name", ["a.jpg", "a.dcm", "a.nii.bz2", "a.hdr"])
def test_unknown_suffixes_are_refused_for_writing(tmp_path, name):
    with pytest.raises(MedleyError, match=r"cannot write \.\w+ files; expected \.nii, \.nii\.gz, \.mha, \.nrrd"):
        write(VOLUME, tmp_path / name)


def test_a_folder_named_by_a_uid_is_a_folder(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "ct")
    assert write(read(tmp_path / "ct"), tmp_path / "1.2.840.113").is_dir()


def test_dicom_to_nifti_and_back(tmp_path, phantoms):
    sitk = pytest.importorskip("SimpleITK")
    phantoms.write_pet_series(tmp_path / "pet", orientation=phantoms.OBLIQUE)
    volume = read(tmp_path / "pet")
    write(volume, tmp_path / "pet.nii.gz")
    series = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "pet")))
    nifti = sitk.ReadImage(str(tmp_path / "pet.nii.gz"))
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(nifti), sitk.GetArrayFromImage(series) * phantoms.SUV_FACTOR, rtol=1e-6
    )
    for index in ((0, 0, 0), (15, 0, 0), (0, 11, 0), (0, 0, 4), (7, 5, 3)):
        np.testing.assert_allclose(
            nifti.TransformIndexToPhysicalPoint(index), series.TransformIndexToPhysicalPoint(index), atol=1e-4
        )
    again = read(tmp_path / "pet.nii.gz")
    assert (again.modality, again.unit) == ("PT", "SUV")
    np.testing.assert_array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)


MEASURE = """
import sys, tracemalloc
from medley.io.files import open_scan, write

for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    volume = open_scan(source)
    tracemalloc.start()
    write(volume, target)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path, phantoms, kind):
    """The peak of a long scan is that of a short one, up to the slices that are in work at the same time.

    In a process of its own, which first writes a scan that is not measured: other threads, first imports and caches
    would be counted too.
    """
    rows, columns = 160, 160
    arguments = []
    for name, slices in (("first", 4), ("short", 8), ("long", 40)):
        phantoms.write_ct_series(tmp_path / name, (slices, rows, columns))
        source, target = tmp_path / name, tmp_path / f"{name}-out"
        if kind == "nifti":
            source, target = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}-out.nii.gz"
            write(read(tmp_path / name), source)
        arguments += [str(source), str(target)]
    result = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    _, short, long = map(int, result.stdout.split())
    one_slice = 4 * rows * columns
    assert short > one_slice
    assert long < short + 4 * one_slice
    assert all(Path(target).exists() for target in arguments[1::2])


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"a\nb", b"\x1b[31mred", b" ", b"-o", "\u202ename".encode()])
def test_scans_with_odd_names_are_found_and_read_among_others(tmp_path, phantoms, name):
    odd = tmp_path / os.fsdecode(name)
    phantoms.write_ct_series(odd)
    write(VOLUME, tmp_path / "good.nii")
    (tmp_path / "bad.nii").write_bytes(b"no scan")
    write(VOLUME, odd.with_name(odd.name + ".nii.gz"))
    read_, refused = [], []
    for scan in find_scans(tmp_path):
        try:
            read_.append(open_scan(scan).load().shape)
        except MedleyError as error:
            refused.append(str(error))
    assert sorted(read_) == [(2, 3, 4), (2, 3, 4), (5, 12, 16)]
    assert len(refused) == 1
    assert "bad.nii: cannot be read as NIfTI" in refused[0]


def test_a_volume_larger_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write(Volume(np.zeros((200, 100, 100), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    monkeypatch.setattr(limits, "free_memory", lambda: 4 * 10**6)
    assert open_scan(tmp_path / "a.nii.gz").shape == (200, 100, 100)
    with pytest.raises(MedleyError, match=r"a\.nii\.gz: it needs 8 MB of memory, but 4 MB are free"):
        read(tmp_path / "a.nii.gz")
