"""The cheapest candidate whose gates all hold: the order in which they are tried, and what came of it.

Each rung is a try, whether it comes to it or not: of m rungs, the first that holds has to hold at ``alpha/m``
(Holm's first step; :mod:`harness.decision.holm`). To stop there changes no error rate, since those that are
not tried only lose a chance to be GO.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.records import Decision, Economics, Ladder, Verdict

BY_COST, AS_SET = "by what the model costs, then by kind; fine-tunes last", "as set"
FINE_TUNE = 4  # the cost rank from which on something is trained before the first answer
IS_BASELINE = "is what the others are compared with"
OUTCOMES: dict[Verdict, Literal["holds", "fails", "undecided"]] = {
    Verdict.GO: "holds",
    Verdict.NO_GO: "fails",
    Verdict.INCONCLUSIVE: "undecided",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What orders a candidate among others before anything is asked."""

    name: str
    cost_rank: int
    usd_per_mtok: float = 0.0  # read and written, of its dearest model; 0: nobody bills it
    model_bytes: int = 0  # of a local model's weights; 0: not known
    usd_per_1000_requests: float = 0.0


def cheapest_first(places: Iterable[Place], first: Sequence[str] = ()) -> tuple[str, ...]:
    """Names by what the model costs, kind, price and name, what is trained after what is not.

    Those of ``first`` stand before the others, in their order.
    """

    def cost(place: Place) -> tuple[float | str, ...]:
        of_model = place.cost_rank >= FINE_TUNE, place.usd_per_mtok, place.model_bytes
        return *of_model, place.cost_rank, place.usd_per_1000_requests, place.name

    by_cost = sorted(places, key=cost)
    named = {name: at for at, name in enumerate(first)}
    return tuple(place.name for place in sorted(by_cost, key=lambda p: named.get(p.name, len(named))))


def with_decisions(ladder: Ladder, decisions: Iterable[Decision]) -> Ladder:
    """The ladder as the decisions of its candidates make it; rungs without one stay as they are."""
    found = {decision.candidate: decision for decision in decisions}
    rungs = tuple(
        replace(rung, outcome=OUTCOMES[it.verdict], why="" if it.verdict is Verdict.GO else it.reasons[0])
        if (it := found.get(rung.candidate))
        else rung
        for rung in ladder.rungs
    )
    answer = next((rung.label for rung in rungs if rung.outcome == "holds"), None)
    return replace(ladder, rungs=rungs, answer=answer)


def with_costs(ladder: Ladder, economics: Sequence[Economics]) -> Ladder:
    """The ladder with what each rung costs, where prices tell."""
    usd = {one.baseline: one.baseline_usd_per_day / one.requests_per_day for one in economics}
    usd |= {one.candidate: one.candidate_usd_per_day / one.requests_per_day for one in economics}
    once = {one.candidate: one.training_usd for one in economics}
    rungs = [
        replace(
            rung,
            usd_per_1000_requests=1000 * usd[rung.label] if rung.label in usd else None,
            training_usd=once.get(rung.label),
        )
        for rung in ladder.rungs
    ]
    return replace(ladder, rungs=tuple(rungs))


def fails(ladder: Ladder, policy: Literal["release", "regression"]) -> bool:
    """Whether it fails a run: ``release`` wants a rung that holds, ``regression`` one that has not failed."""
    if policy == "release":
        return ladder.answer is None
    return all(rung.outcome == "fails" for rung in ladder.rungs)
