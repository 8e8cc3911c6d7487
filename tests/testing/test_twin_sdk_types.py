"""What the stand-in answers is, field by field, what the installed SDK says that OpenAI answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TypeVar

import pytest
from openai import BaseModel, OpenAI
from openai.pagination import SyncCursorPage, SyncPage
from openai.types import (
    Batch,
    Completion,
    ErrorObject,
    FileDeleted,
    FileObject,
    Model,
    ModelDeleted,
)
from openai.types.chat import ChatCompletion
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from twin_client import chat_row, lines, new_job, upload, waited, waited_batch

from harness.testing.fake_openai import CHAT, COMPLETIONS, running_fake_openai

M = TypeVar("M", bound=BaseModel)
HELLO = [{"role": "user", "content": "one two three"}]
# what the API documents and the SDK's types leave out
BEYOND_THE_SDK = {"user_provided_suffix", "object"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_fake_openai() as base_url:
        yield base_url


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
        yield sdk


def sent(url: str, method: str, path: str, body: object = None) -> bytes:
    """The bytes of the answer, as no client has touched them."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": "Bearer any", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            content = error.read()
    return content


def extras(value: object) -> set[str]:
    """The fields, at any depth, that the SDK's models do not have."""
    if isinstance(value, BaseModel):
        inner = [getattr(value, name) for name in type(value).model_fields]
        return set(value.model_extra or {}).union(*map(extras, inner))
    if isinstance(value, list):
        return set().union(*map(extras, value))
    return set()


def strictly(kind: type[M], content: bytes) -> M:
    """The answer as ``kind``: nothing is missing, converted or unknown."""
    found = kind.model_validate_json(content, strict=True)
    assert extras(found) <= BEYOND_THE_SDK
    return found


def test_files(url: str, client: OpenAI) -> None:
    file = upload(client, lines([chat_row(0)]))
    assert strictly(FileObject, sent(url, "GET", f"files/{file.id}")) == file
    assert strictly(SyncCursorPage[FileObject], sent(url, "GET", "files?purpose=fine-tune")).data
    assert strictly(FileDeleted, sent(url, "DELETE", f"files/{file.id}")).deleted


def test_jobs_with_their_events_and_checkpoints(url: str, client: OpenAI) -> None:
    file = upload(client, lines([chat_row(k) for k in range(12)]))
    wandb = {"type": "wandb", "wandb": {"project": "p", "tags": ["t"]}}
    body = {
        "model": CHAT,
        "training_file": file.id,
        "validation_file": file.id,
        "integrations": [wandb],
        "suffix": "Mine",
        "metadata": {"a": "b"},
    }
    new = strictly(FineTuningJob, sent(url, "POST", "fine_tuning/jobs", body))
    assert new.status == "validating_files"
    assert waited(client, new.id).status == "succeeded"
    done = strictly(FineTuningJob, sent(url, "GET", f"fine_tuning/jobs/{new.id}"))
    assert (done.metadata, done.status) == ({"a": "b"}, "succeeded")
    assert strictly(SyncCursorPage[FineTuningJob], sent(url, "GET", "fine_tuning/jobs")).data
    events = sent(url, "GET", f"fine_tuning/jobs/{new.id}/events")
    assert strictly(SyncCursorPage[FineTuningJobEvent], events).data
    checkpoints = sent(url, "GET", f"fine_tuning/jobs/{new.id}/checkpoints")
    assert strictly(SyncCursorPage[FineTuningJobCheckpoint], checkpoints).data


def test_failed_and_cancelled_jobs(url: str, client: OpenAI) -> None:
    failed = waited(client, new_job(client, rows=3).id)
    assert strictly(FineTuningJob, sent(url, "GET", f"fine_tuning/jobs/{failed.id}")).error == failed.error
    file = upload(client, lines([chat_row(k) for k in range(300)]))
    job = client.fine_tuning.jobs.create(model=CHAT, training_file=file.id)
    cancelled = strictly(FineTuningJob, sent(url, "POST", f"fine_tuning/jobs/{job.id}/cancel"))
    assert cancelled.status == "cancelled"


def test_answers(url: str) -> None:
    body = {"model": CHAT, "messages": HELLO, "logprobs": True}
    answer = strictly(ChatCompletion, sent(url, "POST", "chat/completions", body))
    assert answer.choices[0].message.content == "one two three"
    prompt = {"model": COMPLETIONS, "prompt": "one two", "logprobs": 0}
    assert strictly(Completion, sent(url, "POST", "completions", prompt)).choices[0].text == "one two"


def test_models(url: str, client: OpenAI) -> None:
    name = waited(client, new_job(client).id).fine_tuned_model
    assert name in {model.id for model in strictly(SyncPage[Model], sent(url, "GET", "models")).data}
    assert strictly(Model, sent(url, "GET", f"models/{name}")).id == name
    assert strictly(ModelDeleted, sent(url, "DELETE", f"models/{name}")).deleted


@pytest.mark.parametrize("line", ["{", json.dumps({"model": CHAT, "messages": HELLO})])
def test_batches(url: str, client: OpenAI, line: str) -> None:
    if line != "{":
        body = json.loads(line)
        request = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
        line = json.dumps(request)
    file = upload(client, line.encode(), purpose="batch", name="b.jsonl")
    given = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    new = strictly(Batch, sent(url, "POST", "batches", given))
    done = waited_batch(client, new.id)
    assert strictly(Batch, sent(url, "GET", f"batches/{new.id}")) == done
    assert strictly(SyncCursorPage[Batch], sent(url, "GET", "batches")).data
    if done.output_file_id:
        answer = json.loads(client.files.content(done.output_file_id).content)
        strictly(ChatCompletion, json.dumps(answer["response"]["body"]).encode())


def test_errors(url: str) -> None:
    error = json.loads(sent(url, "GET", "models/gpt-9"))["error"]
    assert strictly(ErrorObject, json.dumps(error).encode()).code == "model_not_found"
