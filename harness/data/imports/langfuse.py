"""Langfuse: observations and traces, as its exports and its "download trace" write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, chat, listed, mapping
from harness.data.rows import parse_json
from harness.records import Json


def items(value: Mapping[str, Json]) -> Iterator[Json]:
    """Generations of a downloaded trace, or the one observation or trace of a line."""
    if "observations" in value:
        trace = mapping(value.get("trace"))
        session = {"sessionId": trace.get("sessionId") or trace.get("id")}
        found = [{**mapping(one), **session} for one in listed(value["observations"])]
        yield from [one for one in found if one.get("type") == "GENERATION"]
    elif value.get("type") in (None, "GENERATION"):  # a span or an event asks no model
        yield value


def is_langfuse(value: Mapping[str, Json]) -> bool:
    """Whether the object is a downloaded trace, an observation, or a trace of an export."""
    keys = value.keys()
    is_observation = {"input", "output", "type"} <= keys and ("traceId" in keys or "trace_id" in keys)
    is_trace = {"input", "output", "timestamp"} <= keys
    return {"trace", "observations"} <= keys or is_observation or is_trace


def row(value: Mapping[str, Json]) -> Turn:
    """The row of a generation, or of a trace whose input and output are texts or messages."""

    def first(*names: str) -> Json:
        return next((found for name in names if (found := value.get(name)) is not None), None)

    asked, replied = _decoded(value.get("input")), _decoded(value.get("output"))
    if replied in (None, "", [], {}):
        raise Unusable("no-assistant", "no output", "log what the model replied")
    conversation = first("sessionId", "session_id", "traceId", "trace_id", "id")
    time = first("startTime", "start_time", "timestamp")
    return chat(asked, replied, conversation=conversation, time=time)


def _decoded(value: Json) -> Json:
    """Exports write objects, texts, and the JSON text of either, once or twice."""
    for _ in range(2):
        if not (isinstance(value, str) and value.lstrip()[:1] in tuple('[{"')):
            break
        try:
            value = parse_json(value)
        except Unusable:
            break
    return value
