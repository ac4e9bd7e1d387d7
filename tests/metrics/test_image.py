"""PSNR, SSIM and RMSE in the papers' protocol."""

from pathlib import Path

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.metrics.image import METRICS, psnr, rmse, score, score_slices, ssim, ssim_map
from medley.normalisation import full_grey
from medley.tasks import TASKS
from medley.volume import Slices, Volume


def pair(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth CT-like image in HU, most of it within the window, and a noisy copy; float32."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(*(np.linspace(0, 3, n) for n in shape[-2:]), indexing="ij")
    target = 200 * np.sin(rows + 2 * columns) + rng.normal(0, 5, shape)
    return (target + rng.normal(0, 20, shape)).astype(np.float32), target.astype(np.float32)


@pytest.mark.parametrize(("name", "task"), [("CT", "ct-denoise"), ("PET", "pet-denoise"), ("MRI", "mr-sr")])
def test_equals_the_papers_programs(shared: Path, name: str, task: str) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(shared / "fixtures" / "metrics_and_balance_reference.safetensors")
    found = score(tensors[f"{name}_prediction"][0], tensors[f"{name}_target"][0], task)
    np.testing.assert_allclose([found[m] for m in METRICS], tensors[f"{name}_psnr_ssim_rmse"], rtol=1e-6)


def test_ssim_equals_scikit_image_away_from_the_border() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    x, y = (image.astype(np.float64) for image in pair(40, 57))
    _, expected = metrics.structural_similarity(
        x, y, data_range=400.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(ssim_map(x, y, 400.0)[5:-5, 5:-5], expected[5:-5, 5:-5], rtol=0, atol=1e-10)


@pytest.mark.parametrize("at", [(0, 0), (0, 20), (7, 30), (15, 29)])
def test_ssim_sees_zeros_beyond_the_border(at: tuple[int, int]) -> None:
    x, y = (image.astype(np.float64) for image in pair(16, 31))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(taps, taps) / taps.sum() ** 2
    a, b = (np.pad(image, 5)[at[0] : at[0] + 11, at[1] : at[1] + 11] for image in (x, y))
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * a**2).sum() - mean_a**2, (weights * b**2).sum() - mean_b**2
    covariance = (weights * a * b).sum() - mean_a * mean_b
    c1, c2 = (0.01 * 400) ** 2, (0.03 * 400) ** 2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert ssim_map(x, y, 400.0)[at] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(32, 32), (20, 45), (5, 7)])
def test_laws(shape: tuple[int, int]) -> None:
    x, y = (image.astype(np.float64) for image in pair(*shape))
    assert ssim(x, y, 400) == pytest.approx(ssim(y, x, 400), rel=1e-12)
    assert ssim(3 * x, 3 * y, 1200) == pytest.approx(ssim(x, y, 400), rel=1e-9)
    assert ssim(x.T, y.T, 400) == pytest.approx(ssim(x, y, 400), rel=1e-12)
    assert -1 <= ssim(x, y, 400) < 1
    assert psnr(3 * x + 7, 3 * y + 7, 1200) == pytest.approx(psnr(x, y, 400), rel=1e-9)
    assert psnr(x, y, 400) == pytest.approx(20 * np.log10(400 / rmse(x, y)), rel=1e-12)
    assert rmse(x, y) == pytest.approx(np.linalg.norm(x - y) / np.sqrt(x.size), rel=1e-12)
    halfway = (x + y) / 2
    assert psnr(halfway, y, 400) - psnr(x, y, 400) == pytest.approx(20 * np.log10(2), rel=1e-9)


def test_equal_images() -> None:
    _, y = pair(3, 24, 30)
    assert score(y, y, "ct-denoise") == {"psnr": float("inf"), "ssim": pytest.approx(1, abs=1e-12), "rmse": 0}


def test_more_noise_is_worse() -> None:
    x, y = pair(24, 30)
    good, bad = score(y + (x - y) / 2, y, "ct-denoise"), score(x, y, "ct-denoise")
    assert good["psnr"] > bad["psnr"]
    assert good["ssim"] > bad["ssim"]
    assert good["rmse"] < bad["rmse"]


def test_what_lies_outside_the_window_does_not_count() -> None:
    x, y = pair(24, 30)
    y[:4], x[:4] = -900, -1000
    y[-4:], x[-4:] = 1500, 900
    before = x.copy()
    found = score(x, y, "ct-denoise")
    assert found == score(x.clip(-160, 240), y.clip(-160, 240), "ct-denoise")
    assert found["psnr"] == pytest.approx(20 * np.log10(400 / found["rmse"]))
    np.testing.assert_array_equal(x, before)


def test_the_mean_is_over_slices_each_with_its_own_range() -> None:
    x, y = pair(4, 24, 30)
    y[2] *= 0.1
    single = [score(a, b, "ct-denoise") for a, b in zip(x, y, strict=True)]
    found, slices = score(x, y, "ct-denoise"), score_slices(x, y, "ct-denoise")
    for name in METRICS:
        assert found[name] == pytest.approx(np.mean([one[name] for one in single]), rel=1e-12)
        np.testing.assert_allclose(slices[name], [one[name] for one in single], rtol=1e-12)


def test_blank_slices_are_left_out() -> None:
    x, y = pair(3, 24, 30)
    y[1] = -1000
    slices = score_slices(x, y, "ct-denoise")
    assert slices["blank"].tolist() == [False, True, False]
    assert all(np.isnan(slices[name]).tolist() == [False, True, False] for name in METRICS)
    assert score(x, y, "ct-denoise") == pytest.approx(score(x[::2], y[::2], "ct-denoise"))
    assert all(np.isnan(value) for value in score(x[1], y[1], "ct-denoise").values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(bad: float, which: int) -> None:
    images = pair(2, 24, 30)
    images[which][1, 3, 4] = bad
    with pytest.raises(MedleyError, match=r"not finite \(slice 1\)"):
        score(*images, "ct-denoise")


def test_full_scale_takes_scanner_units_to_the_papers_range() -> None:
    x, y = (10 + image.clip(-200, 200) + 200 for image in pair(2, 24, 30))
    expected = score(x * 4095 / 900, y * 4095 / 900, "mr-sr")
    assert score(x, y, "mr-sr", full_scale=900) == pytest.approx(expected, rel=1e-5)
    assert score(7 * x, 7 * y, "mr-sr", full_scale=7 * 900) == pytest.approx(expected, rel=1e-5)
    assert score(x, y, "mr-sr", full_scale=900)["rmse"] > score(x, y, "mr-sr")["rmse"]
    assert score(x, y, "ct-denoise", full_scale=900) == score(x, y, "ct-denoise")
    with pytest.raises(MedleyError, match="above 0, but it is 0"):
        score(x, y, "mr-sr", full_scale=0)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.grey], ids=lambda task: task.name)
def test_grey_images_have_the_data_range_255(task) -> None:
    """As in UniH3; the values of the image do not change it, and images of more bits are scaled to 8."""
    x, y = (40 + np.abs(image) / 4 for image in pair(24, 30))
    found = score(x, y, task)
    assert found == {"psnr": psnr(x, y, 255), "ssim": ssim(x, y, 255), "rmse": rmse(x, y)}
    many = score(x * 257, y * 257, task, full_scale=65535)
    assert many == pytest.approx(found)
    assert score(x * 16, y * 16, task) == pytest.approx(score(x * 16, y * 16, task, full_scale=full_grey(16 * y.max())))
    assert score(x + 1000, y, task) == score(np.full_like(x, 255), y, task)


@pytest.mark.parametrize("task", TASKS)
def test_volumes_and_streamed_volumes(task: str) -> None:
    x, y = (image.clip(-150, 200) + 160 for image in pair(3, 24, 30))
    x, y = (image / 20 if task == "pet-denoise" else image for image in (x, y))
    expected = score(x, y, task)
    streamed = Volume(Slices((3, 24, 30), lambda: iter(x)), np.eye(4))
    assert score(Volume(x, np.eye(4)), Volume(y, np.eye(4)), task) == expected
    assert score(streamed, Volume(y, np.eye(4)), task) == expected
    assert score(streamed, y, TASKS[task]) == expected


def test_scans_in_different_places_are_refused() -> None:
    x, y = pair(3, 24, 30)
    moved = np.eye(4)
    moved[1, 3] = 5
    with pytest.raises(MedleyError, match=r"do not have the same position: .* 5 mm"):
        score(Volume(x, moved), Volume(y, np.eye(4)), "ct-denoise")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3, 24, 30), (3, 30, 24)], r"\(3, 24, 30\), the reference \(3, 30, 24\)"),
        ([(24, 30), (1, 24, 30)], "only images of one shape"),
        ([(30,), (30,)], r"\(row, column\) or \(slice, row, column\)"),
        ([(1, 3, 24, 30)] * 2, r"\(row, column\) or \(slice, row, column\)"),
    ],
)
def test_shapes_that_cannot_be_scored(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(MedleyError, match=message):
        score(np.zeros(shapes[0]), np.zeros(shapes[1]), "ct-denoise")


def test_unknown_task() -> None:
    with pytest.raises(MedleyError, match="there is no task 'ct'"):
        score(*pair(24, 30), "ct")


def test_is_public() -> None:
    import medley

    assert medley.score is score
