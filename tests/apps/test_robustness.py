"""Runs of the whole program that are interrupted, that compete, or that meet unusual files."""

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medley.runtime.locks import LOCK, locked

from .conftest import save_nifti

posix = pytest.mark.skipif(os.name != "posix", reason="signals and permissions of POSIX systems")

INTERRUPTED = """if True:
    import signal, sys
    from medley.apps.cli import main
    from medley.inference.restorer import Restorer
    Restorer.restore_slabs = lambda *_, **__: signal.raise_signal(int(sys.argv[1]))
    main(sys.argv[2:])
"""


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_unpacked_scan_and_no_partial_result(ct_series, model, tmp_path, number, code):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in ct_series.iterdir():
            archive.write(file, file.name)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number)), "restore", tmp_path / "scan.zip", "-o",
         tmp_path / "new" / "out.nii.gz", "-m", model, "--json", tmp_path / "record.json"],
        env=os.environ | {"TMPDIR": str(temporary)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr == "interrupted; finished results are kept, unfinished ones are removed\n"
    assert [one for one in temporary.iterdir() if one.name.startswith("medley")] == []
    assert not (tmp_path / "new").exists()
    assert json.loads((tmp_path / "record.json").read_text())["interrupted"] is True


def test_of_two_runs_with_one_result_the_second_is_refused(medley, model, ct_nifti, tmp_path, monkeypatch):
    """The result appears while the second run is at work."""
    from medley.apps import restore

    out = tmp_path / "out.nii.gz"
    real = restore.write

    def slow(*arguments, **options):
        save_nifti(out, np.zeros((4, 4, 1), int))
        return real(*arguments, **options)

    monkeypatch.setattr(restore, "write", slow)
    done = medley("restore", ct_nifti, "-o", out, "-m", model, "-t", "ct-denoise")
    assert done.code == 1
    assert "out.nii.gz: exists already" in done.err
    assert nib.load(out).shape == (4, 4, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_file_names_that_are_not_utf8_do_not_end_a_run(medley, model, tmp_path):
    folder = tmp_path / "scans"
    scan = save_nifti(folder / "a.nii", np.random.default_rng(0).integers(-1000, 900, (20, 20, 2)))
    for name in (b"caf\xe9.nii", b"new\nline\x1b[31m.nii", b"=formula.nii"):
        os.link(os.fsencode(scan), os.path.join(os.fsencode(folder), name))
    record, pages = tmp_path / "record.json", tmp_path / "pages"
    wishes = ("-m", model, "-t", "ct-denoise", "--json", record, "--report", pages)
    done = medley("restore", folder, "-o", tmp_path / "out", *wishes)
    assert done.code == 0, done.err
    assert len(done.err.splitlines()) == 4
    assert "\x1b" not in done.err
    assert len(json.loads(record.read_text())["scans"]) == 4
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert all("<h1>" in page.read_text() for page in pages.iterdir())


def test_any_exception_of_one_scan_is_recorded_and_the_others_are_restored(medley, model, tmp_path, monkeypatch):
    from medley.apps import restore

    for name in "abc":
        save_nifti(tmp_path / "scans" / f"{name}.nii", np.random.default_rng(0).integers(-1000, 900, (20, 20, 2)))
    real = restore.open_scan

    def fail_for_b(scan):
        if scan.name == "b":
            raise KeyError("PixelSpacing")
        return real(scan)

    monkeypatch.setattr(restore, "open_scan", fail_for_b)
    done = medley("restore", tmp_path / "scans", "-o", tmp_path / "out", "-m", model, "-t", "ct-denoise", "--json", "-")
    assert done.code == 3
    assert [name.name for name in sorted((tmp_path / "out").iterdir())] == ["a.nii.gz", "c.nii.gz"]
    records = json.loads(done.out)["scans"]
    assert "unexpected error: KeyError: 'PixelSpacing'. Please report it" in records[1]["error"]
    assert records[1]["error"] in done.err


@posix
@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_a_private_scan_gives_private_results(medley, model, ct_series, tmp_path, form):
    for file in ct_series.iterdir():
        file.chmod(0o600)
    out = tmp_path / ("out" if form == "dicom" else "out.nii.gz")
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    wishes = ("-m", model, "--format", form, "--report", page, "--json", record)
    assert medley("restore", ct_series, "-o", out, *wishes).code == 0
    written = [*(out.rglob("*") if form == "dicom" else [out]), page, record]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}


@pytest.mark.parametrize(
    ("results", "refusal"),
    [
        (["--report", "out.nii.gz"], "are the same file"),
        (["--json", "out.nii.gz"], "are the same file"),
        (["--json", "OUT.nii.gz"], "are the same file"),
        (["--report", "page", "--json", "page"], "are the same file"),
        (["--report", "head.nii.gz"], "in it, or contains it; inputs are never changed"),
        (["--json", "tiny.safetensors"], "in it, or contains it; inputs are never changed"),
        (["--json", "link.json"], "are the same file"),
    ],
)
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["new", "overwrite"])
def test_results_that_would_replace_each_other_are_refused_before_any_work(
    medley, model, ct_nifti, tmp_path, monkeypatch, results, refusal, overwrite
):
    monkeypatch.chdir(tmp_path)
    Path("tiny.safetensors").write_bytes(model.read_bytes())
    Path("link.json").symlink_to("out.nii.gz")
    content = {path: path.read_bytes() for path in tmp_path.iterdir() if path.exists()}
    done = medley(
        "restore", ct_nifti, "-o", "out.nii.gz", "-m", "tiny.safetensors", "-t", "ct-denoise", *results, *overwrite
    )
    assert done.code == 1
    assert refusal in done.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.exists()} == content


def test_two_processes_never_prepare_one_store(medley, ct_nifti, tmp_path):
    data = tmp_path / "data" / "ct"
    data.mkdir(parents=True)
    ct_nifti.rename(data / "one.nii.gz")
    store = tmp_path / "store"
    with locked(store, "preparing"):
        done = medley("prepare", "folder", tmp_path / "data", "-o", store)
        assert done.code == 1
        assert f"{store}: is in use by another medley (process {os.getpid()}, preparing)" in done.err
        assert [one.name for one in store.iterdir()] == [LOCK]
    assert medley("prepare", "folder", tmp_path / "data", "-o", store).code == 0
    assert not (store / LOCK).exists()
