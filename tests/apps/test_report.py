import numpy as np
import pytest

from medley.apps._restore_report import histogram
from medley.apps._survey import Survey
from medley.inference.plan import RestorationPlan
from medley.normalisation import Normalisation
from medley.tasks import TASKS
from medley.volume import Volume


def plan(data: np.ndarray, task: str = "ct-denoise") -> RestorationPlan:
    of = TASKS[task]
    return RestorationPlan(Volume(data, np.diag([3, -1, -1, 1]), of.modality, of.unit), of, Normalisation(*of.range))


def test_the_survey_counts_every_voxel_once_and_keeps_few_slices() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(40, 30, (50, 32, 32)).astype(np.float32)
    data[0, 0, :5] = -3000
    survey = Survey(plan(data))
    for k, one in enumerate(data):
        survey(k, one, one + np.float32(2))
    assert survey.before.sum() == survey.after.sum() == data.size
    assert (survey.outside, survey.padding) == (0, 5)
    assert sorted(survey.shown) == [6, 18, 31, 43]
    assert survey.change == pytest.approx(2, rel=1e-4)
    assert survey.noise is not None
    assert survey.noise[0] == pytest.approx(30, rel=0.1)
    assert histogram(survey).count("<poly") == 2


@pytest.mark.parametrize(
    ("change", "outside", "padding"),
    [
        (lambda data: data[:, :4].fill(-3024), 0, 512),  # the corners that no scanner measures
        (lambda data: data[:, 0, :1].fill(-1100), 4, 0),  # noise in air: single low values
        (lambda data: data[:, :4].fill(-1024), 0, 0),  # the lowest value of the range itself
        (lambda data: data[:, :4].fill(3500), 512, 0),  # metal
        (lambda data: (data[:, :4].fill(-3024), data[:, 5].fill(3500)), 128, 512),
    ],
)
def test_padding_is_not_counted_as_outside_the_range(change, outside, padding) -> None:
    data = np.random.default_rng(0).normal(40, 30, (4, 32, 32)).astype(np.float32)
    change(data)
    survey = Survey(plan(data))
    for k, one in enumerate(data):
        survey(k, one, one)
    assert (survey.outside, survey.padding) == (outside, padding)


def test_a_survey_of_one_flat_slice_has_no_noise() -> None:
    survey = Survey(plan(np.zeros((1, 16, 16), np.float32)))
    survey(0, np.zeros((16, 16), np.float32), np.zeros((16, 16), np.float32))
    assert survey.noise is None
    assert sorted(survey.shown) == [0]
    assert "<svg" in histogram(survey)
