"""The chance of GO before a run: its gates as they are written, their spread as earlier runs saw it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.data.fingerprints import rows_fingerprint
from harness.decision.estimates import MIN_CLUSTERS
from harness.decision.go_power import PLANNED_GAIN, AssumedGate, forecast_go, planned_spread
from harness.decision.plan import PlannedDecision
from harness.decision.retesting import level_after
from harness.records import Gate, Kind, Role, RunRecord, Verdict
from harness.report.go_forecast import assumed_gates, at_levels
from harness.run.claim_meaning import ClaimMeaning
from harness.run.selection import Arm
from harness.run.session import Session
from harness.run.suite_loading import LoadedSuite

PLANNED_MARGIN = 0.05  # of a guard whose margin cannot be read


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """A collected test of one candidate at its largest size."""

    arm: Arm
    suite: str
    test: str  # its id without the candidate
    claims: tuple[ClaimMeaning, ...]  # that are written in it
    role: Role  # where they say none


def planned_decisions(
    run: Session, tests: Sequence[PlannedTest], records: Sequence[RunRecord]
) -> Iterator[PlannedDecision]:
    """One for candidates of which the same is to be said, in the order in which they were chosen.

    Args:
        run: its suites have been loaded.
        tests: of all candidates; those of suites that were not loaded are not counted.
        records: of earlier runs, the latest first.
    """
    alike: dict[PlannedDecision, list[str]] = {}
    for name in run.selection.chosen():
        mine = [test for test in tests if test.arm.name == name]
        if mine:
            found = _Gates(run, name, records).decision(mine)
            if found is not None:
                alike.setdefault(found, []).append(run.selection.sized(name)[-1].label)
    for found, names in alike.items():
        yield replace(found, candidates=tuple(names))


class _Gates:
    """The gates that one candidate is to have."""

    def __init__(self, run: Session, name: str, records: Sequence[RunRecord]) -> None:
        self._run, self._name, self._records = run, name, records
        # Holm's first step; with one candidate, the level as it is
        self._level_of = len(run.selection.chosen())
        self._advisory: set[str] = set()  # tests on judges that have no vote: they decide nothing
        self._seen = {suite: self._earlier(bound) for suite, bound in run.suites.items()}

    def decision(self, tests: Iterable[PlannedTest]) -> PlannedDecision | None:
        """None without a target: then nothing tells under which truth GO would be likely."""
        gates: list[AssumedGate] = []
        earlier: list[str] = []
        planned: list[str] = []
        uncounted: list[str] = []
        for test in tests:
            name = test.test.rpartition("::")[2]
            run_id, seen = self._seen.get(test.suite, ("", []))
            again = [pair for pair in seen if pair[0].test == test.test]
            if not again and test.test in self._advisory:
                continue
            if again:
                earlier.append(run_id)
                gates += [self._as_seen(test, *pair) for pair in again]
                continue
            made = [self._as_planned(test, name, claim) for claim in test.claims or (_unread(test.role),)]
            known = [gate for gate in made if gate is not None]
            gates += known
            (planned if known else uncounted).append(name)
        if not any(gate.role is Role.TARGET for gate in gates):
            return None
        return PlannedDecision(
            candidates=(),
            forecast=forecast_go(gates),
            earlier=tuple(dict.fromkeys(earlier)),
            planned=tuple(dict.fromkeys(planned)),
            uncounted=tuple(dict.fromkeys(uncounted)),
            level_of=self._level_of,
            is_grown=any(gate.alpha < self._run.settings.alpha / self._level_of for gate in gates),
        )

    def _earlier(self, bound: LoadedSuite) -> tuple[str, list[tuple[Gate, AssumedGate]]]:
        """The latest run that judged the candidate on these rows, and its gates on them."""
        digest = rows_fingerprint(bound.rows)
        for record in self._records:
            names = [suite.name for suite in record.suites if suite.heldout_digest == digest]
            sizes = [d.size for d in record.decisions if d.candidate == self._name]
            if names and sizes:
                every = assumed_gates(record, self._name, sizes[0])
                is_go = any(d.verdict is Verdict.GO for d in record.decisions if d.candidate == self._name)
                found = [
                    (gate, self._at_levels(assumed, assumed.alpha / record.alpha, is_go=is_go))
                    for gate, assumed in every
                    if gate.suite in names
                ]
                if found:
                    self._advisory |= {gate.test for gate in record.gates if gate.state == "advisory"}
                    return record.id, found
        return "", []

    def _at_levels(self, gate: AssumedGate, part: float, *, is_go: bool) -> AssumedGate:
        """At the ``part`` of the level that it had on these rows; what gave a GO may grow at no cost."""
        full = self._run.settings.alpha
        found = at_levels(gate, full * part, full, self._level_of)
        return replace(found, alpha_of_more=None) if is_go else found

    def _as_seen(self, test: PlannedTest, gate: Gate, seen: AssumedGate) -> AssumedGate:
        """What an earlier run saw, with the role and the bound that are written today."""
        claims = [claim for claim in test.claims if claim.score in (seen.score, None)]
        found = seen
        if len(claims) != 1 or claims[0].bound is None or Role.THRESHOLD in (claims[0].role, seen.role):
            return found
        (claim,), observed = claims, gate.comparison.difference if gate.comparison else None
        truth = seen.truth
        if claim.role is Role.TARGET and observed is not None:
            truth = observed
        elif claim.role is not seen.role:
            truth = 0.0
        return replace(found, role=claim.role, bound=claim.bound or 0.0, truth=truth)

    def _as_planned(self, test: PlannedTest, name: str, claim: ClaimMeaning) -> AssumedGate | None:
        """Planning values; None of a threshold, and of a suite that has not been loaded."""
        bound = self._run.suites.get(test.suite)
        if bound is None or claim.role is Role.THRESHOLD:
            return None
        own = [score for score in bound.scores if score.name == claim.score]
        kind = Kind(own[0].kind) if own else Kind.BINARY
        where = claim.where
        places = [at for at, slices in enumerate(bound.units.slices) if dict(where).items() <= slices.items()]
        clusters = {bound.clusters[at] or at for at in places}
        n = len(places)
        groups = len(clusters) if MIN_CLUSTERS <= len(clusters) < n else None
        margin = -PLANNED_MARGIN if claim.role is Role.GUARD else 0.0
        grown = len(self._run.history.of(bound).grown_under(self._name))
        alpha = level_after(self._run.settings.alpha, grown) / self._level_of
        return AssumedGate(
            name=name,
            suite=test.suite,
            score=claim.score or "",
            role=claim.role,
            kind=kind,
            bound=margin if claim.bound is None else claim.bound,
            n=n,
            spread=planned_spread(kind, claim.role, n, groups),
            truth=0.0 if claim.role is Role.GUARD else (claim.bound or 0.0) + PLANNED_GAIN,
            alpha=alpha,
            number=0.5 if kind is Kind.PREFERENCE else None,
            groups=groups,
        )


def _unread(role: Role) -> ClaimMeaning:
    return ClaimMeaning(role, None, None)
