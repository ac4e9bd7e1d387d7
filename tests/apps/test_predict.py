"""`medley predict`: results, reports and refusals."""

import json
import re
import sys
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medley.apps import predict_files
from medley.apps._predict_pictures import dose_scale, hottest
from medley.io.dicom.dose import read_dose
from medley.io.dicom.structures import read_structures
from medley.io.files import read
from medley.models import weights
from medley.runtime.extras import install_hint

from .conftest import ORGANS, save_nifti


def record_of(folder: Path) -> dict:
    return json.loads((folder / "prediction.json").read_text())


def test_a_dicom_scan_gives_nifti_dicom_numbers_and_a_report(medley, predictors, patient, tmp_path) -> None:
    out, page = tmp_path / "out", tmp_path / "pages" / "report.html"
    done = medley("predict", patient / "CT", "-o", out, "-m", predictors["plans"], "--report", page)
    assert done.code == 0, done.err
    assert re.search(r"CT: dose: maximum .* Gy, segmentation: \d structures?, stage: (early|late) ", done.err)
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    names = ("Larynx", "PTV70", "SpinalCord")
    masks = [f"segmentation/{name}.nii.gz" for name in names]
    assert found == [
        "dose.dcm",
        "dose.nii.gz",
        "prediction.json",
        "segmentation-rtstruct.dcm",
        "segmentation.dcm",
        *masks,
    ]

    ct = read(patient / "CT")
    header = pydicom.dcmread(next((patient / "CT").iterdir()))
    dose, plan = read(out / "dose.nii.gz"), read_dose(out / "dose.dcm")
    np.testing.assert_allclose(dose.affine, ct.affine, atol=1e-4)
    np.testing.assert_allclose(plan.affine, ct.affine, atol=1e-4)
    np.testing.assert_allclose(plan.data, dose.data, atol=dose.data.max() / 65535)
    assert dose.unit == "Gy"
    for name in ("dose.dcm", "segmentation.dcm", "segmentation-rtstruct.dcm"):
        made = pydicom.dcmread(out / name)
        assert made.FrameOfReferenceUID == header.FrameOfReferenceUID
        assert made.StudyInstanceUID == header.StudyInstanceUID
        assert "medley" in made.SeriesDescription
    drawn = [
        name for name in ("PTV70", "SpinalCord", "Larynx") if read(out / "segmentation" / f"{name}.nii.gz").data.any()
    ]
    segments = pydicom.dcmread(out / "segmentation.dcm").SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == drawn
    assert list(read_structures(out / "segmentation-rtstruct.dcm", ct)) == drawn

    record = record_of(out)
    assert record["files"] == ["dose.nii.gz", *(f"segmentation/{name}.nii.gz" for name in ORGANS.names),
                               "dose.dcm", "segmentation.dcm", "segmentation-rtstruct.dcm"]  # fmt: skip
    assert re.fullmatch("[0-9a-f]{64}", record["model"]["sha256"])
    assert record["answers"]["dose"] == {"unit": "Gy", "maximum": pytest.approx(dose.data.max(), rel=1e-3)}
    for name in ORGANS.names:
        stored = nib.load(out / "segmentation" / f"{name}.nii.gz")
        assert stored.get_data_dtype() == np.uint8
        mask = read(out / "segmentation" / f"{name}.nii.gz").data > 0
        numbers = record["answers"]["segmentation"][name]
        assert numbers["volume_ml"] == pytest.approx(mask.sum() * 12 / 1000, rel=1e-3)
        if mask.any():
            assert numbers["D_mean"] == pytest.approx(dose.data[mask].mean(), rel=1e-3)
    stage = record["answers"]["stage"]
    assert sum(stage["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert stage["answer"] == max(stage["probabilities"], key=stage["probabilities"].get)

    html = page.read_text()
    assert "Not for diagnosis or treatment" in html
    assert html.count("data:image/png;base64,") == 3
    assert not re.findall(r"(?:src|href)=\"(?!data:)|url\(|@import|https?:", html)  # nothing to fetch
    assert str(header.PatientName) not in html
    assert str(tmp_path) not in html


def test_an_rtstruct_is_compared_and_its_unknown_names_are_listed(medley, predictors, patient, tmp_path) -> None:
    out, page = tmp_path / "out", tmp_path / "r.html"
    done = medley("predict", patient / "CT", "-o", out, "-m", predictors["plans"], "--structures", patient / "RS.dcm",
                  "--report", page, "--format", "nifti", "-q")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    given = record_of(out)["given"]
    assert given["names"] == {"PTV70": "ptv 70", "SpinalCord": "SpinalCord"}
    assert given["unmatched"] == ["BODY", "z_helper"]
    assert given["structures"]["PTV70"]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.05)
    assert set(given["structures"]["PTV70"]) >= {"D_mean", "D95", "dice"}
    assert set(given["structures"]["SpinalCord"]) >= {"D_mean", "D_0.1cc"}
    assert "that the network does not know are ignored: BODY, z_helper" in unescape(page.read_text())
    assert "PTV70, given" in page.read_text()
    assert not list(out.glob("*.dcm"))


def test_a_network_that_needs_structures_uses_them_or_reports_that_they_are_missing(
    medley, predictors, rt, patient, tmp_path
) -> None:
    def predict(*arguments: object) -> str:
        done = medley("predict", patient / "CT", "-o", tmp_path / "out", "-m", predictors["needy"], *arguments)
        assert done.code == 1
        assert not (tmp_path / "out").exists()
        return done.err

    assert "needy needs structures beside the scan (PTV70, SpinalCord, Larynx), but none is given" in predict()
    ct = read(patient / "CT")
    rt.write_structures(tmp_path / "eyes.dcm", ct, {"Eye": rt.sphere(ct, *rt.PTV)})
    assert "eyes.dcm: has none of the structures that needy knows" in predict("--structures", tmp_path / "eyes.dcm")
    rt.write_ct(tmp_path / "other" / "CT", patient="P2")
    other = read(tmp_path / "other" / "CT")
    rt.write_structures(tmp_path / "other.dcm", other, rt.structures(other), patient="P2")
    assert "frame of reference" in predict("--structures", tmp_path / "other.dcm")
    done = medley("predict", patient / "CT", "-o", tmp_path / "out", "-m", predictors["needy"], "--structures",
                  patient / "RS.dcm", "--json", "-", "-q")  # fmt: skip
    assert done.code == 0, done.err
    (scan,) = json.loads(done.out)["scans"]
    assert scan["given"]["structures"]["PTV70"]["D95"] >= 0


def test_tg263_names_are_understood_and_other_targets_are_mentioned(medley, predictors, rt, patient, tmp_path) -> None:
    ct = read(patient / "CT")
    drawn = rt.structures(ct)
    names = {"PTV_7000": drawn["ptv 70"], "Spinal_Cord": drawn["SpinalCord"], "PTV_5400": drawn["z_helper"]}
    rt.write_structures(tmp_path / "tg.dcm", ct, names)
    done = medley("predict", patient / "CT", "-o", tmp_path / "out", "-m", predictors["needy"], "--structures",
                  tmp_path / "tg.dcm", "-q")  # fmt: skip
    assert done.code == 0, done.err
    record = record_of(tmp_path / "out")
    assert record["given"]["names"] == {"PTV70": "PTV_7000", "SpinalCord": "Spinal_Cord"}
    assert record["given"]["unmatched_targets"] == ["PTV_5400"]
    assert any(note.startswith("targets with names that the network does not know") for note in record["notes"])


def test_a_table_of_names_is_used(medley, predictors, rt, patient, tmp_path) -> None:
    table = tmp_path / "names.csv"
    table.write_text("name,structure\nz_helper,PTV70\n*cord*,SpinalCord\n")
    arguments = ["predict", patient / "CT", "-o", tmp_path / "out", "-m", predictors["needy"], "-q"]
    done = medley(*arguments, "--structures", patient / "RS.dcm", "--structure-names", table)
    assert done.code == 0, done.err
    assert record_of(tmp_path / "out")["given"]["names"] == {"PTV70": "z_helper", "SpinalCord": "SpinalCord"}
    done = medley(*arguments, "--structure-names", table)
    assert done.code == 1
    assert "add --structures" in done.err


def test_no_dose_is_predicted_without_a_target(medley, predictors, rt, patient, tmp_path) -> None:
    ct = read(patient / "CT")
    drawn = rt.structures(ct)
    rt.write_structures(tmp_path / "rs.dcm", ct, {"Boost": drawn["ptv 70"], "SpinalCord": drawn["SpinalCord"]})
    done = medley("predict", patient / "CT", "-o", tmp_path / "out", "-m", predictors["needy"], "--structures",
                  tmp_path / "rs.dcm", "-q")  # fmt: skip
    assert done.code == 1
    assert "needy needs a target (PTV70), but the structures given are SpinalCord" in done.err
    assert not (tmp_path / "out").exists()


def test_results_of_a_nifti_scan_have_its_geometry(medley, predictors, patient, tmp_path) -> None:
    ct = read(patient / "CT")
    affine = ct.affine[:, [2, 1, 0, 3]]
    header = nib.Nifti1Image(ct.data.transpose(2, 1, 0).astype(np.int16), affine)
    header.set_sform(affine, 2)
    nib.save(header, tmp_path / "ct.nii.gz")
    out = tmp_path / "out"
    page = tmp_path / "r.html"
    assert medley("predict", tmp_path / "ct.nii.gz", "-o", out, "-m", predictors["plans"], "--report", page).code == 0
    assert not list(out.glob("*.dcm"))
    np.testing.assert_allclose(nib.load(out / "dose.nii.gz").affine, affine, atol=1e-5)
    assert nib.load(out / "dose.nii.gz").get_data_dtype() == np.float32
    assert nib.load(out / "segmentation" / "PTV70.nii.gz").header["sform_code"] == 2
    done = medley("predict", patient / "CT", "-o", tmp_path / "two", "-m", predictors["plans"], "-q")
    assert done.code == 0
    one, two = (nib.load(folder / "dose.nii.gz").get_fdata() for folder in (out, tmp_path / "two"))
    np.testing.assert_allclose(one, two, atol=1e-4)
    done = medley(
        "predict", tmp_path / "ct.nii.gz", "-o", tmp_path / "three", "-m", predictors["plans"], "--format", "dicom"
    )
    assert done.code == 1
    assert "ct.nii.gz: no dose.dcm: needs the DICOM series" in done.err
    assert not (tmp_path / "three").exists()


def test_without_highdicom_nifti_is_written_and_a_note_printed(
    medley, predictors, patient, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    out = tmp_path / "out"
    done = medley("predict", patient / "CT", "-o", out, "-m", predictors["plans"])
    assert done.code == 0
    assert f"no segmentation.dcm: DICOM SEG needs highdicom; {install_hint('radiotherapy')}" in done.err
    assert (out / "dose.dcm").is_file()
    assert (out / "segmentation" / "PTV70.nii.gz").is_file()
    assert not (out / "segmentation.dcm").exists()
    done = medley("predict", patient / "CT", "-o", tmp_path / "two", "-m", predictors["plans"], "--format", "dicom")
    assert done.code == 1
    assert "highdicom" in done.err
    assert not (tmp_path / "two").exists()


def test_dicom_files_only(medley, predictors, patient, tmp_path) -> None:
    out = tmp_path / "out"
    assert medley("predict", patient / "CT", "-o", out, "-m", predictors["plans"], "--format", "dicom").code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "dose.dcm",
        "prediction.json",
        "segmentation-rtstruct.dcm",
        "segmentation.dcm",
    ]


def test_the_part_of_the_body_outside_the_grid_is_reported(medley, predictors, patient, tmp_path) -> None:
    out, page = tmp_path / "out", tmp_path / "r.html"
    done = medley(
        "predict", patient / "CT", "-o", out, "-m", predictors["narrow"], "--report", page, "--format", "nifti"
    )
    assert done.code == 0
    told = re.search(r"covers slices (\d+) to (\d+) of 16; ([\d.]+) % of the body lies outside", done.err)
    first, last, _ = (float(number) for number in told.groups())
    heights = np.flatnonzero(read(out / "dose.nii.gz").data.any(axis=(1, 2))) + 1
    assert heights.min() >= first
    assert heights.max() <= last
    assert told.group() in page.read_text()
    assert 0.2 < record_of(out)["body_outside"] < 0.8


@pytest.mark.parametrize(("model", "shown", "absent"), [
    ("outlines", ["Structures"], ["Dose and volume", "80 Gy"]), ("stages", ['class="bars"'], ["<h2>Structures"]),
])  # fmt: skip
def test_a_report_shows_the_targets_of_the_network(medley, predictors, patient, tmp_path, model, shown, absent) -> None:
    page = tmp_path / "r.html"
    wishes = ("-m", predictors[model], "--report", page, "--format", "nifti")
    assert medley("predict", patient / "CT", "-o", tmp_path / "out", *wishes).code == 0
    assert page.read_text().count("data:image/png") == 3
    assert all(word in page.read_text() for word in shown)
    assert not any(word in page.read_text() for word in absent)


def test_scans_of_other_kinds_are_refused_in_one_line(medley, predictors, phantoms, patient, photograph, tmp_path):
    def predict(source: Path, model: str, *arguments: object) -> str:
        done = medley("predict", source, "-o", tmp_path / "out", "-m", predictors[model], *arguments)
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        assert not (tmp_path / "out").exists()
        return done.err

    phantoms.write_mr_series(tmp_path / "mr")
    assert "mr: the scan's modality is MR, but plans is for CT" in predict(tmp_path / "mr", "plans")
    single = save_nifti(tmp_path / "one.nii.gz", np.full((30, 30, 1), -1000))
    assert "one.nii.gz: the scan is a single slice" in predict(single, "plans")
    no_air = save_nifti(tmp_path / "soft.nii.gz", np.full((30, 30, 9), 40))
    assert "soft.nii.gz: the scan's values, 40 to 40, are not a CT's in HU" in predict(no_air, "plans")
    assert "mole.png: the scan's values are in grey levels, but plans needs HU" in predict(photograph, "plans")
    assert "one.nii.gz: is not a picture" in predict(single, "skin")
    assert "holds no photograph" in predict(patient / "CT", "skin")
    assert "does not use structures" in predict(photograph, "skin", "--structures", patient / "RS.dcm")


def test_a_model_for_the_other_command_is_refused_with_its_name(medley, predictors, patient, tmp_path) -> None:
    done = medley("restore", patient / "CT", "-o", tmp_path / "out", "-m", predictors["plans"])
    assert done.code == 1
    assert "plans does not restore scans, it predicts dose, segmentation, stage; use medley predict" in done.err
    done = medley("predict", patient / "CT", "-o", tmp_path / "out", "-m", "tat-tiny")
    assert done.code == 1
    assert "tat-tiny does not predict, it restores scans" in done.err
    assert "medley restore" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "png"), "not one of dicom, nifti"),
        (("--what",), "No such option"),
        ((), "Missing option '--model'"),
    ],
)
def test_wrong_usage_exits_with_2(medley, patient, tmp_path, arguments, message) -> None:
    model = ("-m", "x") if arguments else ()
    done = medley("predict", patient / "CT", "-o", tmp_path / "out", *model, *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.replace("│", " ").split())


def test_nothing_is_overwritten_without_the_option(medley, predictors, photograph, tmp_path) -> None:
    out = tmp_path / "out"

    def predict(*arguments: object) -> tuple[int, str]:
        done = medley("predict", photograph, "-m", predictors["skin"], "-q", *arguments)
        return done.code, done.err

    assert predict("-o", out)[0] == 0
    (out / "segmentation" / "lesion.png").write_bytes(b"old")
    assert "out: exists already" in predict("-o", out)[1]
    assert predict("-o", out, "--overwrite") == (0, "")
    assert (out / "segmentation" / "lesion.png").read_bytes() != b"old"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    assert "holds files that medley predict did not write" in predict("-o", mine, "--overwrite")[1]
    assert (mine / "thesis.txt").read_text() == "precious"
    assert "holds files that medley predict did not write" in predict("-o", tmp_path, "--overwrite")[1]
    assert "is the name of a file" in predict("-o", tmp_path / "mask.png")[1]
    assert "exists already" in predict("-o", tmp_path / "new", "--report", mine / "thesis.txt")[1]
    assert not (tmp_path / "new").exists()


def test_ctrl_c_leaves_nothing_behind(medley, predictors, patient, tmp_path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_files, "write_segmentation", interrupted)
    out = tmp_path / "new" / "out"
    assert medley("predict", patient / "CT", "-o", out, "-m", predictors["plans"]).code == 130
    assert not out.parent.exists()
    assert not list(tmp_path.glob(".part-*"))


def test_packaged_predictors_are_listed(medley, predictors, monkeypatch) -> None:
    monkeypatch.setattr(weights, "packaged", lambda: {"plans": predictors["plans"], "skin": predictors["skin"]})
    listed = medley("models").out
    assert re.search(r"plans +predict +ctan +dose, segmentation, stage +10 +no check +dose dose score 3.4", listed)
    asked = medley("tasks").out
    assert re.search(r"plans +CT in HU +dose +a value in Gy for each voxel", asked)
    assert re.search(r"skin +a photograph +segmentation +masks of lesion", asked)
    assert json.loads(medley("tasks", "--json").out)["skin"]["targets"][1]["names"] == ["nevus", "melanoma"]
    assert "checksum correct, segmentation, diagnosis" in medley("doctor").out


def test_the_section_goes_through_the_region_of_the_highest_dose() -> None:
    dose = np.zeros((5, 20, 20))
    row, column = np.mgrid[:20, :20]
    ring = abs(np.hypot(row - 10, column - 10) - 6) < 1
    dose[2, ring] = 60
    assert dose[hottest(dose)] == 60
    np.testing.assert_allclose(dose_scale(dose), np.arange(7) * 10.0)
    np.testing.assert_allclose(dose_scale(dose * 0.04)[-1], 2.5)
