"""Request bodies, checked value by value as the service checks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from harness.records import Json
from harness.testing.fake_openai.refusals import (
    Refusal,
    invalid_value,
    missing_parameter,
    unknown_parameter,
    wrong_type,
)

MOST_METADATA, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
Body = Mapping[str, Json]
Number = TypeVar("Number", int, float)


def require_known(body: Body, known: Iterable[str], inside: str = "") -> None:
    """Refuse a key that the endpoint does not have."""
    names = frozenset(known)
    for key in body:
        if key not in names:
            raise unknown_parameter(f"{inside}{key}")


def required(body: Body, name: str) -> Json:
    """A value that must be there."""
    if body.get(name) is None:
        raise missing_parameter(name)
    return body[name]


def text(body: Body, name: str, default: str | None = None) -> str | None:
    """A text, or its default where it is missing or null."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise wrong_type(name, "a string", kind_of(value))
    return value


def required_text(body: Body, name: str) -> str:
    """A text that must be there."""
    required(body, name)
    return text(body, name) or ""


def boolean(body: Body, name: str) -> bool:
    """True or false; false where it is missing or null."""
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise wrong_type(name, "a boolean", kind_of(value))


def integer(body: Body, name: str, low: int, high: int, shown: str = "") -> int | None:
    """An integer within bounds, or None where it is missing or null."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(shown or name, "an integer", kind_of(value))
    return _within(shown or name, value, low, high, "integer")


def decimal(body: Body, name: str, low: float, high: float, shown: str = "") -> float | None:
    """A number within bounds, or None where it is missing or null."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(shown or name, "a decimal", kind_of(value))
    return _within(shown or name, float(value), low, high, "decimal")


def mapping(body: Body, name: str) -> Body | None:
    """An object, or None where it is missing or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", kind_of(value))
    return value


def array(body: Body, name: str) -> list[Json]:
    """An array; empty where it is missing or null."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(name, "an array", kind_of(value))
    return value


def metadata(body: Body) -> dict[str, str] | None:
    """Up to 16 pairs of short texts."""
    given = mapping(body, "metadata")
    if given is None:
        return None
    if len(given) > MOST_METADATA:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {MOST_METADATA}"
            f" properties, but got an object with {len(given)} properties instead."
        )
        raise Refusal(400, message, "metadata", "object_above_max_properties")
    return {_short(key, "metadata", LONGEST_KEY): _metadata_value(key, v) for key, v in given.items()}


def _metadata_value(key: str, value: Json) -> str:
    if not isinstance(value, str):
        raise wrong_type(f"metadata.{key}", "a string", kind_of(value))
    return _short(value, f"metadata.{key}", LONGEST_VALUE)


def short_text(body: Body, name: str, longest: int) -> str | None:
    """A text of so many characters at most, or None."""
    value = text(body, name)
    return None if value is None else _short(value, name, longest)


def one_of(body: Body, name: str, values: tuple[str, ...], default: str) -> str:
    """One of a list of texts."""
    value = text(body, name, default) or ""
    if value not in values:
        raise invalid_value(name, value, listed(values))
    return value


def listed(values: tuple[str, ...]) -> str:
    """A list as the service writes it: 'a', 'b', and 'c'."""
    quoted = [f"'{value}'" for value in values]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def kind_of(value: Json) -> str:
    """What a JSON value is, as the service says it."""
    if isinstance(value, bool):
        return "a boolean"
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null", int: "an integer"}
    return names.get(type(value), "a decimal")


def _short(value: str, name: str, longest: int) -> str:
    if len(value) > longest:
        message = (
            f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, but got a"
            f" string with length {len(value)} instead."
        )
        raise Refusal(400, message, name, "string_above_max_length")
    return value


def _within(name: str, value: Number, low: Number, high: Number, kind: str) -> Number:
    if value < low:
        which, sign, bound, code = "below minimum", ">=", low, "below_min"
    elif value > high:
        which, sign, bound, code = "above maximum", "<=", high, "above_max"
    else:
        return value
    message = (
        f"Invalid '{name}': {kind} {which} value. Expected a value {sign} {bound}, but got {value} instead."
    )
    raise Refusal(400, message, name, f"{kind}_{code}_value")
