"""Which trials of a run belong together: a candidate's trials on a suite, and its baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.decision.vectors import common_rows, over_seeds, recorded_vector
from harness.records import TIE, CandidateInfo, Kind, RunRecord, ScoreInfo, ScoreVector, SuiteInfo, Trial

MOST_OF_A_SLICE = 80  # characters of a slice's value


@dataclass(frozen=True, slots=True)
class Pair:
    """One candidate on one suite, and its baseline's trials at their largest size, one a seed."""

    suite: SuiteInfo
    candidate: CandidateInfo
    trials: Sequence[Trial]  # in the order of size, then seed
    baselines: Sequence[Trial]

    @property
    def baseline(self) -> Trial | None:
        """The baseline's trial shown row by row."""
        return self.baselines[0] if self.baselines else None

    @property
    def lead(self) -> Trial:
        """The trial shown row by row: the largest size, and of its seeds the first."""
        return _at_last_size(self.trials)[0]

    def vectors(self, score: str) -> tuple[ScoreVector, ScoreVector | float] | None:
        """Candidate's and baseline's values at their largest sizes, over seeds; None where one has none.

        A preference has been set against the baseline already: its other side is a tie.
        """
        sides = []
        kinds = {info.name: info.kind for info in self.suite.scores}
        is_preference = kinds.get(score) is Kind.PREFERENCE
        for trials in (_at_last_size(self.trials), *([] if is_preference else [self.baselines])):
            if not trials or not all(score in trial.scores for trial in trials):
                return None
            each = [recorded_vector(self.suite, trial, score) for trial in trials]
            sides.append(over_seeds(each, [trial.seed or 0 for trial in trials]))
        return (sides[0], TIE) if is_preference else common_rows(*sides)


def pairs(record: RunRecord) -> list[Pair]:
    """Every candidate that is compared with a baseline, on every suite it was evaluated on."""
    found = []
    for suite in record.suites:
        for candidate in filter(is_compared, record.candidates):
            trials = trials_of(record, suite.name, candidate.name)
            baselines = _at_last_size(trials_of(record, suite.name, candidate.baseline))
            if trials:
                found.append(Pair(suite, candidate, trials, baselines))
    return found


def _at_last_size(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.size == trials[-1].size]


def trials_of(record: RunRecord, suite: str, candidate: str) -> list[Trial]:
    """The candidate's trials on the suite, in the order of size, then seed."""
    return sorted((t for t in record.trials if (t.suite, t.candidate) == (suite, candidate)), key=order)


def order(trial: Trial) -> tuple[int, int]:
    """Sort key: size, then seed; trials without them come first."""
    return (-1 if trial.size is None else trial.size, -1 if trial.seed is None else trial.seed)


def is_compared(candidate: CandidateInfo) -> bool:
    """Whether the candidate is tried against another one, rather than being the baseline itself."""
    return candidate.baseline not in ("", candidate.name)


def size_label(size: int | None, seed: int | None, name: str) -> str:
    """``name@size``, with the seed where it is not the first."""
    label = name if size is None else f"{name}@{size}"
    return f"{label} seed {seed}" if seed else label


def trial_label(trial: Trial) -> str:
    """``name@size``, with the seed where it is not the first."""
    return size_label(trial.size, trial.seed, trial.candidate)


def seeds_label(size: int | None, seeds: tuple[int, ...], name: str) -> str:
    """``name@size``, with the seeds where they are several or not the first."""
    if len(seeds) < 2:
        return size_label(size, seeds[0] if seeds else None, name)
    return f"{size_label(size, None, name)} seeds {', '.join(map(str, seeds))}"


def is_advisory(info: ScoreInfo) -> bool:
    """Whether the score comes from a judge without a vote: it was not admitted, or awaits labels."""
    return info.admission is not None and (not info.admission.admitted or info.trust == "run-labels")
