"""Rows that a split must not part: groups, and rows that are copies or edits of one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.data.leakage import SHORT_WORDS, find_leaks, words
from harness.errors import UsageError
from harness.records import Row

ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Which rows are held out, by place in the file, and notes about the choice for the user."""

    places: frozenset[int]
    notes: tuple[str, ...]


class RowGroups:
    """Sets of rows that go to one side together (union-find over places in the file)."""

    def __init__(self, rows: Sequence[Row], group: str | None) -> None:
        self._parent = list(range(len(rows)))
        self._near_duplicates: set[int] = set()
        of_value: dict[str, int] = {}
        of_text: dict[tuple[str, ...], int] = {}
        for at, row in enumerate(rows):
            value = None if group is None else row.text(group)
            if value is not None:
                self._unite(of_value.setdefault(value, at), at)
            text = tuple(word for turn in _user_words(row) for word in turn)
            if len(text) >= SHORT_WORDS and of_text.setdefault(text, at) != at:
                self.join([(of_text[text], at)])

    def join(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Keep near-duplicates together."""
        for one, other in pairs:
            self._near_duplicates.update((one, other))
            self._unite(one, other)

    def members(self) -> list[list[int]]:
        """The places of each set, in the file's order."""
        found: dict[int, list[int]] = defaultdict(list)
        for at in range(len(self._parent)):
            found[self._root(at)].append(at)
        return list(found.values())

    def notes(self) -> tuple[str, ...]:
        """The number of rows with near-duplicates, in words."""
        if not self._near_duplicates:
            return ()
        count = len(self._near_duplicates)
        return (f"{count} rows have near-duplicates; each was kept on the side of its own.",)

    def _unite(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        self._parent[max(one, other)] = min(one, other)

    def _root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at


def _user_words(row: Row) -> tuple[tuple[str, ...], ...]:
    return tuple(words(m.content) for m in row.messages if m.role == "user")


def near_duplicates(
    rows: Sequence[Row], train: Sequence[int], heldout: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs of places, one of each side, whose texts would count as a leak."""

    def distinct(side: Sequence[int]) -> list[Row]:
        """One row for each text, as k copies would make k * k pairs, with its place as its id.

        It is the last of them, in its order, as ``find_leaks`` reads them.
        """
        last: dict[object, int] = {}
        for at in side:
            replies = tuple(m.content for m in rows[at].messages if m.role == "assistant")
            key = _user_words(rows[at]), replies
            last.pop(key, None)
            last[key] = at
        return [replace(rows[at], id=str(at)) for at in last.values()]

    return [
        (int(leak.train_id), int(leak.heldout_id))
        for leak in find_leaks(distinct(train), distinct(heldout))
        if leak.kind != "exact-short" and leak.train_id != leak.heldout_id
    ]


def require_small_enough(rows: Sequence[Row], members: Sequence[int], wanted: int, side: str) -> None:
    """Check that rows that belong together fit a side of ``wanted`` rows.

    Raises:
        UsageError: naming the rows.
    """
    if len(members) <= wanted:
        return
    places = [rows[at].where or rows[at].id for at in members[:ROWS_SHOWN]]
    more = f" and {len(members) - len(places)} more" if len(members) > len(places) else ""
    raise UsageError(
        f"{wanted} rows are wanted on the {side} side, but {len(members)} rows belong together, by their "
        f"group or as near-duplicates: {', '.join(places)}{more}. Ask for at least {len(members)} rows "
        "there, group by another field, or take near-duplicates out."
    )
