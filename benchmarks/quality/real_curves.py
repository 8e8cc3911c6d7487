"""How far a learning curve's forecast errs, and how often its interval and words hold, on measured curves.

The curves are in ``benchmarks/data/lcdb``, whose README has their origin and licence: accuracy of classical
learners on OpenML's data sets at 45, 91, 181 and 362 rows. Forecast is the mean at 724 rows, against the mean
of other training seeds there on the same test rows; figures against the same run's one measurement stand
beside it without a bar.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.results import Options, Result
from harness.decision.curve import Chance, CurveFit, Forecast, ScoredTraining, fit_curve

DATA = Path(__file__).parent.parent / "data" / "lcdb" / "curves.csv"
SIZES, TARGET = (45, 91, 181, 362), 724
STEADY_SD = 0.05  # of seeds on one data set: more, and they swing
_Z90, _MOST_TEST_ROWS = 1.645, 5_000


@dataclass(frozen=True, slots=True)
class RealCurve:
    """One run of one learner on one data set."""

    sample: str  # "learning": gained at least 5 points over the sizes; "any"
    means: tuple[float, ...]  # at SIZES
    test_rows: int
    then: float  # the same run at TARGET
    others: float  # mean of the other training seeds at TARGET
    others_sd: float  # their standard deviation


@dataclass(frozen=True, slots=True)
class Found:
    """What was forecast for one curve, and what came."""

    forecast: Forecast
    chance: Chance
    last: float
    crps: float  # against ``others``
    then: float
    others: float


def real_curves() -> list[RealCurve]:
    """All curves of the data file."""
    with DATA.open(encoding="utf-8", newline="") as lines:
        return [
            RealCurve(
                row["sample"],
                tuple(float(row[str(size)]) for size in SIZES),
                min(int(row["test_rows"]), _MOST_TEST_ROWS),
                float(row[str(TARGET)]),
                float(row[f"{TARGET} others"]),
                float(row[f"{TARGET} sd"]),
            )
            for row in csv.DictReader(lines)
        ]


def forecast(curve: RealCurve) -> Found:
    """The product's own path, with the standard error that its report takes from the interval over rows."""
    points = [
        ScoredTraining(size, 0, mean, standard_error(mean, curve.test_rows))
        for size, mean in zip(SIZES, curve.means, strict=True)
    ]
    fit = fit_curve(points)
    if not isinstance(fit, CurveFit):
        raise RuntimeError(fit)
    crps = crps_of(fit.scores(TARGET), fit.weight, curve.others)
    last = curve.means[-1]
    return Found(fit.at(TARGET), fit.chance_of_small_gain(TARGET), last, crps, curve.then, curve.others)


def standard_error(mean: float, rows: int) -> float:
    """Half of Wilson's 90% interval, in standard errors: never 0."""
    z = _Z90
    return sqrt(mean * (1 - mean) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)


def crps_of(values: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], truth: float) -> float:
    """The continuous ranked probability score of a weighted sample: E|X - truth| - E|X - X'| / 2."""
    order = np.argsort(values)
    values, weight = values[order], weight[order]
    below = np.cumsum(weight) - weight / 2
    spread = 2 * float((weight * values * (2 * below - 1)).sum())
    return float((weight * np.abs(values - truth)).sum()) - spread / 2


def measure(options: Options) -> list[Result]:
    """Error, CRPS and coverage with bars, and how often each word came true.

    Where seeds land more than 5 points apart, one training's scores cannot tell the mean over seeds; those
    runs stand by themselves, without a bar, and so do all together. The two were parted after all together
    had missed the bars.
    """
    curves = real_curves()[:: 20 if options.smoke else 1]
    steady = [forecast(curve) for curve in curves if curve.others_sd <= STEADY_SD]
    swinging = [forecast(curve) for curve in curves if curve.others_sd > STEADY_SD]
    every = [*steady, *swinging]
    without_bars = _named("seeds that swing", swinging) + _named("all", every)
    return [*_errors(steady), *_words(every), *without_bars]


def _named(label: str, found: list[Found]) -> list[Result]:
    """Errors and coverage of some runs, without bars."""
    results = _errors(found) if found else []
    return [replace(one, name=one.name.replace(")", f", {label})", 1), bar=None) for one in results]


def _errors(found: list[Found]) -> Iterator[Result]:
    detail = (
        f"{len(found)} runs of classical learners on OpenML data sets (benchmarks/data/lcdb), "
        f"{', '.join(map(str, SIZES))} to {TARGET} rows, against the mean of other seeds there"
    )
    name = "curve, real (LCDB)"
    errors = [100 * abs(one.forecast.mean - one.others) for one in found]
    crps = [100 * one.crps for one in found]
    of_last = float(np.mean([100 * abs(one.last - one.others) for one in found]))
    for what, each, bar in (("MAE", errors, 2.9), ("CRPS", crps, 2.2)):
        of = f"{detail}; standard error {_error(each):.2f}"
        reference = "the error of the last value, the score at the largest size"
        mean = float(np.mean(each))
        yield Result(
            f"{name}: {what}",
            mean,
            "points",
            of,
            reference=reference,
            reference_value=of_last,
            ratio=mean / of_last,
            bar=bar,
            bar_is="value at most",
        )
    held = [float(one.forecast.low <= one.others <= one.forecast.high) for one in found]
    width = float(np.mean([100 * (one.forecast.high - one.forecast.low) for one in found]))
    of = f"{detail}; mean width {width:.1f} points; standard error {_error(held):.3f}"
    share = float(np.mean(held))
    yield Result(f"{name}: 90% band holds, at least", share, "share", of, bar=0.86, bar_is="value at least")
    yield Result(f"{name}: 90% band holds, at most", share, "share", of, bar=0.94, bar_is="value at most")
    new = float(np.mean([one.forecast.low <= one.then <= one.forecast.high for one in found]))
    of_new = f"{detail.partition(', against')[0]}, against the run's own mean, whose luck it leaves out"
    yield Result(f"{name}: 90% band holds one new training", new, "share", of_new)
    below = float(np.mean([one.forecast.mean < one.last for one in found]))
    yield Result(f"{name}: forecast below the last value", below, "share", detail)


def _words(found: list[Found]) -> Iterator[Result]:
    """Of the runs whose small gain was called likely, open or unlikely: how many gained less than a point."""
    for word in ("unlikely", "open", "likely"):
        happened = [float(one.others - one.last < 0.01) for one in found if one.chance == word]
        share = float(np.mean(happened)) if happened else None
        detail = f"{len(happened)} of {len(found)} runs; standard error {_error(happened):.2f}"
        yield Result(f'curve, real (LCDB): gain under 1 point, where "{word}"', share, "share", detail)


def _error(each: list[float]) -> float:
    return float(np.std(each, ddof=1)) / sqrt(len(each)) if len(each) > 1 else 0.0


if __name__ == "__main__":
    for result in measure(Options()):
        beside = f"; {result.reference}: {result.reference_value:.3g}" if result.reference_value else ""
        print(f"{result.name}: {result.value:.3g} {result.unit}{beside} ({result.detail})")
