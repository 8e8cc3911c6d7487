"""What nearness is worth: scores on held-out rows with near neighbours in training, and on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from harness.records import ScoreVector
from harness.run.selection import Arm
from harness.run.session import Session

LEAST_ROWS = 5  # on either side, for figures
CONFIDENCE = 0.95


def row_notes(run: Session) -> list[str]:
    """What the record says of rows that are copies, of rows that training has too, and of near ones."""
    found = [suite.copies for suite in run.suites.values() if suite.copies]
    for seen in run.seen.values():
        found += seen.notes
    for name in run.selection.chosen():
        arm = run.selection.sized(name)[-1]
        for suite in run.suites:
            near = run.seen[suite].near.get(arm.name, frozenset()) if suite in run.seen else frozenset()
            found += _figures(run, arm, suite, near)
    return found


def _figures(run: Session, arm: Arm, suite: str, near: frozenset[str]) -> Iterator[str]:
    rows = len(run.suites[suite].rows)
    sides = [side for side in (arm, run.selection.baseline_of(arm.name)) if _was_asked(run, side, suite)]
    if not sides or not near:
        return
    if min(len(near), rows - len(near)) < LEAST_ROWS:
        some = f"{len(near)} of {rows} held-out rows have a near neighbour in its training rows"
        yield f"{arm.label}, {suite}: {some}, too few on one side to compare their scores."
        return
    for score in run.suites[suite].scores:
        if score.name not in run.trials[arm.label, arm.replicas[0], suite].scores:
            continue
        said = [
            part
            for side in sides
            if (part := _difference(side.label, _vector(run, side, suite, score.name), near)) is not None
        ]
        if said:
            yield (
                f"{suite}, {score.name}, rows with a near neighbour in the training rows of {arm.name}"
                f" against the others: {'; '.join(said)}."
            )


def _was_asked(run: Session, arm: Arm, suite: str) -> bool:
    return (arm.label, arm.replicas[0], suite) in run.trials


def _vector(run: Session, arm: Arm, suite: str, score: str) -> ScoreVector:
    return run.suites[suite].vector(run.trials[arm.label, arm.replicas[0], suite], score)


def _difference(label: str, vector: ScoreVector, near: frozenset[str]) -> str | None:
    """The means with n, and their difference with its interval."""
    both = zip(vector.row_ids, vector.values, strict=True)
    known = [(row in near, value) for row, value in both if value is not None]
    sides = [[value for is_near, value in known if is_near is side] for side in (True, False)]
    if min(map(len, sides)) < LEAST_ROWS:
        return None
    low, high = _interval(*sides)
    close, others = map(fmean, sides)
    return (
        f"{label} {close:.2f} (n={len(sides[0])}) and {others:.2f} (n={len(sides[1])}),"
        f" difference {close - others:+.2f} ({CONFIDENCE:.0%} interval {low:+.2f} to {high:+.2f})"
    )


def _interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Welch's, of the difference of means, a 0 and a 1 added to each sample (A. Agresti, B. Caffo 2000)."""
    from scipy.stats import ttest_ind

    found = ttest_ind([*a, 0.0, 1.0], [*b, 0.0, 1.0], equal_var=False).confidence_interval(CONFIDENCE)
    return float(found.low), float(found.high)
