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
    try:
        mine, theirs = (_side(record, gate, found, name) for name in (found.candidate, found.baseline))
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


def _side(record: RunRecord, gate: Gate, found: Comparison, name: str) -> Scores | float:
    suite = next((suite for suite in record.suites if suite.name == gate.suite), None)
    if suite is None:
        raise UsageError(f"the record has no suite {gate.suite}.")
    trials = [trial for trial in record.trials if (trial.suite, trial.label) == (suite.name, name)]
    if not all(found.score in trial.scores for trial in trials):
        raise UsageError(f"the record has no {found.score} of {name}.")
    if not trials:
        try:
            return float(name)
        except ValueError:
            raise UsageError(f"the record has no answers of {name}.") from None
    trials.sort(key=lambda trial: trial.seed or 0)
    vectors = [recorded_vector(suite, trial, found.score) for trial in trials]
    return Scores(over_seeds(vectors, [trial.seed or 0 for trial in trials]), alpha=found.alpha)
