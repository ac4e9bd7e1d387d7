"""RTSTRUCT -> masks: the voxels whose centres lie inside, in any orientation of the scan, and what is refused."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medley.errors import MedleyError
from medley.io.dicom.contours import fill
from medley.io.dicom.structures import read_structures
from medley.io.files import read
from medley.volume import Volume

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "rows upwards": (1, 0, 0, 0, -1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": None,
}


@pytest.fixture(scope="module")
def ct(rt, tmp_path_factory):
    return rt.write_ct(tmp_path_factory.mktemp("ct"))


def masks_of(rt, path, ct, structures, **options):
    return read_structures(rt.write_structures(path, ct, structures, **options), ct)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_exactly_the_voxels_whose_centre_is_inside(rt, tmp_path, name):
    ct = rt.write_ct(tmp_path / "ct", orientation=ORIENTATIONS[name] or rt.phantoms.OBLIQUE)
    centre, radius = (7.3, 11.2, 13.4), 14.3
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"ball": rt.sphere(ct, centre, radius, points=720)})
    distance = np.linalg.norm((np.indices(ct.shape).T - centre) * ct.spacing, axis=-1).T
    unsure = np.abs(distance - radius) < 0.01  # a polygon of 720 sides lies up to 0.14 thousandths of its radius inside
    np.testing.assert_array_equal(masks["ball"][~unsure], (distance < radius)[~unsure])
    assert unsure.sum() < 5
    assert masks["ball"].sum() * np.prod(ct.spacing) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)


def test_the_order_of_the_slices_does_not_matter(rt, tmp_path):
    """The same millimetres drawn on a scan and on the one with rows, columns and slices reversed."""
    ct = rt.write_ct(tmp_path / "ct", origin=(-30, -20, 10))
    path = rt.write_structures(tmp_path / "rs.dcm", ct, {"box": rt.box((2, 3.6, 4.6), (5, 9.3, 20.2))})
    mask = read_structures(path, ct)["box"]
    flip = np.diag([-1.0, -1, -1, 1])
    flip[:3, 3] = np.array(ct.shape) - 1
    other = Volume(ct.data[::-1, ::-1, ::-1], ct.affine @ flip, ct.modality, ct.unit, ct.source)
    np.testing.assert_array_equal(read_structures(path, other)["box"], mask[::-1, ::-1, ::-1])
    assert mask.sum() == 4 * 6 * 16
    assert mask[2:6, 4:10, 5:21].all()


def test_a_contour_inside_another_is_a_hole(rt, ct, tmp_path):
    both = {k: [rt.rectangle((2.5, 3.5), (12.5, 13.5)), rt.rectangle((5.5, 6.5), (8.5, 9.5))] for k in (4, 5)}
    mask = masks_of(rt, tmp_path / "rs.dcm", ct, {"wall": both})["wall"]
    assert mask.sum() == 2 * (10 * 10 - 3 * 3)
    assert not mask[4, 6:9, 7:10].any()


def test_a_keyhole_is_a_hole_without_a_seam(rt, ct, tmp_path):
    outer, inner = rt.rectangle((2.5, 3.5), (12.5, 13.5)), rt.rectangle((5.5, 6.5), (8.5, 9.5))
    one_line = np.concatenate([outer, outer[:1], inner, inner[:1]])  # along the channel and back
    two = {4: [outer, inner]}
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"key": {4: [one_line]}, "two": two})
    np.testing.assert_array_equal(masks["key"], masks["two"])
    assert masks["key"].sum() == 91


def test_structures_that_share_an_edge_through_voxel_centres_share_no_voxel(rt, ct, tmp_path):
    sides = {name: rt.box((3, 4, low), (6, 9, high)) for name, low, high in (("a", 2, 7), ("b", 7, 12))}
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {**sides, "both": rt.box((3, 4, 2), (6, 9, 12))})
    assert not (masks["a"] & masks["b"]).any()
    np.testing.assert_array_equal(masks["a"] | masks["b"], masks["both"])


def test_even_odd_against_the_winding_of_angles():
    """Against another definition: of a simple polygon, a point inside sees its corners go round once."""
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 23))
    star = np.stack([10 + rng.uniform(2, 9, 23) * np.sin(angle), 12 + rng.uniform(2, 9, 23) * np.cos(angle)], axis=1)
    mask = fill([star], (20, 26))
    seen = star[None, None] - np.moveaxis(np.indices((20, 26)), 0, -1)[:, :, None]
    direction = np.arctan2(seen[..., 0], seen[..., 1])
    turns = np.angle(np.exp(1j * (np.roll(direction, -1, axis=-1) - direction))).sum(axis=-1) / (2 * np.pi)
    np.testing.assert_array_equal(mask, np.abs(turns) > 0.5)
    assert 50 < mask.sum() < 400


def test_polygons_that_reach_over_the_edge_of_the_image_are_cut_off():
    square = np.array([[-5.0, -5.0], [-5.0, 3.5], [2.5, 3.5], [2.5, -5.0]])
    expected = np.zeros((6, 7), bool)
    expected[:3, :4] = True
    np.testing.assert_array_equal(fill([square], (6, 7)), expected)
    np.testing.assert_array_equal(fill([square, square], (6, 7)), False)


def test_of_several_planes_the_nearest_gives_the_contours_of_a_slice(rt, ct, tmp_path):
    def at(height, low, high):
        corners = rt.rectangle(low, high)
        return np.column_stack([np.full(4, height), corners])

    heights = (2.8, 3.3, 3.7, 4.2)
    planes = [at(height, (2.5, 2.5), (6.5 + k, 6.5)) for k, height in enumerate(heights)]
    mask = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {0: planes}})["x"]
    assert mask.sum(axis=(1, 2)).tolist() == [0, 0, 0, 16, 28] + [0] * 11


def test_structures_without_closed_contours_are_listed(rt, ct, tmp_path):
    point, line = np.array([[4.0, 5.0]]), np.array([[4.0, 5.0], [6.0, 7.0]])
    given = {"iso": {3: [point]}, "wire": {3: [line], 4: [line]}, "none": {}, "box": rt.box((2, 2, 2), (4, 6, 6))}
    masks = masks_of(
        rt, tmp_path / "rs.dcm", ct, given, kinds={"iso": "POINT", "wire": "OPEN_PLANAR"}, interpreted={"box": "ORGAN"}
    )
    assert list(masks) == ["box"]
    assert len(masks) == 1
    assert masks.interpreted == {"box": "ORGAN"}
    assert masks.not_drawn == ("iso", "wire", "none")
    assert masks.ignored == {"iso": 1, "wire": 2}
    with pytest.raises(KeyError):
        masks["iso"]


@pytest.mark.parametrize(
    ("low", "high", "axis"),
    [((-1, 3, 3), (2, 8, 8), "slices -1.0"), ((2, 3, 3), (16, 8, 8), "slices 16.0"), ((2, 3, -2), (4, 8, 8), "columns"),
     ((2, 3, 3), (4, 24.6, 8), "rows 3.0 to 24.6 of 0 to 23")],
)  # fmt: skip
def test_a_contour_outside_the_scan_is_refused(rt, ct, tmp_path, low, high, axis):
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"lost": rt.box(low, high), "fine": rt.box((2, 2, 2), (4, 6, 6))})
    with pytest.raises(MedleyError, match=f"a contour of lost lies outside the scan, at {axis}"):
        masks["lost"]
    assert masks["fine"].any()


def test_a_contour_to_the_outer_edge_of_the_image_is_not_outside(rt, ct, tmp_path):
    low, high = (0, -0.5, -0.5), (15, 23.5, 27.5)
    assert masks_of(rt, tmp_path / "rs.dcm", ct, {"all": rt.box(low, high)})["all"].all()


def test_another_frame_of_reference_is_refused(rt, ct, tmp_path):
    path = rt.write_structures(tmp_path / "rs.dcm", ct, {"box": rt.box((2, 2, 2), (4, 6, 6))}, patient="P2")
    with pytest.raises(MedleyError, match=r"rs\.dcm: belongs to another frame of reference .* than the scan"):
        read_structures(path, ct)


def test_a_scan_that_is_no_dicom_is_refused(rt, ct, tmp_path):
    path = rt.write_structures(tmp_path / "rs.dcm", ct, {"box": rt.box((2, 2, 2), (4, 6, 6))})
    with pytest.raises(MedleyError, match="was not read from DICOM"):
        read_structures(path, Volume(ct.data, ct.affine, "CT", "HU"))


def test_contours_aslant_to_the_slices_are_refused(rt, ct, tmp_path):
    upright = np.array([[2.0, 4, 5], [9.0, 4, 5], [9.0, 4, 12], [2.0, 4, 12]])
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"coronal": {0: [upright]}})
    with pytest.raises(
        MedleyError, match=r"a contour of coronal does not lie in the plane of a slice, it crosses 7\.0"
    ):
        masks["coronal"]


def test_contours_on_every_second_slice_are_refused(rt, ct, tmp_path):
    square = rt.rectangle((2, 2), (6, 6))
    masks = masks_of(
        rt, tmp_path / "rs.dcm", ct,
        {"coarse": {k: [square] for k in (2, 4, 6, 8)}, "gap": {k: [square] for k in (2, 3, 4, 7, 8)}},
    )  # fmt: skip
    with pytest.raises(MedleyError, match="the contours of coarse are 2 slices apart"):
        masks["coarse"]
    assert masks["gap"].any(axis=(1, 2)).nonzero()[0].tolist() == [2, 3, 4, 7, 8]


def test_two_structures_of_one_name_are_refused_unless_only_one_is_drawn(rt, ct, tmp_path):
    def rename(ds):
        for item in ds.StructureSetROISequence:
            item.ROIName = "cord"

    drawn = rt.box((2, 2, 2), (4, 6, 6))
    assert masks_of(rt, tmp_path / "one.dcm", ct, {"a": drawn, "b": {}}, change=rename)["cord"].any()
    masks = masks_of(rt, tmp_path / "two.dcm", ct, {"a": drawn, "b": drawn}, change=rename)
    with pytest.raises(MedleyError, match="2 structures are called 'cord'"):
        masks["cord"]


def test_broken_coordinates_are_refused(rt, ct, tmp_path):
    def spoil(ds):
        ds.ROIContourSequence[0].ContourSequence[0].ContourData = [1.0, 2.0, 3.0, 4.0]

    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": rt.box((2, 2, 2), (4, 6, 6))}, change=spoil)
    with pytest.raises(MedleyError, match="a contour of x has 4 coordinates"):
        masks["x"]


def test_other_files_are_refused(rt, ct, tmp_path):
    affine, shape = rt.coarser(ct)
    dose = rt.write_dose(tmp_path / "rd.dcm", rt.dose_around(ct, affine, shape), affine)
    with pytest.raises(MedleyError, match="its modality is RTDOSE, expected an RTSTRUCT file"):
        read_structures(dose, ct)
    with pytest.raises(MedleyError, match="does not exist"):
        read_structures(tmp_path / "no.dcm", ct)


def test_a_file_of_structures_is_no_scan(rt, ct, tmp_path):
    path = rt.write_structures(tmp_path / "rs.dcm", ct, {"box": rt.box((2, 2, 2), (4, 6, 6))})
    with pytest.raises(MedleyError, match="is a set of drawn structures, not a scan; give its CT"):
        read(path)


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("offset", [-0.5, -0.499, -0.3, 0.0, 0.3, 0.499, 0.5])
def test_contours_between_slices_keep_their_volume(rt, tmp_path, name, offset):
    """Contours half way between slices once lost half of their volume."""
    ct = rt.write_ct(tmp_path / "ct", orientation=ORIENTATIONS[name] or rt.phantoms.OBLIQUE)
    square = rt.rectangle((2.5, 3.5), (8.5, 9.5))
    mask = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {k + offset: [square] for k in range(4, 10)}})["x"]
    assert mask.sum() == 6 * 36


def split_contours(ds):
    """One item of ROIContourSequence for each contour."""
    whole = ds.ROIContourSequence[0]
    ds.ROIContourSequence = [
        rt_item(ReferencedROINumber=whole.ReferencedROINumber, ContourSequence=[one]) for one in whole.ContourSequence
    ]


def rt_item(**elements):
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def repeat_contours(ds):
    ds.ROIContourSequence[0].ContourSequence = 2 * list(ds.ROIContourSequence[0].ContourSequence)


def repeat_items(ds):
    ds.ROIContourSequence = 2 * list(ds.ROIContourSequence)


@pytest.mark.parametrize("change", [split_contours, repeat_contours, repeat_items])
def test_contours_in_several_items_are_put_together_and_repeated_ones_count_once(rt, ct, tmp_path, change):
    drawn = {"x": rt.box((2, 2, 2), (5, 6, 7))}
    expected = masks_of(rt, tmp_path / "one.dcm", ct, drawn)["x"]
    assert expected.any()
    np.testing.assert_array_equal(masks_of(rt, tmp_path / "rs.dcm", ct, drawn, change=change)["x"], expected)


def test_contours_that_cancel_each_other_are_refused(rt, ct, tmp_path):
    box, shifted = rt.rectangle((2.5, 2.5), (6.5, 6.5)), rt.rectangle((2.5, 2.6), (6.5, 6.6))
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {4: [box], 5: [box, shifted]}})
    with pytest.raises(MedleyError, match="the contours of x on slice 6 cancel each other"):
        masks["x"]


@pytest.mark.parametrize("corners", [[[4.0, 5.0], [9.0, 8.0]], [[4.0, 5.0], [4.0, 9.0], [4.0, 7.0]]])
def test_contours_that_enclose_nothing_are_refused(rt, ct, tmp_path, corners):
    line = np.array(corners)
    with pytest.raises(MedleyError, match="the contours of x enclose nothing"):
        masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {4: [line]}})["x"]


def test_a_structure_smaller_than_a_voxel_gets_the_voxels_it_touches(rt, ct, tmp_path):
    small = rt.rectangle((3.6, 5.6), (4.4, 6.4)) * 0.3 + np.array([3.0, 4.6])
    mask = masks_of(rt, tmp_path / "rs.dcm", ct, {"clip": {4: [small]}})["clip"]
    assert np.argwhere(mask).tolist() == [[4, 4, 6]]


def one_number(ds):
    for sequence in (ds.StructureSetROISequence, ds.ROIContourSequence):
        for item in sequence:
            for keyword in {"ROINumber", "ReferencedROINumber"} & set(item.dir()):
                setattr(item, keyword, 7)


def no_number(ds):
    del ds.StructureSetROISequence[0].ROINumber
    del ds.ROIContourSequence[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(one_number, "'a' shares its ROINumber 7 with another"), (no_number, "'a' has no ROINumber")],
)
def test_a_structure_without_its_own_number_is_refused_when_it_is_used(rt, ct, tmp_path, change, sentence):
    masks = masks_of(
        rt,
        tmp_path / "rs.dcm",
        ct,
        {"a": rt.box((2, 2, 2), (5, 6, 7)), "b": rt.box((3, 3, 3), (5, 6, 7))},
        change=change,
    )
    assert "a" in masks
    with pytest.raises(MedleyError, match=sentence):
        masks["a"]
    if change is no_number:
        assert masks["b"].any()


def unnumbered(ds):
    del ds.ROIContourSequence[0].ReferencedROINumber


def orphaned(ds):
    ds.ROIContourSequence[0].ReferencedROINumber = 99


@pytest.mark.parametrize(
    ("change", "sentence"),
    [(unnumbered, "contours without a ReferencedROINumber"), (orphaned, "contours of ROI number 99, but no structure")],
)
def test_contours_that_belong_to_no_structure_are_refused(rt, ct, tmp_path, change, sentence):
    with pytest.raises(MedleyError, match=sentence):
        masks_of(rt, tmp_path / "rs.dcm", ct, {"a": rt.box((2, 2, 2), (5, 6, 7))}, change=change)


def test_contradicting_types_of_a_structure_are_no_type(rt, ct, tmp_path):
    def contradict(ds):
        ds.RTROIObservationsSequence.append(rt_item(ReferencedROINumber=7, RTROIInterpretedType="ORGAN"))

    drawn = {"a": rt.box((2, 2, 2), (5, 6, 7))}
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, drawn, interpreted={"a": "EXTERNAL"}, change=contradict)
    assert masks.interpreted == {"a": ""}
