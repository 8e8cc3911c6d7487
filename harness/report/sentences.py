"""Parts of the sentences in which a decision is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from harness.records import Gate, Role
from harness.report import numbers

listed = partial(numbers.listed, most=4)
_LONGEST = 200  # characters of a sentence that somebody else wrote


def sentences(parts: Iterable[str]) -> str:
    """Each with a capital and a full stop; a file's name keeps its letters."""
    return " ".join(f"{_begun(part).rstrip('.')}." for part in parts if part)


def _begun(text: str) -> str:
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    return text if "." in first.rstrip(".") or "/" in first else f"{text[:1].upper()}{text[1:]}"


def cut(text: str, longest: int = _LONGEST) -> str:
    """As much of a text as a sentence has room for."""
    return text if len(text) <= longest else f"{text[:longest].rstrip()} …"


def baselines_of(own: Sequence[Gate]) -> list[str]:
    """What the gates compare with, each once; plain numbers are none."""
    beside = [g for g in own if g.state in ("gated", "advisory") and g.role is not Role.THRESHOLD]
    found = dict.fromkeys(gate.comparison.baseline for gate in beside if gate.comparison)
    return [name for name in found if not is_number(name)]


def is_number(text: str) -> bool:
    """Whether a side of a comparison is a plain number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
