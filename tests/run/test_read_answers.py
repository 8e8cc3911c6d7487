"""Answers are kept as they came and read where they are handed out; what was paid for is not asked again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from stub_service import Body, Service, said, serving

from harness.candidates.base import BaseCandidate, Prepared, Variant
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.records import Answer, FailureKind, Message, Row, Score
from harness.run.answering import Answerer
from harness.run.judge_backends import JudgeBackends
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import ExactMatch, FieldMatch
from harness.scoring.suite import Suite
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore

JSON = '{"team": "sales"}'
THOUGHT = f"<think>\nCould be legal.\n</think>\n\n{JSON}"
CHECKS = FieldMatch("team"), ExactMatch()


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as running:
        yield running


def suite(reference: str = JSON, n: int = 3, max_tokens: int = 40) -> LoadedSuite:
    rows = tuple(
        Row(f"r{k}", (Message("user", f"mail {k}"), Message("assistant", reference))) for k in range(n)
    )
    held = Suite(heldout="h.jsonl", scores=CHECKS, max_tokens=max_tokens)
    return LoadedSuite("mail", held, rows, None, CHECKS, "h.jsonl", Path())


def answerer(folder: Path) -> Answerer:
    store = AnswerStore(folder / "answers.sqlite")
    return Answerer(store, Silent(), JudgeBackends(store, Money(Ledger()), Silent()))


def tried(
    folder: Path, candidate: Prompted, asked: LoadedSuite
) -> tuple[list[Answer], dict[str, tuple[Score, ...]]]:
    prepared = candidate.prepare(Lab(folder, AdapterStore(folder), Silent()), Variant("c", candidate))
    doing = answerer(folder)
    answers = doing.answers("c", candidate, prepared, asked)
    return list(answers), doing.scores(asked, answers, judge_all=True)


def whole(message: Body, finish: str = "stop", completion_tokens: int = 40) -> Body:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return {**said("", completion_tokens=completion_tokens), "choices": [choice]}


def test_a_thought_in_the_content_is_kept_as_it_came_and_never_scored(
    service: Service, tmp_path: Path
) -> None:
    service.reply = lambda body: said(THOUGHT)
    candidate = Prompted(model=RemoteModel("stub", base_url=service.base_url))
    answers, scores = tried(tmp_path, candidate, suite())
    assert {answer.text for answer in answers} == {JSON}
    assert {answer.thought for answer in answers} == {"Could be legal."}
    assert [score.value for each in scores.values() for score in each] == [1.0] * 6
    kept = sqlite3.connect(tmp_path / "answers.sqlite").execute("SELECT answer FROM answers").fetchall()
    assert {json.loads(text)["text"] for (text,) in kept} == {THOUGHT}


def test_answers_kept_by_an_earlier_version_are_read_and_not_asked_again(
    service: Service, tmp_path: Path
) -> None:
    service.reply = lambda body: said(THOUGHT)
    candidate = Prompted(model=RemoteModel("stub", base_url=service.base_url))
    tried(tmp_path, candidate, suite())
    with sqlite3.connect(tmp_path / "answers.sqlite") as file:
        for row_id, text in file.execute("SELECT row_id, answer FROM answers").fetchall():
            fields = json.loads(text)
            for name in ("thought", "thought_tokens", "failure_kind"):
                del fields[name]
            file.execute(
                "UPDATE answers SET answer = ?, digest = NULL WHERE row_id = ?", (json.dumps(fields), row_id)
            )
    file.close()
    answers, _ = tried(tmp_path, candidate, suite())
    assert {answer.text for answer in answers} == {JSON}
    assert len(service.bodies) == 3


def test_a_reply_cut_off_in_its_thought_is_a_failure_and_is_not_paid_twice(
    service: Service, tmp_path: Path
) -> None:
    service.reply = lambda body: whole({"content": None, "reasoning": "Could be"}, "length", 2_088)
    candidate = Prompted(model=RemoteModel("gpt-5-mini", base_url=service.base_url))
    for _ in range(2):
        answers, scores = tried(tmp_path, candidate, suite())
        assert {answer.failure_kind for answer in answers} == {FailureKind.CUT}
        assert {score.value for each in scores.values() for score in each} == {None}
    assert len(service.bodies) == 3
    assert service.bodies[0]["max_completion_tokens"] == 40 + 2_048


def test_a_thinker_that_had_no_room_for_its_thought_is_asked_again(service: Service, tmp_path: Path) -> None:
    service.reply = lambda body: (
        said(JSON) if "mail 0" in str(body) else whole({"content": ""}, "length", completion_tokens=40)
    )
    candidate = Prompted(model=RemoteModel("gpt-5-mini", base_url=service.base_url))
    tried(tmp_path, candidate, suite())
    service.reply = lambda body: said(JSON)
    answers, _ = tried(tmp_path, candidate, suite())
    assert [answer.failure for answer in answers] == [None] * 3
    assert len(service.bodies) == 5, "what came to its end is kept"


def test_a_reference_is_read_as_an_answer_is(service: Service, tmp_path: Path) -> None:
    service.reply = lambda body: said(THOUGHT.replace("legal", "support"))
    candidate = Prompted(model=RemoteModel("stub", base_url=service.base_url))
    _, scores = tried(tmp_path, candidate, suite(reference=THOUGHT))
    assert [score.value for each in scores.values() for score in each] == [1.0] * 6


class Strange:
    """A model that derives from nothing here."""

    numeric_config = "strange"

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        for prompt in prompts:
            if prompt.row_id not in known:
                yield Answer(prompt.row_id, f"[THINK]Could be legal.[/THINK]{JSON}</s>", 9, 20, 1.0)

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [0.0] * len(pairs)


def test_a_strangers_model_is_read_through_the_same_door(tmp_path: Path) -> None:
    prepared = Prepared("strange", "d", "strange-1", "strange", Strange, lambda row, prompt: row.prompt)
    doing, asked = answerer(tmp_path), suite()
    answers = doing.answers("strange", BaseCandidate(), prepared, asked)  # type: ignore[arg-type]
    assert {answer.text for answer in answers} == {JSON}
    scores = doing.scores(asked, answers, judge_all=True)
    assert [score.value for each in scores.values() for score in each] == [1.0] * 6
