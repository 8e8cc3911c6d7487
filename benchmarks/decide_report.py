"""How long a decision and its report take on 10,000 rows: comparisons, slices, page."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.results import Options, Result
from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import (
    Answer,
    CandidateInfo,
    Gate,
    Kind,
    Role,
    RunRecord,
    Score,
    ScoreInfo,
    ScoreVector,
    SuiteInfo,
    SuiteRow,
    Trial,
)
from harness.report.html import write_report

ROWS, SLICE_KEYS, VALUES_A_KEY = 10_000, 20, 5
BASE, TUNED = "base", "tuned"
REPEATS = 5
METHODS = ("Tango", "paired t and Hall", "cluster-robust t and Tango")


def measure(options: Options) -> list[Result]:
    """Time ``compare`` for each of its methods, then decide and report on a synthetic record."""
    n = ROWS // 20 if options.smoke else ROWS
    comparisons = [_time_compare(method, n) for method in METHODS]
    return [*comparisons, *_decide_and_report(n)]


def _time_compare(method: str, n: int) -> Result:
    kind = Kind.GRADED if method.startswith("paired t") else Kind.BINARY
    grouped = method.startswith("cluster-robust t")
    sides = _vector(TUNED, kind, n, grouped, 1), _vector(BASE, kind, n, grouped, 2)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = compare(*sides)
        seconds.append(time.perf_counter() - began)
    assert found.method == method
    return Result(
        name=f"compare() on {ROWS:,} rows, {method}",
        value=median(seconds),
        unit="s",
        detail=f"n={n:,}; median of {REPEATS}, from {min(seconds):.3g} to {max(seconds):.3g} s",
    )


def _vector(subject: str, kind: Kind, n: int, grouped: bool, seed: int) -> ScoreVector:
    chance = Random(seed)
    draws = [chance.random() for _ in range(n)]
    return ScoreVector(
        subject=subject,
        score="intent",
        kind=kind,
        row_ids=tuple(f"r{k}" for k in range(n)),
        values=tuple(draw if kind is Kind.GRADED else float(draw < 0.8) for draw in draws),
        groups=tuple(f"g{k // 5}" if grouped else None for k in range(n)),
    )


def _decide_and_report(n: int) -> list[Result]:
    suite = suite_of(n)
    trials = trial_of(suite, BASE, 0.6), trial_of(suite, TUNED, 0.8)
    with tempfile.TemporaryDirectory() as folder:
        seconds = []
        for k in range(2):
            began = time.perf_counter()
            page = write_report(decided(suite, trials), Path(folder) / f"run-{k}")
            seconds.append(time.perf_counter() - began)
        sizes = {path.name: path.stat().st_size / 1e6 for path in page.parent.iterdir()}
    what = f"{n:,} rows, {SLICE_KEYS} slice keys of {VALUES_A_KEY} values, 2 scores, 2 trials"
    others = ", ".join(f"{name} {mb:.2f} MB" for name, mb in sorted(sizes.items()) if name != page.name)
    return [
        Result(
            name=f"decide and report, {ROWS:,} rows × {SLICE_KEYS} slices",
            value=seconds[0],
            unit="s",
            detail=f"{what}; the first time in a process, imports included; again: {seconds[1]:.2f} s",
            bar=3.0,
            bar_is="value at most",
        ),
        Result(
            name=f"report.html, {ROWS:,} rows × {SLICE_KEYS} slices",
            value=sizes[page.name],
            unit="MB",
            detail=f"{what}; beside it {others}",
            bar=5.0,
            bar_is="value at most",
        ),
    ]


def decided(suite: SuiteInfo, trials: tuple[Trial, Trial]) -> RunRecord:
    """The record of a run whose gates are compared and decided now."""
    base, tuned = trials
    gates = tuple(
        Gate(
            suite.name,
            f"suites/support/test_support.py::test_{score}",
            TUNED,
            None,
            (),
            role,
            "gated",
            compare(recorded_vector(suite, tuned, score), recorded_vector(suite, base, score), bound=bound),
        )
        for score, role, bound in (("intent", Role.TARGET, 0.0), ("summary", Role.GUARD, -0.02))
    )
    return RunRecord(
        id="benchmark",
        created="2026-01-01T00:00:00Z",
        command="python -m benchmarks decide_report",
        gate_policy="release",
        alpha=0.05,
        candidates=(
            CandidateInfo(BASE, "prompted", 0, {}, "model", "digest", BASE),
            CandidateInfo(TUNED, "qlora", 4, {"r": 16}, "model", "digest", BASE),
        ),
        suites=(suite,),
        trials=trials,
        gates=gates,
        decisions=(decide(TUNED, None, gates),),
        economics=(),
        environment={},
        timings_s={},
    )


def suite_of(n: int, n_keys: int = SLICE_KEYS) -> SuiteInfo:
    """Held-out rows drawn from a seed."""
    chance = Random(0)
    keys = tuple(f"key{k}" for k in range(n_keys))
    rows = tuple(
        SuiteRow(
            id=f"r{k}",
            question=f"Order {k} has not arrived, nobody answers, and I leave on Monday. " * 3,
            reference=json.dumps({"intent": "delivery", "summary": f"Order {k} is late"}),
            slices={key: f"v{chance.randrange(VALUES_A_KEY)}" for key in keys},
        )
        for k in range(n)
    )
    scores = ScoreInfo("intent", Kind.BINARY, "the intent"), ScoreInfo("summary", Kind.GRADED, "the summary")
    return SuiteInfo("support", "heldout.jsonl", "digest", rows, scores, keys, None)


def trial_of(suite: SuiteInfo, name: str, rate: float) -> Trial:
    chance = Random(name)
    return Trial(
        candidate=name,
        size=None,
        seed=None,
        suite=suite.name,
        answers=tuple(Answer(row.id, row.reference, 90, 30, 100.0) for row in suite.rows),
        scores={
            "intent": tuple(Score(float(chance.random() < rate), "'delivery'") for _ in suite.rows),
            "summary": tuple(Score(rate * chance.random(), "likelihood") for _ in suite.rows),
        },
        seconds=1.0,
        numeric_config="bfloat16",
    )
