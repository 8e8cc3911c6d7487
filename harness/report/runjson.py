"""A run record as JSON text and back."""

from __future__ import annotations

import json
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, cast

from harness.errors import StoreError
from harness.records import SCHEMA_VERSION, RunRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def dump_run(record: RunRecord) -> str:
    """The record as JSON: keys sorted, one line for each candidate, suite, trial and gate.

    A number that is not finite (the loss of a diverged training) is written as null. A lone
    surrogate, which UTF-8 cannot hold, becomes a question mark.

    Raises:
        StoreError: a number that has to be there is not finite.
    """
    plain = cast("dict[str, object]", _adapter().dump_python(record, mode="json"))
    try:
        text = _lines(plain)
    except ValueError:
        without = cast("dict[str, object]", _null_where_not_finite(plain))
        text = _lines(without)
        _must_load(without, f"run {record.id}")
    return text.encode("utf-8", "replace").decode("utf-8")


def load_run(text: str, where: str) -> RunRecord:
    """The record that ``dump_run`` wrote. ``where`` names the file in messages.

    Raises:
        StoreError: the text is not JSON, has another schema version, or does not fit the record.
    """
    return _validated(check_schema(text, where), where)


def check_schema(text: str, where: str) -> dict[str, object]:
    """The JSON object in ``text``, once its schema version is known to be this one.

    Raises:
        StoreError: it is not a JSON object, or has another schema version.
    """
    try:
        plain = json.loads(text)
    except ValueError as error:
        raise StoreError(
            f"{where}: this is not JSON ({error}).\n"
            "  hint: restore the file from version control, or run the suites again."
        ) from error
    if not isinstance(plain, dict):
        raise StoreError(f"{where}: a run record is a JSON object.\n  hint: pass a run.json.")
    version = plain.get("schema")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{where}: run record schema {version!r}; this version of the harness reads "
            f"{SCHEMA_VERSION}.\n  hint: read it with the version that wrote it "
            "(see `environment` in the file), or run the suites again."
        )
    return cast("dict[str, object]", plain)


@cache  # building it takes 50 ms
def _adapter() -> TypeAdapter[RunRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def _validated(plain: dict[str, object], where: str) -> RunRecord:
    from pydantic import ValidationError

    try:
        return _adapter().validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"{where}: does not fit the run record at {place}: {first['msg']} "
            f"({error.error_count()} such places).\n"
            "  hint: restore the file from version control, or run the suites again."
        ) from error


def _must_load(plain: dict[str, object], where: str) -> None:
    try:
        _validated(plain, where)
    except StoreError as error:
        raise StoreError(
            f"{where} holds a number that is not finite and has to be there.\n{error}"
        ) from error


def _null_where_not_finite(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _null_where_not_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_where_not_finite(item) for item in value]
    return value


def _lines(plain: dict[str, object]) -> str:
    """One line for each element of a top-level list: differences between two runs stay readable."""
    parts = []
    for key in sorted(plain):
        value = plain[key]
        body = _one_line(value)
        if isinstance(value, list) and value:
            body = "[\n  " + ",\n  ".join(map(_one_line, value)) + "\n ]"
        parts.append(f" {json.dumps(key)}: {body}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _one_line(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
