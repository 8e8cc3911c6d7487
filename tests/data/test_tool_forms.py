"""Public forms of tool-call data become rows: ShareGPT's (LLaMA-Factory's glaive) and xLAM's (APIGen)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.data.rows import read_rows
from harness.data.tables import read_source
from harness.data.tool_forms import ToolForms
from harness.errors import DataError
from harness.records import Json, Row

AREA: dict[str, Json] = {
    "name": "shapes.area",
    "description": "The area of a shape",
    "parameters": {"type": "object", "properties": {"sides": {"type": "array", "items": {"type": "number"}}}},
}
TIME: dict[str, Json] = {"name": "clock", "description": "The time", "parameters": {}}


def turns(*said: tuple[str, Json]) -> list[Json]:
    return [{"from": source, "value": value} for source, value in said]


def call(name: str, **arguments: Json) -> dict[str, Json]:
    return {"name": name, "arguments": arguments}


SHAREGPT: dict[str, Json] = {
    "conversations": turns(
        ("human", "How large is a field of 2 by 3?"),
        ("function_call", json.dumps(call("shapes.area", sides=[2, 3]))),
        ("observation", '{"area": 6}'),
        ("gpt", "It is 6."),
        ("human", "Thanks! One of 4 by 4, and what time is it?"),
        ("function_call", json.dumps([call("shapes.area", sides=[4, 4]), call("clock")])),
        ("observation", '{"area": 16}'),
        ("observation", {"time": "12:00"}),
        ("gpt", "It is 16, at noon."),
    ),
    "system": "You measure.",
    "tools": json.dumps([AREA, TIME]),
    "source": "own",
}
PLAIN: dict[str, Json] = {
    "conversations": turns(("human", "Name a fish."), ("gpt", "A pike.")),
    "tools": "[]",
}
XLAM: dict[str, Json] = {
    "id": 7,
    "query": "Add 2 and 3, and list the ports of Genoa.",
    "tools": json.dumps(
        [
            {
                "name": "math.add",
                "description": "A sum",
                "parameters": {
                    "numbers": {"description": "What to add", "type": "List[int]"},
                    "places": {"description": "Digits", "type": "int, optional", "default": 0},
                },
            },
            {
                "name": "ports",
                "description": "Ports of a city",
                "parameters": {
                    "city": {"description": "The city", "type": "str"},
                    "types": {"description": "Of ships", "type": "Optional[Dict[str, bool]]"},
                    "near": {"description": "Whatever", "type": "Union[int, float]", "required": False},
                },
            },
        ]
    ),
    "answers": json.dumps([call("math.add", numbers=[2, 3]), call("ports", city="Genoa")]),
}


def converted(folder: Path, *objects: Json, name: str = "public.json") -> tuple[tuple[Row, ...], ToolForms]:
    """As one JSON list over several lines, as these files are published."""
    file = folder / name
    file.write_text(json.dumps(list(objects), indent=2), encoding="utf-8")
    forms = ToolForms()
    return read_source(str(file), None, forms), forms


def test_sharegpt_s_calls_and_observations_are_tool_calls_and_their_answers(tmp_path: Path) -> None:
    (row, plain), forms = converted(tmp_path, SHAREGPT, PLAIN)
    assert [m.role for m in row.messages] == [
        *("system", "user", "assistant", "tool", "assistant"),
        *("user", "assistant", "tool", "tool", "assistant"),
    ]
    assert [(c.name, c.arguments) for m in row.messages for c in m.tool_calls] == [
        ("shapes_area", '{"sides": [2, 3]}'),
        ("shapes_area", '{"sides": [4, 4]}'),
        ("clock", "{}"),
    ]
    asked = [call.id for message in row.messages for call in message.tool_calls]
    assert [m.tool_call_id for m in row.messages if m.role == "tool"] == asked
    assert row.messages[8].content == '{"time": "12:00"}'
    assert [tool["function"] for tool in row.tools] == [
        {**AREA, "name": "shapes_area"},
        {**TIME, "parameters": {"type": "object", "properties": {}, "required": []}},
    ]
    assert row.metadata == {"source": "own"}
    assert row.where.endswith("public.json:2")
    assert not plain.uses_tools
    assert forms.renamed == {"shapes.area": "shapes_area"}


def test_xlam_s_flat_parameters_are_json_schema(tmp_path: Path) -> None:
    (row,), forms = converted(tmp_path, XLAM)
    assert (row.id, row.question) == ("7", XLAM["query"])
    assert json.loads(row.reference) == [
        {"name": "math_add", "arguments": {"numbers": [2, 3]}},
        {"name": "ports", "arguments": {"city": "Genoa"}},
    ]
    add, ports = (tool["function"]["parameters"] for tool in row.tools)  # type: ignore[index]
    assert add == {
        "type": "object",
        "properties": {
            "numbers": {"type": "array", "items": {"type": "integer"}, "description": "What to add"},
            "places": {"type": "integer", "description": "Digits", "default": 0},
        },
        "required": ["numbers"],
    }
    assert ports["required"] == ["city"]
    assert ports["properties"]["types"] == {"type": "object", "description": "Of ships"}
    assert ports["properties"]["near"] == {"description": "Whatever"}
    assert list(forms.renamed) == ["math.add"]


def test_the_command_writes_rows_and_says_what_it_renamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "public.jsonl"
    lines.write_text("".join(json.dumps(one) + "\n" for one in (SHAREGPT, XLAM)), encoding="utf-8")
    with pytest.raises(DataError, match="harness convert"):
        read_rows(lines)
    made = tmp_path / "rows.jsonl"
    assert main(["convert", str(lines), "--to", str(made)]) == 0
    assert "dots in 2 names of functions" in capsys.readouterr().out
    assert [len(row.tools) for row in read_rows(made)] == [2, 2]


def test_a_table_of_a_public_form_needs_no_column_map(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "xlam.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([XLAM]), file)
    (row,) = read_source(str(file), None, ToolForms())
    assert len(row.messages[-1].tool_calls) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conversations": turns(("human", "a?"), ("tool", "b"))}, "turn 2 is from 'tool'"),
        ({"conversations": [["human", "a?"]]}, "turn 1 is from ''"),
        ({"conversations": "a?"}, "'conversations' is text"),
        ({"conversations": turns(("human", "a?"), ("function_call", "{name: 1}"))}, "turn 2: not JSON"),
        ({"conversations": turns(("human", "a?"), ("function_call", '{"call": 1}'))}, "names no function"),
        ({"conversations": turns(("human", "a?"), ("function_call", "[]"))}, "tool_calls are empty"),
        ({"conversations": turns(("observation", "1"), ("gpt", "b"))}, "turn 1 observes what no"),
        ({"tools": "[{]"}, "'tools': not JSON"),
        (
            {"tools": json.dumps([AREA, {**TIME, "name": "shapes_area"}])},
            "two tools are called",
        ),
        ({"tools": json.dumps([TIME])}, "calls 'shapes_area'; the row offers clock"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_file_and_line(
    tmp_path: Path, change: dict[str, Json], said: str
) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        converted(tmp_path, PLAIN, {**SHAREGPT, **change})
    second = json.dumps([PLAIN], indent=2).count("\n") + 1
    assert caught.value.where == f"{tmp_path / 'public.json'}:{second}"


@pytest.mark.parametrize(
    ("text", "line"), [('[\n{"a": 1}\n{}]', 3), ("[", 1), ("[" * 100_000, 1), ("[{}]\n[{}]", 2)]
)
def test_a_broken_list_is_refused_by_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "public.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="not JSON") as caught:
        read_source(str(file), None, ToolForms())
    assert caught.value.where == f"{file}:{line}"
