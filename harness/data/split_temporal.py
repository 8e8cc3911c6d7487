"""The newest units held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate

from harness.data.split_groups import Choice, require_small_enough
from harness.errors import DataError, UsageError
from harness.records import Json, Row

ROWS_SHOWN = 10
EPOCH_BELOW = 1e11  # seconds: larger numbers are milliseconds, or dates and times without punctuation
DATE_FORM = 'write an ISO 8601 date or time such as "2025-03-01" or "2025-03-01T09:30:00Z", or epoch seconds'


@dataclass(frozen=True, slots=True)
class ByTime:
    """Holds out the units with the newest rows."""

    rows: Sequence[Row]
    wanted: int
    instants: Sequence[datetime]

    def __call__(self, members: Sequence[Sequence[int]]) -> Choice:
        """The units whose newest row is past the cut."""
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
            require_small_enough(self.rows, unit, self.wanted, "held-out")
        sizes = list(accumulate(sum(map(len, newest[cut])) for cut in cuts[:-1]))
        last = min(range(len(sizes)), key=lambda k: abs(sizes[k] - self.wanted))
        held = frozenset(at for cut in cuts[: last + 1] for unit in newest[cut] for at in unit)
        return Choice(held, self._notes(held, cuts[last]))

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


def instants_of(rows: Sequence[Row], field: str) -> list[datetime]:
    """Each row's instant in UTC.

    Raises:
        DataError: naming rows whose field is missing or no date (up to ten).
    """
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
