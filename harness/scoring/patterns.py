"""Regular expressions whose time is bounded, whatever the pattern and the text.

Python's own ``re`` has no limit, and ``^(a|aa)+$`` takes hours on sixty letters. The package ``regex``
reads the same syntax (and ``\\p{L}`` beside it), and stops when it is told to.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from math import prod

import regex

PATTERN_SECONDS = 1.0  # for one pattern on one text; ordinary ones take microseconds
MOST_REPEATS = 100_000  # of a part: `regex` writes each out, 30 MB so many, and a{99999999} takes all memory
_AT_LEAST = re.compile(r"\{(\d+)(?:,\d*)?\}")


class BadPattern(ValueError):  # noqa: N818 - what is wrong says it
    """The text is no regular expression; the message says why."""


class PatternTimeout(Exception):  # noqa: N818 - what happened says it
    """The pattern was not decided in time; the message names it."""


def nfc(text: str) -> str:
    """``text`` in Unicode's composed form: "é" is one character, however it was typed."""
    return unicodedata.normalize("NFC", text)


def require_pattern(pattern: str) -> None:
    """Raise BadPattern unless ``pattern`` is a regular expression."""
    _compiled(nfc(pattern))


def matches(pattern: str, text: str, *, full: bool = False) -> bool:
    """Whether ``pattern`` matches some part of ``text``, or with ``full`` all of it; both in composed form.

    Raises:
        BadPattern: it is no regular expression.
        PatternTimeout: it was not decided within ``PATTERN_SECONDS``.
    """
    ready, text = _compiled(nfc(pattern)), nfc(text)
    try:
        found = (ready.fullmatch if full else ready.search)(text, timeout=PATTERN_SECONDS)
    except TimeoutError as error:
        shown = pattern if len(pattern) <= 60 else f"{pattern[:59]}…"
        raise PatternTimeout(
            f"the pattern {shown!r} was not decided in {PATTERN_SECONDS:g} s on {len(text):,} characters;"
            " write it without a repetition inside a repetition"
        ) from error
    return found is not None


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> regex.Pattern[str]:
    try:
        if prod(int(count) or 1 for count in _AT_LEAST.findall(pattern)) > MOST_REPEATS:
            raise BadPattern(f"it repeats a part more than {MOST_REPEATS:,} times")
        return regex.compile(pattern, cache_pattern=False)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadPattern(why) from error
