"""One run: candidates at their sizes against their baselines on every suite."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.candidates.base import Candidate, Prepared, Variant
from harness.candidates.lab import Lab
from harness.data.fingerprints import asked_keys, fingerprint
from harness.data.leakage import require_no_leaks
from harness.decision.claims import Claim, Scores, Side
from harness.decision.economics_file import EconomicsConfig
from harness.decision.money_claims import AssertedMoney, MoneyClaim
from harness.decision.prices import PriceKey
from harness.decision.retesting import level_after
from harness.decision.vectors import only_rows, over_seeds
from harness.errors import DataError, HarnessError, UsageError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.records import Answer, Economics, Gate, Kind, MoneyGate, Price, Role, Row, Trial
from harness.report.printable import printable
from harness.run.anchors import AnchorWatch
from harness.run.answering import Answerer
from harness.run.costs import economics_config
from harness.run.few_labels import few_label_notes
from harness.run.freshness import Freshness
from harness.run.heldout_history import HeldoutHistory
from harness.run.interim_analysis import InterimAnalysis
from harness.run.judge_backends import JudgeBackends
from harness.run.leak_check import Seen, compare_files, with_repeats
from harness.run.past import Past
from harness.run.preflight import problems_of, problems_of_judges
from harness.run.references import reference_notes, require_references
from harness.run.selection import Arm, Selection
from harness.run.suite_loading import LoadedSuite
from harness.scoring.admission import shown_share
from harness.scoring.frame import LocalJudge
from harness.scoring.judges import Judge, embedder_of, judged_rows, needs_baseline, trust_of, why_advisory
from harness.scoring.suite import SuiteScore
from harness.settings import Settings
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore
from harness.store.shared import SharedStore
from harness.training.executor import find_executor, stop

if TYPE_CHECKING:
    from harness.run.against import Against
    from harness.run.ladder import LadderRun
    from harness.run.outlook import Outlook


@dataclass(frozen=True, repr=False)
class Subject:
    """What a test calls ``candidate`` or ``baseline``: an arm on one suite."""

    arm: Arm
    suite: str
    _scores: Callable[[SuiteScore, Mapping[str, str]], Scores]
    _economics: AssertedMoney

    def __repr__(self) -> str:
        return f"<{self.name} on {self.suite}>"

    @property
    def name(self) -> str:
        """The arm's label."""
        return self.arm.label

    @property
    def economics(self) -> AssertedMoney:
        """What the candidate costs and saves beside its baseline, to be compared with numbers.

        Such as ``candidate.economics.break_even_days < 90``: a gate on money, which decides like any other.
        """
        return self._economics

    def scores(self, score: SuiteScore, **where: str) -> Scores:
        """One value a held-out row, ready to be compared. The candidate is trained now if it must be.

        Args:
            score: one of the suite's.
            where: slice fields and the value that rows must have there, such as ``language="es"``.
        """
        return self._scores(score, where)

    def preferred(self, judge: Judge, **where: str) -> Scores:
        """How often its answers are preferred to the baseline's, to be compared with a number:
        ``candidate.preferred(better) > 0.5`` claims more wins than losses, ties aside.

        Args:
            judge: one of pairs, among the suite's scores.
            where: as in ``scores``.
        """
        if Kind(judge.kind) is not Kind.PREFERENCE:
            raise UsageError(
                f"candidate.preferred({judge.name}): {judge.name} judges one answer at a time.\n"
                "  hint: write `candidate.scores(x) > baseline.scores(x)`, or take a Pairwise judge."
            )
        return self._scores(judge, where)


class Session:
    """The state of one run: the variants that it trains, what it has tried, and what its gates said.

    Args:
        settings: what was asked.
        progress: who watches.
        adapt: applied to every candidate, own baselines included, before it is used; a rehearsal redirects
            them with it.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Progress,
        adapt: Callable[[Candidate], Candidate] = lambda candidate: candidate,
    ) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.max_usd)
        money = Money(self.ledger, self.prices)
        self.shared = None
        if settings.shared and not settings.lists:
            self.shared = SharedStore(settings.shared, settings.store, progress.say)
        self.lab = Lab(
            root=settings.root,
            adapters=AdapterStore(settings.store / "adapters", self.shared, progress.say),
            progress=progress,
            project=settings.root,
            executor=find_executor(settings.executor, settings.ray_address, settings.ray_task),
            money=money,
            horizon_days=self._horizon_days,
            require_unseen=self._require_unseen,
            embedder=lambda: embedder_of(self.answerer.oracle),
        )
        self.selection = Selection(settings, self.lab, adapt)
        self.started = datetime.now(UTC)
        self.store = AnswerStore(
            settings.store / "answers.sqlite",
            self.started.isoformat(timespec="microseconds"),
            progress.say,
        )
        if self.store.lost:
            progress.say(self.store.lost)
        if self.shared is not None:
            self.shared.begin()
        self.freshness = Freshness(
            self.store, asks_again=settings.fresh, probes=settings.rehearse is None, say=progress.say
        )
        self.history = HeldoutHistory(self.store, settings)
        judges = JudgeBackends(self.store, money, progress, self.freshness)
        watch = AnchorWatch(self.store, judges, asks_again=settings.fresh, say=progress.say)
        self.answerer = Answerer(self.store, progress, judges, self.freshness, watch.watched)
        self.suites: dict[str, LoadedSuite] = {}
        self.seen: dict[str, Seen] = {}  # by suite: what training and held-out rows share
        self.trials: dict[tuple[str, int | None, str], Trial] = {}  # by label, seed and suite
        self.gates: list[Gate] = []
        self.money_gates: list[MoneyGate] = []
        self.claims: dict[Gate, Claim] = {}  # behind the gates that decide
        # suite and score of each target that is written in the collected tests, where that can be read
        self.written_targets: set[tuple[str, str]] = set()
        self.notes: list[str] = []  # what was found before anything was spent, and stops nothing
        self.prepared: dict[Variant, Prepared] = {}
        self.failed: dict[Variant, Exception] = {}  # what could not be prepared
        self.stopped: dict[str, str] = {}  # by candidate: what kept its gates from being judged
        self.training_seconds = 0.0
        self.began = time.perf_counter()
        self._needed: dict[Arm, set[str]] = {}  # with the suites that each is asked
        self._identities: dict[Arm, str] = {}
        self._was_checked = False
        self.ladder: LadderRun | None = None  # set once the suites are known
        self.against: Against | None = None  # set once the suites are known
        self.outlook: Outlook | None = None  # set once it is known what is left to do

    def lab_of(self, arm: Arm) -> Lab:
        """The lab as an arm's candidate sees it: its paths start from the folder of its conftest."""
        return self.lab.at(arm.folder)

    def prices(self) -> tuple[Mapping[PriceKey, Price], str]:
        """The project's own prices of hosted models, and the file that they stand in."""
        config = self.economics()
        return ({}, "economics.toml") if config is None else (config.prices, config.where)

    def economics(self) -> EconomicsConfig | None:
        """What the project says of its costs, or None.

        Raises:
            UsageError: the file is broken.
        """
        return economics_config(self.suites.values(), self.settings.root)

    def _horizon_days(self) -> float:
        return (self.economics() or EconomicsConfig(1)).horizon_days

    # ----------------------------------------------------------------- before anything is spent
    def check(self) -> None:
        """Everything that can be known to be wrong before a model is loaded or trained.

        A service is asked only for a job that could not be begun, and may be there.

        Raises:
            HarnessError: a base that does not exist, unreadable or leaking rows, a size beyond the data, a
                hosted model without a key, or under a cap without a price.
        """
        self.check_rows()
        self.history.require_readable()
        for arm in self.selection.arms():
            for problem in problems_of([arm], self.lab, self._unanswered):
                if self.ladder is None or not self.ladder.leaves_out(arm, problem):
                    raise problem
        for suite in self.suites.values():
            for problem in problems_of_judges(suite, self.answerer.oracle):
                raise problem
            self._note_references(suite)
        self._was_checked = True

    def check_rows(self) -> None:
        """The part of ``check`` that looks at rows alone.

        Raises:
            HarnessError: unreadable or leaking rows, a size beyond the data, a check that scores a row's own
                reference as wrong, a reference run of which nothing can be compared.
        """
        self._compare(list(self.suites.values()))
        if self.settings.against is not None:
            from harness.run.against import Against

            self.against = Against(self)

    def _compare(self, suites: Sequence[LoadedSuite]) -> None:
        """Compare all files with ``suites``; what training has too, and may have, is counted as one."""
        for suite in suites:
            require_references(suite)
        found = compare_files(self.selection.arms(), suites, self.lab)
        self.seen.update(found)
        for suite in suites:
            self.suites[suite.name] = with_repeats(suite, found[suite.name])

    def problems(self) -> Iterator[HarnessError]:
        """Why variants could not be prepared, or judges asked, as far as that is known without sending
        anything."""
        lab = replace(self.lab, is_offline=True)
        yield from problems_of(self.selection.arms(), lab, self._unanswered)
        for suite in self.suites.values():
            yield from problems_of_judges(suite, self.answerer.oracle)

    def _unanswered(
        self, arm: Arm, candidate: Candidate, prepared: Prepared
    ) -> Iterator[tuple[str, Sequence[Prompt], Decoding]]:
        """See ``Lab.unanswered``."""
        for suite in self.suites_of(arm):
            for call in self.answerer.calls(candidate, prepared, suite):
                asked = self.answerer.asked(call, suite)
                if asked.missing:
                    yield suite.name, asked.prompts, asked.decoding

    def add_suite(self, suite: LoadedSuite) -> None:
        """Register a suite. One that comes late, when the test that uses it begins, is checked on its own.

        Raises:
            DataError: another suite has its name, and would share its answers; or its rows leak.
        """
        other = self.suites.get(suite.name)
        if other is not None and not other.is_same(suite):
            raise DataError(
                suite.heldout,
                f"two suites are named {suite.name!r}, after their folders"
                f" {other.folder} and {suite.folder}.",
                "put each suite in a folder of its own, of another name; or let both tests share one suite",
            )
        if other is None and self._was_checked:
            self._compare([suite])
            lab = replace(self.lab, is_offline=True)
            for problem in problems_of(self.selection.arms(), lab, self._unanswered):
                raise problem
            for problem in problems_of_judges(suite, self.answerer.oracle):
                raise problem
            self._note_references(suite)
        self.suites.setdefault(suite.name, suite)

    def _note_references(self, suite: LoadedSuite) -> None:
        for note in map(printable, (*reference_notes(suite), *few_label_notes(suite))):
            self.notes.append(note)
            self.lab.progress.say(note)

    def _require_unseen(self, rows: Iterable[Row]) -> None:
        """Compare rows that were made during the run with every held-out file; see ``Lab``."""
        seen = list(rows)
        for suite in self.suites.values():
            require_no_leaks(seen, suite.rows, suite.suite.leaks)

    # ----------------------------------------------------------------- training
    def need(self, pairs: Iterable[tuple[Arm, str]]) -> None:
        """Name the arms that the collected tests compare, and on which suites.

        Each is asked its own suites only.
        """
        for arm, suite in pairs:
            self._needed.setdefault(arm, set()).add(suite)

    def suites_of(self, arm: Arm) -> list[LoadedSuite]:
        """The suites that an arm is asked; all of them where no test was collected."""
        needed = self._needed.get(arm)
        return [suite for name, suite in self.suites.items() if needed is None or name in needed]

    def train(self, arms: Collection[Arm] | None = None) -> None:
        """Prepare every variant that is needed, or of ``arms`` alone, as many at once as the executor takes.

        One that fails is remembered, and raises when a gate asks for its scores.
        """
        missing = [
            (arm, variant)
            for arm in self._needed
            if arms is None or arm in arms
            for variant in arm.variants
            if variant not in self.prepared and variant not in self.failed
        ]
        if not missing:
            return
        self.answerer.let_go()  # a training wants the memory
        began = time.perf_counter()
        # that a judge is refused is known before the longest training; it costs no money
        final = [arm for arm, _ in missing if arm.size == self.selection.largest(arm.name)]
        for suite in {suite.name: suite for arm in final for suite in self.suites_of(arm)}.values():
            for judge in suite.judges:
                if isinstance(judge, LocalJudge):
                    self.answerer.judge(judge)
        self.answerer.seconds["scoring"] += time.perf_counter() - began
        began = time.perf_counter()
        try:
            for places, at_once in self._turns(missing):
                self._prepare_all(places, at_once)
        finally:
            self.training_seconds += time.perf_counter() - began

    def _turns(
        self, missing: Sequence[tuple[Arm, Variant]]
    ) -> Iterator[tuple[Sequence[tuple[Arm, Variant]], int]]:
        """What is prepared in turn, with how many of it at once."""
        left, slots = list(missing), self.lab.executor.slots
        while left:
            first = left[0][0]
            at_once = slots if slots > 1 else self.lab.at_once(first.candidate)
            # a candidate's sizes and seeds share a base
            now = left if slots > 1 else [place for place in left if place[0].name == first.name]
            now = now if at_once > 1 else left[:1]
            left = [place for place in left if place not in now]
            yield now, at_once

    def _prepare_all(self, places: Sequence[tuple[Arm, Variant]], at_once: int) -> None:
        if at_once == 1:
            for arm, variant in places:
                self._prepare_once(arm, variant)
            return
        with ThreadPoolExecutor(at_once, "harness training") as pool:
            try:
                list(pool.map(lambda place: self._prepare_once(*place), places))
            except BaseException:  # Ctrl-C: the pool waits for what runs
                pool.shutdown(wait=False, cancel_futures=True)
                stop(self.lab.executor)
                raise

    def _prepare_once(self, arm: Arm, variant: Variant) -> None:
        try:
            self.prepared[variant] = variant.candidate.prepare(self.lab_of(arm), variant)
        except Exception as error:  # noqa: BLE001 - a kind of the project's own may raise anything, and only its
            self.failed[variant] = error  # own gates are to hear of it

    def model_of(self, arm: Arm) -> str:
        """The model behind an arm, as it was prepared, or as the user wrote it."""
        prepared = self.prepared.get(arm.variants[0])
        return prepared.model_name if prepared else arm.candidate.model_name

    def recipe_of(self, arm: Arm, *, at_any_size: bool = False) -> str:
        """What the seeds of one trained recipe share: settings, rows to draw from, and the size, by content.

        Neither the candidate's name nor that of any file counts: the same rows under another name are the
        same recipe. ``at_any_size`` leaves the size out, and tells all candidates apart, untrained ones too.
        """
        lab, prepared = self.lab_of(arm), next(p for v, p in self.prepared.items() if v in arm.variants)
        described, data = arm.candidate.described(), arm.candidate.data(lab)
        rows = None if data is None else data.fingerprint
        settings: object = prepared.recipe
        if at_any_size:
            base = arm.candidate.model_name
            fields = {
                name: lab.by_content(value)
                for name, value in described.items()
                if value is not None and value != base
            }
            # an untrained model is told by its digest; that of a trained one may be of one size and seed
            model = settings or (lab.by_content(base) if arm.seeds else prepared.model_digest)
            parts: dict[str, object] = {"model": model, "settings": fields, "rows": rows}
            parts["kind"] = arm.candidate.kind
        else:
            if settings is None:
                settings = {name: lab.by_content(value) for name, value in described.items()}
            parts = {"kind": arm.candidate.kind, "settings": settings, "rows": rows, "size": arm.size}
        try:
            return fingerprint(parts)
        except UsageError:  # settings of a kind of the project's own, such as a path
            return fingerprint(repr(parts))

    # ----------------------------------------------------------------- trying
    def subject(
        self,
        arm: Arm,
        suite: str,
        settle: Callable[[Claim], bool] | None,
        made: Callable[[Claim], None] | None = None,
        side: Side | None = None,
        judged: Arm | None = None,
        settle_money: Callable[[MoneyClaim], bool] | None = None,
    ) -> Subject:
        """The arm on a suite, as a test sees it; ``settle``, ``made`` and ``side`` are its scores'.

        ``settle_money`` takes the claims on its economics.

        ``judged`` is the arm that is judged where this one is its baseline: its level is that of both.
        """

        def scores(score: SuiteScore, where: Mapping[str, str]) -> Scores:
            loaded = self.suites[suite]
            own = loaded.score(score)
            if needs_baseline(own) and not self.selection.is_compared(arm.name):
                raise UsageError(
                    f"{arm.label} is the baseline, and {own.name} sets a candidate's answers against it.\n"
                    "  hint: write `candidate.preferred(x) > 0.5` for more wins than losses."
                )
            trials = self.trials_of(arm, suite)
            grown_from = self._grown_from(judged or arm, loaded)
            alpha = level_after(self.settings.alpha, len(grown_from))
            advisory = bool(self.why_advisory(own))
            interim = self._interim(arm, suite, own, alpha) if not where else None
            if isinstance(own, Judge) and interim is None:
                trials = self._judged(arm, suite, own, alpha)
            each = [loaded.vector(trial, own.name, advisory=advisory) for trial in trials]
            vector = only_rows(loaded.units, over_seeds(each, arm.seeds), where)
            reasons = tuple(map(printable, vector.reasons))  # they quote answers, and people read them
            shown = replace(vector, subject=arm.label, reasons=reasons, shows=self.shows(own))
            return Scores(shown, settle, alpha, interim=interim, side=side, made=made, grown_from=grown_from)

        def money() -> Economics | str:
            from harness.run.appraisal import economics_of

            if judged is not None:
                return f"{arm.label} is what the candidate is compared with; assert the candidate's economics"
            for one in (arm, self.selection.baseline_of(arm.name)):
                for asked in self.suites_of(arm):
                    self.trials_of(one, asked.name)
            return economics_of(self, arm.name)

        return Subject(arm, suite, scores, AssertedMoney(money, settle_money))

    def _grown_from(self, arm: Arm, suite: LoadedSuite) -> tuple[int, ...]:
        """The numbers of rows that judged this arm without a GO, and from which the suite's have grown."""
        history = self.history.of(suite)
        if not history.uses:
            return ()
        self._try_to_prepare(arm)
        return history.grown_from(self.identity_of(arm))

    def identity_of(self, arm: Arm) -> str:
        """``recipe_of`` an arm; empty where none of its variants could be prepared."""
        if arm not in self._identities:
            if not any(variant in self.prepared for variant in arm.variants):
                return ""
            self._identities[arm] = self.recipe_of(arm, at_any_size=not arm.seeds)
        return self._identities[arm]

    def _interim(self, arm: Arm, suite: str, score: SuiteScore, alpha: float) -> InterimAnalysis | None:
        """The arm's scores by a judge, made as they are needed; None for a score that is judged whole."""
        if self.settings.max_interim_looks == 1 or not isinstance(score, Judge):
            return None
        (seed,) = arm.replicas
        place = arm.label, seed, suite
        judge, oracle = self.answerer.judge(score), self.answerer.oracle
        theirs = self._against(arm, arm.variant(seed), self.suites[suite]) if needs_baseline(score) else None
        others = None if theirs is None else {answer.row_id: answer for answer in theirs}
        return InterimAnalysis(
            suite=self.suites[suite],
            get=lambda: self.trials[place],
            put=lambda trial: self.trials.update({place: trial}),
            score=score.name,
            judge=lambda rows, answers: judged_rows(
                score,
                judge,
                rows,
                answers,
                oracle,
                None if others is None else [others[row.id] for row in rows],
            ),
            looks=self.settings.max_interim_looks,
            alpha=alpha,
            name=arm.label,
            advisory=bool(self.why_advisory(score)),
            shows=self.shows(score),
            n_candidates=self._candidates_tried(arm, suite),
        )

    def _candidates_tried(self, arm: Arm, suite: str) -> int:
        """Those of the run, and others that the suite's rows have judged beside this one."""
        largest = {name: self.selection.sized(name)[-1] for name in self.selection.chosen()}
        if arm.name not in largest or not self.identity_of(arm):
            return len(largest)
        past = Past(asked_keys(self.suites[suite].rows), self.store.judged())
        today = {self.recipe_of(one, at_any_size=True) for one in largest.values() if self.identity_of(one)}
        company = past.company(self.recipe_of(arm, at_any_size=True), today)
        return len(largest) + len(set(company) - today)

    def _judged(self, arm: Arm, suite: str, score: SuiteScore, alpha: float) -> tuple[Trial, ...]:
        """The arm's trials with every row judged."""
        interim = self._interim(arm, suite, score, alpha)
        if interim is not None:
            interim.upto(interim.design.rows)
        return self.trials_of(arm, suite)

    def why_advisory(self, score: SuiteScore) -> str:
        """Why gates on the score decide nothing, with the mend; empty where they decide."""
        if not isinstance(score, Judge):
            return ""
        # one that broke has no admission: its claims decide, against the candidate, since nothing shows them
        admission = self.answerer.judge(score).admission
        return "" if admission is None else why_advisory(score, admission)

    def shows(self, score: SuiteScore) -> tuple[float, float]:
        """See ``ScoreVector.shows``: not everything, of a judge that decides on labels from elsewhere."""
        if not isinstance(score, Judge) or trust_of(score) != "transfer":
            return 1.0, 1.0
        admission = self.answerer.judge(score).admission
        return (1.0, 1.0) if admission is None or not admission.admitted else shown_share(admission)

    def trials_of(self, arm: Arm, suite: str) -> tuple[Trial, ...]:
        """The arm's answers and scores on a suite, one trial a seed."""
        return tuple(self._trial(arm, variant, suite) for variant in arm.variants)

    def _trial(self, arm: Arm, variant: Variant, suite: str) -> Trial:
        """All suites of the run are answered while the model is loaded: loading costs more than asking."""
        if (arm.label, variant.seed, suite) not in self.trials:
            prepared = self._prepared(arm, variant)
            # a service is asked suite by suite where a rung may fail before it needs them all
            at_once = () if self.ladder and self.ladder.spares(arm) else self.suites_of(arm)
            for loaded in (*at_once, self.suites[suite]):
                if (arm.label, variant.seed, loaded.name) not in self.trials:
                    label = arm.label if len(arm.seeds) < 2 else f"{arm.label} seed {variant.seed}"
                    whole = self.settings.max_interim_looks == 1
                    against = self._against(arm, variant, loaded)
                    self.trials[arm.label, variant.seed, loaded.name] = self.answerer.trial(
                        variant, label, prepared, loaded, judge_all=whole, against=against
                    )
            if self.outlook is not None:
                self.outlook.tell()
        return self.trials[arm.label, variant.seed, suite]

    def _against(self, arm: Arm, variant: Variant, suite: LoadedSuite) -> tuple[Answer, ...] | None:
        """The baseline's answers, where a judge of the suite needs them; at the same seed, if it has one."""
        if not any(map(needs_baseline, suite.judges)) or not self.selection.is_compared(arm.name):
            return None
        baseline = self.selection.baseline_of(arm.name)
        seed = variant.seed if variant.seed in baseline.replicas else baseline.replicas[0]
        return self._trial(baseline, baseline.variant(seed), suite.name).answers

    def _try_to_prepare(self, arm: Arm) -> None:
        if any(variant not in self.prepared and variant not in self.failed for variant in arm.variants):
            if arm not in self._needed:
                self.need((arm, suite) for suite in self.suites)
            self.train(self._together(arm))

    def _together(self, arm: Arm) -> Collection[Arm] | None:
        """What is trained before ``arm`` is asked; None: all.

        Alone where trainings take turns, so that the smallest size is there first; with the candidate's other
        sizes and seeds where they are trained side by side. Not where judging may
        stop: its levels depend on how many recipes there are, which is known once they are prepared. Nor at
        a service, which is asked for all at once.
        """
        if self.ladder is not None:
            return self.ladder.due(arm)
        takes_turns = self.lab.executor.slots == 1 and self.settings.max_interim_looks == 1
        if not takes_turns or arm.candidate.endpoint() is not None:
            return None
        is_alone = self.lab.at_once(arm.candidate) == 1
        return [one for one in self._needed if one == arm or (one.name == arm.name and not is_alone)]

    def _prepared(self, arm: Arm, variant: Variant) -> Prepared:
        """Made once, or failed once: what failed is not begun, and paid, again for every gate of a run."""
        self._try_to_prepare(arm)
        if variant in self.failed:
            error = self.failed[variant]
            raise error.with_traceback(None) if isinstance(error, HarnessError) else error
        return self.prepared[variant]

    # ----------------------------------------------------------------- what was claimed
    def record_money(self, arm: Arm, suite: str, test: str, claim: MoneyClaim, place: str) -> Gate:
        """Note a claim on money, once; of a smaller size it decides nothing and is not kept."""
        gate = Gate(suite, test, arm.name, arm.size, arm.seeds, Role.THRESHOLD, "money", place=place)
        if gate not in self.gates:
            self.gates.append(gate)
        kept = claim.gate(test, arm.name, arm.size, place)
        if arm.size == self.selection.largest(arm.name) and kept not in self.money_gates:
            self.money_gates.append(kept)
        return gate

    def record_claim(
        self, arm: Arm, suite: str, test: str, claim: Claim, place: str = "", unasserted: str = ""
    ) -> Gate:
        """Note a claim as a gate, once, however often its truth is asked.

        Args:
            place: ``file:line:column`` where it was made.
            unasserted: why a claim that was only made is missing among the gates; it decides nothing where
                it would decide nothing if it were asserted.
        """
        measured = arm.size != self.selection.largest(arm.name)
        gate = Gate(
            suite=suite,
            test=test,
            candidate=arm.name,
            size=arm.size,
            seeds=arm.seeds,
            role=claim.role,
            state="measured" if measured else "advisory" if claim.advisory else "gated",
            comparison=claim.comparison,
            place=place,
        )
        if unasserted:
            if gate.state != "gated":
                return gate
            gate = replace(gate, state="missing", why=unasserted)
        if gate.state == "advisory":
            rests_on = [s for s in self.suites[suite].scores if s.name == claim.comparison.score]
            gate = replace(gate, why=next(filter(None, map(self.why_advisory, rests_on)), ""))
        if gate not in self.gates:
            self.gates.append(gate)
        if gate.state == "gated":
            self.claims.setdefault(gate, claim)
        return gate
