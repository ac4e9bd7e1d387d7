"""The CT phantom: the unchanged image keeps contrast and transfer, a blur loses what it must, an offset is a bias."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medley.errors import MedleyError
from medley.normalisation import Normalisation
from medley.scoring.methods import Input
from medley.scoring.phantom import PHANTOM, add_disks, measure, read_phantom, restored, score_phantom
from medley.scoring.statistics import compare_methods
from medley.slabs import Slabs


class Blurred(Input):
    """A Gaussian of 1 pixel, and 3 HU more."""

    name = "blurred"

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        return gaussian_filter(slabs.centre, (0, 1, 1)) + 3


@pytest.fixture(scope="module")
def water() -> np.ndarray:
    inside = np.hypot(*(np.indices((256, 256)) - 127.5)) < 116
    return np.where(inside, 0, -1000) + np.random.default_rng(0).normal(0, 20, (4, 256, 256))


def save(folder: Path, water: np.ndarray, *doses: int) -> Path:
    for dose in doses:
        np.savez_compressed(folder / f"water_dose{dose:03d}.npz", hu=water.astype(np.int16))
    return folder


def test_unchanged_and_blurred(water: np.ndarray) -> None:
    made = add_disks(water, edge=50, signal=20)
    assert made.pixel == pytest.approx(200 / 232, rel=0.002)
    same, less = (
        measure(made, *(restored(images, method) for images in (made.absent, made.present)))
        for method in (Input(), Blurred())
    )
    assert same["contrast_kept"] == pytest.approx(1, abs=1e-4)
    assert same["transfer 0.4"] == pytest.approx(1, abs=1e-3)
    assert same["noise"] == pytest.approx(20, rel=0.02)
    assert same["noise_power 0.3"] == pytest.approx(20**2 * made.pixel**2, rel=0.1)  # white: the same at each frequency
    assert less["noise"] == pytest.approx(20 / np.sqrt(4 * np.pi), rel=0.05)
    assert less["transfer 0.2"] == pytest.approx(np.exp(-2 * (np.pi * 0.2 * made.pixel) ** 2), abs=0.04)
    assert less["bias"] - same["bias"] == pytest.approx(3, abs=0.1)
    assert less["noise_frequency"] < 0.7 * same["noise_frequency"]
    assert less["cnr"] > 3 * same["cnr"]
    assert less["d_prime"] == pytest.approx(same["d_prime"], rel=0.15)  # an invertible filter hides nothing


def test_a_row_for_each_method_and_dose(water: np.ndarray, tmp_path: Path) -> None:
    doses = read_phantom(save(tmp_path, water, 100, 25))
    assert list(doses) == [25, 100]
    steps: list[str] = []
    rows = score_phantom([Input(), Blurred()], doses, progress=lambda done, total, step: steps.append(step))
    assert steps == [f"{m}: dose {dose} %" for m in ("input", "blurred") for dose in (25, 100)] + ["done"]
    assert [(row.method, row.task, row.title, row.values["strength"]) for row in rows] == [
        (method, PHANTOM, f"dose {dose} %", dose / 100) for method in ("input", "blurred") for dose in (25, 100)
    ]
    comparison = compare_methods(rows)
    assert comparison.tasks["dose 25 %"][:2] == ("d_prime", "auc")
    found = comparison.findings["dose 25 %", "noise_power 0.1", "blurred"]
    assert found.estimate.value == rows[2].values["noise_power 0.1"]


def test_a_method_must_denoise_ct_and_give_numbers(water: np.ndarray) -> None:
    class Other(Blurred):
        tasks = ("mr-sr",)

    class Broken(Blurred):
        def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
            return np.full_like(slabs.centre, np.nan)

    with pytest.raises(MedleyError, match="blurred supports mr-sr, but the phantom needs ct-denoise"):
        score_phantom([Other()], {100: water})
    with pytest.raises(MedleyError, match="output of blurred for the phantom contains values that are not finite"):
        score_phantom([Broken()], {100: water})


@pytest.mark.parametrize("disk", [(90, 127), (116, 60), (0, 127)], ids=["small", "cut off", "none"])
def test_other_objects_are_refused(disk: tuple[int, int]) -> None:
    radius, middle = disk
    inside = np.hypot(*(np.indices((256, 256)) - np.array([127, middle])[:, None, None])) < radius
    with pytest.raises(MedleyError, match="not one disk above -500 HU with a radius of at least 92 pixels"):
        add_disks(np.where(inside, 0, -1000)[None].repeat(4, axis=0))


def test_bad_files_are_named(water: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(MedleyError, match=r"no file named \*doseNNN\.npz"):
        read_phantom(tmp_path)
    path = tmp_path / "water_dose055.npz"
    for contents, complaint in (
        ({"hu": water[:3]}, r"water_dose055\.npz: hu has the shape \(3, 256, 256\)"),
        ({"hu": water[0]}, "expected numbers"),
        ({"hu": np.full((4, 8, 8), np.nan)}, "not finite"),
        ({"ct": water}, r"water_dose055\.npz: cannot be read as a \.npz file with the array hu"),
        ({"hu": np.array([{}])}, "cannot be read"),
    ):
        np.savez(path, **contents)  # type: ignore[arg-type]
        with pytest.raises(MedleyError, match=complaint):
            read_phantom(tmp_path)
    path.write_bytes(b"not a zip")
    with pytest.raises(MedleyError, match="cannot be read"):
        read_phantom(tmp_path)
    save(tmp_path, water, 55)
    path.rename(tmp_path / "other_dose055.npz")
    save(tmp_path, water, 55)
    with pytest.raises(MedleyError, match="are of the same dose"):
        read_phantom(tmp_path)
