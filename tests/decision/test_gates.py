"""The decision's truth table."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from decision_builders import binary_pair

from harness.decision.gates import decide, speaks_of
from harness.decision.paired import compare
from harness.records import Gate, Outcome, Role, Verdict

State = Literal["gated", "measured", "advisory", "missing"]
COUNTS = {Outcome.SHOWN: (30, 5), Outcome.REFUTED: (5, 30), Outcome.INCONCLUSIVE: (12, 10)}
S, R, I = Outcome.SHOWN, Outcome.REFUTED, Outcome.INCONCLUSIVE  # noqa: E741 - a table reads better so
T, G, H = Role.TARGET, Role.GUARD, Role.THRESHOLD
GO, NO, OPEN = Verdict.GO, Verdict.NO_GO, Verdict.INCONCLUSIVE


def gate(
    role: Role,
    outcome: Outcome | None = None,
    state: State = "gated",
    *,
    candidate: str = "tuned",
    size: int | None = 200,
    test: str | None = None,
) -> Gate:
    found = None if outcome is None else compare(*binary_pair(*COUNTS[outcome], 200))
    return Gate("support", test or f"test_{role}", candidate, size, (0,), role, state, found)


def test_a_gate_that_is_barely_refuted_among_several_says_how_often_that_is_chance() -> None:
    barely = replace(gate(G), comparison=compare(*binary_pair(8, 18, 200)))
    assert barely.comparison is not None
    assert barely.comparison.outcome is Outcome.REFUTED
    (note,) = decide("tuned", 200, [gate(T, S), barely, gate(G, S), gate(G, I)]).notes
    assert note == (
        "Each of the 4 gates is refuted up to 5% of the time where its truth lies at its bound, some one of"
        " them up to 19%: NO-GO is not held to 5%, as GO is."
    )
    assert decide("tuned", 200, [gate(T, S), gate(G, R), gate(G, S)]).notes == ()  # beyond doubt
    assert decide("tuned", 200, [replace(barely, role=Role.TARGET)]).notes == ()  # alone
    assert decide("tuned", 200, [gate(T, S), barely, replace(barely, test="other")]).notes == ()  # two


@pytest.mark.parametrize(
    ("gates", "verdict"),
    [
        pytest.param([gate(T, S)], GO, id="a shown target alone"),
        pytest.param([gate(T, S), gate(G, S), gate(H, S)], GO, id="everything shown"),
        pytest.param([gate(T, S), gate(G, R)], NO, id="a refuted guard"),
        pytest.param([gate(T, R), gate(G, S)], NO, id="a refuted target"),
        pytest.param([gate(T, S), gate(H, R)], NO, id="a refuted threshold"),
        pytest.param([gate(T, S), gate(G, I)], OPEN, id="an open guard"),
        pytest.param([gate(T, I), gate(G, S)], OPEN, id="an open target"),
        pytest.param([gate(T, I), gate(G, R)], NO, id="refuted beats open"),
        pytest.param([gate(T, S), gate(G, state="missing")], OPEN, id="a missing guard"),
        pytest.param([gate(T, R), gate(G, state="missing")], NO, id="refuted beats missing"),
        pytest.param([gate(G, S), gate(T, state="missing")], OPEN, id="a missing target"),
        pytest.param([gate(G, S)], OPEN, id="no target"),
        pytest.param([gate(H, S)], OPEN, id="a threshold is no target"),
        pytest.param([], OPEN, id="no gate at all"),
        pytest.param([gate(T, S), gate(G, R, "advisory")], GO, id="an advisory refusal decides nothing"),
        pytest.param([gate(T, S, "advisory"), gate(G, S)], OPEN, id="an advisory target is none"),
        pytest.param([gate(T, S), gate(G, R, "measured")], GO, id="measured gates are ignored"),
        pytest.param([gate(T, S, "measured")], OPEN, id="a measured target is none"),
        pytest.param([gate(T, S), gate(G, None)], OPEN, id="a gate without its comparison"),
        pytest.param([gate(T, S), gate(G, R, candidate="other")], GO, id="another candidate's gate"),
        pytest.param([gate(T, S), gate(G, R, size=100)], GO, id="another size's gate"),
    ],
)
def test_the_verdict_follows_the_truth_table(gates: list[Gate], verdict: Verdict) -> None:
    decision = decide("tuned", 200, gates)
    assert (decision.verdict, decision.candidate, decision.size) == (verdict, "tuned", 200)
    assert decide("tuned", 200, gates[::-1]).verdict is verdict


def test_the_strongest_reason_comes_first_and_carries_numbers() -> None:
    reasons = decide("tuned", 200, [gate(T, S), gate(G, I), gate(H, state="missing"), gate(G, R)]).reasons
    assert [
        word in reason
        for word, reason in zip(("refuted", "missing", "inconclusive", "shown"), reasons, strict=True)
    ]
    assert "guard gate test_guard (suite support) is refuted" in reasons[0]
    assert "-12.5 points [" in reasons[0]
    assert "n=200" in reasons[0]


def test_a_missing_gate_is_named() -> None:
    decision = decide("tuned", 200, [gate(T, S), gate(G, state="missing", test="test_format")])
    assert any("test_format" in reason and "deselected" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ([gate(G, S)], "nothing claims an improvement"),
        ([gate(G, S), gate(T, S, "advisory")], "was not admitted"),
        ([gate(G, S), gate(T, state="missing")], "the target is missing"),
    ],
)
def test_a_decision_without_a_target_says_which_target_gate_it_lacks(gates: list[Gate], words: str) -> None:
    reasons = decide("tuned", 200, gates).reasons
    assert any(reason.startswith("no target gate") and words in reason for reason in reasons)


def test_an_advisory_gate_is_mentioned_last_with_what_it_would_say() -> None:
    last = decide("tuned", 200, [gate(G, R, "advisory"), gate(T, S)]).reasons[-1]
    assert "decides nothing" in last
    assert "would be refuted" in last


def seeded(differences: tuple[float, ...], test: str = "test_target") -> Gate:
    one = gate(T, S, test=test)
    assert one.comparison is not None
    seeds = tuple(range(len(differences)))
    found = replace(one.comparison, seed_differences=differences, seed_error=0.01)
    return replace(one, seeds=seeds, comparison=found)


def test_a_training_that_collapsed_is_named_once_where_it_lies_lowest() -> None:
    gates = [seeded((0.20, 0.22, -0.10)), seeded((0.20, 0.22, 0.05), "test_other")]
    decision = decide("tuned", 200, gates, seeds=(0, 1, 2), notes=("before",))
    assert decision.collapsed == (2,)
    assert decision.notes[0] == "before"
    assert len(decision.notes) == 2
    assert "seed 2 lies 31 points below the others in" in decision.notes[1]
    assert "1 of the 3 trainings lies far below the others, which leaves up to 86%" in speaks_of(decision)


def test_a_seed_far_above_the_others_is_no_collapse_of_theirs() -> None:
    decision = decide("tuned", 200, [seeded((0.02, 0.31, 0.0))], seeds=(0, 1, 2))
    assert decision.collapsed == ()
    assert "seed 1 lies 30 points above the others in" in decision.notes[0]


def test_go_over_few_seeds_says_what_it_does_not_know_of_collapses() -> None:
    decision = decide("tuned", 200, [seeded((0.20, 0.22, 0.15, 0.18, 0.2))], seeds=(0, 1, 2, 3, 4))
    assert (decision.verdict, decision.collapsed, decision.notes) == (GO, (), ())
    assert "which leaves up to 45% (95% limit) for the share of trainings that collapse" in speaks_of(
        decision
    )
    assert "collapse" not in speaks_of(replace(decision, verdict=OPEN))
    assert "collapse" not in speaks_of(replace(decision, seeds=(0,)))
