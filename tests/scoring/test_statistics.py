"""Effects that were put into the rows must come out, and intervals must cover them."""

import dataclasses

import numpy as np
import pytest

from medley.errors import MedleyError
from medley.metrics.targets import delta, higher_is_better, summarise
from medley.scoring.rows import ScoreRow
from medley.scoring.statistics import compare_methods, verdict


@pytest.fixture(scope="module")
def rows(made_scores):
    return made_scores.multitask()


@pytest.fixture(scope="module")
def found(rows):
    return compare_methods(rows, baseline="stl", resamples=400)


def test_scores_are_those_of_the_cases_averaged_over_seeds(made_scores, rows, found):
    for target in made_scores.TASK.targets:
        for method in made_scores.GAINS:
            alone = [
                summarise(
                    target.kind, [r.values for r in rows if (r.method, r.seed, r.title) == (method, s, target.name)]
                )
                for s in range(3)
            ]
            for score in alone[0]:
                finding = found.findings[target.name, score, method]
                assert finding.seeds == pytest.approx([one[score] for one in alone])
                assert finding.estimate.value == pytest.approx(np.mean(finding.seeds))


def test_the_main_score_of_each_task_comes_first(found):
    firsts = {task: scores[0] for task, scores in found.tasks.items()}
    assert firsts == {"segmentation": "dice", "dose": "dose_score", "diagnosis": "auroc"}
    assert "dice PTV70" in found.tasks["segmentation"]
    assert (found.subjects, found.cases, found.resamples) == (40, 40, 400)


def test_delta_is_that_of_the_scores(made_scores, found):
    def scores(method):
        return {task: found.findings[task, names[0], method].estimate.value for task, names in found.tasks.items()}

    for method in found.methods:
        if method.name == "stl":
            assert method.delta is None
        else:
            expected = delta(scores(method.name), scores("stl"), made_scores.TASK.targets)
            assert method.delta.value == pytest.approx(expected)
            assert method.delta.low < expected < method.delta.high


def test_an_effect_is_found_and_none_is_not(found):
    def difference(task, score, method):
        return found.findings[task, score, method].difference

    assert difference("segmentation", "dice", "ctan").low > 0
    assert difference("dose", "dose_score", "ctan").high < 0
    assert difference("dose", "dvh_score", "hps").low > 0
    assert not difference("dose", "dose_score", "mtan").excludes_zero
    assert difference("dose", "dose_score", "stl") is None


def test_pairing_makes_differences_surer_than_the_scores(found):
    finding = found.findings["dose", "dose_score", "ctan"]
    width = finding.difference.high - finding.difference.low
    assert width < 0.5 * (finding.estimate.high - finding.estimate.low)


def test_intervals_of_a_mean_are_those_of_theory(made_scores):
    """For a mean of n cases of standard deviation s the interval is about mean ± 1.96 s / sqrt(n)."""
    rows = made_scores.multitask({"one": 0}, seeds=(0,), cases=200)
    found = compare_methods(rows, resamples=3000).findings["dose", "dose_score", "one"]
    half = 1.96 * found.cases.std() / np.sqrt(200)
    assert found.estimate.high - found.estimate.value == pytest.approx(half, rel=0.1)
    assert found.estimate.value - found.estimate.low == pytest.approx(half, rel=0.1)


def test_all_cases_of_a_subject_go_along():
    """Ten cases that repeat one subject's score say no more than one of them."""

    def rows(copies):
        values = np.random.default_rng(0).normal(3, 1, 12)
        return [
            ScoreRow("one", "made", "dose", f"person-{s}", f"case-{s}-{k}", values={"mae": float(value)})
            for s, value in enumerate(values)
            for k in range(copies)
        ]

    one, ten = (compare_methods(rows(n)).findings["dose", "dose_score", "one"].estimate for n in (1, 10))
    assert dataclasses.astuple(ten) == pytest.approx(dataclasses.astuple(one))


def test_the_same_seed_draws_the_same(rows, found):
    again = compare_methods(rows, baseline="stl", resamples=400)
    other = compare_methods(rows, baseline="stl", resamples=400, seed=1)
    assert again.methods == found.methods
    assert other.methods != found.methods


def test_the_order_of_the_cases_does_not_matter(rows, found):
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = compare_methods([rows[k] for k in order], baseline="stl", resamples=400)
    one, two = (found.findings["diagnosis", "auroc", "ctan"] for found in (found, shuffled))
    assert dataclasses.astuple(one.difference) == pytest.approx(dataclasses.astuple(two.difference))


def test_a_method_against_its_twin_differs_by_nothing(rows):
    twins = [row for row in rows if (row.method, row.seed) == ("stl", 0)]
    twins += [dataclasses.replace(row, method="twin") for row in twins]
    found = compare_methods(twins, resamples=100)
    assert found.baseline == "stl"
    for (_, _, method), finding in found.findings.items():
        if method == "twin":
            assert dataclasses.astuple(finding.difference) == (0, 0, 0)
    assert dataclasses.astuple(found.methods[1].delta) == (0, 0, 0)


def test_intervals_contain_the_variation_between_seeds():
    """Differences of seeds of standard deviation s between equal subjects: about ± 1.96 s sqrt(2 / n)."""
    luck = np.random.default_rng(0).normal(0, 1, (2, 40))
    rows = [
        ScoreRow(method, "made", "dose", f"p{k}", f"p{k}", seed=s, values={"mae": 5 + float(luck[m, s])})
        for m, method in enumerate("ab")
        for s in range(40)
        for k in range(8)
    ]
    found = compare_methods(rows).findings["dose", "dose_score", "b"].difference
    half = 1.96 * np.sqrt((luck.var(axis=1, ddof=1) / 40).sum())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


@pytest.mark.parametrize(("spread", "clear"), [(0.01, True), (2.0, False)])
def test_a_difference_smaller_than_the_spread_over_seeds_is_not_clear(spread, clear):
    rows = [
        ScoreRow(method, "made", "dose", f"p{k}", f"p{k}", seed=s, values={"mae": 5 + gain + spread * (s - 1)})
        for method, gain in (("a", 0.0), ("b", 0.5))
        for s in range(3)
        for k in range(8)
    ]
    assert compare_methods(rows).findings["dose", "dose_score", "b"].difference.excludes_zero == clear


def test_restorers_are_weighed_by_slices_as_in_the_papers(made_scores):
    rows = made_scores.restoration()
    found = compare_methods(rows, baseline="stl", resamples=300)
    assert found.tasks["ct-denoise"] == ("psnr", "ssim", "rmse")
    own = [row.values for row in rows if (row.method, row.seed, row.title) == ("ctan", 0, "pet-denoise")]
    expected = np.average([v["psnr"] for v in own], weights=[v["slices"] for v in own])
    assert found.findings["pet-denoise", "psnr", "ctan"].seeds[0] == pytest.approx(expected)
    assert found.findings["pet-denoise", "psnr", "ctan"].difference.low > 0
    assert found.findings["pet-denoise", "rmse", "ctan"].difference.high < 0
    assert {method.name: method.delta and method.delta.excludes_zero for method in found.methods}["ctan"]


def test_people_of_one_task_are_not_drawn_for_another(made_scores):
    """Six people of CT stay six, whatever is drawn of PET: the interval is that of CT alone."""
    rows = made_scores.restoration()
    alone = compare_methods([row for row in rows if row.title == "ct-denoise"])
    both = compare_methods(rows)
    key = ("ct-denoise", "psnr", "ctan")
    assert dataclasses.astuple(alone.findings[key].estimate) == dataclasses.astuple(both.findings[key].estimate)


def test_a_draw_without_a_class_leaves_it_out():
    rows = [
        ScoreRow("one", "made", "diagnosis", f"p{k}", f"p{k}", values={"label": label, "p no": 1 - p, "p yes": p})
        for k, (label, p) in enumerate([(0, 0.1), (0, 0.6), (1, 0.5)] * 2)
    ]
    found = compare_methods(rows).findings["diagnosis", "auroc", "one"]
    assert found.estimate.value == 0.5
    assert (found.estimate.low, found.estimate.high) == (0, 1)
    assert found.cases == pytest.approx([0.9, 0.4, 0.5] * 2)  # the probability of the true class


def test_a_method_without_a_task_has_no_delta(rows):
    kept = [row for row in rows if (row.method, row.title) != ("hps", "dose")]
    found = compare_methods(kept, baseline="stl", resamples=50)
    assert ("dose", "dose_score", "hps") not in found.findings
    assert {method.name: method.delta is None for method in found.methods} == {
        "stl": True, "hps": True, "mtan": False, "ctan": False,
    }  # fmt: skip
    assert compare_methods(kept, baseline="hps", resamples=50).findings["dose", "dose_score", "ctan"].difference is None


def test_costs_are_means_over_the_seeds(found):
    ctan = found.methods[-1]
    assert (ctan.parameters, ctan.flops, ctan.seconds, ctan.seeds) == (4e6, 12e9, 721, 3)


def test_which_way_a_score_runs():
    assert [higher_is_better(s) for s in ("dice Larynx", "rmse", "psnr", "dvh_score")] == [True, False, True, False]


def test_unequal_cases_are_refused_by_name(rows):
    def lacks(row):
        return (row.method, row.seed, row.title) == ("mtan", 1, "dose") and row.record in ("pt_3", "pt_7")

    with pytest.raises(MedleyError, match="mtan, seed 1: lacks dose of pt_3, pt_7, which"):
        compare_methods([row for row in rows if not lacks(row)])
    with pytest.raises(MedleyError, match="mtan, seed 1: lacks dose of pt_0, pt_1, pt_2, pt_3, pt_4 and 35 more"):
        compare_methods([row for row in rows if (row.method, row.seed, row.title) != ("mtan", 1, "dose")])
    with pytest.raises(MedleyError, match="stl, seed 0: segmentation of pt_0 has two rows"):
        compare_methods([*rows, rows[0]])
    spoilt = list(rows)
    spoilt[0] = dataclasses.replace(rows[0], values={**rows[0].values, "dice Larynx": float("nan")})
    with pytest.raises(MedleyError, match="stl, seed 0: lacks 'dice Larynx' of pt_0"):
        compare_methods(spoilt)


def test_measures_that_an_older_table_lacks_are_left_out(made_scores):
    rows = made_scores.restoration({"old": 0, "new": 1})
    for row in rows:
        if row.method == "new":
            row.values["bias"] = 1.0
    assert compare_methods(rows, resamples=10).tasks["ct-denoise"] == ("psnr", "ssim", "rmse")
    for row in rows:
        row.values["bias"] = 2.0 if row.method == "new" else 1.5
    found = compare_methods(rows, resamples=10)
    assert found.tasks["ct-denoise"] == ("psnr", "ssim", "rmse", "bias")
    finding = found.findings["ct-denoise", "bias", "new"]
    assert (finding.estimate.value, finding.difference.value) == (2.0, 0.5)
    assert verdict(finding.difference, higher=higher_is_better("bias")) == ""  # neither is better
    del rows[0].values["bias"]
    with pytest.raises(MedleyError, match="old, seed 0: lacks 'bias' of ct-denoise-0-scan"):
        compare_methods(rows)


def test_what_cannot_be_compared_is_refused(rows):
    with pytest.raises(MedleyError, match="no method 'unet' to compare with; the scores are of stl, hps, mtan, ctan"):
        compare_methods(rows, baseline="unet")
    with pytest.raises(MedleyError, match="no scores"):
        compare_methods([])
    with pytest.raises(MedleyError, match="dose: has no score that is known, only hits"):
        compare_methods([dataclasses.replace(row, target="dose", values={"hits": 1.0}) for row in rows[:1]])


@pytest.mark.parametrize(("cases", "shown"), [(3, False), (5, False), (6, True)])
def test_few_subjects_give_no_interval_and_no_verdict(made_scores, cases, shown):
    found = compare_methods(made_scores.restoration({"a": 0, "b": 3}, cases=cases), resamples=100)
    finding = found.findings["ct-denoise", "psnr", "b"]
    assert np.isfinite(finding.estimate.value)
    assert np.isfinite(finding.estimate.low) == shown
    assert finding.difference.excludes_zero == shown
    assert found.methods[1].delta.excludes_zero == shown


@pytest.mark.parametrize(("dice", "shown"), [(0.004, False), (0.4, True)])
def test_relative_changes_of_scores_near_zero_are_not_given(dice, shown):
    rows = [
        ScoreRow(method, "made", "outline", f"p{k}", f"p{k}", values={"dice": value})
        for method, value in (("a", dice), ("b", dice / 2))
        for k in range(8)
    ]
    assert (compare_methods(rows, resamples=20).methods[1].delta is not None) == shown
