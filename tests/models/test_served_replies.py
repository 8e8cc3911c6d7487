"""Replies in the shapes of real services: what the answer is in each, and what is a failure.

Each shape passes through the official SDK's own response type, which keeps the fields that it does not know.
"""

from __future__ import annotations

import json

import pytest
from openai.types.chat import ChatCompletion

from harness.models.remote_wire import RemoteReply, read_reply
from harness.records import Answer, FailureKind
from harness.scoring.envelope import read_answer

JSON = '{"team": "sales"}'
Fields = dict[str, object]


def body(
    message: Fields, finish: str | None = "stop", usage: Fields | None = None, **choice: object
) -> bytes:
    """The JSON of a chat answer, as the SDK reads and writes it."""
    plain = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 80, "total_tokens": 89, **(usage or {})},
    }
    if isinstance(message.get("content"), str | None) and finish in KNOWN_FINISHES:
        return ChatCompletion.model_validate(plain).model_dump_json().encode()
    return json.dumps(plain).encode()


KNOWN_FINISHES = ("stop", "length", "tool_calls", "content_filter", "function_call")


def read(content: bytes) -> Answer:
    """The answer that is scored."""
    reply: RemoteReply = read_reply(content, completions=False)
    return read_answer(
        Answer(
            "r0",
            reply.text,
            reply.prompt_tokens or 0,
            reply.completion_tokens or 0,
            1.0,
            reply.finish,
            reply.failure,
            thought=reply.thought,
            thought_tokens=reply.thought_tokens,
            failure_kind=reply.failure_kind,
        )
    )


REASONED: Fields = {"completion_tokens_details": {"reasoning_tokens": 64, "accepted_prediction_tokens": 0}}
WHY = "Could be legal."


@pytest.mark.parametrize(
    ("content", "thought", "tokens"),
    [
        (body({"content": JSON, "refusal": None, "annotations": []}, usage=REASONED), None, 64),  # OpenAI
        (
            body({"content": JSON, "reasoning_content": WHY, "tool_calls": []}),
            WHY,
            37,
        ),  # vLLM to 0.11, SGLang
        (body({"content": JSON, "reasoning": WHY, "refusal": None}), WHY, 37),  # vLLM, Groq, Ollama
        (body({"content": f"<think>\n{WHY}\n</think>\n\n{JSON}"}), WHY, 37),  # vLLM without a parser
        (body({"content": JSON, "reasoning_content": WHY}, usage=REASONED), WHY, 64),  # DeepSeek
        (
            body(  # OpenRouter
                {
                    "content": JSON,
                    "refusal": None,
                    "reasoning": WHY,
                    "reasoning_details": [{"type": "reasoning.text", "text": WHY, "index": 0}],
                },
                native_finish_reason="completed",
                usage=REASONED,
            ),
            WHY,
            64,
        ),
        (
            body(  # Mistral
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": WHY}]},
                        {"type": "text", "text": JSON},
                    ]
                }
            ),
            WHY,
            37,
        ),
        (
            body({"content": JSON, "reasoning_content": WHY}, usage={"reasoning_tokens": 50}),
            WHY,
            50,
        ),  # SGLang
        (body({"content": JSON, "reasoning": None, "reasoning_content": None}), None, None),
        (body({"content": JSON, "refusal": ""}), None, None),  # some write an empty refusal
    ],
)
def test_a_thought_is_set_aside_wherever_a_service_puts_it(
    content: bytes, thought: str | None, tokens: int | None
) -> None:
    answer = read(content)
    assert (answer.text, answer.failure, answer.thought) == (JSON, None, thought)
    assert answer.completion_tokens == 80
    assert answer.thought_tokens == pytest.approx(tokens, abs=3) if tokens else answer.thought_tokens is None


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (
            body({"content": "", "refusal": None}, "length", REASONED),
            FailureKind.CUT,
        ),  # OpenAI, hidden thought
        (body({"content": None, "reasoning_content": WHY}, "length"), FailureKind.CUT),  # vLLM, SGLang
        (body({"content": None}, "length"), FailureKind.CUT),
        (body({"content": f"<think>\n{WHY}"}, "length"), FailureKind.CUT),
        (body({"content": "", "reasoning_content": WHY}, "length"), FailureKind.CUT),  # DeepSeek
        (body({"content": None}, "MAX_TOKENS"), FailureKind.CUT),  # Gemini
        (body({"content": None, "reasoning_content": JSON}), FailureKind.UNANSWERED),  # all read as a thought
        (body({"content": None}), FailureKind.ERROR),
        (body({"content": None}, None), FailureKind.ERROR),
        (body({"content": None, "refusal": "I can't help with that."}), FailureKind.REFUSED),
        (body({"content": [{"type": "refusal", "refusal": "No."}]}), FailureKind.REFUSED),
        (body({"content": None}, "content_filter"), FailureKind.WITHHELD),
        (body({"content": "Half of"}, "content_filter"), FailureKind.WITHHELD),
        (body({"content": ""}, "error", error={"code": 502}), FailureKind.ERROR),  # OpenRouter
        (body({"content": "Half of"}, "insufficient_system_resource"), FailureKind.ERROR),  # DeepSeek
    ],
)
def test_what_never_came_is_a_failure_of_its_kind(content: bytes, kind: FailureKind) -> None:
    answer = read(content)
    assert (answer.text, answer.finish, answer.failure_kind) == ("", "failed", kind)
    assert answer.failure


def test_an_answer_that_was_cut_off_after_a_thought_is_an_answer() -> None:
    answer = read(body({"content": '{"team": "sa', "reasoning": WHY}, "length", REASONED))
    assert (answer.text, answer.finish, answer.failure) == ('{"team": "sa', "length", None)


def test_what_was_paid_for_is_kept_as_it_came() -> None:
    cut = read_reply(body({"content": None, "reasoning": WHY}, "length", REASONED), completions=False)
    assert (cut.text, cut.finish, cut.failure, cut.thought) == ("", "length", None, WHY)
