"""Where an interval plot puts its marks, so that templates compute nothing."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from harness.records import Comparison, Outcome
from harness.report import numbers
from harness.report.view_models import IntervalPlot, Tone

OUTCOME_TONE: dict[Outcome, Tone] = {
    Outcome.SHOWN: "good",
    Outcome.REFUTED: "bad",
    Outcome.INCONCLUSIVE: "unsure",
}
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def reach_of(comparisons: Iterable[Comparison]) -> float:
    """The half-width, in score units, of one axis that holds every interval: a round number."""
    ends = (v for c in comparisons for v in (c.low, c.high, c.difference, c.bound) if v is not None)
    widest = max((abs(v) for v in ends if isfinite(v)), default=0.0)
    return next((step for step in _STEPS if widest <= step), 1.0)


def axis(reach: float) -> tuple[str, str]:
    """The labels of the two ends of the axis, in points."""
    return numbers.points(-reach).replace(".0", ""), numbers.points(reach).replace(".0", "")


def plot(comparison: Comparison, reach: float, tone: Tone, *, with_bound: bool = True) -> IntervalPlot | None:
    """The marks of one interval on an axis from ``-reach`` to ``reach``; None without an interval."""
    low, high, middle = comparison.low, comparison.high, comparison.difference
    if low is None or high is None or middle is None:
        return None
    if not all(map(isfinite, (low, high, middle))):
        return None
    left, right = _place(low, reach), _place(high, reach)
    bound = _place(comparison.bound, reach) if with_bound and comparison.bound else None
    label = f"difference {numbers.points(middle)} points, interval {numbers.interval(low, high)}"
    if bound is not None:
        label += f", has to clear {numbers.points(comparison.bound)}"
    ends = axis(reach)
    return IntervalPlot(
        low=left,
        width=round(max(right - left, 0.4), 2),
        point=_place(middle, reach),
        zero=50.0,
        bound=bound,
        tone=tone,
        axis_low=ends[0],
        axis_high=ends[1],
        label=label,
    )


def sign_tone(comparison: Comparison) -> Tone:
    """Good or bad where the interval lies on one side of zero; plain where it holds zero."""
    if comparison.low is not None and comparison.low > 0:
        return "good"
    if comparison.high is not None and comparison.high < 0:
        return "bad"
    return "plain"


def _place(value: float, reach: float) -> float:
    return round(min(100.0, max(0.0, 50 + 50 * value / reach)), 2)
