"""Candidates from the cheapest up: which is tried next, and when none needs to be tried any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import Literal

from harness.decision.ladder import AS_SET, BY_COST, IS_BASELINE, Place, cheapest_first
from harness.decision.ladder import with_costs as costed
from harness.decision.ladder import with_decisions as decided
from harness.decision.plan import CostLine, Work, total
from harness.decision.retesting import percent
from harness.errors import HarnessError, ModelError, TrainingError, UnknownName, UsageError
from harness.models.source import bytes_at_hand
from harness.records import Decision, Economics, Gate, Ladder, Outcome, Rung, Verdict
from harness.report import numbers
from harness.report.plan import usd_range
from harness.report.printable import printable
from harness.run.plan_costs import Asking, Costs, paid
from harness.run.recording import decisions_of
from harness.run.selection import HOW_TO_DEFINE, Arm, match_names
from harness.run.session import Session


class LadderRun:
    """The rungs of one run, in order. Its suites have been loaded.

    Args:
        run: what tries them.
        expected: the gates that were collected, asked for when a rung has ended.

    Raises:
        UnknownName: ``--ladder-order`` names a candidate that is none of them.
        UsageError: no rung has a baseline, or there is nothing but the baseline.
    """

    def __init__(self, run: Session, expected: Callable[[], Sequence[Gate]]) -> None:
        self._run, self._expected = run, expected
        names = run.selection.rungs()
        first: dict[str, None] = {}
        for pattern in run.settings.ladder_order:
            found = match_names((pattern,), names)
            if not found:
                raise UnknownName("candidate", pattern, sorted(names), HOW_TO_DEFINE)
            first |= dict.fromkeys(found)
        self.order = cheapest_first(map(self._place, names), list(first))
        self._how = AS_SET if first else BY_COST
        self._others = [] if run.settings.baseline else run.selection.share_baseline(self.order)
        if not run.selection.chosen():
            raise UsageError(
                f"--ladder: there is no candidate but {', '.join(names)}, which {IS_BASELINE}.\n"
                "  hint: leave --candidate out, or name another one."
            )
        self._left_out: dict[str, str] = {}
        self._begun: list[str] = []
        self._ended = ""  # why no further rung is tried
        self._spared: set[tuple[str, str]] = set()  # rungs and the suites that need not be asked

    # ----------------------------------------------------------------- before the first is asked
    def leaves_out(self, arm: Arm, problem: HarnessError) -> bool:
        """Whether what cannot be tried is a rung among others that can: it is named, and stops nothing."""
        selection = self._run.selection
        users = [n for n in selection.rungs() if arm in (*selection.sized(n), selection.baseline_of(n))]
        others = [name for name in selection.chosen() if name not in users]
        if not isinstance(problem, ModelError | TrainingError) or not others:
            return False
        for name in users:
            selection.leave_out(name)
            self._left_out[name] = f"left out: {str(problem).partition(chr(10))[0].strip()}"
        return True

    def lines(self, work: Sequence[Work] = ()) -> Iterator[str]:
        """The order, for people; ``work`` says what each may cost."""
        usd = {one.label: one.usd for one in work}
        to = "up to the first that holds" if self._run.settings.ladder == "first" else "all of them"
        level = f"Each gate of the first has to hold at {percent(self.level)}."
        yield f"A ladder of {numbers.plural(len(self.order), 'rung')}, {self._how}; {to}. {level}"
        for rank, name in enumerate(self.order, 1):
            arm = self._run.selection.sized(name)[-1]
            remark = self._left_out.get(name) or (IS_BASELINE if self._is_baseline(name) else "")
            cost = usd.get(arm.label)
            said = [
                f"{rank:>3}. {arm.label} ({arm.candidate.kind}, {arm.candidate.model_name})",
                usd_range(cost) if cost else "",
                remark,
            ]
            yield printable("  ".join(filter(None, said)))
        others = [name for name in self._others if name not in self._left_out]
        if others:
            shared = self._run.selection.baseline_of(others[0]).label
            yield f"All are compared with {shared}; {', '.join(others)} alone would have another."

    @property
    def level(self) -> float:
        """Of each gate of the first rung that holds."""
        return self._run.settings.alpha / max(1, len(self._run.selection.chosen()))

    # ----------------------------------------------------------------- rung by rung
    def why_not(self, name: str) -> str:
        """Why a rung is not tried, now that it is its turn; empty: it is."""
        if name in self._left_out:
            return self._left_out[name]
        if name in self._begun:
            return ""
        if not self._ended and self._begun and self._run.settings.ladder == "first":
            self._decide(self._begun[-1])
        if not self._ended:
            self._begun.append(name)
        return self._ended

    def end(self, why: str) -> None:
        """Try no further rung."""
        self._ended = self._ended or why

    def due(self, arm: Arm) -> set[Arm]:
        """The arms that may be trained together with one that is needed."""
        if not self._begun:
            return {arm}
        selection, now = self._run.selection, self._begun[-1]
        return {arm, *selection.sized(now), selection.baseline_of(now)}

    def why_no_comparison(self, name: str) -> str:
        """Why a rung is not compared with the baseline; empty: it is."""
        return f"{self._run.selection.sized(name)[-1].label} {IS_BASELINE}" if self._is_baseline(name) else ""

    def spares(self, arm: Arm) -> bool:
        """Whether the arm is asked no suite before it must be: they are billed, and the rung may fail."""
        is_compared = self._run.selection.is_compared(arm.name)
        return self._run.settings.ladder == "first" and is_compared and arm.candidate.endpoint() is not None

    def why_not_on(self, arm: Arm, suite: str) -> str:
        """Why a rung is not asked a suite; empty: it is, or has been."""
        asked = any(trial.label == arm.label and trial.suite == suite for trial in self._run.trials.values())
        refuted = [gate for gate in self._run.gates if gate.candidate == arm.name and _is_refuted(gate)]
        if asked or not refuted or not self.spares(arm):
            return ""
        self._spared.add((arm.name, suite))
        return f"{refuted[0].test.rpartition('::')[2]} is refuted already"

    def is_judged(self, gate: Gate) -> bool:
        """Whether a gate that was collected is of a rung that was tried, and may be missing."""
        name = gate.candidate
        return name in self._begun and not self._is_baseline(name) and (name, gate.suite) not in self._spared

    def _decide(self, name: str) -> None:
        if self._is_baseline(name):
            return
        _, decisions = decisions_of(self._run, self._expected(), [name])
        for decision in decisions:
            label, place = self._run.selection.sized(name)[-1].label, self.order.index(name) + 1
            self._run.lab.progress.say(f"rung {place} of {len(self.order)}, {label}: {decision.verdict}")
            if decision.verdict is Verdict.GO:
                self.end(f"{label} holds already")

    # ----------------------------------------------------------------- what came of it
    def record(self, decisions: Sequence[Decision], economics: Sequence[Economics]) -> Ladder:
        """The ladder as it is kept."""
        rungs = tuple(self._rung(rank, name) for rank, name in enumerate(self.order, 1))
        mode = self._run.settings.ladder or "first"
        ladder = Ladder(rungs, mode, self.level, None, self._how, self._saved())
        return decided(costed(ladder, economics), decisions)

    def _rung(self, rank: int, name: str) -> Rung:
        arm = self._run.selection.sized(name)[-1]
        outcome: Literal["fails", "not tried"]
        trials = [trial for trial in self._run.trials.values() if trial.label == arm.label]
        known = [
            answer.latency_ms
            for trial in trials
            for answer in trial.answers
            if answer.latency_ms is not None and answer.failure is None and not answer.batched
        ]
        if name not in self._left_out and self._is_baseline(name):
            failed = [
                f"; {gate.test.rpartition('::')[2]} is {gate.comparison.outcome}"
                for gate in self._run.gates
                if gate.candidate == name and gate.comparison and gate.state == "gated"
                if gate.comparison.outcome is not Outcome.SHOWN
            ]
            outcome, why = "fails", IS_BASELINE + "".join(failed)
        else:
            outcome, why = "not tried", self._left_out.get(name) or self._ended or "none of its tests ran"
        latency_ms = sum(known) / len(known) if known else None
        return Rung(name, arm.size, rank, arm.candidate.cost_rank, outcome, why, latency_ms=latency_ms)

    def _saved(self) -> float | None:
        """The least that the rungs that were not tried would have been billed."""
        from harness.run.planning import billed

        selection = self._run.selection
        names = [name for name in selection.chosen() if name not in self._begun]
        arms = [
            arm for name in names for arm in selection.sized(name) if arm.candidate.endpoint() is not None
        ]
        try:
            bills = [usd for usd in billed(self._run, arms).values() if usd is not None]
        except HarnessError:  # what cannot be counted was not spent either
            return None
        return total(bills).low if bills else None

    def _is_baseline(self, name: str) -> bool:
        return not self._run.selection.is_compared(name)

    def _place(self, name: str) -> Place:
        run, arm = self._run, self._run.selection.sized(name)[-1]
        priced = arm.candidate.endpoint()
        if priced is None:
            size = bytes_at_hand(run.lab_of(arm).path_or_name(arm.candidate.model_name))
            return Place(name, arm.candidate.cost_rank, model_bytes=size)
        unpriced = Place(name, arm.candidate.cost_rank, usd_per_mtok=inf)
        lab = replace(run.lab_of(arm), is_offline=True)  # an order is no reason to fetch an encoder
        try:
            estimate = arm.candidate.estimate(lab, arm.variants[0])
        except (ModelError, TrainingError):
            return unpriced  # the checks before the run say why
        bills, costs = list[CostLine](), Costs(*run.prices())
        for suite in run.suites_of(arm):
            references = [row.reference for row in suite.rows]
            for call in run.answerer.calls(arm.candidate, estimate.prepared, suite):
                asked, payee = run.answerer.asked(call, suite), paid(call.candidate)
                sent_as = call.asked_as or (estimate.asked_as.model if estimate.asked_as else "")
                if payee is not None:
                    one = Asking(sent_as, asked.prompts, references, asked.most_tokens)
                    bills.append(costs.answers(payee, [one])[0])
        n = sum(len(suite.rows) for suite in run.suites_of(arm))
        prices = [bill.price for bill in bills if bill.price is not None]
        if not n or not prices or len(prices) < len(bills):
            return unpriced
        usd_per_mtok = max(price.input_usd_per_mtok + price.output_usd_per_mtok for price in prices)
        usd = 1000 * sum(bill.usd.low for bill in bills) / n
        return replace(unpriced, usd_per_mtok=usd_per_mtok, usd_per_1000_requests=usd)


def _is_refuted(gate: Gate) -> bool:
    found = gate.comparison
    return gate.state == "gated" and found is not None and found.outcome is Outcome.REFUTED
