"""Whether an answer makes the calls of its row's reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import ToolCall
from harness.data.rows import scan_lines
from harness.errors import UsageError
from harness.records import Answer, Json, Kind, Message, Row, called
from harness.records import ToolCall as Call
from harness.scoring.checks import own_reference

DOCS = Path(__file__).parents[2] / "docs"
PARAMETERS: Json = {"properties": {"city": {}, "days": {}, "units": {}}}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("weather", "mail")
)


def call(function: str, /, **arguments: Json) -> Call:
    return Call("c", function, json.dumps(arguments))


def row(*calls: Call, text: str = "") -> Row:
    return Row("r", (Message("user", "?"), Message("assistant", text, tool_calls=calls)), tools=TOOLS)


def made(*calls: Call, said: str = "") -> Answer:
    return Answer("r", called(said, calls), 1, 1, 1.0, "tool_calls")


def text(said: str) -> Answer:
    return Answer("r", said, 1, 1, 1.0)


PARIS, LYON = call("weather", city="Paris", days=2), call("weather", city="Lyon", days=2)


@pytest.mark.parametrize(
    ("expected", "answer", "reason"),
    [
        (row(LYON), made(LYON), None),
        (row(LYON), made(Call("x", "weather", '{"days": 2.0, "city": "Lyon"}')), None),
        (row(call("mail")), made(Call("x", "mail", "")), None),
        (row(LYON), made(LYON, said="Let me look."), None),
        (row(PARIS, LYON), made(LYON, PARIS), None),
        (row(text="Where?"), text("In which city?"), None),
        (row(LYON), made(PARIS), "called weather(city='Paris', days=2), expected city='Lyon'"),
        (row(LYON), made(call("weather", city="Lyon", days="2")), "expected days=2"),
        (row(LYON), made(call("weather", city="Lyon", days=2, units="F")), "expected no units"),
        (
            row(LYON),
            made(call("mail", city="Lyon")),
            "called mail(city='Lyon'), expected weather(",
        ),
        (row(LYON), made(Call("x", "weather", "{city: Lyon}")), "arguments that are no JSON object: {city"),
        (row(PARIS, LYON), made(PARIS), "did not call weather(city='Lyon', days=2)"),
        (row(PARIS), made(PARIS, PARIS), "called weather(city='Paris', days=2), which is not expected"),
        (
            row(LYON),
            text("It is warm."),
            "expected weather(city='Lyon', days=2); said 'It is warm.'",
        ),
        (row(LYON), text(called("", [LYON])), "no call, expected weather"),  # words that look like one
        (row(text="Where?"), made(LYON), "called weather(city='Lyon', days=2), expected an answer in words"),
        (row(LYON), Answer("r", '[{"na', 1, 9, 1.0, "length"), "cut off at 9 tokens"),
    ],
)
def test_a_call_is_right_or_wrong_for_a_reason(expected: Row, answer: Answer, reason: str | None) -> None:
    score = ToolCall().score(expected, answer)
    assert score.value == (1.0 if reason is None else 0.0)
    assert (reason or "") in score.reason


def test_order_counts_where_it_is_said_to() -> None:
    check = ToolCall(ordered=True)
    assert check.score(row(PARIS, LYON), made(PARIS, LYON)).value == 1.0
    assert check.score(row(PARIS, LYON), made(LYON, PARIS)).value == 0.0


@pytest.mark.parametrize(
    ("expected", "answer", "value"),
    [
        (row(LYON), made(call("weather", city="Lyon", days=9, units="F")), 0.5),
        (row(LYON), made(PARIS), 0.5),
        (row(LYON), made(call("mail", city="Lyon", days=2)), 0.0),
        (row(PARIS, LYON), made(LYON), 0.5),
        (row(LYON), made(LYON, PARIS), 0.5),
        (row(LYON), text("Lyon, 2"), 0.0),
        (row(call("mail")), made(call("mail", units="x")), 1.0),  # none of the fields: the name counts
    ],
)
def test_some_fields_count_by_their_share(expected: Row, answer: Answer, value: float) -> None:
    check = ToolCall(fields=("city", "days"))
    assert check.kind is Kind.GRADED
    score = check.score(expected, answer)
    assert score.value == value
    assert bool(score.reason) is (value < 1.0)


def test_a_field_that_no_tool_has_is_a_failure_not_a_full_mark() -> None:
    score = ToolCall(fields=("ctiy",)).score(row(LYON), made(LYON))
    assert (score.value, score.failure) == (None, "row r has no argument 'ctiy' in its tools")
    with pytest.raises(UsageError, match="a tuple of text"):
        ToolCall(fields="city")  # type: ignore[arg-type]


def test_the_example_of_the_documentation() -> None:
    page = (DOCS / "writing-suites.md").read_text(encoding="utf-8")
    line = (DOCS / "data.md").read_text(encoding="utf-8").partition("<!-- tested: tools -->\n```json\n")[2]
    (read,) = scan_lines([line.partition("\n")[0].encode()], "data.md")
    assert isinstance(read, Row)
    suite: dict[str, object] = {}
    exec(page.partition("<!-- tested: tools -->\n```python\n")[2].partition("```")[0], suite)
    told = "called get_weather(city='Paris'), expected city='Lyon'"
    for name in ("call", "city"):
        check = suite[name]
        assert isinstance(check, ToolCall)
        assert check.score(read, own_reference(read)).value == 1.0
        score = check.score(read, made(call("get_weather", city="Paris")))
        assert (score.value, score.reason) == (0.0, told)
    assert told in page
    assert read.reference in (DOCS / "data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("check", [ToolCall(), ToolCall(ordered=True), ToolCall(fields=("city",))])
@pytest.mark.parametrize("expected", [row(PARIS, LYON), row(LYON, text="So:"), row(text="Where?")])
def test_the_reference_itself_has_full_marks(check: ToolCall, expected: Row) -> None:
    assert check.score(expected, own_reference(expected)).value == 1.0
    assert check.contradiction(expected) is None
