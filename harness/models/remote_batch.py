"""Answers through the Batch API: half the price, within a day, and never paid for twice.

Requests are cut into parts before known rows are left out, and a batch carries the fingerprint of its whole
part. Whoever asks the same again, after a crash or Ctrl-C and whatever was stored by then, finds the batches
that were sent for it: one that runs is waited for, the answers of an ended one are taken, and only the rest
is sent anew.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from harness.data.fingerprints import bytes_digest
from harness.errors import ModelError
from harness.models.call_scheduler import CallFailed
from harness.models.ledger import UNBILLED, Charge, total_charge
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.models.remote_wire import ModelWire, PricedRequest, failed_reply, failure_of, read_reply
from harness.models.retry import CallVerdict, RetryPolicy
from harness.records import Answer, Json

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

MOST_LINES, MOST_BYTES = 50_000, 190_000_000  # the service's limits are 50,000 lines and 200 MB
#: For one request to the service: it may be away for minutes, while a batch takes hours.
RETRIES = RetryPolicy(
    attempts=8, throttled_attempts=8, first_wait_s=2.0, longest_wait_s=60.0, longest_retry_after_s=600.0
)
LONGEST_POLL_S = 60.0
WINDOW_S, SLACK_S = 24 * 3600.0, 3600.0  # a batch is to end within its window; services are late by minutes
REJECTED = "failed"  # the input file was no good: nothing was answered
ENDED = ("completed", REJECTED, "cancelled", "expired")
MARK = "harness"  # the metadata key that holds the fingerprint

ResultT = TypeVar("ResultT")
OutputLine: TypeAlias = Mapping[str, Json]  # of an output or error file
BatchUrl: TypeAlias = Literal["/v1/chat/completions", "/v1/completions"]


class BatchGoesOn(KeyboardInterrupt):
    """Ctrl-C while a batch is under way. It goes on at the service, and the next run finds it."""


@dataclass(frozen=True)
class BatchPart:
    """Requests that make one batch, each with its line of the input file.

    The rest of a part, some of whose answers are known, keeps the name, so that a batch that was sent for it
    is found.
    """

    name: str
    rows: Sequence[tuple[PricedRequest, bytes]]
    url: BatchUrl

    @property
    def requests(self) -> list[PricedRequest]:
        """Those to be answered."""
        return [request for request, _ in self.rows]

    @property
    def content(self) -> bytes:
        """The input file."""
        return b"".join(line for _, line in self.rows)

    @property
    def file_name(self) -> str:
        """The name of the input file at the service: after its content."""
        return f"harness-{_digest(self.content)}.jsonl"

    def without(self, known: Collection[str]) -> BatchPart:
        """The rest, without the rows that are known."""
        return replace(self, rows=[row for row in self.rows if row[0].prompt.row_id not in known])


def cut(
    requests: Sequence[PricedRequest],
    completions: bool,
    most_lines: int = MOST_LINES,
    most_bytes: int = MOST_BYTES,
) -> Iterator[BatchPart]:
    """The requests in order, in parts that the service accepts."""
    url: BatchUrl = "/v1/completions" if completions else "/v1/chat/completions"
    rows: list[tuple[PricedRequest, bytes]] = []
    size = 0
    for request in requests:
        named = {"custom_id": request.prompt.row_id, "method": "POST", "url": url, "body": request.body}
        line = json.dumps(named, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if rows and (len(rows) >= most_lines or size + len(line) > most_bytes):
            yield _part(rows, url)
            rows, size = [], 0
        rows.append((request, line))
        size += len(line)
    if rows:
        yield _part(rows, url)


def _part(rows: Sequence[tuple[PricedRequest, bytes]], url: BatchUrl) -> BatchPart:
    return BatchPart(_digest(b"".join(line for _, line in rows)), rows, url)


def _digest(content: bytes) -> str:
    return bytes_digest(content)[:40]


def _due_s(batch: Batch, began_s: float) -> float:
    """When a batch is to have ended: a time that is none, or beyond a window from now, is not believed."""
    for told, added_s in ((batch.expires_at, 0.0), (getattr(batch, "created_at", None), WINDOW_S)):
        if isinstance(told, int | float) and 0 < told <= began_s + WINDOW_S + SLACK_S - added_s:
            return told + added_s
    return began_s + WINDOW_S


@dataclass
class BatchSender:
    """Sends one model's requests as batches, and waits for their answers."""

    wire: ModelWire
    progress: Progress
    sleep: Callable[[float], None]
    now: Callable[[], float]  # seconds since 1970, for a batch's deadline
    late: list[Answer] = field(default_factory=list)  # came together with others, and nobody has taken them

    def __post_init__(self) -> None:
        self.endpoint = self.wire.spec.endpoint

    def answers(
        self, prompts: Sequence[Prompt], known: frozenset[str], decoding: Decoding
    ) -> Generator[Answer, None, None]:
        """An answer for each prompt that is not known; all prompts name the batches.

        A prompt that its batch failed on has an answer with that failure.

        Raises:
            BudgetReached: the next batch could pass the cap; nothing of it was sent.
            ModelError: the service refused a batch, did not answer, or did not end one in time.
            BatchGoesOn: Ctrl-C while waiting.
        """
        requests = [self.wire.request(prompt, decoding) for prompt in prompts]
        for part in [part.without(known) for part in cut(requests, self.wire.completions)]:
            if not part.requests:
                continue
            with closing(self.endpoint.client()) as client:
                sent = self._insist(lambda: self._batches_of(client, part.name))  # noqa: B023 - called at once
                found = self._found(client, part, sent)
                yield from self._handed(found)
                rest = part.without({answer.row_id for answer in found})
                if rest.requests:
                    yield from self._handed(self._bought(client, rest, [batch.id for batch in sent]))

    def _handed(self, answers: Sequence[Answer]) -> Iterator[Answer]:
        """Answers one by one; those that nobody takes are late."""
        left = deque(answers)
        try:
            while left:
                yield left[0]
                left.popleft()  # only now: an interruption must not lose it
        finally:
            self.late += left

    def _found(self, client: OpenAI, part: BatchPart, sent: Sequence[Batch]) -> list[Answer]:
        """Answers of batches that an earlier run paid for. Rows that failed before are asked again."""
        found: dict[str, Answer] = {}
        for earlier in sent:
            batch = self._wait(client, earlier, len(part.requests))
            lines = self._lines(client, batch)
            for request in part.requests:
                line = lines.get(request.prompt.row_id)
                answer, _ = self._read(request, line, batch.status)
                if answer.failure is None or (line is not None and earlier.status not in ENDED):
                    found.setdefault(answer.row_id, answer)
        return list(found.values())

    def _bought(self, client: OpenAI, part: BatchPart, earlier: Sequence[str]) -> list[Answer]:
        """The answers of a new batch, whose money is reserved before it is sent."""
        most_usd = sum(request.most_usd for request in part.requests)
        reservation = self.wire.spending.reserve(most_usd) if self.wire.spending else None
        charge = Charge(most_usd, len(part.requests))  # a batch whose bill is not known counts at its most
        try:
            made = self._insist(lambda: self._create(client, part, earlier))
            batch = self._wait(client, made, len(part.requests))
            lines = self._lines(client, batch)
            read = [self._read(one, lines.get(one.prompt.row_id), batch.status) for one in part.requests]
            charge = total_charge(each for _, each in read)
        finally:
            if reservation is not None:
                reservation.settle(*charge)
        return [answer for answer, _ in read]

    def _batches_of(self, client: OpenAI, name: str) -> list[Batch]:
        """Those that were sent for the part of that name, the newest first."""
        batches = [b for b in client.batches.list(limit=100) if (b.metadata or {}).get(MARK) == name]
        return [batch for batch in batches if batch.status != REJECTED]

    def _create(self, client: OpenAI, part: BatchPart, earlier: Sequence[str]) -> Batch:
        """The new batch; an attempt whose answer was lost may have made it, so it is looked for again."""
        for batch in self._batches_of(client, part.name):
            if batch.id not in earlier:
                return batch
        files = client.files.list(purpose="batch")
        usable = (file.id for file in files if file.filename == part.file_name and file.status != "error")
        file_id = next(usable, None)
        if file_id is None:
            file_id = client.files.create(file=(part.file_name, part.content), purpose="batch").id
        return client.batches.create(
            input_file_id=file_id, endpoint=part.url, completion_window="24h", metadata={MARK: part.name}
        )

    def _wait(self, client: OpenAI, batch: Batch, rows: int) -> Batch:
        """The batch once it has ended; ``ModelError`` where it failed or is long past its time."""
        model, poll_s = self.wire.spec.model, self.wire.spec.provider.poll_s
        began_s = self.now()
        if batch.status in ENDED:
            return batch
        try:
            with self.progress.task(f"batch {batch.id}", unit="row") as bar:
                while batch.status not in ENDED:
                    over_s = self.now() - _due_s(batch, began_s)
                    if over_s > SLACK_S:
                        raise ModelError(
                            f"batch {batch.id} of {model} is {batch.status}, and should have ended"
                            f" {over_s / 3600:.1f} hours ago.\n  {self._to_cancel(batch)}\n"
                            "  hint: run the same command again once it has ended: only the rows that it did"
                            " not answer are sent."
                        )
                    counts = batch.request_counts
                    done, total = (counts.completed, counts.total) if counts else (0, 0)
                    note = f"{batch.status}; Ctrl-C leaves it running, the next run finds it"
                    bar.at(done, total or rows, note)
                    self.sleep(poll_s)
                    poll_s = min(LONGEST_POLL_S, poll_s * 1.5)
                    batch = self._insist(partial(client.batches.retrieve, batch.id))
                bar.at(1, 1, batch.status)
        except KeyboardInterrupt as interrupt:
            raise BatchGoesOn(
                f"batch {batch.id} of {model} goes on at the service, and the next run finds it.\n"
                f"  {self._to_cancel(batch)}"
            ) from interrupt
        if batch.status == REJECTED:
            errors = (batch.errors.data if batch.errors else None) or []
            shown = [f"line {e.line}: {e.message} (code {e.code}, param {e.param})" for e in errors[:3]]
            reason = "; ".join(shown) or "the service does not say why"
            raise ModelError(f"batch {batch.id} of {model} failed: {reason}")
        return batch

    def _to_cancel(self, batch: Batch) -> str:
        endpoint = self.endpoint
        header = "api-key: $" if endpoint.client_kind == "azure" else "Authorization: Bearer $"
        key = f' -H "{header}{endpoint.key_variable}"' if endpoint.key_variable else ""
        return f"to end it: curl -X POST{key} {endpoint.url}/batches/{batch.id}/cancel"

    def _lines(self, client: OpenAI, batch: Batch) -> dict[str, OutputLine]:
        """The lines of the output and error files, by the row that each answers; others are left out."""
        lines: dict[str, OutputLine] = {}
        for file_id in (batch.error_file_id, batch.output_file_id):
            if file_id is None:
                continue
            content = self._insist(partial(client.files.content, file_id))
            for text in content.text.split("\n"):  # an answer may hold U+2028, where splitlines would cut it
                with suppress(ValueError, RecursionError):
                    line = json.loads(text)
                    if isinstance(line, dict):
                        lines[str(line.get("custom_id"))] = line
        return lines

    def _read(self, request: PricedRequest, line: OutputLine | None, status: str) -> tuple[Answer, Charge]:
        """The answer in a line, and its bill: rows that were refused, expired or never begun cost nothing."""
        response = None if line is None else line.get("response")
        response = response if isinstance(response, dict) else {}
        code, body, charge = response.get("status_code", "no status"), response.get("body"), UNBILLED
        if line is None:
            reason = f"no answer in the batch, which is {status}"
        elif code == 200:  # it was carried out, and so billed, whether or not its answer can be read
            try:
                reply = read_reply(json.dumps(body).encode(), completions=self.wire.completions)
            except CallFailed as failure:
                reason, charge = failure.reason, Charge(request.most_usd)
            else:
                answer = self.wire.answer(request.prompt, reply, 1, 0.0)
                return answer, self.wire.charge(request, reply)
        else:
            problem = line.get("error") or body
            inner = problem.get("error", problem) if isinstance(problem, dict) else problem
            message = inner.get("message") if isinstance(inner, dict) else inner
            reason = f"in the batch: {code}: {str(message)[:300]}"
        failed = failed_reply(self.endpoint.scrub(reason))
        return self.wire.answer(request.prompt, failed, 1, 0.0), charge

    def _insist(self, request: Callable[[], ResultT]) -> ResultT:
        """The request's result, asked for again where that may help; ``ModelError`` where it is refused."""
        from openai import OpenAIError

        def verdict(error: Exception) -> CallVerdict | None:
            if not isinstance(error, OpenAIError):
                return None
            return failure_of(error, self.endpoint.scrub).verdict

        try:
            return RETRIES.call(request, should_retry=verdict, sleep=self.sleep)
        except OpenAIError as error:
            reason = failure_of(error, self.endpoint.scrub).reason
        except (ValueError, RecursionError, AttributeError, TypeError) as error:  # of the SDK
            reason = self.endpoint.scrub(f"its answer cannot be read ({type(error).__name__}: {error})")
        raise ModelError(
            f"the Batch API at {self.endpoint.url}: {reason}\n"
            "  hint: remove the cause, and run the same command again; a batch that was sent is found and not"
            " sent again."
        )
