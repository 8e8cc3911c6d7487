"""``/v1/chat/completions`` and ``/v1/completions``: checked bodies in, the SDK's response models out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as CompletionParams

from harness.records import Json, Message, Row
from harness.testing.fake_openai.backend import Backend, FakeReply, Question
from harness.testing.fake_openai.catalogue import Catalogue, FakeModel
from harness.testing.fake_openai.refusals import (
    HTTPRefusal,
    checked,
    text_of,
    unsupported,
)
from harness.testing.fake_openai.store import FakeStore, FakeTunedModel, new_id, now
from harness.testing.fake_openai.structured_output import ANY_OBJECT, require_valid

DEFAULT_MAX_TOKENS = 512  # a small model may never stop; the real service would let it run to its limit
# what the service has and the models here lack; n and best_of may be 1
UNSUPPORTED = (
    *("n", "best_of", "tools", "functions", "audio", "prediction", "reasoning_effort", "logit_bias"),
)


class Completions:
    """Answers requests with the model that they name; ``weights`` is the folder of tuned weights."""

    def __init__(self, store: FakeStore, backend: Backend, catalogue: Catalogue, weights: Path) -> None:
        self._store, self._backend, self._catalogue, self._weights = store, backend, catalogue, weights

    def model(self, name: str) -> tuple[FakeModel, FakeTunedModel | None]:
        """The model of that name, and its weights if it is tuned.

        Raises:
            HTTPRefusal: there is none, or it is retired; a tuned model is retired with its base.
        """
        tuned = self._store.find(FakeTunedModel, name)
        model = self._catalogue.find(tuned.base if tuned else name)
        return (replace(model, name=name) if tuned else model), tuned

    def chat(self, body: Json) -> ChatCompletion:
        """Answer a chat.

        Raises:
            HTTPRefusal: for the reasons of the service.
        """
        params = checked(ChatParams, body)
        limits = [name for name in ("max_completion_tokens", "max_tokens") if params.get(name) is not None]
        if len(limits) > 1:
            message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
            raise HTTPRefusal(400, message, "max_tokens", "invalid_parameter_combination")
        top = params.get("top_logprobs")
        if top is not None and not params.get("logprobs"):
            message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
            raise HTTPRefusal(400, message, "top_logprobs")
        schema: Mapping[str, Json] | None = None
        form = params.get("response_format")
        if form is not None and form["type"] == "json_schema":
            schema = form["json_schema"].get("schema", {})
            require_valid(schema, form["json_schema"]["name"], bool(form["json_schema"].get("strict")))
        elif form is not None and form["type"] == "json_object":
            schema = ANY_OBJECT
        messages = tuple(
            Message(message["role"], text_of(message.get("content"), f"messages[{k}].content"))
            for k, message in enumerate(params["messages"])
        )
        question = self._question(params, messages, limits[0] if limits else "max_completion_tokens")
        wanted = (top or 0) if params.get("logprobs") else None
        reply = self._backend.reply(replace(question, top_logprobs=wanted, schema=schema))
        reply = stopped(reply, params.get("stop"))
        logprobs: Json = None
        if reply.tokens is not None:
            content: list[Json] = [
                {
                    **_token(token.text, token.logprob),
                    "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
                }
                for token in reply.tokens
            ]
            logprobs = {"content": content, "refusal": None}
        said: Json = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": said, "finish_reason": reply.finish, "logprobs": logprobs}
        shown = self._shown("chatcmpl-", "chat.completion", params, reply)
        return ChatCompletion.model_validate({**shown, "choices": [choice]})

    def complete(self, body: Json) -> Completion:
        """Complete a prompt.

        Raises:
            HTTPRefusal: for the reasons of the service.
        """
        params = checked(CompletionParams, body)
        prompt = params.get("prompt")
        if not isinstance(prompt, str):
            raise unsupported("prompt")
        question = self._question(params, (Message("user", prompt),), "max_tokens")
        reply = self._backend.reply(replace(question, completions=True, top_logprobs=params.get("logprobs")))
        reply = stopped(reply, params.get("stop"))
        logprobs: Json = None
        if reply.tokens is not None:
            texts = [token.text for token in reply.tokens]
            logprobs = {
                "tokens": list(texts),
                "token_logprobs": [token.logprob for token in reply.tokens],
                "top_logprobs": [dict(token.top) for token in reply.tokens],
                "text_offset": [sum(map(len, texts[:k])) for k in range(len(texts))],
            }
        choice = {"index": 0, "text": reply.text, "finish_reason": reply.finish, "logprobs": logprobs}
        shown = self._shown("cmpl-", "text_completion", params, reply)
        return Completion.model_validate({**shown, "choices": [choice]})

    def _question(
        self, params: ChatParams | CompletionParams, messages: tuple[Message, ...], limit: str
    ) -> Question:
        """What the backend is asked; ``limit`` names the parameter that bounds the reply."""
        model, tuned = self.model(params["model"])
        takes_prompts = "prompt" in params
        if model.completions != takes_prompts:
            endpoint = "v1/chat/completions" if takes_prompts else "v1/completions"
            raise HTTPRefusal(404, f"This model is not supported in this endpoint. Use {endpoint}.", "model")
        for name in UNSUPPORTED:
            if params.get(name) and params.get(name) != 1:
                raise unsupported(name)
        given = params.get(limit)
        max_tokens = given if isinstance(given, int) else DEFAULT_MAX_TOKENS
        if max_tokens > model.max_output_tokens:
            message = f"{limit} is too large: {max_tokens}. This model supports {model.max_output_tokens}."
            raise HTTPRefusal(400, message, limit, "invalid_value")
        prompt_tokens = self._backend.count(Row("question", messages))
        if prompt_tokens + max_tokens > model.context_tokens:
            message = (
                f"This model's maximum context length is {model.context_tokens} tokens. However, the messages"
                f" have {prompt_tokens} tokens, and {max_tokens} are requested for the completion."
            )
            raise HTTPRefusal(400, message, "messages", "context_length_exceeded")
        temperature, top_p = params.get("temperature"), params.get("top_p")
        return Question(
            model=tuned.base if tuned else model.name,
            weights=self._weights / tuned.weights if tuned else None,
            messages=messages,
            max_tokens=max_tokens,
            temperature=1.0 if temperature is None else temperature,
            top_p=1.0 if top_p is None else top_p,
            seed=params.get("seed"),
        )

    def _shown(
        self, prefix: str, kind: str, params: ChatParams | CompletionParams, reply: FakeReply
    ) -> dict[str, Json]:
        """The fields that both responses share."""
        return {
            "id": new_id(prefix),
            "object": kind,
            "created": now(),
            "model": self.model(params["model"])[0].name,
            "system_fingerprint": "fp_fake",
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "total_tokens": reply.prompt_tokens + reply.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": reply.cached_tokens, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        }


def stopped(reply: FakeReply, stop: str | Iterable[str] | None) -> FakeReply:
    """The reply up to the first stop sequence. Tokens generated after it are not billed."""
    sequences = [stop] if isinstance(stop, str) else stop or ()
    ends = [reply.text.find(sequence) for sequence in sequences if sequence in reply.text]
    if not ends:
        return reply
    text = reply.text[: min(ends)]
    if reply.tokens is None:  # the text's share of the tokens is billed
        billed = max(1, round(reply.completion_tokens * len(text) / len(reply.text)))
        return replace(reply, text=text, completion_tokens=billed, finish="stop")
    tokens, length = [], 0
    for token in reply.tokens:
        if length >= len(text):
            break
        tokens.append(token)
        length += len(token.text)
    return replace(reply, text=text, completion_tokens=len(tokens), finish="stop", tokens=tuple(tokens))


def _token(text: str, logprob: float) -> dict[str, Json]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
