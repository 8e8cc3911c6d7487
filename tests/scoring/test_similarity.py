"""Nearness to the reference, with an encoder that counts letters instead of a model."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import DataError, UsageError
from harness.records import Answer, Message, Row
from harness.scoring.judges import BUILTIN_EMBEDDER, Failure, Judge, Oracle, judged_rows, tried_out
from harness.scoring.labels import Label
from harness.scoring.similarity import CalibratedSimilarity, Similarity, cosines

if TYPE_CHECKING:
    import numpy.typing as npt

JUDGE = Similarity("summary", labels="labels.jsonl")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


class OldOracle:
    """An oracle of the time before there were encoders."""

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        raise AssertionError("nothing is read here")

    def grader(self, model: object, schema: object, max_tokens: int) -> OldOracle:
        return self

    def ask(self, prompts: object) -> Sequence[str | Failure]:
        raise AssertionError("nobody is asked here")


class Letters(OldOracle):
    """Vectors of how often each letter occurs. Keeps what it was asked."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.asked: list[list[str]] = []

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> Letters:
        self.models.append(model)
        return self

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked.append(list(texts))
        return np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32)


def some_labels(n: int = 100) -> tuple[Label, ...]:
    """Good replies hold the reference's letters in another order, bad ones other letters."""
    chance = random.Random(1)
    labels = []
    for k in range(n):
        letters = chance.sample(LETTERS, 12)
        reply = letters[:6] if k % 2 else letters[6:]
        labels.append(Label(f"m{k}", "".join(letters[:6]), "".join(reversed(reply)), k % 2 == 1))
    return tuple(labels)


def calibrated(oracle: Oracle) -> CalibratedSimilarity:
    return replace(JUDGE, known=some_labels()).calibrated(oracle)


def asked(*replies: str, reference: str = '{"summary": "abc"}') -> tuple[list[Row], list[Answer]]:
    turns = (Message("user", "?"), Message("assistant", reference))
    rows = [Row(str(k), turns, {}, "heldout.jsonl:3") for k in range(len(replies))]
    return rows, [Answer(row.id, reply, 1, 1, 0.0) for row, reply in zip(rows, replies, strict=True)]


def test_a_judge_that_separates_is_admitted_and_a_nearer_reply_gets_more() -> None:
    judge = calibrated(Letters())
    assert judge.admission.admitted
    assert (judge.admission.n_calibration, judge.admission.n_test) == (50, 50)
    rows, answers = asked('{"summary": "cab"}', '{"summary": "abx"}', '{"summary": "xyz"}')
    near, between, far = judge.score_many(rows, answers, Letters())
    assert near.value is not None
    assert between.value is not None
    assert far.value is not None
    assert 1 > near.value > between.value > far.value > 0
    assert near.reason == "cosine 1.00 with the reference"


def test_nearness_that_says_nothing_admits_nobody() -> None:
    labels = tuple(replace(label, good=k % 4 < 2) for k, label in enumerate(some_labels()))
    assert not replace(JUDGE, known=labels).calibrated(Letters()).admission.admitted


def test_every_distinct_text_is_read_once_in_one_call() -> None:
    judge, oracle = calibrated(Letters()), Letters()
    rows, answers = asked(*['{"summary": "cab"}'] * 3, "no JSON", "{}")
    scores = judge.score_many(rows, answers, oracle)
    assert oracle.asked == [["abc", "cab"]]
    assert [score.value for score in scores[3:]] == [0.0, 0.0]
    none = Letters()
    judge.score_many(*asked("no JSON"), none)
    assert none.asked == []


def test_the_encoder_that_was_named_is_asked_for() -> None:
    oracle = Letters()
    replace(JUDGE, model="own/encoder").require_ready(oracle)
    replace(JUDGE, model="own/encoder", known=some_labels()).calibrated(oracle)
    JUDGE.require_ready(oracle)
    assert oracle.models == ["own/encoder", "own/encoder", BUILTIN_EMBEDDER]
    assert oracle.asked[0]
    assert JUDGE.spec()["model"] == BUILTIN_EMBEDDER
    in_a_folder = Similarity(labels="x", model=Path("own/encoder"))  # type: ignore[arg-type]  # people do so
    assert in_a_folder.spec()["model"] == "own/encoder"


def test_a_text_without_a_direction_is_a_failure_and_never_a_zero() -> None:
    (score,) = calibrated(Letters()).score_many(*asked('{"summary": "123"}'), Letters())
    assert score.value is None
    assert score.failure == "the encoder gave no direction: cosine nan"
    assert math.isnan(cosines([("abc", "...")], Letters())[0])
    labels = (*some_labels(), Label("m", "abc", "...", False))
    with pytest.raises(DataError, match="gave no number"):
        replace(JUDGE, known=labels).calibrated(Letters())


def test_an_oracle_without_encoders_says_so_and_serves_other_judges_as_before() -> None:
    with pytest.raises(UsageError, match="OldOracle has no encoders"):
        calibrated(OldOracle())


def test_it_is_a_judge_as_the_harness_asks_them() -> None:
    lines = (
        json.dumps(
            {
                "message": label.message,
                "reference": label.reference,
                "summary": label.reply,
                "label": "good" if label.good else "bad",
            }
        )
        for label in some_labels()
    )
    text = "\n".join(lines)
    bound = JUDGE.bind(lambda _: text)
    assert isinstance(bound, Judge)
    assert {JUDGE: 1}[bound] == 1
    assert bound.spec() != JUDGE.spec()
    assert bound.estimate([]) is None
    assert bound.redirected("http://localhost") is bound
    tried = tried_out(bound, Letters())
    assert tried.admission is not None
    assert tried.admission.admitted
    (score,) = judged_rows(bound, tried, *asked('{"summary": "cab"}'), Letters())
    assert score.value is not None


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="the threshold is a probability"):
        Similarity(labels="x", threshold=1.0)
    with pytest.raises(UsageError, match="bind it first"):
        JUDGE.calibrated(Letters())
    assert Similarity(labels="x").name == "similarity"
