"""What can be wrong with a row file: a stable code for each finding, its severity, and what it means.

Codes are part of the interface: programs match them, so none is ever renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """An error makes a file unusable; a warning costs quality or money; a note is worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a file.

    Attributes:
        code: one of ``CODES``.
        line: from 1; the file's last line for what is wrong with the file as a whole.
        problem: what is wrong, in one sentence, with the values that show it.
        hint: what to do about it.
        lines: for findings about several rows (duplicates, contradictions): all of their lines.
    """

    code: str
    line: int
    problem: str
    hint: str
    lines: tuple[int, ...] = ()

    @property
    def severity(self) -> Severity:
        """From its code."""
        return CODES[self.code]


_E, _W = Severity.ERROR, Severity.WARNING

CODES: Mapping[str, Severity] = MappingProxyType(
    {
        # bytes and JSON
        "not-utf8": _E,
        "byte-order-mark": _E,
        "invalid-json": _E,
        "not-an-object": _E,
        "repeated-key": _E,
        "bad-number": _E,
        "half-surrogate": _E,
        "empty-file": _E,
        # rows
        "missing-key": _E,
        "bad-id": _E,
        "repeated-id": _E,
        "preference-row": _E,
        "no-messages": _E,
        "no-assistant": _E,
        "no-user": _E,
        "role-order": _E,
        "nothing-to-learn": _E,
        # messages
        "unknown-role": _E,
        "unknown-key": _E,
        "bad-name": _E,
        "bad-weight": _E,
        "bad-content": _E,
        "empty-content": _E,
        "multimodal": _E,
        # tools
        "bad-tool": _E,
        "bad-tool-call": _E,
        "unknown-tool": _E,
        "bad-arguments": _E,
        "unmatched-tool-call": _E,
        "deprecated-functions": _W,
        # the file and its model
        "too-few-rows": _E,
        "few-rows": _W,
        "over-context": _E,
        "wrong-format": _E,
        "leak": _E,
        # quality
        "exact-duplicate": _W,
        "near-duplicate": _W,
        "contradiction": _W,
        "inconsistent-format": _W,
        "length-outlier": _W,
        "placeholder": _W,
        "personal-data": _W,
        "secret": _W,
        "class-shift": _W,
        "length-shift": _W,
        "language-shift": _W,
        "low-diversity": _W,
    }
)
