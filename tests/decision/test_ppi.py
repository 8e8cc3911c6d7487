"""Prediction-powered estimates against their authors' package, and against what they must be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from harness.decision.ppi import Labelled, corrected, parts_of_rows
from harness.decision.student import error_of_mean
from harness.errors import UsageError

AT = np.arange(160)
JUDGED = ((37 * AT * AT + 11 * AT) % 13 - 6) / 6
TRUE = np.clip(np.round(2 * (JUDGED + ((53 * AT) % 7 - 3) / 4)) / 2, -1, 1)
LABELLED = Labelled(AT[:40], TRUE[:40], np.full(40, 0.25))
# ppi-python 0.2.3 with Y = TRUE[:40], Yhat = JUDGED[:40], Yhat_unlabeled = JUDGED[40:]:
# ppi_mean_pointestimate(Y, Yhat, Yhat_unlabeled, lam=lam) and ppi_mean_ci(..., alpha=0.1, lam=lam)
AUTHORS = {
    0.0: (-0.125, -0.3106162841004158, 0.06061628410041581),
    0.5: (-0.11666666666666667, -0.25416216106784817, 0.020828827734514804),
}
AUTHORS_TUNED = 0.5936874695503899  # the weight that it chooses with lam=None
AUTHORS_DIFFERENCE = -0.11510520884082684

# the same at lam=0.5 by ppi_mean_pval(..., null=null, alternative="larger")
AUTHORS_P = {-0.2: 0.15940321, -0.3: 0.01414612}
# rows drawn by unequal probabilities: ppi_mean_pointestimate(Y, Yhat, JUDGED, lam=lam, w=1 / UNEQUAL)
UNEQUAL = np.where(AT[:40] % 3 == 0, 0.5, 0.125)
AUTHORS_WEIGHTED = {0.0: -0.11864406779661016, 0.5: -0.11927966101694915, 1.0: -0.11991525423728813}


@pytest.mark.parametrize("weight", AUTHORS)
def test_at_one_weight_the_estimate_is_that_of_its_authors(weight: float) -> None:
    # theirs leaves the labelled rows out of the judge's mean: 120 of 160 are left
    ours = weight * 160 / 120
    parts, offset = parts_of_rows(JUDGED, LABELLED, ours)
    point, low, high = AUTHORS[weight]
    assert ours * JUDGED.mean() + offset == pytest.approx(point, abs=1e-12)
    # their errors are of a normal interval, with divisors n
    assert float(error_of_mean(parts, 160)) == pytest.approx((high - low) / 2 / 1.6448536, rel=0.03)


@pytest.mark.parametrize("null", AUTHORS_P)
def test_at_one_weight_the_p_value_is_that_of_its_authors(null: float) -> None:
    parts, offset = parts_of_rows(JUDGED, LABELLED, 0.5 * 160 / 120)
    difference = 0.5 * 160 / 120 * JUDGED.mean() + offset
    ours = float(ndtr(-(difference - null) / error_of_mean(parts, 160)))  # theirs is normal
    assert ours == pytest.approx(AUTHORS_P[null], rel=0.07)


@pytest.mark.parametrize("weight", AUTHORS_WEIGHTED)
def test_rows_of_unequal_probability_count_as_their_authors_weigh_them(weight: float) -> None:
    _, offset = parts_of_rows(JUDGED, Labelled(AT[:40], TRUE[:40], UNEQUAL), weight)
    assert weight * JUDGED.mean() + offset == pytest.approx(AUTHORS_WEIGHTED[weight], abs=1e-12)


def test_the_tuned_weight_is_that_of_its_authors() -> None:
    found = corrected(JUDGED, LABELLED)
    assert not isinstance(found, str)
    assert found.weight * 120 / 160 == pytest.approx(AUTHORS_TUNED, rel=0.01)
    assert found.difference == pytest.approx(AUTHORS_DIFFERENCE, abs=5e-4)


def test_no_bias_of_the_judge_reaches_the_claim() -> None:
    found, biased = corrected(JUDGED, LABELLED), corrected(JUDGED + 0.3, LABELLED)
    assert not isinstance(found, str)
    assert not isinstance(biased, str)
    assert biased.difference == pytest.approx(found.difference)
    assert (biased.low, biased.high) == pytest.approx((found.low, found.high))


def test_a_judge_that_knows_nothing_leaves_the_labels_alone() -> None:
    found = corrected(np.zeros(160), LABELLED)
    assert not isinstance(found, str)
    assert found.weight == 0.0
    assert found.labels_saved == pytest.approx(0.0, abs=1e-9)
    assert found.difference == pytest.approx(TRUE[:40].mean())


def test_where_every_row_is_labelled_the_judge_adds_nothing() -> None:
    found = corrected(JUDGED, Labelled(AT, TRUE, np.ones(160)))
    assert not isinstance(found, str)
    assert found.weight == 0.0
    assert found.difference == pytest.approx(TRUE.mean())


def test_the_p_value_and_the_limit_say_the_same() -> None:
    found = corrected(JUDGED, LABELLED)
    assert not isinstance(found, str)
    at_limit = corrected(JUDGED, LABELLED, bound=found.low)
    assert not isinstance(at_limit, str)
    assert at_limit.p_value == pytest.approx(0.05, abs=1e-6)


def test_few_labelled_losses_have_a_wider_limit_than_students() -> None:
    losses = np.where(AT[:100] % 50 == 0, -1.0, 0.0)  # two of a hundred
    found = corrected(np.zeros(160), Labelled(AT[:100], losses, np.full(100, 100 / 160)))
    assert not isinstance(found, str)
    assert found.low < found.difference - 2.0 * 1.6602 * found.error  # the quantile of t with 98 degrees
    assert found.high == pytest.approx(found.difference + 1.6602 * found.error, abs=1e-3)


def test_too_few_labels_or_groups_or_no_spread_are_said() -> None:
    few = Labelled(AT[:24], TRUE[:24], np.full(24, 0.25))
    assert "24 labelled rows are too few" in str(corrected(JUDGED, few))
    assert "labels of 8 groups" in str(corrected(JUDGED, LABELLED, clusters=AT // 5))
    equal = Labelled(AT[:40], np.zeros(40), np.full(40, 0.25))
    assert "there is no spread" in str(corrected(np.zeros(160), equal))


def test_rows_in_groups_have_a_wider_interval_where_groups_go_together() -> None:
    together = np.repeat(TRUE[:40], 4)
    labelled = Labelled(AT, together, np.full(160, 0.999))
    alone = corrected(np.zeros(160), labelled)
    grouped = corrected(np.zeros(160), labelled, clusters=AT // 4)
    assert not isinstance(alone, str)
    assert not isinstance(grouped, str)
    assert grouped.error > 1.8 * alone.error


@pytest.mark.parametrize(
    "labelled",
    [
        Labelled(AT[:40], TRUE[:39], np.full(40, 0.25)),
        Labelled(AT[:40] + 150, TRUE[:40], np.full(40, 0.25)),
        Labelled(AT[:40] // 2, TRUE[:40], np.full(40, 0.25)),
        Labelled(AT[:40], TRUE[:40], np.zeros(40)),
        Labelled(AT[:40], np.full(40, np.nan), np.full(40, 0.25)),
    ],
    ids=["not one each", "beyond the rows", "a row twice", "never drawn", "no number"],
)
def test_labels_that_do_not_fit_the_rows_are_refused(labelled: Labelled) -> None:
    with pytest.raises(UsageError):
        corrected(JUDGED, labelled)


def test_labels_of_which_one_weighs_nearly_all_correct_nothing() -> None:
    noise = np.random.default_rng(0)
    probabilities = np.full(60, 0.5)
    probabilities[0] = 1e-4
    labelled = Labelled(np.arange(60), noise.random(60), probabilities)
    found = corrected(noise.random(120), labelled)
    assert found == "60 labelled rows with such probabilities weigh as 1.0, and a correction takes 10"
