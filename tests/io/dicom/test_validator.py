"""dciodvfy (dicom3tools) finds no error in what medley writes that it does not find in the scan it was made from."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from medley.io.dicom.dose import write_dose
from medley.io.dicom.segmentation import write_segmentation
from medley.io.dicom.structures_write import write_structures
from medley.io.files import read, write

pytestmark = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy of dicom3tools")


def errors_of(path):
    """The elements and modules of all errors; the validator must not abort."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode >= 0, done.stderr
    return {line for line in done.stderr.splitlines() if re.search(r"^Error|Abort|Assertion", line)}


@pytest.mark.parametrize("modality", ["ct", "mr", "pet"])
def test_images(phantoms, tmp_path, modality):
    getattr(phantoms, f"write_{modality}_series")(tmp_path / "scan")
    scan = read(tmp_path / "scan")
    write(scan, tmp_path / "out", mark="medley tat-tiny strength 0.5")
    before = set().union(*(errors_of(path) for path in scan.source.paths))
    for path in (tmp_path / "out").iterdir():
        assert errors_of(path) - before == set()


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


@pytest.mark.parametrize("write_masks", [write_segmentation, write_structures])
def test_structures(made, tmp_path, write_masks):
    if write_masks is write_segmentation:
        pytest.importorskip("highdicom")
    ct, before = made
    rng = np.random.default_rng(0)
    names = ("LeftParotid", "PTV70", "Heart", "Something else")
    masks = {name: rng.random(ct.shape) < density for name, density in zip(names, (0.7, 0.3, 0.0, 0.1), strict=True)}
    path = write_masks(masks, tmp_path / "made.dcm", reference=ct, model="ctan-small")
    assert errors_of(path) - before == set()
