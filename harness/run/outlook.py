"""How long a run takes on this machine, said first and corrected as it goes, with what each size shows.

What a size shows is said while the others are trained. It describes and decides nothing: the gates are read
at the end, at the largest size, whatever stood here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.decision.plan import PURPOSES, Purpose, Work
from harness.errors import HarnessError
from harness.models.pace import Pace
from harness.report import numbers
from harness.report.plan import minutes, time_to_take
from harness.report.printable import printable
from harness.run.plan_time import within
from harness.run.planning import work_to_do
from harness.scoring.judges import Judge, needs_baseline

if TYPE_CHECKING:
    from harness.run.selection import Arm
    from harness.run.session import Session

WORTH_SAYING_S = 60.0


def begin_outlook(run: Session) -> None:
    """Say how long the run takes, where this machine computes for long; the session tells how it goes on."""
    at_once = (run.lab.at_once(arm.candidate) for arm in run.selection.arms())
    if (
        run.ladder is not None
        or run.settings.rehearse is not None
        or max(run.lab.executor.slots, *at_once) > 1
    ):
        return
    work, pace = work_to_do(run)
    run.outlook = Outlook(run, work, pace)
    run.outlook.begin()


class Outlook:
    """What is left to do, and which sizes have been told."""

    def __init__(self, run: Session, work: Sequence[Work], pace: Pace) -> None:
        self._run, self._pace = run, pace
        self._predicted = {one.label: one.seconds for one in work}
        arms = {arm.label: arm for arm in run.selection.arms()}
        self._left = {label: arms[label] for label in self._predicted}
        self._untold = [arm for arm in arms.values() if arm.size != run.selection.largest(arm.name)]
        self._is_long = False

    def begin(self) -> None:
        """How long all of it takes, and what that is made of."""
        seconds = self._sums(self._predicted)
        if sum(seconds.values()) < WORTH_SAYING_S:
            return
        self._is_long = True
        first = f"; the first size is there after about {minutes(self._first())}" if self._untold else ""
        self._say(f"this machine computes {time_to_take(seconds, within(self._pace))}{first}")

    def _first(self) -> float:
        """Seconds to the first size and its baseline."""
        arm = self._untold[0]
        labels = {arm.label, self._run.selection.baseline_of(arm.name).label}
        return sum(self._sums(labels & self._predicted.keys()).values())

    def tell(self) -> None:
        """Call it after each trial: correct what is left, and tell of each size that is through."""
        run = self._run
        through = [label for label, arm in self._left.items() if self._is_through(arm)]
        for label in through:
            del self._left[label]
        done = self._sums([label for label in self._predicted if label not in self._left])
        for purpose in PURPOSES if through else ():
            self._pace.correct(purpose, done.get(purpose, 0.0), self._spent()[purpose])
        for arm in list(self._untold):
            sides = arm, run.selection.baseline_of(arm.name)
            if all(map(self._is_through, sides)):
                self._untold.remove(arm)
                if not self._is_long or any(v in run.failed for side in sides for v in side.variants):
                    continue
                with suppress(HarnessError):  # whoever asks for the scores is told
                    found = "; ".join(self._differences(*sides))
                    self._say(
                        f"{arm.label}{': ' if found else ''}{found}; provisional, the gates are read at the"
                        f" largest size. About {minutes(self.seconds_left())} min left."
                    )

    def seconds_left(self) -> float:
        """At the speed of what has been done, purpose by purpose."""
        done = self._sums([label for label in self._predicted if label not in self._left])
        spent, left = self._spent(), self._sums(self._left)
        known = {p: spent[p] / done[p] for p in done if done[p] and spent[p]}
        whole = sum(spent[p] for p in known) / sum(done[p] for p in known) if known else 1.0
        return sum(seconds * known.get(p, whole) for p, seconds in left.items())

    def _spent(self) -> dict[Purpose, float]:
        run, seconds = self._run, self._run.answerer.seconds
        answers = seconds["generation"] + seconds["loading"]
        return {"training": run.training_seconds, "answers": answers, "judging": seconds["scoring"]}

    def _sums(self, labels: Iterable[str]) -> dict[Purpose, float]:
        each = [self._predicted[label] for label in labels]
        return {purpose: sum(one.get(purpose, 0.0) for one in each) for purpose in PURPOSES}

    def _is_through(self, arm: Arm) -> bool:
        run = self._run
        if any(variant in run.failed for variant in arm.variants):
            return True
        wanted = ((seed, suite.name) for suite in run.suites_of(arm) for seed in arm.replicas)
        return all((arm.label, seed, suite) in run.trials for seed, suite in wanted)

    def _differences(self, arm: Arm, baseline: Arm) -> Iterator[str]:
        """Of the scores that targets are written for, as their gates will take them."""
        run = self._run
        for suite in run.suites_of(arm):
            for score in suite.scores:
                is_target = (suite.name, score.name) in run.written_targets
                is_looked_at = isinstance(score, Judge) and run.settings.max_interim_looks > 1
                if not is_target or is_looked_at or needs_baseline(score):
                    continue
                mine, theirs = (run.subject(side, suite.name, None).scores(score) for side in (arm, baseline))
                it = (mine > theirs).comparison
                yield f"{score.name} {numbers.points(it.difference)} {numbers.interval(it.low, it.high)}"

    def _say(self, text: str) -> None:
        self._run.lab.progress.say(printable(text))
