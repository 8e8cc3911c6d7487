"""What the rows of a run's suites can show, by the spread that earlier runs saw on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.data.fingerprints import rows_fingerprint
from harness.decision.plan import Power
from harness.decision.power import smallest_effect
from harness.decision.vectors import recorded_vector
from harness.errors import DataError, StoreError
from harness.records import TIE, Kind, RunRecord, Trial
from harness.report.runjson import load_file
from harness.run.session import Session


def powers(run: Session, records: Sequence[RunRecord]) -> Iterator[Power]:
    """One for each score of each suite; ``records`` are of earlier runs, the latest first."""
    for bound in run.suites.values():
        digest = rows_fingerprint(bound.rows)
        known = [(r, s) for r in records for s in r.suites if s.heldout_digest == digest]
        for score in bound.scores:
            seen = ((_effect(run, record, suite.name, score.name), record.id) for record, suite in known)
            effect, earlier = next(((e, name) for e, name in seen if e is not None), (None, ""))
            yield Power(bound.name, score.name, len(bound.rows), effect, earlier)


def _effect(run: Session, record: RunRecord, suite: str, score: str) -> float | None:
    """The smallest effect at the spread that a run of the same candidates saw on the same rows."""
    info = next(s for s in record.suites if s.name == suite)
    for name in run.selection.chosen():
        candidate = next((c for c in record.candidates if c.name == name), None)
        if candidate is None:
            continue
        mine = _last_trial(record, suite, name, score)
        kinds = {each.name: each.kind for each in info.scores}
        if mine is not None and kinds.get(score) is Kind.PREFERENCE:
            return smallest_effect(recorded_vector(info, mine, score), TIE, alpha=run.settings.alpha)
        sides = [mine, _last_trial(record, suite, candidate.baseline, score)]
        if sides[0] is None or sides[1] is None:
            continue
        vectors = [recorded_vector(info, trial, score) for trial in sides if trial is not None]
        return smallest_effect(vectors[0], vectors[1], alpha=run.settings.alpha)
    return None


def _last_trial(record: RunRecord, suite: str, candidate: str, score: str) -> Trial | None:
    mine = [t for t in record.trials if (t.suite, t.candidate) == (suite, candidate) and score in t.scores]
    return max(mine, key=lambda t: t.size or 0, default=None)


def earlier_runs(run: Session) -> Iterator[RunRecord]:
    """Records under the report folder, the latest first; what cannot be read tells nothing here."""
    for file in sorted(run.settings.reports.glob("*/run.json"), reverse=True):
        try:
            record = load_file(file)
        except (DataError, StoreError, OSError, UnicodeDecodeError):
            continue
        # a stand-in's answers by script say nothing of how real ones spread
        if run.settings.rehearse is not None or not record.rehearsal:
            yield record
