"""What ``validate`` counts, and the facts about hosted models that it rests on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.convert import to_json
from harness.data.findings import Finding, Severity
from harness.data.hosted import hosted_counter, hosted_model, is_hosted, service_epochs, text_counter
from harness.data.rows import collect, scan_lines
from harness.data.validation import KEPT_A_CODE, Target, validate
from harness.errors import DataError
from harness.records import Message, Row

TOOL = {"type": "function", "function": {"name": "find_order", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": '{"order": 7}'}}
USER = {"role": "user", "content": "Where is 7?"}


def some(n: int) -> Iterator[Row]:
    for k in range(1, n + 1):
        yield Row(f"r{k}", (Message("user", f"q{k}"), Message("assistant", "a")), {}, f"f:{k}")


def lengths(rows: Sequence[Row]) -> list[int]:
    return [int(row.where.rpartition(":")[2]) for row in rows]


@settings(deadline=None)
@given(st.integers(50, 3_000))
def test_every_row_is_counted_once(n: int) -> None:
    found = validate(some(n), Target(lengths))
    assert (found.rows, found.usable, found.findings) == (n, n, ())
    assert found.tokens is not None
    assert (found.tokens.n, found.tokens.total, found.tokens.longest) == (n, n * (n + 1) // 2, n)
    assert sum(rows for _, _, rows in found.tokens.histogram) == n
    assert found.tokens.percentiles[50] == pytest.approx((n + 1) / 2, abs=1)


def test_rows_over_the_limit_are_errors_with_their_line_and_the_rest_stays_usable() -> None:
    found = validate(some(60), Target(lengths, max_tokens=58))
    assert [(f.code, f.line) for f in found.findings] == [("over-context", 59), ("over-context", 60)]
    assert (found.rows, found.usable, found.has_errors) == (60, 58, True)


@pytest.mark.parametrize(("n", "code"), [(9, "too-few-rows"), (10, "few-rows"), (49, "few-rows"), (50, None)])
def test_the_services_minimum_is_an_error_and_fifty_a_warning(n: int, code: str | None) -> None:
    found = validate(some(n), Target(lengths))
    assert [f.code for f in found.findings] == ([code] if code else [])
    assert found.has_errors == (n < 10)


def test_a_million_findings_are_counted_and_a_thousand_kept() -> None:
    lines = [b"[]\n"] * (KEPT_A_CODE + 500)
    found = validate(scan_lines(lines, "f"), Target(lengths))
    assert found.counts == {"not-an-object": KEPT_A_CODE + 500}
    assert len(found.findings) == KEPT_A_CODE
    assert found.tokens is None


# ------------------------------------------------------------------------------------------ tools
def chat(*messages: object, **others: object) -> str:
    return json.dumps({"messages": list(messages), **others})


def read(line: str) -> tuple[Row, ...]:
    return collect(scan_lines([line.encode()], "f"), "f")


def test_tools_calls_and_their_answers_are_read_and_written_back() -> None:
    text = chat(
        {**USER, "name": "ada"},
        {"role": "assistant", "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "In transit."},
        tools=[TOOL],
        parallel_tool_calls=False,
        id="t",
    )
    (row,) = read(text)
    assert row.uses_tools
    assert row.messages[0].name == "ada"
    assert row.messages[1].tool_calls[0].arguments == '{"order": 7}'
    assert (row.messages[2].tool_call_id, row.parallel_tool_calls) == ("c1", False)
    assert json.loads(text) == to_json(row)


def test_the_last_call_needs_no_answer_and_parallel_calls_are_answered_in_any_order() -> None:
    read(chat(USER, {"role": "assistant", "tool_calls": [CALL]}, tools=[TOOL]))
    as_object = {**CALL, "function": {"name": "track", "arguments": {"order": 7}}}
    tool = {"type": "function", "function": {"name": "track"}}
    (row,) = read(chat(USER, {"role": "assistant", "tool_calls": [as_object]}, tools=[tool]))
    assert row.reference == '[{"name": "track", "arguments": {"order": 7}}]'
    second = {**CALL, "id": "c2"}
    answers = [{"role": "tool", "tool_call_id": k, "content": "x"} for k in ("c2", "c1")]
    reply = {"role": "assistant", "content": "Both."}
    turn = {"role": "assistant", "tool_calls": [CALL, second]}
    read(chat(USER, turn, *answers, reply, tools=[TOOL]))
    with pytest.raises(DataError, match="message 2's call 'c1' has no answer"):
        read(chat(USER, turn, answers[0], reply, tools=[TOOL]))


def test_deprecated_functions_are_read_with_a_warning() -> None:
    text = chat(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "find_order", "arguments": "{}"}},
        {"role": "function", "name": "find_order", "content": "in transit"},
        {"role": "assistant", "content": "In transit."},
        functions=[TOOL["function"]],
    )
    warning, row = scan_lines([text.encode()], "f")
    assert isinstance(warning, Finding)
    assert (warning.code, warning.severity) == ("deprecated-functions", Severity.WARNING)
    assert isinstance(row, Row)


# ----------------------------------------------------------------------------------------- hosted
def test_tokens_are_those_of_the_services_cookbook() -> None:
    """OpenAI's cookbook counts 3 a message, 1 a name, 3 for the reply, and the texts with their roles."""
    row = Row(
        "r", (Message("system", "You are a helpful assistant."), Message("user", "hello world", name="ada"))
    )
    count = hosted_counter("o200k_base")
    texts = 6 + 2 + 1  # the sentence, "hello world", "ada" in o200k_base
    assert count([row]) == [3 + (3 + 1) + (3 + 1 + 1) + texts]


def test_special_tokens_in_a_text_are_only_text() -> None:
    row = Row("r", (Message("user", "<|endoftext|>"), Message("assistant", "ok")))
    assert hosted_counter("cl100k_base")([row])[0] > 12


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [
        (3, 25),
        (4, 25),
        (10, 10),
        (30, 3),
        (33, 3),
        (34, 3),
        (8_333, 3),
        (8_334, 2),
        (12_501, 1),
        (100_000, 1),
    ],
)
def test_epochs_the_service_would_take(rows: int, epochs: int) -> None:
    assert service_epochs(rows) == epochs


def test_snapshots_and_fine_tunes_are_known_by_their_family() -> None:
    for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:team::id"):
        found = hosted_model(name)
        assert found is not None
        assert found.encoding == "o200k_base"
        assert is_hosted(name)
    assert hosted_model("gpt-9") is None
    assert is_hosted("gpt-9")
    assert not is_hosted("smollm2-135m")


@pytest.mark.parametrize("text", ["word " * 500_000, "é字😀" * 100_000, "x" * 2_000_000])
def test_a_text_of_megabytes_is_counted(text: str) -> None:
    """The encoder itself refuses more than 200,000 tokens."""
    piece = text_counter("o200k_base")(text[:30_000])
    assert text_counter("o200k_base")(text) == pytest.approx(piece * len(text) / 30_000, rel=0.01)
