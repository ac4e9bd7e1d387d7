import numpy as np
import pytest

from medley.metrics.labels import auroc, auroc_of, balanced_accuracy, balanced_accuracy_of, mean_auroc, mean_auroc_of


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def cases(rng):
    """Scores with many ties, and which are positive."""
    scores = rng.integers(0, 8, 60) / 8
    return scores, rng.random(60) < 0.2 + 0.5 * scores


@pytest.fixture
def diagnoses(rng):
    truth = rng.choice(3, 50, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(50, 3)) + 1.2 * np.eye(3)[truth]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), truth


def test_auroc_is_the_share_of_pairs_in_the_right_order(cases):
    scores, positives = cases
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[positives] for n in scores[~positives]]
    assert auroc(scores, positives) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_auroc_knows_only_the_order(cases):
    scores, positives = cases
    found = auroc(scores, positives)
    assert auroc(np.exp(3 * scores) - 7, positives) == pytest.approx(found)
    assert auroc(-scores, positives) == pytest.approx(1 - found)
    assert auroc(scores, ~positives) == pytest.approx(1 - found)


def test_auroc_of_perfect_useless_and_impossible():
    positives = np.array([False, False, True, True])
    assert auroc(np.array([1, 2, 3, 4]), positives) == 1
    assert auroc(np.array([4, 3, 2, 1]), positives) == 0
    assert auroc(np.ones(4), positives) == 0.5
    assert auroc(np.array([-np.inf, 2, 3, 4]), positives) == 1
    for same in (np.ones(4, bool), np.zeros(4, bool), np.zeros(0, bool)):
        assert np.isnan(auroc(np.arange(same.size), same))


def test_a_score_that_is_no_number_gives_none(cases):
    scores, positives = cases
    scores[3] = np.nan
    assert np.isnan(auroc(scores, positives))


def test_the_mean_over_classes_leaves_out_those_without_both(diagnoses):
    probabilities, truth = diagnoses
    each = [auroc(probabilities[:, k], truth == k) for k in range(3)]
    assert mean_auroc(probabilities, truth) == pytest.approx(np.mean(each))
    two = truth < 2
    kept = [auroc(probabilities[two, k], truth[two] == k) for k in range(2)]
    assert mean_auroc(probabilities[two], truth[two]) == pytest.approx(np.mean(kept))
    assert np.isnan(mean_auroc(probabilities[truth == 0], truth[truth == 0]))


def test_balanced_accuracy_is_the_mean_recall(diagnoses):
    probabilities, truth = diagnoses
    recalls = [(probabilities[truth == k].argmax(1) == k).mean() for k in range(3)]
    assert balanced_accuracy(probabilities, truth) == pytest.approx(np.mean(recalls))
    assert balanced_accuracy(np.eye(3)[truth], truth) == 1
    assert balanced_accuracy(np.tile([1.0, 0, 0], (50, 1)), truth) == pytest.approx(1 / 3)


@pytest.mark.parametrize("score", [mean_auroc_of, balanced_accuracy_of])
def test_a_weight_is_how_often_a_case_is_there(diagnoses, rng, score):
    probabilities, truth = diagnoses
    drawn = rng.integers(0, 50, (7, 50))
    weights = np.stack([np.bincount(one, minlength=50) for one in drawn]).astype(float)
    alone = [score(probabilities[one], truth[one], np.ones((1, 50)))[0] for one in drawn]
    assert score(probabilities, truth, weights) == pytest.approx(alone, nan_ok=True)
    assert np.ptp(alone) > 0


def test_weightings_without_positives_are_nan_and_the_others_are_not(cases):
    scores, positives = cases
    found = auroc_of(scores, positives, np.stack([~positives, np.ones(60, bool)]).astype(float))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(auroc(scores, positives))
