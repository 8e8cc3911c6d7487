"""Training and held-out rows from one file, so that nothing of one side is known from the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.data.copies import joined
from harness.data.leakage import compare_rows
from harness.data.plain_text import plain_words, same_key
from harness.data.split_sides import hold_out_by_class, hold_out_newest
from harness.errors import UnknownName, UsageError
from harness.records import Row
from harness.words import plural


@dataclass(frozen=True, slots=True)
class Split:
    """Both sides in the file's order. ``notes`` are for the reader of the split."""

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

    Neither side holds a near-duplicate of the other's rows: the result passes ``require_no_leaks``.
    ``stratify``, ``group`` and ``time``
    name metadata fields.

    - ``stratify``: every class has its share on both sides, within one row of it unless groups or
      near-duplicates forbid it. Rows that lack the field are a class of their own.
    - ``group``: no value of the field is on both sides. A row that lacks it is a group of its own.
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
    for field in (group, time):
        if field is not None and all(row.text(field) is None for row in rows):
            known = {key for row in rows for key in row.metadata}
            raise UnknownName("metadata field", field, known, "Name a field that the rows have.")
    grouped: list[tuple[int, int]] = []
    near: list[tuple[int, int]] = []
    of_value: dict[str, int] = {}
    of_text: dict[str, int] = {}
    for at, row in enumerate(rows):
        value = None if group is None else row.text(group)
        if value is not None:
            grouped.append((of_value.setdefault(value, at), at))
        text = same_key("\n".join(m.content for m in row.messages if m.role == "user"))
        if of_text.setdefault(text, at) != at:
            near.append((of_text[text], at))
    near += _near_duplicates(rows, range(len(rows)), range(len(rows)))
    while True:
        together = joined(len(rows), [*grouped, *near])
        if time is None:
            held, notes = hold_out_by_class(rows, together, wanted, seed, stratify)
        else:
            held, notes = hold_out_newest(rows, together, wanted, time)
        train = [at for at in range(len(rows)) if at not in held]
        # leakage drops stock phrases by their count, and the last of equal short texts stands for them, so
        # that a pair may show between the finished sides only
        pairs = _near_duplicates(rows, train, sorted(held))
        if not pairs:
            break
        near += pairs
    if near:
        count = len({at for pair in near for at in pair})
        notes.append(f"{count} rows have near-duplicates; each was kept on the side of its own.")
    if len(held) != wanted:
        notes.insert(0, f"{len(held)} of {len(rows)} rows are held out; {wanted} were asked for.")
    return Split(tuple(rows[at] for at in train), tuple(rows[at] for at in sorted(held)), tuple(notes))


def _user_words(row: Row) -> tuple[tuple[str, ...], ...]:
    return tuple(plain_words(m.content) for m in row.messages if m.role == "user")


def _near_duplicates(
    rows: Sequence[Row], train: Sequence[int], heldout: Sequence[int]
) -> list[tuple[int, int]]:
    """Pairs of places, one of each side, whose texts would count as a leak."""

    def distinct(side: Sequence[int]) -> list[Row]:
        """The last row of each text (k copies would make k * k pairs), with its place as its id."""
        last: dict[object, int] = {}
        for at in side:
            replies = tuple(m.content for m in rows[at].messages if m.role == "assistant")
            key = _user_words(rows[at]), replies
            last.pop(key, None)
            last[key] = at
        return [replace(rows[at], id=str(at)) for at in last.values()]

    return [
        (int(leak.train_id), int(leak.heldout_id))
        for leak in compare_rows(distinct(train), distinct(heldout), calibrated=False).leaks
        if leak.train_id != leak.heldout_id
    ]


def _wanted(total: int, heldout: float | int) -> int:
    """The number of rows to hold out of ``total``."""
    if total < 2:
        raise UsageError(f"{plural(total, 'row')} cannot be split; give at least two")
    if isinstance(heldout, bool) or not 0 < heldout < (total if isinstance(heldout, int) else 1):
        raise UsageError(
            f"cannot hold out {heldout!r} of {plural(total, 'row')}; give a share between 0 and 1, such as"
            f" 0.2, or a number of rows from 1 to {total - 1}"
        )
    wanted = heldout if isinstance(heldout, int) else int(heldout * total + 0.5)
    if not 0 < wanted < total:
        empty = "held-out" if wanted == 0 else "training"
        raise UsageError(
            f"the share {heldout} of {total} rows leaves the {empty} side empty; "
            f"give a share from {1 / total:.3g} to {1 - 1 / total:.3g}, or a number of rows"
        )
    return wanted
