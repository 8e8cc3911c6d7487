"""The claims behind the gates of a run's record, so that they can be judged at other levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isclose

from harness.decision.claims import Scores
from harness.decision.holm import Rejudged
from harness.decision.vectors import over_seeds, recorded_vector
from harness.errors import UsageError
from harness.records import Comparison, Gate, Outcome, Role, RunRecord


@dataclass(frozen=True, slots=True)
class AtItsLevel:
    """A claim that the record cannot make again: it is shown at its own level, and at no lower one."""

    comparison: Comparison

    def at(self, alpha: float) -> Comparison:
        """The comparison; inconclusive at a lower level."""
        if alpha >= self.comparison.alpha:
            return self.comparison
        return replace(self.comparison, outcome=Outcome.INCONCLUSIVE, alpha=alpha)


def recorded_claim(record: RunRecord, gate: Gate, found: Comparison) -> Rejudged:
    """The claim of a gate, from the scores in the record.

    One on a slice, or that was judged by looks, is not made again.
    """
    if found.rows:
        return AtItsLevel(found)
    sides = found.candidate, found.baseline
    try:
        mine, theirs = (_side(record, gate.suite, found.score, name, found.alpha) for name in sides)
        if isinstance(mine, float):
            assert isinstance(theirs, Scores)
            claim = theirs < mine
        elif gate.role is Role.GUARD:
            claim = mine >= theirs + found.bound
        else:
            claim = mine > theirs + found.bound
    except UsageError:
        return AtItsLevel(found)
    again = claim.comparison
    is_same = (again.outcome, again.method, again.n) == (found.outcome, found.method, found.n) and all(
        first is not None and second is not None and isclose(first, second, abs_tol=1e-9)
        for first, second in ((again.low, found.low), (again.high, found.high))
    )
    return claim if is_same else AtItsLevel(found)


def judged_alone(
    record: RunRecord, suite: str, score: str, candidate: str, baseline: str, bound: float
) -> Comparison | None:
    """The claim that a score is more than ``bound`` above the baseline's, by what the record has of both."""
    try:
        mine, theirs = (_side(record, suite, score, name, record.alpha) for name in (candidate, baseline))
    except UsageError:
        return None
    return None if isinstance(mine, float) else (mine >= theirs + bound).comparison


def _side(record: RunRecord, of_suite: str, score: str, name: str, alpha: float) -> Scores | float:
    suite = next((suite for suite in record.suites if suite.name == of_suite), None)
    if suite is None:
        raise UsageError(f"the record has no suite {of_suite}.")
    trials = [trial for trial in record.trials if (trial.suite, trial.label) == (suite.name, name)]
    if not all(score in trial.scores for trial in trials):
        raise UsageError(f"the record has no {score} of {name}.")
    if not trials:
        try:
            return float(name)
        except ValueError:
            raise UsageError(f"the record has no answers of {name}.") from None
    trials.sort(key=lambda trial: trial.seed or 0)
    vectors = [recorded_vector(suite, trial, score) for trial in trials]
    return Scores(over_seeds(vectors, [trial.seed or 0 for trial in trials]), alpha=alpha)
