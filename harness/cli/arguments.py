"""What the command's arguments may be: numbers are ASCII digits, and texts are of one printable line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence

from harness.errors import UsageError
from harness.fields import LONGEST_TEXT, shown_value


def require_plain(arguments: Sequence[str]) -> None:
    """Refuse arguments that no file, model or number is called.

    Raises:
        UsageError: one is empty, has control characters or half a surrogate pair, or is very long.
    """
    for text in arguments:
        if text.endswith("=") and text.startswith("--"):
            raise UsageError(f"{shown_value(text)} is empty: give it a value, or leave it out.")
        if not text.strip() or not text.isprintable() or len(text) > LONGEST_TEXT:
            raise UsageError(
                f"the argument {shown_value(text)} cannot be: use one line of 1 to {LONGEST_TEXT:,}"
                " printable characters."
            )


def whole(least: int, most: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers in the span."""

    def read(text: str) -> int:
        # int() takes 1_0, +1 and the digits of other scripts, too
        if not re.fullmatch(r"0|-?[1-9][0-9]{0,18}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def number(*, above: float) -> Callable[[str], float]:
    """A type for argparse: decimal numbers above one."""

    def read(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{0,15})?", text) or float(text) <= above:
            raise argparse.ArgumentTypeError(f"{text!r} is no decimal number above {above:g}")
        return float(text)

    return read
