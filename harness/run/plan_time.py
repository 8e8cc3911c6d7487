"""How long this machine computes at what a run has to do: its models' products, at their speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.candidates.base import Candidate, answered_by
from harness.candidates.lab import Lab
from harness.decision.plan import Purpose
from harness.models.pace import Pace
from harness.models.protocol import Prompt
from harness.models.source import BUILTIN, bytes_at_hand
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.scoring.frame import LocalJudge
from harness.scoring.judges import Judge

CHARACTERS_A_TOKEN = 4.0
BYTES_A_WEIGHT = 2
PASSES_TRAINED = 2.0  # forward, and back through frozen weights
BEGINNING_S = 20.0  # of a training: a process, the weights quantised, the development rows
WITHIN = {True: 1.25, False: 1.5}  # by whether the speeds are remembered


def within(pace: Pace) -> float:
    """The factor that seconds may be wrong by, either way."""
    return WITHIN[pace.is_remembered]


class LocalSeconds:
    """Seconds of one arm after the other, by purpose. What a service computes takes none."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._labelled: set[Judge] = set()
        self._lab: Lab | None = None
        self.seconds: dict[Purpose, float] = {}

    def begin(self, lab: Lab, arm: Arm, trainings: Sequence[float]) -> None:
        """The next arm, and the tokens of its trainings that are yet to be done."""
        self._lab, self.seconds = lab, defaultdict(float)
        if arm.candidate.endpoint() is None and any(trainings):
            self._add("training", self._bytes(arm.candidate), PASSES_TRAINED * sum(trainings))
            self.seconds["training"] += BEGINNING_S * len(trainings)

    def answers(self, candidate: Candidate, prompts: Sequence[Prompt], references: Sequence[str]) -> None:
        """Prompts that are yet to be answered, at the length of the references. What all of them begin with
        is read once.
        """
        if answered_by(candidate) is not None or not prompts:
            return
        texts = ["".join(turn.content for turn in prompt.messages) for prompt in prompts]
        ends = zip(min(texts), max(texts), strict=False)
        shared = next((at for at, (a, b) in enumerate(ends) if a != b), 0) * (len(texts) - 1)
        written = len(texts) * sum(map(len, references)) / len(references)
        characters = sum(map(len, texts)) - shared + written
        self._add("answers", self._bytes(candidate), characters / CHARACTERS_A_TOKEN)

    def judging(self, suite: LoadedSuite, missing: int) -> None:
        """Answers that are yet to be judged here, and the labels that the judges are tested on first."""
        for judge in suite.judges:
            if not isinstance(judge, LocalJudge):
                continue
            characters = missing * sum(len(r.reference) for r in suite.rows) / len(suite.rows)
            if judge not in self._labelled:
                self._labelled.add(judge)
                characters += sum(
                    len(one.message) + len(one.reference) + len(one.reply) for one in judge.known or ()
                )
            self._add("judging", bytes_at_hand(BUILTIN), judge.passes * characters / CHARACTERS_A_TOKEN)

    def _bytes(self, candidate: Candidate) -> int:
        assert self._lab is not None
        return bytes_at_hand(self._lab.path_or_name(candidate.model_name))

    def _add(self, purpose: Purpose, model_bytes: int, tokens: float) -> None:
        if model_bytes and tokens:
            flop = 2.0 * model_bytes / BYTES_A_WEIGHT * tokens
            self.seconds[purpose] += flop / self._pace.flop_per_second(model_bytes, purpose)
