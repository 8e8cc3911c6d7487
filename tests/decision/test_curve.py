"""What a learning curve's forecast promises: when there is one, how it errs, and what more rows are worth."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality.curve import FLAT, NEAR, POWER, simulate
from benchmarks.quality.real_curves import STEADY_SD, forecast, real_curves
from harness.decision.curve import CurveFit, ScoredTraining, fit_curve, forecast_sentence, value_of_more_rows
from harness.records import Kind

SIZES, FOUR = (50, 100, 200), (50, 100, 200, 400)


def fitted(points: list[ScoredTraining]) -> CurveFit:
    fit = fit_curve(points)
    assert isinstance(fit, CurveFit), fit
    return fit


def trained(*means: tuple[float, ...], sizes: tuple[int, ...] = SIZES) -> list[ScoredTraining]:
    """One tuple a size, one mean a seed."""
    return [
        ScoredTraining(size, seed, mean, 0.03)
        for size, of_size in zip(sizes, means, strict=True)
        for seed, mean in enumerate(of_size)
    ]


def power(asymptote: float, at_50: float, exponent: float, size: int) -> float:
    return asymptote - (asymptote - at_50) * float((size / 50) ** -exponent)


def gain(fit: CurveFit, size: int) -> float:
    return fit.at(size).mean - fit.measured


RISING = trained((0.52, 0.55, 0.50), (0.64, 0.61, 0.65), (0.71, 0.70, 0.73))
scores = st.floats(0.0, 1.0)
any_points = st.tuples(*[st.lists(scores, min_size=1, max_size=3).map(tuple)] * 3).map(lambda m: trained(*m))
few = settings(max_examples=15, deadline=None)


# --------------------------------------------------------------------------- the forecast
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.8, 1.2])
@pytest.mark.parametrize(("asymptote", "at_50"), [(0.9, 0.5), (0.75, 0.65), (0.97, 0.3)])
def test_a_power_law_without_noise_is_forecast_within_two_points_and_a_half(
    asymptote: float, at_50: float, exponent: float
) -> None:
    means = [(power(asymptote, at_50, exponent, size),) * 3 for size in (50, 100, 200, 400)]
    fit = fitted(trained(*means, sizes=(50, 100, 200, 400)))
    assert fit.at(800).mean == pytest.approx(power(asymptote, at_50, exponent, 800), abs=0.025)


def assert_nothing_contradicts_what_was_measured(points: list[ScoredTraining]) -> None:
    fit = fitted(points)
    size = 2 * fit.largest
    ahead = fit.at(size)
    assert 0.0 <= ahead.low <= ahead.mean <= ahead.high <= 1.0
    assert ahead.mean <= fit.measured if fit.falls else ahead.mean >= fit.measured
    found = value_of_more_rows(fit, size, 1.0, 0.0, None)
    assert 0.0 <= found.points <= 100 * (1 - fit.measured) + 1e-9
    sentence = forecast_sentence(fit, size)
    assert len(sentence.split()) <= 25
    (told, low, high), (measured, *_) = (re.findall(r"-?\d+\.\d", part) for part in sentence.split(";"))
    assert float(low) <= float(told) <= float(high)
    assert (float(told) <= float(measured)) if fit.falls else (float(told) >= float(measured))


@pytest.mark.parametrize(
    ("means", "sizes", "error"),
    [
        ((0.08, 0.62, 0.96, 0.985), FOUR, 0.02),  # like an S: a power law forecasts less than was measured
        ((0.0, 0.0, 0.50, 0.95), FOUR, 0.02),
        ((0.3, 0.5, 0.95, 1.0), FOUR, 0.02),
        ((0.0, 0.0, 0.0, 0.0), FOUR, 0.01),
        ((0.9, 0.8, 0.7, 0.6), FOUR, 0.02),
        ((0.72, 0.71, 0.70, 0.69), FOUR, 0.03),
        ((0.5, 0.8, 0.4, 0.9), FOUR, 0.02),
        (((0.5, 0.9), (0.45, 0.85), (0.4, 0.8), (0.2, 0.6)), FOUR, 0.02),
        ((0.40, 0.41, 0.42, 0.90), (50, 51, 52, 5_000), 0.02),
        ((0.1, 0.3, 0.2, 0.5), FOUR, 0.15),
        ((0.9845, 0.9845, 0.9845), SIZES, 1e-6),
    ],
)
def test_a_forecast_never_contradicts_what_was_measured(
    means: tuple[float | tuple[float, ...], ...], sizes: tuple[int, ...], error: float
) -> None:
    of_sizes = [each if isinstance(each, tuple) else (each,) for each in means]
    points = trained(*of_sizes, sizes=sizes)
    assert_nothing_contradicts_what_was_measured([replace(point, standard_error=error) for point in points])


@few
@given(st.lists(st.lists(scores, min_size=1, max_size=2), min_size=3, max_size=5), st.data())
def test_no_forecast_contradicts_any_points(means: list[list[float]], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 10_000), min_size=len(means), max_size=len(means), unique=True))
    error = data.draw(st.sampled_from([None, 0.001, 0.03, 0.2]))
    points = trained(*map(tuple, means), sizes=tuple(sizes))
    assert_nothing_contradicts_what_was_measured([replace(point, standard_error=error) for point in points])


def test_a_full_score_is_expected_to_stay_but_not_for_certain() -> None:
    few_rows = [ScoredTraining(size, 0, mean, 0.1) for size, mean in zip(SIZES, (0.5, 0.8, 1.0), strict=True)]
    ahead = fitted(few_rows).at(400)
    assert ahead.mean == 1.0
    assert ahead.low < 0.97
    assert fitted(few_rows).chance_of_small_gain(400) == "likely"


@pytest.mark.parametrize(
    "means", [((0.9,), (0.97,), (0.3,)), ((0.72,), (0.71,), (0.70,)), ((0.5, 0.9), (0.4, 0.8), (0.2, 0.6))]
)
def test_a_score_that_drops_is_not_expected_to_recover(means: tuple[tuple[float, ...], ...]) -> None:
    fit = fitted(trained(*means))
    assert fit.at(400).mean == fit.measured
    assert fit.chance_of_small_gain(400) == "open"
    assert value_of_more_rows(fit, 400, 1.0, 0.0, None).points == pytest.approx(0.0, abs=1e-9)


def test_a_rising_curve_is_forecast_above_its_last_value_and_below_a_straight_line() -> None:
    ahead = fitted(RISING).at(400)
    assert 0.72 < ahead.mean < 0.713 + 0.08
    assert 0.713 < ahead.low < ahead.mean < ahead.high


def test_the_interval_widens_with_the_distance_and_with_noise() -> None:
    fit = fitted(RISING)
    widths = [fit.at(size).high - fit.at(size).low for size in (400, 800, 3200)]
    assert widths == sorted(widths)
    noisier = trained((0.47, 0.60, 0.50), (0.69, 0.56, 0.65), (0.76, 0.65, 0.73))
    assert _width(fitted(noisier)) > 1.25 * _width(fit)


def test_seeds_narrow_the_interval() -> None:
    alone = trained((0.52,), (0.63,), (0.71,))
    assert _width(fitted(RISING)) < _width(fitted(alone))


def test_with_one_seed_a_size_the_standard_error_over_rows_stands_in_for_its_noise() -> None:
    means = [(size, power(0.9, 0.5, 0.7, size)) for size in SIZES]
    widths = [
        _width(fitted([ScoredTraining(size, 0, mean, error) for size, mean in means]))
        for error in (0.005, 0.03)
    ]
    assert widths[0] < widths[1]
    unknown = [_width(fitted([ScoredTraining(*m, error) for m in _named(means)])) for error in (None, 0.0)]
    assert unknown[0] == unknown[1] > widths[0]


def test_standard_errors_over_rows_do_not_matter_where_seeds_show_the_noise() -> None:
    bare = [ScoredTraining(point.size, None, point.mean, None) for point in RISING]
    assert fitted(bare).at(800) == fitted(RISING).at(800)


def test_no_score_is_forecast_below_the_largest_size() -> None:
    with pytest.raises(ValueError, match="a forecast at 100 rows, where 200 were measured"):
        fitted(RISING).at(100)


def test_a_score_that_does_not_improve_is_forecast_where_it_is() -> None:
    fit = fitted(trained((0.70, 0.72, 0.71), (0.72, 0.70, 0.71), (0.70, 0.71, 0.72)))
    assert fit.at(400).mean == pytest.approx(0.71, abs=0.01)
    assert fit.p_gain_below(0.01, 400) > 0.6
    assert 0.0 <= gain(fit, 400) < 0.015


def test_a_score_that_falls_is_forecast_no_higher_than_measured() -> None:
    falling = fitted(trained((0.80, 0.81, 0.79), (0.70, 0.71, 0.69), (0.60, 0.61, 0.59)))
    assert -0.12 < gain(falling, 400) <= 0.0
    assert falling.at(400).low < 0.55
    assert _width(falling) > 0.08


def test_a_perfect_score_stays_one() -> None:
    perfect = fitted(trained(*[(1.0,)] * 3)).at(800)
    assert perfect.high <= 1.0
    assert perfect.mean > 0.97


@few
@given(any_points, st.integers(200, 10_000))
def test_a_forecast_lies_in_the_range_of_scores_and_inside_its_interval(
    points: list[ScoredTraining], size: int
) -> None:
    ahead = fitted(points).at(size)
    assert 0.0 <= ahead.low <= ahead.mean <= ahead.high <= 1.0
    assert np.isfinite([ahead.low, ahead.mean, ahead.high]).all()


@few
@given(any_points, scores, scores)
def test_gains_are_never_negative_and_their_probabilities_rise_with_the_mark(
    points: list[ScoredTraining], one: float, other: float
) -> None:
    fit = fitted(points)
    low, high = sorted((one, other))
    assert gain(fit, 400) <= 1e-9 if fit.falls else gain(fit, 400) >= -1e-9
    assert 0.0 <= fit.p_gain_below(low, 400) <= fit.p_gain_below(high, 400) <= 1.0
    assert abs(gain(fit, 800)) >= abs(gain(fit, 400)) - 1e-9


@few
@given(any_points)
def test_the_order_of_the_points_does_not_matter(points: list[ScoredTraining]) -> None:
    turned = points[::-1]
    assert fitted(turned).at(400).mean == pytest.approx(fitted(points).at(400).mean, abs=1e-9)


@few
@given(any_points, st.sampled_from([2, 10]))
def test_sizes_and_target_scaled_alike_give_the_same_forecast(
    points: list[ScoredTraining], factor: int
) -> None:
    scaled = [ScoredTraining(factor * p.size, p.seed, p.mean, p.standard_error) for p in points]
    assert fitted(scaled).at(400 * factor).mean == pytest.approx(fitted(points).at(400).mean, abs=1e-9)


# --------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("sizes", "told"), [((), "none"), ((50,), "50"), ((100, 50), "50, 100"), ((50, 50, 1000), "50, 1,000")]
)
def test_fewer_than_three_sizes_give_the_reason_and_no_forecast(sizes: tuple[int, ...], told: str) -> None:
    reason = fit_curve([ScoredTraining(size, seed, 0.5, None) for seed, size in enumerate(sizes)])
    assert isinstance(reason, str)
    assert reason.startswith("a forecast takes at least 3 training sizes")
    assert reason.endswith(f": {told}")


# --------------------------------------------------------------------------- the sentence
def test_the_sentence_gives_the_forecast_what_was_measured_and_the_chance_of_a_small_gain_in_words() -> None:
    fit = fitted(RISING)
    ahead = fit.at(400)
    assert forecast_sentence(fit, 400) == (
        f"At 400 rows: {100 * ahead.mean:.1f}% [{100 * ahead.low:.1f}, {100 * ahead.high:.1f}] expected; "
        "71.3% was measured at 200. That it gains less than 1 point is unlikely."
    )
    flat = fitted(trained(*[(0.7, 0.7, 0.7)] * 3))
    assert forecast_sentence(flat, 201).endswith("is likely.")
    slow = fitted(trained((0.60, 0.64, 0.62), (0.64, 0.62, 0.66), (0.66, 0.63, 0.68)))
    assert forecast_sentence(slow, 400).endswith("is open.")
    assert "%" not in forecast_sentence(fit, 400, kind=Kind.GRADED)


# --------------------------------------------------------------------------- what more rows are worth
def test_without_an_alternative_more_rows_are_worth_the_expected_gain() -> None:
    fit = fitted(RISING)
    found = value_of_more_rows(fit, 400, 100.0, 250.0, None)
    assert found.points == pytest.approx(100 * gain(fit, 400))
    assert found.usd == pytest.approx(100 * found.points)
    assert found.net_usd == pytest.approx(found.usd - 250.0)


def test_more_rows_are_worth_nothing_beside_an_alternative_out_of_reach() -> None:
    found = value_of_more_rows(fitted(RISING), 400, 100.0, 250.0, 0.99)
    assert found.points < 0.1
    assert found.net_usd == pytest.approx(-250.0, abs=10.0)


def test_a_candidate_just_behind_may_be_worth_rows_even_if_it_is_expected_to_stay_behind() -> None:
    fit = fitted(RISING)
    other = fit.at(400).mean + 0.005
    assert value_of_more_rows(fit, 400, 1.0, 0.0, other).points > 0.2


@few
@given(any_points, scores)
def test_the_value_of_rows_is_not_negative_and_not_above_the_expected_gain_of_the_candidate(
    points: list[ScoredTraining], other: float
) -> None:
    fit = fitted(points)
    found = value_of_more_rows(fit, 400, 1.0, 0.0, other)
    above = float(np.maximum(fit.scores(400) - other, 0.0) @ fit.weight)
    assert 0.0 <= found.points <= 100 * above + 1e-9


# --------------------------------------------------------------------------- measured rates
def test_on_simulated_power_laws_the_forecast_beats_the_last_value_and_covers_what_it_says() -> None:
    found = simulate(POWER, NEAR, 40, seed=7)
    spread = 2 * np.sqrt(0.9 * 0.1 / 40)
    assert found.error.mean() <= 0.018 + 2 * found.error.std() / np.sqrt(40)
    assert found.error.mean() <= 0.67 * found.error_of_last.mean()
    assert found.covered.mean() >= 0.87 - spread


def test_on_flat_curves_the_forecast_errs_little_more_than_the_last_value() -> None:
    """What was measured is a floor, so luck at the largest size stays in the forecast."""
    found = simulate(FLAT, NEAR, 60, seed=8)
    assert found.error.mean() <= found.error_of_last.mean() + 0.004
    assert found.covered.mean() >= 0.75


def test_on_measured_curves_the_forecast_errs_less_than_the_last_value_and_its_interval_holds() -> None:
    steady = [curve for curve in real_curves() if curve.sample == "learning" and curve.others_sd <= STEADY_SD]
    found = [forecast(curve) for curve in steady[::9]]
    error = np.mean([abs(one.forecast.mean - one.others) for one in found])
    assert error < np.mean([abs(one.last - one.others) for one in found])
    assert np.mean([one.forecast.low <= one.others <= one.forecast.high for one in found]) >= 0.75


def _width(fit: CurveFit, size: int = 400) -> float:
    return fit.at(size).high - fit.at(size).low


def _named(means: list[tuple[int, float]]) -> list[tuple[int, int, float]]:
    return [(size, 0, mean) for size, mean in means]
