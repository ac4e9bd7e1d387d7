import numpy as np
import pytest

from medley.data.scan_noise import INDICES, KERNELS, MARGIN, ScanNoise, ct_simulation, measure
from medley.physics import create_degradation
from medley.tasks import TASKS
from medley.volume import Volume

CT = TASKS["ct-denoise"]


def cylinder(kernel, index, *, side=160, mm=1.6, seed=5):
    """Water in air, with the noise of a full-dose scan with that kernel and noise index; off-centre and elliptical."""
    row, column = np.mgrid[:side, :side] / side
    water = np.where(((row - 0.52) / 0.36) ** 2 + ((column - 0.48) / 0.42) ** 2 < 1, 0, -1000).astype(np.float32)
    noise = create_degradation("ct-low-dose", dose=0.5, noise_index=index, kernel=kernel, scan_noise="counted")
    stack = noise.apply(np.stack([water] * 6), noise.draw(np.random.default_rng(seed)), (mm, mm))
    return Volume(stack, np.diag([3.0, mm, mm, 1.0]), "CT", "HU")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_kernel_and_the_noise_index_of_a_simulated_scan_are_found(kernel):
    found = ct_simulation([measure(cylinder(kernel, 17.0), CT)])
    low, high = found["noise_index"]
    assert kernel in found["kernel"]
    assert low * MARGIN == pytest.approx(17, rel=0.2)
    assert high / MARGIN == pytest.approx(17, rel=0.2)


def test_the_noise_level_is_that_of_white_noise():
    stack = np.full((4, 200, 200), -1000, np.float32)
    stack[:, 30:170, 30:170] = np.random.default_rng(0).normal(40, 12, (4, 140, 140))
    found = measure(Volume(stack, np.diag([3.0, 0.7, 0.9, 1.0]), "CT", "HU"), CT)
    assert found.level == pytest.approx(12, rel=0.1)
    assert found.coarseness == pytest.approx(0.5, rel=0.1)
    assert found.pixel_mm == pytest.approx(0.9)


def test_all_scans_are_within_the_range_and_have_their_kernels():
    scans = [measure(cylinder("ramp", 10.0), CT), measure(cylinder("hann-1.0", 30.0), CT)]
    both = ct_simulation(scans)
    apart = [ct_simulation([one]) for one in scans]
    assert both["noise_index"] == [apart[0]["noise_index"][0], apart[1]["noise_index"][1]]
    assert both["kernel"] == [*apart[0]["kernel"], *apart[1]["kernel"]]
    create_degradation("ct-low-dose", **both)


def test_anatomy_is_not_taken_for_noise():
    rough = ScanNoise(task="ct-denoise", unit="HU", pixel_mm=1.0, level=400, coarse=600)
    assert ct_simulation([rough])["noise_index"] == [round(INDICES[1] / MARGIN, 1), INDICES[1] * MARGIN]


def test_scans_that_tell_nothing_give_no_settings():
    coarse = ScanNoise(task="ct-denoise", unit="HU", pixel_mm=4.0, level=20, coarse=60)
    blank = measure(Volume(np.zeros((1, 30, 30), np.float32), np.eye(4), "CT", "HU"), CT)
    assert blank.level == 0
    assert np.isnan(blank.coarseness)
    assert ct_simulation([coarse, blank]) == {}
