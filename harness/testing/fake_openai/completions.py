"""``/v1/chat/completions`` and ``/v1/completions``: checked bodies in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.records import Json, Message, Row
from harness.testing.fake_openai.answer_requests import (
    CHAT,
    COMPLETION,
    MOST_COMPLETION_LOGPROBS,
    MOST_TOP_LOGPROBS,
    max_tokens_of,
    messages_of,
    require_supported,
    stops_of,
)
from harness.testing.fake_openai.backend import Backend, Question, Reply, Token
from harness.testing.fake_openai.catalogue import Catalogue, TwinModel
from harness.testing.fake_openai.parameters import (
    Body,
    boolean,
    decimal,
    integer,
    kind_of,
    metadata,
    require_known,
    required,
    required_text,
)
from harness.testing.fake_openai.records import TunedModel
from harness.testing.fake_openai.refusals import Refusal, wrong_type
from harness.testing.fake_openai.schemas import schema_of
from harness.testing.fake_openai.store import Store, new_id


class Completions:
    """Answers requests by the model that they name.

    Args:
        store: where tuned models are found.
        backend: what answers.
        catalogue: the models that are not tuned.
        weights: the folder below which tuned weights lie.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        backend: Backend,
        catalogue: Catalogue,
        weights: Path,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._backend, self._catalogue = store, backend, catalogue
        self._weights, self._clock = weights, clock

    def model(self, name: str) -> tuple[TwinModel, TunedModel | None]:
        """The model of that name, and whose weights it has.

        Raises:
            Refusal: there is none, or it is retired.
        """
        tuned = self._store.find(TunedModel, name)
        if tuned is None:
            return self._catalogue.find(name), None
        return self._catalogue.tuned(name, tuned.base), tuned

    def chat(self, body: Body) -> dict[str, Json]:
        """Answer a chat.

        Raises:
            Refusal: as the service refuses.
        """
        require_known(body, CHAT)
        model, tuned = self.model(required_text(body, "model"))
        if model.completions:
            message = (
                "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you"
                " mean to use v1/completions?"
            )
            raise Refusal(404, message, "model")
        require_supported(body)
        metadata(body)
        messages = messages_of(body)
        top = integer(body, "top_logprobs", 0, MOST_TOP_LOGPROBS)
        if top is not None and not boolean(body, "logprobs"):
            message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
            raise Refusal(400, message, "top_logprobs")
        schema = schema_of(body)
        most = max_tokens_of(body, model, ("max_completion_tokens", "max_tokens"))
        question = self._question(body, model, tuned, messages, most)
        wanted = (top or 0) if boolean(body, "logprobs") else None
        question = replace(question, top_logprobs=wanted, schema=schema)
        reply = stopped(self._backend.reply(question), stops_of(body))
        return self._shown("chatcmpl-", "chat.completion", model, reply, _chat_choice(reply))

    def completion(self, body: Body) -> dict[str, Json]:
        """Complete a prompt.

        Raises:
            Refusal: as the service refuses.
        """
        require_known(body, COMPLETION)
        model, tuned = self.model(required_text(body, "model"))
        if not model.completions:
            message = (
                "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use"
                " v1/chat/completions?"
            )
            raise Refusal(404, message, "model")
        require_supported(body)
        prompt = required(body, "prompt")
        if not isinstance(prompt, str):
            raise wrong_type("prompt", "a string", kind_of(prompt))
        most = max_tokens_of(body, model, ("max_tokens",))
        question = self._question(body, model, tuned, (Message("user", prompt),), most)
        top = integer(body, "logprobs", 0, MOST_COMPLETION_LOGPROBS)
        question = replace(question, completions=True, top_logprobs=top)
        reply = stopped(self._backend.reply(question), stops_of(body))
        choice: dict[str, Json] = {
            "index": 0,
            "text": reply.text,
            "finish_reason": reply.finish,
            "logprobs": _completion_logprobs(reply.tokens) if reply.tokens is not None else None,
        }
        return self._shown("cmpl-", "text_completion", model, reply, choice)

    def _question(
        self,
        body: Body,
        model: TwinModel,
        tuned: TunedModel | None,
        messages: tuple[Message, ...],
        max_tokens: int,
    ) -> Question:
        asked = self._backend.count(Row("asked", messages))
        if asked + max_tokens > model.context_tokens:
            message = (
                f"This model's maximum context length is {model.context_tokens} tokens. However, you"
                f" requested {asked + max_tokens} tokens ({asked} in the messages, {max_tokens} in the"
                " completion). Please reduce the length of the messages or completion."
            )
            raise Refusal(400, message, "messages", "context_length_exceeded")
        temperature, top_p = decimal(body, "temperature", 0.0, 2.0), decimal(body, "top_p", 0.0, 1.0)
        return Question(
            model=tuned.base if tuned else model.name,
            weights=self._weights / tuned.weights if tuned else None,
            messages=messages,
            max_tokens=max_tokens,
            temperature=1.0 if temperature is None else temperature,
            top_p=1.0 if top_p is None else top_p,
            seed=integer(body, "seed", -(2**63), 2**63 - 1),
        )

    def _shown(
        self, prefix: str, kind: str, model: TwinModel, reply: Reply, choice: dict[str, Json]
    ) -> dict[str, Json]:
        return {
            "id": new_id(prefix),
            "object": kind,
            "created": int(self._clock()),
            "model": model.name,
            "choices": [choice],
            "system_fingerprint": "fp_twin",
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "total_tokens": reply.prompt_tokens + reply.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        }


def stopped(reply: Reply, stops: Sequence[str]) -> Reply:
    """The reply up to the first stop sequence. What was generated after it is not billed."""
    ends = [reply.text.find(stop) for stop in stops if stop in reply.text]
    if not ends:
        return reply
    kept = reply.text[: min(ends)]
    tokens, length = [], 0
    for token in reply.tokens or ():
        if length >= len(kept):
            break
        tokens.append(token)
        length += len(token.text)
    share = len(kept) / len(reply.text)
    return replace(
        reply,
        text=kept,
        completion_tokens=len(tokens) if reply.tokens else max(1, round(reply.completion_tokens * share)),
        finish="stop",
        tokens=None if reply.tokens is None else tuple(tokens),
    )


def _chat_choice(reply: Reply) -> dict[str, Json]:
    content = None if reply.tokens is None else [_shown_token(token) for token in reply.tokens]
    return {
        "index": 0,
        "message": {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []},
        "finish_reason": reply.finish,
        "logprobs": None if content is None else {"content": content, "refusal": None},
    }


def _shown_token(token: Token) -> dict[str, Json]:
    top = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in token.top]
    return {
        "token": token.text,
        "logprob": token.logprob,
        "bytes": list(token.text.encode()),
        "top_logprobs": top,
    }


def _completion_logprobs(tokens: Sequence[Token]) -> dict[str, Json]:
    offsets, at = [], 0
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [dict(token.top) for token in tokens],
        "text_offset": offsets,
    }
