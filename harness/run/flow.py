"""One run: candidates at their sizes against their baselines on every suite."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import harness.candidates.hosted.prepare
import harness.candidates.hosted.ready  # noqa: F401 - both register what is done with hosted candidates
from harness.candidates.prepare import Prepared, Workshop, prepare, require_beginnable, require_ready
from harness.candidates.specs import Candidate, FewShot, Tuned
from harness.candidates.trained import Trained, known_replay
from harness.data.leakage import require_no_leaks
from harness.decision.claims import Claim, Scores
from harness.decision.economics import EconomicsConfig
from harness.decision.prices import PriceKey
from harness.decision.vectors import only_rows, over_seeds, score_vector
from harness.errors import DataError, HarnessError, UnknownName, UsageError
from harness.models.progress import Progress
from harness.models.spending import Money
from harness.records import Gate, Price, Row, Trial
from harness.report.terminal import printable
from harness.run.answering import Answerer
from harness.run.binding import BoundSuite
from harness.run.costs import economics_config
from harness.run.ledger import Ledger
from harness.run.looking import Looking
from harness.scoring.judges import Judge
from harness.scoring.suite import SuiteScore
from harness.settings import Settings
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore


@dataclass(frozen=True)
class Entry:
    """One candidate at one size, with every seed it is trained with. What is not trained has neither."""

    name: str
    candidate: Candidate
    size: int | None = None
    seeds: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.name if self.size is None else f"{self.name}@{self.size}"

    @property
    def replicas(self) -> tuple[int | None, ...]:
        """Its seeds; one None for what is not trained."""
        return self.seeds or (None,)


@dataclass(frozen=True, repr=False)
class Subject:
    """What a test calls ``candidate`` or ``baseline``: an entry on one suite."""

    entry: Entry
    suite: str
    _scores: Callable[[SuiteScore, Mapping[str, str]], Scores]

    def __repr__(self) -> str:
        return f"<{self.name} on {self.suite}>"

    @property
    def name(self) -> str:
        """The entry's label."""
        return self.entry.label

    def scores(self, score: SuiteScore, **where: str) -> Scores:
        """One value a held-out row, ready to be compared. The candidate is trained now if it must be.

        Args:
            score: one of the suite's.
            where: slice fields and the value that rows must have there, such as ``language="es"``.
        """
        return self._scores(score, where)


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
        self.ledger = Ledger(settings.max_usd)
        money = Money(self.ledger.paying, self.prices)
        adapters = AdapterStore(settings.store / "adapters")
        self.workshop = Workshop(root, adapters, progress, money, apart=True, horizon_days=self._horizon_days)
        self.store = AnswerStore(settings.store / "answers.sqlite")
        self.answerer = Answerer(self.store, progress, money)
        self.suites: dict[str, BoundSuite] = {}
        self.trials: dict[tuple[str, int | None, str], Trial] = {}  # by label, seed and suite
        self.gates: list[Gate] = []
        self.prepared: dict[tuple[str, int | None], Prepared] = {}  # by label and seed
        self.failed: dict[tuple[str, int | None], HarnessError] = {}  # what could not be prepared
        self.checked = False
        self._own_baselines: dict[str, Candidate] = {}
        self.stopped: dict[str, str] = {}  # by candidate: what kept its gates from being judged
        self.training_seconds = 0.0
        self.began = time.perf_counter()

    def prices(self) -> tuple[Mapping[PriceKey, Price], str]:
        """The project's own prices of hosted models, and the file that they stand in."""
        config = economics_config(self.suites.values(), self.settings.root)
        return ({}, "economics.toml") if config is None else (config.prices, config.where)

    def _horizon_days(self) -> float:
        """The time over which the project's economics add up a saving."""
        config = economics_config(self.suites.values(), self.settings.root)
        return (config or EconomicsConfig(1)).horizon_days

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
        if not isinstance(candidate, Trained):
            return (Entry(name, candidate),)
        sizes: Sequence[int] = self.settings.sizes or (len(self.workshop.rows(candidate.train)),)
        return tuple(Entry(name, candidate, size, self.settings.seeds) for size in sizes)

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

        A service is asked only for a job that could not be begun, and may be there.

        Raises:
            HarnessError: a base that does not exist, unreadable or leaking rows, a size beyond the data, a
                hosted model without a key, or under a cap without a price.
        """
        self.check_rows()
        for problem in self.unready():
            raise problem
        for entry, seed in self.replicas():
            require_beginnable(entry.candidate, self.workshop, entry.size, seed)
        self.checked = True

    def check_rows(self) -> None:
        """The part of ``check`` that looks at rows alone.

        Raises:
            HarnessError: unreadable or leaking rows, a size beyond the data.
        """
        for entry in dict.fromkeys(entry for entry, _ in self.replicas()):
            self._check_rows(entry, self.suites.values())

    def unready(self) -> Iterator[HarnessError]:
        """What stands in the way of each entry, as far as is known without a request; nothing is sent."""
        for entry, seed in self.replicas():
            try:
                require_ready(entry.candidate, self.workshop, entry.size, seed)
            except HarnessError as problem:
                yield problem
        for bound in self.suites.values():
            yield from self._unready_judges(bound)

    def replicas(self) -> Iterator[tuple[Entry, int]]:
        """Every entry that is to be tried, the baselines among them, with each of its seeds; each once."""
        entries = (e for name in self.chosen() for e in (*self.sized(name), self.baseline_of(name)))
        for entry in dict.fromkeys(entries):
            for seed in entry.replicas:
                yield entry, seed or 0

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
            for problem in self._unready_judges(bound):
                raise problem
        self.suites[bound.name] = bound

    def _unready_judges(self, bound: BoundSuite) -> Iterator[HarnessError]:
        for score in bound.scores:
            if isinstance(score, Judge):
                try:
                    score.require_ready(self.answerer.oracle)
                except HarnessError as problem:
                    yield problem

    def _check_rows(self, entry: Entry, suites: Iterable[BoundSuite]) -> None:
        candidate = entry.candidate
        if not isinstance(candidate, Trained | FewShot):
            return
        rows = self.workshop.rows(candidate.train)
        if entry.size is not None and entry.size > len(rows):
            raise UsageError(
                f"--sizes: {entry.size} rows asked for, and {candidate.train} has {len(rows)}.\n"
                f"  mend: ask for at most {len(rows)}, or add rows."
            )
        seen: list[Row] = list(rows)
        if isinstance(candidate, Trained):
            seen += known_replay(candidate, self.workshop)
        for bound in suites:
            require_no_leaks(seen, bound.rows)

    # ----------------------------------------------------------------- trying
    def subject(self, entry: Entry, suite: str, settle: Callable[[Claim], bool] | None) -> Subject:
        """The entry on a suite, as a test sees it."""

        def scores(score: SuiteScore, where: Mapping[str, str]) -> Scores:
            own = self.suites[suite].score(score)
            info = self.suites[suite].info({}, 0)
            trials = self.trials_of(entry, suite)
            advisory = self._is_advisory(own)
            staged = self._staged(entry, suite, own) if not where else None
            if isinstance(own, Judge) and staged is None:
                trials = self._judged(entry, suite, own)
            each = [score_vector(info, trial, own.name, advisory=advisory) for trial in trials]
            vector = only_rows(info, over_seeds(each, entry.seeds), where)
            reasons = tuple(map(printable, vector.reasons))  # they quote answers, and people read them
            said = replace(vector, subject=entry.label, reasons=reasons)
            return Scores(said, settle, self.settings.alpha, staged=staged)

        return Subject(entry, suite, scores)

    def _staged(self, entry: Entry, suite: str, score: SuiteScore) -> Looking | None:
        """The entry's scores by a judge, made as they are needed; None for what is judged whole."""
        if self.settings.judge_looks == 1 or not isinstance(score, Judge):
            return None
        (seed,) = entry.replicas
        place = entry.label, seed, suite
        bound = self.suites[suite]
        judge, oracle = self.answerer.judge(score), self.answerer.oracle
        return Looking(
            info=bound.info({}, 0),
            rows=bound.rows,
            get=lambda: self.trials[place],
            put=lambda trial: self.trials.update({place: trial}),
            score=score.name,
            judge=lambda rows, answers: judge.score_many(rows, answers, oracle),
            looks=self.settings.judge_looks,
            alpha=self.settings.alpha,
            name=entry.label,
            advisory=self._is_advisory(score),
        )

    def _judged(self, entry: Entry, suite: str, score: SuiteScore) -> tuple[Trial, ...]:
        """The entry's trials with every row judged."""
        staged = self._staged(entry, suite, score)
        if staged is not None:
            staged.upto(staged.plan.rows)
        return self.trials_of(entry, suite)

    def _is_advisory(self, score: SuiteScore) -> bool:
        return isinstance(score, Judge) and not self.answerer.judge(score).admission.admitted

    def trials_of(self, entry: Entry, suite: str) -> tuple[Trial, ...]:
        """The entry's answers and scores on a suite, one trial a seed."""
        return tuple(self._trial(entry, seed, suite) for seed in entry.replicas)

    def _trial(self, entry: Entry, seed: int | None, suite: str) -> Trial:
        """All suites of the run are answered while the model is loaded: loading costs more than asking."""
        if (entry.label, seed, suite) not in self.trials:
            prepared = self._prepare(entry, seed)
            for bound in self.suites.values():
                if (entry.label, seed, bound.name) not in self.trials:
                    self.trials[entry.label, seed, bound.name] = self._try(entry, seed, prepared, bound)
        return self.trials[entry.label, seed, suite]

    def _prepare(self, entry: Entry, seed: int | None) -> Prepared:
        """Made once, or failed once: what failed is not begun, and paid, again for every gate of a run."""
        place = entry.label, seed
        if place in self.failed:
            raise self.failed[place].with_traceback(None)
        if place not in self.prepared:
            began = time.perf_counter()
            try:
                self._generate(entry)
                self.prepared[place] = prepare(entry.candidate, self.workshop, entry.size, seed or 0)
            except HarnessError as error:
                self.failed[place] = error
                raise
            finally:
                self.training_seconds += time.perf_counter() - began
        return self.prepared[place]

    def _generate(self, entry: Entry) -> None:
        """Have the base say its general rows, where it has not; what it said is compared before training."""
        if not isinstance(entry.candidate, Tuned):
            return
        generated = self.workshop.generated_rows(entry.candidate)
        if generated is not None and generated.found() is None:
            self.workshop.replay(entry.candidate)
            self._check_rows(entry, self.suites.values())

    def _try(self, entry: Entry, seed: int | None, prepared: Prepared, bound: BoundSuite) -> Trial:
        label = entry.label if len(entry.seeds) < 2 else f"{entry.label} seed {seed}"
        answers = self.answerer.answers(label, entry.candidate, prepared, bound)
        return Trial(
            candidate=entry.name,
            size=entry.size,
            seed=seed,
            suite=bound.name,
            answers=answers,
            scores=self.answerer.scores(bound, answers, judge_all=self.settings.judge_looks == 1),
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
            seeds=entry.seeds,
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
