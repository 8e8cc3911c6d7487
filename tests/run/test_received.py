"""What a stranger's model gives or raises is the failure of its row; the other answers are plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from pydantic import TypeAdapter

from benchmarks.hostile_values import hostile_reply
from harness.errors import ModelError
from harness.records import Answer, FailureKind
from harness.run.answering import keeping
from harness.run.received import plain_answers
from harness.store.answers import AnswerStore

GOOD = Answer("a", "yes", 3, 1, 1.0)


def received(ask: Callable[[], object], *known: str) -> dict[str, Answer]:
    return {answer.row_id: answer for answer in plain_answers(ask, ("a", "b"), known)}


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (None, "gave None in place of an Answer"),
        (b"yes", "of the type bytes"),
        (replace(GOOD, text=3), "text is 3, and no text"),  # type: ignore[arg-type]
        (replace(GOOD, prompt_tokens=-3), "prompt_tokens is -3, and no count"),
        (replace(GOOD, completion_tokens=None), "completion_tokens is None"),
        (replace(GOOD, latency_ms=float("nan")), "latency_ms is nan"),
        (replace(GOOD, finish="calls"), "finish is 'calls'"),  # type: ignore[arg-type]
        (replace(GOOD, row_id="nobody"), "rows that nobody asked"),
        (replace(GOOD, row_id=7), "in place of an Answer with a row_id"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_answer_is_the_failure_of_its_row(one: object, says: str) -> None:
    found = received(lambda: [Answer("b", "no", 1, 1, 0.0), one])
    assert found["b"].text == "no"
    assert found["a"].failure_kind is FailureKind.ERROR
    assert says in str(found["a"].failure)


def test_numbers_of_other_libraries_are_taken_and_a_logprob_that_is_none_is_left_out() -> None:
    numbers: dict[str, object] = {"prompt_tokens": np.int64(3), "latency_ms": np.float32(1)}
    odd = replace(GOOD, **numbers, logprob=float("nan"))  # type: ignore[arg-type]
    assert received(lambda: iter([odd]))["a"] == GOOD
    assert type(received(lambda: iter([odd]))["a"].prompt_tokens) is int


@pytest.mark.parametrize("error", [ValueError("\ud800"), SystemExit(3), pytest.skip.Exception("later")])
def test_a_model_that_stops_in_the_middle_leaves_the_answers_that_came(error: BaseException) -> None:
    def answers() -> Iterator[Answer]:
        yield GOOD
        raise error

    found = received(answers)
    assert found["a"] == GOOD
    assert str(found["b"].failure).startswith(f"the model raised {type(error).__name__}")


def test_rows_that_are_known_are_not_missing() -> None:
    assert received(tuple, "a").keys() == {"b"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("no key"), pytest.exit.Exception("now")])
def test_what_ends_the_asking_passes(error: BaseException) -> None:
    def ask() -> object:
        raise error

    with pytest.raises(type(error)):
        received(ask)


def test_hostile_replies_are_answers_of_the_types_that_their_fields_have() -> None:
    rng, adapter = Random(1), TypeAdapter(Answer)
    for _ in range(1_000):
        replies = [hostile_reply(rng, row_id, longest=300) for row_id in "ab"]
        found = received(lambda given=replies: given)  # type: ignore[misc]
        assert found.keys() == {"a", "b"}
        for answer in found.values():
            adapter.validate_python(adapter.dump_python(answer), strict=False)
            assert answer.failure is not None or type(answer.text) is str
            assert type(answer.prompt_tokens) is type(answer.completion_tokens) is int


def test_what_a_model_raised_is_said_at_once() -> None:
    said: list[str] = []

    def ask() -> object:
        raise RuntimeError("out of memory")

    assert len(list(plain_answers(ask, ("a", "b"), (), said.append))) == 2
    assert said[0].startswith("the model raised RuntimeError: out of memory")
    assert said[0].endswith("; 2 of 2 rows have no answer")


def test_half_a_character_in_any_text_of_an_answer_can_be_stored(tmp_path: Path) -> None:
    half = "\ud800"
    odd = Answer("a", half, 1, 1, 0.0, thought=half, served_by=half)
    store = AnswerStore(tmp_path / "answers.sqlite")
    (kept,) = keeping(store, "c", iter([odd]))
    assert (kept.text, kept.thought, kept.served_by) == ("?", "?", "?")
    assert store.answers("c")["a"] == kept
