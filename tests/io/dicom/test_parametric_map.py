"""Maps -> DICOM parametric map: read again they have the same values at the same places."""

import numpy as np
import pytest
from pydicom import dcmread

from medley.errors import MedleyError
from medley.io.dicom.parametric_map import write_parametric_map
from medley.io.dicom.provenance import Algorithm
from medley.io.files import read

highdicom = pytest.importorskip("highdicom")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def values(shape):
    return np.random.default_rng(0).uniform(0, 40, shape).astype(np.float32)


def by_place(array, affine):
    """{place in mm: value} of all voxels, in any order."""
    places = (np.argwhere(np.ones(array.shape, bool)) @ affine[:3, :3].T + affine[:3, 3]).round(2)
    return dict(zip(map(tuple, places.tolist()), array.ravel().tolist(), strict=True))


@pytest.mark.parametrize("oblique", [False, True])
def test_values_come_back_where_they_were(rt, tmp_path, oblique):
    ct = rt.write_ct(tmp_path / "ct", **({"orientation": rt.phantoms.OBLIQUE} if oblique else {}))
    given = values(ct.shape)
    write_parametric_map(given, tmp_path / "map.dcm", reference=ct, quantity="expected error")
    again = highdicom.imread(tmp_path / "map.dcm").get_volume()
    assert by_place(again.array.astype(np.float32), LPS @ again.affine) == by_place(given, ct.affine)


def test_frames_that_are_out_of_order(phantoms, tmp_path):
    phantoms.write_enhanced(tmp_path / "ct.dcm", phantoms.values((5, 12, 16), -100, 900), "CT", order=[3, 1, 0, 2, 4])
    ct = read(tmp_path / "ct.dcm")
    given = values(ct.shape)
    write_parametric_map(given, tmp_path / "map.dcm", reference=ct, quantity="expected error")
    again = highdicom.imread(tmp_path / "map.dcm").get_volume()
    assert by_place(again.array.astype(np.float32), LPS @ again.affine) == by_place(given, ct.affine)


def test_unit_identification_and_references(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct")
    write_parametric_map(
        values(ct.shape), tmp_path / "map.dcm", reference=ct, quantity="expected error", algorithm=Algorithm("slab")
    )
    new, image = dcmread(tmp_path / "map.dcm"), dcmread(ct.source.frames[0].path)
    assert new.Modality == "OT"
    assert (new.PatientID, new.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)
    assert new.SeriesDescription == "expected error (medley)"
    assert "Not for diagnosis" in new.ImageComments
    mapping = new.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeMeaning == "Hounsfield unit"
    assert new.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID


def test_an_existing_file_is_kept(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct")
    (tmp_path / "map.dcm").write_bytes(b"mine")
    with pytest.raises(MedleyError, match="exists already"):
        write_parametric_map(values(ct.shape), tmp_path / "map.dcm", reference=ct, quantity="expected error")
    assert (tmp_path / "map.dcm").read_bytes() == b"mine"
