"""Which sets of rows are held out: those that keep every class's share, or the newest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate

from harness.data.subsets import Stratum, nested_subsets
from harness.errors import DataError, UsageError
from harness.records import Json, Row

BAD_DATES_SHOWN = 10
ROWS_SHOWN = 5
CLASSES_SHOWN = 5
EPOCH_BELOW = 1e11  # seconds: larger numbers are milliseconds, or dates and times without punctuation
DATE_FORM = 'write an ISO 8601 date or time such as "2025-03-01" or "2025-03-01T09:30:00Z", or epoch seconds'


def hold_out_by_class(
    rows: Sequence[Row], together: Sequence[Sequence[int]], wanted: int, seed: int, stratify: str | None
) -> tuple[set[int], list[str]]:
    """Places of ``wanted`` rows with each class's share of them, and notes about the choice for the user.

    The order of single rows is that of ``nested_subsets``, and so are the classes' whole numbers of rows.

    Raises:
        UsageError: the smallest set of rows that belong ``together`` is larger than a side.
    """
    classes: list[Stratum] = [None if stratify is None else row.text(stratify) for row in rows]
    placed = [replace(row, where=str(at)) for at, row in enumerate(rows)]
    order = [int(row.where) for row in nested_subsets(placed, [len(rows)], seed, stratify)[len(rows)]]
    rank = {at: k for k, at in enumerate(order)}
    target = Counter(classes[at] for at in order[:wanted])  # rows of each class to hold out
    smallest = min(together, key=len)
    _require_small_enough(rows, smallest, wanted, "held-out")
    _require_small_enough(rows, smallest, len(rows) - wanted, "training")
    groups = sorted(together, key=lambda group: (-len(group), min(rank[at] for at in group)))
    counts = [Counter(classes[at] for at in group) for group in groups]
    held: set[int] = set()
    have: Counter[Stratum] = Counter()
    seen: Counter[Stratum] = Counter()
    share = wanted / len(rows)
    # Sets of several rows, the largest first, each to the side that keeps every class's share of the rows
    # dealt so far: to fill the held-out side first would fill it with the largest sets alone.
    for group, count in zip(groups, counts, strict=True):
        if len(group) > 1:
            seen.update(count)
            off = {c: have[c] - share * seen[c] for c in count}
            change = sum((off[c] + n) ** 2 - off[c] ** 2 for c, n in count.items())
            if change < 0 and len(held) + len(group) <= wanted:
                held.update(group)
                have.update(count)
        elif have[classes[group[0]]] < target[classes[group[0]]] and len(held) < wanted:
            held.update(group)
            have.update(count)
    left = [group[0] for group in groups if len(group) == 1 and group[0] not in held]
    held.update(left[: wanted - len(held)])  # of any class
    _improve(held, groups, counts, target, wanted)
    have = Counter(classes[at] for at in held)
    shares = {c: wanted * n / len(rows) for c, n in Counter(classes).items()}
    gaps = {c: abs(have[c] - share) for c, share in shares.items()}
    far = sorted((c for c in gaps if gaps[c] >= 1), key=lambda c: -gaps[c])
    if not far or len(shares) == 1:
        return held, []
    shown = [f"{'(none)' if c is None else c} {have[c]} ({shares[c]:.1f})" for c in far[:CLASSES_SHOWN]]
    more = f" and {len(far) - len(shown)} more" if len(far) > len(shown) else ""
    return held, [f"classes a row or more from their share, held out (wanted): {', '.join(shown)}{more}."]


def _improve(
    held: set[int],
    groups: Sequence[Sequence[int]],
    counts: Sequence[Counter[Stratum]],
    target: Counter[Stratum],
    wanted: int,
) -> None:
    """Move single sets while that brings the held-out side nearer to its targets, in squared deviation.

    The total counts twice: it was asked for.
    """
    while True:
        off: Counter[Stratum] = Counter()
        off.subtract(target)
        for group, count in zip(groups, counts, strict=True):
            off.update(count if group[0] in held else {})
        gap = len(held) - wanted
        changes = []
        for group, count in zip(groups, counts, strict=True):
            sign = -1 if group[0] in held else 1
            by_class = sum((off[c] + sign * n) ** 2 - off[c] ** 2 for c, n in count.items())
            changes.append(by_class + 2 * ((gap + sign * len(group)) ** 2 - gap**2))
        best = min(range(len(groups)), key=changes.__getitem__)
        if changes[best] >= 0:
            return
        held.symmetric_difference_update(groups[best])


def hold_out_newest(
    rows: Sequence[Row], together: Sequence[Sequence[int]], wanted: int, time: str
) -> tuple[set[int], list[str]]:
    """Places of the newest rows, as near to ``wanted`` as a cut in time can be, and notes for the user.

    Raises:
        DataError: naming rows whose field ``time`` is missing or no date (up to ten).
        UsageError: no cut leaves rows on both sides, or the newest set is larger than a side.
    """
    values = [row.metadata.get(time) for row in rows]
    dated = {at: instant for at, value in enumerate(values) if (instant := instant_of(value))}
    bad = [at for at in range(len(rows)) if at not in dated]
    if bad:
        shown = [
            f"  {rows[at].where or rows[at].id}: {'no date' if values[at] is None else f'{values[at]!r:.40}'}"
            for at in bad[:BAD_DATES_SHOWN]
        ]
        more = [f"  and {len(bad) - len(shown)} more"] if len(bad) > len(shown) else []
        listing = "\n".join([f"{len(bad)} rows have no date in {time!r} that can be read:", *shown, *more])
        raise DataError(rows[bad[0]].where or rows[bad[0]].id, listing, DATE_FORM)
    newest: dict[datetime, list[Sequence[int]]] = defaultdict(list)
    for group in together:
        newest[max(dated[at] for at in group)].append(group)
    cuts = sorted(newest, reverse=True)
    if len(cuts) == 1:
        raise UsageError(
            f"every row, or a group or near-duplicate of it, is of {cuts[0].isoformat()}: no cut in time "
            "leaves rows on both sides. Split without time, or group by another field."
        )
    for group in newest[cuts[0]]:
        _require_small_enough(rows, group, wanted, "held-out")
    sizes = list(accumulate(sum(map(len, newest[cut])) for cut in cuts[:-1]))
    last = min(range(len(sizes)), key=lambda k: abs(sizes[k] - wanted))
    held = {at for cut in cuts[: last + 1] for group in newest[cut] for at in group}
    notes = [f"rows of {cuts[last].isoformat()} and newer are held out."]
    older = sum(dated[at] < cuts[last] for at in held)
    if older:
        notes.append(
            f"{older} older rows are held out too, because their group or a near-duplicate reaches past "
            "that moment; the training rows hold things newer than they are."
        )
    return held, notes


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


def _require_small_enough(rows: Sequence[Row], members: Sequence[int], wanted: int, side: str) -> None:
    if len(members) <= wanted:
        return
    places = [rows[at].where or rows[at].id for at in members[:ROWS_SHOWN]]
    more = f" and {len(members) - len(places)} more" if len(members) > len(places) else ""
    raise UsageError(
        f"{wanted} rows are wanted on the {side} side, but {len(members)} rows belong together, by their "
        f"group or as near-duplicates: {', '.join(places)}{more}. Ask for at least {len(members)} rows "
        "there, group by another field, or take near-duplicates out."
    )
