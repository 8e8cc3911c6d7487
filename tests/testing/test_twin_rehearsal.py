"""The scripted backend as a rehearsal meets it: whole jobs in no time, and answers that fit any suite."""

from __future__ import annotations

import json
import time
from pathlib import Path

from openai import OpenAI
from twin_client import asked, lines, upload, waited

from harness.records import Message
from harness.testing.fake_openai import CHAT, Question, ScriptedBackend, add_aliases, running_fake_openai

INTENTS = ["refund", "delivery", "password"]
QUESTIONS = ["I want my money back for order", "Where is the parcel of order", "I cannot log in to account"]
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"{question} {k}"},
            {"role": "assistant", "content": json.dumps({"intent": intent})},
        ]
    }
    for k in range(20)
    for question, intent in zip(QUESTIONS, INTENTS, strict=True)
]


def test_a_tuned_model_gives_the_reply_to_the_most_similar_row() -> None:
    with running_fake_openai() as url, OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        add_aliases(url, ["gpt-4o-mini-2024-07-18"])
        file = upload(client, lines(ROWS))
        job = client.fine_tuning.jobs.create(model="gpt-4o-mini-2024-07-18", training_file=file.id)
        done = waited(client, job.id)
        assert done.fine_tuned_model is not None
        said = [asked(client, done.fine_tuned_model, f"{question} 4711, please") for question in QUESTIONS]
        assert [json.loads(answer)["intent"] for answer in said] == INTENTS
        assert asked(client, CHAT, "Where is it?") == "Where is it?"


def test_examples_in_the_conversation_are_examples_too() -> None:
    with running_fake_openai() as url, OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        answer = client.chat.completions.create(
            model=CHAT,
            messages=[
                *ROWS[0]["messages"],  # type: ignore[list-item]
                *ROWS[1]["messages"],  # type: ignore[list-item]
                {"role": "user", "content": "Where is my parcel?"},
            ],
        )
    assert json.loads(answer.choices[0].message.content or "") == {"intent": "delivery"}


def test_a_job_of_a_thousand_rows_goes_through_its_whole_life_in_seconds() -> None:
    began = time.monotonic()
    with running_fake_openai() as url, OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        rows = [row for _ in range(17) for row in ROWS]
        job = client.fine_tuning.jobs.create(model=CHAT, training_file=upload(client, lines(rows)).id)
        done = waited(client, job.id)
        events = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
        checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert time.monotonic() - began < 10
    assert (done.status, len(checkpoints), len(done.result_files)) == ("succeeded", 3, 1)
    assert "Files validated, moving job to queued state" in events
    assert "Fine-tuning job started" in events
    assert any(message.startswith("Step 100/") for message in events)


def test_a_model_that_the_real_backend_trained_has_no_examples(tmp_path: Path) -> None:
    question = Question(CHAT, tmp_path / "adapter", (Message("user", "Where is it?"),), max_tokens=9)
    assert ScriptedBackend(script=None).reply(question).text == "Where is it?"
