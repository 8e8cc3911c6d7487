"""Which rows are drawn to be labelled: with the probabilities that are stated, and always as many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from harness.decision.ppi import Labelled, corrected
from harness.decision.sampling import (
    FLOOR,
    correlation,
    correlation_interval,
    draw,
    expected_errors,
    label_gains,
    labels_saved,
)
from harness.decision.student import Values
from harness.errors import UsageError

sizes = st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=60).map(np.array)


@settings(max_examples=60)
@given(sizes, st.data())
def test_probabilities_add_up_and_no_row_counts_over_four_times(
    given_sizes: Values, data: st.DataObject
) -> None:
    n = len(given_sizes)
    n_labels = data.draw(st.integers(0, n))
    places, probabilities = draw(given_sizes, n_labels, data.draw(st.integers(0, 2**32)))
    assert len(places) == len(set(places.tolist())) == n_labels, "the sample always has its size"
    assert probabilities.sum() == pytest.approx(n_labels)
    assert (probabilities <= 1.0).all()
    assert (probabilities >= FLOOR * n_labels / n - 1e-12).all()
    order = np.argsort(given_sizes, kind="stable")
    assert (np.diff(probabilities[order]) >= -1e-9).all(), "a larger size is never drawn less often"


@settings(max_examples=40)
@given(sizes, st.integers(0, 2**32))
def test_a_larger_sample_holds_a_smaller_one(given_sizes: Values, seed: int) -> None:
    samples = [set(draw(given_sizes, n, seed)[0].tolist()) for n in range(len(given_sizes) + 1)]
    assert all(smaller < larger for smaller, larger in pairwise(samples))


@pytest.mark.parametrize("n_labels", [1, 5, 11])
def test_rows_are_in_as_often_as_their_probabilities_say(n_labels: int) -> None:
    sizes = np.array([0.01, 0.02, 0.3, 0.5, 0.5, 0.6, 0.7, 0.7, 0.9, 1.0, 2.0, 40.0])
    n_draws = 4_000
    counts = np.zeros(len(sizes))
    for seed in range(n_draws):
        places, probabilities = draw(sizes, n_labels, seed)
        counts[places] += 1
    error = np.sqrt(probabilities * (1.0 - probabilities) / n_draws)
    assert (np.abs(counts / n_draws - probabilities) <= 4.0 * error + 1e-12).all()


def test_all_pairs_of_rows_come_together() -> None:
    together = {tuple(draw(np.arange(1.0, 9.0), 3, seed)[0].tolist()) for seed in range(400)}
    assert len(together) > 40, "of 56 samples"


def test_the_same_seed_draws_the_same_rows() -> None:
    first, again, other = (draw(np.arange(1.0, 51.0), 20, seed)[0].tolist() for seed in (7, 7, 8))
    assert first == again != other


def test_doubtful_rows_and_judged_differences_count_more() -> None:
    candidate = np.array([0.95, 0.5, 0.95, 1.0, np.nan])
    baseline = np.array([0.95, 0.5, 0.05, 0.0, 0.9])
    sure, doubtful, different, most_different, unknown = expected_errors(candidate, baseline)
    assert sure < different < doubtful
    assert sure < most_different
    assert unknown > sure
    near = expected_errors(np.array([0.75, 0.5]), np.array([0.75, 0.5]), threshold=0.75)
    assert near[0] > near[1], "a rubric that counts from 0.75 is in doubt there"


def test_unequal_drawing_leaves_the_corrected_difference_unbiased() -> None:
    chance = np.random.default_rng(5)
    n, n_labels = 400, 100
    candidate, baseline = ((chance.random(n) < share).astype(float) for share in (0.7, 0.6))
    # a judge that favours the candidate, and is sure of itself where it errs
    judged = [
        np.clip(0.8 * side + shift + 0.2 * chance.random(n), 0, 1)
        for side, shift in ((candidate, 0.1), (baseline, 0))
    ]
    sizes = expected_errors(judged[0], judged[1])
    found = []
    for seed in range(150):
        at, probabilities = draw(sizes, n_labels, seed)
        result = corrected(judged[0] - judged[1], Labelled(at, (candidate - baseline)[at], probabilities[at]))
        assert not isinstance(result, str)
        found.append(result.difference)
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(np.mean(candidate - baseline), abs=4 * error)


def test_labels_saved_are_those_of_the_formula() -> None:
    assert labels_saved(100, 400, 0.8) == pytest.approx(100 * 0.48 / 0.52)
    assert labels_saved(100, 400, 0.0) == 0.0
    assert labels_saved(400, 400, 1.0) == 0.0, "where all rows are labelled the judge adds nothing"
    assert labels_saved(0, 0, 0.5) == 0.0


def test_the_correlation_weighs_rows_by_inverse_probability() -> None:
    judged, true = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    assert correlation(judged, true, np.ones(4)) == pytest.approx(0.0)
    agreeing = correlation(judged, true, np.array([0.1, 0.1, 1.0, 1.0]))
    assert agreeing == pytest.approx(9 / 11)
    assert correlation(judged, np.ones(4), np.ones(4)) is None


def test_correlation_and_interval_are_those_of_scipy_where_all_rows_are_as_likely() -> None:
    chance = np.random.default_rng(2)
    judged, noise = chance.normal(size=(2, 28))
    oracle = pearsonr(judged, judged + noise)
    found = correlation(judged, judged + noise, np.full(28, 0.5))
    assert found == pytest.approx(oracle.statistic)
    assert correlation_interval(float(oracle.statistic), 28) == pytest.approx(oracle.confidence_interval())
    assert correlation_interval(0.5, 3) == (-1.0, 1.0)
    assert correlation_interval(1.0, 30) == (1.0, 1.0)


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, np.nan], [1.0, np.inf], [1.0, -1.0]])
def test_sizes_that_cannot_be_drawn_by_are_refused(bad: list[float]) -> None:
    with pytest.raises(UsageError, match="positive size"):
        draw(np.array(bad), 1, 0)


def test_more_labels_than_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="5 labels cannot be drawn from 4 rows"):
        draw(np.ones(4), 5, 0)


def test_gains_are_those_of_labels_saved() -> None:
    gains = list(label_gains(150, (0.0, 0.6, 0.9)))
    assert [gain.labels for gain in gains] == [25, 50, 100, 150]
    for gain in gains:
        for rho, share in zip((0.0, 0.6, 0.9), gain.shares, strict=True):
            worth = gain.labels / share**2
            assert worth == pytest.approx(gain.labels + labels_saved(gain.labels, 150, rho))
    assert gains[0].alone == pytest.approx(1.7139 * 0.5**0.5 / 5.0, abs=1e-4)
    assert not list(label_gains(2, (0.5,)))
