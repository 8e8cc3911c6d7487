"""What the twin's tests do through the SDK again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from openai import OpenAI
from openai.types import Batch, FileObject
from openai.types.fine_tuning import FineTuningJob

from harness.testing.fake_openai import CHAT

T = TypeVar("T", FineTuningJob, Batch)
ENDED = ("succeeded", "failed", "cancelled")


def chat_row(k: int) -> dict[str, object]:
    return {
        "messages": [
            {"role": "system", "content": "Answer."},
            {"role": "user", "content": f"question {k}"},
            {"role": "assistant", "content": f"reply {k}"},
        ]
    }


def lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload(client: OpenAI, content: bytes, purpose: str = "fine-tune", name: str = "t.jsonl") -> FileObject:
    return client.files.create(file=(name, content), purpose=purpose)  # type: ignore[arg-type]


def new_job(client: OpenAI, rows: int = 12, model: str = CHAT, epochs: int = 2) -> FineTuningJob:
    file = upload(client, lines([chat_row(k) for k in range(rows)]))
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs}}},
    )


def waited(client: OpenAI, job_id: str, status: Sequence[str] = ENDED) -> FineTuningJob:
    return _until(lambda: client.fine_tuning.jobs.retrieve(job_id), status)


def waited_batch(client: OpenAI, batch_id: str) -> Batch:
    return _until(lambda: client.batches.retrieve(batch_id), ("completed", "failed", "cancelled"))


def _until(look: Callable[[], T], status: Sequence[str], within_s: float = 20) -> T:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = look()
        if found.status in status:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{found.status} after {within_s} s, not one of {status}")


def asked(client: OpenAI, model: str, text: str, max_tokens: int = 20) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], max_completion_tokens=max_tokens
    )
    return answer.choices[0].message.content or ""
