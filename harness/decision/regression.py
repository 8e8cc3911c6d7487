"""Regressions: which refuted guards of a run against a reference stand, and how small a loss they show.

A guard is refuted where more than its margin is shown to be lost. With several of them, of runs in which
nothing changed more than the level could be refuted by chance where margins are small. So some loss has to be
shown, too, at the share of the level that each guard has (Bonferroni): at most the level of runs without a
change are then refuted, however many guards there are and whatever their margins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.decision import ladder
from harness.decision.claims import Claim, shown_bound
from harness.decision.power import smallest_effect
from harness.decision.retesting import percent
from harness.records import Outcome, RunRecord, ScoreVector, Verdict


def at_shared_level(claims: Sequence[Claim], alpha: float) -> list[Claim]:
    """The guards of one run, at ``alpha`` together: a refuted one whose loss may be none is inconclusive."""
    level, found = alpha / max(len(claims), 1), []
    for claim in claims:
        it = claim.comparison
        if it.outcome is Outcome.REFUTED and len(claims) > 1:
            shared = claim.at(level)
            if shared.high is None or shared.high >= 0.0:
                why = f"A loss is not shown at {percent(level)}, the share of each of {len(claims)} gates."
                claim = replace(
                    claim, comparison=replace(it, outcome=Outcome.INCONCLUSIVE, reason=f"{it.reason} {why}")
                )
        found.append(claim)
    return found


def smallest_loss(claim: Claim, alpha: float, n_claims: int = 1) -> float | None:
    """The smallest true loss, in score units, that refutes a guard 4 times in 5, at the spread of its rows.

    ``n_claims`` share the level. None where no loss below 1 does, or the larger side is a number.
    """
    mine = claim.candidate
    if not isinstance(mine, ScoreVector):
        return None
    # of a judge that shows a part of a true difference, see `claims.shown_bound`
    margin = max(-shown_bound(claim.comparison.claimed, mine.shows[::-1]), 0.0)
    beyond = smallest_effect(mine, claim.baseline, alpha=alpha, margin=margin)
    at_all = smallest_effect(mine, claim.baseline, alpha=alpha / n_claims)
    return None if beyond is None or at_all is None else max(beyond, at_all)


def why_blocked(record: RunRecord) -> str:
    """Why the run fails by its gate policy, as far as its decisions tell; empty: it does not.

    Under ``regression`` a gate that no test wrote, and that no reference run asks for, fails no run.
    """
    if record.ladder is not None:
        return "no rung of the ladder holds" if ladder.fails(record.ladder, record.gate_policy) else ""
    if record.gate_policy == "release":
        is_go = all(decision.verdict is Verdict.GO for decision in record.decisions)
        return "" if is_go else "under --gate=release anything but GO fails the run"
    gates = [gate for gate in record.gates if gate.state == "gated" and gate.comparison]
    refuted = [gate for gate in gates if gate.comparison and gate.comparison.outcome is Outcome.REFUTED]
    if any(gate.against for gate in refuted):
        return "a loss against the reference run is shown"
    is_money = any(money.outcome is Outcome.REFUTED for money in record.money_gates)
    return "a gate is refuted" if is_money or any(gate.place for gate in refuted) else ""
