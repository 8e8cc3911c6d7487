"""From gates to a decision: GO, NO-GO or INCONCLUSIVE.

An intersection-union test (Berger 1982, Technometrics 24:295): GO claims that every gate holds, so
each is tested at its own level and no correction for their number is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from harness.decision.retesting import percent
from harness.decision.seeds import far_below, most_collapses
from harness.records import Comparison, Decision, Gate, MoneyGate, Outcome, Role, Verdict

NOT_ADMITTED = "its judge was not admitted"

UNASKED_DROP = 0.02  # in score units: how much worse a score may be that no gate compares


def decide(
    candidate: str,
    size: int | None,
    gates: Sequence[Gate],
    *,
    seeds: tuple[int, ...] = (),
    obstacles: Sequence[str] = (),
    notes: tuple[str, ...] = (),
    remarks: Sequence[str] = (),
    money: Sequence[MoneyGate] = (),
) -> Decision:
    """The decision for ``candidate`` at ``size``, from the ``gates`` of the whole run.

    NO-GO: some gate is refuted, whatever else is missing. GO: no gate is missing, every one is shown,
    and at least one of them is a target. Else INCONCLUSIVE. A threshold (a comparison with a plain
    number) counts as a guard and never as a target: passing a bar does not show that the candidate
    beats what is there already. Advisory gates decide nothing and are mentioned last; measured ones,
    and those of other candidates and sizes, are ignored. ``obstacles`` are other reasons against GO,
    ``remarks`` are named last and decide nothing, and ``notes`` are only said beside the decision. ``money``
    that a test asserts decides as gates do; where it is not known, it is in the way of GO.
    """
    own = [gate for gate in gates if gate.candidate == candidate and gate.size == size]
    judged = [(g, g.comparison) for g in own if g.state == "gated" and g.comparison is not None]
    by_outcome: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    for gate, found in judged:
        bound = found.claimed
        shift = f" {'+' if bound > 0 else '-'} {abs(bound):g}" if bound else ""
        rows = f" where {found.rows}" if found.rows else ""
        claim = f"{found.score}{rows} of {found.candidate} against {found.baseline}{shift}"
        by_outcome[found.outcome].append(f"{gate_name(gate)} is {found.outcome}: {claim}, {found.reason}")
    for asserted in money:
        if (asserted.candidate, asserted.size) == (candidate, size):
            said = f"money gate {asserted.test.rpartition('::')[2]} is {asserted.outcome}: {asserted.reason}"
            by_outcome[asserted.outcome].append(said)
    gaps = list(obstacles)
    for gate in own:
        if gate.state == "missing" or (gate.state == "gated" and gate.comparison is None):
            gaps.append(
                f"{gate.role} gate {gate.test} (suite {gate.suite}) is missing: "
                f"{gate.why or 'it was deselected or never reached.'}"
            )
    if not any(gate.role is Role.TARGET for gate, _ in judged):
        targets = {gate.state: _why(gate) for gate in own if gate.role is Role.TARGET}
        gap = "no target gate (`candidate > baseline`) is among the gates: nothing claims an improvement."
        if "advisory" in targets:
            why = targets["advisory"].partition(". ")[0]  # the mend stands beside the gate itself
            gap = f"no target gate decides: {why.replace('its judge', 'the judge that it rests on', 1)}."
        elif "missing" in targets:
            gap = "no target gate was judged: the target is missing."
        gaps.append(gap)
    advice = []
    for gate in own:
        if gate.state == "advisory":
            would_be = gate.comparison
            seen = "" if would_be is None else f" It would be {would_be.outcome}: {would_be.reason}"
            advice.append(f"{gate_name(gate)} is advisory and decides nothing: {_why(gate)}.{seen}")
    refuted, open_ = by_outcome[Outcome.REFUTED], by_outcome[Outcome.INCONCLUSIVE]
    undecided = Verdict.INCONCLUSIVE if gaps or open_ else Verdict.GO
    verdict = Verdict.NO_GO if refuted else undecided
    reasons = (*refuted, *gaps, *open_, *by_outcome[Outcome.SHOWN], *advice, *remarks)
    if len(refuted) == 1:
        notes = (*notes, *_by_chance([found for _, found in judged]))
    collapsed, said = _collapses(judged, seeds)
    return Decision(
        candidate,
        size,
        verdict,
        reasons,
        seeds,
        (*notes, *said),
        collapsed,
        obstacles=tuple(obstacles),
        remarks=tuple(remarks),
    )


def decided_again(
    decision: Decision, before: Sequence[Gate], gates: Sequence[Gate], money: Sequence[MoneyGate] = ()
) -> Decision:
    """A decision of a run's record by other gates. What was said that rests on no gate is kept.

    Args:
        decision: as the run made it.
        before: the gates of the run, which made it.
        gates: those that decide now.
        money: claims on money that decide now.
    """
    own = [gate for gate in before if (gate.candidate, gate.size) == (decision.candidate, decision.size)]
    of_gates = decide(decision.candidate, decision.size, own, seeds=decision.seeds)
    obstacles, remarks = decision.obstacles, decision.remarks
    if obstacles is None:  # of a version that kept all reasons together: obstacles stand before open gates
        begins = (*(f"{gate_name(gate)} is " for gate in own), *(f"{g.role} gate {g.test} " for g in own))
        is_of_gate = [said.startswith((*begins, "no target gate ")) for said in decision.reasons]
        last = max((at for at, is_it in enumerate(is_of_gate) if is_it), default=-1)
        others = [(at, said) for at, said in enumerate(decision.reasons) if not is_of_gate[at]]
        obstacles = tuple(said for at, said in others if at < last)
        remarks = tuple(said for at, said in others if at > last)
    return decide(
        decision.candidate,
        decision.size,
        gates,
        seeds=decision.seeds,
        obstacles=obstacles,
        remarks=remarks,
        money=money,
        notes=tuple(note for note in decision.notes if note not in of_gates.notes),
    )


def _why(gate: Gate) -> str:
    """Why an advisory gate decides nothing; records of earlier versions know of one reason."""
    return gate.why or NOT_ADMITTED


def _collapses(
    judged: Sequence[tuple[Gate, Comparison]], seeds: tuple[int, ...]
) -> tuple[tuple[int, ...], list[str]]:
    """The seeds that lie far below the others on any gate, and a sentence on each group of them."""
    widest: dict[tuple[int, ...], tuple[float, str]] = {}
    for gate, found in judged:
        if len(found.seed_differences) != len(seeds):
            continue
        places, distance = far_below(found.seed_differences, found.seed_error or 0.0)
        below = tuple(seeds[place] for place in places)
        if below and distance > widest.get(below, (0.0, ""))[0]:
            rows = f" where {found.rows}" if found.rows else ""
            widest[below] = distance, f"{found.score}{rows} (suite {gate.suite})"
    collapsed: set[int] = set()
    said = []
    for below, (distance, score) in widest.items():
        above = [seed for seed in seeds if seed not in below]
        if len(below) > len(above):
            said.append(
                f"{_lie(above)} {100 * distance:.0f} points above the others in {score}: by luck, or because"
                " the baseline's training collapsed. The mean rests on it."
            )
            continue
        collapsed |= set(below)
        others = "other" if len(above) == 1 else "others"
        said.append(
            f"{_lie(below)} {100 * distance:.0f} points below the {others} in {score}: such a training"
            " collapsed, and so may the next."
        )
    return tuple(sorted(collapsed)), said


def _lie(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]} lies" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))} lie"


def _by_chance(judged: Sequence[Comparison]) -> Iterator[str]:
    """How often one refuted gate of several comes about although no truth lies beyond its bound.

    Nothing where it is refuted at its share of the level, too: then that is as rare as for a single gate.
    """
    (refuted,) = [found for found in judged if found.outcome is Outcome.REFUTED]
    p_refuted = 1.0 if refuted.p_one_sided is None else 1.0 - refuted.p_one_sided
    if len(judged) < 2 or p_refuted <= refuted.alpha / len(judged):
        return
    levels = [found.alpha for found in judged]
    some = 1.0 - prod(1.0 - level for level in levels)
    level = percent(max(levels))
    yield (
        f"Each of the {len(levels)} gates is refuted up to {level} of the time where its truth lies at its"
        f" bound, some one of them up to {100 * some:.0f}%: NO-GO is not held to {level}, as GO is."
    )


def gate_name(gate: Gate) -> str:
    """A gate by its test's own name; the whole id is longer than the sentence around it."""
    return f"{gate.role} gate {gate.test.rpartition('::')[2]} (suite {gate.suite})"


def speaks_of(decision: Decision) -> str:
    """A sentence on the subject of the verdict: one checkpoint, or the recipe that made several."""
    if not decision.seeds:
        return ""
    if len(decision.seeds) == 1:
        return (
            f"The verdict speaks of this checkpoint (seed {decision.seeds[0]}), not of the recipe: another"
            " seed may land elsewhere. Several --train-seeds let it speak of the recipe."
        )
    seeds = ", ".join(map(str, decision.seeds))
    said = (
        f"The verdict speaks of the recipe, over seeds {seeds}: of what one more training would give, on"
        " average. Any one checkpoint may lie above or below."
    )
    collapsed, n_seeds = len(decision.collapsed), len(decision.seeds)
    if not collapsed and decision.verdict is not Verdict.GO:
        return said
    far = f"{collapsed or 'None'} of the {n_seeds} trainings {'lie' if collapsed > 1 else 'lies'}"
    return (
        f"{said} {far} far below the others, which leaves up to {most_collapses(collapsed, n_seeds):.0%} (95%"
        " limit) for the share of trainings that collapse."
    )
