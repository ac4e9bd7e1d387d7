import numpy as np
import pytest

from medley.errors import MedleyNotice
from medley.metrics.targets import summarise
from medley.scoring.rows import ScoreRow, read_scores
from medley.scoring.summary import latest
from medley.training.recipe import RestorationRecipe
from medley.training.validation import ValidationFile


@pytest.fixture
def recipe(tmp_path):
    return RestorationRecipe(name="small", model="tat-tiny", store="store", output=tmp_path / "run", steps=9, seed=5)


def rows(psnr):
    return [ScoreRow("small", "ct-denoise", "image", "Ann", "scan-1", values={"psnr": psnr, "slices": 2.0})]


def test_rows_of_all_validations_are_kept_with_step_and_seed(recipe):
    file = ValidationFile(recipe, 0)
    for step in (3, 6, 9):
        file.add(rows(20.0 + step), step)
    found, header = read_scores(file.path)
    assert [(row.step, row.seed, row.values["psnr"]) for row in found] == [(3, 5, 23), (6, 5, 26), (9, 5, 29)]
    assert header["experiment"] == "validation of small"
    assert latest(found) == found[2:]


def test_a_resumed_run_drops_rows_of_later_steps(recipe):
    file = ValidationFile(recipe, 0)
    for step in (3, 6, 9):
        file.add(rows(20.0 + step), step)
    resumed = ValidationFile(recipe, 5)
    resumed.add(rows(1.0), 6)
    assert [(row.step, row.values["psnr"]) for row in read_scores(file.path)[0]] == [(3, 23), (6, 1)]


def test_a_damaged_file_is_replaced_with_a_notice(recipe):
    file = ValidationFile(recipe, 0)
    file.add(rows(20.0), 3)
    file.path.write_text(file.path.read_text()[:-1])
    with pytest.warns(MedleyNotice, match="the scores of earlier validations are lost"):
        resumed = ValidationFile(recipe, 3)
    resumed.add(rows(22.0), 6)
    assert [row.step for row in read_scores(file.path)[0]] == [6]


def test_no_validation_subjects_no_file(recipe):
    file = ValidationFile(recipe, 0)
    file.add([], 3)
    assert not file.path.exists()


def test_the_mean_over_slices_is_that_of_the_papers():
    values = [{"psnr": 30.0, "slices": 1.0}, {"psnr": 40.0, "slices": 3.0}, {"psnr": np.nan, "slices": 0.0}]
    assert summarise("image", values)["psnr"] == pytest.approx(37.5)
