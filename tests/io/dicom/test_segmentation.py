"""Masks -> DICOM SEG: read again by highdicom they lie where they lay, and are called what they are."""

import sys

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.sr.codedict import codes

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.provenance import Algorithm
from medley.io.dicom.segmentation import write_segmentation
from medley.io.dicom.structure_codes import ORGANS, TARGETS, structure_codes
from medley.io.files import read

highdicom = pytest.importorskip("highdicom")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NAMES = ("Brainstem", "SpinalCord", "RightParotid", "PTV70", "Odd thing")


def masks(shape, names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) > 0.7 for name in names}


def in_space(mask, affine):
    """The places in mm of the voxels of a mask, in any order."""
    return {tuple(point) for point in (np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]).round(2).tolist()}


@pytest.mark.parametrize("oblique", [False, True])
def test_masks_come_back_where_they_were(rt, tmp_path, oblique):
    ct = rt.write_ct(tmp_path / "ct", **({"orientation": rt.phantoms.OBLIQUE} if oblique else {}))
    given = masks(ct.shape)
    assert write_segmentation(given, tmp_path / "seg.dcm", reference=ct) == tmp_path / "seg.dcm"
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    again = seg.get_volume()
    assert [seg.get_segment_description(k + 1).segment_label for k in range(5)] == list(NAMES)
    for k, name in enumerate(NAMES):
        place = in_space(again.array[..., k], LPS @ again.affine)
        assert place == in_space(given[name], ct.affine), name


def test_masks_of_a_multi_frame_scan_whose_frames_are_out_of_order(phantoms, tmp_path):
    values = phantoms.values((5, 12, 16), -100, 900)
    phantoms.write_enhanced(tmp_path / "ct.dcm", values, "CT", order=[3, 1, 0, 2, 4])
    ct = read(tmp_path / "ct.dcm")
    given = masks(ct.shape, ("Heart",))
    write_segmentation(given, tmp_path / "seg.dcm", reference=ct)
    again = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume()
    assert in_space(again.array[..., 0], LPS @ again.affine) == in_space(given["Heart"], ct.affine)


def test_identification_and_references(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct")
    write_segmentation(masks(ct.shape), tmp_path / "seg.dcm", reference=ct, algorithm=Algorithm("ctan-small"))
    new, image = dcmread(tmp_path / "seg.dcm"), dcmread(ct.source.frames[0].path)
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert new[keyword].value == image[keyword].value, keyword
    assert new.SeriesInstanceUID != image.SeriesInstanceUID
    assert (new.Manufacturer, new.SoftwareVersions) == ("medley", __version__)
    assert new.SeriesDescription == "predicted structures (medley)"
    assert "Not for diagnosis" in new.ContentDescription
    assert new.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    referenced = {one.ReferencedSOPInstanceUID for one in new.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == {dcmread(frame.path).SOPInstanceUID for frame in ct.source.frames}
    brainstem, _, parotid, target, odd = new.SegmentSequence
    assert (brainstem.SegmentAlgorithmType, brainstem.SegmentAlgorithmName) == ("AUTOMATIC", "medley ctan-small")
    side = parotid.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Right"
    assert target.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "RT Target"
    assert odd.SegmentLabel == "Odd thing"


def test_names_in_any_script(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct", patient="山田")
    write_segmentation(masks(ct.shape, ("Herz",)), tmp_path / "seg.dcm", reference=ct)
    assert str(dcmread(tmp_path / "seg.dcm").PatientName) == "Phantom^山田"


def test_empty_masks_are_omitted(rt, tmp_path):
    ct = rt.write_ct(tmp_path / "ct")
    given = masks(ct.shape, ("Liver", "Heart", "Lung"))
    given["Liver"][:] = False
    write_segmentation(given, tmp_path / "two.dcm", reference=ct)
    new = dcmread(tmp_path / "two.dcm")
    assert [(one.SegmentNumber, one.SegmentLabel) for one in new.SegmentSequence] == [(1, "Heart"), (2, "Lung")]
    for mask in given.values():
        mask[:] = False
    with pytest.raises(MedleyError, match="all structures are empty, so there is nothing to write"):
        write_segmentation(given, tmp_path / "none.dcm", reference=ct)
    assert not (tmp_path / "none.dcm").exists()


@pytest.mark.parametrize(
    ("name", "meaning", "side"),
    [
        ("Brainstem", "Brain stem", None),
        ("BRAINSTEM", "Brain stem", None),
        ("SpinalCord", "Spinal cord", None),
        ("spinal cord", "Spinal cord", None),
        ("RightParotid", "Parotid gland", "Right"),
        ("Parotid_L", "Parotid gland", "Left"),
        ("parotids", "Parotid gland", None),
        ("Esophagus", "Esophagus", None),
        ("Larynx", "Larynx", None),
        ("Mandible", "Mandible", None),
        ("PTV56", "PTV", None),
        ("ctv boost", "CTV", None),
        ("FemoralHead_R", "Femoral head", "Right"),
        ("Rt Lung", "Lung", "Right"),
        ("Rectum", "Rectum", None),
        ("Seminal_Vesicle", "Seminal Vesicle", None),
        ("Left thing", "Anatomical Structure", "Left"),
        ("?", "Anatomical Structure", None),
    ],
)
def test_what_a_name_is_coded_as(name, meaning, side):
    category, kind, found = structure_codes(name)
    assert kind.meaning == meaning
    assert (found.meaning if found else None) == side
    assert category.meaning == ("RT Target" if kind in TARGETS.values() else "Anatomical Structure")


def test_the_codes_are_those_of_the_standard():
    """Against the tables of PS3.16 that pydicom carries."""
    known = [codes.cid7140, codes.cid7151, codes.cid9514, codes.cid9534]
    for code in [*ORGANS.values(), *TARGETS.values()]:
        assert code == codes.cid8134.FemoralHead or any(code in group for group in known), code


def test_refusals(rt, ct_folder, tmp_path):
    ct = ct_folder
    given = masks(ct.shape)
    with pytest.raises(ValueError, match="Brainstem: a mask of the scan is bool"):
        write_segmentation({"Brainstem": given["Brainstem"][:-1]}, tmp_path / "seg.dcm", reference=ct)
    with pytest.raises(ValueError, match="it is uint8"):
        write_segmentation({"Brainstem": given["Brainstem"].astype("u1")}, tmp_path / "seg.dcm", reference=ct)
    in_memory = ct.with_data(ct.data, source=None)
    with pytest.raises(MedleyError, match="was not read from DICOM"):
        write_segmentation(given, tmp_path / "seg.dcm", reference=in_memory)
    assert list(tmp_path.iterdir()) == []
    write_segmentation(given, tmp_path / "seg.dcm", reference=ct)
    with pytest.raises(MedleyError, match="exists already"):
        write_segmentation(given, tmp_path / "seg.dcm", reference=ct)
    write_segmentation(given, tmp_path / "seg.dcm", reference=ct, overwrite=True)
    with pytest.raises(MedleyError, match="is a segmentation, not a scan"):
        read(tmp_path / "seg.dcm")


@pytest.fixture
def ct_folder(rt, tmp_path_factory):
    return rt.write_ct(tmp_path_factory.mktemp("ct"))


def test_without_highdicom_the_extra_is_named(ct_folder, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "highdicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MedleyError, match=r'pip install "\.\[radiotherapy\]"'):
        write_segmentation(masks(ct_folder.shape), tmp_path / "seg.dcm", reference=ct_folder)
