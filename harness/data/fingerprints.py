"""Content fingerprints: the SHA-256 of a canonical JSON text, the same on every machine and day.

Adapters, answers and judgments are stored under these, so two values share a fingerprint exactly when
they would give the same result. Canonical JSON here: keys sorted, no spaces, UTF-8, no NaN or infinity.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from harness.data.plain_text import same_key
from harness.errors import UsageError
from harness.records import Json, Message, Row


def fingerprint(value: object) -> str:
    """64 hex digits that depend on the content of ``value`` alone: JSON values, tuples and dataclasses.

    What counts as the same: mappings in any key order; a list and a tuple of the same items.
    What differs: ``1``, ``1.0``, ``True`` and ``"1"``; ``0.0`` and ``-0.0``; text in another Unicode
    normal form; two dataclasses of different names with equal fields (a ``LoRA(r=16)`` is not a
    ``QLoRA(r=16)``). A dataclass's module does not count, and neither does the order of its fields.

    Raises:
        UsageError: for anything whose text would not be its content: a path (it names a place, not
            bytes), a set (it has no order), NaN or infinity, bytes, keys that are no strings.
    """
    plain = _plain(value, "value")
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return bytes_digest(text.encode("utf-8", "surrogatepass"))  # a half differs from every character


def row_fingerprint(row: Row) -> str:
    """Of the parts that a model is trained on: roles, contents, weights and tools; not id or metadata."""
    turns: list[list[Json]] = []
    for m in row.messages:
        turns.append([m.role, m.content, m.weight])
        # left out where there is none, as fingerprints of rows without tools must never change
        if m.name is not None or m.tool_calls or m.tool_call_id is not None:
            turns[-1] += [m.name, m.tool_calls, m.tool_call_id]
    if not row.tools and row.parallel_tool_calls is None:
        return fingerprint(turns)
    return fingerprint({"turns": turns, "tools": row.tools, "parallel": row.parallel_tool_calls})


def rows_fingerprint(rows: Iterable[Row]) -> str:
    """The fingerprint of rows in their order (training depends on it)."""
    return fingerprint([row_fingerprint(row) for row in rows])


def asked_keys(rows: Sequence[Row]) -> tuple[str, ...]:
    """What each row asks, as 16 hex digits, in any spelling that ``same_key`` takes for the same.

    References do not count, nor do instructions, unless rows differ in them alone: when a label is mended or
    a prompt is worded anew, the rows stay the ones that they were.
    """
    turns = [_text(row.turns) for row in rows]
    instructions: dict[str, set[str]] = {}
    for text, row in zip(turns, rows, strict=True):
        instructions.setdefault(text, set()).add(row.instructions)
    texts = (
        text if len(instructions[text]) == 1 else _text(row.prompt)
        for text, row in zip(turns, rows, strict=True)
    )
    return tuple(bytes_digest(same_key(text).encode("utf-8", "surrogatepass"))[:16] for text in texts)


def _text(messages: Iterable[Message]) -> str:
    return "\n".join(message.content for message in messages)


def bytes_digest(data: bytes) -> str:
    """SHA-256 of ``data``, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def _plain(value: object, at: str) -> Json:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise UsageError(f"cannot fingerprint {at}: {value} is no JSON number; use None for a missing one")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name), f"{at}.{f.name}") for f in dataclasses.fields(value)}
        return {f"dataclass {type(value).__name__}": fields}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):  # JSON writes 1 and "1" alike: two mappings would share it
                name = type(key).__name__
                raise UsageError(f"cannot fingerprint {at}: the key {key!r} is {name}; use a string")
        return {key: _plain(item, f"{at}[{key!r}]") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_plain(item, f"{at}[{index}]") for index, item in enumerate(value)]
    reason = f"a {type(value).__name__} is not JSON; use str, numbers, None, lists, mappings or dataclasses"
    if isinstance(value, PurePath):
        reason = f"the path {str(value)!r} names a place, not content; use the digest of the file's bytes"
    elif isinstance(value, bytes | bytearray | memoryview):
        reason = "bytes are not JSON; use bytes_digest"
    elif isinstance(value, set | frozenset):
        reason = "a set has no order; use a sorted list"
    raise UsageError(f"cannot fingerprint {at}: {reason}")
