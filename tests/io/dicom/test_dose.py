"""RTDOSE: Gy where the file says they are, on other grids, and written so that others find them there."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from medley import __version__
from medley.errors import MedleyError
from medley.io.dicom.dose import covered, dose_on_grid, read_dose, write_dose
from medley.io.files import read
from medley.volume import Slices, Volume


@pytest.fixture(scope="module")
def ct(rt, tmp_path_factory):
    return rt.write_ct(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def oblique(rt, tmp_path_factory):
    return rt.write_ct(tmp_path_factory.mktemp("oblique"), orientation=rt.phantoms.OBLIQUE)


def linear(affine, shape):
    """20 Gy and some for each mm along three directions of space."""
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return 20 + points @ [0.11, -0.07, 0.05]


def set_to(**elements):
    def change(ds: Dataset) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("absolute", [False, True])
def test_values_and_place(rt, ct, tmp_path, bits, absolute):
    affine, shape = rt.coarser(ct)
    gray = rt.dose_around(ct, affine, shape)
    path = rt.write_dose(tmp_path / "rd.dcm", gray, affine, bits=bits, absolute=absolute)
    dose = read_dose(path)
    np.testing.assert_allclose(dose.data, gray, atol=70 / 2**bits + 5e-6)
    np.testing.assert_allclose(dose.affine, affine, atol=1e-5)
    assert (dose.modality, dose.unit, dose.data.dtype) == ("RTDOSE", "Gy", np.float32)
    assert (dose.source.summation, dose.source.kind) == ("PLAN", "PHYSICAL")


def test_the_scaling_is_that_of_the_file(rt, ct, tmp_path):
    affine, shape = rt.coarser(ct)
    gray = rt.dose_around(ct, affine, shape)
    doubled = lambda ds: setattr(ds, "DoseGridScaling", 2 * ds.DoseGridScaling)  # noqa: E731
    once = read_dose(rt.write_dose(tmp_path / "once.dcm", gray, affine))
    twice = read_dose(rt.write_dose(tmp_path / "twice.dcm", gray, affine, change=doubled))
    np.testing.assert_allclose(twice.data, 2 * once.data, rtol=1e-6)


def test_planes_that_run_downwards_are_put_in_order(rt, ct, tmp_path):
    """Offsets that fall from 0: the first plane is the highest along the normal."""
    affine, shape = rt.coarser(ct)
    gray = rt.dose_around(ct, affine, shape)
    down = affine.copy()
    down[:3, 3] += (shape[0] - 1) * affine[:3, 0]
    falling = lambda ds: setattr(ds, "GridFrameOffsetVector", [-float(x) for x in ds.GridFrameOffsetVector])  # noqa: E731
    dose = read_dose(rt.write_dose(tmp_path / "rd.dcm", gray[::-1], down, change=falling))
    np.testing.assert_allclose(dose.affine, affine, atol=1e-5)
    np.testing.assert_allclose(dose.data, gray, atol=1e-5)


@pytest.mark.parametrize("name", ["ct", "oblique"])
def test_a_linear_dose_is_the_same_on_the_grid_of_the_scan(rt, tmp_path, request, name):
    ct = request.getfixturevalue(name)
    affine, shape = rt.coarser(ct)
    dose = read_dose(rt.write_dose(tmp_path / "rd.dcm", linear(affine, shape), affine))
    on = dose_on_grid(dose, ct)
    np.testing.assert_allclose(on.data, linear(ct.affine, ct.shape), atol=2e-5)
    np.testing.assert_array_equal(on.affine, ct.affine)
    assert (on.modality, on.unit) == ("RTDOSE", "Gy")


def test_a_dose_on_its_own_grid_stays(rt, ct):
    dose = Volume(np.random.default_rng(0).random(ct.shape), ct.affine, "RTDOSE", "Gy")
    np.testing.assert_allclose(dose_on_grid(dose, ct).data, dose.data, atol=1e-6)


def test_a_grid_that_does_not_cover_the_scan_is_refused_only_where_it_is_needed(rt, ct, tmp_path):
    affine, shape = rt.coarser(ct, margin=0)
    affine[:3, 3] += 3 * affine[:3, 0]  # begins six slices higher
    shape = (shape[0] - 3, *shape[1:])
    dose = read_dose(rt.write_dose(tmp_path / "rd.dcm", np.full(shape, 50.0), affine))
    there = covered(dose, ct)
    assert there.any(axis=(1, 2)).nonzero()[0].tolist() == list(range(5, 16))
    with pytest.raises(
        MedleyError, match=r"rd\.dcm: its dose grid does not cover .*: 3360 of 10752 voxels lie outside"
    ):
        dose_on_grid(dose, ct)
    within = np.zeros(ct.shape, bool)
    within[5:] = True
    on = dose_on_grid(dose, ct, within=within & there).data
    np.testing.assert_allclose(on[5:][there[5:]], 50, rtol=1e-6)
    assert not on[:5].any()


def test_another_frame_of_reference_is_refused(rt, ct, tmp_path):
    affine, shape = rt.coarser(ct)
    dose = read_dose(rt.write_dose(tmp_path / "rd.dcm", np.ones(shape), affine, patient="P2"))
    with pytest.raises(MedleyError, match=r"rd\.dcm: belongs to another frame of reference"):
        dose_on_grid(dose, ct)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DoseUnits": "RELATIVE"}, "DoseUnits is 'RELATIVE', expected GY"),
        ({"DoseType": "ERROR"}, "DoseType is ERROR"),
        ({"DoseGridScaling": None}, "holds no dose grid"),
        ({"PixelData": None}, "holds no dose grid"),
        ({"DoseGridScaling": 0.0}, "DoseGridScaling is 0"),
        ({"Modality": "CT"}, "its modality is CT, expected an RTDOSE file"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient is missing"),
        ({"GridFrameOffsetVector": [0.0, 6.0]}, "GridFrameOffsetVector has 2 values for 4 planes"),
        ({"GridFrameOffsetVector": [0.0, 6.0, 12.0, 20.0]}, "unevenly spaced"),
        ({"GridFrameOffsetVector": [0.0, 6.0, 12.0, 24.0]}, "slices are missing between"),
        ({"GridFrameOffsetVector": [7.0, 13.0, 19.0, 25.0]}, "GridFrameOffsetVector begins with 7"),
        ({"PixelData": b"12345678"}, "its dose cannot be decoded"),
    ],
)
def test_invalid_input_is_refused(rt, ct, tmp_path, changes, sentence):
    affine, _ = rt.coarser(ct)
    path = rt.write_dose(tmp_path / "rd.dcm", np.ones((4, 5, 6)), affine, change=set_to(**changes))
    with pytest.raises(MedleyError, match=sentence):
        read_dose(path)


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_rle.dcm", "rtdose_expb.dcm"])
def test_files_of_others(tmp_path, name):
    """pydicom's example, a dose in percent; here as if it were in Gy."""
    ds = dcmread(get_testdata_file(name, download=False))
    ds.DoseUnits = "GY"
    ds.save_as(tmp_path / name)
    dose = read_dose(tmp_path / name)
    np.testing.assert_allclose(dose.data, ds.pixel_array * float(ds.DoseGridScaling), rtol=1e-6)
    np.testing.assert_allclose(dose.affine[:3, 3], np.diag([-1.0, -1, 1]) @ ds.ImagePositionPatient)
    assert dose.spacing[0] == pytest.approx(ds.GridFrameOffsetVector[1] - ds.GridFrameOffsetVector[0])


def test_a_file_without_a_preamble(rt, ct, tmp_path):
    affine, shape = rt.coarser(ct)
    path = rt.write_dose(tmp_path / "rd.dcm", rt.dose_around(ct, affine, shape), affine)
    ds = dcmread(path)
    bare = Dataset()
    bare.update(ds)
    bare.save_as(tmp_path / "bare.dcm", implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_dose(tmp_path / "bare.dcm").data, read_dose(path).data)


def test_no_file_and_no_dicom(tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"something else")
    for name, sentence in (("no.dcm", "does not exist"), ("x.dcm", "is not a DICOM file")):
        with pytest.raises(MedleyError, match=sentence):
            read_dose(tmp_path / name)


def test_a_dose_is_no_scan(rt, ct, tmp_path):
    affine, _ = rt.coarser(ct)
    path = rt.write_dose(tmp_path / "rd.dcm", np.ones((4, 5, 6)), affine)
    with pytest.raises(MedleyError, match="is a radiotherapy dose, not a scan; give its CT"):
        read(path)


@pytest.mark.parametrize("name", ["ct", "oblique"])
def test_written_and_read_again(rt, tmp_path, request, name):
    ct = request.getfixturevalue(name)
    affine, shape = rt.coarser(ct)
    gray = rt.dose_around(ct, affine, shape).astype(np.float32)
    made = Volume(Slices(shape, lambda: iter(gray)), affine, "RTDOSE", "Gy")
    assert write_dose(made, tmp_path / "rd.dcm", reference=ct) == tmp_path / "rd.dcm"
    again = read_dose(tmp_path / "rd.dcm")
    assert np.abs(again.data - gray.astype(np.float64)).max() <= gray.max() / 65535 / 2 * (1 + 1e-3)
    np.testing.assert_allclose(again.affine, affine, atol=1e-9)


def test_slices_that_run_against_their_normal_are_turned(ct, tmp_path):
    gray = np.arange(ct.data.size, dtype=np.float32).reshape(ct.shape) / 300
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = ct.shape[0] - 1
    write_dose(Volume(gray[::-1], ct.affine @ flip, "RTDOSE", "Gy"), tmp_path / "rd.dcm", reference=ct)
    again = read_dose(tmp_path / "rd.dcm")
    np.testing.assert_allclose(again.affine, ct.affine, atol=1e-9)
    np.testing.assert_allclose(again.data, gray, atol=gray.max() / 65535)
    assert dcmread(tmp_path / "rd.dcm").GridFrameOffsetVector[1] > 0


def test_simpleitk_finds_the_dose_at_the_same_place(ct, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    gray = np.random.default_rng(1).random(ct.shape) * 70
    write_dose(Volume(gray, ct.affine, "RTDOSE", "Gy"), tmp_path / "rd.dcm", reference=ct)
    image = sitk.ReadImage(str(tmp_path / "rd.dcm"))
    np.testing.assert_allclose(image.GetOrigin(), np.diag([-1, -1, 1]) @ ct.affine[:3, 3], atol=1e-6)
    np.testing.assert_allclose(image.GetSpacing(), ct.spacing[::-1], atol=1e-6)
    scaled = sitk.GetArrayFromImage(image).astype(np.float64) * float(image.GetMetaData("3004|000e"))
    np.testing.assert_allclose(scaled, gray, atol=70 / 65535)


@pytest.mark.parametrize("highest", [0.0, 1e-5, 0.3, 71.7, 30000.0])
def test_the_step_follows_the_highest_dose(ct, tmp_path, highest):
    gray = np.linspace(0, highest, ct.data.size).reshape(ct.shape)
    write_dose(Volume(gray, ct.affine, "RTDOSE", "Gy"), tmp_path / "rd.dcm", reference=ct)
    again = read_dose(tmp_path / "rd.dcm").data
    np.testing.assert_allclose(again, gray, rtol=1e-6, atol=highest / 65535 / 2 * (1 + 1e-3))


def test_an_rtstruct_can_be_referred_to(rt, ct, tmp_path):
    rt.write_structures(tmp_path / "rs.dcm", ct, {"box": rt.box((2, 2, 2), (4, 6, 6))})
    dose = Volume(np.ones(ct.shape), ct.affine, "RTDOSE", "Gy")
    write_dose(dose, tmp_path / "rd.dcm", reference=ct, structures=tmp_path / "rs.dcm")
    (item,) = dcmread(tmp_path / "rd.dcm").PlanOverviewSequence[0].ReferencedStructureSetSequence
    assert item.ReferencedSOPInstanceUID == dcmread(tmp_path / "rs.dcm").SOPInstanceUID


def test_identification_and_references(ct, tmp_path):
    dose = Volume(np.ones(ct.shape), ct.affine, "RTDOSE", "Gy")
    for name in ("one.dcm", "two.dcm"):
        write_dose(dose, tmp_path / name, reference=ct, description="x" * 80, mark="ctan-small")
    one, two, image = (dcmread(path) for path in (tmp_path / "one.dcm", tmp_path / "two.dcm", ct.source.frames[0].path))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert one[keyword].value == image[keyword].value, keyword
    assert len({one.SOPInstanceUID, two.SOPInstanceUID}) == len({one.SeriesInstanceUID, two.SeriesInstanceUID}) == 2
    assert (one.DoseUnits, one.DoseType, one.DoseSummationType) == ("GY", "PHYSICAL", "PLAN_OVERVIEW")
    assert (one.BitsAllocated, one.Manufacturer, one.SoftwareVersions) == (16, "medley", __version__)
    assert len(one.SeriesDescription) == 64
    assert one.SeriesDescription.endswith("x (ctan-small)")
    assert "Not for clinical use" in one.DoseComment
    (overview,) = one.PlanOverviewSequence
    referenced = {item.ReferencedSOPInstanceUID for item in overview.ReferencedImageSequence}
    assert referenced == {dcmread(frame.path).SOPInstanceUID for frame in ct.source.frames}


def test_the_elements_that_the_standard_requires_are_present(ct, tmp_path):
    """By the tables of PS3.3 that highdicom carries; type 1 must have a value, type 2 may be empty."""
    highdicom = find_spec("highdicom")
    if highdicom is None:
        pytest.skip("highdicom carries the tables of the standard")
    tables = json.loads((Path(highdicom.origin).parent / "_standard" / "module_attribute_map.json").read_text())
    write_dose(Volume(np.ones(ct.shape), ct.affine, "RTDOSE", "Gy"), tmp_path / "rd.dcm", reference=ct)
    new = dcmread(tmp_path / "rd.dcm")
    for module in (
        "patient", "general-study", "rt-series", "frame-of-reference", "general-equipment", "image-plane",
        "multi-frame", "image-pixel", "rt-dose", "sop-common",
    ):  # fmt: skip
        for path, item in (([], new), (["PlanOverviewSequence"], new.PlanOverviewSequence[0])):
            of_item = [one for one in tables[module] if one["path"] == path]
            needed = [one["keyword"] for one in of_item if one["type"] in ("1", "2")]
            assert [keyword for keyword in needed if keyword not in item] == [], module
            filled = [one["keyword"] for one in of_item if one["type"] == "1"]
            assert [keyword for keyword in filled if item[keyword].value in (None, "")] == [], module


def test_refusals_when_writing_leave_nothing(ct, tmp_path):
    path = tmp_path / "out" / "rd.dcm"
    for gray, reference, sentence in (
        (np.full(ct.shape, -0.5), ct, "goes down to -0.5 Gy"),
        (np.full(ct.shape, np.nan), ct, "holds NaN"),
        (np.ones(ct.shape), Volume(ct.data, ct.affine, "CT", "HU"), "was not read from DICOM"),
    ):
        with pytest.raises(MedleyError, match=sentence):
            write_dose(Volume(gray, ct.affine, "RTDOSE", "Gy"), path, reference=reference)
    assert not path.parent.exists()
    with pytest.raises(ValueError, match="a dose is in Gy"):
        write_dose(Volume(np.ones(ct.shape), ct.affine, "CT", "HU"), path, reference=ct)


def test_an_existing_file_is_replaced_only_with_overwrite(ct, tmp_path):
    dose = Volume(np.ones(ct.shape), ct.affine, "RTDOSE", "Gy")
    write_dose(dose, tmp_path / "rd.dcm", reference=ct)
    before = (tmp_path / "rd.dcm").read_bytes()
    with pytest.raises(MedleyError, match="exists already"):
        write_dose(dose, tmp_path / "rd.dcm", reference=ct)
    assert (tmp_path / "rd.dcm").read_bytes() == before
    write_dose(dose, tmp_path / "rd.dcm", reference=ct, overwrite=True)
    assert (tmp_path / "rd.dcm").read_bytes() != before


def test_a_scan_without_a_frame_of_reference_is_refused(rt, phantoms, tmp_path):
    phantoms.write_ct_series(tmp_path / "ct", change=lambda ds, k: delattr(ds, "FrameOfReferenceUID"))
    ct = read(tmp_path / "ct")
    with pytest.raises(
        MedleyError, match=r"has no FrameOfReferenceUID, so it is unknown whether .*rd\.dcm belongs to it"
    ):
        write_dose(Volume(np.ones(ct.shape), ct.affine, "RTDOSE", "Gy"), tmp_path / "rd.dcm", reference=ct)


@pytest.mark.parametrize("scaling", ["1e300", "1e30", "1e20", "-1e300"])
def test_doses_that_are_impossible_after_scaling_are_refused(tmp_path, rt, scaling):
    def scale(ds):
        ds.DoseGridScaling = scaling

    path = rt.write_dose(tmp_path / "rd.dcm", np.ones((3, 4, 5)), np.diag([3.0, 2, 2, 1]), change=scale)
    with pytest.raises(MedleyError, match=r"rd\.dcm: (its dose holds|DoseGridScaling)"):
        read_dose(path)


def test_a_compressed_dose_is_read_as_the_plain_one(tmp_path, rt):
    gray = np.linspace(0, 70, 60).reshape(3, 4, 5)
    plain = rt.write_dose(tmp_path / "plain.dcm", gray, np.diag([3.0, 2, 2, 1]), bits=16)
    dataset = dcmread(plain)
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "packed.dcm")
    np.testing.assert_array_equal(read_dose(tmp_path / "packed.dcm").data, read_dose(plain).data)
