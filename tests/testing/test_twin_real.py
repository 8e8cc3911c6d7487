"""The backend with a model behind it: its turns, its batches, and one job on the built-in model."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import OpenAI
from twin_client import lines, upload

from harness.records import Message
from harness.testing.fake_openai import CHAT, FakeReply, Question, running_fake_openai
from harness.testing.fake_openai.real import LINGER_S, RealBackend


def question(text: str, temperature: float = 0.0, max_tokens: int = 5) -> Question:
    return Question("m", None, (Message("user", text),), max_tokens, temperature)


class Recorded(RealBackend):
    """Answers with the question, and records which questions came together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.free = threading.Event()

    def _answers(self, questions: Sequence[Question]) -> list[FakeReply]:
        self.free.wait(10)
        self.batches.append([q.last for q in questions])
        if any(q.last == "bad" for q in questions):
            raise ValueError("bad question")
        return [FakeReply(q.last, 1, 1) for q in questions]


def test_greedy_questions_that_wait_are_answered_together_and_drawn_ones_alone() -> None:
    recorded = Recorded()
    asked = [question("first"), *(question(f"q{k}") for k in range(5)), question("long", max_tokens=9)]
    asked += [question(f"drawn{k}", temperature=1.0) for k in range(2)]
    with ThreadPoolExecutor(len(asked)) as pool:
        first = pool.submit(recorded.reply, asked[0])
        time.sleep(LINGER_S + 0.1)  # the first is being answered while the others come
        rest = [pool.submit(recorded.reply, q) for q in asked[1:]]
        time.sleep(0.1)
        recorded.free.set()
        assert [future.result(10).text for future in (first, *rest)] == [q.last for q in asked]
    assert sorted(map(len, recorded.batches)) == [1, 1, 1, 1, 5]


def test_a_question_that_fails_says_so_and_the_next_is_answered() -> None:
    recorded = Recorded()
    recorded.free.set()
    with pytest.raises(ValueError, match="bad question"):
        recorded.reply(question("bad"))
    assert recorded.reply(question("good")).text == "good"


def ask(client: OpenAI, temperature: float, seed: int) -> str:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Tell me about rivers."}],
        temperature=temperature,
        seed=seed,
        max_tokens=12,
    )
    return answer.choices[0].message.content or ""


@pytest.mark.slow
def test_a_job_really_trains_the_built_in_model_which_really_answers(tmp_path: Path) -> None:
    names = ["red", "blue", "green", "black"] * 3
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Which colour is box {k}?"},
                {"role": "assistant", "content": f"Box {k} is {name}."},
            ]
        }
        for k, name in enumerate(names)
    ]
    with (
        running_fake_openai(tmp_path, train=True) as url,
        OpenAI(base_url=url, api_key="any", timeout=300) as client,
    ):
        job = client.fine_tuning.jobs.create(
            model=CHAT,
            training_file=upload(client, lines(rows)).id,
            validation_file=upload(client, lines(rows[:2])).id,
            seed=1,
            method={
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 2}},
            },
        )
        meanwhile: list[str] = []
        while job.status not in ("succeeded", "failed"):
            time.sleep(0.2)
            job = client.fine_tuning.jobs.retrieve(job.id)
            if job.status == "running" and not meanwhile:
                meanwhile.append(ask(client, 0.0, 1))
                meanwhile.append(client.fine_tuning.jobs.retrieve(job.id).status)
        assert job.status == "succeeded", job.error
        assert meanwhile[1] == "running"  # answered between the steps
        table = list(csv.DictReader(client.files.content(job.result_files[0]).text.splitlines()))
        assert len(table) == 6
        assert float(table[-1]["train_loss"]) < float(table[0]["train_loss"])
        assert table[-1]["valid_loss"]
        events = list(client.fine_tuning.jobs.list_events(job.id))
        assert sum(event.type == "metrics" for event in events) == 6
        answer = client.chat.completions.create(
            model=job.fine_tuned_model or "",
            messages=[{"role": "user", "content": "Which colour is box 3?"}],
            temperature=0,
            max_tokens=16,
            logprobs=True,
        )
        with ThreadPoolExecutor(4) as pool:
            drawn = list(pool.map(lambda seed: ask(client, 1.0, seed), (3, 3, 4)))
            greedy = list(pool.map(lambda seed: ask(client, 0.0, seed), (3, 3, 4)))
    assert drawn[0] == drawn[1] != drawn[2]
    assert greedy[0] == greedy[1] == greedy[2] != ""
    said = answer.choices[0]
    assert (said.message.content or "").startswith("Box ")
    assert said.finish_reason == "stop"
    assert said.logprobs is not None
    tokens = said.logprobs.content or []
    assert "".join(token.token for token in tokens) == said.message.content
    assert all(token.logprob <= 0 for token in tokens)
