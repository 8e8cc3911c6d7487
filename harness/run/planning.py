"""What a run would do and what its rows can show, before anything is trained, asked or paid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.candidates.prepare import Foreseen, foresee
from harness.decision.power import smallest_effect
from harness.decision.vectors import score_vector
from harness.errors import StoreError
from harness.records import RunRecord, Trial
from harness.report.numbers import plural
from harness.report.runjson import load_run
from harness.run.binding import BoundSuite
from harness.run.flow import Entry, Run


@dataclass(frozen=True, slots=True)
class Work:
    """What one candidate at one size takes, and how much of it is kept. ``tokens`` are those to train on."""

    label: str
    trainings: int
    trainings_kept: int
    tokens: int
    answers: int
    answers_kept: int


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest true change that a suite's rows show with 80% power, for one score.

    ``effect`` is None where no earlier run tells how the differences spread; ``earlier`` names the run.
    """

    suite: str
    score: str
    rows: int
    effect: float | None
    earlier: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do. The pace is this machine's latest in training, None where it has none."""

    work: tuple[Work, ...]
    power: tuple[Power, ...]
    training_tokens_per_second: float | None

    @property
    def training_seconds(self) -> float | None:
        """How long the missing trainings would take at this machine's latest pace."""
        tokens = sum(one.tokens for one in self.work)
        if not tokens:
            return 0.0
        pace = self.training_tokens_per_second
        return None if pace is None else tokens / pace


def make_plan(run: Run) -> Plan:
    """The plan of a run whose suites have been bound and checked."""
    entries = [e for name in run.chosen() for e in (run.baseline_of(name), *run.sized(name))]
    trained = run.workshop.adapters.trainings()
    here = [t for t in trained if t.device == run.workshop.plan().device]
    return Plan(
        work=tuple(_work(run, entry) for entry in dict.fromkeys(entries)),
        power=tuple(_powers(run)),
        training_tokens_per_second=here[0].tokens_per_second if here else None,
    )


def _work(run: Run, entry: Entry) -> Work:
    foreseen = [foresee(entry.candidate, run.workshop, entry.size, seed or 0) for seed in entry.replicas]
    suites = run.suites.values()
    trained = len(foreseen) if entry.seeds else 0
    return Work(
        label=entry.label,
        trainings=trained,
        trainings_kept=sum(f.tokens == 0 for f in foreseen) if trained else 0,
        tokens=sum(f.tokens for f in foreseen),
        answers=len(foreseen) * sum(len(bound.rows) for bound in suites),
        answers_kept=sum(_kept(run, entry, f, bound) for f in foreseen for bound in suites),
    )


def _kept(run: Run, entry: Entry, foreseen: Foreseen, bound: BoundSuite) -> int:
    if foreseen.prepared is None:
        return 0
    return run.answerer.count_kept(entry.candidate, foreseen.prepared, bound)


def _powers(run: Run) -> Iterator[Power]:
    records = list(_earlier_runs(run.settings.reports))
    for bound in run.suites.values():
        info = bound.info({}, 0)
        known = [(r, s) for r in records for s in r.suites if s.heldout_digest == info.heldout_digest]
        for score in info.scores:
            seen = ((_effect(run, record, suite.name, score.name), record.id) for record, suite in known)
            effect, earlier = next(((e, name) for e, name in seen if e is not None), (None, ""))
            yield Power(bound.name, score.name, len(bound.rows), effect, earlier)


def _effect(run: Run, record: RunRecord, suite: str, score: str) -> float | None:
    """The smallest effect at the spread that a run of the same candidates saw on the same rows."""
    info = next(s for s in record.suites if s.name == suite)
    for name in run.chosen():
        candidate = next((c for c in record.candidates if c.name == name), None)
        if candidate is None:
            continue
        sides = [_last_trial(record, suite, who, score) for who in (name, candidate.baseline)]
        if sides[0] is None or sides[1] is None:
            continue
        vectors = [score_vector(info, trial, score) for trial in sides if trial is not None]
        return smallest_effect(vectors[0], vectors[1], alpha=run.settings.alpha)
    return None


def _last_trial(record: RunRecord, suite: str, candidate: str, score: str) -> Trial | None:
    mine = [t for t in record.trials if (t.suite, t.candidate) == (suite, candidate) and score in t.scores]
    return max(mine, key=lambda t: t.size or 0, default=None)


def _earlier_runs(reports: Path) -> Iterator[RunRecord]:
    """Run records under the report folder, the latest first; what cannot be read tells nothing here."""
    for file in sorted(reports.glob("*/run.json"), reverse=True):
        try:
            yield load_run(file.read_text(encoding="utf-8"), str(file))
        except (StoreError, OSError):
            continue


def told(plan: Plan) -> list[str]:
    """The plan in lines."""
    lines = ["a plan: nothing was trained, asked or paid", ""]
    for one in plan.work:
        parts = []
        if one.trainings:
            parts.append(
                f"{plural(one.trainings, 'training')} ({one.trainings_kept} kept"
                + (f"; {one.tokens:,} tokens to train on, epochs included)" if one.tokens else ")")
            )
        parts.append(f"{one.answers:,} answers ({one.answers_kept:,} kept)")
        lines.append(f"  {one.label}: {', '.join(parts)}")
    lines += ["", _time(plan), "", "what the held-out rows can show, at 80% power and one-sided 5%:"]
    return [*lines, *(f"  {_shows(one)}" for one in plan.power)]


def _time(plan: Plan) -> str:
    seconds = plan.training_seconds
    if seconds == 0.0:
        return "nothing is left to train."
    if seconds is None:
        return "how long training takes is not known: this machine has trained nothing yet."
    pace = f"{plan.training_tokens_per_second:,.0f} tokens/s"
    return (
        f"training takes about {max(1, round(seconds / 60))} min at {pace}, the latest pace of this machine."
    )


def _shows(one: Power) -> str:
    head = f"{one.suite}, {one.rows:,} rows, {one.score}"
    if one.effect is None:
        return f"{head}: not known before a first run tells how its differences spread."
    return f"{head}: a change of {100 * one.effect:.1f} points (by the spread of run {one.earlier})."
