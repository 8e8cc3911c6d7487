"""Several candidates in one run: which GO stands, so that some GO is false at most ``alpha`` of the time.

Each gate is tested at ``alpha``. Of twenty candidates that are no better than the baseline some would be GO
far more often. S. Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statist.
6:65: the k-th smallest of m p-values has to be at most ``alpha / (m - k + 1)``, and so have those before it.
That holds whatever the candidates share: a baseline, rows, training data.

A candidate's p is the largest of its gates' (GO claims that all of them hold). A gate's is the lowest level
at which its claim is still shown, by all rules that judged it: failures, a loss that was not drawn, groups,
looks. One that had to be shown at a smaller level than the others has a p in proportion to that. A candidate
that is no GO by itself has a p of 1.

m counts every candidate that has a decision in the run, NO-GO and INCONCLUSIVE among them: each was a try.
Those that share no rows count as well, for whoever ships "one that is GO" picks among all of them.

Candidates that were judged beside one before, on its rows, and that the run leaves out count for that one as
further tries with a p of 1. What is GO then is a part of what Holm's test among today's candidates gives, and
of what it would give with those that were left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Protocol

from harness.decision.gates import gate_name
from harness.decision.retesting import percent
from harness.records import Comparison, Decision, Gate, Outcome, Verdict

LEAST_LEVEL = 1e-7  # lower ones are not looked for
_PRECISION = 1.001  # ratio between a level at which a claim is shown, and one at which it may not be


class Rejudged(Protocol):
    """A claim that can be judged at other levels; :class:`harness.decision.claims.Claim` is one."""

    @property
    def comparison(self) -> Comparison:
        """The claim at its own level."""

    @property
    def at(self) -> Callable[[float], Comparison]:
        """The claim at another level, by all the rules that made ``comparison``."""


@dataclass(frozen=True, slots=True)
class WeakestGate:
    """The gate of a candidate with the largest p; 1 and no gate where it is no GO by itself."""

    p_value: float = 1.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Candidates that were judged beside one before, on its rows, and that this run leaves out."""

    n_candidates: int
    named: str  # for people
    together: str  # how to judge them with it, as an imperative


def judged_together(
    decisions: Sequence[Decision],
    claims: Iterable[tuple[Gate, Rejudged]],
    alpha: float,
    left_out: Mapping[str, LeftOut] | None = None,
    untried: int = 0,
) -> tuple[Decision, ...]:
    """The decisions of one run, in their order: a GO that does not hold among all becomes INCONCLUSIVE.

    Args:
        decisions: one for each candidate, as its own gates make it.
        claims: the gates that decide, each with its claim.
        alpha: the chance that some GO is false.
        left_out: by candidate, others that count for it as further tries.
        untried: rungs of a ladder that it did not come to: they count as well.
    """
    m, before = len(decisions), left_out or {}
    if m + untried < 2 and not any(decision.candidate in before for decision in decisions):
        return tuple(replace(d, level=alpha) if d.verdict is Verdict.GO else d for d in decisions)
    judged = list(claims)
    weakest = [
        weakest_gate([it for it in judged if _decides(it[0], decision)], alpha)
        if decision.verdict is Verdict.GO
        else WeakestGate()
        for decision in decisions
    ]
    p_values = [each.p_value for each in weakest]
    found = []
    for at, (decision, each) in enumerate(zip(decisions, weakest, strict=True)):
        beside = before.get(decision.candidate)
        further = untried + (beside.n_candidates if beside else 0)
        level = holm_levels(p_values, alpha, further)[at]
        found.append(_among(decision, each, level, (m, untried), alpha, beside))
    return tuple(found)


def holm_levels(p_values: Sequence[float], alpha: float, further: int = 0) -> list[float]:
    """The level that each p-value has to reach; it is significant just where it does.

    From the first that misses its level on, all have that one: no later one could be smaller. ``further``
    tries have a p of 1.
    """
    levels = [0.0] * len(p_values)
    left = len(p_values) + further
    for at in sorted(range(len(p_values)), key=lambda at: p_values[at]):
        levels[at] = alpha / left
        if p_values[at] <= levels[at]:
            left -= 1
    return levels


def weakest_gate(judged: Iterable[tuple[Gate, Rejudged]], alpha: float) -> WeakestGate:
    """The largest p of gates that are shown, each times ``alpha`` over the gate's own level."""
    found = WeakestGate(0.0)
    for gate, claim in judged:
        own = claim.comparison.alpha
        if found.name and _is_shown(claim, found.p_value * own / alpha):
            continue
        found = WeakestGate(lowest_level(claim) * alpha / own, gate_name(gate))
    return found if found.name else WeakestGate()


def lowest_level(claim: Rejudged) -> float:
    """The lowest level at which a claim that is shown still is, to 0.1% above, and not below ``LEAST_LEVEL``.

    Of a claim by looks: the lowest total level whose repeated confidence limit, at the look at which the
    judging stopped, still clears the bound.
    """
    shown, not_shown = claim.comparison.alpha, LEAST_LEVEL
    if _is_shown(claim, LEAST_LEVEL):
        return LEAST_LEVEL
    while shown > not_shown * _PRECISION:
        middle = sqrt(shown * not_shown)
        if _is_shown(claim, middle):
            shown = middle
        else:
            not_shown = middle
    return shown


def _is_shown(claim: Rejudged, level: float) -> bool:
    return claim.at(level).outcome is Outcome.SHOWN


def _decides(gate: Gate, decision: Decision) -> bool:
    return (gate.candidate, gate.size, gate.state) == (decision.candidate, decision.size, "gated")


def _among(
    decision: Decision,
    weakest: WeakestGate,
    level: float,
    tries: tuple[int, int],
    alpha: float,
    left_out: LeftOut | None,
) -> Decision:
    m, untried = tries
    n_before = left_out.n_candidates if left_out else 0
    total = m + untried + n_before
    if decision.verdict is not Verdict.GO:
        return replace(decision, candidates_judged=total)
    found = replace(decision, p_value=weakest.p_value, level=level, candidates_judged=total)
    digits = next((n for n in (3, 4, 5) if percent(level, n) != percent(weakest.p_value, n)), 3)
    reached = percent(level, digits)
    largest = f"the largest p of its gates is {percent(weakest.p_value, digits)}, of {weakest.name}"
    counted, said = f"the {m} candidates of this run", f"{m} candidates were up for a decision in this run"
    way = "Run it"
    if untried:
        counted = f"the {total} rungs of this ladder, {untried} of them not tried"
        said = f"{total} rungs share the level of this ladder"
    if left_out:
        rungs = f", {untried} rungs not tried" if untried else ""
        are = f"{m} judged today{rungs} and {n_before} beside it before"
        counted = f"{total} candidates, {are}"
        said = f"{total} candidates count for this one, {are} on the same rows ({left_out.named})"
        way = f"{left_out.together}, or run it"
    if weakest.p_value <= level:
        said = f"holds at {reached} among {counted} (Holm): {largest}."
        return replace(found, reasons=(said, *decision.reasons))
    said = (
        f"{said}, and by chance some would be GO. To keep that to {percent(alpha)}, this one would have to"
        f" hold at {reached} (Holm), and {largest}. {way} alone on rows that have judged none"
        " (Suite(final=...) and --final)."
    )
    return replace(found, verdict=Verdict.INCONCLUSIVE, reasons=(said, *decision.reasons))
