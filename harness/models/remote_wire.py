"""What is sent to an OpenAI-compatible service, and what comes back, checked before it is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from harness.models.protocol import Decoding
from harness.models.remote_calls import CallFailed
from harness.models.retry import verdict_of
from harness.records import Json, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai import APIStatusError, OpenAIError

# They think before they answer, take max_completion_tokens in place of max_tokens, and no temperature
_REASONING = re.compile(r"(ft:)?(o\d|gpt-5)")
_SAME_FOR_ALL = (401, 403, 404)  # a wrong key, or a model that is not there
_NAMES_A_MODEL = re.compile("model|deployment", re.IGNORECASE)  # and not a path that is not there
SCHEMA_NAME = "answer"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as the service gave it. Token counts are None where it gives none."""

    text: str
    finish: str
    failure: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_prompt_tokens: int
    logprob: float | None


# --------------------------------------------------------------------------- sending
def chat_body(
    model: str, messages: Sequence[Message], decoding: Decoding, *, repeat: int, logprobs: bool
) -> dict[str, Json]:
    """The body of ``POST /chat/completions``."""
    body: dict[str, Json] = {"model": model, "messages": [_turn(message) for message in messages]}
    if _REASONING.match(model):
        return {**body, "max_completion_tokens": decoding.max_new_tokens}
    body |= {"max_tokens": decoding.max_new_tokens, **_drawing(decoding, repeat)}
    return {**body, "logprobs": True} if logprobs else body


def response_format(schema: Mapping[str, Json]) -> dict[str, Json]:
    """What binds a chat's answer to a JSON schema (structured outputs, strict)."""
    return {"type": "json_schema", "json_schema": {"name": SCHEMA_NAME, "strict": True, "schema": schema}}


def completion_body(
    model: str, messages: Sequence[Message], decoding: Decoding, *, repeat: int, logprobs: bool
) -> dict[str, Json]:
    """The body of ``POST /completions``: the turns' texts as one prompt."""
    body: dict[str, Json] = {"model": model, "prompt": as_prompt(messages)}
    body |= {"max_tokens": decoding.max_new_tokens, **_drawing(decoding, repeat)}
    return {**body, "logprobs": 0} if logprobs else body


def as_prompt(messages: Sequence[Message]) -> str:
    """Turns as one text, for a model that takes no messages; a single user turn is its own text."""
    return "\n\n".join(message.content for message in messages)


def _turn(message: Message) -> dict[str, Json]:
    turn: dict[str, Json] = {"role": message.role, "content": message.content}
    return turn if message.name is None else {**turn, "name": message.name}


def _drawing(decoding: Decoding, repeat: int) -> dict[str, Json]:
    drawn: dict[str, Json] = {"temperature": decoding.temperature}
    if decoding.temperature > 0:
        drawn |= {"top_p": decoding.top_p, "seed": decoding.seed + repeat}
    return drawn


# --------------------------------------------------------------------------- receiving
def _else_none(value: object, read: ValidatorFunctionWrapHandler) -> object:
    try:
        return read(value)
    except ValidationError:
        return None


Told = TypeVar("Told")
# an answer is not asked, and paid, again because its bill is not all there
OrNone: TypeAlias = Annotated[Told | None, WrapValidator(_else_none)]
Tokens: TypeAlias = OrNone[Annotated[int, Field(ge=0)]]


class _Details(BaseModel):
    cached_tokens: Tokens = None


class _Usage(BaseModel):
    prompt_tokens: Tokens = None
    completion_tokens: Tokens = None
    prompt_tokens_details: OrNone[_Details] = None


class _Token(BaseModel):
    logprob: float


class _ChatLogprobs(BaseModel):
    content: list[_Token] | None = None


class _Said(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _ChatChoice(BaseModel):
    message: _Said
    finish_reason: str | None = None
    logprobs: _ChatLogprobs | None = None


class _ChatBody(BaseModel):
    choices: list[_ChatChoice] = Field(min_length=1)
    usage: OrNone[_Usage] = None


class _TextLogprobs(BaseModel):
    token_logprobs: list[float | None] | None = None


class _TextChoice(BaseModel):
    text: str
    finish_reason: str | None = None
    logprobs: _TextLogprobs | None = None


class _TextBody(BaseModel):
    choices: list[_TextChoice] = Field(min_length=1)
    usage: OrNone[_Usage] = None


def read_reply(content: bytes, *, completions: bool) -> Reply:
    """The answer in a response's body.

    Raises:
        CallFailed: the body is not what the interface promises.
    """
    try:
        return _text_reply(content) if completions else _chat_reply(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise CallFailed(f"malformed answer: {place}: {first['msg']}", retry=True, unbilled=False) from None


def _chat_reply(content: bytes) -> Reply:
    body = _ChatBody.model_validate_json(content)
    choice = body.choices[0]
    text, finish, failure = choice.message.content, choice.finish_reason or "", None
    if text is None and choice.message.refusal is not None:
        failure = f"refused: {choice.message.refusal}"
    elif text is None and finish not in ("stop", "length", "content_filter"):
        failure = f"no text in the answer (finish_reason {finish or 'missing'!r})"
    logprobs = [token.logprob for token in (choice.logprobs and choice.logprobs.content) or ()]
    return _reply(text or "", finish, failure, body.usage, logprobs)


def _text_reply(content: bytes) -> Reply:
    body = _TextBody.model_validate_json(content)
    choice = body.choices[0]
    given = (choice.logprobs and choice.logprobs.token_logprobs) or ()
    logprobs = [logprob for logprob in given if logprob is not None]
    return _reply(choice.text, choice.finish_reason or "", None, body.usage, logprobs)


def _reply(
    text: str, finish: str, failure: str | None, usage: _Usage | None, logprobs: Sequence[float]
) -> Reply:
    if finish == "content_filter":
        failure = "withheld by the service's content filter"
    return Reply(
        text="" if failure else text,
        finish="failed" if failure else "length" if finish == "length" else "stop",
        failure=failure,
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        completion_tokens=None if usage is None else usage.completion_tokens,
        cached_prompt_tokens=_cached(usage),
        logprob=sum(logprobs) / len(logprobs) if logprobs else None,
    )


def _cached(usage: _Usage | None) -> int:
    details = None if usage is None else usage.prompt_tokens_details
    return 0 if details is None else details.cached_tokens or 0


# --------------------------------------------------------------------------- failing
def failure_of(error: OpenAIError, scrub: Callable[[str], str], now: Callable[[], float]) -> CallFailed:
    """What an error of the SDK means for the call, told without secrets.

    Args:
        error: from one call.
        scrub: takes the key out of a text.
        now: the time as seconds since 1970, for a ``Retry-After`` that is a date.
    """
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APIStatusError):
        return _refused(error, scrub, now)
    if isinstance(error, APITimeoutError):
        return CallFailed("timed out", retry=True, unbilled=False)
    if isinstance(error, APIConnectionError):
        return CallFailed(f"no connection{_cause(error, scrub)}", retry=True, unbilled=False)
    return CallFailed(scrub(f"{type(error).__name__}: {error}"), retry=False, unbilled=False)


def _cause(error: OpenAIError, scrub: Callable[[str], str]) -> str:
    """What broke the connection. A protocol's error may quote headers, and so the key: its kind is enough."""
    from httpx2 import ProtocolError

    cause = error.__cause__
    if isinstance(cause, ProtocolError):
        return f": {type(cause).__name__}"
    return f": {scrub(str(cause))}" if cause is not None and str(cause) else ""


def _refused(error: APIStatusError, scrub: Callable[[str], str], now: Callable[[], float]) -> CallFailed:
    status, verdict = error.status_code, verdict_of(error, now)
    return CallFailed(
        scrub(f"HTTP {status}: {_said(error)}"),
        retry=verdict.retry,
        throttled=verdict.throttled,
        retry_after_s=verdict.retry_after_s,
        fatal=verdict.spent or status in _SAME_FOR_ALL,
        unbilled=status < 500 or verdict.throttled,
        unknown_model=status == 404 and _NAMES_A_MODEL.search(_said(error)) is not None,
    )


def _said(error: APIStatusError) -> str:
    """The service's own message, code and parameter."""
    body = error.body if isinstance(error.body, Mapping) else {}
    message = " ".join(str(body.get("message") or error.message).split())[:300]
    named = [f"{key} {value}" for key, value in (("code", error.code), ("param", error.param)) if value]
    return f"{message} ({', '.join(named)})" if named else message
