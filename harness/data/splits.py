"""Training and held-out rows from one file, so that nothing of one side is known from the other.

Rows that are copies or edits of one another stay together, and so does every group that is asked for.
By class, groups are dealt out largest first; the order of single rows is that of ``subsets``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate

from harness.data.leakage import SHORT_WORDS, find_leaks, words
from harness.data.subsets import Stratum, nested_subsets
from harness.errors import DataError, UnknownName, UsageError
from harness.records import Json, Row

ROWS_SHOWN = 10
CLASSES_SHOWN = 5
EPOCH_BELOW = 1e11  # seconds: larger numbers are milliseconds, or dates and times without punctuation
DATE_FORM = 'write an ISO 8601 date or time such as "2025-03-01" or "2025-03-01T09:30:00Z", or epoch seconds'


@dataclass(frozen=True, slots=True)
class Split:
    """Both sides in the file's order. ``notes`` say what a reader of the split should know."""

    train: tuple[Row, ...]
    heldout: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def split_rows(
    rows: Sequence[Row],
    *,
    heldout: float | int,
    seed: int = 0,
    stratify: str | None = None,
    group: str | None = None,
    time: str | None = None,
) -> Split:
    """Hold out a share of ``rows`` (a float in (0, 1)) or a number of them (an int).

    Neither side holds a near-duplicate of the other's rows: the result passes ``require_no_leaks``. Texts
    of under five words repeat honestly and may stand on both sides. ``stratify``, ``group`` and ``time``
    name metadata fields.

    - ``stratify``: every class has its share on both sides, within one row of it unless groups or
      near-duplicates forbid it. Rows that lack the field are a class of their own.
    - ``group``: no value of the field is on both sides. Rows that lack it stand alone.
    - ``time``: the newest rows are held out; every training row is older than the cut, and rows of the
      cut's instant are all held out. A group's older rows go with its newest row: in training they would
      give the group away. They are then judged with hindsight, and counted in the notes. The cut is the
      one that holds out the number of rows nearest to the one asked for. Dates are ISO 8601 texts or
      epoch seconds; one without a zone is taken as UTC.

    Without ``time``, the seed and the rows' contents decide, whatever the order of the file.

    Raises:
        UsageError: a share or number out of range, both ``stratify`` and ``time``, a field that no row
            has (``UnknownName``), or groups too large for the number of rows asked for.
        DataError: dates that are missing or cannot be read, with ``file:line`` (up to ten).
    """
    if stratify is not None and time is not None:
        raise UsageError(
            "a split by time cannot be stratified: the newest rows have the classes they have, and choosing "
            "among them would put older rows beside newer ones. Leave one of the two out."
        )
    wanted = _wanted(len(rows), heldout)
    _require_fields(rows, group, time)
    units = _Units(rows, group)
    units.join(_near_duplicates(rows, range(len(rows)), range(len(rows))))
    choose = (
        _ByClass.of(rows, wanted, seed, stratify)
        if time is None
        else _ByTime(rows, wanted, _instants(rows, time))
    )
    while True:
        chosen = choose(units.members())
        train = [at for at in range(len(rows)) if at not in chosen.heldout]
        # what counts as a stock phrase depends on which of two equal short texts is read last, so that
        # a pair may only show between the finished sides
        pairs = _near_duplicates(rows, train, sorted(chosen.heldout))
        if not pairs:
            break
        units.join(pairs)
    return Split(
        tuple(rows[at] for at in train),
        tuple(rows[at] for at in sorted(chosen.heldout)),
        (*_size_note(len(chosen.heldout), wanted, len(rows)), *chosen.notes, *units.notes()),
    )


@dataclass(frozen=True, slots=True)
class _Choice:
    heldout: frozenset[int]  # places in the file
    notes: tuple[str, ...]


# ------------------------------------------------------------------------------------------ the call
def _wanted(total: int, heldout: float | int) -> int:
    if total < 2:
        raise UsageError(f"{total} rows cannot be split; give at least two")
    if isinstance(heldout, bool) or not 0 < heldout < (total if isinstance(heldout, int) else 1):
        raise UsageError(
            f"cannot hold out {heldout!r} of {total} rows; give a share between 0 and 1, such as 0.2, "
            f"or a number of rows from 1 to {total - 1}"
        )
    wanted = heldout if isinstance(heldout, int) else int(heldout * total + 0.5)
    if not 0 < wanted < total:
        empty = "held-out" if wanted == 0 else "training"
        raise UsageError(
            f"the share {heldout} of {total} rows leaves the {empty} side empty; "
            f"give a share from {1 / total:.3g} to {1 - 1 / total:.3g}, or a number of rows"
        )
    return wanted


def _require_fields(rows: Sequence[Row], *fields: str | None) -> None:
    for field in fields:
        if field is not None and all(row.text(field) is None for row in rows):
            known = {key for row in rows for key in row.metadata}
            raise UnknownName("metadata field", field, known, "Name a field that the rows have.")


def _size_note(found: int, wanted: int, total: int) -> tuple[str, ...]:
    if found == wanted:
        return ()
    return (f"{found} of {total} rows are held out; {wanted} were asked for.",)


# ------------------------------------------------------------------------- what must not be parted
class _Units:
    """Sets of rows that go to one side together (union-find over places in the file)."""

    def __init__(self, rows: Sequence[Row], group: str | None) -> None:
        self._parent = list(range(len(rows)))
        self._alike: set[int] = set()
        first: dict[str, int] = {}
        same_text: dict[tuple[str, ...], int] = {}
        for at, row in enumerate(rows):
            value = None if group is None else row.text(group)
            if value is not None:
                self._unite(first.setdefault(value, at), at)
            text = tuple(word for turn in _user_words(row) for word in turn)
            if len(text) >= SHORT_WORDS and same_text.setdefault(text, at) != at:
                self.join([(same_text[text], at)])

    def join(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Keep near-duplicates together."""
        for one, other in pairs:
            self._alike.update((one, other))
            self._unite(one, other)

    def members(self) -> list[list[int]]:
        """The places of each set, in the file's order."""
        found: dict[int, list[int]] = defaultdict(list)
        for at in range(len(self._parent)):
            found[self._root(at)].append(at)
        return list(found.values())

    def notes(self) -> tuple[str, ...]:
        if not self._alike:
            return ()
        return (f"{len(self._alike)} rows have near-duplicates; each was kept on the side of its own.",)

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


def _near_duplicates(
    rows: Sequence[Row], train: Sequence[int], heldout: Sequence[int]
) -> list[tuple[int, int]]:
    one, other = (
        [replace(rows[at], id=str(at)) for at in _distinct(rows, side)] for side in (train, heldout)
    )
    return [
        (int(leak.train_id), int(leak.heldout_id))
        for leak in find_leaks(one, other)
        if leak.kind != "exact-short" and leak.train_id != leak.heldout_id
    ]


def _distinct(rows: Sequence[Row], side: Iterable[int]) -> list[int]:
    """One place for each text: k copies would make k * k pairs. The last of them, as find_leaks reads."""
    last: dict[tuple[tuple[tuple[str, ...], ...], tuple[str, ...]], int] = {}
    for at in side:
        replies = tuple(m.content for m in rows[at].messages if m.role == "assistant")
        key = _user_words(rows[at]), replies
        last.pop(key, None)
        last[key] = at
    return list(last.values())


def _require_small_enough(rows: Sequence[Row], members: Sequence[int], wanted: int, side: str) -> None:
    if len(members) <= wanted:
        return
    places = [rows[at].where or rows[at].id for at in members[:CLASSES_SHOWN]]
    more = f" and {len(members) - len(places)} more" if len(members) > len(places) else ""
    raise UsageError(
        f"{wanted} rows are wanted on the {side} side, but {len(members)} rows belong together, by their "
        f"group or as near-duplicates: {', '.join(places)}{more}. Ask for at least {len(members)} rows "
        "there, group by another field, or take near-duplicates out."
    )


# ------------------------------------------------------------------------------------------ by class
@dataclass(frozen=True, slots=True)
class _ByClass:
    """Deals units out so that each class has its share."""

    rows: Sequence[Row]
    classes: Sequence[Stratum]
    order: Sequence[int]  # places in the order of nested_subsets
    wanted: int
    target: Mapping[Stratum, int]  # rows of each class to hold out

    @classmethod
    def of(cls, rows: Sequence[Row], wanted: int, seed: int, stratify: str | None) -> _ByClass:
        placed = [replace(row, where=str(at)) for at, row in enumerate(rows)]
        subset = nested_subsets(placed, [len(rows)], seed, stratify)[len(rows)]
        order = [int(row.where) for row in subset]
        classes = [None if stratify is None else row.text(stratify) for row in rows]
        return cls(rows, classes, order, wanted, Counter(classes[at] for at in order[:wanted]))

    def __call__(self, members: Sequence[Sequence[int]]) -> _Choice:
        smallest = min(members, key=len)
        _require_small_enough(self.rows, smallest, self.wanted, "held-out")
        _require_small_enough(self.rows, smallest, len(self.rows) - self.wanted, "training")
        rank = {at: k for k, at in enumerate(self.order)}
        units = sorted(members, key=lambda unit: (-len(unit), min(rank[at] for at in unit)))
        held = self._groups([unit for unit in units if len(unit) > 1])
        self._singles(held, [unit[0] for unit in units if len(unit) == 1])
        self._improve(held, units)
        return _Choice(frozenset(held), self._notes(held))

    def _groups(self, units: Sequence[Sequence[int]]) -> set[int]:
        """Largest first, each to the side that keeps every class's share of the rows dealt so far.

        To fill the held-out side first would fill it with the largest groups alone.
        """
        held: set[int] = set()
        have: Counter[Stratum] = Counter()
        seen: Counter[Stratum] = Counter()
        share = self.wanted / len(self.rows)
        for unit in units:
            counts = self._count(unit)
            seen.update(counts)
            off = {c: have[c] - share * seen[c] for c in counts}
            change = sum((off[c] + n) ** 2 - off[c] ** 2 for c, n in counts.items())
            if change < 0 and len(held) + len(unit) <= self.wanted:
                held.update(unit)
                have.update(counts)
        return held

    def _singles(self, held: set[int], singles: Sequence[int]) -> None:
        """Fill up to what is wanted of each class, then with any class up to what is wanted in all."""
        have = self._count(held)
        for at in singles:
            if have[self.classes[at]] < self.target.get(self.classes[at], 0) and len(held) < self.wanted:
                held.add(at)
                have[self.classes[at]] += 1
        left = [at for at in singles if at not in held]
        held.update(left[: self.wanted - len(held)])

    def _improve(self, held: set[int], units: Sequence[Sequence[int]]) -> None:
        """Move single units while that brings the held-out side nearer to what is wanted."""
        counts = [self._count(unit) for unit in units]
        while True:
            have = self._count(held)
            off = {c: n - self.target.get(c, 0) for c, n in have.items()}
            changes = [
                self._change(n, off, len(held), unit[0] in held)
                for unit, n in zip(units, counts, strict=True)
            ]
            best = min(range(len(units)), key=changes.__getitem__)
            if changes[best] >= 0:
                return
            held.symmetric_difference_update(units[best])

    def _change(self, counts: Mapping[Stratum, int], off: Mapping[Stratum, int], n: int, out: bool) -> int:
        """Of the squared deviation when a unit changes sides. The total counts twice: it was asked for."""
        sign = -1 if out else 1
        gap = n - self.wanted
        size = sign * sum(counts.values())
        base = {c: off.get(c, -self.target.get(c, 0)) for c in counts}
        classes = sum((base[c] + sign * k) ** 2 - base[c] ** 2 for c, k in counts.items())
        return classes + 2 * ((gap + size) ** 2 - gap**2)

    def _count(self, places: Iterable[int]) -> Counter[Stratum]:
        return Counter(self.classes[at] for at in places)

    def _notes(self, held: Iterable[int]) -> tuple[str, ...]:
        have, all_rows = self._count(held), Counter(self.classes)
        share = {c: self.wanted * n / len(self.rows) for c, n in all_rows.items()}
        off = sorted(
            (c for c in share if abs(have[c] - share[c]) >= 1), key=lambda c: -abs(have[c] - share[c])
        )
        if not off or len(share) == 1:
            return ()
        shown = [
            f"{c if c is not None else '(none)'} {have[c]} ({share[c]:.1f})" for c in off[:CLASSES_SHOWN]
        ]
        more = f" and {len(off) - len(shown)} more" if len(off) > len(shown) else ""
        return (f"classes a row or more from their share, held out (wanted): {', '.join(shown)}{more}.",)


# ------------------------------------------------------------------------------------------- by time
@dataclass(frozen=True, slots=True)
class _ByTime:
    """Holds out the units with the newest rows."""

    rows: Sequence[Row]
    wanted: int
    instants: Sequence[datetime]

    def __call__(self, members: Sequence[Sequence[int]]) -> _Choice:
        newest: dict[datetime, list[Sequence[int]]] = defaultdict(list)
        for unit in members:
            newest[max(self.instants[at] for at in unit)].append(unit)
        cuts = sorted(newest, reverse=True)
        if len(cuts) == 1:
            raise UsageError(
                f"every row, or a group or near-duplicate of it, is of {cuts[0].isoformat()}: no cut in time "
                "leaves rows on both sides. Split without time, or group by another field."
            )
        for unit in newest[cuts[0]]:
            _require_small_enough(self.rows, unit, self.wanted, "held-out")
        sizes = list(accumulate(sum(map(len, newest[cut])) for cut in cuts[:-1]))
        last = min(range(len(sizes)), key=lambda k: abs(sizes[k] - self.wanted))
        held = frozenset(at for cut in cuts[: last + 1] for unit in newest[cut] for at in unit)
        return _Choice(held, self._notes(held, cuts[last]))

    def _notes(self, held: frozenset[int], cut: datetime) -> tuple[str, ...]:
        when = f"rows of {cut.isoformat()} and newer are held out."
        older = sum(self.instants[at] < cut for at in held)
        if not older:
            return (when,)
        return (
            when,
            f"{older} older rows are held out too, because their group or a near-duplicate reaches past "
            "that moment; the training rows hold things newer than they are.",
        )


def _instants(rows: Sequence[Row], field: str) -> list[datetime]:
    found: list[datetime] = []
    bad: list[Row] = []
    for row in rows:
        instant = _instant(row.metadata.get(field))
        if instant is None:
            bad.append(row)
        else:
            found.append(instant)
    if not bad:
        return found
    shown = [f"  {r.where or r.id}: {_date_problem(r.metadata.get(field))}" for r in bad[:ROWS_SHOWN]]
    if len(bad) > len(shown):
        shown.append(f"  and {len(bad) - len(shown)} more")
    listing = "\n".join([f"{len(bad)} rows have no date in {field!r} that can be read:", *shown])
    raise DataError(bad[0].where or bad[0].id, listing, DATE_FORM)


def _date_problem(value: Json) -> str:
    return "no date" if value is None else f"{value!r:.40}"


def _instant(value: Json) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        if isinstance(value, str) and not _is_epoch(value):
            found = datetime.fromisoformat(value.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        seconds = float(value)
        return datetime.fromtimestamp(seconds, UTC) if abs(seconds) < EPOCH_BELOW else None
    except (ValueError, OverflowError, OSError):  # no date, or one beyond the years 1 to 9999
        return None


def _is_epoch(text: str) -> bool:
    """Whether a text is epoch seconds, as tables give them; eight digits are a date (20250301)."""
    whole = text.strip().partition(".")[0]
    return whole.isdecimal() and len(whole) > 8
