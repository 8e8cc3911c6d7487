"""Tables as they are before they are rows, and which of their columns holds what."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from harness.errors import UnknownName, UsageError

FORMS = (("messages",), ("prompt", "completion"), ("user", "assistant"))
MAPS = "'user=COLUMN,assistant=COLUMN', 'prompt=COLUMN,completion=COLUMN' or 'messages=COLUMN'"


@dataclass(frozen=True, slots=True)
class Table:
    """Records as they stream in, each with its number."""

    where: str
    columns: Sequence[str]
    records: Iterator[tuple[int, Mapping[str, object]]]  # without missing values


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column holds which part of a row.

    ``messages``, or ``prompt`` and ``completion``, or ``user`` and ``assistant`` (with ``system`` where
    there is one); any of these with ``id``. All other columns become metadata under their own names.

    Raises:
        UsageError: a map that is incomplete, mixes these forms, or uses a column twice.
    """

    messages: str | None = None
    prompt: str | None = None
    completion: str | None = None
    user: str | None = None
    assistant: str | None = None
    system: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        given = self.given
        form = {key for key in given if key not in ("system", "id")}
        if form not in map(set, FORMS):
            missing = [k for whole in FORMS if form < set(whole) and form for k in whole if k not in form]
            what = f"lacks {missing[0]!r}" if missing else "does not say where the conversation stands"
            what = "mixes forms of a conversation" if len(form) > 1 else what
            raise UsageError(f"the column map {_shown(given)} {what}; write one of {MAPS}")
        if "system" in given and "user" not in given:
            raise UsageError(
                f"the column map {_shown(given)} gives 'system' without 'user' and 'assistant'; "
                "write 'system=COLUMN,user=COLUMN,assistant=COLUMN'"
            )
        twice = [column for column in given.values() if list(given.values()).count(column) > 1]
        if twice:
            raise UsageError(f"the column map {_shown(given)} uses the column {twice[0]!r} twice")

    @property
    def given(self) -> Mapping[str, str]:
        """Column by target, of those that are mapped."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {target: column for target, column in pairs if column is not None}

    @classmethod
    def parse(cls, text: str) -> ColumnMap:
        """A map from text: ``user=question,assistant=answer``; a name with a comma stands in quotes.

        Raises:
            UsageError: for what the class refuses, targets given twice and parts that are no ``a=b``;
                ``UnknownName`` for targets that do not exist.
        """
        known = [f.name for f in fields(cls)]
        found: dict[str, str] = {}
        for part in next(csv.reader([text], skipinitialspace=True), []):
            target, equals, column = (piece.strip() for piece in part.partition("="))
            if not (target and equals and column):
                raise UsageError(f"{part!r} in the column map {text!r} is no TARGET=COLUMN; write {MAPS}")
            if target not in known:
                raise UnknownName("part of a row", target, known, f"Write {MAPS}.")
            if target in found:
                raise UsageError(f"the column map {text!r} gives {target!r} twice; keep one of the two")
            found[target] = column
        return cls(**found)


def _shown(given: Mapping[str, str]) -> str:
    return repr(",".join(f"{target}={column}" for target, column in given.items()))
