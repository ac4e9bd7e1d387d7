"""Layout "dicom_rt": plans of a clinic become cases; names by a table; what does not belong together is refused."""

import shutil
import warnings

import numpy as np
import pytest
from pydicom import dcmread

from medley.data.layouts.dicom_rt import GRAY, records
from medley.data.layouts.structure_names import mirrored_pairs
from medley.data.prepare import prepare
from medley.errors import MedleyError, MedleyNotice

TABLE = "name,structure\nPTV*70*,PTV70\n*cord*,SpinalCord\nLarynx,Larynx\nz_*,\n"


@pytest.fixture(scope="module")
def made(rt, tmp_path_factory):
    """A data set of one patient, to be copied before it is changed; and the CT as read."""
    source = tmp_path_factory.mktemp("clinic")
    ct = rt.write_patient(source / "A" / "study" / "plan", "P1")
    (source / "structures.csv").write_text(TABLE)
    return source, ct


@pytest.fixture
def clinic(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "clinic")


def change(path, **elements):
    ds = dcmread(path)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


def only_case(source, **options):
    task, (case,) = records(source, **options)
    return task, case.read()


def centre(mask, spacing):
    """Mean place of a mask in mm from the middle of the grid."""
    return (np.argwhere(mask).mean(axis=0) - (np.array(mask.shape) - 1) / 2) * spacing


def test_a_case(rt, made):
    source, ct = made
    task, listed = records(source, size=40)
    (files,) = listed
    assert (files.id, files.subject, files.source) == ("P1", "P1", "A/study/plan")
    assert task.grid == (40, 40, 40)
    assert [target.name for target in task.targets] == ["dose", "segmentation"]
    assert task.target("segmentation").names == ("PTV70", "SpinalCord", "Larynx")
    assert (task.target("dose").scale, task.target("dose").within) == (GRAY, "possible_dose")
    case = files.read()
    assert case.drawn == {"segmentation": ("PTV70", "SpinalCord")}
    assert {name: (array.shape, array.dtype) for name, array in case.arrays.items()} == {
        "input": ((1, 40, 40, 40), np.int16),
        "segmentation": ((3, 40, 40, 40), np.uint8),
        "dose": ((1, 40, 40, 40), np.float32),
        "possible_dose": ((1, 40, 40, 40), np.uint8),
    }
    voxel = np.prod(case.spacing)
    ptv, cord, larynx = case.arrays["segmentation"]
    assert ptv.sum() * voxel == pytest.approx(4 / 3 * np.pi * rt.PTV[1] ** 3, rel=0.08)
    assert cord.sum() * voxel == pytest.approx(48 * 4 * 4, rel=0.25)  # mm; its corners are rounded
    assert not larynx.any()
    rows, columns = rt.BODY[1], rt.BODY[2]
    body = np.pi * rows * columns * np.prod(ct.spacing) * ct.shape[0]
    assert case.arrays["possible_dose"].sum() * voxel == pytest.approx(body, rel=0.1)
    assert case.arrays["input"].max() == 700
    assert case.arrays["input"].min() == -1000


def test_head_first_front_first_right_first(rt, made):
    """The rod of bone, the target and the cord lie where they should along (to feet, to back, to left)."""
    source, ct = made
    task, case = only_case(source, size=40)
    # Of the CT: slices from feet to head, rows from front to back, columns from right to left. The body lies in the
    # middle of the case to half a voxel.
    middle = np.array([7.5, *rt.BODY[0]])
    for mask, place in (
        (case.arrays["segmentation"][0], np.array(rt.PTV[0])),
        (case.arrays["input"][0] > 350, np.array([7.5, 15, 21])),
    ):
        expected = (place - middle) * ct.spacing * [-1, 1, 1]
        assert (np.abs(centre(mask, task.spacing) - expected) <= task.spacing).all()


def test_the_dose_is_that_of_the_file_at_its_place(rt, made):
    _, case = only_case(made[0], size=40)
    dose, region = case.arrays["dose"][0], case.arrays["possible_dose"][0] > 0
    assert not dose[~region].any()
    hottest = np.unravel_index(dose.argmax(), dose.shape)
    assert case.arrays["segmentation"][0][hottest]
    assert dose.max() == pytest.approx(70, rel=0.03)
    ptv = case.arrays["segmentation"][0] > 0
    radius = rt.PTV[1]
    r = np.linspace(0, radius, 2000)
    mean = np.trapezoid(70 * 0.5 ** (r**2 / 400) * r**2, r) / (radius**3 / 3)  # of the made dose in the ball
    assert dose[ptv].mean() == pytest.approx(mean, rel=0.03)


@pytest.mark.parametrize("orientation", [(-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, 0, -1)])
def test_the_case_depends_on_the_patient_not_on_how_the_scan_is_stored(rt, made, tmp_path, orientation):
    """A scan stored in other directions is another patient here, but everything still lies at its place in space."""
    ct = rt.write_patient(tmp_path / "clinic", "P1", orientation=orientation)
    (tmp_path / "clinic" / "structures.csv").write_text(TABLE)
    task, case = only_case(tmp_path / "clinic", size=40)
    directions = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]])  # of the case: to feet, to back, to left, in RAS
    middle = ct.affine @ [7.5, *rt.BODY[0], 1]
    place = ct.affine @ [*rt.PTV[0], 1]
    expected = directions @ (place - middle)[:3]
    found = centre(case.arrays["segmentation"][0], task.spacing)
    assert (np.abs(found - expected) <= task.spacing).all()


def test_names_without_a_row_are_listed(clinic):
    (clinic / "structures.csv").write_text("name,structure\nptv 70,PTV70\n")
    with pytest.warns(MedleyNotice, match=r"no row matches these structures .*: SpinalCord \(1\), z_helper \(1\)$"):
        records(clinic)


def test_names_with_a_row_are_not(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records(made[0])


def test_the_first_row_that_fits_counts_and_body_is_the_outline(clinic):
    (clinic / "structures.csv").write_text("name,structure\nz_*,Body\nBODY,Outer\n*cord*,\n*,PTV\n")
    task, case = only_case(clinic, size=24)
    assert task.target("segmentation").names == ("Outer", "PTV")
    assert case.drawn == {"segmentation": ("Outer", "PTV")}
    outer, ptv = case.arrays["segmentation"]
    region = case.arrays["possible_dose"][0]
    assert ptv.sum() < region.sum() < outer.sum()  # z_helper is a ball around the target


def test_another_table_may_be_given(clinic, tmp_path):
    table = tmp_path / "other.csv"
    table.write_text("name,structure\n*cord*,Cord\n*,\n")
    task, _ = records(clinic, table=table)
    assert task.target("segmentation").names == ("Cord",)


def test_no_table_tells_the_names(clinic):
    (clinic / "structures.csv").unlink()
    with pytest.raises(MedleyError, match="those drawn are: BODY, SpinalCord, ptv 70, z_helper"):
        records(clinic)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ptv,PTV\n", "has no column name and no column structure"),
        ("name,structure\nz_*,\n", "names no structure"),
        ("name,structure\nProstata\0,Prostate\n", r"structures\.csv: cannot be read as a CSV table"),
    ],
)
def test_a_table_that_is_none(clinic, text, sentence):
    (clinic / "structures.csv").write_text(text, encoding="latin-1")
    with pytest.raises(MedleyError, match=sentence):
        records(clinic)


def test_two_names_for_one_structure(clinic):
    (clinic / "structures.csv").write_text("name,structure\nptv*,PTV\nz_*,PTV\n*,\n")
    with pytest.raises(MedleyError, match="both 'ptv 70' and 'z_helper' mean PTV"):
        only_case(clinic)


def test_without_a_body_the_scan_shows_it(rt, clinic, made):
    ct = made[1]
    drawn = {name: contours for name, contours in rt.structures(ct).items() if name != "BODY"}
    rt.write_structures(clinic / "A/study/plan/RS.dcm", ct, drawn)
    task, case = only_case(clinic, size=40)
    assert task.spacing[1:] == pytest.approx((24 * 2 / 39, 28 * 2 / 39), abs=1e-3)  # all of the scan
    body = np.pi * rt.BODY[1] * rt.BODY[2] * np.prod(ct.spacing) * ct.shape[0]
    assert case.arrays["possible_dose"].sum() * np.prod(task.spacing) == pytest.approx(body, rel=0.1)


def test_a_patient_without_a_dose_has_its_structures(clinic):
    (clinic / "A/study/plan/RD.dcm").unlink()
    task, case = only_case(clinic, size=16)
    assert [target.name for target in task.targets] == ["segmentation"]
    assert sorted(case.arrays) == ["input", "segmentation"]


def test_a_patient_without_structures_has_its_dose(clinic):
    (clinic / "A/study/plan/RS.dcm").unlink()
    _, case = only_case(clinic, size=16)
    assert sorted(case.arrays) == ["dose", "input", "possible_dose"]
    assert case.arrays["dose"].max() > 50


def test_a_patient_without_any_target(clinic):
    (clinic / "A/study/plan/RD.dcm").unlink()
    (clinic / "structures.csv").write_text("name,structure\nProstate,Prostate\n*,\n")
    with pytest.raises(MedleyError, match=r"A/study/plan \(patient P1\): has no target: no RTDOSE, and none of its"):
        only_case(clinic)


def test_a_dose_grid_that_does_not_cover_the_structures(rt, clinic, made):
    affine, shape = rt.coarser(made[1])
    path = clinic / "A/study/plan/RD.dcm"
    rt.write_dose(path, np.ones((4, *shape[1:])), affine)
    with pytest.raises(MedleyError, match=r"RD\.dcm: its dose grid does not cover the scan where the dose is needed"):
        only_case(clinic, size=16)


def test_dose_is_possible_only_where_the_grid_reaches(rt, clinic, made):
    ct = made[1]
    affine, shape = rt.coarser(ct)
    path = clinic / "A/study/plan/RD.dcm"
    (clinic / "structures.csv").write_text("name,structure\nptv*,PTV\n*cord*,\nz_*,\n")
    shift = affine.copy()
    shift[:3, 3] += 3 * affine[:3, 0]  # three planes higher, below the target still: 13 of the 16 slices
    rt.write_dose(path, np.full((shape[0] - 3, *shape[1:]), 3.0), shift)
    _, case = only_case(clinic, size=40)
    region = case.arrays["possible_dose"][0].any(axis=(1, 2))
    assert 0.65 < region.mean() < 0.9
    assert region[0]
    assert not region[-1]  # the lowest slices are the last


@pytest.mark.parametrize(
    ("file", "elements", "sentence"),
    [
        ("RS.dcm", {"StructureSetROISequence": "other frame"}, r"RS\.dcm: belongs to another frame of reference"),
        ("RD.dcm", {"FrameOfReferenceUID": "1.2.3"}, r"RD\.dcm: belongs to another frame of reference \(1\.2\.3\)"),
        ("RD.dcm", {"DoseSummationType": "BEAM"}, "is the dose of a part of the treatment"),
        ("RD.dcm", {"DoseUnits": "RELATIVE"}, "DoseUnits is 'RELATIVE'"),
    ],
)
def test_files_that_do_not_belong(clinic, file, elements, sentence):
    path = clinic / "A/study/plan" / file
    if "StructureSetROISequence" in elements:
        ds = dcmread(path)
        for item in ds.StructureSetROISequence:
            item.ReferencedFrameOfReferenceUID = "1.2.3"
        elements = {"StructureSetROISequence": ds.StructureSetROISequence}
    change(path, **elements)
    with pytest.raises(MedleyError, match=sentence):
        only_case(clinic, size=16)


def test_a_study_without_a_scan_is_named(clinic):
    change(clinic / "A/study/plan/RD.dcm", StudyInstanceUID="1.2.3.4")
    with pytest.warns(MedleyNotice, match="these patients have a study without a CT, which is skipped: P1"):
        _, case = only_case(clinic, size=16)
    assert "dose" not in case.arrays


def test_a_patient_who_cannot_be_read_can_be_left_out(rt, clinic, tmp_path):
    rt.write_patient(clinic / "B", "P2")
    broken = clinic / "B" / "RS.dcm"
    contours = dcmread(broken).ROIContourSequence
    contours[0].ContourSequence[0].ContourData = [1, 2]
    change(broken, ROIContourSequence=contours)
    with pytest.raises(MedleyError, match=r"RS\.dcm"):
        prepare("dicom_rt", clinic, tmp_path / "all", size=16)
    assert [case.id for case in prepare("dicom_rt", clinic, tmp_path / "one", size=16, exclude=["B"]).records()] == [
        "P1"
    ]


def test_a_contour_outside_the_scan(rt, clinic, made):
    path = clinic / "A/study/plan/RS.dcm"
    rt.write_structures(path, made[1], {"ptv 70": rt.box((2, 3, 3), (20, 8, 8))})
    with pytest.raises(MedleyError, match="a contour of ptv 70 lies outside the scan"):
        only_case(clinic, size=16)


@pytest.mark.parametrize(("file", "what"), [("RD.dcm", "RTDOSE"), ("RS.dcm", "RTSTRUCT")])
def test_two_of_a_kind(clinic, file, what):
    path = clinic / "A/study/plan" / file
    shutil.copy(path, path.with_name(f"again-{file}"))
    with pytest.raises(MedleyError, match=f"holds 2 {what} files"):
        only_case(clinic, size=16)


def test_of_two_scans_the_one_that_was_drawn_on(rt, clinic, made, tmp_path):
    plan = clinic / "A/study/plan"

    def another(ds, k):
        rt._name(ds, "P1")
        ds.SeriesInstanceUID = "1.2.3.4"

    rt.write_ct(plan / "late", change=another)
    with pytest.raises(MedleyError, match="holds 2 CT series, and its RTSTRUCT does not tell"):
        only_case(clinic, size=16)
    series = rt._item(SeriesInstanceUID=dcmread(plan / "CT" / "001.dcm").SeriesInstanceUID)
    frame = rt._item(RTReferencedStudySequence=[rt._item(RTReferencedSeriesSequence=[series])])
    change(plan / "RS.dcm", ReferencedFrameOfReferenceSequence=[frame])
    assert only_case(clinic, size=16)[1].drawn["segmentation"] == ("PTV70", "SpinalCord")


def test_the_prescription_is_the_scale(rt, clinic):
    ds = dcmread(clinic / "A/study/plan/RD.dcm")
    ds.Modality, ds.SOPInstanceUID = "RTPLAN", "1.2.3.5"
    del ds.PixelData
    ds.DoseReferenceSequence = [rt._item(TargetPrescriptionDose=dose) for dose in (50.4, 78.0)] + [rt._item()]
    ds.save_as(clinic / "A/study/plan/RP.dcm")
    assert records(clinic)[0].target("dose").scale == 78


def test_nothing_there(tmp_path):
    with pytest.raises(MedleyError, match="holds no CT series in DICOM"):
        records(tmp_path)
    with pytest.raises(MedleyError, match="is not a folder"):
        records(tmp_path / "no")


def test_sides_that_are_mirrored():
    names = ("LeftParotid", "RightParotid", "FemoralHead_L", "FemoralHead_R", "Lens L", "LeftOnly", "Larynx", "Lens R")
    assert mirrored_pairs(names) == (
        ("LeftParotid", "RightParotid"), ("FemoralHead_L", "FemoralHead_R"), ("Lens L", "Lens R"),
    )  # fmt: skip


def test_prepared_store_of_two_studies_of_one_patient_and_another(rt, clinic, tmp_path):
    pytest.importorskip("zarr")
    rt.write_patient(clinic / "B", "P2")
    again = shutil.copytree(clinic / "A", clinic / "again")
    for path in again.rglob("*.dcm"):
        change(path, StudyInstanceUID="1.2.3.9")
    store = prepare("dicom_rt", clinic, tmp_path / "store", size=16)
    assert [case.id for case in store.records()] == ["P1", "P2", "P1-2"]
    assert [case.subject for case in store.records()] == ["P1", "P2", "P1"]
    first, _, second = store.records()
    np.testing.assert_array_equal(store.array(first, "dose")[...], store.array(second, "dose")[...])
    assert first.drawn == {"segmentation": ("PTV70", "SpinalCord")}


def test_a_given_spacing_is_kept(made):
    task, case = only_case(made[0], size=40, spacing=(6.0, 5.0, 5.0))
    assert task.spacing == case.spacing == (6.0, 5.0, 5.0)
