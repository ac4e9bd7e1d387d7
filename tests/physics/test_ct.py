"""Low-dose CT at the ends of its range: padding, air, metal, starved rays."""

import numpy as np
import pytest

from medley.physics import create_degradation


def apply(image: np.ndarray, **options: float) -> np.ndarray:
    degradation = create_degradation("ct-low-dose", **options)
    return degradation.apply(image, degradation.draw(np.random.default_rng(0)), (2.0, 2.0))


def head() -> np.ndarray:
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    return np.where(y**2 + x**2 < 0.5, 40, -1000).astype(np.float32)


def test_padding_stays_and_nothing_falls_below_what_scanners_store():
    image = head()
    image[:4] = -3024
    bad = apply(image)
    assert np.array_equal(bad[:4], image[:4])
    assert bad[4:].min() == -1024
    assert np.abs(bad[4:] - image[4:]).max() > 10


def test_starved_rays_do_not_blow_up():
    image = head()
    image[20:44, 20:44] = 30000  # no photon comes through this
    for options in ({"photons": 1e4}, {"dose": 0.001}, {"electronic": 1e4}):
        bad = apply(image, **options)
        assert np.isfinite(bad).all()
        assert np.abs(bad - image).max() < 1e5


def test_an_endless_block_of_metal_is_finite():
    assert np.isfinite(apply(np.full((256, 256), 30000, np.float32))).all()


def test_more_photons_are_less_noise():
    image = head()
    few, many = (np.std((apply(image, photons=photons) - image)[image > 0]) for photons in (1e5, 1e6))
    assert few == pytest.approx(many * np.sqrt(10), rel=0.1)


def test_the_reference_is_the_scan():
    degradation = create_degradation("ct-low-dose")
    image = head()
    assert degradation.reference(image, degradation.draw(np.random.default_rng(0)), (2.0, 2.0)) is image


def test_real_abdomen_has_the_noise_the_docs_promise(shared):
    nibabel = pytest.importorskip("nibabel")
    scan = nibabel.load(shared / "data" / "restoration" / "ct" / "valid" / "crlm_1004_abdomen.nii.gz")
    image = np.asarray(scan.dataobj[:, :, 20].T, np.float32)[::2, ::2]
    row_mm, column_mm = (2 * float(mm) for mm in scan.header.get_zooms()[1::-1])
    degradation = create_degradation("ct-low-dose")
    bad = degradation.apply(image, degradation.draw(np.random.default_rng(0)), (row_mm, column_mm))
    tissue = (image > -150) & (image < 200)
    assert 25 < (bad - image)[tissue].std() < 40
