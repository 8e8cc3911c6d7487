"""``/v1/batches``: requests sent as a file, carried out in the background, answered as files."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

from harness.records import Json
from harness.testing.fake_openai.files import Files
from harness.testing.fake_openai.parameters import (
    Body,
    metadata,
    one_of,
    require_known,
    required,
    required_text,
)
from harness.testing.fake_openai.records import (
    Batch,
    BatchCounts,
    BatchError,
    BatchStatus,
)
from harness.testing.fake_openai.refusals import Refusal, no_such_batch, server_error
from harness.testing.fake_openai.store import Store, new_id

KNOWN = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
MOST_REQUESTS = 50_000
AT_ONCE = 16
ENDED = ("failed", "completed", "cancelled")
Endpoint: TypeAlias = Callable[[Body], dict[str, Json]]


class Batches:
    """All batches, and the threads that work on them.

    Args:
        store: where batches are kept.
        files: input files, and where output files go.
        endpoints: what answers a request, by its URL.
        clock: seconds since 1970.
    """

    def __init__(
        self, store: Store, files: Files, endpoints: dict[str, Endpoint], clock: Callable[[], float]
    ) -> None:
        self._store, self._files, self._endpoints, self._clock = store, files, endpoints, clock
        self._working = ThreadPoolExecutor(1, thread_name_prefix="twin-batches")
        self._asking = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="twin-batch-requests")
        self._stopping = threading.Event()
        for batch in reversed(store.newest_first(Batch)):
            if batch.status not in ENDED:
                self._working.submit(self._work, batch.id)

    def close(self) -> None:
        """Stop working, and wait for the threads to end. Unfinished batches begin again at the next start."""
        self._stopping.set()
        self._working.shutdown(cancel_futures=True)
        self._asking.shutdown(cancel_futures=True)

    def create(self, body: Body) -> Batch:
        """Take a batch.

        Raises:
            Refusal: a parameter that is unknown, missing or wrong, or a file that cannot be used.
        """
        require_known(body, KNOWN)
        file = self._files.for_purpose(required_text(body, "input_file_id"), "batch", "input_file_id")
        required(body, "endpoint")
        required(body, "completion_window")
        batch = Batch(
            id=new_id("batch_"),
            created_at=int(self._clock()),
            endpoint=one_of(body, "endpoint", tuple(self._endpoints), ""),
            input_file_id=file.id,
            completion_window=one_of(body, "completion_window", ("24h",), ""),
            metadata=metadata(body),
        )
        self._store.put(batch)
        self._store.count("batches")
        self._working.submit(self._work, batch.id)
        return batch

    def get(self, batch_id: str) -> Batch:
        """The batch of that id."""
        batch = self._store.find(Batch, batch_id)
        if batch is None:
            raise no_such_batch(batch_id)
        return batch

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what is answered by then can be had."""
        status = self.get(batch_id).status
        if status in ENDED:
            raise Refusal(409, f"Cannot cancel a batch with status '{status}'.")
        return self._move(batch_id, "cancelling")

    def _move(self, batch_id: str, status: BatchStatus, **changes: object) -> Batch:
        """The next status, with its time; one that is being cancelled only becomes cancelled."""

        def moved(batch: Batch) -> Batch:
            if batch.status in ENDED or (batch.status == "cancelling" and status != "cancelled"):
                return batch
            times = replace(batch.times, **{f"{status}_at": int(self._clock())})
            return replace(batch, status=status, times=times, **changes)  # type: ignore[arg-type]

        return self._store.update(Batch, batch_id, moved)

    def _work(self, batch_id: str) -> None:
        batch = self.get(batch_id)
        try:
            requests, errors = _requests(self._files.content(batch.input_file_id), batch.endpoint)
        except Refusal as error:  # the file was deleted meanwhile
            requests, errors = [], [BatchError("invalid_file", error.message)]
        if errors:
            self._move(batch_id, "failed", errors=tuple(errors))
            return
        self._move(batch_id, "in_progress", counts=BatchCounts(total=len(requests)))
        answers = list(self._asking.map(lambda request: self._ask(batch_id, request), requests))
        if self._stopping.is_set():
            return
        done = [answer for answer in answers if answer is not None]
        good = [answer for answer in done if _status_of(answer) == 200]
        bad = [answer for answer in done if _status_of(answer) != 200]
        counts = BatchCounts(len(requests), len(good), len(bad))
        status: BatchStatus = "cancelled" if self.get(batch_id).status == "cancelling" else "completed"
        if status == "completed":
            self._move(batch_id, "finalizing")
        self._move(
            batch_id,
            status,
            counts=counts,
            output_file_id=self._written(batch_id, "output", good),
            error_file_id=self._written(batch_id, "error", bad),
        )

    def _ask(self, batch_id: str, request: Body) -> dict[str, Json] | None:
        """The answer to one request; None where the batch was stopped before it."""
        if self._stopping.is_set() or self.get(batch_id).status == "cancelling":
            return None
        asked = request["body"]
        assert isinstance(asked, dict)
        try:
            status, answer = 200, self._endpoints[str(request["url"])](asked)
        except Refusal as refusal:
            status, answer = refusal.status, refusal.body()
        except Exception:  # noqa: BLE001 - counted as failed, as the service counts it
            status, answer = 500, server_error().body()
        self._store.count("batch requests")
        return {
            "id": new_id("batch_req_"),
            "custom_id": request["custom_id"],
            "response": {"status_code": status, "request_id": new_id("req_"), "body": answer},
            "error": None,
        }

    def _written(self, batch_id: str, kind: str, answers: list[dict[str, Json]]) -> str | None:
        if not answers:
            return None
        lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
        return self._files.add(f"{batch_id}_{kind}.jsonl", "batch_output", lines.encode(), made=True).id


def _status_of(answer: Body) -> int:
    response = answer["response"]
    assert isinstance(response, dict)
    return int(response["status_code"])


def _requests(content: bytes, endpoint: str) -> tuple[list[dict[str, Json]], list[BatchError]]:
    """The requests of a file, or what is wrong with its lines."""
    requests: list[dict[str, Json]] = []
    errors: list[BatchError] = []
    seen: set[str] = set()
    lines = [line for line in content.decode("utf-8", "replace").split("\n") if line.strip()]
    if not lines or len(lines) > MOST_REQUESTS:
        code = "too_many_tasks" if lines else "empty_file"
        return [], [BatchError(code, f"The batch has {len(lines)} requests; 1 to {MOST_REQUESTS} are taken.")]
    for number, line in enumerate(lines, start=1):
        try:
            value: Json = json.loads(line)
        except ValueError:
            value = None
        error = _wrong(value, number, endpoint, seen)
        if error:
            errors.append(error)
        elif isinstance(value, dict):
            requests.append(value)
    return requests, errors


def _wrong(value: Json, number: int, endpoint: str, seen: set[str]) -> BatchError | None:
    if not isinstance(value, dict):
        return BatchError("invalid_json_line", "This line is not parseable as valid JSON.", number)
    for name in ("custom_id", "method", "url", "body"):
        if name not in value:
            message = f"Missing required parameter: '{name}'."
            return BatchError("missing_required_parameter", message, number, name)
    identity = str(value["custom_id"])
    if identity in seen:
        message = f"The custom_id '{identity}' has already been used in this file."
        return BatchError("duplicate_custom_id", message, number, "custom_id")
    seen.add(identity)
    if value["method"] != "POST":
        return BatchError("invalid_method", "Only the method POST is supported.", number, "method")
    if value["url"] != endpoint:
        message = f"The URL provided for this request does not match the batch endpoint '{endpoint}'."
        return BatchError("mismatched_endpoint", message, number, "url")
    if not isinstance(value["body"], dict):
        return BatchError("invalid_json_line", "The body is not an object.", number, "body")
    return None
