"""The order of a ladder, the level of its rungs, and the cheapest that holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decision_builders import binary_pair
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality import candidates
from harness.decision.claims import Scores
from harness.decision.gates import decide
from harness.decision.holm import holm_levels, judged_together
from harness.decision.ladder import Place, cheapest_first, fails, with_decisions
from harness.records import Decision, Gate, Kind, Ladder, Rung, Verdict

PLACES = [
    Place("qlora", 4),
    Place("prompt-large", 0, 10.0, usd_per_1000_requests=1.2),
    Place("tuned-mini", 4, 1.5, usd_per_1000_requests=0.2),
    Place("few-shot-mini", 1, 0.75, usd_per_1000_requests=0.6),
    Place("prompt-7b", 0, model_bytes=14_000_000_000),
    Place("few-shot-b", 1),
    Place("few-shot-a", 1),
    Place("prompt", 0),
    Place("prompt-mini", 0, 0.75, usd_per_1000_requests=0.3),
]


def test_the_order_is_that_of_models_then_kinds_and_fine_tunes_are_last() -> None:
    small = ("prompt", "few-shot-a", "few-shot-b")
    order = (*small, "prompt-7b", "prompt-mini", "few-shot-mini", "prompt-large", "qlora", "tuned-mini")
    assert cheapest_first(PLACES) == order
    assert cheapest_first(reversed(PLACES)) == order


@given(st.permutations(PLACES), st.lists(st.sampled_from([p.name for p in PLACES]), unique=True))
def test_those_that_are_named_stand_first_and_none_is_lost(places: list[Place], first: list[str]) -> None:
    order = cheapest_first(places, first)
    assert list(order[: len(first)]) == first
    assert sorted(order) == sorted(place.name for place in PLACES)
    assert order[len(first) :] == tuple(name for name in cheapest_first(PLACES) if name not in first)


def ladder(*names: str) -> Ladder:
    rungs = tuple(Rung(name, None, rank, 0, "not tried") for rank, name in enumerate(names, 1))
    return Ladder(rungs, "first", 0.05 / len(names), None, "as set")


def decided(name: str, verdict: Verdict) -> Decision:
    return Decision(name, None, verdict, (f"why {name}",))


def test_the_cheapest_that_holds_is_the_answer_whatever_the_order_of_the_decisions() -> None:
    said = [decided("c", Verdict.GO), decided("b", Verdict.GO), decided("a", Verdict.NO_GO)]
    found = with_decisions(ladder("a", "b", "c", "d"), said)
    assert [rung.outcome for rung in found.rungs] == ["fails", "holds", "holds", "not tried"]
    assert found.answer == "b"
    assert [rung.why for rung in found.rungs] == ["why a", "", "", ""]
    # labels may turn a GO of the run into something else, and the answer with it
    assert with_decisions(found, [decided("b", Verdict.INCONCLUSIVE)]).answer == "c"


def test_exit_status_under_both_policies() -> None:
    two = ladder("a", "b")
    for said, release, regression in (
        ((Verdict.NO_GO, Verdict.GO), False, False),
        ((Verdict.NO_GO, Verdict.INCONCLUSIVE), True, False),
        ((Verdict.NO_GO, Verdict.NO_GO), True, True),
        ((), True, False),
    ):
        decisions = [decided(name, verdict) for name, verdict in zip("ab", said, strict=False)]
        found = with_decisions(two, decisions)
        assert (fails(found, "release"), fails(found, "regression")) == (release, regression)
    baseline = replace(two.rungs[0], outcome="fails")  # which alone fails nothing
    assert not fails(replace(two, rungs=(baseline, two.rungs[1])), "regression")


def test_rungs_that_are_not_tried_count_as_tries() -> None:
    mine, theirs = binary_pair(13, 5, 200)  # a p of 0.048
    claim = Scores(mine) > Scores(theirs)
    gate = Gate("suite", "test", "a", None, (), claim.role, "gated", claim.comparison)
    alone = decide("a", None, [gate])
    assert judged_together([alone], [(gate, claim)], 0.05)[0].verdict is Verdict.GO
    (among,) = judged_together([alone], [(gate, claim)], 0.05, untried=3)
    assert (among.verdict, among.level, among.candidates_judged) == (Verdict.INCONCLUSIVE, 0.0125, 4)
    assert "4 rungs share the level of this ladder" in among.reasons[0]


def test_no_rung_holds_at_a_later_step_where_the_first_step_failed() -> None:
    p_values = [0.015, 0.016]  # two of four rungs were tried: 0.05 / 4 comes first, 0.05 / 3 never
    assert holm_levels(p_values, 0.05, further=2) == [0.0125, 0.0125]
    assert holm_levels([0.012, 0.016], 0.05, further=2) == pytest.approx([0.0125, 0.05 / 3])


def test_a_ladder_ends_at_the_first_that_holds() -> None:
    rng = np.random.default_rng(3)
    differences = candidates.graded(rng, (1, 4, 100))[0]
    differences[2] = rng.random(100) < 0.5
    decisions = candidates.climbed(differences, Kind.GRADED)
    assert [decision.candidate for decision in decisions] == ["0", "1", "2"]
    assert decisions[2].verdict is Verdict.GO
    assert decisions[2].candidates_judged == 4
