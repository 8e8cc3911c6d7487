"""Training and held-out rows from one file, so that nothing of one side is known from the other.

Rows that are copies or edits of one another stay together, and so does every group that is asked for.
By class, groups are dealt out largest first; the order of single rows is that of ``subsets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.split_groups import RowGroups, near_duplicates
from harness.data.split_stratified import StratifiedSplit
from harness.data.split_temporal import TemporalSplit
from harness.errors import UnknownName, UsageError
from harness.records import Row


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

    Neither side holds a near-duplicate of the other's rows: the result passes ``require_no_leaks``. Texts
    of under five words repeat in honest data and may be on both sides. ``stratify``, ``group`` and ``time``
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
    groups = RowGroups(rows, group)
    groups.join(near_duplicates(rows, range(len(rows)), range(len(rows))))
    hold_out = (
        StratifiedSplit(rows, wanted, seed, stratify) if time is None else TemporalSplit(rows, wanted, time)
    )
    while True:
        held = hold_out(groups.members())
        train = [at for at in range(len(rows)) if at not in held.places]
        # leakage drops stock phrases by their count, and the last of equal short texts stands for them, so
        # that a pair may show between the finished sides only
        pairs = near_duplicates(rows, train, sorted(held.places))
        if not pairs:
            break
        groups.join(pairs)
    notes = (*held.notes, *groups.notes())
    if len(held.places) != wanted:
        notes = (f"{len(held.places)} of {len(rows)} rows are held out; {wanted} were asked for.", *notes)
    return Split(tuple(rows[at] for at in train), tuple(rows[at] for at in sorted(held.places)), notes)


def _wanted(total: int, heldout: float | int) -> int:
    """The number of rows to hold out of ``total``."""
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
