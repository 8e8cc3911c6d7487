"""What more training rows are expected to score: one line for each score and candidate, explained once."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decision.curve import LEAST_SIZES, CurveFit, Forecast, ScoredTraining, fit_curve
from harness.records import Kind
from harness.report import numbers
from harness.report.view_models import Curve, CurveForecast, Forecasts, TextTable

_NOTE = (
    "Each forecast is of the mean at twice the rows, on these held-out rows and averaged over training "
    "seeds, with a 90% interval. It averages five families of curves and monotone curves without a formula, "
    "each by how well it explains the measured sizes. What was measured stands: gains are counted from it, "
    "and only a score that falls with every size is forecast below it. Not covered: one training's luck, "
    "other held-out rows, and training rows of another kind. docs/decision.md has how often the intervals "
    "held and the words came true on real curves."
)
_CHECK = " The last column is a check: what the smaller sizes would have forecast for the largest."


def forecast_of(
    candidate: str, kind: Kind, points: Sequence[ScoredTraining], fit: CurveFit | str
) -> list[CurveForecast]:
    """The forecast at twice the rows; none where there is one size, which nobody takes for a curve.

    Args:
        candidate: its name.
        kind: of the score.
        points: every training that was scored.
        fit: the curve through them, or why there is none.
    """
    sizes = sorted({point.size for point in points})
    if len(sizes) < 2:
        return []
    if isinstance(fit, str):
        return [CurveForecast(candidate, why_not=fit)]
    last, there = fit.largest, fit.at(2 * fit.largest)
    notes = []
    if fit.falls:
        notes.append("the score falls with every size, and so does its forecast.")
    if fit.stays:
        notes.append(f"{last:,} rows scored less than fewer did, so no gain is expected from more.")
    check = numbers.NONE
    if len(sizes) > LEAST_SIZES:
        earlier = fit_curve([point for point in points if point.size < last])
        check = numbers.NONE if isinstance(earlier, str) else _expected(earlier.at(last), kind)
    return [
        CurveForecast(
            candidate,
            largest=last,
            measured=numbers.mean(fit.measured, kind),
            ahead=_expected(there, kind),
            # of the two as they are printed, so that the reader who subtracts them finds the same
            gain=numbers.points(round(round(100 * there.mean, 1) - round(100 * fit.measured, 1), 1) / 100),
            small_gain=fit.chance_of_small_gain(2 * last),
            check=check,
            notes=notes,
        )
    ]


def _expected(there: Forecast, kind: Kind) -> str:
    return f"{numbers.mean(there.mean, kind)} [{100 * there.low:.1f}, {100 * there.high:.1f}]"


def forecasts(curves: Sequence[Curve]) -> Forecasts | None:
    """The forecasts of all curves in one table; None where there is nothing to say."""
    every = [(curve.title, one) for curve in curves for one in curve.forecasts]
    many = len({one.candidate for _, one in every}) > 1
    named = [(f"{title}, {one.candidate}" if many else title, one) for title, one in every]
    found = [(name, one) for name, one in named if not one.why_not]
    sizes = {one.largest for _, one in found}
    (last, ahead), *others = sorted((f"{size:,}", f"{2 * size:,}") for size in sizes) or [("", "")]
    checked = any(one.check != numbers.NONE for _, one in found)
    rows = [
        (
            name,
            one.measured + (f" at {one.largest:,}" if others else ""),
            one.ahead + (f" at {2 * one.largest:,}" if others else ""),
            one.gain,
            one.small_gain,
            *([one.check] if checked else []),
        )
        for name, one in found
    ]
    heads = ["score"]
    heads += ["last measured#", "forecast at twice the rows [90%]#"] if others else [f"at {last} rows#"]
    heads += [] if others else [f"forecast at {ahead} rows [90%]#"]
    heads += [
        "gain, points#",
        "a gain under 1 point is",
        *(["forecast of the last size#"] if checked else []),
    ]
    table = TextTable("Forecasts at twice the rows", heads, rows, _NOTE + (_CHECK if checked else ""))
    notes = [f"{name}: {note}" for name, one in named for note in one.notes]
    reasons: dict[str, list[str]] = {}
    for name, one in named:
        if one.why_not:
            reasons.setdefault(one.why_not, []).append(name)
    notes += [f"No forecast of {'; '.join(names)}: {reason}." for reason, names in reasons.items()]
    notes += [line for curve in curves for line in curve.worth]
    return Forecasts(table if rows else None, notes) if rows or notes else None
