"""Reads an answer's text: strict JSON, and refusals by their phrases."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from harness.records import Json

REFUSAL_WINDOW_CHARACTERS = 240

#: Phrases that make an answer a refusal: lower case, straight apostrophes, whole words.
REFUSALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        language: tuple(phrases.split(", "))
        for language, phrases in {
            "en": (
                "i can't help, i cannot help, i can't assist, i cannot assist, i can't provide, "
                "i cannot provide, i can't do that, i cannot do that, i can't comply, "
                "i cannot comply, i'm unable to, i am unable to, i'm not able to, i am not able to, "
                "i won't be able to, i must decline, i have to decline, as an ai language model"
            ),
            "de": (
                "ich kann dir nicht helfen, ich kann dir dabei nicht helfen, "
                "ich kann ihnen nicht helfen, ich kann ihnen dabei nicht helfen, "
                "dabei kann ich nicht helfen, dabei kann ich ihnen nicht helfen, "
                "dabei kann ich dir nicht helfen, ich bin nicht in der lage, ich muss ablehnen"
            ),
            "fr": (
                "je ne peux pas vous aider, je ne peux pas t'aider, je ne peux pas fournir, "
                "je ne suis pas en mesure, je ne peux pas répondre, je dois refuser"
            ),
            "es": (
                "no puedo ayudar, no puedo ayudarte, no puedo ayudarle, no puedo proporcionar, "
                "no puedo responder, no estoy en condiciones de"
            ),
            "it": "non posso aiutarti, non posso aiutarla, non posso fornire, non sono in grado di",
            "nl": (
                "daar kan ik niet mee helpen, ik kan je niet helpen, ik kan u niet helpen, "
                "ik ben niet in staat"
            ),
            "pt": "não posso ajudar, não posso fornecer, não consigo ajudar, não sou capaz de",
            "pl": "nie mogę pomóc, nie mogę ci pomóc, nie jestem w stanie, muszę odmówić",
        }.items()
    }
)

_FENCE_MARK = re.compile(r"`{3,}|~{3,}")
_LINE_END = re.compile(r"\r\n|\n|\r")
_INFO_WORD = re.compile(
    r"[ \t]*(?:[A-Za-z][\w+.#-]*(?![\w+.#-])(?=\s*\S))?"
)  # of a fence on one line: ```json {}```


class NotJson(ValueError):  # noqa: N818 - an answer's state, caught where it is scored
    """The text is not JSON; the message says why, in a few words."""


def short(text: str, limit: int = 200) -> str:
    """``text`` on one line and at most ``limit`` characters long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def parse_json(text: str, *, fenced_ok: bool = False) -> Json:
    """The JSON value that is the whole text (RFC 8259: no NaN, no Infinity).

    Raises:
        NotJson: it is none.
    """
    body = text.strip()
    if not body:
        raise NotJson("not JSON: the answer is empty")
    inside = in_fence(body)
    if inside and not fenced_ok:
        raise NotJson("not JSON: inside a code fence")
    problems: list[NotJson] = []
    for text_inside in inside or (body,):
        try:
            return _json(text_inside)
        except NotJson as problem:
            problems.append(problem)
    raise problems[0]


def in_fence(text: str) -> tuple[str, ...]:
    """What a Markdown code fence around all of ``text`` may hold, likeliest first; empty where there is none.

    Fences are those of CommonMark 0.31 (section 4.5): three or more backticks or tildes, an info string, a
    closing mark at least as long, any line ends. Models also write one on a single line, and begin the code
    on the line of the info string.
    """
    body = text.strip()
    begun = _FENCE_MARK.match(body)
    if begun is None:
        return ()
    mark = begun[0]
    rest = body[len(mark) :]
    inner = rest.rstrip(mark[0])
    if len(rest) - len(inner) < len(mark):
        return ()
    glued = inner[_INFO_WORD.match(inner).end() :]  # type: ignore[union-attr]  # it matches nothing, too
    info = _LINE_END.search(inner)
    return (glued,) if info is None else (inner[info.end() :], glued)


def _json(body: str) -> Json:
    try:
        value: Json = json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise NotJson("not JSON: nested too deeply") from error
    except ValueError as error:  # NaN, Infinity, integers past Python's limit of digits
        raise NotJson(f"not JSON: {short(str(error), 80)}") from error
    return value


def _refuse_constant(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON number")


def judged_text(text: str, field: str | None) -> tuple[str, str]:
    """The text for a judge, all of it or ``field`` of its JSON; and the problem where it is empty."""
    if field is None:
        return text.strip(), "empty"
    try:
        value = parse_json(text)
    except NotJson as error:
        return "", f"no field {field!r}: {error}"
    held = value.get(field) if isinstance(value, dict) else None
    if held is None:
        return "", f"no field {field!r}"
    if not isinstance(held, str):
        return "", f"field {field!r} is not a text"
    return held.strip(), f"field {field!r} is empty"


def refusal_in(text: str) -> str | None:
    """The refusal phrase near the start of the text, or None."""
    start = " ".join(text[:REFUSAL_WINDOW_CHARACTERS].replace("’", "'").casefold().split())
    phrases = (phrase for language in REFUSALS.values() for phrase in language)
    return next((p for p in phrases if re.search(rf"(?<!\w){re.escape(p)}(?!\w)", start)), None)
