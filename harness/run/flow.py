"""One run: candidates at their sizes against their baselines on every suite."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.candidates.prepare import Prepared, Workshop, prepare, require_ready
from harness.candidates.specs import Candidate, FewShot, Tuned
from harness.data.leakage import require_no_leaks
from harness.decision.claims import Claim, Scores
from harness.decision.vectors import score_vector
from harness.errors import DataError, UnknownName, UsageError
from harness.models.progress import Progress
from harness.records import Gate, Row, Trial
from harness.report.terminal import printable
from harness.run.answering import Answerer
from harness.run.binding import BoundSuite
from harness.scoring.judge import LikelihoodJudge
from harness.scoring.suite import SuiteScore
from harness.settings import Settings
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore


@dataclass(frozen=True)
class Entry:
    """One candidate at one size and seed. ``size`` is None for what is not trained."""

    name: str
    candidate: Candidate
    size: int | None = None
    seed: int | None = None

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.name if self.size is None else f"{self.name}@{self.size}"


@dataclass(frozen=True, repr=False)
class Subject:
    """What a test calls ``candidate`` or ``baseline``: an entry on one suite."""

    entry: Entry
    suite: str
    _scores: Callable[[SuiteScore], Scores]

    def __repr__(self) -> str:
        return f"<{self.name} on {self.suite}>"

    @property
    def name(self) -> str:
        """The entry's label."""
        return self.entry.label

    def scores(self, score: SuiteScore) -> Scores:
        """One value a held-out row, ready to be compared. The candidate is trained now if it must be."""
        return self._scores(score)


class Run:
    """The state of one run: what it may try, what it has tried, and what its gates said.

    Args:
        settings: what was asked.
        candidates: every candidate that the project has, by name.
        root: folder that candidates' paths start from.
        progress: who watches.
    """

    def __init__(
        self, settings: Settings, candidates: Mapping[str, Candidate], root: Path, progress: Progress
    ) -> None:
        self.settings, self.candidates = settings, dict(candidates)
        self.workshop = Workshop(root, AdapterStore(settings.store / "adapters"), progress)
        self.store = AnswerStore(settings.store / "answers.sqlite")
        self.answerer = Answerer(self.store, progress)
        self.suites: dict[str, BoundSuite] = {}
        self.trials: dict[tuple[str, str], Trial] = {}
        self.gates: list[Gate] = []
        self.prepared: dict[str, Prepared] = {}
        self.checked = False
        self._own_baselines: dict[str, Candidate] = {}
        self.training_seconds = 0.0
        self.began = time.perf_counter()

    # ----------------------------------------------------------------- what is to be tried
    def entries(self) -> tuple[Entry, ...]:
        """The candidates asked for, each at its sizes, smallest first."""
        return tuple(e for name in self.chosen() for e in self.sized(name))

    def chosen(self) -> tuple[str, ...]:
        """Names of the candidates asked for; a pattern may match several, and does not mean the baseline.

        Raises:
            UnknownName: nothing matches; lists what there is.
            UsageError: nothing but the baseline was asked for.
        """
        names = choose(self.settings.candidates, self.candidates)
        baseline = self._named_baseline()
        others = tuple(name for name in names if name != baseline)
        if names and not others:
            raise UsageError(
                f"--candidate and --baseline both say {baseline}: name another one to compare it with."
            )
        return others

    def _named_baseline(self) -> str | None:
        if self.settings.baseline is None:
            return None
        names = choose((self.settings.baseline,), self.candidates)
        if len(names) > 1:
            raise UsageError(f"--baseline={self.settings.baseline}: use one name of {', '.join(names)}.")
        return names[0]

    def sized(self, name: str) -> tuple[Entry, ...]:
        """One candidate at each of its sizes."""
        candidate = self.candidates[name]
        if not isinstance(candidate, Tuned):
            return (Entry(name, candidate),)
        sizes: Sequence[int] = self.settings.sizes or (len(self.workshop.rows(candidate.train)),)
        return tuple(Entry(name, candidate, size, self.settings.seed) for size in sizes)

    def largest(self, name: str) -> int | None:
        """The size that is gated."""
        return self.sized(name)[-1].size

    def baseline_of(self, name: str) -> Entry:
        """What a candidate is compared with: the one asked for, or its own base with the full prompt."""
        named = self._named_baseline()
        if named is not None:
            return self.sized(named)[-1]
        own = self._own_baseline(name)
        last = Path(own.model_name).name
        label = f"prompted-{last}"
        # two bases may have one last name, and one base two decodings: they are two baselines
        bases = dict.fromkeys(self._own_baseline(other) for other in self.chosen())
        number = 1 + [base for base in bases if Path(base.model_name).name == last].index(own)
        return Entry(label if number == 1 else f"{label}-{number}", own)

    def _own_baseline(self, name: str) -> Candidate:
        if name not in self._own_baselines:
            self._own_baselines[name] = self.candidates[name].own_baseline()
        return self._own_baselines[name]

    # ----------------------------------------------------------------- before anything is spent
    def check(self) -> None:
        """Everything that can be known to be wrong before a model is loaded or trained.

        Raises:
            HarnessError: a base that does not exist, unreadable or leaking rows, a size beyond the data.
        """
        entries = [e for name in self.chosen() for e in (*self.sized(name), self.baseline_of(name))]
        for entry in entries:
            self._check_rows(entry, self.suites.values())
        for entry in entries:
            require_ready(entry.candidate, self.workshop, entry.size, entry.seed or 0)
        self.checked = True

    def add_suite(self, bound: BoundSuite) -> None:
        """Register a suite. One that comes late, when the test that uses it begins, is checked on its own.

        Raises:
            DataError: another suite has its name, and would share its answers; or its rows leak.
        """
        other = self.suites.get(bound.name)
        if other is not None and not other.is_same(bound):
            raise DataError(
                bound.heldout,
                f"two suites are named {bound.name!r}, after their folders"
                f" {other.folder} and {bound.folder}.",
                "put each suite in a folder of its own, of another name; or let both tests share one suite",
            )
        if other is None and self.checked:
            for name in self.chosen():
                for entry in (self.sized(name)[-1], self.baseline_of(name)):
                    self._check_rows(entry, [bound])
        self.suites[bound.name] = bound

    def _check_rows(self, entry: Entry, suites: Iterable[BoundSuite]) -> None:
        candidate = entry.candidate
        if not isinstance(candidate, (Tuned, FewShot)):
            return
        rows = self.workshop.rows(candidate.train)
        if entry.size is not None and entry.size > len(rows):
            raise UsageError(
                f"--sizes: {entry.size} rows asked for, and {candidate.train} has {len(rows)}.\n"
                f"  mend: ask for at most {len(rows)}, or add rows."
            )
        seen: list[Row] = list(rows)
        if isinstance(candidate, Tuned):
            seen += self.workshop.known_replay(candidate)
        for bound in suites:
            require_no_leaks(seen, bound.rows)

    # ----------------------------------------------------------------- trying
    def subject(self, entry: Entry, suite: str, settle: Callable[[Claim], bool] | None) -> Subject:
        """The entry on a suite, as a test sees it."""

        def scores(score: SuiteScore) -> Scores:
            bound = self.suites[suite]
            name = bound.score(score).name
            trial = self.trial(entry, suite)
            vector = score_vector(
                bound.info({}, 0), trial, name, advisory=self._is_advisory(bound.score(score))
            )
            reasons = tuple(map(printable, vector.reasons))  # they quote answers, and people read them
            return Scores(replace(vector, subject=entry.label, reasons=reasons), settle, self.settings.alpha)

        return Subject(entry, suite, scores)

    def _is_advisory(self, score: SuiteScore) -> bool:
        return isinstance(score, LikelihoodJudge) and not self.answerer.judge(score).admission.admitted

    def trial(self, entry: Entry, suite: str) -> Trial:
        """The entry's answers and scores on a suite.

        All suites of the run are answered while the model is loaded: loading costs more than asking.
        """
        if (entry.label, suite) not in self.trials:
            prepared = self._prepare(entry)
            for bound in self.suites.values():
                if (entry.label, bound.name) not in self.trials:
                    self.trials[entry.label, bound.name] = self._try(entry, prepared, bound)
        return self.trials[entry.label, suite]

    def _prepare(self, entry: Entry) -> Prepared:
        if entry.label not in self.prepared:
            began = time.perf_counter()
            self._generate(entry)
            self.prepared[entry.label] = prepare(entry.candidate, self.workshop, entry.size, entry.seed or 0)
            self.training_seconds += time.perf_counter() - began
        return self.prepared[entry.label]

    def _generate(self, entry: Entry) -> None:
        """Have the base say its general rows, where it has not; what it said is compared before training."""
        if not isinstance(entry.candidate, Tuned):
            return
        generated = self.workshop.generated_rows(entry.candidate)
        if generated is not None and generated.found() is None:
            self.workshop.replay(entry.candidate)
            self._check_rows(entry, self.suites.values())

    def _try(self, entry: Entry, prepared: Prepared, bound: BoundSuite) -> Trial:
        answers = self.answerer.answers(entry.label, entry.candidate, prepared, bound)
        return Trial(
            candidate=entry.name,
            size=entry.size,
            seed=entry.seed,
            suite=bound.name,
            answers=answers,
            scores=self.answerer.scores(bound, answers),
            seconds=sum(answer.latency_ms for answer in answers) / 1000,
            numerics=prepared.numerics,
            training=prepared.training,
        )

    # ----------------------------------------------------------------- what was claimed
    def settle(self, entry: Entry, suite: str, test: str, claim: Claim) -> Gate:
        """Note a claim as a gate, once, however often its truth is asked."""
        measured = entry.size != self.largest(entry.name)
        gate = Gate(
            suite=suite,
            test=test,
            candidate=entry.name,
            size=entry.size,
            seed=entry.seed,
            role=claim.role,
            state="measured" if measured else "advisory" if claim.advisory else "gated",
            comparison=claim.comparison,
        )
        if gate not in self.gates:
            self.gates.append(gate)
        return gate


def choose(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Names that any pattern matches, in the patterns' order; underscores and hyphens are one.

    Raises:
        UnknownName: a pattern matches nothing.
    """
    known = list(names)
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [name for name in known if fnmatch.fnmatchcase(name, pattern.replace("_", "-"))]
        if not matches:
            raise UnknownName(
                "candidate",
                pattern,
                known,
                "A candidate is a function under @harness.candidate in conftest.py.",
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)
