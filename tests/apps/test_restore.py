import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medley.inference.restorer import Restorer
from medley.io.files import read

from .conftest import save_nifti


def test_a_nifti_scan_keeps_its_geometry_and_data_type(medley, model, ct_nifti, tmp_path) -> None:
    out = tmp_path / "out.nii.gz"
    done = medley("restore", ct_nifti, "-o", out, "-m", model, "--task", "ct-denoise")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("head: ct-denoise, 3 slices in")
    before, after = nib.load(ct_nifti), nib.load(out)
    np.testing.assert_allclose(after.affine, before.affine)
    assert after.get_data_dtype() == before.get_data_dtype()
    assert np.abs(after.get_fdata() - before.get_fdata()).max() > 0


def test_strength_zero_gives_the_same_file_back(medley, model, ct_nifti, tmp_path) -> None:
    done = medley("restore", ct_nifti, "-o", tmp_path / "o.nii", "-m", model, "-t", "ct-denoise", "--strength", 0, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    np.testing.assert_array_equal(nib.load(tmp_path / "o.nii").get_fdata(), nib.load(ct_nifti).get_fdata())


def test_the_strength_for_a_wanted_noise_is_in_the_record_the_report_and_the_header(
    medley, model, ct_series, tmp_path
) -> None:
    out, page, record = tmp_path / "out", tmp_path / "r.html", tmp_path / "r.json"
    done = medley("restore", ct_series, "-o", out, "-m", model, "--target-noise", 1000, "--report", page,
                  "--json", record)  # fmt: skip
    (scan,) = json.loads(record.read_text())["scans"]
    assert (done.code, scan["parameters"]["strength"], scan["parameters"]["target_noise"]) == (0, 0, 1000)
    assert scan["noise_after"] == scan["noise_before"] == pytest.approx(scan["noise_match"]["before"])
    assert scan["noise_unit"] == "HU"
    assert "the scan is left as it is" in scan["notes"][0]
    assert scan["notes"][0] in done.err
    assert "noise that was wanted" in page.read_text()
    header = pydicom.dcmread(next(out.iterdir()))
    assert "strength 0" in header.SeriesDescription
    assert "strength 0 for a noise of 1000 HU" in header.DerivationDescription
    np.testing.assert_array_equal(np.asarray(read(out).data), np.asarray(read(ct_series).data))


def test_a_strength_for_a_noise_that_cannot_be_found_is_refused(medley, model, ct_nifti, tmp_path) -> None:
    given = "restore", ct_nifti, "-o", tmp_path / "o.nii", "-m", model, "-t", "ct-denoise"
    done = medley(*given, "--strength", "auto")
    assert (done.code, "give the wanted noise in HU" in done.err) == (1, True)
    done = medley(*given, "--strength", "0.5", "--target-noise", "12")
    assert (done.code, "not both" in done.err) == (1, True)
    assert not (tmp_path / "o.nii").exists()


def test_a_dicom_series_becomes_a_derived_series_with_a_report_and_a_record(medley, model, ct_series, tmp_path) -> None:
    out, page, record = tmp_path / "out", tmp_path / "pages" / "report.html", tmp_path / "record.json"
    done = medley("restore", ct_series, "-o", out, "-m", model, "--report", page, "--json", record)
    assert done.code == 0
    assert len(list(out.iterdir())) == 4
    np.testing.assert_allclose(read(out).affine, read(ct_series).affine, atol=1e-4)
    derived = pydicom.dcmread(next(out.iterdir()))
    assert derived.ImageType[0] == "DERIVED"
    assert "tiny ct-denoise" in derived.DerivationDescription

    (scan,) = json.loads(record.read_text())["scans"]
    assert scan["task"] == "ct-denoise"
    assert scan["model"]["name"] == "tiny"
    assert re.fullmatch("[0-9a-f]{64}", scan["model"]["sha256"])
    assert scan["shape"] == [4, 128, 128]
    assert scan["normalisation"] == {"low": -1024, "high": 3071, "clip": True}
    assert scan["noise_before"] > 0

    html = page.read_text()
    assert "Not for diagnosis" in html
    assert "Was anatomy removed?" in html
    regions = scan["residual"]["regions"]
    # Four slices and every flagged region: before, after and difference.
    assert html.count("data:image/png;base64,") == 12 + 3 * len(regions)
    assert [one["number"] for one in regions] == list(range(1, len(regions) + 1))
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|https?:", html)  # nothing to fetch
    assert str(derived.PatientName) not in html
    assert str(tmp_path) not in html


def test_the_precision_is_in_the_record_the_report_and_the_header(medley, model, ct_series, tmp_path) -> None:
    scans, data = [], []
    for precision in ("float32", "bfloat16"):
        out, page, record = (tmp_path / f"{precision}{end}" for end in ("", ".html", ".json"))
        wishes = ("-m", model, "--precision", precision, "--report", page, "--json", record)
        assert medley("restore", ct_series, "-o", out, *wishes).code == 0
        scans.append(json.loads(record.read_text())["scans"][0])
        data.append(np.asarray(read(out).data))
        assert f"<td>{precision}</td>" in page.read_text()
        said = pydicom.dcmread(next(out.iterdir())).DerivationDescription
        assert ("bfloat16" in said) == (precision == "bfloat16")
    assert [scan["precision"] for scan in scans] == ["float32", "bfloat16"]
    assert [scan["window"] for scan in scans] == [None, None]
    assert np.abs(data[1] - data[0]).max() > 0
    assert medley("restore", ct_series, "-o", tmp_path / "o", "--precision", "float16").code == 2


def test_a_series_that_medley_restored_is_reported_and_one_that_it_degraded_is_not(
    medley, model, ct_series, tmp_path
) -> None:
    low, once, twice = (tmp_path / name for name in ("low", "once", "twice"))
    assert medley("degrade", ct_series, "-o", low, "-t", "ct-denoise").code == 0
    done = medley("restore", low, "-o", once, "-m", model)
    assert (done.code, "medley before" in done.err) == (0, False)
    done = medley("restore", once, "-o", twice, "-m", model)
    assert (done.code, done.err.count("note: the series was written by medley before")) == (0, 1)


def test_only_json_is_printed_on_stdout(medley, model, ct_nifti, tmp_path) -> None:
    done = medley("restore", ct_nifti, "-o", tmp_path / "o.nii.gz", "-m", model, "-t", "ct-denoise", "--json", "-")
    assert json.loads(done.out)["scans"][0]["output"] == str(tmp_path / "o.nii.gz")


def test_a_broken_scan_does_not_stop_the_others(medley, model, ct_series, tmp_path) -> None:
    scans = tmp_path / "scans"
    (scans / "a").mkdir(parents=True)
    ct_series.rename(scans / "a" / "chest")
    save_nifti(scans / "b" / "same.nii.gz", np.random.default_rng(0).integers(-1000, 900, (20, 20, 2)))
    (scans / "b" / "bad.nii").write_text("not a scan")
    done = medley("restore", scans, "-o", tmp_path / "out", "-m", model, "--json", "-", "-t", "ct-denoise",
                  "--report", tmp_path / "pages", "-q")  # fmt: skip
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
    assert "bad.nii: cannot be read as NIfTI" in done.err
    assert len(list((tmp_path / "out" / "a" / "chest").glob("*.dcm"))) == 4
    assert (tmp_path / "out" / "b" / "same.nii.gz").is_file()
    assert sorted(p.relative_to(tmp_path / "pages").as_posix() for p in (tmp_path / "pages").rglob("*.html")) == [
        "a/chest.html",
        "b/same.html",
    ]
    record = json.loads(done.out)["scans"]
    assert ["error" in one for one in record] == [False, True, False]


def test_an_mr_scan_on_a_finer_grid(medley, model, tmp_path) -> None:
    scan = save_nifti(tmp_path / "knee.nii.gz", np.random.default_rng(0).integers(0, 900, (20, 24, 2)))
    out = tmp_path / "fine.nii.gz"
    done = medley("restore", scan, "-o", out, "-m", model, "-t", "mr-sr", "--scale", 2, "--measured", "24x20")
    assert done.code == 0
    assert nib.load(out).shape == (40, 48, 2)
    np.testing.assert_allclose(nib.load(out).header.get_zooms(), (0.4, 0.45, 3), rtol=1e-5)


def test_a_scan_of_20_x_20_is_restored(medley, model, tmp_path) -> None:
    scan = save_nifti(tmp_path / "small.nii", np.random.default_rng(0).integers(-1000, 900, (20, 20, 1)))
    page = tmp_path / "r.html"
    assert (
        medley("restore", scan, "-o", tmp_path / "o.nii", "-m", model, "-t", "ct-denoise", "--report", page).code == 0
    )
    assert nib.load(tmp_path / "o.nii").shape[:2] == (20, 20)


def truncated(tmp_path: Path) -> Path:
    whole = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole.read_bytes()[:20000])
    return path


def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dcm"
    path.write_text("these are only words, and not many of them")
    return path


def empty_folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def with_nan(tmp_path: Path) -> Path:
    values = np.zeros((20, 20, 2), np.float32)
    values[3, 3, 1] = np.nan
    return save_nifti(tmp_path / "nan.nii.gz", values)


def four_axes(tmp_path: Path) -> Path:
    return save_nifti(tmp_path / "bold.nii.gz", np.zeros((20, 20, 2, 5), int))


def in_bq(tmp_path: Path) -> Path:
    return save_nifti(tmp_path / "pet.nii.gz", np.full((20, 20, 2), 20000))


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (lambda folder: folder / "missing.nii", (), "missing.nii: does not exist"),
        (empty_folder, (), "empty: holds no scan"),
        (text_file, (), "notes.dcm: "),
        (truncated, (), "cut.dcm: its pixel data is cut short"),
        (with_nan, ("-t", "ct-denoise"), "nan.nii.gz: slice 1 .* holds NaN"),
        (four_axes, ("-t", "ct-denoise"), r"bold.nii.gz: has the shape \(20, 20, 2, 5\)"),
        (in_bq, ("-t", "pet-denoise"), "pet.nii.gz: .* not a PET's in SUV"),
        (in_bq, (), "pet.nii.gz: the file does not say its modality.*--task"),
    ],
)
def test_bad_input_is_refused_in_one_line(medley, model, tmp_path, make, arguments, message) -> None:
    out = tmp_path / "out.nii.gz"
    done = medley("restore", make(tmp_path), "-o", out, "-m", model, *arguments)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert re.search(message, done.err), done.err
    assert not list(tmp_path.glob("*out*"))


def test_a_missing_slice_is_detected(medley, model, ct_series, tmp_path) -> None:
    (ct_series / "2.dcm").unlink()
    done = medley("restore", ct_series, "-o", tmp_path / "out", "-m", model)
    assert done.code == 1
    assert "slices are missing between" in done.err or "unevenly spaced" in done.err
    assert not (tmp_path / "out").exists()


def test_a_task_for_another_modality_is_refused(medley, model, ct_series, tmp_path) -> None:
    done = medley("restore", ct_series, "-o", tmp_path / "out", "-m", model, "-t", "pet-denoise")
    assert done.code == 1
    assert "the scan's modality is CT, but pet-denoise is for PT" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-t", "ct-denoising"), "not one of auto, mr-sr"),
        (("--strength", "2"), "expected a number from 0 to 1, or auto"),
        (("--scale", "3"), "not one of 1, 2, 4"),
        (("--format", "png"), "not one of dicom, nifti"),
        (("--what",), "No such option"),
    ],
)
def test_wrong_usage_exits_with_2(medley, ct_nifti, tmp_path, arguments, message) -> None:
    done = medley("restore", ct_nifti, "-o", tmp_path / "o.nii", *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.replace("│", " ").split())


def test_nothing_is_overwritten_without_the_option(medley, model, ct_nifti, ct_series, tmp_path) -> None:
    def restore(source: Path, *arguments: object) -> str:
        done = medley("restore", source, "-m", model, "-t", "ct-denoise", *arguments)
        assert done.code == 1
        return done.err

    there = tmp_path / "there.nii.gz"
    there.write_bytes(b"precious")
    assert "there.nii.gz: exists already" in restore(ct_nifti, "-o", there)
    assert "there.nii.gz: exists already" in restore(ct_nifti, "-o", tmp_path / "o.nii", "--report", there)
    assert "there.nii.gz: exists already" in restore(ct_nifti, "-o", tmp_path / "o.nii", "--json", there)
    assert there.read_bytes() == b"precious"
    assert "in it, or contains it; inputs are never changed" in restore(ct_nifti, "-o", ct_nifti, "--overwrite")
    assert "in it, or contains it; inputs are never changed" in restore(ct_series, "-o", ct_series, "--overwrite")
    assert "in it, or contains it; inputs are never changed" in restore(ct_series, "-o", ct_series / "out")
    assert "in it, or contains it; inputs are never changed" in restore(ct_series, "-o", tmp_path, "--overwrite")
    assert "is a file, not a folder" in restore(ct_nifti, "-o", there / "o.nii")
    assert not (tmp_path / "o.nii").exists()
    assert medley("restore", ct_nifti, "-o", there, "-m", model, "-t", "ct-denoise", "--overwrite").code == 0
    assert there.read_bytes() != b"precious"


def test_several_scans_need_a_folder(medley, model, ct_nifti, ct_series, tmp_path) -> None:
    done = medley("restore", tmp_path, "-o", tmp_path.parent / "o.nii.gz", "-m", model)
    assert done.code == 1
    assert "there are 2 scans, but" in done.err
    done = medley("restore", tmp_path, "-o", tmp_path.parent / "o", "-m", model, "--report", tmp_path.parent / "r.html")
    assert "but the report" in done.err


def test_a_single_file_may_go_into_a_folder_and_change_its_format(medley, model, ct_nifti, ct_series, tmp_path) -> None:
    wishes = ("-m", model, "-t", "ct-denoise", "-q")
    assert medley("restore", ct_nifti, "-o", tmp_path / "a", *wishes).code == 0
    assert medley("restore", ct_series, "-o", tmp_path / "b", *wishes, "--format", "nifti").code == 0
    assert (tmp_path / "a" / "head.nii.gz").is_file()
    assert (tmp_path / "b" / "series.nii.gz").is_file()
    done = medley("restore", ct_nifti, "-o", tmp_path / "c.png", *wishes)
    assert done.code == 1
    assert ".png files cannot be written" in done.err
    done = medley("restore", ct_nifti, "-o", tmp_path / "c", *wishes, "--format", "dicom")
    assert done.code == 1
    assert "read from DICOM" in done.err


def test_an_unknown_model_is_refused_before_any_work(medley, ct_nifti, tmp_path) -> None:
    done = medley("restore", ct_nifti, "-o", tmp_path / "o.nii", "-m", "tat-huge", "-t", "ct-denoise")
    assert done.code == 1
    assert "there is no model 'tat-huge'" in done.err


def test_ctrl_c_leaves_nothing_behind(medley, model, ct_nifti, tmp_path, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Restorer, "restore_slabs", interrupted)
    out = tmp_path / "new" / "out.nii.gz"
    assert medley("restore", ct_nifti, "-o", out, "-m", model, "-t", "ct-denoise").code == 130
    assert not out.parent.exists()


def test_a_full_disk_is_reported_and_leaves_nothing_behind(model, tmp_path) -> None:
    pytest.importorskip("resource")
    scan = save_nifti(tmp_path / "big.nii", np.random.default_rng(0).integers(-1000, 900, (64, 64, 8)))
    out = tmp_path / "new" / "out.nii"
    code = (
        "import resource, sys; from medley.apps.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)); main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "restore", scan, "-o", out, "-m", model, "-t", "ct-denoise"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "out.nii: could not be written" in done.stderr
    assert not out.parent.exists()
