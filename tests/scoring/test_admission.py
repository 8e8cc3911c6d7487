"""A judge is admitted by its agreement with people; published figures are the oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import stdtrit
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from benchmarks.quality.admission import admitted
from harness.errors import UsageError
from harness.records import Admission
from harness.scoring.admission import (
    Levels,
    admit,
    admit_on,
    cohen_kappa,
    length_effect,
    shown_share,
    weighted_kappa,
    wilson,
)
from harness.scoring.labels import Label


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


def test_a_judge_at_both_bars_is_at_the_edge_twice_and_one_above_either_is_in() -> None:
    edge = admit("j", *ratings([[40, 10], [10, 40]]), threshold=0.5, n_calibration=1)
    assert edge.reasons == ("TPR + TNR - 1 is 0.6, and has to be above it",)
    assert admit("j", *ratings([[41, 9], [10, 40]]), threshold=0.5, n_calibration=1).admitted


def test_every_missed_bar_is_a_reason() -> None:
    result = admit("j", *ratings([[20, 30], [15, 35]]), threshold=0.5, n_calibration=1)
    assert not result.admitted
    assert result.reasons == (
        "TPR 0.40 (0.28 to 0.54, n=50) is below 0.8",
        "TNR 0.70 (0.56 to 0.81, n=50) is below 0.8",
    )


@pytest.mark.parametrize(
    ("table", "reasons"),
    [
        ([[25, 0], [0, 25]], ()),
        ([[24, 0], [0, 80]], ("not enough labels: 24 good",)),
        ([[80, 0], [0, 24]], ("not enough labels: 24 bad",)),
        ([[5, 0], [5, 0]], ("not enough labels: 5 good", "not enough labels: 5 bad", "TNR 0.00")),
    ],
)
def test_25_labels_of_each_kind_have_to_test_a_judge(
    table: list[list[int]], reasons: tuple[str, ...]
) -> None:
    result = admit("j", *ratings(table), threshold=0.5, n_calibration=1)
    assert result.admitted is not bool(reasons)
    assert len(result.reasons) == len(reasons)
    for said, begins in zip(result.reasons, reasons, strict=True):
        assert said.startswith(begins)
        assert "TNR" in said or "needs at least 25 (about 50 " in said


@pytest.mark.parametrize(("n_good", "n_bad"), [(25, 25), (25, 30), (30, 25), (30, 30), (25, 40), (40, 25)])
def test_a_bad_judge_gets_in_at_most_7_percent_of_the_time_at_the_fewest_labels(
    n_good: int, n_bad: int
) -> None:
    assert admitted((0.70, 0.75), n_good, n_bad) <= 0.07
    assert admitted((0.88, 0.88), n_good, n_bad) >= 0.85
    assert admitted((0.95, 0.95), 24, n_bad) == admitted((0.95, 0.95), n_good, 24) == 0.0


def test_a_good_judge_is_admitted_however_rare_bad_replies_are() -> None:
    """Kappa, which falls with their share, is reported and bars nothing."""
    result = admit("j", *ratings([[440, 60], [3, 22]]), threshold=0.5, n_calibration=1)
    assert result.kappa.value < 0.5
    assert result.admitted


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
    with pytest.raises(UsageError, match="2 labels but 1 scores"):
        admit("j", [True, False], [True, False], threshold=0.5, n_calibration=1, values=[0.5])


@given(st.tuples(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60)))
def test_the_interval_of_tpr_plus_tnr_less_1_is_newcombes(case: tuple[int, int, int, int]) -> None:
    hits, misses, alarms, rejections = case
    found = admit(
        "j", *ratings([[hits, misses], [alarms, rejections]]), threshold=0.5, n_calibration=1
    ).youden
    n_good, n_bad = hits + misses, alarms + rejections
    theirs = confint_proportions_2indep(hits, n_good, alarms, n_bad, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-6)
    assert found.value == pytest.approx(hits / n_good - alarms / n_bad)


# --------------------------------------------------------------------------- levels
def levels_of(table: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Levels:
    """Levels from counts; rows are the people's."""
    cells = [(i + 1, j + 1) for (i, j), n in np.ndenumerate(table) for _ in range(int(n))]
    return Levels([i for i, _ in cells], [j for _, j in cells], len(table))


@given(st.integers(3, 5).flatmap(lambda k: st.lists(st.integers(0, 9), min_size=k * k, max_size=k * k)))
def test_weighted_kappa_and_its_interval_are_those_of_statsmodels(counts: list[int]) -> None:
    table = np.array(counts).reshape(math.isqrt(len(counts)), -1)
    assume(table.sum() > 1 and min((table.sum(axis=a) > 0).sum() for a in (0, 1)) > 1)
    ours, theirs = weighted_kappa(levels_of(table)), cohens_kappa(table, wt="fc")
    half = 1.959963984540054 * math.sqrt(max(0.0, theirs.var_kappa))
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-9)
    assert ours.low == pytest.approx(max(-1.0, theirs.kappa - half), abs=1e-6)
    assert ours.high == pytest.approx(min(1.0, theirs.kappa + half), abs=1e-6)


def test_a_level_beside_is_nearer_than_one_far_off() -> None:
    people = [1, 2, 3, 4, 5] * 10
    beside = weighted_kappa(Levels(people, [min(5, level + 1) for level in people], 5))
    far = weighted_kappa(Levels(people, people[::-1], 5))
    assert beside.value > 0.7 > 0 > far.value


# --------------------------------------------------------------------------- what is taken to be shown
def test_a_judge_of_right_and_wrong_shows_tpr_plus_tnr_less_1_of_a_difference() -> None:
    found = admit("j", *ratings([[45, 5], [5, 45]]), threshold=0.5, n_calibration=1)
    assert found.slope is None
    assert shown_share(found) == (found.youden.low, found.youden.high)
    assert found.youden.value == pytest.approx(0.8)


def test_scores_on_a_finer_scale_show_no_more_than_their_slope_on_the_labels() -> None:
    """Who gives 4 of 5 to what is good and 2 to what is bad tells them apart, and halves differences."""
    truth = [True, False] * 50
    values = [0.75 if good else 0.25 for good in truth]
    found = admit("j", truth, truth, threshold=0.5, n_calibration=1, values=values)
    assert found.slope is not None
    assert found.slope.value == pytest.approx(0.5)
    least, most = shown_share(found)
    assert least == pytest.approx(0.5)
    assert most == found.youden.high == 1.0


def test_the_slope_on_labels_of_two_kinds_is_welchs_difference() -> None:
    chance = np.random.default_rng(4)
    good, bad = chance.beta(4, 2, 40), chance.beta(2, 5, 70)
    values, truth = [*good, *bad], [True] * 40 + [False] * 70
    found = admit("j", truth, truth, threshold=0.5, n_calibration=1, values=values).slope
    assert found is not None
    assert found.value == pytest.approx(good.mean() - bad.mean())
    error = math.sqrt(good.var(ddof=1) / 40 + bad.var(ddof=1) / 70)
    assert (found.high - found.low) / 2 == pytest.approx(stdtrit(108, 0.975) * error)


# --------------------------------------------------------------------------- length
def test_a_judge_that_goes_by_length_is_named_and_one_that_does_not_is_not() -> None:
    chance = np.random.default_rng(7)
    truth = [True, False] * 60
    lengths = chance.integers(20, 200, 120).tolist()
    noise = chance.normal(0, 0.05, 120)

    def judged(bent: float) -> Admission:
        values = [
            0.3 + 0.4 * good + bent * length / 1000 for good, length in zip(truth, lengths, strict=True)
        ]
        values = [value + off for value, off in zip(values, noise.tolist(), strict=True)]
        return admit("j", truth, truth, threshold=0.5, n_calibration=1, values=values, lengths=lengths)

    assert judged(0.0).concerns == ()
    assert judged(0.0).admitted
    for bent, which in ((0.8, "longer"), (-0.8, "shorter")):
        (said,) = judged(bent).concerns
        assert f"prefers the {which}" in said
        assert "n=120" in said


def test_that_good_replies_are_longer_is_no_preference_for_length() -> None:
    truth = [True] * 40 + [False] * 40
    chance = np.random.default_rng(1)
    values = [*chance.uniform(0.6, 1.0, 40), *chance.uniform(0.0, 0.4, 40)]
    lengths = [*chance.integers(100, 200, 40).tolist(), *chance.integers(10, 50, 40).tolist()]
    found = length_effect(truth, values, lengths)
    assert found is not None
    assert found.low < 0 < found.high
    assert length_effect(truth, [float(good) for good in truth], lengths) is None


@pytest.mark.parametrize(("n_messages", "admitted"), [(25, True), (24, False), (5, False)])
def test_many_labels_of_few_messages_admit_no_judge(n_messages: int, admitted: bool) -> None:
    test = [
        Label(
            f"{('message', 'Message,')[at // n_messages % 2]} {at % n_messages}", "reference", f"{at}", good
        )
        for good in (True, False)
        for at in range(50)
    ]
    values = [float(label.good) for label in test]
    found = admit_on("j", test, values, threshold=0.5, n_calibration=1, known=test)
    assert found.admitted is admitted
    if not admitted:
        said = f"not enough messages: 50 good labels in the test are of {n_messages}, and it takes 25"
        assert found.reasons[0].startswith(said)
