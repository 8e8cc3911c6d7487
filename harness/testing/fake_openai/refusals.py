"""Refused requests, and the check of request bodies against the official SDK's own parameter types.

The SDK describes an endpoint's body as a ``TypedDict``. Pydantic turns it into a JSON Schema; closing its
objects to unknown keys, and adding the limits that types cannot express, gives the service's own check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from threading import Lock
from typing import Any, TypeVar, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from openai.types.batch_create_params import BatchCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as CompletionParams
from openai.types.fine_tuning.job_create_params import JobCreateParams
from pydantic import TypeAdapter

from harness.records import Json

T = TypeVar("T")
ONE_AT_A_TIME = Lock()
LONGEST_ERROR = 300  # characters; a message quotes the value, which may be a whole prompt
METADATA: Mapping[str, Json] = {
    "maxProperties": 16,
    "propertyNames": {"maxLength": 64},
    "additionalProperties": {"maxLength": 512},
}
SAMPLING: Mapping[str, Mapping[str, Json]] = {
    "temperature": {"minimum": 0.0, "maximum": 2.0},
    "top_p": {"minimum": 0.0, "maximum": 1.0},
    "max_tokens": {"minimum": 1},
    "max_completion_tokens": {"minimum": 1},
}
# JSON Schema keywords for the properties of that name, at any depth of the parameters
LIMITS: Mapping[type, Mapping[str, Mapping[str, Json]]] = {
    ChatParams: {**SAMPLING, "messages": {"minItems": 1}, "metadata": METADATA},
    CompletionParams: {**SAMPLING, "logprobs": {"maximum": 0}},  # the models here name no alternatives
    JobCreateParams: {
        "n_epochs": {"minimum": 1, "maximum": 50},
        "batch_size": {"minimum": 1, "maximum": 256},
        "learning_rate_multiplier": {"minimum": 1e-5, "maximum": 10_000.0},
        "seed": {"minimum": 0, "maximum": 2**31 - 1},
        "suffix": {"maxLength": 64},
        "metadata": METADATA,
    },
    BatchCreateParams: {"metadata": METADATA},
}


@dataclass(frozen=True)
class HTTPRefusal(Exception):  # noqa: N818 - an answer of the service, not an error of this program
    """A refused request: the HTTP status, and OpenAI's error body; jobs fail with it too."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    kind: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Json]:
        """The JSON that goes with the status."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def unsupported(name: str) -> HTTPRefusal:
    """The service knows the parameter; the models here do not support it."""
    message = f"Unsupported value: '{name}' does not support this value with this model."
    return HTTPRefusal(400, message, name, "unsupported_value")


def no_key() -> HTTPRefusal:
    """The request has no API key."""
    return HTTPRefusal(401, "You didn't provide an API key (Authorization: Bearer YOUR_KEY).")


def server_error() -> HTTPRefusal:
    """An error of the service itself."""
    message = "The server had an error while processing your request. Sorry about that!"
    return HTTPRefusal(500, message, kind="server_error")


def checked(kind: type[T], body: Json) -> T:
    """The body, if it has the SDK's parameter type ``kind``; else a refusal names the parameter."""
    with ONE_AT_A_TIME:  # else the first calls, which come together, each build the same validator
        validator = _validator(kind)  # type: ignore[arg-type]  # types are hashable
    error = next(validator.iter_errors(body), None)
    if error is not None:
        raise _refusal(error)
    return cast("T", body)


@cache
def _validator(kind: type) -> Draft202012Validator:
    def close(node: object) -> None:
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            close(child)
        if isinstance(node, dict) and node.get("type") == "object" and "properties" in node:
            node["additionalProperties"] = False
            for name, limit in LIMITS.get(kind, {}).items():
                if name in node["properties"]:
                    # each keyword ignores values of other types, such as "auto" or null
                    node["properties"][name].update(limit)

    schema = TypeAdapter(kind).json_schema()
    close(schema)
    return Draft202012Validator(schema)


def _refusal(error: ValidationError) -> HTTPRefusal:
    while error.context:
        # of alternatives, report on the one that was meant: its constants ("role", "type") fit, and it has
        # the fewest errors
        branches = [list(found) for _, found in groupby(error.context, lambda e: e.schema_path[0])]
        error = min(branches, key=lambda found: (any(e.validator == "const" for e in found), len(found)))[0]
    param = error.json_path.removeprefix("$").removeprefix(".")
    given, schema = cast("dict[str, Json]", error.instance), cast("dict[str, Any]", error.schema)
    if error.validator == "additionalProperties":
        name = next(key for key in given if key not in schema["properties"])
        param = f"{param}.{name}".removeprefix(".")
        return HTTPRefusal(400, f"Unknown parameter: '{param}'.", param, "unknown_parameter")
    if error.validator == "required":
        name = next(key for key in schema["required"] if key not in given)
        return missing(f"{param}.{name}".removeprefix("."))
    return HTTPRefusal(400, f"Invalid '{param}': {error.message[:LONGEST_ERROR]}.", param, "invalid_value")


def missing(param: str) -> HTTPRefusal:
    """A parameter that has to be given."""
    message = f"Missing required parameter: '{param}'."
    return HTTPRefusal(400, message, param, "missing_required_parameter")


def text_of(content: object, at: str) -> str:
    """A message's content, which has to be text."""
    if isinstance(content, list):
        raise HTTPRefusal(400, "Only text is supported by this model.", at)
    return str(content or "")


def require_valid(schema: Mapping[str, Any], name: str, strict: bool) -> None:
    """Check a requested schema; a ``strict`` one has to close every object and require all its properties."""
    problem = ""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        problem = error.message
    else:
        missing = sorted(schema.get("properties", {}).keys() - set(schema.get("required", ())))
        if strict and schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif strict and missing:
            problem = f"'required' has to include every property. Missing '{missing[0]}'."
    if problem:
        message = f"Invalid schema for response_format '{name}': {problem}"
        raise HTTPRefusal(400, message, "response_format", "invalid_json_schema")
    for value in schema.get("properties", {}).values():
        if isinstance(value, dict):
            require_valid(value, name, strict)
