"""Forecasts as people read them: one table, explained once, that agrees with what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sample_run import ADAPTER, SIZES, sample_run

from harness.decision.curve import ScoredTraining, fit_curve
from harness.records import Kind, RunRecord, Score
from harness.report.forecasts import forecast_of
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.view import build_view
from harness.report.view_models import CurveForecast


@pytest.fixture(scope="module")
def run() -> RunRecord:
    return sample_run(n_rows=60)


def forecast(*means: float, kind: Kind = Kind.BINARY) -> CurveForecast:
    points = [ScoredTraining(size, 0, mean, 0.03) for size, mean in zip(SIZES, means, strict=False)]
    (found,) = forecast_of("it", kind, points, fit_curve(points))
    return found


def test_all_scores_stand_in_one_table_and_the_explanation_stands_once(run: RunRecord) -> None:
    view = build_view(run)
    assert view.forecasts
    assert view.forecasts.table
    assert [row[0] for row in view.forecasts.table.rows] == [curve.title for curve in view.curves]
    assert "at 400 rows" in {name for name, _ in view.forecasts.table.columns}
    assert "forecast at 800 rows [90%]" in {name for name, _ in view.forecasts.table.columns}
    for page in (render_html(run), render_markdown(run)):
        assert page.count("What was measured stands") == 1


def test_every_line_agrees_with_its_own_numbers(run: RunRecord) -> None:
    view = build_view(run)
    assert view.forecasts
    assert view.forecasts.table
    for _, measured, ahead, gain, chance, check in view.forecasts.table.rows:
        mean, low, high = _numbers(ahead)
        (last,) = _numbers(measured)
        assert low <= mean <= high <= 100
        assert mean >= last
        assert round(mean - last, 1) == _numbers(gain)[0] <= round(100 - last, 1)
        assert chance in ("likely", "open", "unlikely")
        assert len(list(_numbers(check))) == 3


def test_the_chart_draws_the_forecast_that_the_table_prints_and_tells_it_in_words(run: RunRecord) -> None:
    view = build_view(run)
    assert view.forecasts
    assert view.forecasts.table
    for curve, row in zip(view.curves, view.forecasts.table.rows, strict=True):
        (line,) = curve.lines
        assert line.ahead
        assert (line.ahead.from_size, line.ahead.to.size) == (400, 800)
        drawn = (line.ahead.to.mean, line.ahead.to.low, line.ahead.to.high)
        assert [f"{value:.1f}" for value in drawn] == [f"{value:.1f}" for value in _numbers(row[2])]
        assert f"{ADAPTER}: At 800 rows: {row[2]} expected" in curve.description


def test_a_gain_is_the_difference_of_the_two_means_as_they_are_printed() -> None:
    for means in ((0.3, 0.5, 0.95, 0.98449), (0.52, 0.5549, 0.56, 0.6049), (0.1, 0.2, 0.95, 0.9996)):
        found = forecast(*means)
        assert round(_numbers(found.ahead)[0] - _numbers(found.measured)[0], 1) == _numbers(found.gain)[0]


def test_a_score_that_falls_or_drops_says_so() -> None:
    assert forecast(0.9, 0.8, 0.7, 0.6).notes == [
        "the score falls with every size, and so does its forecast."
    ]
    dropped = forecast(0.9, 0.95, 0.97, 0.3)
    assert dropped.gain == "0.0"
    assert dropped.small_gain == "open"
    assert dropped.notes == ["400 rows scored less than fewer did, so no gain is expected from more."]


def test_scores_that_have_no_forecast_share_the_reason() -> None:
    run = sample_run(n_rows=20)
    two = replace(run, trials=tuple(trial for trial in run.trials if trial.size in (None, 50, 100)))
    view = build_view(two)
    assert view.forecasts
    assert view.forecasts.table is None
    (note,) = view.forecasts.notes
    assert note.startswith("No forecast of support / valid; support / intent; ")
    assert note.endswith(": a forecast takes at least 3 training sizes; there are 2: 50, 100.")


def test_a_size_without_scores_is_no_point_of_the_curve() -> None:
    run = sample_run(n_rows=20)
    lost = Score(None, failure="out of memory")
    trials = (
        replace(t, scores={name: (lost,) * len(each) for name, each in t.scores.items()})
        if t.size == 400
        else t
        for t in run.trials
    )
    view = build_view(replace(run, trials=tuple(trials)))
    assert view.forecasts
    assert view.forecasts.table
    assert "at 200 rows" in {name for name, _ in view.forecasts.table.columns}


def _numbers(text: str) -> list[float]:
    return list(map(float, _found(text)))


def _found(text: str) -> Iterator[str]:
    return (found.replace("\N{MINUS SIGN}", "-") for found in re.findall(r"[-\N{MINUS SIGN}]?\d+\.\d", text))
