"""Pictures of one case a task."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medley.data.store import Store
from medley.errors import MedleyError
from medley.normalisation import Normalisation
from medley.plots import figures
from medley.plots.figures import picture, record_for_picture, write_pictures
from medley.scoring.classical import Tuned
from medley.scoring.methods import ClassicalMethod, Input
from medley.scoring.rows import ScoreRow
from medley.slabs import Slabs
from medley.tasks import TASKS


class Perfect(Input):
    """Knows the target."""

    name = "perfect"
    tasks = ("ct-denoise",)

    def __init__(self, store: Store) -> None:
        self._pairs = [
            (store.array(e, "input")[0], store.array(e, "image")[0]) for e in store.records("valid", "ct-denoise")
        ]

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        return next(
            y[k : k + 1] for x, y in self._pairs for k in range(len(x)) if np.array_equal(x[k : k + 1], slabs.centre)
        )


def panel(strip: Image.Image, column: int, row: int, count: int) -> np.ndarray:
    """A part well inside a panel of a strip of `count` columns and square-ish panels."""
    pixels = np.asarray(strip, float)
    width, height = pixels.shape[1] / count, (pixels.shape[0] - figures._HEAD) / 2
    top, left = figures._HEAD + row * height, column * width
    return pixels[int(top + 20) : int(top + height - 20), int(left + 30) : int(left + width - 30)]


def test_a_picture_for_every_task(store: Store, tmp_path: Path) -> None:
    paths = write_pictures(store, [Input()], tmp_path / "pictures")
    assert sorted(path.name for path in paths) == sorted(f"{task}.png" for task in TASKS)
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert max(image.size) > figures.SIDE
    with pytest.raises(MedleyError, match="exists already"):
        write_pictures(store, [Input()], tmp_path / "pictures")
    write_pictures(store, [Input()], tmp_path / "pictures", overwrite=True)


def test_the_error_of_a_perfect_result_is_black(store: Store) -> None:
    strip = picture(store, record_for_picture(store, "valid", "ct-denoise"), [Input(), Perfect(store)])
    assert panel(strip, 1, 1, 3).mean() > 5
    assert panel(strip, 2, 1, 3).max() == 0
    assert panel(strip, 2, 0, 3).std() > 20
    difference = np.abs(panel(strip, 2, 0, 3) - panel(strip, 0, 0, 3))
    assert np.median(difference) == 0


def test_methods_that_cannot_do_a_task_are_not_in_its_picture(store: Store, tmp_path: Path) -> None:
    paths = write_pictures(store, [Input(), Perfect(store)], tmp_path, tasks=["ct-denoise", "pet-denoise"])
    with Image.open(paths[0]) as ct, Image.open(paths[1]) as pet:
        assert ct.size[0] > pet.size[0]


def test_of_the_classical_methods_the_best_is_shown(store: Store) -> None:
    def tuned(name: str) -> ClassicalMethod:
        return ClassicalMethod([Tuned(name, "ct-denoise", {}, 0.0, 0.0, 1, 0, ())])

    def row(name: str, psnr: float) -> ScoreRow:
        values = {"slices": 3, "psnr": psnr, "ssim": 0.9, "rmse": 1.0}
        return ScoreRow(name, "ct-denoise", "image", "", "", values=values)

    methods = [Input(), tuned("gaussian"), tuned("total-variation"), Perfect(store)]
    rows = [row("input", 60), row("gaussian", 30), row("total-variation", 31), row("perfect", 99)]
    shown = figures._shown(methods, rows, "ct-denoise")
    assert [method.name for method in shown] == ["input", "total-variation", "perfect"]
    assert figures._shown(methods, [], "ct-denoise") == methods


def test_pixels_are_true_to_the_millimetres(store: Store) -> None:
    entry = store.records("valid", "pet-denoise")[0]  # 24 rows of 1 mm, 30 columns of 1.5 mm
    assert figures._aspect(entry) == (figures.SIDE, round(figures.SIDE * 24 / 45))


def test_the_slice_is_not_blank(store: Store) -> None:
    blank_at_the_end = store.records("valid", "ct-denoise")[1]
    assert figures._middle(store, blank_at_the_end) == 2
    with pytest.raises(MedleyError, match="slices 0 to 3, but not 4"):
        picture(store, blank_at_the_end, [Input()], slice_number=4)


def test_no_such_case(store: Store) -> None:
    with pytest.raises(MedleyError, match=r"the split 'test' of .* has no record of mr-sr"):
        record_for_picture(store, "test", "mr-sr")
