"""The models on offer, each with a lifetime of its own, and their answers as the SDK's response models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from openai.types import Completion
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as CompletionParams

from harness.records import Json, Message, Row, ToolCall, called
from harness.testing.fake_openai.backend import Backend, FakeReply, Question
from harness.testing.fake_openai.refusals import HTTPRefusal, checked, require_valid, text_of, unsupported
from harness.testing.fake_openai.store import FakeStore, FakeTunedModel, new_id, now
from harness.training.hosted.lifetimes import today

CHAT = "smollm2-135m-2026-01-01"
CLOSING = "smollm2-135m-2025-07-01"
CLOSED_TO_TUNING = "smollm2-135m-2025-01-01"
RETIRED = "smollm2-135m-2024-07-01"
COMPLETIONS = "smollm2-135m-completion-2026-01-01"
ALIAS = "smollm2-135m"
CONTEXT_TOKENS = 8_192  # of prompt and reply together, and of a training row
MAX_OUTPUT_TOKENS = 4_096
DEFAULT_MAX_TOKENS = 512  # a small model may never stop; the real service would let it run to its limit
# what the service has and the models here lack; n and best_of may be 1
UNSUPPORTED = (
    *("n", "best_of", "stop", "top_logprobs", "functions", "audio", "prediction"),
    *("reasoning_effort", "logit_bias"),
)


def _said(message: Mapping[str, Any], at: str) -> str:
    """A turn's text, with the calls that it makes."""
    text = text_of(message.get("content"), at)
    made = [call["function"] for call in message.get("tool_calls") or ()]
    return called(text, [ToolCall("", one["name"], one["arguments"]) for one in made]) if made else text


def _calls(text: str) -> list[Json]:
    """The calls that a reply has learnt to make (`records.called`), in the service's form."""
    try:
        listed = json.loads(text)
    except ValueError:
        return []
    made = listed if isinstance(listed, list) else []
    return [
        {
            "id": new_id("call_"),
            "type": "function",
            "function": {"name": one["name"], "arguments": json.dumps(one["arguments"])},
        }
        for one in made
        if isinstance(one, dict) and one.keys() == {"name", "arguments"}
    ]


@dataclass(frozen=True, slots=True)
class FakeModel:
    """A model, which takes messages or (``completions``) prompts, until the day ``shutdown``."""

    name: str
    completions: bool = False
    tunable: bool = True
    shutdown: date | None = None

    @property
    def is_retired(self) -> bool:
        """Whether its last day has passed."""
        return self.shutdown is not None and self.shutdown <= today()


class ServedModels:
    """One current model, one that closes soon, one closed to tuning, one retired, tuned ones, and aliases.

    ``weights`` is the folder of tuned weights.
    """

    def __init__(self, store: FakeStore, backend: Backend, aliases: Iterable[str], weights: Path) -> None:
        self._store, self._backend, self._weights = store, backend, weights
        chat = FakeModel(CHAT, shutdown=date(2036, 1, 1))
        self._models = {
            CHAT: chat,
            ALIAS: chat,
            COMPLETIONS: replace(chat, name=COMPLETIONS, completions=True),
            CLOSING: replace(chat, name=CLOSING, shutdown=today() + timedelta(days=30)),
            CLOSED_TO_TUNING: replace(chat, name=CLOSED_TO_TUNING, tunable=False),
            RETIRED: replace(chat, name=RETIRED, shutdown=date(2025, 7, 1)),
        }
        self.add_aliases(aliases)

    def add_aliases(self, names: Iterable[str]) -> None:
        """Offer models under these names too; ``babbage-`` and ``davinci-`` take prompts, others messages."""
        for name in names:
            takes_prompts = name.startswith(("babbage-", "davinci-"))
            self._models.setdefault(name, FakeModel(name, completions=takes_prompts))

    def offered(self) -> list[str]:
        """All names of those that are not retired."""
        return [name for name, model in self._models.items() if not model.is_retired]

    def tunable(self, name: str) -> FakeModel:
        """The model of that name, if it accepts new jobs."""
        model = self._models.get(name)
        if model is None or not model.tunable or model.is_retired:
            message = f"Model {name} is not available for fine-tuning or does not exist."
            raise HTTPRefusal(400, message, "model", "model_not_available")
        return model

    def find(self, name: str) -> tuple[FakeModel, FakeTunedModel | None]:
        """The model of that name, and its weights if it is tuned; an alias gives its snapshot."""
        tuned = self._store.find(FakeTunedModel, name)
        model = self._models.get(tuned.base if tuned else name)
        if model is None or model.is_retired:  # a tuned model is retired with its base
            reason = "does not exist or you do not have access to it"
            if model is not None:
                reason = "has been deprecated: https://platform.openai.com/docs/deprecations"
            raise HTTPRefusal(404, f"The model `{name}` {reason}.", "model", "model_not_found")
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
            Message(
                message["role"], _said(message, text_of(message.get("content"), f"messages[{k}].content"))
            )
            for k, message in enumerate(params["messages"])
        )
        reply, shown = self._answered(params, messages, bool(params.get("logprobs")), schema)
        logprobs: Json = None
        if reply.tokens is not None:
            content: list[Json] = [
                {"token": token.text, "logprob": token.logprob, "top_logprobs": []} for token in reply.tokens
            ]
            logprobs = {"content": content}
        said: dict[str, Json] = {"role": "assistant", "content": reply.text}
        calls = _calls(reply.text) if params.get("tools") else []
        finish = "tool_calls" if calls else reply.finish
        if calls:
            said = {"role": "assistant", "content": None, "tool_calls": calls}
        choice: Json = {"index": 0, "message": said, "finish_reason": finish, "logprobs": logprobs}
        return ChatCompletion.model_validate({**shown, "object": "chat.completion", "choices": [choice]})

    def complete(self, body: Json) -> Completion:
        """Complete a prompt."""
        params = checked(CompletionParams, body)
        prompt = params.get("prompt")
        if not isinstance(prompt, str):
            raise unsupported("prompt")
        wants_logprobs = params.get("logprobs") is not None
        reply, shown = self._answered(params, (Message("user", prompt),), wants_logprobs)
        logprobs: Json = None
        if reply.tokens is not None:
            logprobs = {
                "tokens": [token.text for token in reply.tokens],
                "token_logprobs": [token.logprob for token in reply.tokens],
            }
        choice: Json = {"index": 0, "text": reply.text, "finish_reason": reply.finish, "logprobs": logprobs}
        return Completion.model_validate({**shown, "object": "text_completion", "choices": [choice]})

    def _answered(
        self,
        params: ChatParams | CompletionParams,
        messages: tuple[Message, ...],
        logprobs: bool,
        schema: Mapping[str, Json] | None = None,
    ) -> tuple[FakeReply, dict[str, Json]]:
        """The reply, and the fields that both kinds of responses share."""
        model, tuned = self.find(params["model"])
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
        reply = self._backend.reply(question)
        return reply, {
            "id": new_id("chatcmpl-"),
            "created": now(),
            "model": model.name,
            "usage": {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "total_tokens": reply.prompt_tokens + reply.completion_tokens,
                "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
            },
        }
