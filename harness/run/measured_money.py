"""What money is computed from, of trials alone: both sides' tokens row by row, and the work of trainings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.decision.estimates import Codes, pair
from harness.decision.money import TrainingBill, Usage
from harness.decision.student import Values
from harness.records import Answer, ScoreVector, Trial

#: A held-out row: its suite and id.
RowOf = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MeasuredSides:
    """Both sides' trials on the task, and their tokens for each row that both answered."""

    candidate: Usage | None  # None: none came, or nobody counted
    baseline: Usage | None
    rows: Sequence[RowOf]
    pairs: Sequence[tuple[Usage, Usage]]

    def by_pair(self, suite: str, differences: Mapping[str, float]) -> Values:
        """Differences of a suite's rows in the order of the pairs; nan where there is none."""
        missing = float("nan")
        return np.array(
            [differences.get(row, missing) if its == suite else missing for its, row in self.rows]
        )

    def groups(self, group_of: Mapping[RowOf, str | None]) -> Codes | None:
        """A number for each pair, which rows of one group share; None where no two do."""
        names = [(row[0], group) if (group := group_of.get(row)) is not None else row for row in self.rows]
        if len(set(names)) == len(names):
            return None
        return np.unique(["\0".join(name) for name in names], return_inverse=True)[1]


def measured_sides(candidate: Sequence[Trial], baseline: Sequence[Trial]) -> MeasuredSides:
    """Of several seeds, the mean of each row."""
    mine, theirs = _by_row(candidate), _by_row(baseline)
    rows = [row for row in mine if row in theirs]
    return MeasuredSides(
        _usage(candidate), _usage(baseline), rows, [(mine[row], theirs[row]) for row in rows]
    )


def differences_of(sides: tuple[ScoreVector, ScoreVector | float] | None) -> dict[str, float]:
    """Candidate less baseline by row, of rows that both have."""
    if sides is None:
        return {}
    return dict(zip(sides[0].row_ids, map(float, pair(*sides).differences), strict=True))


def bill_of(trial: Trial) -> TrainingBill | None:
    """The work of the training behind a trial."""
    training = trial.training
    return None if training is None else TrainingBill(training.tokens * training.epochs, training.seconds)


def bills_of(trials: Iterable[Trial], candidate: str) -> list[TrainingBill]:
    """The different trainings of a candidate, at every size and seed."""
    bills = {
        trial.training.fingerprint: bill
        for trial in trials
        if trial.candidate == candidate
        and trial.training is not None
        and (bill := bill_of(trial)) is not None
    }
    return list(bills.values())


def _usage(trials: Sequence[Trial]) -> Usage | None:
    seconds = sum(trial.seconds for trial in trials)
    return _mean_usage([answer for trial in trials for answer in trial.answers], seconds)


def _mean_usage(answers: Sequence[Answer], seconds: float = 0.0) -> Usage | None:
    came = [answer for answer in answers if answer.failure is None]
    read = [answer.prompt_tokens for answer in came if answer.prompt_tokens is not None]
    written = [answer.completion_tokens for answer in came if answer.completion_tokens is not None]
    if not read or not written:
        return None
    all_known = len(read) == len(written) == len(came)
    return Usage(
        prompt_tokens=sum(read) / len(read),
        completion_tokens=sum(written) / len(written),
        n=min(len(read), len(written)),
        cached_prompt_tokens=sum(answer.cached_prompt_tokens for answer in came) / len(came),
        tokens_per_second=(sum(read) + sum(written)) / seconds if seconds and all_known else None,
    )


def _by_row(trials: Sequence[Trial]) -> dict[RowOf, Usage]:
    answers: defaultdict[RowOf, list[Answer]] = defaultdict(list)
    for trial in trials:
        for answer in trial.answers:
            answers[trial.suite, answer.row_id].append(answer)
    return {row: usage for row, its in answers.items() if (usage := _mean_usage(its)) is not None}
