"""What a run would do and what its rows can show, before anything is trained, asked or paid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from harness.candidates.foresee import CostEstimate, TrainingEstimate, foresee
from harness.decision.plan import Bill, Calls, Plan, Trainings, Work
from harness.errors import ModelError, TrainingError, UnknownName
from harness.extras import installed_version
from harness.run.answering import Left
from harness.run.costs import hosted_model
from harness.run.plan_costs import Asking, Costs, Payee
from harness.run.plan_judging import Judged, judging, rubrics
from harness.run.plan_power import powers
from harness.run.selection import Arm
from harness.run.session import Run
from harness.run.suite_loading import LoadedSuite
from harness.scoring.rubric import Rubric


def make_plan(run: Run) -> Plan:
    """The plan of a run whose suites have been bound. Nothing is sent, and no key is needed.

    Raises:
        HarnessError: rows, prices or settings that cannot be used.
    """
    run.check_rows()
    unready = dict.fromkeys(_unready(run))
    counting = _Counting(run)
    entries = dict.fromkeys(
        e
        for name in run.selection.chosen()
        for e in (run.selection.baseline_of(name), *run.selection.sized(name))
    )
    work = [counting.entry(entry) for entry in entries]
    work += counting.judges()
    plan = Plan(
        work=tuple(work),
        power=tuple(powers(run)),
        max_usd=run.settings.max_usd,
        prices_file=counting.costs.prices_file,
        unready=(*unready, *dict.fromkeys(counting.problems)),
    )
    return replace(plan, training_tokens_per_second=_pace(run)) if plan.local_tokens else plan


def _unready(run: Run) -> Iterator[str]:
    """What would stop the run, and does not keep a plan from being made.

    Raises:
        DataError, UsageError: rows or settings that cannot be used.
    """
    for problem in run.unready():
        if isinstance(problem, ModelError | TrainingError):
            yield str(problem)
        elif not isinstance(problem, UnknownName):  # a missing price: the plan says itself what has none
            raise problem


def _pace(run: Run) -> float | None:
    """Tokens a second of this machine's latest training."""
    if installed_version("torch") is None:  # hosted models only: this machine trains nothing
        return None
    device = run.lab.plan().device
    return next((t.tokens_per_second for t in run.lab.adapters.trainings() if t.device == device), None)


class _Counting:
    """One pass over a run's entries: what two of them need alike is counted where it comes first."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.costs = Costs(*run.prices())
        self.problems: list[str] = []
        self._made: set[str] = set()  # artifacts
        self._asked: set[tuple[str, str]] = set()  # contexts and keys of answers
        self._judged: defaultdict[str, list[Judged]] = defaultdict(list)  # by suite

    def entry(self, entry: Arm) -> Work:
        """What one candidate takes at one size, with all its seeds."""
        run = self._run
        foreseen = [foresee(entry.candidate, run.lab, entry.size, seed or 0) for seed in entry.replicas]
        new = self._new([f.training for f in foreseen if f.training is not None])
        calls, bills = self._calls(entry, foreseen)
        if new and foreseen[0].remote is not None:
            base = entry.candidate.model_name
            unbounded = f'{entry.name} has epochs="auto"; write how many: epochs=3'
            bills = (self.costs.training(base, new, unbounded), *bills)
        trainings = _trainings(foreseen, new) if entry.seeds else None
        return Work(entry.label, foreseen[0].remote is not None, trainings, calls, bills)

    def _new(self, trainings: list[TrainingEstimate]) -> list[TrainingEstimate]:
        """Those that are neither kept nor counted before."""
        found: list[TrainingEstimate] = []
        for one in trainings:
            if not one.is_kept and one.artifact not in self._made:
                self._made.add(one.artifact)
                found.append(one)
                self.problems += [one.problem] if one.problem else []
        return found

    def _calls(self, entry: Arm, foreseen: list[CostEstimate]) -> tuple[Calls, tuple[Bill, ...]]:
        asking: list[Asking] = []
        kept = shared = longest = 0
        for bound in self._run.suites.values():
            references = [row.reference for row in bound.rows]
            for one in foreseen:
                left = self._run.answerer.left(entry.candidate, one.prepared, bound)
                self._judged[bound.name].append(Judged(len(left.prompts), left.decoding.max_new_tokens))
                fresh = self._fresh(left)
                kept, shared = kept + left.kept, shared + len(left.prompts) - len(fresh.prompts)
                longest = max(longest, left.decoding.max_new_tokens)
                asked_as = one.remote.model if one.remote else ""
                asking.append(Asking(asked_as, fresh.prompts, references, left.decoding.max_new_tokens))
        new = sum(len(one.prompts) for one in asking)
        hosted = hosted_model(entry.candidate)
        if hosted is None:
            return Calls(new, kept, shared), ()
        model, is_tuned = hosted
        bill, tokens = self.costs.answers(Payee(model.model, is_tuned, model.batch), asking)
        return Calls(new, kept, shared, tokens, longest), (bill,)

    def _fresh(self, left: Left) -> Left:
        """What no earlier line asks, from now on asked by this one."""
        places = {prompt.row_id: (left.context, prompt.row_id) for prompt in left.prompts}
        fresh = tuple(p for p in left.prompts if places[p.row_id] not in self._asked)
        self._asked.update(places.values())
        return replace(left, prompts=fresh)

    def judges(self) -> Iterator[Work]:
        """What rubrics ask, a line for each suite. Call it once all entries are counted."""
        calibrated: set[Rubric] = set()
        for bound, rubric in self._rubrics():
            trials = self._judged[bound.name]
            yield judging(rubric, bound, trials, self.costs, labels=rubric not in calibrated)
            calibrated.add(rubric)

    def _rubrics(self) -> Iterator[tuple[LoadedSuite, Rubric]]:
        for bound in self._run.suites.values():
            for rubric in rubrics(bound):
                yield bound, rubric


def _trainings(foreseen: list[CostEstimate], new: list[TrainingEstimate]) -> Trainings:
    mine = [one.training for one in foreseen if one.training is not None]
    kept = sum(one.is_kept for one in mine)
    bounds = [one.most_tokens for one in new]
    return Trainings(
        rows=max((one.rows for one in mine), default=0),
        new=len(new),
        kept=kept,
        shared=len(mine) - len(new) - kept,
        tokens=sum(one.tokens for one in new),
        most_tokens=None if None in bounds else sum(bound or 0.0 for bound in bounds),
    )
