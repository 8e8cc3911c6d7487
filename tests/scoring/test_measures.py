"""Time and length as scores that a suite can gate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.decision.claims import Scores
from harness.errors import UsageError
from harness.records import Answer, Kind, Message, Row, ScoreVector
from harness.scoring.checks import Check, score_all
from harness.scoring.measures import LatencyMs, OutputTokens

ROW = Row("r", (Message("user", "q"), Message("assistant", "a")))
ANSWER = Answer("r", "fine", prompt_tokens=5, completion_tokens=40, latency_ms=640.4)


@pytest.mark.parametrize(("limit", "value"), [(640.4, 1.0), (640.3, 0.0), (2000, 1.0)])
def test_latency_is_within_its_limit_or_not_and_is_told_either_way(limit: float, value: float) -> None:
    score = LatencyMs(at_most=limit).score(ROW, ANSWER)
    assert (score.value, score.reason) == (value, "640 ms")


@pytest.mark.parametrize(("limit", "value"), [(40, 1.0), (39, 0.0)])
def test_length_is_within_its_limit_or_not_and_is_told_either_way(limit: int, value: float) -> None:
    score = OutputTokens(at_most=limit).score(ROW, ANSWER)
    assert (score.value, score.reason) == (value, "40 tokens")


@pytest.mark.parametrize("check", [LatencyMs(at_most=10), OutputTokens(at_most=10)])
def test_an_answer_that_never_came_is_a_failure_and_no_fast_answer(check: Check) -> None:
    never = Answer("r", "", 0, 0, 0.0, "failed", "HTTP 500")
    assert check.score(ROW, never).value is None
    assert check.score(ROW, never).failure == "HTTP 500"


def test_a_batched_answer_has_no_latency_but_a_length() -> None:
    batched = replace(ANSWER, latency_ms=0.0, batched=True)
    assert LatencyMs(at_most=10).score(ROW, batched).value is None
    assert "Batch API" in (LatencyMs(at_most=10).score(ROW, batched).failure or "")
    assert OutputTokens(at_most=100).score(ROW, batched).value == 1.0


def test_without_a_limit_the_score_falls_in_a_straight_line_and_stays_in_its_range() -> None:
    values = [
        LatencyMs().score(ROW, replace(ANSWER, latency_ms=ms)).value for ms in (0, 100, 5000, 10_000, 1e9)
    ]
    assert values == [1.0, 0.99, 0.5, 0.0, 0.0]
    assert OutputTokens().score(ROW, ANSWER).value == 0.96
    assert OutputTokens(scale=80).score(ROW, ANSWER).value == 0.5


def test_they_are_scores_like_any_other() -> None:
    assert (LatencyMs(800).kind, LatencyMs().kind) == (Kind.BINARY, Kind.GRADED)
    assert len({LatencyMs(800), LatencyMs(at_most=800), LatencyMs(900), OutputTokens(800)}) == 3
    assert LatencyMs(800).spec() == {"check": "LatencyMs", "at_most": 800}
    assert OutputTokens().spec() == {"check": "OutputTokens", "scale": 1000.0}
    assert LatencyMs(800).bind(str) == LatencyMs(800)
    names = [check.name for check in (LatencyMs(800), LatencyMs(), OutputTokens(60), OutputTokens())]
    assert names == [
        "latency ≤ 800 ms",
        "latency (1 − ms/10000)",
        "output ≤ 60 tokens",
        "output (1 − tokens/1000)",
    ]


def test_a_suite_can_gate_them() -> None:
    rows = [Row(f"r{k}", ROW.messages) for k in range(100)]
    quick = [replace(ANSWER, row_id=row.id, latency_ms=100.0) for row in rows]
    slow = [replace(a, latency_ms=100.0 if k % 4 else 900.0) for k, a in enumerate(quick)]
    fast = LatencyMs(at_most=500)
    assert vector(fast, rows, quick) > 0.9
    assert not vector(fast, rows, slow) > 0.9
    assert not vector(fast, rows, slow) >= vector(fast, rows, quick) - 0.02
    graded = LatencyMs()
    varied = [replace(a, latency_ms=80.0 + k % 7) for k, a in enumerate(quick)]
    slower = [replace(a, latency_ms=900.0 + 40 * (k % 60)) for k, a in enumerate(quick)]
    assert vector(graded, rows, varied) > vector(graded, rows, slower)


def vector(check: Check, rows: list[Row], answers: list[Answer]) -> Scores:
    values = tuple(score.value for score in score_all(check, rows, answers))
    ids = tuple(row.id for row in rows)
    return Scores(ScoreVector("c", check.name, check.kind, ids, values, (None,) * len(ids)), None, 0.05)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_is_above_nothing(limit: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        LatencyMs(at_most=limit)
    with pytest.raises(UsageError, match="above 0"):
        OutputTokens(at_most=limit)
