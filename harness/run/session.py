"""One run: candidates at their sizes against their baselines on every suite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import harness.training.hosted.prepare
import harness.training.hosted.ready  # noqa: F401 - both register what is done with hosted candidates
from harness.candidates.prepare import Lab, Prepared, prepare, require_beginnable
from harness.candidates.specs import Candidate, Tuned
from harness.decision.claims import Claim, Scores
from harness.decision.economics import EconomicsConfig
from harness.decision.prices import PriceKey
from harness.decision.vectors import only_rows, over_seeds, score_vector
from harness.errors import DataError, HarnessError
from harness.models.ledger import Ledger
from harness.models.pricing import Money
from harness.models.progress import Progress
from harness.records import Gate, Price, Trial
from harness.report.terminal import printable
from harness.run.answering import Answerer
from harness.run.costs import economics_config
from harness.run.interim_analysis import InterimAnalysis
from harness.run.preflight import require_rows, unready, unready_judges
from harness.run.selection import Arm, Selection
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Judge
from harness.scoring.suite import SuiteScore
from harness.settings import Settings
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore


@dataclass(frozen=True, repr=False)
class Subject:
    """What a test calls ``candidate`` or ``baseline``: an entry on one suite."""

    entry: Arm
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
        self.settings = settings
        self.ledger = Ledger(settings.max_usd)
        money = Money(self.ledger, self.prices)
        adapters = AdapterStore(settings.store / "adapters")
        self.lab = Lab(root, adapters, progress, money, apart=True, horizon_days=self._horizon_days)
        self.selection = Selection(settings, candidates, lambda path: len(self.lab.rows(path)))
        self.store = AnswerStore(settings.store / "answers.sqlite")
        self.answerer = Answerer(self.store, progress, money)
        self.suites: dict[str, LoadedSuite] = {}
        self.trials: dict[tuple[str, int | None, str], Trial] = {}  # by label, seed and suite
        self.gates: list[Gate] = []
        self.prepared: dict[tuple[str, int | None], Prepared] = {}  # by label and seed
        self.failed: dict[tuple[str, int | None], HarnessError] = {}  # what could not be prepared
        self.checked = False
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
        for entry, seed in self.selection.replicas():
            require_beginnable(entry.candidate, self.lab, entry.size, seed)
        self.checked = True

    def check_rows(self) -> None:
        """The part of ``check`` that looks at rows alone.

        Raises:
            HarnessError: unreadable or leaking rows, a size beyond the data.
        """
        for entry in dict.fromkeys(entry for entry, _ in self.selection.replicas()):
            require_rows(entry, self.suites.values(), self.lab)

    def unready(self) -> Iterator[HarnessError]:
        """What stands in the way of each entry and judge, as far as is known without a request."""
        return unready(self.selection.replicas(), self.suites.values(), self.lab, self.answerer.oracle)

    def add_suite(self, bound: LoadedSuite) -> None:
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
            for name in self.selection.chosen():
                for entry in (self.selection.sized(name)[-1], self.selection.baseline_of(name)):
                    require_rows(entry, [bound], self.lab)
            for problem in unready_judges(bound, self.answerer.oracle):
                raise problem
        self.suites[bound.name] = bound

    # ----------------------------------------------------------------- trying
    def subject(self, entry: Arm, suite: str, settle: Callable[[Claim], bool] | None) -> Subject:
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

    def _staged(self, entry: Arm, suite: str, score: SuiteScore) -> InterimAnalysis | None:
        """The entry's scores by a judge, made as they are needed; None for what is judged whole."""
        if self.settings.max_interim_looks == 1 or not isinstance(score, Judge):
            return None
        (seed,) = entry.replicas
        place = entry.label, seed, suite
        bound = self.suites[suite]
        judge, oracle = self.answerer.judge(score), self.answerer.oracle
        return InterimAnalysis(
            info=bound.info({}, 0),
            rows=bound.rows,
            get=lambda: self.trials[place],
            put=lambda trial: self.trials.update({place: trial}),
            score=score.name,
            judge=lambda rows, answers: judge.score_many(rows, answers, oracle),
            looks=self.settings.max_interim_looks,
            alpha=self.settings.alpha,
            name=entry.label,
            advisory=self._is_advisory(score),
        )

    def _judged(self, entry: Arm, suite: str, score: SuiteScore) -> tuple[Trial, ...]:
        """The entry's trials with every row judged."""
        staged = self._staged(entry, suite, score)
        if staged is not None:
            staged.upto(staged.plan.rows)
        return self.trials_of(entry, suite)

    def _is_advisory(self, score: SuiteScore) -> bool:
        return isinstance(score, Judge) and not self.answerer.judge(score).admission.admitted

    def trials_of(self, entry: Arm, suite: str) -> tuple[Trial, ...]:
        """The entry's answers and scores on a suite, one trial a seed."""
        return tuple(self._trial(entry, seed, suite) for seed in entry.replicas)

    def _trial(self, entry: Arm, seed: int | None, suite: str) -> Trial:
        """All suites of the run are answered while the model is loaded: loading costs more than asking."""
        if (entry.label, seed, suite) not in self.trials:
            prepared = self._prepare(entry, seed)
            for bound in self.suites.values():
                if (entry.label, seed, bound.name) not in self.trials:
                    self.trials[entry.label, seed, bound.name] = self._try(entry, seed, prepared, bound)
        return self.trials[entry.label, seed, suite]

    def _prepare(self, entry: Arm, seed: int | None) -> Prepared:
        """Made once, or failed once: what failed is not begun, and paid, again for every gate of a run."""
        place = entry.label, seed
        if place in self.failed:
            raise self.failed[place].with_traceback(None)
        if place not in self.prepared:
            began = time.perf_counter()
            try:
                self._generate(entry)
                self.prepared[place] = prepare(entry.candidate, self.lab, entry.size, seed or 0)
            except HarnessError as error:
                self.failed[place] = error
                raise
            finally:
                self.training_seconds += time.perf_counter() - began
        return self.prepared[place]

    def _generate(self, entry: Arm) -> None:
        """Have the base say its general rows, where it has not; what it said is compared before training."""
        if not isinstance(entry.candidate, Tuned):
            return
        generated = self.lab.generated_rows(entry.candidate)
        if generated is not None and generated.found() is None:
            self.lab.replay(entry.candidate)
            require_rows(entry, self.suites.values(), self.lab)

    def _try(self, entry: Arm, seed: int | None, prepared: Prepared, bound: LoadedSuite) -> Trial:
        label = entry.label if len(entry.seeds) < 2 else f"{entry.label} seed {seed}"
        answers = self.answerer.answers(label, entry.candidate, prepared, bound)
        return Trial(
            candidate=entry.name,
            size=entry.size,
            seed=seed,
            suite=bound.name,
            answers=answers,
            scores=self.answerer.scores(bound, answers, judge_all=self.settings.max_interim_looks == 1),
            seconds=sum(answer.latency_ms for answer in answers) / 1000,
            numeric_config=prepared.numeric_config,
            training=prepared.training,
        )

    # ----------------------------------------------------------------- what was claimed
    def settle(self, entry: Arm, suite: str, test: str, claim: Claim) -> Gate:
        """Note a claim as a gate, once, however often its truth is asked."""
        measured = entry.size != self.selection.largest(entry.name)
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
