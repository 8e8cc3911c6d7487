"""OpenTelemetry: GenAI spans as OTLP in JSON, by the semantic conventions from 1.37 on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, chat, listed, mapping
from harness.data.rows import parse_json
from harness.records import Json

_HINT = (
    "record contents: OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental and"
    " OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY"
)


def is_otlp(value: Mapping[str, Json]) -> bool:
    """Whether the object is an export of spans."""
    return not {"resourceSpans", "resourceLogs", "resourceMetrics"}.isdisjoint(value)


def spans(value: Mapping[str, Json]) -> Iterator[Json]:
    """The spans of model calls; others are passed over."""
    for resource in _objects(value.get("resourceSpans")):
        for scope in _objects(resource.get("scopeSpans")):
            for span in _objects(scope.get("spans")):
                attributes = _values(span.get("attributes"))
                if attributes.get("gen_ai.operation.name") in ("chat", "text_completion", "generate_content"):
                    yield {**span, "attributes": attributes}


def row(span: Mapping[str, Json]) -> Turn:
    """The row of one call."""
    given = mapping(span["attributes"])
    if "error.type" in given:
        raise Unusable("no-assistant", "a call that failed", "leave it out")
    asked, replied = (_decoded(given.get(f"gen_ai.{side}.messages")) for side in ("input", "output"))
    if asked is None or replied is None:
        raise Unusable("no-messages", "a span without gen_ai.input.messages and output.messages", _HINT)
    said = _decoded(given.get("gen_ai.system_instructions"))
    system: list[Json] = [{"role": "system", "parts": said}] if said else []
    nanoseconds = str(span.get("startTimeUnixNano", ""))
    found = chat(
        [*system, *(asked if isinstance(asked, list) else [asked])],
        replied[:1] if isinstance(replied, list) else replied,  # more are other choices
        conversation=given.get("gen_ai.conversation.id", span.get("traceId")),
        time=int(nanoseconds) / 10**9 if nanoseconds.isdecimal() else None,
    )
    tools = _decoded(given.get("gen_ai.tool.definitions"))
    if isinstance(tools, list) and tools:
        found["tools"] = [_tool(tool) for tool in tools]
    return found


def _tool(tool: Json) -> Json:
    """OpenAI's form of a tool's definition, which is flat there."""
    if not isinstance(tool, dict) or "function" in tool:
        return tool
    return {"type": "function", "function": {key: item for key, item in tool.items() if key != "type"}}


def _objects(value: Json) -> Iterator[Mapping[str, Json]]:
    return (mapping(one) for one in listed(value))


def _values(attributes: Json) -> dict[str, Json]:
    return {str(one.get("key")): _value(one.get("value")) for one in _objects(attributes)}


def _value(value: Json) -> Json:
    """An AnyValue of OTLP."""
    kind, held = next(iter(mapping(value).items()), ("", None))
    if kind not in ("kvlistValue", "arrayValue"):
        return held
    inner = mapping(held).get("values")
    return _values(inner) if kind == "kvlistValue" else [_value(one) for one in listed(inner)]


def _decoded(value: Json) -> Json:
    """Structured attributes are structured on spans that can be, else their JSON text."""
    try:
        return parse_json(value) if isinstance(value, str) and value[:1] in ("[", "{") else value
    except Unusable:
        return value
