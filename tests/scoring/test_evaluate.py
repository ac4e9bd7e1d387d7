"""Methods on a store."""

import numpy as np
import pytest

from medley.data.store import Store
from medley.errors import MedleyError
from medley.metrics.image import score
from medley.metrics.measures import RECORD
from medley.normalisation import Normalisation
from medley.scoring import classical, evaluate, scorers
from medley.scoring.classical import CLASSICAL, Classical
from medley.scoring.evaluate import score_methods, tuned_classical
from medley.scoring.methods import Input, Network
from medley.scoring.summary import summary
from medley.slabs import Slabs
from medley.tasks import TASKS


class Shrunk(Input):
    """Half of the input, for two of the tasks."""

    name = "shrunk"
    tasks = ("mr-sr", "pet-denoise")

    def __init__(self) -> None:
        self.seen: list[int] = []

    def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
        self.seen.append(len(slabs))
        return slabs.centre / 2


@pytest.mark.parametrize("task", TASKS)
def test_one_row_per_record_with_the_scores_of_the_whole_volume(store: Store, task: str) -> None:
    rows = score_methods([Input()], store, tasks=[task])
    assert [row.record for row in rows] == [f"{task}-valid-0", f"{task}-valid-1"]
    for row, record in zip(rows, store.records("valid", task), strict=True):
        arrays = [store.array(record, name)[0] for name in ("input", "image")]
        expected = score(*arrays, task, full_scale=record.normalisation.high)
        assert {name: row.values[name] for name in expected} == pytest.approx(expected)
        assert (row.method, row.task, row.subject) == ("input", task, record.subject)


def test_all_tasks_of_the_split_by_default(store: Store) -> None:
    rows = score_methods([Input()], store, split="train")
    assert [row.task for row in rows] == [task for task in TASKS for _ in range(2)]
    assert {row.task for row in score_methods([Shrunk()], store)} == {"mr-sr", "pet-denoise"}


def test_measures_of_known_changes(store: Store) -> None:
    class Offset(Input):
        name = "offset"

        def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
            return slabs.centre + 5 if task == "ct-denoise" else 1.1 * slabs.centre

    tasks = ["ct-denoise", "pet-denoise", "xray-denoise"]
    before, after = (score_methods([method], store, tasks=tasks) for method in (Input(), Offset()))
    for one, other in zip(before, after, strict=True):
        names = set(one.values) & set(RECORD)
        assert names == set(other.values) & set(RECORD)
        if one.task == "ct-denoise":
            assert {"noise", "bias"} <= names
            assert other.values["bias"] - one.values["bias"] == pytest.approx(5, abs=1e-3)
            assert other.values["noise"] == pytest.approx(one.values["noise"])
        elif one.task == "pet-denoise":
            assert names == {"suv_bias", "recovery_max", "recovery_mean"}
            assert 100 + other.values["suv_bias"] == pytest.approx(1.1 * (100 + one.values["suv_bias"]))
            assert other.values["recovery_max"] == pytest.approx(1.1 * one.values["recovery_max"])
        else:
            assert not names


def test_blank_slices_are_not_counted(store: Store) -> None:
    assert [row.values["slices"] for row in score_methods([Input()], store, tasks=["ct-denoise"])] == [4, 3]


def test_the_window_is_named(store: Store) -> None:
    windows = {row.task: row.window for row in score_methods([Input()], store)}
    assert windows == {
        "mr-sr": "[0, 4095] of 900 a.u. = 4095",
        "ct-denoise": "[-160, 240] HU",
        "pet-denoise": "[0, 20] SUV",
        **{name: "[0, 255] grey levels" for name, task in TASKS.items() if task.grey},
    }


def test_a_record_is_scored_in_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score_methods([Shrunk()], store)
    monkeypatch.setattr(scorers, "PIXELS_AT_ONCE", 2 * 40 * 34)
    method = Shrunk()
    steps: list[tuple[int, int, str]] = []
    pieces = score_methods([method], store, progress=lambda *step: steps.append(step))
    assert method.seen == [2, 1, 2, 1, 3, 2, 3, 2]
    for one, other in zip(whole, pieces, strict=True):
        assert (one.record, one.values["slices"]) == (other.record, other.values["slices"])
        assert one.values == pytest.approx(dict(other.values))
    assert [step[0] for step in steps] == [0, 2, 3, 3, 5, 6, 6, 9, 11, 11, 14, 16, 16]
    assert {step[1] for step in steps} == {16}
    assert steps[0][2] == "shrunk: mr-sr-valid-0"


def test_an_output_that_is_not_finite_is_an_error(store: Store) -> None:
    class Broken(Shrunk):
        def restore(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
            return np.full_like(slabs.centre, np.nan)

    with pytest.raises(MedleyError, match="output of shrunk for mr-sr-valid-0 contains values that are not finite"):
        score_methods([Broken()], store)


@pytest.mark.parametrize(
    ("split", "tasks", "message"),
    [
        (
            "test",
            None,
            "but not what is to be scored: no record of the split 'test'",
        ),
        ("test", ["ct-denoise"], "the split 'test' of .* has no record of ct-denoise"),
        ("valid", ["ct-denoise"], "shrunk supports mr-sr, pet-denoise, but not what is to be scored: ct-denoise"),
        ("valid", ["ct"], "there is no task 'ct'"),
    ],
)
def test_what_cannot_be_evaluated(store: Store, split: str, tasks: list[str] | None, message: str) -> None:
    with pytest.raises(MedleyError, match=message):
        score_methods([Shrunk()], store, split=split, tasks=tasks)


def test_each_method_is_scored_on_the_tasks_it_supports(store: Store) -> None:
    rows = score_methods([Input(), Shrunk()], store, tasks=["mr-sr", "ct-denoise"])
    done = [(one.task, one.method) for one in summary(rows)]
    assert done == [("mr-sr", "input"), ("mr-sr", "shrunk"), ("ct-denoise", "input")]
    with pytest.raises(MedleyError, match="not what is to be scored: ct-denoise of the split 'valid'"):
        score_methods([Shrunk()], store, tasks=["ct-denoise"])


def test_classical_methods_are_tuned_on_other_subjects_and_better_the_input(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage")
    short = {
        "gaussian": {"sigma": (0.25, 0.5, 1.0)},
        "total-variation": {"relative": (True,), "strength": (0.5, 1.0, 2.0)},
        "non-local-means": {"relative": (True,), "patch": (3,), "reach": (4,), "strength": (0.5, 1.0, 2.0)},
    }
    methods = {name: Classical(name, m.function, m.knob, (short[name],)) for name, m in CLASSICAL.items()}
    monkeypatch.setattr(classical, "CLASSICAL", methods)
    monkeypatch.setattr(evaluate, "CLASSICAL", methods)
    titles: list[str] = []
    tuned = tuned_classical(store, list(TASKS), slices=3, progress=lambda *step: titles.append(step[2]))
    rows = score_methods([Input(), *tuned, Shrunk()], store)
    found = {(one.task, one.method): one for one in summary(rows)}
    for task in TASKS:
        assert found[task, "total-variation"].scores["psnr"] > found[task, "input"].scores["psnr"] + 3
        assert found[task, "non-local-means"].scores["psnr"] > found[task, "input"].scores["psnr"] + 3
    assert list(dict.fromkeys(row.method for row in rows)) == ["input", *CLASSICAL, "shrunk"]
    assert all(("strength" in row.settings) == row.method.endswith(("means", "variation")) for row in rows)
    assert "tuning gaussian: mr-sr" in titles
    (only,) = {method.tasks for method in tuned_classical(store, ["pet-denoise"], slices=1)}
    assert only == ("pet-denoise",)


def test_a_network(store: Store) -> None:
    class Description:
        name, tasks, version = "halving", ("pet-denoise",), "0.1.0"

    class Restorer:
        description = Description()
        reach = 0

        def restore_slabs(self, slabs: Slabs, task: str, normalisation: Normalisation) -> np.ndarray:
            assert (task, normalisation) == ("pet-denoise", Normalisation(0, 20))
            return slabs.centre / 2

    method = Network(Restorer())  # type: ignore[arg-type]
    assert (method.name, method.tasks, method.settings("pet-denoise")) == ("halving", ("pet-denoise",), "version 0.1.0")
    rows, same = (score_methods([one], store, tasks=["pet-denoise"]) for one in (method, Shrunk()))
    assert [row.values for row in rows] == [row.values for row in same]
