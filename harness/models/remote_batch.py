"""Answers through the Batch API: half the price, within a day, and never paid for twice.

Parts are cut before known rows are left out, and a batch carries the fingerprint of its whole part. Whoever
asks the same again, after a crash or Ctrl-C and whatever has been kept by then, finds the batches that were
sent for it: one that runs is waited for, what an ended one answered is taken, and only the rest is sent anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from json import dumps
from typing import TYPE_CHECKING, TypeVar

from harness.errors import BudgetReached, ModelError
from harness.models.batch_parts import Line, Part, body_of, cut, is_answered, read_lines
from harness.models.protocol import Decoding, Prompt
from harness.models.remote_calls import CallFailed
from harness.models.remote_wire import failure_of, read_reply
from harness.records import Answer

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import Batch

    from harness.models.remote_answers import Asked, OpenRemoteModel

LONGEST_POLL_S = 60.0
PATIENCE = 8  # attempts of one request to the service, minutes in all
LONGEST_PAUSE_S = 600.0  # a service that wants to be left alone for longer is not waited for
WINDOW_S, SLACK_S = 24 * 3600.0, 3600.0  # a batch is to end within its window; services are late by minutes
REFUSED = "failed"  # the input file was no good: nothing was answered
ENDED = ("completed", REFUSED, "cancelled", "expired")
MARK = "harness"  # the metadata key that holds the fingerprint

Got = TypeVar("Got")


class BatchGoesOn(KeyboardInterrupt):
    """Ctrl-C while a batch is under way. It goes on at the service, and the next run finds it."""


def batched_answers(
    model: OpenRemoteModel, prompts: Sequence[Prompt], known: frozenset[str], decoding: Decoding
) -> Iterator[Answer]:
    """An answer a prompt that is not known; one that its batch failed on holds its failure.

    Args:
        model: what is asked.
        prompts: all prompts: they name the batches.
        known: rows already answered.
        decoding: how answers are drawn.

    Raises:
        BudgetReached: the next batch could pass the cap; nothing of it was sent.
        ModelError: the service refused a batch, did not answer, or did not end one in time.
        BatchGoesOn: Ctrl-C while waiting.
    """
    asked = [model.asked(prompt, decoding) for prompt in prompts]
    parts = [part.lacking(known) for part in cut(asked, model.spec.takes_prompt)]
    left = sum(len(part.asked) for part in parts)
    for part in parts:
        try:
            with closing(_Sent(model, part).answers()) as answers:
                for answer in answers:
                    left -= answer.failure is None
                    yield answer
        except BudgetReached as reached:
            raise reached.naming(f"{left:,} batched answers of {model.spec.model}") from None


@dataclass
class _Sent:
    """One part on its way: the rows of it that have no answer yet."""

    model: OpenRemoteModel
    part: Part

    def answers(self) -> Generator[Answer, None, None]:
        if not self.part.asked:
            return
        with closing(self.model.spec.endpoint.client()) as client:
            sent = self._patiently(lambda: self._sent(client))
            found = self._found(client, sent)  # paid for by an earlier run
            yield from self.model.handed(found)
            rest = self.part.lacking({answer.row_id for answer in found})
            if rest.asked:
                yield from self.model.handed(self._paid(client, rest, [batch.id for batch in sent]))

    def _found(self, client: OpenAI, sent: Sequence[Batch]) -> list[Answer]:
        """What earlier batches gave. What one had failed on before this run looked is asked again."""
        found: dict[str, Answer] = {}
        for earlier in sent:
            batch = self._wait(client, earlier)
            lines = self._lines(client, batch)
            for one in self.part.asked:
                line = lines.get(one.prompt.row_id)
                answer, _ = self._read(one, line, batch.status)
                if answer.failure is None or (line is not None and earlier.status not in ENDED):
                    found.setdefault(answer.row_id, answer)
        return list(found.values())

    def _paid(self, client: OpenAI, rest: Part, earlier: Sequence[str]) -> list[Answer]:
        """The answers of a new batch, whose money is set aside before it is sent."""
        most = sum(one.most_usd or 0.0 for one in rest.asked)
        reservation = self.model.spending.reserve(most) if self.model.spending else None
        usd = most  # a batch whose bill is not known counts at the most that it may cost
        try:
            batch = self._wait(client, self._patiently(lambda: self._create(client, rest, earlier)))
            lines = self._lines(client, batch)
            read = [self._read(one, lines.get(one.prompt.row_id), batch.status) for one in rest.asked]
            usd = sum(cost for _, cost in read)
        finally:
            if reservation is not None:
                reservation.settle(usd)
                self.model.usd += usd
        return [answer for answer, _ in read]

    # ----------------------------------------------------------------- at the service
    def _sent(self, client: OpenAI) -> list[Batch]:
        """Batches that were sent for this part, the newest first."""
        return [
            batch
            for batch in client.batches.list(limit=100)
            if (batch.metadata or {}).get(MARK) == self.part.name and batch.status != REFUSED
        ]

    def _create(self, client: OpenAI, rest: Part, earlier: Sequence[str]) -> Batch:
        """The new batch; an attempt whose answer was lost may have made it, so it is looked for again."""
        for batch in self._sent(client):
            if batch.id not in earlier:
                return batch
        return client.batches.create(
            input_file_id=self._file(client, rest),
            endpoint=rest.url,
            completion_window="24h",
            metadata={MARK: rest.name},
        )

    def _file(self, client: OpenAI, rest: Part) -> str:
        for file in client.files.list(purpose="batch"):
            if file.filename == rest.file_name and file.status != "error":
                return file.id
        return client.files.create(file=(rest.file_name, rest.content), purpose="batch").id

    def _wait(self, client: OpenAI, batch: Batch) -> Batch:
        """The batch once it has ended.

        Raises:
            ModelError: it failed, or is long past its time.
            BatchGoesOn: Ctrl-C.
        """
        if batch.status in ENDED:
            return batch
        try:
            batch = self._watched(client, batch)
        except KeyboardInterrupt as interrupt:
            raise BatchGoesOn(
                f"batch {batch.id} of {self.model.spec.model} goes on at the service, and the next run finds"
                f" it.\n  {self._to_cancel(batch)}"
            ) from interrupt
        if batch.status == REFUSED:
            raise ModelError(f"batch {batch.id} of {self.model.spec.model} failed: {_problems(batch)}")
        return batch

    def _watched(self, client: OpenAI, batch: Batch) -> Batch:
        poll_s = self.model.spec.provider.poll_s
        with self.model.progress.task(f"batch {batch.id}", unit="row") as bar:
            while batch.status not in ENDED:
                self._require_in_time(batch)
                counts = batch.request_counts
                done, rows = (counts.completed, counts.total) if counts else (0, 0)
                note = f"{batch.status}; Ctrl-C leaves it running, the next run finds it"
                bar.at(done, rows or len(self.part.asked), note)
                self.model.sleep(poll_s)
                poll_s = min(LONGEST_POLL_S, poll_s * 1.5)
                name = batch.id
                batch = self._patiently(lambda: client.batches.retrieve(name))  # noqa: B023 - called at once
            bar.at(1, 1, batch.status)
        return batch

    def _require_in_time(self, batch: Batch) -> None:
        over_s = self.model.now() - (batch.expires_at or batch.created_at + WINDOW_S)
        if over_s > SLACK_S:
            raise ModelError(
                f"batch {batch.id} of {self.model.spec.model} is {batch.status}, and should have ended"
                f" {over_s / 3600:.1f} hours ago.\n  {self._to_cancel(batch)}\n"
                "  hint: run the same command again once it has ended: only what it did not answer is sent."
            )

    def _to_cancel(self, batch: Batch) -> str:
        endpoint = self.model.spec.endpoint
        header = "api-key: $" if endpoint.profile == "azure" else "Authorization: Bearer $"
        key = f' -H "{header}{endpoint.key_variable}"' if endpoint.key_variable else ""
        return f"to end it: curl -X POST{key} {endpoint.url}/batches/{batch.id}/cancel"

    # ----------------------------------------------------------------- what it gave
    def _lines(self, client: OpenAI, batch: Batch) -> dict[str, Line]:
        lines: dict[str, Line] = {}
        for file_id in (batch.error_file_id, batch.output_file_id):
            if file_id is not None:
                text = self._patiently(lambda: client.files.content(file_id).text)  # noqa: B023 - called at once
                lines |= read_lines(text)
        return lines

    def _read(self, one: Asked, line: Line | None, status: str) -> tuple[Answer, float]:
        """What a line says, and what it cost: what was refused, expired or never begun is not billed."""
        most = one.most_usd or 0.0
        try:
            body = dumps(body_of(line, status)).encode()
            reply = read_reply(body, completions=self.model.spec.takes_prompt)
        except CallFailed as failure:
            told = self.model.spec.endpoint.scrub(failure.reason)
            failed = Answer(
                one.prompt.row_id, "", 0, 0, 0.0, "failed", told, repeat=one.prompt.repeat, batched=True
            )
            return failed, most if is_answered(line) else 0.0
        return self.model.as_answer(one.prompt, reply, 1, 0.0), self.model.cost(one, reply) or 0.0

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
            pause_s = failure.retry_after_s or 0.0
            if not failure.retry or attempt == PATIENCE or pause_s > LONGEST_PAUSE_S:
                break
            self.model.sleep(pause_s + min(LONGEST_POLL_S, 2.0 ** (attempt - 1)))
        raise ModelError(
            f"the Batch API at {self.model.spec.endpoint.url}: {failure.reason}\n"
            "  hint: see to that, and run the same command again; a batch that was sent is found and not sent"
            " again."
        )


def _problems(batch: Batch) -> str:
    found = (batch.errors.data if batch.errors else None) or []
    told = [f"line {e.line}: {e.message} (code {e.code}, param {e.param})" for e in found[:3]]
    return "; ".join(told) or "the service does not say why"
