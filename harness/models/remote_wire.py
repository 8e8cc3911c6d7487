"""How one model behind an OpenAI-compatible service is asked: requests, replies and their bills.

A reply is checked before it is believed, but its bill is read tolerantly: an answer is not asked, and paid,
again because the service counts tokens in a way of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from harness.data.convert import message_json
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter
from harness.errors import UsageError
from harness.fields import LARGEST
from harness.models.call_scheduler import CallFailed
from harness.models.ledger import Charge, Spending, prompt_bound
from harness.models.protocol import Decoding, Prompt
from harness.models.retry import CallVerdict, verdict_of
from harness.models.structured import response_format
from harness.models.thinking import request_limit, thinking_fields
from harness.records import Answer, FailureKind, Json, Message, Row, ToolCall, called

if TYPE_CHECKING:
    from openai import OpenAIError

    from harness.models.remote import RemoteModel

# Models that reason before they answer: they take max_completion_tokens in place of max_tokens, and no
# temperature.
_REASONING = re.compile(r"(ft:)?(o\d|gpt-5)")
# Fireworks' code for a deployment without a replica, which this very call wakes: it takes minutes
WAKING, WAKING_S = "DEPLOYMENT_SCALING_UP", 1_200.0
_SAME_FOR_ALL = (401, 403, 404)  # a wrong key, or a model that does not exist
_NAMES_A_MODEL = re.compile("model|deployment", re.IGNORECASE)  # a 404 of the model, not of the path
# finish reasons, OpenAI's first, then what others send in the same place
_AT_THE_LIMIT = ("length", "max_tokens", "MAX_TOKENS", "model_length")
_FILTERED = (
    "content_filter",
    "safety",
    "SAFETY",
    "recitation",
    "RECITATION",
    "PROHIBITED_CONTENT",
    "refusal",
)
_BROKEN_OFF = ("error", "abort", "insufficient_system_resource")


# --------------------------------------------------------------------------- requests and answers
@dataclass(frozen=True, slots=True)
class PricedRequest:
    """One prompt as it is sent, and the most that its call may cost (0 where nothing is counted)."""

    prompt: Prompt
    body: dict[str, Json]
    most_usd: float


@dataclass(frozen=True, slots=True)
class RemoteReply:
    """One reply as the service gave it. Token counts are None where it gives none.

    A text that is empty because the limit was reached, or beside a thought, is no failure here:
    `scoring.envelope` reads it, and it is kept, since it was paid for and would come the same again.
    """

    text: str
    finish: Literal["stop", "length", "failed", "tool_calls"]
    failure: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_prompt_tokens: int = 0
    logprob: float | None = None
    thought: str | None = None  # given apart from the text
    thought_tokens: int | None = None
    failure_kind: FailureKind | None = None
    served_by: str = ""  # the model that the service says has answered
    system_fingerprint: str = ""


def reasons(model: str) -> bool:
    """Whether a hosted model reasons before it answers, and so takes no temperature."""
    return _REASONING.match(model) is not None


def failed_reply(failure: str) -> RemoteReply:
    """In place of an answer where all calls failed."""
    return RemoteReply(
        "", "failed", failure, prompt_tokens=0, completion_tokens=0, failure_kind=FailureKind.ERROR
    )


@dataclass(frozen=True)
class ModelWire:
    """One model as it is asked."""

    spec: RemoteModel
    spending: Spending | None = None  # None: nothing is counted
    schema: Mapping[str, Json] | None = None  # that answers are bound to, where the service offers that

    @cached_property
    def completions(self) -> bool:
        """Whether it takes one prompt, not messages."""
        return self.spec.takes_prompt

    @property
    def path(self) -> str:
        """Where requests are posted, below the service's address."""
        return "/completions" if self.completions else "/chat/completions"

    def request(self, prompt: Prompt, decoding: Decoding) -> PricedRequest:
        """The prompt as the service takes it; ``UsageError`` where nothing bounds an answer that is paid."""
        # the order of keys is part of the name of a batch, by which one that was paid for is found again
        body: dict[str, Json] = {"model": self.spec.model}
        if self.completions:
            if prompt.tools is not None:
                raise UsageError(
                    f"{self.spec.model} takes one text and no tools, and row {prompt.row_id} offers some.\n"
                    "  hint: ask a chat model, or leave the rows with tools out."
                )
            body["prompt"] = "\n\n".join(message.content for message in prompt.messages)
        else:
            body["messages"] = [message_json(replace(m, weight=1)) for m in prompt.messages]
            if prompt.tools is not None:
                body["tools"] = prompt.tools.definitions
                if prompt.tools.parallel is not None:
                    body["parallel_tool_calls"] = prompt.tools.parallel
        most_new_tokens = request_limit(self.spec, decoding)
        if reasons(self.spec.model) and not self.completions:
            body["max_completion_tokens"] = most_new_tokens
        else:
            body |= {"max_tokens": most_new_tokens, "temperature": decoding.temperature}
            if decoding.temperature > 0:
                body |= {"top_p": decoding.top_p, "seed": decoding.seed + prompt.repeat}
            if self.spec.logprobs:
                body["logprobs"] = 0 if self.completions else True
        body |= thinking_fields(self.spec, decoding)
        schema = self.schema if decoding.schema is None else decoding.schema.document
        if schema is not None and not self.completions:
            body["response_format"] = response_format(self.spec, schema)
        if self.spending is None:
            return PricedRequest(prompt, body, 0.0)
        messages = prompt.messages
        beside = {key: body[key] for key in ("response_format", "tools") if key in body}
        if beside:  # services count schemas among the input tokens
            messages = (*messages, Message("system", json.dumps(beside)))
        tokens = self._most_tokens(messages)
        most_usd = self.spending.most(tokens, most_new_tokens, batched=self.spec.batch)
        return PricedRequest(prompt, body, most_usd)

    def answer(self, prompt: Prompt, reply: RemoteReply, attempts: int, latency_ms: float) -> Answer:
        """A reply as an answer. Where the service counts no tokens, they are counted here."""
        if reply.finish == "tool_calls" and prompt.tools is None:
            why = "a tool call in place of an answer, and no tools were offered"
            kind = FailureKind.UNANSWERED
            reply = replace(reply, text="", finish="failed", failure=why, failure_kind=kind)
        read, written = reply.prompt_tokens, reply.completion_tokens
        if read is None:
            tools = () if prompt.tools is None else tuple(prompt.tools.definitions)
            (read,) = self._counter([Row("", prompt.messages, tools=tools)])
        if written is None:
            said = f"{reply.thought or ''}{reply.text}"
            (written,) = self._counter([Row("", (Message("assistant", said),))])
        return Answer(
            row_id=prompt.row_id,
            text=reply.text,
            prompt_tokens=read,
            completion_tokens=written,
            latency_ms=latency_ms,
            finish=reply.finish,
            failure=reply.failure,
            cached_prompt_tokens=reply.cached_prompt_tokens,
            attempts=attempts,
            repeat=prompt.repeat,
            logprob=reply.logprob,
            batched=self.spec.batch,
            thought=reply.thought,
            thought_tokens=reply.thought_tokens,
            failure_kind=reply.failure_kind,
            # most services repeat the name that they were asked by, which says nothing
            served_by="" if reply.served_by == self.spec.model else reply.served_by,
            system_fingerprint=reply.system_fingerprint,
        )

    def charge(self, request: PricedRequest, reply: RemoteReply) -> Charge:
        """The bill of an answered call; the most that it can be where the service counts no tokens."""
        read, written = reply.prompt_tokens, reply.completion_tokens
        usd = request.most_usd
        if self.spending is not None and read is not None and written is not None:
            usd = self.spending.cost(read, written, reply.cached_prompt_tokens, batched=self.spec.batch)
        return Charge(usd, 1, read, written)

    @cached_property
    def _most_tokens(self) -> Callable[[Sequence[Message]], int]:
        return prompt_bound(self.spec.model)

    @cached_property
    def _counter(self) -> Callable[[Sequence[Row]], list[int]]:
        return hosted_counter(DEFAULT_ENCODING)  # reading an encoding takes 50 ms


# --------------------------------------------------------------------------- reading a reply
def _else_none(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError:
        return None


FieldT = TypeVar("FieldT")
OrNone: TypeAlias = Annotated[FieldT | None, WrapValidator(_else_none)]
TokenCount: TypeAlias = OrNone[Annotated[int, Field(ge=0, le=LARGEST)]]


class _Usage(BaseModel):
    prompt_tokens: TokenCount = None
    completion_tokens: TokenCount = None
    prompt_tokens_details: OrNone[dict[str, TokenCount]] = None
    completion_tokens_details: OrNone[dict[str, TokenCount]] = None
    reasoning_tokens: TokenCount = None  # SGLang's place for it


class _Token(BaseModel):
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Token] | None = None  # of a chat
    token_logprobs: list[float | None] | None = None  # of a completion; the first token may have none


class _Part(BaseModel):
    """A part of a message's content: text, a refusal, or (Mistral) a thought that is a list of texts."""

    text: OrNone[str] = None
    refusal: OrNone[str] = None
    thinking: OrNone[str | list[_Part]] = None


class _Function(BaseModel):
    name: str
    arguments: OrNone[str | dict[str, Json]] = None  # Ollama's own API gives an object


class _Called(BaseModel):
    function: _Function

    @property
    def call(self) -> ToolCall:
        """It, with its arguments as text."""
        given = self.function.arguments
        return ToolCall("", self.function.name, given if isinstance(given, str) else json.dumps(given or {}))


class _ChatMessage(BaseModel):
    content: str | list[_Part] | None = None
    refusal: OrNone[str] = None
    reasoning_content: OrNone[str] = None  # SGLang, DeepSeek, llama.cpp; vLLM until 0.11
    reasoning: OrNone[str] = None  # vLLM, OpenRouter, Groq, Ollama
    tool_calls: OrNone[list[_Called]] = None

    @property
    def text(self) -> str | None:
        """The answer's text; None where the service gives none."""
        if not isinstance(self.content, list):
            return self.content
        texts = [part.text for part in self.content if part.text is not None]
        return "".join(texts) if texts else None

    @property
    def thought(self) -> str | None:
        """What the service gives apart from the answer."""
        parts = self.content if isinstance(self.content, list) else []
        inside = [
            part.thinking
            if isinstance(part.thinking, str)
            else "".join(one.text or "" for one in part.thinking)
            for part in parts
            if part.thinking is not None
        ]
        return self.reasoning_content or self.reasoning or "\n\n".join(inside) or None

    @property
    def refused(self) -> str | None:
        """The service's words where it refuses."""
        parts = self.content if isinstance(self.content, list) else []
        return self.refusal or next((part.refusal for part in parts if part.refusal), None)


class _ChatChoice(BaseModel):
    message: _ChatMessage
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _TextChoice(BaseModel):
    text: str
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


ChoiceT = TypeVar("ChoiceT", _ChatChoice, _TextChoice)


class _Body(BaseModel, Generic[ChoiceT]):
    choices: list[ChoiceT] = Field(min_length=1)
    usage: OrNone[_Usage] = None
    model: OrNone[str] = None
    system_fingerprint: OrNone[str] = None


def read_reply(content: bytes, *, completions: bool) -> RemoteReply:
    """The answer in a response's body; ``CallFailed`` where that breaks the promises of the interface."""
    try:
        form = _Body[_TextChoice] if completions else _Body[_ChatChoice]
        body = form.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        reason = f"malformed answer: {place}: {first['msg']}"
        raise CallFailed(reason, CallVerdict(retry=True), unbilled=False) from None
    choice, usage = body.choices[0], body.usage or _Usage()
    finish, failure = choice.finish_reason or "", None
    given = choice.logprobs or _Logprobs()
    logprobs = [token.logprob for token in given.content or ()]
    logprobs += [logprob for logprob in given.token_logprobs or () if logprob is not None]
    kind: FailureKind | None = None
    message = choice.message if isinstance(choice, _ChatChoice) else _ChatMessage(content=choice.text)
    text, thought = message.text, message.thought
    if not text and message.refused is not None:
        kind, failure = FailureKind.REFUSED, f"refused: {message.refused}"
    elif finish in _FILTERED:
        kind, failure = FailureKind.WITHHELD, "withheld by the service's content filter"
    elif finish in _BROKEN_OFF:
        kind, failure = FailureKind.ERROR, f"broken off by the service (finish_reason {finish!r})"
    elif message.tool_calls:
        text = called(text or "", [one.call for one in message.tool_calls])
    elif text is None and not thought and finish not in _AT_THE_LIMIT:
        kind, failure = FailureKind.ERROR, f"no text in the answer (finish_reason {finish or 'missing'!r})"
    return RemoteReply(
        text="" if failure else text or "",
        finish="failed" if failure else _finish(finish, calls=bool(message.tool_calls)),
        failure=failure,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_prompt_tokens=(usage.prompt_tokens_details or {}).get("cached_tokens") or 0,
        logprob=sum(logprobs) / len(logprobs) if logprobs else None,
        thought=thought,
        thought_tokens=written if (written := _thought_tokens(usage)) else None,
        failure_kind=kind,
        served_by=body.model or "",
        system_fingerprint=body.system_fingerprint or "",
    )


def _finish(reason: str, *, calls: bool) -> Literal["stop", "length", "tool_calls"]:
    if reason in _AT_THE_LIMIT:
        return "length"
    return "tool_calls" if calls else "stop"


def _thought_tokens(usage: _Usage) -> int | None:
    return (usage.completion_tokens_details or {}).get("reasoning_tokens") or usage.reasoning_tokens


# --------------------------------------------------------------------------- reading an error
def failure_of(error: OpenAIError, scrub: Callable[[str], str]) -> CallFailed:
    """An error of the SDK as the outcome of a call; ``scrub`` takes the key out of a text."""
    from httpx2 import ProtocolError
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return CallFailed("timed out", CallVerdict(retry=True), unbilled=False)
    if isinstance(error, APIConnectionError):
        cause = error.__cause__
        # the text of a protocol error may quote headers, and so the key: its kind is enough
        text = type(cause).__name__ if isinstance(cause, ProtocolError) else scrub(str(cause or ""))
        reason = f"no connection: {text}" if text else "no connection"
        return CallFailed(reason, CallVerdict(retry=True), unbilled=False)
    if not isinstance(error, APIStatusError):
        reason = scrub(f"{type(error).__name__}: {error}")
        return CallFailed(reason, CallVerdict(retry=False), unbilled=False)
    status, verdict = error.status_code, verdict_of(error)
    body = error.body if isinstance(error.body, Mapping) else {}
    message = " ".join(str(body.get("message") or error.message).split())[:300]
    named = [f"{key} {value}" for key, value in (("code", error.code), ("param", error.param)) if value]
    text = f"{message} ({', '.join(named)})" if named else message
    waking_s = WAKING_S if error.code == WAKING else 0.0
    return CallFailed(
        scrub(f"HTTP {status}: {text}"),
        verdict,
        fatal=verdict.spent or status in _SAME_FOR_ALL,
        unbilled=status < 500 or verdict.throttled or waking_s > 0,
        waking_s=waking_s,
        unknown_model=status == 404 and _NAMES_A_MODEL.search(text) is not None,
    )
