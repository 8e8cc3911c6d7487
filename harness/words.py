"""Words with numbers, in the sentences of every room."""

from __future__ import annotations


def plural(value: int, word: str) -> str:
    """A count with its noun: ``1 row``, ``1,200 rows``."""
    return f"{value:,} {word if value == 1 else word + 's'}"
