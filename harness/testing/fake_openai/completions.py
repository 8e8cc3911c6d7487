"""``/v1/chat/completions`` and ``/v1/completions``: checked bodies in, the SDK's response models out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as CompletionParams

from harness.records import Json, Message, Row
from harness.testing.fake_openai.backend import Backend, FakeReply, Question
from harness.testing.fake_openai.catalogue import CONTEXT_TOKENS, MAX_OUTPUT_TOKENS, Catalogue, FakeModel
from harness.testing.fake_openai.refusals import HTTPRefusal, checked, text_of, unsupported
from harness.testing.fake_openai.store import FakeStore, FakeTunedModel, new_id, now
from harness.testing.fake_openai.structured_output import require_valid

DEFAULT_MAX_TOKENS = 512  # a small model may never stop; the real service would let it run to its limit
# what the service has and the models here lack; n and best_of may be 1
UNSUPPORTED = (
    *("n", "best_of", "stop", "top_logprobs", "tools", "functions", "audio", "prediction"),
    *("reasoning_effort", "logit_bias"),
)


class Completions:
    """Answers requests with the model that they name; ``weights`` is the folder of tuned weights."""

    def __init__(self, store: FakeStore, backend: Backend, catalogue: Catalogue, weights: Path) -> None:
        self._store, self._backend, self._catalogue, self._weights = store, backend, catalogue, weights

    def model(self, name: str) -> tuple[FakeModel, FakeTunedModel | None]:
        """The model of that name, and its weights if it is tuned; it is retired with its base."""
        tuned = self._store.find(FakeTunedModel, name)
        model = self._catalogue.find(tuned.base if tuned else name)
        return (replace(model, name=name) if tuned else model), tuned

    def chat(self, body: Json) -> ChatCompletion:
        """Answer a chat."""
        params = checked(ChatParams, body)
        schema: Mapping[str, Json] | None = None
        form = params.get("response_format")
        if form is not None and form["type"] == "json_schema":
            schema = form["json_schema"].get("schema", {})
            require_valid(schema, form["json_schema"]["name"], bool(form["json_schema"].get("strict")))
        elif form is not None and form["type"] != "text":
            raise unsupported("response_format.type")
        messages = tuple(
            Message(message["role"], text_of(message.get("content"), f"messages[{k}].content"))
            for k, message in enumerate(params["messages"])
        )
        reply = self._reply(params, messages, bool(params.get("logprobs")), schema)
        logprobs: Json = None
        if reply.tokens is not None:
            content: list[Json] = [
                {"token": token.text, "logprob": token.logprob, "top_logprobs": []} for token in reply.tokens
            ]
            logprobs = {"content": content}
        said: Json = {"role": "assistant", "content": reply.text}
        choice: Json = {"index": 0, "message": said, "finish_reason": reply.finish, "logprobs": logprobs}
        return ChatCompletion.model_validate(self._shown("chat.completion", params, reply, choice))

    def complete(self, body: Json) -> Completion:
        """Complete a prompt."""
        params = checked(CompletionParams, body)
        prompt = params.get("prompt")
        if not isinstance(prompt, str):
            raise unsupported("prompt")
        reply = self._reply(params, (Message("user", prompt),), params.get("logprobs") is not None, None)
        logprobs: Json = None
        if reply.tokens is not None:
            logprobs = {
                "tokens": [token.text for token in reply.tokens],
                "token_logprobs": [token.logprob for token in reply.tokens],
            }
        choice: Json = {"index": 0, "text": reply.text, "finish_reason": reply.finish, "logprobs": logprobs}
        return Completion.model_validate(self._shown("text_completion", params, reply, choice))

    def _reply(
        self,
        params: ChatParams | CompletionParams,
        messages: tuple[Message, ...],
        logprobs: bool,
        schema: Mapping[str, Json] | None,
    ) -> FakeReply:
        model, tuned = self.model(params["model"])
        takes_prompts = "prompt" in params
        if model.completions != takes_prompts:
            endpoint = "v1/chat/completions" if takes_prompts else "v1/completions"
            raise HTTPRefusal(404, f"This model is not supported in this endpoint. Use {endpoint}.", "model")
        for name in UNSUPPORTED:
            if params.get(name) and params.get(name) != 1:
                raise unsupported(name)
        limit = "max_completion_tokens" if params.get("max_completion_tokens") else "max_tokens"
        given = params.get(limit)
        max_tokens = given if isinstance(given, int) else DEFAULT_MAX_TOKENS
        if max_tokens > MAX_OUTPUT_TOKENS:
            message = f"{limit} is too large: {max_tokens}. This model supports {MAX_OUTPUT_TOKENS}."
            raise HTTPRefusal(400, message, limit, "invalid_value")
        prompt_tokens = self._backend.count(Row("question", messages))
        if prompt_tokens + max_tokens > CONTEXT_TOKENS:
            message = (
                f"This model's maximum context length is {CONTEXT_TOKENS} tokens. However, the messages"
                f" have {prompt_tokens} tokens, and {max_tokens} are requested for the completion."
            )
            raise HTTPRefusal(400, message, "messages", "context_length_exceeded")
        temperature, top_p = params.get("temperature"), params.get("top_p")
        question = Question(
            model=tuned.base if tuned else model.name,
            weights=self._weights / tuned.weights if tuned else None,
            messages=messages,
            max_tokens=max_tokens,
            temperature=1.0 if temperature is None else temperature,
            top_p=1.0 if top_p is None else top_p,
            seed=params.get("seed"),
            logprobs=logprobs,
            schema=schema,
        )
        return self._backend.reply(question)

    def _shown(
        self, kind: str, params: ChatParams | CompletionParams, reply: FakeReply, choice: Json
    ) -> dict[str, Json]:
        return {
            "id": new_id("cmpl-" if kind == "text_completion" else "chatcmpl-"),
            "object": kind,
            "created": now(),
            "model": self.model(params["model"])[0].name,
            "choices": [choice],
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "total_tokens": reply.prompt_tokens + reply.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
            },
        }
