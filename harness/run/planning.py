"""What a run would do and what its rows can show, before anything is trained, asked or paid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from harness.candidates.base import CostEstimate, TrainingEstimate
from harness.decision.plan import CallCount, CostLine, Plan, Trainings, Usd, Work
from harness.errors import HarnessError, ModelError, TrainingError, UnknownName
from harness.models.pace import Pace
from harness.models.protocol import Prompt
from harness.models.source import bytes_at_hand
from harness.run.answering import Asked
from harness.run.plan_costs import Asking, Costs, JudgedTrial, Payee, paid
from harness.run.plan_go import PlannedTest, planned_decisions
from harness.run.plan_hardware import planned_memory
from harness.run.plan_labels import planned_labels
from harness.run.plan_power import earlier_runs, powers
from harness.run.plan_time import LocalSeconds, within
from harness.run.selection import Arm
from harness.run.session import Session
from harness.scoring.drift import anchors_of
from harness.scoring.judges import Judge, needs_baseline


def make_plan(run: Session, tests: Sequence[PlannedTest] = ()) -> Plan:
    """The plan of a run whose suites have been loaded. Nothing is sent, and no key is needed.

    Args:
        tests: those that will judge each candidate at its largest size.

    Raises:
        HarnessError: rows, prices or settings that cannot be used.
    """
    run.check_rows()
    unready = dict.fromkeys(_unready(run))
    pace = Pace()
    counting = _Counting(run, pace)
    work = [counting.arm(arm) for arm in _baselines_first(run)]
    work += counting.judges()
    records = list(earlier_runs(run))
    return Plan(
        work=tuple(work),
        power=tuple(powers(run, records)),
        decisions=tuple(planned_decisions(run, tests, records)),
        labels=tuple(planned_labels(run, records)),
        max_usd=run.settings.max_usd,
        prices_file=counting.costs.prices_file,
        today=run.lab.today(),
        unready=(*unready, *dict.fromkeys(counting.problems)),
        within=within(pace),
        memory=tuple(planned_memory(run)),
    )


def work_to_do(run: Session) -> tuple[list[Work], Pace]:
    """What is yet to be done for each arm whose model is on this machine, with the seconds that it computes,
    and its speed. What cannot be estimated is left out: its own gates are to hear of it.
    """
    pace = Pace()
    counting, work = _Counting(run, pace), list[Work]()
    for arm in _baselines_first(run):
        name = run.lab_of(arm).path_or_name(arm.candidate.model_name)
        if arm.candidate.endpoint() is None and bytes_at_hand(name):
            with suppress(HarnessError):
                work.append(counting.arm(arm))
    return work, pace


def _baselines_first(run: Session) -> Iterable[Arm]:
    return dict.fromkeys(
        arm
        for name in run.selection.chosen()
        for arm in (run.selection.baseline_of(name), *run.selection.sized(name))
    )


def billed(run: Session, arms: Sequence[Arm]) -> dict[str, Usd | None]:
    """What each arm may yet be billed for, by label; what two of them share is counted with the first."""
    counting = _Counting(run)
    return {arm.label: counting.arm(arm).usd for arm in arms}


def _unready(run: Session) -> Iterator[str]:
    """Problems that would stop the run, but do not keep a plan from being made.

    Raises:
        DataError, UsageError: rows or settings that cannot be used.
    """
    for problem in run.problems():
        if isinstance(problem, ModelError | TrainingError):
            yield str(problem)
        elif not isinstance(problem, UnknownName):  # a missing price: the plan names it itself
            raise problem


class _Counting:
    """One pass over a run's arms. A need that two of them share is counted where it comes first."""

    def __init__(self, run: Session, pace: Pace | None = None) -> None:
        self._run = run
        self._local = None if pace is None else LocalSeconds(pace)
        self.costs = Costs(*run.prices())
        self.problems: list[str] = []
        self._made: set[str] = set()  # artifacts
        self._asked: set[tuple[str, str]] = set()  # contexts and keys of answers
        self._probed: set[str] = set()  # identities of models
        self._judged: defaultdict[str, list[JudgedTrial]] = defaultdict(list)  # by suite

    def arm(self, arm: Arm) -> Work:
        """What one candidate takes at one size, with all its seeds."""
        lab, priced = self._run.lab_of(arm), arm.candidate.endpoint()
        estimates = [arm.candidate.estimate(lab, variant) for variant in arm.variants]
        trainings = [e.training for e in estimates if e.training is not None]
        new: list[TrainingEstimate] = []
        for training in trainings:
            if not training.is_kept and training.artifact not in self._made:
                self._made.add(training.artifact)
                new.append(training)
                self.problems += [training.problem] if training.problem else []
        if self._local is not None:
            self._local.begin(lab, arm, [one.tokens for one in new])
        calls, bills = self._calls(arm, estimates)
        if new and priced is not None and priced.trains:
            unbounded = f'{arm.name} has epochs="auto"; write how many: epochs=3'
            bills = (self.costs.training(priced.billed_as, new, unbounded), *bills)
        counted = None
        if arm.seeds:
            bounds = [training.most_tokens for training in new]
            kept = sum(training.is_kept for training in trainings)
            counted = Trainings(
                rows=max((training.rows for training in trainings), default=0),
                new=len(new),
                kept=kept,
                shared=len(trainings) - len(new) - kept,
                tokens=sum(training.tokens for training in new),
                most_tokens=None if None in bounds else sum(bound or 0.0 for bound in bounds),
            )
        seconds = {} if self._local is None else self._local.seconds
        return Work(arm.label, priced is not None, counted, calls, bills, seconds)

    def _calls(self, arm: Arm, estimates: list[CostEstimate]) -> tuple[CallCount, tuple[CostLine, ...]]:
        asking: defaultdict[Payee | None, list[Asking]] = defaultdict(list)
        probing: defaultdict[Payee, list[Asking]] = defaultdict(list)
        kept = shared = longest = 0
        for suite in self._run.suites_of(arm):
            references = [row.reference for row in suite.rows]
            for one in estimates:
                missing, most = 0, 0
                for call in self._run.answerer.calls(arm.candidate, one.prepared, suite):
                    asked = self._run.answerer.asked(call, suite)
                    asked_as = call.asked_as or (one.asked_as.model if one.asked_as else "")
                    heard, most = most if call.follows else 0, asked.most_tokens
                    missing = missing if call.is_aside else max(missing, len(asked.missing))
                    fresh = self._fresh(asked)
                    kept += sum(key in asked.kept for key in asked.keys)
                    shared += len(asked.missing) - len(fresh)
                    longest = max(longest, most)
                    payee = paid(call.candidate)
                    asking[payee].append(Asking(asked_as, fresh, references, most, heard))
                    if self._local is not None:
                        self._local.answers(call.candidate, fresh, references)
                    # those that come otherwise are asked once more
                    again = self._probes(call.prepared.identity, asked)
                    if payee is not None and again:
                        single = replace(payee, is_batched=False)  # nobody waits a day for them
                        probing[single].append(Asking(asked_as, [*again, *again], references, most, heard))
                is_compared = self._run.selection.is_compared(arm.name)
                self._judged[suite.name].append(JudgedTrial(missing / len(suite.rows), most, is_compared))
                if self._local is not None and missing:
                    self._local.judging(suite, missing)
        probes = sum(len(one.prompts) for each in probing.values() for one in each)
        new = sum(len(one.prompts) for each in asking.values() for one in each) + probes
        hosted = [(payee, each) for payee, each in asking.items() if payee is not None]
        if not hosted:
            return CallCount(new, kept, shared), ()
        bills = [self.costs.answers(*each) for each in (*hosted, *probing.items())]
        tokens = sum(read for _, read in bills)
        return CallCount(new, kept, shared, tokens, longest, probes), tuple(bill for bill, _ in bills)

    def _probes(self, identity: str, asked: Asked) -> Sequence[Prompt]:
        """The questions that are asked again to see whether a hosted model is the same, once for a model."""
        if identity in self._probed or not asked.probe:
            return ()
        self._probed.add(identity)
        return asked.probe

    def _fresh(self, asked: Asked) -> tuple[Prompt, ...]:
        """The questions that no earlier line of the plan asks; this one asks them from now on."""
        places = {(asked.context, prompt.row_id): prompt for prompt in asked.missing}
        fresh = tuple(prompt for place, prompt in places.items() if place not in self._asked)
        self._asked.update(places)
        return fresh

    def judges(self) -> Iterator[Work]:
        """What judges ask of hosted models, a line for each suite. Call it once all arms are counted."""
        labelled: set[Judge] = set()
        for suite in self._run.suites.values():
            for score in suite.judges:
                estimate = score.estimate(suite.rows)
                if estimate is None:
                    continue
                trials = self._judged[suite.name]
                if needs_baseline(score):  # whose answers may be the longer ones, and the fresh ones
                    most = max((trial.most_answer_tokens for trial in trials), default=0)
                    fresh = max((trial.fresh for trial in trials), default=0.0)
                    trials = [
                        replace(t, fresh=fresh, most_answer_tokens=most) for t in trials if t.is_compared
                    ]
                # in both orders, where two answers are shown
                n_anchors = len(anchors_of(score)) * (2 if needs_baseline(score) else 1)
                is_new = score not in labelled
                for one in estimate.every:
                    bill, calls = self.costs.judgments(one, trials, labels=is_new, anchors=n_anchors)
                    label = f"judge {suite.name}/{score.name}"
                    label += f", {one.model.model}" if estimate.others else ""
                    yield Work(label, True, None, calls, (bill,))
                labelled.add(score)
