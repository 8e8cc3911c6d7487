"""What labels of the answers of a run would bring, by what earlier runs know of its judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scipy.special import stdtrit

from harness.data.fingerprints import rows_fingerprint
from harness.decision.plan import PlannedLabels
from harness.records import Comparison, Correction, RunRecord
from harness.run.session import Session
from harness.scoring.judges import trust_of


def planned_labels(run: Session, records: Sequence[RunRecord]) -> Iterator[PlannedLabels]:
    """One for each judge that decides by labels alone; ``records`` are of earlier runs, the latest first."""
    for bound in run.suites.values():
        digest = rows_fingerprint(bound.rows)
        known = [record for record in records if any(s.heldout_digest == digest for s in record.suites)]
        for judge in bound.judges:
            if trust_of(judge) == "transfer":
                continue
            place = bound.name, judge.name, len(bound.rows)
            found = (each for record in known if (each := _earlier(record, *place)) is not None)
            yield next(found, PlannedLabels(*place))


def _earlier(record: RunRecord, suite: str, score: str, rows: int) -> PlannedLabels | None:
    """What a run that was decided by labels showed; else the kappa of its judge."""
    for gate in record.gates:
        found, correction = gate.comparison, gate.correction
        if found is None or correction is None or (gate.suite, found.score) != (suite, score):
            continue
        if correction.n_labels < correction.n and not found.rows and (spread := _spread(found, correction)):
            taken = correction.labels_saved / (correction.n_labels + correction.labels_saved)
            rho = max(taken, 0.0) / (1.0 - correction.n_labels / correction.n)
            return PlannedLabels(
                suite, score, rows, correlation=min(rho, 1.0) ** 0.5, spread=spread, earlier=record.id
            )
    infos = (info for one in record.suites if one.name == suite for info in one.scores if info.name == score)
    admission = next((info.admission for info in infos), None)
    return None if admission is None else PlannedLabels(suite, score, rows, admission.kappa)


def _spread(found: Comparison, correction: Correction) -> float | None:
    """Of the true differences, from the corrected interval and what the judge took off it."""
    if found.low is None or found.high is None:
        return None
    alone = (found.high - found.low) / 2.0 * (1.0 + correction.labels_saved / correction.n_labels) ** 0.5
    reach = float(stdtrit(correction.n_labels - 2, 1.0 - found.alpha))
    return float(alone / reach * correction.n_labels**0.5)
