"""Plausibility of geometry and values: limits, NaN, and casts that overflow."""

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.io.plausible import as_float32, check_grid, check_spacing


def affine(spacing=(2.5, 0.8, 0.7), origin=(0, 0, 0)):
    result = np.diag([*spacing, 1.0])
    result[:3, 3] = origin
    return result


@pytest.mark.parametrize("spacing", [(2.5, 0.8, 0.7), (1e-3, 1e-3, 1e-3), (1e3, 1, 1), (-2.5, 0.8, -0.7)])
def test_grids_of_scans_and_of_slides_are_accepted(spacing):
    check_grid(affine(spacing, (-500, 300, 1e5)), "a.nii")


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("length", [0.0, 1e-30, 9e-4, 1001.0, 1e34, 1e300, np.inf, np.nan])
def test_impossible_spacings_are_refused_along_every_axis(axis, length):
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = length
    with pytest.raises(MedleyError, match=r"^a\.nii: its voxels measure"):
        check_grid(affine(spacing), "a.nii")


@pytest.mark.parametrize("place", [1e7, -1e30, 1e308, np.inf, -np.inf, np.nan])
def test_impossible_positions_are_refused(place):
    with pytest.raises(MedleyError, match=r"^a\.nii: its first voxel is at"):
        check_grid(affine(origin=(0, place, 0)), "a.nii")


def test_axes_that_are_not_at_right_angles_are_refused():
    sheared = affine()
    sheared[0, 1] = 0.5
    with pytest.raises(MedleyError, match="right angles"):
        check_grid(sheared, "a.nii")


@pytest.mark.parametrize("length", [0.0, -1.0, 1e-30, 1e300, np.inf, np.nan])
def test_a_length_of_a_header_is_named_with_its_field(length):
    check_spacing((0.5, 2), "PixelSpacing", "a.dcm")
    with pytest.raises(MedleyError, match=r"^a\.dcm: SliceThickness is .* mm; expected 0\.001 to 1000 mm$"):
        check_spacing(length, "SliceThickness", "a.dcm")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4", "i8", "f2", "f4", "f8"])
def test_ordinary_values_of_every_type_keep_their_value(dtype):
    values = np.arange(120).astype(dtype)
    cast = as_float32(values, "a.nii")
    assert cast.dtype == np.float32
    np.testing.assert_array_equal(cast, np.arange(120))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e39, 1e13, -1e13])
@pytest.mark.parametrize("place", [0, 57, -1])
def test_values_that_are_not_finite_or_absurd_after_the_cast_are_refused(bad, place):
    values = np.zeros(100)
    values[place] = bad
    with pytest.raises(MedleyError, match=r"^a\.nii: slice 3 holds"):
        as_float32(values, "a.nii: slice 3")


def test_both_infinities_at_once_are_refused():
    with pytest.raises(MedleyError, match="NaN or infinite"):
        as_float32(np.array([np.inf, -np.inf]), "a.nii")
