"""The Batch API in memory, whose batches end as they are told to; for what the twin cannot do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

from openai import OpenAI
from openai.types import Batch, FileObject

from harness.records import Json

Body = dict[str, Json]
EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before it expired."}


def answered(text: str = "yes", prompt_tokens: int = 10, completion_tokens: int = 1) -> Body:
    """The body of a chat answer."""
    usage: Body = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    message: Body = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


@dataclass
class BatchService:
    """Files and batches; a batch ends once it has been looked at ``looks`` times.

    Args:
        reply: what a request is answered with; None where the batch ends before it; an int is a refusal.
        looks: times that a batch is retrieved before it ends.
        ends: the status that it ends in.
    """

    reply: Callable[[Body], Body | int | None] = lambda request: answered()
    looks: int = 1
    ends: str = "completed"
    files: dict[str, tuple[str, str]] = field(default_factory=dict)  # name and content by id
    batches: dict[str, Batch] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    billed: list[str] = field(default_factory=list)

    def client(self) -> OpenAI:
        """As much of the official client as is used."""
        files = SimpleNamespace(list=self._files, create=self._upload, content=self._content)
        batches = SimpleNamespace(list=self._batches, create=self._create, retrieve=self._retrieve)
        return SimpleNamespace(files=files, batches=batches, close=lambda: None)  # type: ignore[return-value]

    def sizes(self) -> list[int]:
        """How many requests each batch had, in the order in which they were sent."""
        return [len(self._requests(batch)) for batch in self.batches.values()]

    def _files(self, purpose: str) -> Iterator[FileObject]:
        for id, (name, _) in list(self.files.items()):
            yield FileObject.construct(id=id, filename=name, status="processed")

    def _upload(self, file: tuple[str, bytes], purpose: str) -> FileObject:
        return FileObject.construct(id=self._put(file[0], file[1].decode()))

    def _content(self, id: str) -> SimpleNamespace:
        return SimpleNamespace(text=self.files[id][1])

    def _put(self, name: str, content: str) -> str:
        id = f"file-{len(self.files)}"
        self.files[id] = name, content
        return id

    def _batches(self, limit: int) -> Iterator[Batch]:
        yield from reversed(list(self.batches.values()))

    def _create(self, *, input_file_id: str, metadata: dict[str, str], **given: str) -> Batch:
        id = f"batch_{len(self.batches)}"
        made = int(time.time())
        self.batches[id] = Batch.construct(
            id=id, status="in_progress", metadata=metadata, input_file_id=input_file_id, created_at=made
        )
        return self.batches[id]

    def _retrieve(self, id: str) -> Batch:
        self.seen[id] = self.seen.get(id, 0) + 1
        if self.seen[id] >= self.looks:
            self.end(id)
        return self.batches[id]

    def end(self, id: str) -> None:
        """End a batch: what was answered goes into its output file, the rest into its error file."""
        batch = self.batches[id]
        output, errors = [], []
        for request in self._requests(batch):
            reply = self.reply(request)
            one: Body = {"custom_id": request["custom_id"], "response": None, "error": None}
            if isinstance(reply, dict):
                self.billed.append(str(request["custom_id"]))
                output.append({**one, "response": {"status_code": 200, "body": reply}})
            elif isinstance(reply, int):
                refusal: Body = {"error": {"message": "no"}}
                errors.append({**one, "response": {"status_code": reply, "body": refusal}})
            elif self.ends == "expired":
                errors.append({**one, "error": EXPIRED})
        given = {"output_file_id": self._written(output), "error_file_id": self._written(errors)}
        self.batches[id] = batch.model_copy(update={"status": self.ends, **given})

    def _written(self, lines: list[Body]) -> str | None:
        return self._put("", "".join(json.dumps(line) + "\n" for line in lines)) if lines else None

    def _requests(self, batch: Batch) -> list[Body]:
        return [json.loads(line) for line in self.files[batch.input_file_id][1].splitlines()]
