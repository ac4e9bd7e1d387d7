"""dciodvfy (dicom3tools) finds no error in what medley writes that it does not find in the scan it was made from."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from medley.io.dicom.dose import write_dose
from medley.io.dicom.parametric_map import write_parametric_map
from medley.io.dicom.provenance import Algorithm
from medley.io.dicom.segmentation import write_segmentation
from medley.io.dicom.structures_write import write_structures
from medley.io.files import read, write

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")


ALGORITHM = Algorithm("ctan-small", "ab" * 32, "ct-denoise", {"strength": "0.5"})
# A PET must state these; they cannot be made up.
UNKNOWN = ("FrameReferenceTime", "DecayFactor")


def errors_of(path):
    """The elements and modules of all errors; the validator must not abort."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode >= 0, done.stderr
    return {line for line in done.stderr.splitlines() if re.search(r"^Error|Abort|Assertion", line)}


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
def test_images_of_incomplete_scans_have_no_errors(phantoms, tmp_path, modality):
    getattr(phantoms, f"write_{modality}_series")(tmp_path / "scan")
    scan = read(tmp_path / "scan")
    assert len(errors_of(scan.source.paths[0])) > len(UNKNOWN)
    write(scan, tmp_path / "out", mark="medley tat-tiny strength 0.5", algorithm=ALGORITHM)
    for path in (tmp_path / "out").iterdir():
        assert [line for line in errors_of(path) if not any(one in line for one in UNKNOWN)] == []


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_images_of_a_multi_frame_scan_have_no_errors(phantoms, tmp_path, modality):
    file = phantoms.write_enhanced(tmp_path / "e.dcm", phantoms.values((2, 12, 16), 0, 900), modality)
    write(read(file), tmp_path / "out", algorithm=ALGORITHM)
    assert errors_of(tmp_path / "out" / "IM-0001.dcm") == set()


@pytest.mark.parametrize("name", ["ct_crlm_1004", "mr_cmb_crc_t2", "pet_sts_001"])
def test_images_of_real_scans_have_no_errors(shared, tmp_path, name):
    scan = read(shared / "data" / "dicom" / name)
    write(scan, tmp_path / "out", algorithm=ALGORITHM)
    files = sorted((tmp_path / "out").iterdir())
    for path in (files[0], files[-1]):
        assert errors_of(path) == set()


@pytest.mark.parametrize(("modality", "bits"), [("CR", 12), ("DX", 14), ("US", 8), ("OPT", 8)])
def test_radiographs_ultrasound_and_oct(phantoms, tmp_path, modality, bits):
    stored = np.arange(30).reshape(5, 6)
    write(read(phantoms.write_planar(tmp_path / "a.dcm", stored, modality, bits=bits)), tmp_path / "out")
    assert errors_of(tmp_path / "out" / "IM-0001.dcm") == set()


@pytest.fixture
def made(rt, tmp_path):
    """The CT, and the errors of its files."""
    ct = rt.write_ct(tmp_path / "ct")
    return ct, set().union(*(errors_of(path) for path in ct.source.paths))


@pytest.mark.parametrize("highest", [0.0, 70.0])
def test_a_dose(rt, made, tmp_path, highest):
    ct, before = made
    rs = rt.write_structures(tmp_path / "rs.dcm", ct, rt.structures(ct))
    dose = ct.with_data(np.linspace(0, highest, ct.data.size).reshape(ct.shape), modality="RTDOSE", unit="Gy")
    path = write_dose(dose, tmp_path / "rd.dcm", reference=ct, structures=rs)
    assert errors_of(path) - before == set()


def test_a_parametric_map(made, tmp_path):
    pytest.importorskip("highdicom")
    ct, before = made
    values = np.random.default_rng(0).uniform(0, 30, ct.shape)
    path = tmp_path / "map.dcm"
    write_parametric_map(values, path, reference=ct, quantity="expected error", algorithm=ALGORITHM)
    assert errors_of(path) - before == set()


@pytest.mark.parametrize("write_masks", [write_segmentation, write_structures])
def test_structures(made, tmp_path, write_masks):
    if write_masks is write_segmentation:
        pytest.importorskip("highdicom")
    ct, before = made
    rng = np.random.default_rng(0)
    names = ("LeftParotid", "PTV70", "Heart", "Something else")
    masks = {name: rng.random(ct.shape) < density for name, density in zip(names, (0.7, 0.3, 0.0, 0.1), strict=True)}
    path = write_masks(masks, tmp_path / "made.dcm", reference=ct, algorithm=ALGORITHM)
    assert errors_of(path) - before == set()
