"""`restore --uncertainty`: the map of the expected error, in files, in the record and in the report."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medley.inference.expected_error import StoredError, StoredLayer, described_error
from medley.io.files import read
from medley.metrics.error_features import FEATURES
from medley.metrics.tissue import tissue
from medley.models import weights
from medley.tasks import TASKS

CT = TASKS["ct-denoise"]


@pytest.fixture
def certain(model, tmp_path):
    """The small restorer, with an error model."""
    rng = np.random.default_rng(0)
    count = len(FEATURES)
    stored = StoredError(
        features=FEATURES,
        mean=[-3.0] * count,
        deviation=[2.0] * count,
        layers=(StoredLayer(weight=rng.normal(0, 0.3, (1, count)).tolist(), bias=(-6.0,)),),
        edges=(-6.0,),
        factors=(2.0, 3.0),
        subjects=9,
    )
    path = tmp_path / "certain.safetensors"
    errors = {"ct-denoise": stored.model_dump(mode="json")}
    weights.describe_anew(model, path, replace(weights.describe(model), expected_error=errors))
    return path


def test_the_map_is_that_of_the_model_on_the_grid_of_the_scan(medley, certain, ct_nifti, tmp_path):
    out, where, record, page = (tmp_path / name for name in ("out.nii.gz", "map.nii.gz", "r.json", "r.html"))
    options = ["-m", certain, "-t", "ct-denoise", "--uncertainty", where, "--json", record, "--report", page]
    done = medley("restore", ct_nifti, "-o", out, *options)
    assert done.code == 0, done.err
    found, scan = nib.load(where), nib.load(ct_nifti)
    np.testing.assert_array_equal(found.affine, scan.affine)
    assert found.get_data_dtype() == np.float32
    assert b"expected error" in found.header["descrip"].tobytes()
    before, after = (read(one, modality="CT", unit="HU").data for one in (ct_nifti, out))
    model = described_error(weights.describe(certain), CT.name)
    expected = [
        model.half_width(one, other, tissue(one, CT, CT.normalisation.high), CT.normalisation)
        for one, other in zip(before, after, strict=True)
    ]
    # The restored scan was rounded to whole HU when it was written.
    np.testing.assert_allclose(found.get_fdata().transpose(2, 1, 0), expected, rtol=0.2)
    (one,) = json.loads(record.read_text())["scans"]
    assert one["expected_error"]["level"] == 0.9
    assert 0 < one["expected_error"]["median"] <= one["expected_error"]["highest"]
    assert "Expected error" in page.read_text()


def test_a_dicom_series_has_a_parametric_map(medley, certain, ct_series, tmp_path):
    pytest.importorskip("highdicom")
    where = tmp_path / "map.dcm"
    done = medley("restore", ct_series, "-o", tmp_path / "out", "-m", certain, "--uncertainty", where)
    assert done.code == 0, done.err
    new = dcmread(where)
    assert (new.SOPClassUID.name, int(new.NumberOfFrames)) == ("Parametric Map Storage", 4)
    assert new.SeriesDescription.startswith("expected error (medley tiny")


def test_without_uncertainty_there_is_no_map(medley, certain, ct_nifti, tmp_path):
    record, page = tmp_path / "r.json", tmp_path / "r.html"
    options = ["-m", certain, "-t", "ct-denoise", "--json", record, "--report", page]
    assert medley("restore", ct_nifti, "-o", tmp_path / "out.nii.gz", *options).code == 0
    assert json.loads(record.read_text())["scans"][0]["expected_error"] is None
    assert "Expected error" not in page.read_text()


def test_requests_that_cannot_be_met_leave_nothing(medley, model, certain, ct_nifti, ct_series, tmp_path):
    out = tmp_path / "out.nii.gz"
    for source, which, name, message in (
        (ct_nifti, model, "map.nii.gz", "tiny does not state its expected error for ct-denoise"),
        (ct_nifti, certain, "map.png", "is a .nii.gz, .nii or .dcm file"),
        (ct_nifti, certain, "map", "is a .nii.gz, .nii or .dcm file"),
        (ct_nifti, certain, "map.dcm", "DICOM"),
        (ct_nifti, certain, "out.nii.gz", "same file"),
    ):
        done = medley("restore", source, "-o", out, "-m", which, "-t", "ct-denoise", "--uncertainty", tmp_path / name)
        assert done.code == 1
        assert message in done.err, name
        assert not (tmp_path / name).exists()


def test_an_existing_map_is_kept(medley, certain, ct_nifti, tmp_path):
    where, out = tmp_path / "map.nii.gz", tmp_path / "out.nii.gz"
    where.write_bytes(b"mine")
    given = ["restore", ct_nifti, "-o", out, "-m", certain, "-t", "ct-denoise", "--uncertainty", where]
    done = medley(*given)
    assert (done.code, "exists already" in done.err) == (1, True)
    assert where.read_bytes() == b"mine"
    assert not out.exists()
    assert medley(*given, "--overwrite").code == 0
    assert where.read_bytes() != b"mine"
