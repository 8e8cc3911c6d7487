"""Findings about a row file: a stable code and a severity for each problem that one can have.

Codes are part of the interface: programs match them, so none is ever renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from harness.records import Json


class Severity(StrEnum):
    """An error makes a file unusable; a warning costs quality or money."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in a file, by its code in ``CODES``."""

    code: str
    line: int  # from 1; of a finding about the whole file the last one
    problem: str  # one sentence, with the values that show it
    hint: str
    lines: tuple[int, ...] = ()  # of findings about several rows (duplicates, contradictions): all of theirs

    @property
    def severity(self) -> Severity:
        """From its code."""
        return CODES[self.code]


# a line each: bytes and JSON; rows; messages; tools; the file and its model
_ERRORS = """
    not-utf8 byte-order-mark invalid-json not-an-object repeated-key bad-number half-surrogate empty-file
    missing-key bad-id repeated-id preference-row labels-file no-messages no-assistant no-user role-order
    nothing-to-learn
    unknown-role unknown-key bad-name bad-weight bad-content empty-content multimodal
    bad-tool bad-tool-call unknown-tool bad-arguments unmatched-tool-call
    too-few-rows over-context wrong-format leak
"""
# the file; quality
_WARNINGS = """
    deprecated-functions few-rows
    exact-duplicate near-duplicate contradiction inconsistent-format length-outlier placeholder personal-data
    secret template-leftover class-shift length-shift language-shift low-diversity
"""
CODES: Mapping[str, Severity] = MappingProxyType(
    dict.fromkeys(_ERRORS.split(), Severity.ERROR) | dict.fromkeys(_WARNINGS.split(), Severity.WARNING)
)


class Unusable(Exception):  # noqa: N818 - caught where the line gets its number
    """The line being read cannot be used; with ``ends_file`` every other would fail in the same way."""

    def __init__(self, code: str, problem: str, hint: str, *, ends_file: bool = False) -> None:
        super().__init__(problem)
        self.code, self.problem, self.hint, self.ends_file = code, problem, hint, ends_file


def shown(value: Json) -> str:
    """A value in Python's notation, cut to 40 characters, for messages."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def kind_of(value: Json) -> str:
    """The kind of a JSON value, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
