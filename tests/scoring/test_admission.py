"""A judge is admitted by its agreement with people; published figures are the oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from harness.errors import UsageError
from harness.scoring.admission import admit, cohen_kappa, wilson


def ratings(table: list[list[int]]) -> tuple[list[bool], list[bool]]:
    """Two lists of ratings from a table of counts; rows are the first rater's, yes before no."""
    cells = [(i == 0, j == 0, table[i][j]) for i in (0, 1) for j in (0, 1)]
    return [t for t, _, n in cells for _ in range(n)], [s for _, s, n in cells for _ in range(n)]


def test_kappa_of_the_textbook_grant_example_is_four_tenths() -> None:
    # 50 grant proposals, two readers: 20 both yes, 5 and 10 split, 15 both no
    kappa = cohen_kappa(*ratings([[20, 5], [10, 15]]))
    assert kappa.value == pytest.approx(0.4)
    assert kappa.n == 50


tables = st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(
    lambda c: 0 < c[0] + c[1] < sum(c) and 0 < c[0] + c[2] < sum(c)
)


@given(tables)
def test_kappa_and_its_interval_are_those_of_statsmodels(counts: list[int]) -> None:
    table = [counts[:2], counts[2:]]
    ours, theirs = cohen_kappa(*ratings(table)), cohens_kappa(np.array(table))
    half = 1.959963984540054 * math.sqrt(max(0.0, theirs.var_kappa))
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-9)
    assert ours.low == pytest.approx(max(-1.0, theirs.kappa - half), abs=1e-6)
    assert ours.high == pytest.approx(min(1.0, theirs.kappa + half), abs=1e-6)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_rate_is_wilsons(case: tuple[int, int]) -> None:
    hits, n = case
    found = admit("judge", *ratings([[hits, n - hits], [0, 1]]), threshold=0.5, n_calibration=9).tpr
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-9)
    assert found.low <= found.value == hits / n <= found.high
    assert found == wilson(hits, n)


def test_a_judge_that_agrees_is_admitted_with_its_figures() -> None:
    result = admit("summary", *ratings([[45, 5], [4, 46]]), threshold=0.5, n_calibration=99)
    assert result.admitted
    assert result.reasons == ()
    assert result.kappa.value == pytest.approx(0.82)
    assert (result.tpr.value, result.tnr.value) == pytest.approx((0.90, 0.92))
    assert (result.tpr.n, result.tnr.n) == (50, 50)
    assert (result.n_calibration, result.n_test) == (99, 100)


def test_the_bars_themselves_suffice() -> None:
    assert admit("j", *ratings([[40, 10], [10, 40]]), threshold=0.5, n_calibration=1).admitted


def test_every_missed_bar_is_a_reason() -> None:
    result = admit("j", *ratings([[20, 30], [5, 45]]), threshold=0.5, n_calibration=1)
    assert not result.admitted
    assert [reason.split()[0] for reason in result.reasons] == ["kappa", "TPR"]
    assert "TPR 0.40 (0.28 to 0.54, n=50) is below 0.8" in result.reasons


def test_a_judge_that_says_the_same_of_everything_is_not_admitted() -> None:
    result = admit("j", *ratings([[50, 0], [50, 0]]), threshold=0.5, n_calibration=1)
    assert not result.admitted
    assert result.kappa.value == 0
    assert result.tnr.value == 0


def test_labels_of_one_kind_cannot_admit_anything() -> None:
    with pytest.raises(UsageError, match="both kinds"):
        admit("j", [True, True], [True, True], threshold=0.5, n_calibration=1)
    with pytest.raises(UsageError, match="2 labels but 1 judgments"):
        admit("j", [True, False], [True], threshold=0.5, n_calibration=1)
