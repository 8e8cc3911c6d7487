"""What a task's replies are, found from its rows: a few labels, JSON objects, tool calls, or free text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.data.findings import Unusable
from harness.data.rows import parse_json
from harness.records import Json, Row

MOST_LABELS, LABEL_CHARACTERS = 200, 80
MOST_VALUES = 50  # of a field of JSON replies
TIMES = 3  # so often does a label stand on average; texts that are seldom the same are no labels


class TaskKind(StrEnum):
    """The form of the replies."""

    LABEL = "label"
    JSON = "json"
    TOOLS = "tools"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its replies show it. ``matched`` and ``texts`` are fields of JSON that every reply has."""

    kind: TaskKind
    labels: tuple[str, ...] = ()  # the most frequent first
    schema: Mapping[str, Json] = field(default_factory=dict)
    matched: tuple[str, ...] = ()  # right or wrong; those with a few values first
    texts: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Task:
        """The task whose references are those of ``rows``, of which there is at least one."""
        if any(row.messages[-1].tool_calls for row in rows):
            return cls(TaskKind.TOOLS)
        replies = [row.reference.strip() for row in rows]
        objects = [found for reply in replies if (found := json_object(reply)) is not None]
        if len(objects) == len(rows):
            return cls._of_objects(objects)
        if len(set(replies)) > 1 and _few(replies, MOST_LABELS):
            return cls(TaskKind.LABEL, tuple(label for label, _ in Counter(replies).most_common()))
        return cls(TaskKind.TEXT)

    @classmethod
    def _of_objects(cls, objects: Sequence[Mapping[str, Json]]) -> Task:
        schema = schema_of(objects)
        parts = schema["properties"]
        assert isinstance(parts, dict)
        always = [key for key in objects[0] if all(key in found for found in objects)]
        values = {key: [found[key] for found in objects] for key in always}
        texts = [key for key in always if parts[key] == {"type": "string"}]
        few = [key for key in always if isinstance(part := parts[key], dict) and "enum" in part]
        others = [key for key in always if key not in (*texts, *few)]
        told = [key for key in texts if all(str(value).strip() for value in values[key])]
        return cls(TaskKind.JSON, (), schema, (*few, *others), tuple(told))

    @property
    def class_field(self) -> str | None:
        """What a row's class is called, where it has one."""
        return "label" if self.kind is TaskKind.LABEL else next(iter(self.matched), None)

    def class_of(self, row: Row) -> Json:
        """The row's label, or the value of its ``class_field``."""
        if self.kind is TaskKind.LABEL:
            return row.reference.strip()
        found = json_object(row.reference) if self.matched else None
        return None if found is None else found.get(self.matched[0])


def json_object(text: str) -> dict[str, Json] | None:
    """The JSON object that a text is, else None."""
    try:
        value = parse_json(text) if text.lstrip().startswith("{") else None
    except Unusable:
        return None
    return value if isinstance(value, dict) else None


def schema_of(values: Sequence[Json]) -> dict[str, Json]:
    """A JSON Schema that holds for all ``values`` and for little else.

    Texts with a few values become an ``enum``; objects are closed, and require the keys that all have.
    """
    kinds = {_type(value) for value in values}
    if "number" in kinds:
        kinds -= {"integer"}
    found: dict[str, Json] = {"type": min(kinds) if len(kinds) == 1 else sorted(kinds)}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        keys = list(dict.fromkeys(key for one in objects for key in one))
        found["properties"] = {key: schema_of([one[key] for one in objects if key in one]) for key in keys}
        found["required"] = [key for key in keys if all(key in one for one in objects)]
        found["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in value]
    if items:
        found["items"] = schema_of(items)
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) + values.count(None) == len(values) and texts and _few(texts, MOST_VALUES):
        found["enum"] = [*sorted(set(texts)), *([None] if len(texts) < len(values) else [])]
    return found


def _few(texts: Sequence[str], most: int) -> bool:
    known = set(texts)
    is_short = all(text and len(text) <= LABEL_CHARACTERS and "\n" not in text for text in known)
    return is_short and len(known) <= most and len(known) * TIMES <= len(texts)


def _type(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
