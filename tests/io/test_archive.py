"""Zips: every member is kept and verified, damage and bombs are refused, nothing escapes, nothing is left."""

import tempfile
import zipfile

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io import archive
from medley.io.archive import Extracted
from medley.io.files import find_scans, open_scan, read
from medley.runtime import limits

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield tmp_path / "temporary"
    assert list((tmp_path / "temporary").iterdir()) == []


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members:
            made.writestr(zipfile.ZipInfo(name), data, method)
    return path


def contents(path):
    extracted = Extracted(path)
    return [(one.name, one.read_bytes()) for one in extracted.files]


def refused(path, match):
    with pytest.raises(MedleyError, match=match):
        Extracted(path)


@pytest.mark.parametrize("method", METHODS)
def test_every_compression_of_zips_is_read(tmp_path, method):
    path = make_zip(tmp_path / "a.zip", [("x/a.dcm", b"1" * 1000), ("x/b.dcm", b"2")], METHODS[method])
    assert contents(path) == [("a.dcm", b"1" * 1000), ("b.dcm", b"2")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_slices_that_share_one_name_are_all_kept(tmp_path, phantoms):
    files = phantoms.write_ct_series(tmp_path / "ct", (4, 12, 16))
    path = make_zip(tmp_path / "a.zip", [("ct/image.dcm", file.read_bytes()) for file in files])
    np.testing.assert_array_equal(read(path).data, read(tmp_path / "ct").data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "names",
    [
        ["a", "a/b"],
        ["A.dcm", "a.dcm"],
        ["x" * 300, "x" * 300],
        ["../../up", "/etc/passwd", "C:\\windows\\file", "..", "a\\b", "nul", "a:b", "n\u0301.dcm", "\u202ea"],
    ],
    ids=["file and folder", "case", "long", "escapes and odd names"],
)
def test_names_that_file_systems_cannot_hold_together_are_all_kept_inside_the_folder(tmp_path, temporary, names):
    path = make_zip(tmp_path / "a.zip", [(name, str(k).encode()) for k, name in enumerate(names)])
    extracted = Extracted(path)
    assert [one.read_text() for one in extracted.files] == [str(k) for k in range(len(names))]
    assert all(one.resolve().is_relative_to(temporary.resolve()) for one in extracted.files)


def test_hidden_members_and_those_of_macos_are_left_out(tmp_path):
    members = [(name, b"x") for name in (".DS_Store", "a/.hidden/b", "__MACOSX/a", "./kept", "a/kept")]
    assert [name for name, _ in contents(make_zip(tmp_path / "a.zip", members))] == ["kept", "kept"]


@pytest.mark.parametrize("method", METHODS)
def test_every_flipped_bit_of_the_data_is_noticed(tmp_path, method):
    data = np.random.default_rng(0).integers(0, 50, 3000).astype(np.uint8).tobytes()
    raw = make_zip(tmp_path / "a.zip", [("a", data)], METHODS[method]).read_bytes()
    begin, end = 31, raw.index(b"PK\x01\x02")
    for bit in np.random.default_rng(1).integers(8 * begin, 8 * end, 60):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a.zip").write_bytes(changed)
        refused(tmp_path / "a.zip", r"a\.zip: cannot be read as a zip archive")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.99])
def test_zips_that_are_cut_short(tmp_path, keep):
    path = make_zip(tmp_path / "a.zip", [("a", bytes(range(256)) * 20)])
    raw = path.read_bytes()
    path.write_bytes(raw[: keep if keep > 1 else int(keep * len(raw))])
    refused(path, r"a\.zip: cannot be read as a zip archive")


def changed(raw, local, central, value):
    """The zip with a 2-byte field of the local header and of the directory changed."""
    raw = bytearray(raw)
    for start in (local, raw.index(b"PK\x01\x02") + central):
        raw[start : start + 2] = value.to_bytes(2, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    ("local", "central", "value", "match"),
    [
        (6, 8, 1, "is encrypted"),
        (6, 8, 0x0800, "cannot be read as a zip archive"),  # the name is said to be UTF-8
        (8, 10, 97, "cannot be read as a zip archive"),  # an unknown compression
        (8, 10, 14, "cannot be read as a zip archive"),  # LZMA, which it is not
        (8, 10, 12, "cannot be read as a zip archive"),  # bzip2, which it is not
    ],
)
def test_headers_that_do_not_fit_the_data(tmp_path, local, central, value, match):
    path = make_zip(tmp_path / "a.zip", [("n\xe9", bytes(range(256)) * 4)])
    raw = path.read_bytes().replace("n\xe9".encode(), b"\xe9\xff\xfe")
    path.write_bytes(changed(raw, local, central, value))
    refused(path, match)


def test_limits_on_members_ratio_and_disk(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "a.zip", [(str(k), bytes(10_000)) for k in range(20)])
    monkeypatch.setattr(archive, "MEMBERS", 19)
    refused(path, "holds 20 files; expected up to 19")
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(limits, "SMALL", 100_000)
    monkeypatch.setattr(limits, "RATIO", 10)
    refused(path, r"would unpack from .* KB to 200 KB, which no scan does; .*MEDLEY_MAX_UNPACKED=20GB")
    monkeypatch.setenv("MEDLEY_MAX_UNPACKED", "1MB")
    assert len(contents(path)) == 20
    monkeypatch.setattr(limits, "SHARE", 0)
    refused(path, "free some space or set TMPDIR")


def test_a_zip_is_unpacked_once_for_finding_and_reading(tmp_path, phantoms, monkeypatch):
    files = phantoms.write_ct_series(tmp_path / "ct")
    path = make_zip(tmp_path / "a.zip", [(file.name, file.read_bytes()) for file in files])
    opened = []
    real = zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda *args, **kw: opened.append(1) or real(*args, **kw))
    (scan,) = find_scans(path)
    open_scan(scan).load()
    assert len(opened) == 1
    del scan


def test_unpacked_files_are_as_private_as_the_zip(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a", b"x")])
    path.chmod(0o600)
    extracted = Extracted(path)
    assert extracted.files[0].stat().st_mode & 0o777 == 0o600
