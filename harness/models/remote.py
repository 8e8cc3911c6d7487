"""A hosted model as users write it: frozen, hashable, complete, and without a secret.

Prompted(model=RemoteModel("gpt-4o-mini"))
Prompted(model=RemoteModel("qwen3-4b", base_url="http://127.0.0.1:8000/v1", concurrency=64))
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from harness.data.hosted import hosted_model
from harness.decision.prices import billed_as
from harness.errors import BudgetReached, ModelError, UsageError
from harness.fields import Count, Positive, require_fields
from harness.models.call_scheduler import CallFailed, CallPolicy, CallResult, CallScheduler, ModelCall, Tally
from harness.models.endpoint import Endpoint, is_openai
from harness.models.ledger import UNBILLED, Charge, Spending
from harness.models.profiles import REHEARSAL_KEY, TWIN, Profile, profile_of, twin_of
from harness.models.progress import Progress, Silent
from harness.models.protocol import Decoding, Prompt
from harness.records import Answer, Json

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from harness.models.remote_wire import ModelWire, PricedRequest, RemoteReply

_SNAPSHOT = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")  # gpt-4o-mini-2024-07-18, gpt-3.5-turbo-0125
LOADING_S = 300.0  # a tuned model may be unknown for minutes after its job


@dataclass(frozen=True)
class RemoteModel:
    """A model behind an OpenAI-compatible service: OpenAI, Azure, vLLM, Ollama, a llama.cpp server and so on.

    Args:
        model: its name there.
        version: which model the name means at present, such as the digest or date of what is served. Answers
            are kept under it: change it when another model takes the name. Without it, three kept answers are
            asked for again in each run, to see whether it is still the same model.
        base_url: the service's address (None: ``OPENAI_BASE_URL``, else OpenAI's own).
        api_key_env: the environment variable that holds the key. Without it, ``OPENAI_API_KEY`` is sent to
            OpenAI and this machine only, and a server in a private network is asked without one; Azure and
            Nebius have their usual variables, and any other service must have one named.
        profile: which provider it is, where its address does not tell.
        concurrency: calls on their way at once, at most; fewer while the service says that it is busy (None:
            the provider's usual number).
        batch: send everything through the Batch API: half the price, an answer within a day, no latencies.
        logprobs: ask for the log-probability of each answer.
        completions: it takes one prompt, not messages (None: known for babbage-002 and davinci-002).
        timeout_s: longest wait for one answer (None: the provider's usual).
        attempts: calls for one row that may end in a fault before the row counts as failed.

    Raises:
        UsageError: a value is out of range, or a batch is asked of a service that has no Batch API.
    """

    model: str
    base_url: str | None = None
    api_key_env: str | None = None
    profile: str | None = None
    concurrency: Count | None = None
    batch: bool = False
    logprobs: bool = False
    completions: bool | None = None
    timeout_s: Positive | None = None
    attempts: Count = 5
    version: str | None = None

    def __post_init__(self) -> None:
        require_fields(self)
        if self.batch and not self.provider.batch_api:
            raise UsageError(
                f"RemoteModel(batch=True): no Batch API is known of {self.endpoint.url}"
                f" (profile {self.provider.name}).\n  hint: leave batch out, or name the profile of one that"
                " has it."
            )

    @property
    def provider(self) -> Profile:
        """The facts about its service."""
        return profile_of(self.profile, Endpoint(self.base_url).url)

    @property
    def endpoint(self) -> Endpoint:
        """Where it is asked."""
        return self.provider.endpoint(self.base_url, self.api_key_env, self.longest_wait_s)

    @property
    def url(self) -> str:
        """The address that it is asked at."""
        return self.endpoint.url

    @property
    def calls_at_once(self) -> int:
        """Calls on their way, at most."""
        return self.concurrency or self.provider.concurrency

    @property
    def longest_wait_s(self) -> float:
        """For one answer."""
        return self.timeout_s or self.provider.timeout_s

    @property
    def takes_prompt(self) -> bool:
        """Whether it is asked with one text and not with messages."""
        if self.completions is not None:
            return self.completions
        known = hosted_model(self.model)
        return known is not None and known.completions

    @property
    def is_pinned(self) -> bool:
        """Whether its name, with its version, can only ever mean one model.

        OpenAI promises that of dated snapshots and of fine-tunes, and so does what stands in for it here.
        """
        is_promised = is_openai(self.url) or self.provider.name == TWIN.name
        is_snapshot = self.is_tuned or _SNAPSHOT.search(self.model) is not None
        return self.version is not None or (is_promised and is_snapshot)

    @property
    def billed_as(self) -> str:
        """The name that it is priced under, without its deployment's; see ``decision.prices``."""
        return billed_as(self.provider.seller, self.model.partition("#")[0])

    @property
    def is_drawn(self) -> bool:
        """Whether it takes no temperature, so that its answers are drawn whatever is asked for."""
        from harness.models.remote_wire import reasons

        return reasons(self.model) and not self.takes_prompt

    @property
    def is_tuned(self) -> bool:
        """Whether its name is that of a fine-tune."""
        return self.model.startswith("ft:")

    def redirected(self, url: str) -> RemoteModel:
        """The same model asked at a local stand-in for its service, which is shown no real key."""
        return replace(self, base_url=url, profile=twin_of(self.provider.seller), api_key_env=REHEARSAL_KEY)

    def described(self) -> dict[str, Json]:
        """The fields, for the record."""
        return {
            **self.identity(),
            "concurrency": self.calls_at_once,
            "timeout_s": self.longest_wait_s,
            "attempts": self.attempts,
        }

    def identity(self) -> Mapping[str, Json]:
        """Everything that shapes an answer but the question and the decoding: the material of cache keys.

        ``batch`` is among it, for a batched answer has no latency to be scored by.
        """
        identity: dict[str, Json] = {
            "model": self.model,
            "base_url": self.endpoint.url,
            "profile": self.provider.name,
            "prompt_form": self.takes_prompt,
            "batch": self.batch,
            "logprobs": self.logprobs,
        }
        return identity if self.version is None else {**identity, "version": self.version}

    def sent_beside(self, prompts: Sequence[Prompt], decoding: Decoding) -> Sequence[Json]:
        """For each prompt what keys of kept answers say of its request; see ``models.request_keys``."""
        from harness.models.request_keys import sent_beside

        return sent_beside(self, prompts, decoding)

    @property
    def numeric_config(self) -> str:
        """How its numbers are computed, in words, for records."""
        return f"the service's own, at {self.endpoint.url}"

    def require_ready(self) -> None:
        """Check what can be checked before a call; sends nothing. Raises ``ModelError`` without a key."""
        self.endpoint.require_key()

    def open(
        self,
        spending: Spending | None = None,
        progress: Progress | None = None,
        schema: Mapping[str, Json] | None = None,
        *,
        just_tuned: bool = False,
    ) -> OpenRemoteModel:
        """The model, ready to answer.

        Args:
            spending: its price and the ledger that calls are paid from; None: nothing is counted.
            progress: watches the wait for a batch.
            schema: JSON schema that answers are bound to, where the service offers that for such a model.
            just_tuned: the service may not have loaded it yet. So is any fine-tune (``ft:…``) treated.

        Raises:
            ModelError: there is no key.
        """
        self.require_ready()
        loading_s = LOADING_S if just_tuned or self.is_tuned else 0.0
        return OpenRemoteModel(self, spending, progress or Silent(), schema, loading_s=loading_s)


@dataclass
class OpenRemoteModel:
    """A hosted model that is asked. See ``models.protocol.Model``, and ``RemoteModel.open`` for the fields.

    Each answer depends on its own prompt alone, so any may be stored. The money of every call is reserved
    before it is sent.
    """

    spec: RemoteModel
    spending: Spending | None
    progress: Progress
    schema: Mapping[str, Json] | None = None
    loading_s: float = 0.0  # how long the service may not know the model yet
    sleep: Callable[[float], None] = time.sleep  # between two looks at a batch
    now: Callable[[], float] = time.time  # for a batch's deadline
    tally: Tally = field(default_factory=Tally)
    _began: float | None = None
    _late: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.numeric_config = self.spec.numeric_config

    @cached_property
    def wire(self) -> ModelWire:
        """How it is asked, and the cost of that."""
        from harness.models.remote_wire import ModelWire  # pydantic takes 0.1 s, and most runs ask nobody

        schema = (self.schema or None) if self.spec.provider.structured_outputs else None
        return ModelWire(self.spec, self.spending, schema)

    def answer(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Generator[Answer, None, None]:
        """Answers as they come, in any order; a call that fails ends as one with ``failure``.

        ``decoding`` is sent as far as the service takes it; its ``seed`` grows with a prompt's ``repeat``.

        Raises:
            BudgetReached: the next call could pass the cap; says how many answers are missing.
            ModelError: the service refuses every call, or has stopped answering.
            BatchGoesOn: Ctrl-C while a batch is waited for.
        """
        missing = [prompt for prompt in prompts if prompt.row_id not in known]
        self._late = []
        if not missing:
            return
        answered = 0
        ask = self._batched(prompts, decoding, known) if self.spec.batch else self._called(missing, decoding)
        try:
            with closing(ask) as answers:
                for answer in answers:
                    answered += answer.failure is None
                    yield answer
        except BudgetReached as reached:
            # counted only now: calls that were on their way when the money ran out have been answered since
            is_judge = self.spending is not None and self.spending.purpose == "judging"
            noun = "judgments" if is_judge else "answers"
            left = f"{len(missing) - answered:,} of {len(prompts):,} {noun} of {self.spec.model}"
            raise reached.naming(left) from None

    def late(self) -> Sequence[Answer]:
        """See ``models.protocol.Interruptible``."""
        came, self._late = self._late, []
        return came

    def logprob(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Not offered: raises ``ModelError``."""
        raise ModelError(
            f"{self.spec.model} at {self.spec.endpoint.url}: an endpoint gives no likelihood of a given text."
            "\n  hint: let a local model judge."
        )

    @property
    def note(self) -> str:
        """For a progress bar: calls a second, errors, dollars, and the pause that the service asks for."""
        tally, now = self.tally, time.monotonic()
        seconds, errors = now - (self._began or now), tally.faults + tally.throttled
        pause_s = tally.pause_s(now)
        spending = self.spending
        parts = [
            f"{tally.calls / seconds:.0f} calls/s" if seconds > 0 and tally.calls else "",
            f"{errors} errors" if errors else "",
            f"{tally.failed} failed" if tally.failed else "",
            f"${spending.ledger.spent_on(spending.account):.4f}" if spending is not None else "",
            f"waiting {math.ceil(pause_s)} s as the service asks" if pause_s else "",
        ]
        return ", ".join(part for part in parts if part)

    def _batched(
        self, prompts: Sequence[Prompt], decoding: Decoding, known: frozenset[str]
    ) -> Generator[Answer, None, None]:
        """Answers through the Batch API."""
        from harness.models.remote_batch import BatchSender

        sender = BatchSender(self.wire, self.progress, self.sleep, self.now)
        try:
            with closing(sender.answers(prompts, known, decoding)) as answers:
                yield from answers
        finally:
            self._late = sender.late

    def _called(self, prompts: Sequence[Prompt], decoding: Decoding) -> Generator[Answer, None, None]:
        """Answers by one call each."""
        from harness.models.remote_wire import failed_reply

        spec, wire = self.spec, self.wire

        def answer_of(result: CallResult[PricedRequest, RemoteReply]) -> Answer:
            reply = result.reply or failed_reply(result.failure or "")
            return wire.answer(result.request.prompt, reply, result.attempts, result.latency_ms)

        at_once, longest_s = spec.calls_at_once, spec.longest_wait_s
        policy = CallPolicy(spec.attempts, concurrency=at_once, timeout_s=longest_s, loading_s=self.loading_s)
        self._began = self._began or time.monotonic()
        calls = CallScheduler(self._session, policy, tally=self.tally)
        try:
            with closing(calls.results(wire.request(prompt, decoding) for prompt in prompts)) as results:
                yield from map(answer_of, results)
        finally:
            self._late = [answer_of(result) for result in calls.late]

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[ModelCall[PricedRequest, RemoteReply]]:
        async with self.spec.endpoint.async_client(self.spec.calls_at_once) as client:
            yield partial(self._call, client)

    async def _call(self, client: AsyncOpenAI, request: PricedRequest) -> RemoteReply:
        """One call, its money reserved before it is sent."""
        from httpx2 import Response
        from openai import OpenAIError

        from harness.models.remote_wire import failure_of, read_reply

        # before the first await: the next call must see this reservation, or two together could pass the cap
        wire = self.wire
        reservation = None if self.spending is None else self.spending.reserve(request.most_usd)
        # a call whose bill is not known counts at the most that it may cost
        charge = Charge(request.most_usd)
        try:
            # the SDK's own create() would build its models from each reply, which read_reply does once more
            response = await client.post(
                wire.path, body=request.body, cast_to=Response, options={"security": {"bearer_auth": True}}
            )
            reply = read_reply(response.content, completions=wire.completions)
            charge = wire.charge(request, reply)
        except (OpenAIError, CallFailed) as error:
            scrub = self.spec.endpoint.scrub
            failure = error if isinstance(error, CallFailed) else failure_of(error, scrub)
            charge = UNBILLED if failure.unbilled else charge
            raise failure from None
        finally:
            if reservation is not None:
                reservation.settle(*charge)
        return reply
