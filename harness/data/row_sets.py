"""Held-out rows as sets, to find again rows that have been judged before.

A row is known by what it asks (:func:`harness.data.fingerprints.asked_keys`): ids may be line numbers, labels
are mended, and files are sorted, renamed and split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log2

from harness.data.fingerprints import asked_keys, fingerprint
from harness.records import Row, RowSet, SuiteRow

SHARED = 0.5  # of the smaller set: from there on, a decision on one set is one on the other
KEPT = 0.9  # of the earlier set, in one that grew from it
MOST_HASHES = 1_000  # of one set; more rows are known by a sample of about half as many to as many
_DIGITS = 10  # 40 bits of what each row asks


def row_set(rows: Sequence[Row]) -> RowSet:
    """The set of what the rows ask, each once."""
    return _set_of(map(_short, asked_keys(rows)))


def recorded_row_set(recorded: Iterable[SuiteRow], rows: Sequence[Row]) -> RowSet:
    """The set of the rows of a record that does not hold their fingerprints.

    A row of it is that of ``rows`` with the same question and reference, where there is one.
    """
    keys = map(_short, asked_keys(rows))
    known = {(row.question, row.reference): key for row, key in zip(rows, keys, strict=True)}
    pairs = [(row.question, row.reference) for row in recorded]
    return _set_of(known.get(pair) or _short(fingerprint({"only recorded": pair})) for pair in pairs)


def are_shared(one: RowSet, other: RowSet) -> bool:
    """Whether at least half of the smaller set is in the other."""
    first, second = _comparable(one, other)
    return len(first & second) >= SHARED * max(1, min(len(first), len(second)))


def has_grown(earlier: RowSet, today: RowSet) -> bool:
    """Whether today's rows are the earlier ones, all but at most a tenth of them, and more."""
    before, now = _comparable(earlier, today)
    return today.n > earlier.n and len(before & now) >= max(1.0, KEPT * len(before) - 1e-9)


def _set_of(hashes: Iterable[str]) -> RowSet:
    every = sorted(set(hashes))
    bits = max(0, ceil(log2(len(every) / MOST_HASHES))) if every else 0
    return RowSet(_short(fingerprint(every)), len(every), _sample(every, bits), bits)


def _comparable(one: RowSet, other: RowSet) -> tuple[set[str], set[str]]:
    """Both by the coarser of their two samples."""
    bits = max(one.bits, other.bits)
    return set(_sample(one.rows, bits)), set(_sample(other.rows, bits))


def _sample(hashes: Iterable[str], bits: int) -> tuple[str, ...]:
    return tuple(each for each in hashes if not int(each, 16) % (1 << bits))


def _short(digest: str) -> str:
    return digest[:_DIGITS]
