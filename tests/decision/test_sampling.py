"""Which rows are drawn to be labelled: with the probabilities that are stated, and always as many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.decision.ppi import Labelled, corrected
from harness.decision.sampling import (
    FLOOR,
    correlation,
    drawn,
    expected_errors,
    inclusion_probabilities,
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
    probabilities = inclusion_probabilities(given_sizes, n_labels)
    assert probabilities.sum() == pytest.approx(n_labels)
    assert (probabilities <= 1.0).all()
    assert (probabilities >= FLOOR * n_labels / n - 1e-12).all()
    order = np.argsort(given_sizes, kind="stable")
    assert (np.diff(probabilities[order]) >= -1e-9).all(), "a larger size is never drawn less often"


@settings(max_examples=60)
@given(sizes, st.data())
def test_the_sample_always_has_its_size(given_sizes: Values, data: st.DataObject) -> None:
    n_labels = data.draw(st.integers(0, len(given_sizes)))
    places = drawn(inclusion_probabilities(given_sizes, n_labels), data.draw(st.integers(0, 2**32)))
    assert len(places) == len(set(places.tolist())) == n_labels


@pytest.mark.parametrize("n_labels", [1, 5, 11])
def test_rows_are_in_as_often_as_their_probabilities_say(n_labels: int) -> None:
    sizes = np.array([0.01, 0.02, 0.3, 0.5, 0.5, 0.6, 0.7, 0.7, 0.9, 1.0, 2.0, 40.0])
    probabilities = inclusion_probabilities(sizes, n_labels)
    n_draws = 4_000
    counts = np.zeros(len(sizes))
    for seed in range(n_draws):
        counts[drawn(probabilities, seed)] += 1
    error = np.sqrt(probabilities * (1.0 - probabilities) / n_draws)
    assert (np.abs(counts / n_draws - probabilities) <= 4.0 * error + 1e-12).all()


def test_nearly_all_pairs_of_rows_come_together() -> None:
    probabilities = np.full(8, 3 / 8)
    together = {(int(a), int(b)) for seed in range(400) for a, b, _ in [drawn(probabilities, seed)]}
    assert len(together) > 20, "a fixed order would make most pairs impossible"


def test_the_same_seed_draws_the_same_rows() -> None:
    probabilities = inclusion_probabilities(np.arange(1.0, 51.0), 20)
    assert drawn(probabilities, 7).tolist() == drawn(probabilities, 7).tolist()
    assert drawn(probabilities, 7).tolist() != drawn(probabilities, 8).tolist()


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
    probabilities = inclusion_probabilities(expected_errors(judged[0], judged[1]), n_labels)
    found = []
    for seed in range(300):
        at = drawn(probabilities, seed)
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


@pytest.mark.parametrize("bad", [[1.0, 0.0], [1.0, np.nan], [1.0, np.inf], [1.0, -1.0]])
def test_sizes_that_cannot_be_drawn_by_are_refused(bad: list[float]) -> None:
    with pytest.raises(UsageError, match="positive size"):
        inclusion_probabilities(np.array(bad), 1)


def test_more_labels_than_rows_and_broken_sums_are_refused() -> None:
    with pytest.raises(UsageError, match="5 labels cannot be drawn from 4 rows"):
        inclusion_probabilities(np.ones(4), 5)
    with pytest.raises(UsageError, match="whole number"):
        drawn(np.array([0.5, 0.7]), 0)
