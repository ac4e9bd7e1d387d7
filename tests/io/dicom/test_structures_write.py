"""Masks -> RTSTRUCT: read again they are the same masks, in any orientation, and the file refers to the scan."""

import os
import stat

import numpy as np
import pytest
from pydicom import dcmread

from medley.errors import MedleyError
from medley.io.dicom.provenance import Algorithm
from medley.io.dicom.structures import read_structures
from medley.io.dicom.structures_write import write_structures
from medley.io.files import read


@pytest.fixture(scope="module")
def ct(rt, tmp_path_factory):
    return rt.write_ct(tmp_path_factory.mktemp("ct"))


def ball_with_a_hole(shape):
    slices, rows, columns = np.indices(shape)
    distance = ((slices - 8) * 1.4) ** 2 + (rows - 11) ** 2 + (columns - 13) ** 2
    return (distance < 80) & (distance > 25) | (distance < 4)  # with an island inside of the hole


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, 0, -1), "oblique"])
def test_masks_come_back_exactly(rt, tmp_path, orientation):
    plane = rt.phantoms.OBLIQUE if orientation == "oblique" else orientation
    ct = rt.write_ct(tmp_path / "ct", orientation=plane)
    rng = np.random.default_rng(4)
    masks = {f"noise {density}": rng.random(ct.shape) < density for density in (0.001, 0.1, 0.5, 0.9)}
    masks |= {"everything": np.ones(ct.shape, bool), "hole": ball_with_a_hole(ct.shape)}
    masks["one slice"] = np.zeros(ct.shape, bool)
    masks["one slice"][15, 3:5, 4] = True
    masks = {name: mask & spread_over_slices(mask) for name, mask in masks.items()}
    path = write_structures(masks, tmp_path / "rs.dcm", reference=ct)
    again = read_structures(path, ct)
    assert list(again) == list(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(again[name], mask, err_msg=name)


def spread_over_slices(mask):
    """Slices of which no neighbour is empty, since widely separated slices are refused as a coarse drawing."""
    used = mask.any(axis=(1, 2))
    return (used & (np.convolve(used, [1, 1, 1], "same") > 1) | (used.sum() < 3))[:, None, None]


def test_masks_of_a_multi_frame_scan(phantoms, tmp_path):
    phantoms.write_enhanced(tmp_path / "ct.dcm", phantoms.values((5, 12, 16), -100, 900), "CT", order=[3, 1, 0, 2, 4])
    ct = read(tmp_path / "ct.dcm")
    mask = np.random.default_rng(0).random(ct.shape) < 0.4
    again = read_structures(write_structures({"Heart": mask}, tmp_path / "rs.dcm", reference=ct), ct)
    np.testing.assert_array_equal(again["Heart"], mask)
    contours = dcmread(tmp_path / "rs.dcm").ROIContourSequence[0].ContourSequence
    assert {one.ContourImageSequence[0].ReferencedFrameNumber for one in contours} == {1, 2, 3, 4, 5}


def test_identification_and_references(ct, tmp_path):
    mask = ball_with_a_hole(ct.shape)
    write_structures(
        {"LeftParotid": mask, "PTV70": mask}, tmp_path / "rs.dcm", reference=ct, algorithm=Algorithm("ctan-small")
    )
    new, image = dcmread(tmp_path / "rs.dcm"), dcmread(ct.source.frames[0].path)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert new[keyword].value == image[keyword].value, keyword
    assert "Not for diagnosis" in new.StructureSetDescription
    assert new.ApprovalStatus == "UNAPPROVED"
    series = new.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    images = {dcmread(frame.path).SOPInstanceUID for frame in ct.source.frames}
    assert {one.ReferencedSOPInstanceUID for one in series.ContourImageSequence} == images
    assert [one.ROIName for one in new.StructureSetROISequence] == ["LeftParotid", "PTV70"]
    assert [one.RTROIInterpretedType for one in new.RTROIObservationsSequence] == ["ORGAN", "PTV"]
    kinds = {one.ContourGeometricType for roi in new.ROIContourSequence for one in roi.ContourSequence}
    assert kinds == {"CLOSED_PLANAR"}


def test_empty_masks_are_omitted_and_refusals_leave_nothing(ct, tmp_path):
    mask = ball_with_a_hole(ct.shape)
    write_structures({"A": mask & False, "B": mask}, tmp_path / "rs.dcm", reference=ct)
    assert list(read_structures(tmp_path / "rs.dcm", ct)) == ["B"]
    with pytest.raises(MedleyError, match="exists already"):
        write_structures({"B": mask}, tmp_path / "rs.dcm", reference=ct)
    with pytest.raises(MedleyError, match="all structures are empty"):
        write_structures({"A": mask & False}, tmp_path / "none.dcm", reference=ct)
    with pytest.raises(MedleyError, match="was not read from DICOM"):
        write_structures({"B": mask}, tmp_path / "none.dcm", reference=ct.with_data(ct.data, source=None))
    with pytest.raises(ValueError, match="B: a mask of the scan is bool"):
        write_structures({"B": mask[1:]}, tmp_path / "none.dcm", reference=ct)
    assert [one.name for one in tmp_path.iterdir()] == ["rs.dcm"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_has_at_most_the_permissions_of_the_scan(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct")
    for file in ct.source.paths:
        file.chmod(0o600)
    write_structures({"B": ball_with_a_hole(ct.shape)}, tmp_path / "rs.dcm", reference=ct)
    assert stat.S_IMODE((tmp_path / "rs.dcm").stat().st_mode) == 0o600
