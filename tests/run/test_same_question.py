"""Rows of a hosted suite that ask the same: one answer where it is greedy, draws of their own where not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stub_service import Service, said, serving

from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding
from harness.models.remote import RemoteModel
from harness.records import Answer, Message, Row
from harness.run.answering import Answerer
from harness.run.judge_backends import JudgeBackends
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import ExactMatch
from harness.scoring.suite import Suite
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai, twin_stats

ASKED = ("Heads or tails?", "Your name?", "Heads or tails?", "Heads or tails?")
DRAWN = Decoding(max_new_tokens=8, temperature=0.7, seed=5)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service(reply=lambda body: said(f"drawn with {body.get('seed')}"))) as running:
        yield running


def answers(
    folder: Path, model: RemoteModel, decoding: Decoding, asked: tuple[str, ...] = ASKED
) -> list[Answer]:
    """One answer a row, kept in ``folder``."""
    rows = tuple(
        Row(f"r{k}", (Message("user", text), Message("assistant", "heads"))) for k, text in enumerate(asked)
    )
    scores = (ExactMatch(),)
    suite = LoadedSuite(
        "coin", Suite(heldout="h.jsonl", scores=scores, max_tokens=8), rows, None, scores, "h.jsonl", folder
    )
    candidate = Prompted(model=model, decoding=decoding)
    lab = Lab(folder, AdapterStore(folder), Silent())
    prepared = candidate.prepare(lab, Variant("coin", candidate))
    store = AnswerStore(folder / "answers.sqlite")
    answerer = Answerer(store, Silent(), JudgeBackends(store, Money(Ledger()), Silent()))
    found = list(answerer.answers("coin", candidate, prepared, suite))
    assert [answer.row_id for answer in found] == [row.id for row in rows]
    (call,) = answerer.calls(candidate, prepared, suite)
    assert not answerer.asked(call, suite).missing
    return found


def test_drawn_answers_to_one_question_are_draws_of_their_own(service: Service, tmp_path: Path) -> None:
    model = RemoteModel("stub", base_url=service.base_url)
    found = answers(tmp_path, model, DRAWN)
    assert [answer.repeat for answer in found] == [0, 0, 1, 2]
    assert [answer.text for answer in found] == [f"drawn with {seed}" for seed in (5, 5, 6, 7)]
    assert len(service.bodies) == 4
    assert answers(tmp_path, model, DRAWN) == found
    assert len(service.bodies) == 4, "all four are kept"


def test_one_more_row_with_the_question_is_one_more_draw(service: Service, tmp_path: Path) -> None:
    model = RemoteModel("stub", base_url=service.base_url)
    before = answers(tmp_path, model, DRAWN)
    after = answers(tmp_path, model, DRAWN, (*ASKED, "Heads or tails?"))
    assert after[:4] == before
    assert after[4].text == "drawn with 8"
    assert len(service.bodies) == 5


def test_a_greedy_answer_is_shared_and_paid_once(service: Service, tmp_path: Path) -> None:
    found = answers(tmp_path, RemoteModel("stub", base_url=service.base_url), Decoding(max_new_tokens=8))
    assert len(service.bodies) == 2
    assert [answer.repeat for answer in found] == [0, 0, 0, 0]


def test_a_batch_holds_a_line_for_every_draw(tmp_path: Path) -> None:
    with running_fake_openai(backend=ScriptedBackend()) as url:
        model = RemoteModel(CHAT, base_url=url, profile="twin", batch=True)
        found = answers(tmp_path, model, DRAWN)
        assert [answer.repeat for answer in found] == [0, 0, 1, 2]
        assert twin_stats(url)["batch_requests"] == 4
