"""Findings about a row file: a stable code and a severity for each problem that one can have.

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
        line: from 1; the last line of the file where the finding is about the file as a whole.
        problem: one sentence, with the values that show it.
        hint: a way to mend it.
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


# a line each: bytes and JSON; rows; messages; tools; the file and its model
_ERRORS = """
    not-utf8 byte-order-mark invalid-json not-an-object repeated-key bad-number half-surrogate empty-file
    missing-key bad-id repeated-id preference-row no-messages no-assistant no-user role-order nothing-to-learn
    unknown-role unknown-key bad-name bad-weight bad-content empty-content multimodal
    bad-tool bad-tool-call unknown-tool bad-arguments unmatched-tool-call
    too-few-rows over-context wrong-format leak
"""
# the file; quality
_WARNINGS = """
    deprecated-functions few-rows
    exact-duplicate near-duplicate contradiction inconsistent-format length-outlier placeholder personal-data
    secret class-shift length-shift language-shift low-diversity
"""
CODES: Mapping[str, Severity] = MappingProxyType(
    dict.fromkeys(_ERRORS.split(), Severity.ERROR) | dict.fromkeys(_WARNINGS.split(), Severity.WARNING)
)
