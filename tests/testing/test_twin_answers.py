"""How the twin's models answer: decoding limits, log-probabilities, structured output, usage."""

from __future__ import annotations

import json
from dataclasses import replace

import openai
import pytest
from openai import OpenAI
from twin_client import upload, waited_batch

from harness.testing.fake_openai import (
    ALIAS,
    CHAT,
    FakeReply,
    Question,
    ScriptedBackend,
    running_fake_openai,
)
from harness.testing.fake_openai.backend import MOST_TOKENS, answered_within, within

HELLO: list[dict[str, str]] = [{"role": "user", "content": "one two three four"}]


def test_an_answer_has_its_usage_and_the_snapshots_name(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=ALIAS, messages=HELLO)  # type: ignore[arg-type]
    assert answer.model == CHAT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        5,
        4,
        9,
    )
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_limit_cuts_the_answer(client: OpenAI, limit: str) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=HELLO, **{limit: 2})  # type: ignore[call-overload]
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "length")


def test_log_probabilities_are_given_token_by_token(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=HELLO, logprobs=True, max_tokens=2)  # type: ignore[arg-type]
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content or []
    assert [(token.token, token.logprob) for token in content] == [("one", -0.1), (" two", -0.1)]


def test_without_logprobs_there_are_none(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=HELLO)  # type: ignore[arg-type]
    assert answer.choices[0].logprobs is None


def test_a_schema_is_kept_to(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "label": {"enum": ["good", "bad"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["reason", "score", "label", "tags"],
        "additionalProperties": False,
    }
    wanted = {"name": "judgment", "strict": True, "schema": schema}
    answer = client.chat.completions.create(  # type: ignore[call-overload]
        model=CHAT,
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": wanted},
    )
    found = json.loads(answer.choices[0].message.content or "")
    assert found["reason"] == "one two three four"
    assert 1 <= found["score"] <= 5
    assert found["label"] in ("good", "bad")
    assert list(found) == list(schema["properties"])  # type: ignore[call-overload]


def test_other_texts_choose_otherwise_within_a_schema() -> None:
    schema = {"type": "integer", "minimum": 0, "maximum": 4}
    assert {json.loads(within(schema, f"text {k}")) for k in range(60)} == {0, 1, 2, 3, 4}


JUDGMENT = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": [1, 2, 3]}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}


def test_what_satisfies_the_schema_is_passed_on_as_it_was_said() -> None:
    said = '{"reason": "so it is", "score": 3}'
    assert within(JUDGMENT, said) == said
    for other in ("3", '{"reason": "no", "score": 4}', "", "[" * 50_000):
        found = json.loads(within(JUDGMENT, other))
        assert found["reason"]
        assert found["score"] in (1, 2, 3)


def test_a_model_that_keeps_to_no_schema_is_asked_for_little_and_its_words_become_the_strings() -> None:
    asked: list[Question] = []

    def ask(question: Question) -> FakeReply:
        asked.append(question)
        return FakeReply("The answer is", 9, 3, "length")

    plain = Question(ALIAS, None, (), max_tokens=400)
    assert answered_within(plain, ask).text == "The answer is"
    bound = answered_within(replace(plain, schema=JUDGMENT), ask)
    assert [question.max_tokens for question in asked] == [400, MOST_TOKENS]
    assert (json.loads(bound.text)["reason"], bound.finish) == ("The answer is", "stop")


def test_a_script_decides_what_is_said_and_what_it_costs() -> None:
    def script(question: Question) -> FakeReply:
        return FakeReply(f"{question.temperature:g} {question.seed}", 2000, 3, cached_tokens=1024)

    with (
        running_fake_openai(backend=ScriptedBackend(script)) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(model=CHAT, messages=HELLO, temperature=0.5, seed=3)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "0.5 3"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1024


def test_a_script_that_breaks_is_an_error_of_the_service() -> None:
    def script(question: Question) -> str:
        raise ValueError("broken")

    with (
        running_fake_openai(backend=ScriptedBackend(script)) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model=CHAT, messages=HELLO)  # type: ignore[arg-type]


def request(k: int, **more: object) -> dict[str, object]:
    body = {"model": CHAT, "messages": [{"role": "user", "content": f"ask {k}"}], **more}
    return {"custom_id": f"row-{k}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def batch_of(client: OpenAI, content: bytes) -> str:
    file = upload(client, content, purpose="batch", name="b.jsonl")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    )
    return batch.id


def as_lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_a_batch_is_answered_in_files(client: OpenAI) -> None:
    rows = [request(0), request(1), request(2, temperature=9)]
    done = waited_batch(client, batch_of(client, as_lines(rows)))
    assert done.status == "completed"
    assert done.metadata == {"a": "b"}
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (3, 2, 1)
    good = [json.loads(line) for line in client.files.content(done.output_file_id or "").text.splitlines()]
    said = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in good}
    assert said == {"row-0": "ask 0", "row-1": "ask 1"}
    bad = json.loads(client.files.content(done.error_file_id or "").text)
    assert bad["custom_id"] == "row-2"
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["code"] == "invalid_value"
    assert done.id in {found.id for found in client.batches.list(limit=5)}


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (b"{", "invalid_json_line"),
        (as_lines([{**request(1), "custom_id": "row-0"}]), "duplicate_custom_id"),
        (as_lines([{**request(1), "method": "GET"}]), "invalid_value"),
        (as_lines([{**request(1), "url": "/v1/completions"}]), "mismatched_endpoint"),
        (b'{"custom_id": "x"}', "missing_required_parameter"),
    ],
)
def test_a_batch_with_a_wrong_line_fails_and_names_it(client: OpenAI, second: bytes, code: str) -> None:
    failed = waited_batch(client, batch_of(client, as_lines([request(0)]) + second))
    assert failed.status == "failed"
    assert failed.errors is not None
    assert [(error.line, error.code) for error in failed.errors.data or []] == [(2, code)]


def test_a_cancelled_batch_keeps_what_was_answered() -> None:
    with (
        running_fake_openai(backend=ScriptedBackend(reply_s=0.02)) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        batch_id = batch_of(client, as_lines([request(k) for k in range(500)]))
        assert client.batches.cancel(batch_id).status == "cancelling"
        done = waited_batch(client, batch_id)
        assert done.status == "cancelled"
        assert done.request_counts is not None
        assert done.request_counts.completed < 500
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(batch_id)
