"""An opened hosted model: prompts in, answers out, each call paid for before it is sent."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, cast

from harness.data.hosted import DEFAULT_ENCODING, hosted_counter
from harness.errors import BudgetReached, ModelError
from harness.models.call_policy import Waiting
from harness.models.pricing import Spending, prompt_bound
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.models.remote_calls import Call, CallFailed, CallPolicy, Calls, Result, Tally
from harness.models.remote_wire import (
    Reply,
    chat_body,
    completion_body,
    failure_of,
    read_reply,
    response_format,
)
from harness.records import Answer, Json, Message, Row

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from harness.models.remote import RemoteModel


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as it is sent, and the most that its call may cost (None: nothing is counted)."""

    prompt: Prompt
    body: dict[str, Json]
    most_usd: float | None


@dataclass(slots=True)
class Bill:
    """What a call turned out to cost; None until it is known."""

    usd: float | None = None


@dataclass
class OpenRemoteModel:
    """See ``models.protocol.Model``. Each answer depends on its own prompt alone, so any may be kept."""

    spec: RemoteModel
    spending: Spending | None
    progress: Progress
    schema: Mapping[str, Json] | None = None
    usd: float = 0.0
    tally: Tally = field(default_factory=Tally)
    waiting: Waiting = field(default_factory=Waiting)
    loading_s: float = 0.0  # how long the service may not know the model yet
    sleep: Callable[[float], None] = time.sleep  # between two looks at a batch
    now: Callable[[], float] = time.time  # seconds since 1970, for a batch's deadline
    _began: float | None = None
    _late: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numeric_config = self.spec.numeric_config

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Iterator[Answer]:
        """Answers as they come, in any order; a row that is known is not asked.

        A call that fails, after as many attempts as are worth it, ends as an answer with ``failure``.

        Args:
            prompts: all prompts.
            decoding: sent as far as the service takes it; ``seed`` grows with a prompt's ``repeat``.
            known: rows already answered.

        Raises:
            BudgetReached: the next call could pass the cap; says how many answers are missing.
            ModelError: the service refuses every call, or has stopped answering.
        """
        missing = [prompt for prompt in prompts if prompt.row_id not in known]
        self._late = []
        if not missing:
            return
        if self.spec.batch:
            from harness.models.remote_batch import batched_answers

            yield from batched_answers(self, prompts, known, decoding)
            return
        answered = 0
        try:
            with closing(self._called(missing, decoding)) as answers:
                for answer in answers:
                    answered += answer.failure is None
                    yield answer
        except BudgetReached as reached:
            left = f"{len(missing) - answered:,} of {len(prompts):,} answers of {self.spec.model}"
            raise reached.naming(left) from None

    def late(self) -> Sequence[Answer]:
        """See ``models.protocol.Interruptible``."""
        came, self._late = self._late, []
        return came

    def handed(self, answers: Sequence[Answer]) -> Iterator[Answer]:
        """Answers that came together, one by one; those that nobody takes are late."""
        left = deque(answers)
        try:
            while left:
                yield left[0]
                left.popleft()
        finally:
            self._late += left

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Not offered.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self.spec.model} at {self.spec.endpoint.url}: an endpoint gives no likelihood of a given text."
            "\n  hint: let a local model judge."
        )

    @property
    def note(self) -> str:
        """For a progress bar: calls a second, errors, dollars so far, and what is waited for."""
        tally, seconds = self.tally, time.monotonic() - (self._began or time.monotonic())
        speed = f"{tally.calls / seconds:.0f} calls/s" if seconds > 0 and tally.calls else ""
        errors = tally.faults + tally.throttled
        parts = [
            speed,
            f"{errors} errors" if errors else "",
            f"{tally.failed} failed" if tally.failed else "",
        ]
        parts.append(f"${self.usd:.4f}" if self.spending is not None else "")
        pause_s = self.waiting.seconds(time.monotonic())
        parts.append(f"waiting {math.ceil(pause_s)} s as the service asks" if pause_s else "")
        return ", ".join(part for part in parts if part)

    # ----------------------------------------------------------------- asking
    def asked(self, prompt: Prompt, decoding: Decoding) -> Asked:
        """The prompt in the form that the service takes.

        Raises:
            UsageError: under a budget, nothing bounds the answer.
        """
        make = completion_body if self.spec.takes_prompt else chat_body
        body = make(
            self.spec.model, prompt.messages, decoding, repeat=prompt.repeat, logprobs=self.spec.logprobs
        )
        body |= self._binding
        if self.spending is None:
            return Asked(prompt, body, None)
        tokens = self._most_tokens((*prompt.messages, *self._binding_turns))
        most = self.spending.most(tokens, decoding.max_new_tokens, batched=self.spec.batch)
        return Asked(prompt, body, most)

    def as_answer(self, prompt: Prompt, reply: Reply, attempts: int, latency_ms: float) -> Answer:
        """A reply as an answer. Where the service counts no tokens, they are counted here."""
        return Answer(
            row_id=prompt.row_id,
            text=reply.text,
            prompt_tokens=self._or_counted(reply.prompt_tokens, prompt.messages),
            completion_tokens=self._or_counted(reply.completion_tokens, (Message("assistant", reply.text),)),
            latency_ms=latency_ms,
            finish=cast("Literal['stop', 'length', 'failed']", reply.finish),
            failure=reply.failure,
            cached_prompt_tokens=reply.cached_prompt_tokens,
            attempts=attempts,
            repeat=prompt.repeat,
            logprob=reply.logprob,
            batched=self.spec.batch,
        )

    def cost(self, asked: Asked, reply: Reply) -> float | None:
        """What an answered call cost; its upper bound where the service counts no tokens."""
        if self.spending is None or reply.prompt_tokens is None or reply.completion_tokens is None:
            return asked.most_usd
        return self.spending.cost(
            reply.prompt_tokens,
            reply.completion_tokens,
            reply.cached_prompt_tokens,
            batched=self.spec.batch,
        )

    def _called(self, prompts: Sequence[Prompt], decoding: Decoding) -> Generator[Answer, None, None]:
        spec = self.spec
        policy = CallPolicy(
            spec.calls_at_once,
            attempts=spec.attempts,
            timeout_s=spec.longest_wait_s,
            loading_s=self.loading_s,
        )
        self._began = self._began or time.monotonic()
        calls = Calls(self._session, policy, tally=self.tally, waiting=self.waiting)
        asked = (self.asked(prompt, decoding) for prompt in prompts)
        try:
            with closing(calls.results(asked)) as results:
                for result in results:
                    yield self._answer(result)
        finally:
            self._late = [self._answer(result) for result in calls.late]

    def _answer(self, result: Result[Asked, Reply]) -> Answer:
        prompt = result.request.prompt
        if result.reply is None:
            return Answer(
                prompt.row_id,
                "",
                0,
                0,
                result.latency_ms,
                "failed",
                result.failure,
                attempts=result.attempts,
                repeat=prompt.repeat,
            )
        return self.as_answer(prompt, result.reply, result.attempts, result.latency_ms)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Call[Asked, Reply]]:
        async with self.spec.endpoint.async_client(self.spec.calls_at_once) as client:
            yield partial(self._call, client)

    async def _call(self, client: AsyncOpenAI, asked: Asked) -> Reply:
        from httpx2 import Response
        from openai import OpenAIError

        completions = self.spec.takes_prompt
        with self._paying(asked) as bill:
            try:
                response = await client.post(
                    "/completions" if completions else "/chat/completions",
                    body=asked.body,
                    cast_to=Response,
                    options={"security": {"bearer_auth": True}},
                )
            except OpenAIError as error:
                raise failure_of(error, self.spec.endpoint.scrub, time.time) from None
            reply = read_reply(response.content, completions=completions)
            bill.usd = self.cost(asked, reply)
        return reply

    @contextmanager
    def _paying(self, asked: Asked) -> Iterator[Bill]:
        """Money for one call. A call whose bill is not known counts at the most that it may cost."""
        bill = Bill()
        if self.spending is None or asked.most_usd is None:
            yield bill
            return
        reservation = self.spending.reserve(asked.most_usd)
        usd = asked.most_usd
        try:
            yield bill
            usd = asked.most_usd if bill.usd is None else bill.usd
        except CallFailed as failure:
            usd = 0.0 if failure.unbilled else asked.most_usd
            raise
        finally:
            reservation.settle(usd)
            self.usd += usd

    @cached_property
    def _binding(self) -> dict[str, Json]:
        """What binds answers to the schema; empty where there is none, or the service offers nothing."""
        offered = self.spec.provider.structured_outputs and not self.spec.takes_prompt
        return {"response_format": response_format(self.schema)} if offered and self.schema else {}

    @cached_property
    def _binding_turns(self) -> tuple[Message, ...]:
        """The schema as a turn of the prompt: services count it among the input tokens."""
        return (Message("system", json.dumps(self._binding)),) if self._binding else ()

    @cached_property
    def _most_tokens(self) -> Callable[[Sequence[Message]], int]:
        return prompt_bound(self.spec.model)

    @cached_property
    def _count(self) -> Callable[[Sequence[Row]], list[int]]:
        return hosted_counter(DEFAULT_ENCODING)  # reading an encoding takes 50 ms

    def _or_counted(self, tokens: int | None, messages: Sequence[Message]) -> int:
        return self._count([Row("", tuple(messages))])[0] if tokens is None else tokens
