"""What stands beside a decision that is not taken: how likely GO is with these rows, and what it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_run import ADAPTER, sample_run

from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.records import Decision, Gate, Kind, Role, RunRecord, ScoreVector, Verdict
from harness.report.go_forecast import go_forecast
from harness.report.html import render_html
from harness.report.markdown import render_markdown
from harness.report.terminal import summary


def pair_of(gained: int, lost: int, n: int = 200) -> tuple[ScoreVector, ScoreVector]:
    """Candidate and baseline; only these rows differ."""
    same = [1.0] * (n - gained - lost)
    sides = ([1.0] * gained + [0.0] * lost + same, [0.0] * gained + [1.0] * lost + same)
    candidate, baseline = (
        ScoreVector("tuned", "intent", Kind.BINARY, tuple(map(str, range(n))), tuple(side), (None,) * n)
        for side in sides
    )
    return candidate, baseline


def gate(test: str, role: Role, gained: int, lost: int, bound: float = 0.0) -> Gate:
    found = compare(*pair_of(gained, lost), bound=bound)
    return Gate("support", f"test_it.py::{test}", ADAPTER, 400, (0,), role, "gated", found)


def decided(*gates: Gate, others: int = 0) -> tuple[RunRecord, Decision]:
    """A record of these gates alone, without the rows behind them."""
    decision = decide(ADAPTER, 400, gates)
    decisions = (decision, *[replace(decision, candidate=f"other-{at}") for at in range(others)])
    return replace(sample_run(n_rows=20), gates=gates, decisions=decisions, trials=()), decision


TARGET = gate("test_intent", Role.TARGET, 40, 20)
OPEN = gate("test_kept", Role.GUARD, 8, 12, bound=-0.05)
UNMARGINED = gate("test_equal", Role.GUARD, 10, 10)


def test_an_undecided_run_says_how_likely_go_was_and_what_it_takes() -> None:
    assert go_forecast(*decided(TARGET, OPEN)) == (
        "With these rows and this spread, a candidate that truly is as good as observed on the targets, and"
        " loses nothing on the guards, gets GO 57% of the time; guard test_kept (5 points) costs most (83%"
        " without it); 80% takes about 550 rows if they are added to these (0.5% a gate)."
    )


def test_a_guard_without_a_margin_is_named_as_one_that_no_number_of_rows_shows() -> None:
    said = go_forecast(*decided(TARGET, UNMARGINED))
    assert "guard test_equal has no margin, so sides that truly are equal pass it 5% of the time" in said
    assert "give it one (83% without it)" in said
    assert "80% takes" not in said


def test_a_target_that_was_not_better_is_told_so() -> None:
    said = go_forecast(*decided(gate("test_intent", Role.TARGET, 20, 22), OPEN))
    assert "target test_intent is not shown at any number of rows, were it as observed (−1.0)" in said


def test_several_candidates_share_the_level() -> None:
    said = go_forecast(*decided(TARGET, OPEN, others=4))
    assert "(at the strictest level among 5 candidates)" in said
    assert "gets GO 24% of the time" in said


@pytest.mark.parametrize(
    "gates",
    [
        pytest.param((TARGET, gate("test_kept", Role.GUARD, 9, 9, -0.1)), id="GO"),
        pytest.param((TARGET, gate("test_kept", Role.GUARD, 2, 40, -0.05)), id="NO-GO"),
        pytest.param((OPEN,), id="no target: nothing tells under which truth"),
        pytest.param((TARGET, replace(OPEN, state="missing", comparison=None)), id="a gate is missing"),
    ],
)
def test_there_is_nothing_to_say_where_more_rows_are_not_what_is_missing(gates: tuple[Gate, ...]) -> None:
    assert go_forecast(*decided(*gates)) == ""


def test_it_stands_in_every_report_of_a_record_alone() -> None:
    record = sample_run()
    assert record.decisions[0].verdict is Verdict.INCONCLUSIVE
    said = go_forecast(record, record.decisions[0])
    assert "failed rows repaired" in said
    assert "guard test_format (2 points) costs most" in said
    small, decision = decided(TARGET, OPEN)
    said = go_forecast(small, decision)
    assert said in render_markdown(small)
    assert said in render_html(small)
    assert said in " ".join(summary(small, 400, colour=False).split())
