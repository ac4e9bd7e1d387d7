import numpy as np
import pytest

from medley.geometry.resampling import averaged, mask_on_grid, resample, to_size


def random(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def test_halving_is_the_mean_of_blocks():
    array = random(2, 6, 8, 10)
    blocks = array.reshape(2, 3, 2, 4, 2, 5, 2).mean((2, 4, 6))
    np.testing.assert_allclose(to_size(array, (3, 4, 5)), blocks, rtol=1e-13)


@pytest.mark.parametrize("shape", [(3, 7), (4, 4), (5, 11), (1, 1)])
def test_the_mean_keeps_the_mean_whatever_the_ratio(shape):
    array = random(7, 11)
    assert to_size(array, shape).mean() == pytest.approx(array.mean(), rel=1e-12)


def test_a_part_of_a_pixel_counts_by_its_part():
    np.testing.assert_allclose(to_size(np.array([0.0, 6.0, 12.0]), (2,)), [(0 + 3) / 1.5, (3 + 12) / 1.5])


@pytest.mark.parametrize("kind", ["mean", "linear"])
def test_the_same_size_is_the_same_array_and_a_constant_stays_one(kind):
    array = random(3, 5, 4)
    np.testing.assert_array_equal(to_size(array, (5, 4), kind), array)
    np.testing.assert_allclose(to_size(np.full((6, 9), 7.5), (4, 13), kind), 7.5)


def test_a_line_stays_a_line_between_the_outermost_centres():
    finer = to_size(np.arange(5.0), (15,))
    np.testing.assert_allclose(finer[1:-1], (np.arange(1, 14) + 0.5) / 3 - 0.5)
    assert (finer[0], finer[-1]) == (0, 4)
    np.testing.assert_allclose(to_size(np.arange(10.0), (5,), "linear"), [0.5, 2.5, 4.5, 6.5, 8.5])


def test_axes_of_channels_are_left_alone():
    array = random(4, 6, 6)
    together = to_size(array, (3, 4))
    np.testing.assert_allclose(together, [to_size(one, (3, 4)) for one in array])
    with pytest.raises(ValueError, match="cannot get the spatial shape"):
        to_size(array, (2, 2, 2, 2))


def test_a_grid_laid_over_itself_is_the_same():
    array = random(5, 6, 7).astype(np.float32)
    turned = np.array([[0.1, -2, 0, 5], [0, 0.1, -1.5, 3], [3, 0, 0.2, -40], [0, 0, 0, 1]])
    np.testing.assert_allclose(resample(array, turned, turned, array.shape), array, rtol=1e-5)
    mask = array > 0.5
    again = resample(mask, turned, turned, array.shape, 0, outside=False)
    assert again.dtype == bool
    np.testing.assert_array_equal(again, mask)


def test_a_field_that_is_linear_in_mm_is_found_again_on_any_grid():
    slope = np.array([0.3, -0.7, 0.2])

    def field(affine, shape):
        index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
        return np.tensordot(slope, np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1), 1)

    affine = np.diag([3.0, 2.0, 1.0, 1.0])
    tilt = np.radians(10)
    new = np.eye(4)
    new[:3, :3] = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 0.8]])
    new[:3, 3] = 5, 4, 3
    got = resample(field(affine, (10, 12, 20)), affine, new, (6, 7, 8))
    np.testing.assert_allclose(got, field(new, (6, 7, 8)), atol=1e-4)


def test_beyond_half_a_voxel_lies_nothing():
    array = np.ones((1, 1, 4), np.float32)
    new = np.eye(4)
    new[2, 2], new[2, 3] = 0.25, -1  # columns at -1, -0.75, -0.5 ... in voxels of the array
    got = resample(array, np.eye(4), new, (1, 1, 22), outside=-5)[0, 0]
    where = -1 + 0.25 * np.arange(22)
    np.testing.assert_array_equal(got, np.where((where >= -0.5) & (where <= 3.5), 1, -5))


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_averaging_over_coarser_voxels_keeps_the_sum(step):
    mask = np.zeros((20, 20, 20), bool)
    mask[4:11, 5:9, 6:13] = True
    shape = tuple(int(np.ceil(n / step)) for n in mask.shape)
    coarse = np.diag([step, step, step, 1.0])
    coarse[:3, 3] = (step - 1) / 2
    share = averaged(mask, np.eye(4), coarse, shape)
    assert share.sum() * step**3 == pytest.approx(mask.sum())


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("start", [0, 1, 4])
def test_no_structure_is_lost_on_a_coarser_grid(size, start):
    mask = np.zeros((18, 18, 18), bool)
    mask[start : start + size, start : start + size, start : start + size] = True
    coarse = np.diag([6, 6, 6, 1.0])
    coarse[:3, 3] = 2.5
    found = mask_on_grid(mask, np.eye(4), coarse, (3, 3, 3))
    assert found.any()
    assert mask_on_grid(np.zeros_like(mask), np.eye(4), coarse, (3, 3, 3)).sum() == 0
    assert not found[2].any()
