"""Which trials of a run belong together: a candidate's trials on a suite, and its baseline's."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import CandidateInfo, Kind, RunRecord, ScoreInfo, SuiteInfo, Trial


@dataclass(frozen=True, slots=True)
class Pair:
    """One candidate on one suite. ``trials`` are in the order of size, then seed."""

    suite: SuiteInfo
    candidate: CandidateInfo
    trials: tuple[Trial, ...]
    baseline: Trial | None

    @property
    def lead(self) -> Trial:
        """The trial shown row by row: the largest size, and of its seeds the first."""
        largest = self.trials[-1].size
        return next(trial for trial in self.trials if trial.size == largest)


def order(trial: Trial) -> tuple[int, int]:
    """Sort key: size, then seed; trials without them come first."""
    return (-1 if trial.size is None else trial.size, -1 if trial.seed is None else trial.seed)


def pairs(record: RunRecord) -> tuple[Pair, ...]:
    """Every candidate that is compared with a baseline, on every suite it was evaluated on."""
    found = []
    for suite in record.suites:
        for candidate in record.candidates:
            trials = trials_of(record, suite.name, candidate.name)
            if not trials or not is_compared(candidate):
                continue
            baselines = trials_of(record, suite.name, candidate.baseline)
            found.append(Pair(suite, candidate, trials, baselines[-1] if baselines else None))
    return tuple(found)


def trials_of(record: RunRecord, suite: str, candidate: str) -> tuple[Trial, ...]:
    """The candidate's trials on the suite, in the order of size, then seed."""
    mine = (t for t in record.trials if t.suite == suite and t.candidate == candidate)
    return tuple(sorted(mine, key=order))


def is_compared(candidate: CandidateInfo) -> bool:
    """Whether the candidate is tried against another one, rather than being the baseline itself."""
    return bool(candidate.baseline) and candidate.baseline != candidate.name


def trial_label(trial: Trial) -> str:
    """``name@size``, with the seed where it is not the first."""
    return f"{trial.label} seed {trial.seed}" if trial.seed else trial.label


def size_label(size: int | None, seed: int | None, name: str) -> str:
    """``name@size``, with the seed where it is not the first."""
    label = name if size is None else f"{name}@{size}"
    return f"{label} seed {seed}" if seed else label


def kinds(suite: SuiteInfo) -> dict[str, Kind]:
    """The kind of every score of the suite."""
    return {info.name: info.kind for info in suite.scores}


def is_advisory(info: ScoreInfo) -> bool:
    """Whether the score comes from a judge that was not admitted."""
    return info.admission is not None and not info.admission.admitted
