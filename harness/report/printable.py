"""Text for a terminal: what no terminal shows is spelled out, and an error is one screen."""

from __future__ import annotations

import re

LONGEST_LINE, MOST_LINES = 600, 40  # of an error
# control characters but the end of a line, those that turn the writing direction, halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# how a terminal without them is shown the signs that reports are written with
_SPELLED = {"→": "->", "–": "-", "−": "-", "…": "...", "×": "x", "’": "'", "±": "+-", "≤": "<=", "²": "^2"}


def encodable(text: str, encoding: str) -> str:
    """``text`` in the characters of ``encoding``: known signs are spelled in ASCII, others are escaped."""

    def fits(character: str) -> bool:
        return bool(character.encode(encoding, "ignore"))

    spelled = "".join(one if fits(one) else _SPELLED.get(one, one) for one in text)
    return spelled.encode(encoding, "backslashreplace").decode(encoding)


def printable(text: str) -> str:
    """``text`` with its control characters spelled out: an answer must not steer the reader's terminal."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_screen(text: str) -> str:
    """An error's ``text`` for a terminal: printable, its lines not endless, and not too many of them."""
    lines = printable(text).split("\n")
    cut = [
        one if len(one) <= LONGEST_LINE else f"{one[:LONGEST_LINE]} … ({len(one):,} characters)"
        for one in lines
    ]
    if len(cut) > MOST_LINES:
        cut[MOST_LINES - 1 : -1] = [f"  … {len(cut) - MOST_LINES:,} more lines"]
    return "\n".join(cut)
