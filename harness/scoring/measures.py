"""Scores of an answer's time and length.

A score lies in [0, 1] and more is better; milliseconds and tokens do neither. Two honest ways in:

- with ``at_most``, the share of answers within a limit ("95% within 800 ms"): the form to gate on a number;
- without, a straight line from 1 at nothing down to 0 at ``scale``: means and differences keep their unit
  (with a scale of 10,000 ms a point is 100 ms), so it is the form to compare two candidates by. What lies
  beyond the scale counts as the scale.

The measured value is the reason, whatever the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from harness.fields import Positive
from harness.records import Answer, Json, Kind, Row, Score
from harness.scoring.checks import NamedCheck


@dataclass(frozen=True)
class _Measure(NamedCheck):
    """A quantity of which less is better."""

    quantity: ClassVar[str]
    unit: ClassVar[str]

    at_most: Positive | None = None
    scale: Positive = field(default=1.0, kw_only=True)

    @property
    def kind(self) -> Kind:
        """Right or wrong by the limit; graded without one."""
        return Kind.GRADED if self.at_most is None else Kind.BINARY

    def spec(self) -> Mapping[str, Json]:
        """The limit, or the scale where there is none."""
        shaping = ("scale", self.scale) if self.at_most is None else ("at_most", self.at_most)
        return {"check": type(self).__name__, shaping[0]: shaping[1]}

    def _default_name(self) -> str:
        if self.at_most is None:
            return f"{self.quantity} (1 − {self.unit}/{self.scale:g})"
        return f"{self.quantity} ≤ {self.at_most:g} {self.unit}"

    def _measured(self, measured: float) -> Score:
        graded = max(0.0, 1 - measured / self.scale)
        value = graded if self.at_most is None else float(measured <= self.at_most)
        return Score(value, f"{measured:.0f} {self.unit}")


@dataclass(frozen=True)
class LatencyMs(_Measure):
    """How long the answer took, in milliseconds; see the module for ``at_most`` and ``scale``.

        fast = LatencyMs(at_most=800)
        assert candidate.scores(fast) > 0.95

    It is the time of the one call that answered: without the wait for a place in the queue, and without
    calls that failed before it. Of a local model it is an equal share of its batch's time. A batched answer
    has none: that is a failure, counted, and no 0.
    """

    quantity: ClassVar[str] = "latency"
    unit: ClassVar[str] = "ms"

    scale: float = field(default=10_000.0, kw_only=True)

    def _score(self, row: Row, answer: Answer) -> Score:
        if answer.batched:
            return Score(None, failure="no latency: the answer came through the Batch API")
        if answer.latency_ms is None:
            return Score(None, failure="no latency: it was not recorded with the answer")
        return self._measured(answer.latency_ms)


@dataclass(frozen=True)
class OutputTokens(_Measure):
    """How many tokens the answer has; see the module for ``at_most`` and ``scale``.

    Tokens are those of the model that answered, as billed: two models count one text differently, and one
    that thinks first is billed for its thoughts.
    """

    quantity: ClassVar[str] = "output"
    unit: ClassVar[str] = "tokens"

    scale: float = field(default=1_000.0, kw_only=True)

    def _score(self, row: Row, answer: Answer) -> Score:
        if answer.completion_tokens is None:
            return Score(None, failure="no count of tokens: it was not recorded with the answer")
        return self._measured(answer.completion_tokens)
