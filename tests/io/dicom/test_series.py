"""Finding series: spread over folders, copied, without identifiers; and how often files are read."""

import shutil
from collections import Counter

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from medley.errors import MedleyError
from medley.io.dicom import headers
from medley.io.files import find_scans, open_scan, read, write

SHAPE = (6, 12, 16)


def move(files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.rename(folder / file.name)


@pytest.mark.parametrize("part", [slice(0, None, 2), slice(0, 3), slice(0, 1)], ids=["every second", "half", "one"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_series_in_two_folders_is_one_scan(tmp_path, phantoms, part, nested):
    files = phantoms.write_ct_series(tmp_path / "root" / "a", SHAPE)
    move(files[part], tmp_path / "root" / ("a/b" if nested else "b"))
    (scan,) = find_scans(tmp_path / "root")
    volume = open_scan(scan).load()
    np.testing.assert_array_equal(volume.data, phantoms.values(SHAPE, -1024, 1500))
    assert volume.spacing[0] == pytest.approx(2.5)
    assert scan.path == tmp_path / "root" / ("a" if nested else "")
    assert read(tmp_path / "root").shape == SHAPE


def test_copies_of_a_series_are_scans_of_their_own(tmp_path, phantoms):
    phantoms.write_ct_series(tmp_path / "root" / "a", SHAPE)
    shutil.copytree(tmp_path / "root" / "a", tmp_path / "root" / "backup")
    scans = find_scans(tmp_path / "root")
    assert [scan.name for scan in scans] == ["a", "backup"]
    assert all(open_scan(scan).shape == SHAPE for scan in scans)


def test_a_series_in_two_folders_that_is_no_even_stack_is_refused(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "root" / "a", SHAPE)
    move(files[:2], tmp_path / "root" / "b")
    files[3].unlink()
    (scan,) = find_scans(tmp_path / "root")
    with pytest.raises(MedleyError, match=r"slices are missing .*its files are in 2 folders: .*a, .*b\)"):
        open_scan(scan)


def test_other_images_with_the_same_series_uid_are_refused(tmp_path, phantoms):
    def other(ds, k):
        ds.SOPInstanceUID = generate_uid(entropy_srcs=["other", str(k)])

    phantoms.write_ct_series(tmp_path / "root" / "a", SHAPE)
    phantoms.write_ct_series(tmp_path / "root" / "b", SHAPE, change=other)
    (scan,) = find_scans(tmp_path / "root")
    with pytest.raises(MedleyError, match=r"two slices at the same place.*2 folders"):
        open_scan(scan)


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("empty", [True, False])
def test_slices_without_an_identifier_are_one_scan_that_is_refused(tmp_path, phantoms, keyword, empty):
    def drop(ds, k):
        if empty:
            setattr(ds, keyword, "")
        else:
            delattr(ds, keyword)

    files = phantoms.write_ct_series(tmp_path / "ct")
    for k, file in enumerate(files):
        ds = dcmread(file)
        drop(ds, k)
        ds.save_as(file)
    (scan,) = find_scans(tmp_path / "ct")
    with pytest.raises(MedleyError, match=rf"001\.dcm: {keyword} is missing"):
        open_scan(scan)


@pytest.mark.parametrize("syntax", ["classic", "deflated", "enhanced"])
def test_headers_are_read_once_to_find_open_and_load_a_scan(tmp_path, phantoms, monkeypatch, syntax):
    folder = tmp_path / "mr"
    if syntax == "enhanced":
        folder.mkdir()
        phantoms.write_enhanced(folder / "e.dcm", phantoms.values(SHAPE, 0, 900), "MR")
    else:
        phantoms.write_mr_series(folder, SHAPE)
    if syntax == "deflated":
        for file in folder.iterdir():
            ds = dcmread(file)
            ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
            ds.save_as(file)
    reads, real = Counter(), headers.dcmread
    monkeypatch.setattr(headers, "dcmread", lambda file, **options: reads.update("x") or real(file, **options))
    (scan,) = find_scans(folder)
    volume = open_scan(scan)
    np.testing.assert_array_equal(volume.load().data, phantoms.values(SHAPE, 0, 900))
    files = len(list(folder.iterdir()))
    assert reads.total() == files
    write(volume, tmp_path / "out")
    # The writer reads each header again, because whole headers are not kept in memory; and the first for the study.
    assert reads.total() <= 2 * files + 1


def test_headers_of_a_zip_are_read_once(tmp_path, phantoms, monkeypatch):
    phantoms.write_mr_series(tmp_path / "mr", SHAPE)
    path = shutil.make_archive(str(tmp_path / "mr"), "zip", tmp_path / "mr")
    reads, real = Counter(), headers.dcmread
    monkeypatch.setattr(headers, "dcmread", lambda file, **options: reads.update("x") or real(file, **options))
    (scan,) = find_scans(path)
    assert open_scan(scan).load().shape == SHAPE
    assert reads.total() == SHAPE[0]
