"""What keeps a decision honest beyond its gates: rows that did harm, and scores that nobody asserts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from harness.decision.gates import UNASKED_DROP
from harness.decision.paired import compare, summary
from harness.decision.vectors import common_rows, over_seeds
from harness.errors import UsageError
from harness.records import TIE, Comparison, Gate, Kind, Outcome, Role, ScoreVector, Trial
from harness.run.selection import Arm
from harness.run.session import Session
from harness.scoring.judges import Judge, why_advisory
from harness.scoring.suite import SuiteScore

MORE_ROWS = "more rows do no harm"


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
    if sides[0].kind is Kind.PREFERENCE:  # both over one baseline: their difference is a graded one
        sides = replace(sides[0], kind=Kind.GRADED), replace(sides[1], kind=Kind.GRADED)
    found = compare(*sides, alpha=run.settings.alpha)
    flags = [t.training.overfitting for t in now if t.training is not None and t.training.overfitting]
    harmed = found.outcome is Outcome.REFUTED and bool(flags)
    if harmed:
        found = replace(found, reason=f"{found.reason} Overfitting: {flags[0]}.")
    state: Literal["gated", "measured"] = "gated" if harmed and gate.state == "gated" else "measured"
    return replace(
        gate,
        test=f"{gate.suite}::{MORE_ROWS}",
        role=Role.GUARD,
        state=state,
        comparison=found,
        place="",
        why="",
    )


def unasserted_scores(run: Session, name: str, gates: Sequence[Gate]) -> tuple[list[str], list[str]]:
    """The scores that no gate compares with the baseline's: what stands in the way of GO, and the rest.

    In the way is a score that is *shown* to be worse by more than ``UNASKED_DROP``, at the level of a gate,
    unless its suite waives it. The level is not adjusted for the number of scores: to miss a loss costs more
    here than to ask for a sentence. A judge that has no vote shows nothing.
    """
    mine, theirs = run.selection.sized(name)[-1], run.selection.baseline_of(name)
    asserted = {
        (gate.suite, gate.comparison.score)
        for gate in gates
        if not gate.against
        and (gate.candidate, gate.size) == (name, mine.size)
        and gate.comparison is not None
        if not gate.comparison.rows and _is_of_baseline(gate, gate.comparison)
    }
    obstacles, beside, waived = [], [], []
    for suite in run.suites.values():
        sides = _trials(run, mine, suite.name), _trials(run, theirs, suite.name)
        for score in suite.scores if all(sides) else ():
            if (suite.name, score.name) in asserted or _why_no_vote(run, score):
                continue
            try:
                found = _drop(run, suite.name, *sides, (mine, theirs), score)
            except UsageError as error:  # values that its kind cannot have
                obstacles.append(f"score {score.name} (suite {suite.name}) cannot be compared: {error}")
                continue
            seen = f"{score.name} (suite {suite.name}) {summary(found)}"
            if score.name in suite.suite.may_drop:
                waived.append(seen)
            elif found.outcome is Outcome.REFUTED:
                obstacles.append(
                    f"score {score.name} (suite {suite.name}) is shown to be worse, and no gate compares it"
                    f" with the baseline: {summary(found)}. More than {100 * UNASKED_DROP:g} points do not"
                    " pass unasked: assert how much it may lose, or waive it with"
                    f" Suite(may_drop=({score.name!r},))."
                )
            else:
                beside.append(seen)
    remarks = [
        f"{what}: {'; '.join(named)}."
        for what, named in (
            ("no gate compares with the baseline", beside),
            ("waived by the suite (may_drop)", waived),
        )
        if named
    ]
    return obstacles, remarks


def _is_of_baseline(gate: Gate, found: Comparison) -> bool:
    """A bar says nothing of the baseline; a preference has been set against it already."""
    return gate.role is not Role.THRESHOLD or found.kind is Kind.PREFERENCE


def _why_no_vote(run: Session, score: SuiteScore) -> str:
    if not isinstance(score, Judge):
        return ""
    admission = run.answerer.admission(score)
    if admission is None or not admission.admitted:
        return "its judge was not admitted"
    return "no answers of this run are labelled for its judge" if why_advisory(score, admission) else ""


def measured_difference(run: Session, suite: str, name: str, mine: Arm, theirs: Arm) -> Comparison | str:
    """The difference of a score on all rows, with limits, whether a gate asks or not; or why there is none.

    Of a judge that stopped early, a gate's, since the interval of rows that stopped the judging is wider than
    that of as many rows judged once. Where gates differ in it, the widest.
    """
    bound = run.suites[suite]
    score = next(score for score in bound.scores if score.name == name)
    if why := _why_no_vote(run, score):
        return why
    if isinstance(score, Judge) and run.settings.max_interim_looks > 1:
        said = [
            found
            for gate in run.gates
            if (gate.suite, gate.candidate, gate.size) == (suite, mine.name, mine.size)
            if (found := gate.comparison) is not None and found.score == name and not found.rows
            if found.low is not None and found.high is not None and _is_of_baseline(gate, found)
            if found.kind is not Kind.PREFERENCE
        ]
        widest = max(said, key=lambda one: ((one.high or 0.0) - (one.low or 0.0), one.n), default=None)
        return widest or "it was judged in looks, and no gate compares it on all rows"
    sides = _trials(run, mine, suite), _trials(run, theirs, suite)
    for arm, trials in zip((mine, theirs), sides, strict=True):
        if not trials:
            return f"{arm.label} was not scored on suite {suite}"
    try:
        found = _difference(run, suite, *sides, (mine, theirs), name, bound=0.0)
    except UsageError as error:  # values that its kind cannot have
        return str(error)
    return found if found.low is not None and found.high is not None else found.reason


def _drop(
    run: Session,
    suite: str,
    mine: Sequence[Trial],
    theirs: Sequence[Trial],
    arms: tuple[Arm, Arm],
    score: SuiteScore,
) -> Comparison:
    """The claim that a score is at most ``UNASKED_DROP`` worse than the baseline's.

    Of a judge trusted on labels from elsewhere, at the most of such a drop that it may show: a drop that
    stands in the way of GO has to be shown.
    """
    _, most = run.shows(score)
    return _difference(run, suite, mine, theirs, arms, score.name, bound=-UNASKED_DROP * most)


def _difference(
    run: Session,
    suite: str,
    mine: Sequence[Trial],
    theirs: Sequence[Trial],
    arms: tuple[Arm, Arm],
    score: str,
    *,
    bound: float,
) -> Comparison:
    """The claim that a score is more than ``bound`` above the baseline's; a preference, above a tie."""
    vector, other = _sides(run, suite, mine, theirs, arms, score)
    if isinstance(other, float):
        return compare(vector, other + bound, alpha=run.settings.alpha)
    return compare(vector, other, bound=bound, alpha=run.settings.alpha)


def compared_rows(
    run: Session, suite: str, score: str, mine: Arm, theirs: Arm
) -> tuple[ScoreVector, ScoreVector | float]:
    """Both sides' values of a score that ``measured_difference`` has found; of a preference, and a tie."""
    return _sides(run, suite, _trials(run, mine, suite), _trials(run, theirs, suite), (mine, theirs), score)


def _sides(
    run: Session,
    suite: str,
    mine: Sequence[Trial],
    theirs: Sequence[Trial],
    arms: tuple[Arm, Arm],
    score: str,
) -> tuple[ScoreVector, ScoreVector | float]:
    vector = _vector(run, suite, mine, arms[0], score)
    if vector.kind is Kind.PREFERENCE:
        return vector, TIE
    return common_rows(vector, _vector(run, suite, theirs, arms[1], score))


def _trials(run: Session, arm: Arm, suite: str) -> list[Trial]:
    places = [(arm.label, seed, suite) for seed in arm.replicas]
    return [run.trials[place] for place in places] if all(place in run.trials for place in places) else []


def _vector(run: Session, suite: str, trials: Sequence[Trial], arm: Arm, score: str) -> ScoreVector:
    each = [run.suites[suite].vector(trial, score) for trial in trials]
    return replace(over_seeds(each, arm.seeds), subject=arm.label)
