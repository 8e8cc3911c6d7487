"""Scripted graders of pairs, in place of models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.records import Answer, Json, Message, Row
from harness.scoring.judges import Failure, Grader, GradingModel
from harness.scoring.pair_labels import PairLabel

BLOCKS = re.compile(
    r"<first-(\w+)>\n(?P<first>.*)\n</first-\1>\n\n<second-\1>\n(?P<second>.*)\n</second-\1>", re.DOTALL
)


@dataclass(frozen=True)
class Named:
    """A model by its name."""

    model: str = "grader"
    batch: bool = False
    is_tuned: bool = False
    url: str = "https://grader.example/v1"

    def redirected(self, url: str) -> Named:
        return replace(self, url=url)

    def identity(self) -> Mapping[str, Json]:
        return {"model": self.model}

    def require_ready(self) -> None:
        """Always."""


def verdict(said: object, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "verdict": said})


@dataclass
class Comparer:
    """Judges the two texts between the tags by ``say``. Is grader and oracle in one."""

    say: Callable[[str, str], str | Failure]
    asked: list[Sequence[Message]] = field(default_factory=list)

    def ask(self, prompts: Sequence[Sequence[Message]]) -> Sequence[str | Failure]:
        self.asked += prompts
        return [self.say(*answers_in(prompt)) for prompt in prompts]

    def grader(self, model: GradingModel, schema: Mapping[str, Json], max_tokens: int) -> Grader:
        return self

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        raise AssertionError("a judge of pairs reads no likelihoods")


def answers_in(prompt: Sequence[Message]) -> tuple[str, str]:
    found = BLOCKS.search(prompt[-1].content)
    assert found is not None, prompt[-1].content
    return found["first"], found["second"]


def quality(text: str) -> int:
    """The number that a text ends in."""
    return int(text.rpartition(" ")[2])


def honest(first: str, second: str) -> str:
    mine, theirs = quality(first), quality(second)
    return verdict("tie" if mine == theirs else "first" if mine > theirs else "second")


def pair_labels(n: int = 60, ties: int = 6) -> tuple[PairLabel, ...]:
    """Half of the first ``n`` given to either side, then ties."""
    decided = [
        PairLabel(f"m{k}", "", f"a{k} {1 + k % 2}", f"b{k} {2 - k % 2}", "first" if k % 2 else "second")
        for k in range(n)
    ]
    return (*decided, *(PairLabel(f"t{k}", "ref", f"a{k} 1", f"b{k} 1", "tie") for k in range(ties)))


def rows_and_sides(*pairs: tuple[str, str]) -> tuple[list[Row], list[Answer], list[Answer]]:
    """Rows with both sides' answers."""
    rows = [Row(str(k), (Message("user", "?"), Message("assistant", "ref"))) for k in range(len(pairs))]
    sides = [[Answer(str(k), pair[side], 1, 1, 1.0) for k, pair in enumerate(pairs)] for side in (0, 1)]
    return rows, sides[0], sides[1]
