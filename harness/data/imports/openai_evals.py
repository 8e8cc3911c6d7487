"""OpenAI: samples of ``openai/evals``, items and output items of the Evals API, stored completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, chat, mapping
from harness.records import Json

_ASKED = ("input", "messages", "question", "prompt")
_IDEAL = ("ideal", "ground_truth", "expected", "expected_output", "correct_label", "reference", "answer")


def items(value: Mapping[str, Json]) -> Iterator[Json]:
    """The objects of a page of the API, or the one of a line."""
    data = value.get("data")
    yield from data if value.get("object") == "list" and isinstance(data, list) else [value]


def is_evals(value: Mapping[str, Json]) -> bool:
    """Whether the object is a sample, an item, an output item, a stored completion, or a page of these."""
    first = mapping(next(items(value), None))
    return (
        {"input", "ideal"} <= first.keys()
        or isinstance(first.get("item"), dict)
        or first.get("object") == "eval.run.output_item"
        or ({"messages", "choices"} <= first.keys() and first.get("object") == "chat.completion")
    )


def row(value: Mapping[str, Json]) -> Turn:
    """The row of one: the ideal reply, else what was replied, if that passed."""
    if "choices" in value:
        return chat(value.get("messages"), {"choices": value["choices"]}, time=value.get("created"))
    item = mapping(value.get("datasource_item", value.get("item"))) or value
    given = mapping(value.get("sample"))
    asked = given.get("input") or next((item[key] for key in _ASKED if key in item), None)
    ideal = next((item[key] for key in _IDEAL if key in item), None)
    if isinstance(ideal, list):  # several are right: one is trained on
        ideal = ideal[0] if ideal else None
    if asked is None:
        raise Unusable("no-user", f"an item without {', '.join(_ASKED)}", "name its question `input`")
    if ideal is None and value.get("status") == "pass":
        ideal = given.get("output")
    if ideal is None:
        raise Unusable("no-assistant", f"an item without {', '.join(_IDEAL)}", "name its reply `ideal`")
    return chat([_example(turn) for turn in asked] if isinstance(asked, list) else asked, ideal)


def _example(turn: Json) -> Json:
    """Examples are system messages by name there; they are turns."""
    roles = {"example_user": "user", "example_assistant": "assistant"}
    stated = mapping(turn)
    role = roles.get(str(stated.get("name")))
    return {"role": role, "content": stated.get("content")} if role else turn
