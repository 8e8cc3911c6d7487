"""The newest groups of rows held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate

from harness.data.split_groups import HeldOut, require_small_enough
from harness.errors import DataError, UsageError
from harness.records import Json, Row

ROWS_SHOWN = 10
EPOCH_BELOW = 1e11  # seconds: larger numbers are milliseconds, or dates and times without punctuation
DATE_FORM = 'write an ISO 8601 date or time such as "2025-03-01" or "2025-03-01T09:30:00Z", or epoch seconds'


class TemporalSplit:
    """Holds out the groups with the newest rows: as near to ``wanted`` rows as a cut in time can be.

    Raises:
        DataError: naming rows whose field ``time`` is missing or no date (up to ten).
    """

    def __init__(self, rows: Sequence[Row], wanted: int, time: str) -> None:
        self._rows, self._wanted = rows, wanted
        instants = [instant_of(row.metadata.get(time)) for row in rows]
        self._instants = [instant for instant in instants if instant is not None]  # in UTC
        bad = [row for row, instant in zip(rows, instants, strict=True) if instant is None]
        if bad:
            shown = []
            for row in bad[:ROWS_SHOWN]:
                value = row.metadata.get(time)
                shown.append(f"  {row.where or row.id}: {'no date' if value is None else f'{value!r:.40}'}")
            if len(bad) > len(shown):
                shown.append(f"  and {len(bad) - len(shown)} more")
            listing = "\n".join([f"{len(bad)} rows have no date in {time!r} that can be read:", *shown])
            raise DataError(bad[0].where or bad[0].id, listing, DATE_FORM)

    def __call__(self, members: Sequence[Sequence[int]]) -> HeldOut:
        """The groups whose newest row is past the cut.

        Raises:
            UsageError: no cut leaves rows on both sides, or the newest group is larger than a side.
        """
        newest: dict[datetime, list[Sequence[int]]] = defaultdict(list)
        for group in members:
            newest[max(self._instants[at] for at in group)].append(group)
        cuts = sorted(newest, reverse=True)
        if len(cuts) == 1:
            raise UsageError(
                f"every row, or a group or near-duplicate of it, is of {cuts[0].isoformat()}: no cut in time "
                "leaves rows on both sides. Split without time, or group by another field."
            )
        for group in newest[cuts[0]]:
            require_small_enough(self._rows, group, self._wanted, "held-out")
        sizes = list(accumulate(sum(map(len, newest[cut])) for cut in cuts[:-1]))
        last = min(range(len(sizes)), key=lambda k: abs(sizes[k] - self._wanted))
        held = frozenset(at for cut in cuts[: last + 1] for group in newest[cut] for at in group)
        notes = [f"rows of {cuts[last].isoformat()} and newer are held out."]
        older = sum(self._instants[at] < cuts[last] for at in held)
        if older:
            notes.append(
                f"{older} older rows are held out too, because their group or a near-duplicate reaches past "
                "that moment; the training rows hold things newer than they are."
            )
        return HeldOut(held, tuple(notes))


def instant_of(value: Json) -> datetime | None:
    """The instant, in UTC, of an ISO 8601 text or of epoch seconds; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        if isinstance(value, str):
            whole = value.strip().partition(".")[0]
            # tables give epoch seconds as texts; eight digits are a date (20250301)
            if not (whole.isdecimal() and len(whole) > 8):
                found = datetime.fromisoformat(value.strip())
                return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        seconds = float(value)
        return datetime.fromtimestamp(seconds, UTC) if abs(seconds) < EPOCH_BELOW else None
    except (ValueError, OverflowError, OSError):  # no date, or one beyond the years 1 to 9999
        return None
