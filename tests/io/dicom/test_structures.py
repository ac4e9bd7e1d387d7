"""RTSTRUCT -> masks: the voxels whose centres lie inside, in any orientation of the scan, and what is refused."""

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.dicom.structures import fill, read_structures
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


def test_contours_between_slices_go_to_the_nearest_and_the_nearest_plane_counts(rt, ct, tmp_path):
    def at(height, low, high):
        corners = rt.rectangle(low, high)
        return np.column_stack([np.full(4, height), corners])

    planes = [at(3.3, (2.5, 2.5), (6.5, 6.5)), at(3.0 + 0.45, (1.5, 1.5), (9.5, 9.5)), at(4.2, (2.5, 2.5), (7.5, 7.5))]
    mask = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {0: planes}})["x"]
    assert mask.sum(axis=(1, 2)).tolist() == [0, 0, 0, 16, 25] + [0] * 11


def test_what_is_not_drawn_or_not_closed_is_told(rt, ct, tmp_path):
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


def test_a_contour_of_two_points_encloses_nothing(rt, ct, tmp_path):
    masks = masks_of(rt, tmp_path / "rs.dcm", ct, {"x": {3: [np.array([[4.0, 5.0], [9.0, 8.0]])]}})
    assert not masks["x"].any()


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
    with pytest.raises(MedleyError, match="is a set of drawn structures, no scan; give its CT"):
        read(path)
