"""Reads a grader's reply: wrapping is tolerated, anything that leaves the score in doubt is not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from harness.records import Json
from harness.scoring.judges import Failure
from harness.scoring.text import short

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # models that think aloud, served as they are
_NUMBER = re.compile(r"(\d{1,3})(?:\.0+)?(?:\s*/\s*(\d{1,3}))?", re.ASCII)
REASON_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Judgment:
    """A score on the scale, with its reason."""

    level: int
    reason: str


def read_judgment(text: str, scale: int) -> Judgment | Failure:
    """The judgment in a grader's reply.

    A thought before it, a code fence or prose around it are tolerated. The reply must hold one JSON object: a
    grader may quote the answer under judgment, and an answer may hold a judgment of itself. Braces outside
    the first object, or an object that does not end, make the reply a failure: there is no guess at which
    object is meant.
    """
    body = _THOUGHT.sub("", text)
    start = body.find("{")
    if start < 0:
        return Failure(f"no JSON object in the judgment: {short(body, 80) or 'it is empty'!r}")
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys)
    try:
        found, end = decoder.raw_decode(body, start)
    except (ValueError, RecursionError) as error:
        return Failure(f"the judgment cannot be read: {short(str(error), 80)}")
    if {"{", "}"} & set(body[end:]):
        return Failure("more than one JSON object in the judgment")
    if "score" not in found:
        return Failure("no score in the judgment")
    level = _level(found["score"], scale)
    if level is None:
        return Failure(f"the score {short(repr(found['score']), 40)} is no whole number from 1 to {scale}")
    reason = found.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        return Failure("a score without a reason")
    return Judgment(level, short(reason, REASON_CHARACTERS))


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse a key that stands there twice: readers differ in which of its values counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _level(score: Json, scale: int) -> int | None:
    """The score as a whole number; ``4.0``, ``"4"`` and, on a scale to 5, ``"4/5"`` are 4."""
    if isinstance(score, bool) or not isinstance(score, int | float | str):
        return None
    number = _NUMBER.fullmatch(str(score).strip())
    if number is None or (number[2] is not None and int(number[2]) != scale):
        return None
    level = int(number[1])
    return level if 1 <= level <= scale else None
