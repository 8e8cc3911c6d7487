"""Whole decisions through ``compare`` and ``decide``: how often GO, and how long they take."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from math import sqrt

import numpy as np

from benchmarks.quality.gate_draws import SD, rubric
from benchmarks.results import Options, Result
from harness.decision.exploratory import by_slice
from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.student import Values
from harness.decision.vectors import SuiteUnits
from harness.records import Comparison, Gate, Kind, Role, ScoreVector, Verdict

GAIN, MARGIN, GUARDS, ROWS = 0.07, 0.05, 4, 400
DECISIONS, CORES = 20_000, 2
LARGE, SLICES = 10_000, 20


def measure(options: Options) -> list[Result]:
    """The rates of GO and NO-GO of a real gain, the time of all those decisions, and of a large one."""
    decisions = 40 if options.smoke else DECISIONS
    began = time.perf_counter()
    with ProcessPoolExecutor(CORES) as pool:
        parts = list(pool.map(_verdicts, range(8), [decisions // 8] * 8))
    seconds = time.perf_counter() - began
    verdicts = [verdict for part in parts for verdict in part]
    go, no_go = (verdicts.count(wanted) / len(verdicts) for wanted in (Verdict.GO, Verdict.NO_GO))
    what = (
        f"five-level scores, sd {SD}, n={ROWS}, gain {100 * GAIN:.0f} points, {GUARDS} guards of margin "
        f"{MARGIN} truly equal; {len(verdicts):,} decisions (s.e. {sqrt(go * (1 - go) / len(verdicts)):.4f})"
    )
    large = _large_seconds(LARGE // 10 if options.smoke else LARGE)
    return [
        Result("gates: GO of a real gain", go, "", what, bar=0.90, bar_is="value at least"),
        Result("gates: NO-GO of a real gain", no_go, "", what, bar=0.02, bar_is="value at most"),
        Result(
            name=f"gates: {DECISIONS:,} decisions",
            value=seconds,
            unit="s",
            detail=f"each a target and {GUARDS} guards, n={ROWS}, one by one through compare and decide, "
            f"drawing included; {CORES} processes, {len(verdicts):,} decisions",
            bar=60.0,
            bar_is="value at most",
        ),
        Result(
            name=f"gates: one decision on {LARGE:,} rows and {SLICES} slices",
            value=large,
            unit="s",
            detail=f"a target and {GUARDS} guards through compare and decide, and the target's slices",
            bar=1.0,
            bar_is="value at most",
        ),
    ]


def _verdicts(seed: int, decisions: int) -> list[Verdict]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(decisions):
        gates = [_gate(Role.TARGET, _judged(rubric(rng, (1, ROWS), GAIN)[0], 0.0))]
        guards = rubric(rng, (GUARDS, ROWS), 0.0)
        gates += [_gate(Role.GUARD, _judged(drawn, -MARGIN)) for drawn in guards]
        found.append(decide("tuned", None, gates).verdict)
    return found


def _judged(differences: Values, bound: float) -> Comparison:
    return compare(_vector("tuned", 0.5 + differences), _vector("base", np.full(ROWS, 0.5)), bound=bound)


def _vector(subject: str, values: Values) -> ScoreVector:
    n = len(values)
    return ScoreVector(subject, "rubric", Kind.GRADED, _ids(n), tuple(values.tolist()), (None,) * n)


@cache
def _ids(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def _gate(role: Role, found: Comparison) -> Gate:
    return Gate("suite", "test", "tuned", None, (0,), role, "gated", found)


def _large_seconds(n: int) -> float:
    rng = np.random.default_rng(6)
    slices = tuple({"slice": f"s{at % SLICES}"} for at in range(n))
    units = SuiteUnits("suite", _ids(n), (None,) * n, slices)
    drawn = rubric(rng, (1 + GUARDS, n), 0.0)
    drawn[0] = rubric(rng, (1, n), GAIN)[0]
    vectors = [(_vector("tuned", 0.5 + one), _vector("base", np.full(n, 0.5))) for one in drawn]
    began = time.perf_counter()
    gates = [_gate(Role.TARGET, compare(*vectors[0]))]
    gates += [_gate(Role.GUARD, compare(*pair, bound=-MARGIN)) for pair in vectors[1:]]
    decide("tuned", None, gates)
    by_slice(units, *vectors[0], "slice")
    return time.perf_counter() - began
