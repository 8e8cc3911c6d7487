"""What a ladder's rungs were measured to be: paired differences on one score, the first target's. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from harness.decision.ladder import IS_BASELINE
from harness.decision.paired import compare
from harness.decision.vectors import common_rows, over_seeds, recorded_vector
from harness.records import (
    TIE,
    Comparison,
    Gate,
    Kind,
    Ladder,
    Role,
    Rung,
    RunRecord,
    ScoreInfo,
    ScoreVector,
    SuiteInfo,
)
from harness.report.trial_pairs import is_advisory, trials_of

NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Measured:
    """A ladder with the vectors of its rungs."""

    record: RunRecord
    ladder: Ladder

    @cached_property
    def rungs(self) -> list[Rung]:
        """In the order in which they were tried."""
        return sorted(self.ladder.rungs, key=lambda rung: rung.rank)

    def n(self, outcome: str) -> int:
        """How many rungs ended so."""
        return sum(rung.outcome == outcome for rung in self.rungs)

    @cached_property
    def measured(self) -> tuple[SuiteInfo, ScoreInfo, Role] | None:
        """The score to compare rungs by: of the first target on all rows, else of the first gate."""
        mine = {rung.candidate for rung in self.rungs}
        asked = [g for g in self.record.gates if g.comparison is not None and g.candidate in mine]

        def order(gate: Gate) -> tuple[bool, bool, bool]:
            is_sliced = gate.comparison is not None and bool(gate.comparison.rows)
            return gate.role is not Role.TARGET, is_sliced, gate.state != "gated"

        for gate in sorted(asked, key=order):
            suite = next((one for one in self.record.suites if one.name == gate.suite), None)
            score = gate.comparison.score if gate.comparison else ""
            for info in suite.scores if suite else ():
                if suite is not None and info.name == score:
                    return suite, info, gate.role
        return None

    @cached_property
    def score_name(self) -> str:
        """``suite / score``, and whether it decides."""
        if self.measured is None:
            return "no score, as no gate was judged"
        suite, info, role = self.measured
        which = "the first target" if role is Role.TARGET else "there is no target"
        return f"{suite.name} / {info.name} ({which}{', advisory' if is_advisory(info) else ''})"

    @cached_property
    def baseline(self) -> str:
        """The candidate that most rungs are compared with; empty where there is none."""
        infos = {info.name: info.baseline for info in self.record.candidates}
        found = Counter(name for rung in self.rungs if (name := infos.get(rung.candidate, "")))
        return found.most_common(1)[0][0] if found else ""

    def vector(self, name: str, size: int | None) -> ScoreVector | None:
        """The candidate's values at this size, over seeds; None where it has none."""
        if self.measured is None:
            return None
        suite, info, _ = self.measured
        tried = [trial for trial in trials_of(self.record, suite.name, name) if trial.size == size]
        trials = [trial for trial in tried if info.name in trial.scores]
        if not trials:
            return None
        each = [recorded_vector(suite, trial, info.name) for trial in trials]
        return over_seeds(each, [trial.seed or 0 for trial in trials])

    @cached_property
    def vectors(self) -> dict[str, ScoreVector]:
        """Of each rung that was tried, by label."""
        each = {rung.label: self.vector(rung.candidate, rung.size) for rung in self.rungs}
        return {label: vector for label, vector in each.items() if vector is not None}

    @cached_property
    def of_baseline(self) -> ScoreVector | None:
        """The baseline's values, at its largest size."""
        trials = trials_of(self.record, self.measured[0].name, self.baseline) if self.measured else []
        return self.vector(self.baseline, trials[-1].size) if trials else None

    def between(self, label: str, other: str) -> Comparison | None:
        """The paired difference ``label`` - ``other``; None where one has no values, and of preferences."""
        return self._compared(self.vectors.get(label), self.vectors.get(other))

    def quality(self, rung: Rung) -> Comparison | None:
        """The rung's difference to the baseline: as labels corrected it, where they did."""
        return self._qualities.get(rung.label)

    @cached_property
    def _qualities(self) -> dict[str, Comparison | None]:
        return {rung.label: self._quality(rung) for rung in self.rungs if rung.candidate != self.baseline}

    def _quality(self, rung: Rung) -> Comparison | None:
        if self.measured is None:
            return None
        suite, info, _ = self.measured
        is_preference = info.kind is Kind.PREFERENCE
        wanted = (suite.name, rung.candidate, rung.size, info.name, "")
        for gate in self.record.gates:
            found = gate.comparison
            if (
                found is None
                or gate.correction is None
                or (gate.role is Role.THRESHOLD and not is_preference)
            ):
                continue
            if (gate.suite, gate.candidate, gate.size, found.score, found.rows) == wanted:
                return found
        mine = self.vectors.get(rung.label)
        if mine is not None and is_preference:
            return compare(mine, TIE, alpha=self.record.alpha)
        return self._compared(mine, self.of_baseline)

    def _compared(self, mine: ScoreVector | None, theirs: ScoreVector | None) -> Comparison | None:
        if mine is None or theirs is None or mine.kind is Kind.PREFERENCE:
            return None
        if mine.by_seed and theirs.by_seed and len(mine.by_seed[0]) != len(theirs.by_seed[0]):
            return None
        return compare(*common_rows(mine, theirs), alpha=self.record.alpha)

    def height(self, rung: Rung) -> float | None:
        """The difference to the baseline in points; the baseline's own is 0."""
        if rung.candidate == self.baseline and rung.label in self.vectors:
            return 0.0
        found = self.quality(rung)
        return None if found is None or found.difference is None else 100.0 * found.difference

    def tokens(self, rung: Rung) -> float | None:
        """Mean tokens a request, prompt and completion, on the suite of the score; None: not counted."""
        suite = self.measured[0].name if self.measured else ""
        counts = [
            answer.prompt_tokens + answer.completion_tokens
            for trial in trials_of(self.record, suite, rung.candidate)
            for answer in trial.answers
            if trial.size == rung.size and answer.failure is None
            if answer.prompt_tokens is not None and answer.completion_tokens is not None
        ]
        return sum(counts) / len(counts) if counts else None

    def above(self, rung: Rung) -> Rung | None:
        """The next rung that was tried; else the next."""
        higher = [one for one in self.rungs if one.rank > rung.rank and not self.is_only_baseline(one)]
        return next((one for one in higher if one.outcome != NOT_TRIED), higher[0] if higher else None)

    def below(self, rung: Rung) -> Rung | None:
        """The rung before that was tried."""
        lower = [one for one in self.rungs if one.rank < rung.rank and one.outcome != NOT_TRIED]
        return lower[-1] if lower else None

    def is_only_baseline(self, rung: Rung) -> bool:
        """Whether it failed for no other reason than that it cannot be better than itself."""
        return rung.outcome == "fails" and rung.why == IS_BASELINE
