"""Rows without personal data and secrets, as far as their form gives them away.

What ``sensitive`` finds, and addresses of the internet. Names, postal addresses, dates of birth, phone
numbers without a country's code and passwords in running text have no such form: they are not found.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.data.sensitive import KINDS, Found, SensitiveKind
from harness.data.task import json_object
from harness.records import Json, Row

# versions, section numbers and times are no addresses
_IPV4 = re.compile(r"(?<![\w.:-])(?<!version )(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w.:-])(?:[0-9A-Fa-f]{1,4}:{1,2}){2,7}[0-9A-Fa-f]{1,4}(?![\w:-])", re.ASCII)


def _addresses(text: str) -> Iterator[Found]:
    for match in (*_IPV4.finditer(text), *_IPV6.finditer(text)):
        try:
            if ipaddress.ip_address(match[0]).is_global:  # others are in every handbook
                yield match[0], *match.span()
        except ValueError:
            continue


REDACTED = (
    *KINDS,
    SensitiveKind("personal-data", "IP address", "IP addresses", (), _addresses, lambda _: ""),
)
_PLACEHOLDERS = {
    "e-mail address": "EMAIL",
    "payment card number": "CARD",
    "bank account (IBAN)": "IBAN",
    "US social security number": "SSN",
    "phone number": "PHONE",
    "IP address": "IP",
    "API key": "KEY",
    "private key": "KEY",
    "JSON Web Token": "TOKEN",
}


def redacted(rows: Sequence[Row]) -> tuple[tuple[Row, ...], Counter[str]]:
    """The rows with placeholders such as ``[EMAIL]``, and how often each kind was replaced.

    In metadata and ids the placeholders have numbers, so that what belonged together still does.
    """
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}

    def without(text: str, numbered: bool) -> str:
        places = ((kind.name, place) for kind in REDACTED for place in kind.places(text))
        found = sorted((start, end, value, kind) for kind, (value, start, end) in places)
        parts, done = [], 0
        for start, end, value, kind in found:
            if start >= done:
                counts[kind] += 1
                name = _PLACEHOLDERS[kind]
                mark = names.setdefault(value, f"[{name} {len(names) + 1}]") if numbered else f"[{name}]"
                parts += [text[done:start], mark]
                done = end
        return "".join([*parts, text[done:]])

    def anywhere(value: Json, numbered: bool) -> Json:
        if isinstance(value, dict):
            return {without(key, True): anywhere(item, numbered) for key, item in value.items()}
        if isinstance(value, list):
            return [anywhere(item, numbered) for item in value]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = str(value)
            plain = without(text, numbered)
            return value if plain == text else plain
        return value

    def said(text: str) -> str:
        found = json_object(text)  # a number in it may become a text
        if found is None:
            return without(text, False)
        plain = anywhere(found, False)
        return text if plain == found else json.dumps(plain, ensure_ascii=False)

    def row_without(row: Row) -> Row:
        messages = tuple(
            replace(
                message,
                content=said(message.content),
                tool_calls=tuple(
                    replace(call, arguments=said(call.arguments)) for call in message.tool_calls
                ),
            )
            for message in row.messages
        )
        metadata = {key: anywhere(value, True) for key, value in row.metadata.items()}
        return replace(
            row, id=str(metadata.get("id") or without(row.id, True)), messages=messages, metadata=metadata
        )

    return tuple(map(row_without, rows)), counts
