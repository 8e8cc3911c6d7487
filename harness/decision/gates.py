"""From gates to a decision: GO, NO-GO or INCONCLUSIVE.

An intersection-union test (Berger 1982, Technometrics 24:295): GO claims that every gate holds, so
each is tested at its own level and no correction for their number is due.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.records import Comparison, Decision, Gate, Outcome, Role, Verdict


def decide(
    candidate: str,
    size: int | None,
    gates: Sequence[Gate],
    *,
    seeds: tuple[int, ...] = (),
    obstacles: Sequence[str] = (),
) -> Decision:
    """The decision for ``candidate`` at ``size``, over its gates that gate, advise or are missing.

    NO-GO: some gate is refuted, whatever else is missing. GO: no gate is missing, every one is shown,
    and at least one of them is a target. Else INCONCLUSIVE. A threshold (a comparison with a plain
    number) counts as a guard and never as a target: passing a bar does not show that the candidate
    beats what is there already. Advisory gates decide nothing and are mentioned last; measured ones,
    and those of other candidates and sizes, are ignored.

    Args:
        candidate: whose gates.
        size: and at which training size.
        gates: of the whole run.
        seeds: that it was trained with; they say what the verdict speaks of.
        obstacles: what else keeps the decision from GO, a sentence each.
    """
    own = [gate for gate in gates if gate.candidate == candidate and gate.size == size]
    judged = [(g, g.comparison) for g in own if g.state == "gated" and g.comparison is not None]
    missing = [g for g in own if g.state == "missing" or (g.state == "gated" and g.comparison is None)]
    by_outcome = {
        outcome: [_reason(gate, found) for gate, found in judged if found.outcome is outcome]
        for outcome in Outcome
    }
    refuted, open_ = by_outcome[Outcome.REFUTED], by_outcome[Outcome.INCONCLUSIVE]
    gaps = [*obstacles, *(_missing(gate) for gate in missing)]
    if not any(gate.role is Role.TARGET for gate, _ in judged):
        gaps.append(_no_target(own))
    undecided = Verdict.INCONCLUSIVE if gaps or open_ else Verdict.GO
    verdict = Verdict.NO_GO if refuted else undecided
    advice = [_advice(gate) for gate in own if gate.state == "advisory"]
    reasons = (*refuted, *gaps, *open_, *by_outcome[Outcome.SHOWN], *advice)
    return Decision(candidate, size, verdict, reasons, seeds)


def _reason(gate: Gate, found: Comparison) -> str:
    return f"{_name(gate)} is {found.outcome}: {_claim(found)}, {found.reason}"


def _claim(found: Comparison) -> str:
    shift = f" {'+' if found.bound > 0 else '-'} {abs(found.bound):g}" if found.bound else ""
    rows = f" where {found.rows}" if found.rows else ""
    return f"{found.score}{rows} of {found.candidate} against {found.baseline}{shift}"


def _missing(gate: Gate) -> str:
    return f"{_name(gate, whole_id=True)} is missing: it was deselected or never reached."


def _no_target(own: Sequence[Gate]) -> str:
    if any(gate.role is Role.TARGET and gate.state == "advisory" for gate in own):
        return "no target gate decides: the judge that it rests on was not admitted."
    if any(gate.role is Role.TARGET and gate.state == "missing" for gate in own):
        return "no target gate was judged: the target is missing."
    return "no target gate (`candidate > baseline`) is among the gates: nothing claims an improvement."


def _advice(gate: Gate) -> str:
    seen = (
        "" if gate.comparison is None else f" It would be {gate.comparison.outcome}: {gate.comparison.reason}"
    )
    return f"{_name(gate)} is advisory and decides nothing: its judge was not admitted.{seen}"


def _name(gate: Gate, *, whole_id: bool = False) -> str:
    test = gate.test if whole_id else gate.test.rpartition("::")[2]
    return f"{gate.role} gate {test} (suite {gate.suite})"


def speaks_of(decision: Decision) -> str:
    """What the verdict is about: one checkpoint, or the recipe that made several."""
    if not decision.seeds:
        return ""
    if len(decision.seeds) == 1:
        return (
            f"The verdict speaks of this checkpoint (seed {decision.seeds[0]}), not of the recipe: another"
            " seed may land elsewhere. Several --train-seeds let it speak of the recipe."
        )
    told = ", ".join(map(str, decision.seeds))
    return (
        f"The verdict speaks of the recipe, over seeds {told}: of what one more training would give, on"
        " average. Any one checkpoint may lie above or below."
    )
