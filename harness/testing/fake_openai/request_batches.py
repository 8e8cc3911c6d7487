"""``/v1/batches``: requests sent as a file, answered in the background, returned as files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from openai import BaseModel
from openai.types import Batch, BatchError, BatchRequestCounts
from openai.types.batch import Errors
from openai.types.batch_create_params import BatchCreateParams
from typing_extensions import TypedDict

from harness.records import Json
from harness.testing.fake_openai.refusals import HTTPRefusal, checked, server_error, unsupported
from harness.testing.fake_openai.store import FakeStore, new_id, now

MOST_REQUESTS = 50_000
ENDED = ("failed", "completed", "cancelled")


class FakeBatchRequest(TypedDict):
    """A request of a batch; the SDK has no type for it."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: dict[str, Json]


class RequestBatches:
    """All batches, and the threads that work on them; ``endpoints`` answer requests, by their URLs."""

    def __init__(self, store: FakeStore, endpoints: Mapping[str, Callable[[Json], BaseModel]]) -> None:
        self._store, self._endpoints = store, endpoints
        self._working = ThreadPoolExecutor(1, thread_name_prefix="fake-openai-batches")
        self._answering = ThreadPoolExecutor(16, thread_name_prefix="fake-openai-batch-requests")
        self._stopping = threading.Event()
        for batch in reversed(store.newest_first(Batch)):
            if batch.status not in ENDED:
                self._working.submit(self._work, batch.id)

    def close(self) -> None:
        """Stop working, and wait for the threads to end. Unfinished batches begin again at the next start."""
        self._stopping.set()
        self._working.shutdown(cancel_futures=True)
        self._answering.shutdown(cancel_futures=True)

    def create(self, body: Json) -> Batch:
        """Accept a batch."""
        params = checked(BatchCreateParams, body)
        self._store.require_file(params["input_file_id"], "batch", "input_file_id")
        if params["endpoint"] not in self._endpoints:
            raise unsupported("endpoint")
        batch = Batch(
            object="batch",
            id=new_id("batch_"),
            created_at=now(),
            endpoint=params["endpoint"],
            input_file_id=params["input_file_id"],
            completion_window=params["completion_window"],
            metadata=params.get("metadata"),
            status="validating",
            expires_at=now() + 24 * 3600,
        )
        self._store.put(batch)
        self._store.count("batches")
        self._working.submit(self._work, batch.id)
        return batch

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what is answered by then is returned."""
        status = self._store.get(Batch, batch_id).status
        if status in ENDED:
            raise HTTPRefusal(409, f"Cannot cancel a batch with status '{status}'.")
        return self._move(batch_id, "cancelling")

    def _move(self, batch_id: str, status: str, **changes: object) -> Batch:
        """The next status, and its time; after "cancelling" comes only "cancelled"."""

        def moved(batch: Batch) -> Batch:
            if batch.status in ENDED or (batch.status == "cancelling" and status != "cancelled"):
                return batch
            return batch.model_copy(update={"status": status, f"{status}_at": now(), **changes})

        return self._store.update(Batch, batch_id, moved)

    def _work(self, batch_id: str) -> None:
        batch = self._store.get(Batch, batch_id)
        requests, errors = _read(self._store.content(batch.input_file_id), batch.endpoint)
        if errors:
            self._move(batch_id, "failed", errors=Errors(object="list", data=errors))
            return
        self._move(batch_id, "in_progress")

        def answer(request: FakeBatchRequest) -> tuple[str, Json] | None:
            """The kind of file that takes the answer, and its line; None once the batch is stopped."""
            if self._stopping.is_set() or self._store.get(Batch, batch_id).status == "cancelling":
                return None
            self._store.count("batch requests")
            status = 200
            try:
                body = self._endpoints[batch.endpoint](request["body"]).model_dump(mode="json")
            except HTTPRefusal as refusal:
                status, body = refusal.status, refusal.body()
            except Exception:  # noqa: BLE001 - counted as failed, as the service counts it
                status, body = 500, server_error().body()
            response: Json = {"status_code": status, "request_id": new_id("req_"), "body": body}
            name = {"id": new_id("batch_req_"), "custom_id": request["custom_id"]}
            return "output" if status == 200 else "error", {**name, "response": response, "error": None}

        answers = [found for found in self._answering.map(answer, requests) if found is not None]
        if self._stopping.is_set():
            return
        files: dict[str, object] = {}
        for kind in ("output", "error"):
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for of, line in answers if of == kind]
            if lines:
                file = self._store.add_file(f"{kind}.jsonl", "batch_output", "".join(lines).encode())
                files[f"{kind}_file_id"] = file.id
        completed = [kind for kind, _ in answers].count("output")
        counts = BatchRequestCounts(total=len(requests), completed=completed, failed=len(answers) - completed)
        status = "cancelled" if self._store.get(Batch, batch_id).status == "cancelling" else "completed"
        self._move(batch_id, status, request_counts=counts, **files)


def _read(content: bytes, endpoint: str) -> tuple[list[FakeBatchRequest], list[BatchError]]:
    requests: list[FakeBatchRequest] = []
    errors: list[BatchError] = []
    seen: set[str] = set()
    lines = [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]
    if not 1 <= len(lines) <= MOST_REQUESTS:
        message = f"The batch has {len(lines)} requests, but must have 1 to {MOST_REQUESTS}."
        return [], [BatchError(code="too_many_tasks" if lines else "empty_file", message=message)]
    for number, line in enumerate(lines, start=1):
        try:
            request = checked(FakeBatchRequest, json.loads(line))
            name = request["custom_id"]
            if name in seen:
                message = f"The custom_id '{name}' has already been used in this file."
                raise HTTPRefusal(400, message, "custom_id", "duplicate_custom_id")
            if request["url"] != endpoint:
                message = f"The URL of this request does not match the batch endpoint '{endpoint}'."
                raise HTTPRefusal(400, message, "url", "mismatched_endpoint")
            seen.add(name)
            requests.append(request)
        except HTTPRefusal as refusal:
            message, code, param = refusal.message, refusal.code, refusal.param
            errors.append(BatchError(code=code, message=message, line=number, param=param))
        except ValueError as error:
            errors.append(BatchError(code="invalid_json_line", message=str(error), line=number))
    return requests, errors
