"""What keeps a decision honest beyond its gates: seeds that were seen before, and rows that did harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from harness.data.fingerprints import rows_fingerprint
from harness.decision.paired import compare
from harness.decision.vectors import over_seeds
from harness.records import Gate, Outcome, Role, ScoreVector, Trial
from harness.run.selection import Arm
from harness.run.session import Session

MORE_ROWS = "more rows do no harm"


def chosen_seeds(run: Session, name: str, gates: Sequence[Gate]) -> list[str]:
    """Why the seeds of this run may have been chosen on the rows that judge them; notes that they were seen.

    The best of three seeds looks better on the rows that it was chosen on than it is. So a verdict takes
    every seed of the recipe that these rows have judged, or rows that have judged none.
    """
    arm = run.selection.sized(name)[-1]
    suites = dict.fromkeys(g.suite for g in gates if g.candidate == name and g.state == "gated")
    if not arm.seeds or not suites or not any(variant in run.prepared for variant in arm.variants):
        return []  # what was never trained has shown no seed, though a claim on its baseline may have spoken
    recipe = run.recipe_of(arm)
    found = []
    for suite in suites:
        bound = run.suites[suite]
        seen = run.store.see_seeds(rows_fingerprint(bound.rows), recipe, arm.seeds)
        others = [seed for seed in seen if seed not in arm.seeds]
        if others:
            every = ",".join(map(str, seen))
            found.append(
                f"{bound.heldout} has judged this recipe at seed {', '.join(map(str, others))} before: a seed"
                " chosen among several cannot be tested on the rows it was chosen on. Judge them all"
                f" (--train-seeds={every}; what is trained is kept), or test the chosen one on rows that"
                " have judged none (Suite(final=...) and --final)."
            )
    return found


def harm_gates(run: Session, gates: Sequence[Gate]) -> list[Gate]:
    """For every target at the largest size: did the last rows do harm, by overfitting?

    A guard of its own sort. It decides (against the candidate) only where the training loss fell while the
    development loss rose, and the held-out score is *shown* to be lower than with fewer rows. Otherwise it is
    a measured gate: to ask that more rows are shown to do no harm would keep many a good candidate from GO.
    """
    found: list[Gate] = []
    for gate in gates:
        target = gate.role is Role.TARGET and gate.state in ("gated", "advisory")
        sizes = run.selection.sized(gate.candidate)
        if not target or gate.comparison is None or gate.comparison.rows or len(sizes) < 2:
            continue
        made = _harm_gate(run, gate, sizes[-1], sizes[-2], gate.comparison.score)
        if made is not None and made not in found:
            found.append(made)
    return found


def _harm_gate(run: Session, gate: Gate, last: Arm, before: Arm, score: str) -> Gate | None:
    now, then = _trials(run, last, gate.suite), _trials(run, before, gate.suite)
    if not now or not then:
        return None
    sides = _vector(run, gate.suite, now, last, score), _vector(run, gate.suite, then, before, score)
    found = compare(*sides, alpha=run.settings.alpha)
    flags = [t.training.overfitting for t in now if t.training is not None and t.training.overfitting]
    harmed = found.outcome is Outcome.REFUTED and bool(flags)
    if harmed:
        found = replace(found, reason=f"{found.reason} Overfitting: {flags[0]}.")
    state: Literal["gated", "measured"] = "gated" if harmed and gate.state == "gated" else "measured"
    return replace(gate, test=f"{gate.suite}::{MORE_ROWS}", role=Role.GUARD, state=state, comparison=found)


def _trials(run: Session, arm: Arm, suite: str) -> list[Trial]:
    places = [(arm.label, seed, suite) for seed in arm.replicas]
    return [run.trials[place] for place in places] if all(place in run.trials for place in places) else []


def _vector(run: Session, suite: str, trials: Sequence[Trial], arm: Arm, score: str) -> ScoreVector:
    each = [run.suites[suite].vector(trial, score) for trial in trials]
    return replace(over_seeds(each, arm.seeds), subject=arm.label)
