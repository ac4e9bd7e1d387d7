import numpy as np
import pytest

from medley.metrics.embedding import principal_components, share_between_groups


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(20, 7)) * [9, 5, 1, 1, 1, 1, 1]


def rotation(size, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_sign_place_and_orientation_of_the_vectors_do_not_matter(vectors):
    points, shares = principal_components(vectors)
    for same in (-vectors, vectors + 3, vectors @ rotation(7)):
        again, shares_again = principal_components(same)
        np.testing.assert_allclose(again, points, atol=1e-9)
        np.testing.assert_allclose(shares_again, shares, atol=1e-12)


def test_the_order_of_the_vectors_does_not_matter(vectors):
    order = np.random.default_rng(2).permutation(20)
    np.testing.assert_allclose(
        principal_components(vectors[order])[0], principal_components(vectors)[0][order], atol=1e-9
    )


def test_all_components_keep_the_distances(vectors):
    points, shares = principal_components(vectors, 7)
    distances = [np.linalg.norm(one[:, None] - one[None], axis=2) for one in (points, vectors)]
    np.testing.assert_allclose(*distances, atol=1e-9)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares) < 0).all()
    assert (points.max(axis=0) >= -points.min(axis=0)).all()


def test_equal_vectors_and_fewer_than_two_dimensions():
    points, shares = principal_components(np.ones((4, 3)))
    assert not points.any()
    assert not shares.any()
    points, shares = principal_components(np.array([[0.0], [1.0], [5.0]]))
    np.testing.assert_allclose(points, [[-2, 0], [-1, 0], [3, 0]], atol=1e-12)
    assert shares.tolist() == [1, 0]


def test_the_share_between_groups(vectors):
    names = ["a"] * 10 + ["b"] * 10
    equal = np.repeat([[0.0, 1], [2, 3]], 10, axis=0)
    assert share_between_groups(equal, names) == pytest.approx(1)
    assert share_between_groups(np.tile([[0.0, 1], [2, 3]], (10, 1)), names) == pytest.approx(0)
    assert np.isnan(share_between_groups(np.ones((20, 2)), names))
    once = share_between_groups(vectors, names)
    assert 0 < once < 1
    assert share_between_groups(5 * vectors @ rotation(7) - 1, names[::-1]) == pytest.approx(once)


def test_by_chance_it_is_the_number_of_groups_less_one_over_that_of_vectors_less_one():
    rng = np.random.default_rng(3)
    found = [share_between_groups(rng.normal(size=(25, 4)), ["a", "b", "c", "d", "e"] * 5) for _ in range(400)]
    assert np.mean(found) == pytest.approx(4 / 24, abs=0.01)
