"""Whole decisions: how often a real gain is GO beside several guards, as forecast and through ``compare``.

    python -m benchmarks.quality.whole_decisions   # the forecasts as the table of docs/decision.md

A target gains 10 points where 30% of the rows differ; guards of 5 points lose nothing where 10% differ. Also:
how often NO-GO comes about with five guards at their bounds, by enumeration. No bar: nothing controls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt

import numpy as np
from scipy.special import ndtr

from benchmarks.results import Options, Result
from harness.decision.go_power import AssumedGate, GoForecast, forecast_go
from harness.decision.paired import compare
from harness.decision.power import power_of_guard
from harness.decision.student import Values
from harness.records import Kind, Outcome, Role, ScoreVector

ROWS, GUARDS, DRAWS, SEED = 200, (1, 3, 5), 4_000, 20_261_128
GAIN, GAIN_SHARE, MARGIN, GUARD_SHARE = 0.10, 0.30, 0.05, 0.10
SHARED = 0.5  # correlation of the rows' latent luck between gates, where they are not independent


def measure(options: Options) -> list[Result]:
    """Forecasts beside simulated decisions, and NO-GO at the bounds; under 60 s on one core."""
    draws = 40 if options.smoke else DRAWS
    found, gaps = [], []
    for shared in (0.0, SHARED):
        shown, seen = _shown(shared, draws)
        for guards in GUARDS:
            forecast = forecast_go(assumed(guards, seen if shared else None)).p_go
            simulated = float(np.mean(shown[:, : 1 + guards].all(axis=1)))
            rows = f"latent correlation {shared:g}" if shared else "independent"
            name = f"whole decisions: GO, n={ROWS}, {_guards(guards)} of 5 points, {rows}"
            detail = (
                f"{draws:,} decisions through compare (s.e. {sqrt(simulated * (1 - simulated) / draws):.4f});"
                f" forecast {forecast:.4f}"
            )
            found.append(Result(name, simulated, "", detail))
            gaps.append(abs(forecast - simulated))
    listed = ", ".join(f"{gap:.4f}" for gap in gaps)
    off = Result(
        "whole decisions: forecast of GO is off by, at most",
        max(gaps),
        "",
        f"over the settings above: {listed}",
        bar=0.03,
        bar_is="value at most",
    )
    return [*found, off, *_no_go()]


def assumed(guards: int, seen: Sequence[Values] | None = None, rows: int = ROWS) -> list[AssumedGate]:
    """A target and so many guards, as this benchmark draws them; ``seen`` are differences by row."""
    each = list(seen) if seen is not None else [None] * (1 + guards)
    target = AssumedGate(
        "target", "suite", "score", Role.TARGET, Kind.BINARY, 0.0, rows, GAIN_SHARE, GAIN, seen=each[0]
    )
    return [
        target,
        *(
            AssumedGate(
                f"guard {at}",
                "suite",
                "score",
                Role.GUARD,
                Kind.BINARY,
                -MARGIN,
                rows,
                GUARD_SHARE,
                0.0,
                seen=each[at],
            )
            for at in range(1, guards + 1)
        ),
    ]


def _shown(shared: float, draws: int) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.bool_]], list[Values]]:
    """Which gates are shown (draws, 1 + guards), and the differences of one large sample, gate by gate."""
    rng = np.random.default_rng(SEED)
    shown = np.zeros((draws, 1 + max(GUARDS)), dtype=np.bool_)
    for draw in range(draws):
        for at, differences in enumerate(_differences(rng, ROWS, shared)):
            bound = -MARGIN if at else 0.0
            sides = _vector("tuned", differences >= 0), _vector("base", differences <= 0)
            shown[draw, at] = compare(*sides, bound=bound).outcome is Outcome.SHOWN
    return shown, _differences(rng, 20_000, shared)


def _differences(rng: np.random.Generator, n: int, shared: float) -> list[Values]:
    """Gains and losses of single rows, gate by gate; a row's luck is partly the same for all of them."""
    common = rng.standard_normal(n)
    found = []
    for at in range(1 + max(GUARDS)):
        luck = ndtr(sqrt(shared) * common + sqrt(1 - shared) * rng.standard_normal(n))
        share, difference = (GUARD_SHARE, 0.0) if at else (GAIN_SHARE, GAIN)
        gain, loss = (share + difference) / 2, (share - difference) / 2
        found.append(np.where(luck > 1 - gain, 1.0, np.where(luck < loss, -1.0, 0.0)))
    return found


def _vector(subject: str, right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ScoreVector:
    n = len(right)
    return ScoreVector(subject, "s", Kind.BINARY, _ids(n), tuple(right.astype(float).tolist()), (None,) * n)


@cache
def _ids(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def _no_go() -> list[Result]:
    """Five guards, each truly at its bound: some one of them is refuted."""
    settings = {
        "five guards at their bounds of 5 points": MARGIN,
        "five guards without a margin, truly equal": 0.0,
    }
    found = []
    for name, margin in settings.items():
        # refuted is the mirror image of shown: that the loss exceeds the margin
        one = power_of_guard(Kind.BINARY, ROWS, -margin, GUARD_SHARE, difference=margin)
        detail = (
            f"exact, n={ROWS}, {GUARD_SHARE:.0%} of the rows differ, independent; each is refuted {one:.4f}"
        )
        found.append(Result(f"whole decisions: NO-GO, {name}", 1 - (1 - one) ** 5, "", detail))
    return found


def _guards(count: int) -> str:
    return f"{count} guard{'' if count == 1 else 's'}"


def table() -> str:
    """P(GO) as forecast, and the rows that bring it to 80%, as Markdown."""
    sizes = (100, 200, 400, 800)
    lines = ["| guards | " + " | ".join(f"n={n}" for n in sizes) + " | 80% takes about |"]
    lines.append("| --: " * (len(sizes) + 2) + "|")
    for guards in (0, *GUARDS):
        forecasts: list[GoForecast] = [forecast_go(assumed(guards, rows=n)) for n in sizes]
        needed = (forecasts[0].rows or {"suite": 0})["suite"]
        cells = [f"{one.p_go:.0%}" for one in forecasts]
        lines.append(f"| {guards} | " + " | ".join(cells) + f" | {round(needed, -1):,} rows |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
