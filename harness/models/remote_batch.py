"""Answers through the Batch API: half the price, within a day, and never paid for twice.

A batch carries the fingerprint of its content, and so does its file's name: whoever asks the same again,
after a crash or Ctrl-C, finds the file and the batch that are already there and waits on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from harness.data.fingerprints import bytes_digest
from harness.errors import BudgetReached, ModelError
from harness.models.protocol import Decoding, Prompt
from harness.models.remote_calls import CallFailed
from harness.models.remote_wire import failure_of, read_reply
from harness.records import Answer, Json

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

    from harness.models.remote_answers import Asked, OpenRemoteModel

MOST_LINES, MOST_BYTES = 50_000, 190_000_000  # the service's limits are 50,000 lines and 200 MB
LONGEST_POLL_S = 60.0
PATIENCE = 8  # attempts of one request to the service, minutes in all
DEAD = ("failed", "cancelled", "cancelling", "expired")  # found in this state, a batch is sent anew
ENDED = ("completed", "failed", "cancelled", "expired")
MARK = "harness"  # the metadata key that holds the fingerprint

Url: TypeAlias = Literal["/v1/chat/completions", "/v1/completions"]
Got = TypeVar("Got")


@dataclass(frozen=True)
class Part:
    """Requests that make one batch."""

    asked: Sequence[Asked]
    content: bytes
    url: Url

    @property
    def name(self) -> str:
        """The fingerprint of the content."""
        return bytes_digest(self.content)[:40]

    @property
    def file_name(self) -> str:
        """What its file is called at the service."""
        return f"harness-{self.name}.jsonl"


def batched_answers(
    model: OpenRemoteModel, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[Answer]:
    """An answer a prompt; one that the batch failed on holds its failure.

    Raises:
        BudgetReached: the next batch could pass the cap; nothing of it was sent.
        ModelError: the service refused a batch or did not answer.
    """
    parts = list(cut([model.asked(prompt, decoding) for prompt in prompts], model.spec.takes_prompt))
    left = len(prompts)
    for part in parts:
        try:
            yield from _Sent(model, part).answers()
        except BudgetReached as reached:
            raise reached.naming(f"{left:,} batched answers of {model.spec.model}") from None
        left -= len(part.asked)


def cut(
    asked: Sequence[Asked], takes_prompt: bool, most_lines: int = MOST_LINES, most_bytes: int = MOST_BYTES
) -> Iterator[Part]:
    """The requests in order, in parts that the service accepts."""
    url: Url = "/v1/completions" if takes_prompt else "/v1/chat/completions"
    lines: list[bytes] = []
    begun = size = 0
    for at, one in enumerate(asked):
        request = {"custom_id": one.prompt.row_id, "method": "POST", "url": url, "body": one.body}
        line = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        if lines and (len(lines) >= most_lines or size + len(line) > most_bytes):
            yield Part(asked[begun:at], b"".join(lines), url)
            lines, begun, size = [], at, 0
        lines.append(line)
        size += len(line)
    if lines:
        yield Part(asked[begun:], b"".join(lines), url)


@dataclass
class _Sent:
    """One batch on its way."""

    model: OpenRemoteModel
    part: Part

    def answers(self) -> Iterator[Answer]:
        with closing(self.model.spec.endpoint.client()) as client:
            found = self._patiently(lambda: self._find(client))
            if found is not None:  # an earlier run paid for it
                yield from self._collect(client, self._wait(client, found))
                return
            most = sum(one.most_usd or 0.0 for one in self.part.asked)
            reservation = self.model.spending.budget.reserve(most) if self.model.spending else None
            usd = most  # a batch whose bill is not known counts at the most that it may cost
            try:
                batch = self._wait(client, self._patiently(lambda: self._create(client)))
                answers = list(self._collect(client, batch))
                usd = self._cost(answers)
            finally:
                if reservation is not None:
                    reservation.settle(usd)
                    self.model.usd += usd
        yield from answers

    def _find(self, client: OpenAI) -> Batch | None:
        for batch in client.batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == self.part.name and batch.status not in DEAD:
                return batch
        return None

    def _create(self, client: OpenAI) -> Batch:
        """The batch; an attempt whose answer was lost may have made it, so it is looked for again."""
        found = self._find(client)
        if found is not None:
            return found
        return client.batches.create(
            input_file_id=self._file(client),
            endpoint=self.part.url,
            completion_window="24h",
            metadata={MARK: self.part.name},
        )

    def _file(self, client: OpenAI) -> str:
        for file in client.files.list(purpose="batch"):
            if file.filename == self.part.file_name and file.status != "error":
                return file.id
        return client.files.create(file=(self.part.file_name, self.part.content), purpose="batch").id

    def _wait(self, client: OpenAI, batch: Batch) -> Batch:
        rows, poll_s = len(self.part.asked), self.model.spec.provider.poll_s
        with self.model.progress.task(f"batch {batch.id}", unit="row") as bar:
            while batch.status not in ENDED:
                done = batch.request_counts.completed if batch.request_counts else 0
                bar.at(done, rows, f"{batch.status}; Ctrl-C leaves it running, the next run finds it")
                self.model.sleep(poll_s)
                poll_s = min(LONGEST_POLL_S, poll_s * 1.5)
                name = batch.id
                batch = self._patiently(lambda: client.batches.retrieve(name))  # noqa: B023 - called at once
            bar.at(rows, rows, batch.status)
        if batch.status == "failed":
            raise ModelError(f"batch {batch.id} of {self.model.spec.model} failed: {_problems(batch)}")
        return batch

    def _collect(self, client: OpenAI, batch: Batch) -> Iterator[Answer]:
        lines: dict[str, Mapping[str, Json]] = {}
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                text = self._patiently(lambda: client.files.content(file_id).text)  # noqa: B023 - called at once
                lines |= {str(line.get("custom_id")): line for line in map(_parsed, text.splitlines())}
        for one in self.part.asked:
            yield self._answer(one.prompt, lines.get(one.prompt.row_id), batch.status)

    def _answer(self, prompt: Prompt, line: Mapping[str, Json] | None, status: str) -> Answer:
        try:
            body = _body(line, status)
            reply = read_reply(json.dumps(body).encode(), completions=self.model.spec.takes_prompt)
        except CallFailed as failure:
            told = self.model.spec.endpoint.scrub(failure.reason)
            return Answer(prompt.row_id, "", 0, 0, 0.0, "failed", told, repeat=prompt.repeat, batched=True)
        return self.model.as_answer(prompt, reply, 1, 0.0)

    def _cost(self, answers: Sequence[Answer]) -> float:
        """What was answered is billed; what was refused or expired is not."""
        spending = self.model.spending
        if spending is None:
            return 0.0
        return sum(
            spending.cost(a.prompt_tokens, a.completion_tokens, a.cached_prompt_tokens, batched=True)
            for a in answers
        )

    def _patiently(self, request: Callable[[], Got]) -> Got:
        """The request's result, asked for again where that may help.

        Raises:
            ModelError: it was refused, or failed too often.
        """
        from openai import OpenAIError

        for attempt in range(1, PATIENCE + 1):
            try:
                return request()
            except OpenAIError as error:
                failure = failure_of(error, self.model.spec.endpoint.scrub, time.time)
            if not failure.retry or attempt == PATIENCE:
                break
            self.model.sleep((failure.retry_after_s or 0.0) + min(LONGEST_POLL_S, 2.0 ** (attempt - 1)))
        raise ModelError(
            f"the Batch API at {self.model.spec.endpoint.url}: {failure.reason}\n"
            "  mend: see to that, and run the same command again; a batch that was sent is found and not sent"
            " again."
        )


def _parsed(line: str) -> Mapping[str, Json]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _body(line: Mapping[str, Json] | None, status: str) -> Json:
    """The answer's body in a line of the output.

    Raises:
        CallFailed: there is none; says why.
    """
    if line is None:
        raise CallFailed(f"no answer in the batch, which is {status}", retry=False)
    response = line.get("response")
    if isinstance(response, dict) and response.get("status_code") == 200:
        return response.get("body")
    problem = line.get("error") or (response.get("body") if isinstance(response, dict) else None)
    inner = problem.get("error", problem) if isinstance(problem, dict) else problem
    told = inner.get("message") if isinstance(inner, dict) else inner
    code = response.get("status_code") if isinstance(response, dict) else "no status"
    raise CallFailed(f"in the batch: {code}: {str(told)[:300]}", retry=False)


def _problems(batch: Batch) -> str:
    found = (batch.errors.data if batch.errors else None) or []
    told = [f"line {e.line}: {e.message} (code {e.code}, param {e.param})" for e in found[:3]]
    return "; ".join(told) or "the service does not say why"
