"""Nested training subsets: the 50 rows are among the 100, and each size is as stratified as can be.

Which class the k-th row is taken from is the chairman assignment problem; Tijdeman's schedule keeps
every class of every prefix within one row of its share, by the smallest bound that holds for all shares
(R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980, 323-330).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

from harness.data.fingerprints import bytes_digest, fingerprint, row_fingerprint
from harness.errors import UnknownName, UsageError
from harness.records import Row

Stratum: TypeAlias = str | None  # None: the row lacks the field


def nested_subsets(
    rows: Sequence[Row], sizes: Sequence[int], seed: int, stratify: str | None
) -> dict[int, tuple[Row, ...]]:
    """For each size, ascending and without repeats, that many rows; each is a prefix of the next.

    With C classes of the metadata field ``stratify``, the count of every class at every size is less
    than one row from size x (the class's share of ``rows``): at most 1 - 1/(2C - 2) rows (C >= 2). Rows
    that lack the field are a class of their own. Within a class the order is that of a hash of the seed
    and the row's messages (then its metadata, then its id), so that the file's own order does not matter.

    Raises:
        UsageError: no size, a size below 1 or above the number of rows, or (``UnknownName``) a field
            that no row has.
    """
    if not sizes:
        raise UsageError("no training size is given; give at least one, such as 50")
    if min(sizes) < 1:
        raise UsageError(f"the training size {min(sizes)} is below 1; give the number of rows to train on")
    if max(sizes) > len(rows):
        where = rows[0].where.rpartition(":")[0] if rows else ""
        raise UsageError(
            f"the training size {max(sizes)} is more than {where or 'the training data'} has: "
            f"{len(rows)} rows. Choose sizes up to {len(rows)}, or add rows."
        )
    strata: dict[Stratum, list[Row]] = defaultdict(list)
    for row in rows:
        strata[None if stratify is None else row.text(stratify)].append(row)
    if stratify is not None and set(strata) == {None}:
        known = {key for row in rows for key in row.metadata}
        raise UnknownName("metadata field", stratify, known, "Stratify by a field that the rows have.")

    def rank(row: Row) -> tuple[str, str, str]:
        return fingerprint([seed, row_fingerprint(row)]), fingerprint(row.metadata), row.id

    names = sorted(strata, key=lambda name: bytes_digest(fingerprint([seed, name]).encode()))
    queues = [iter(sorted(strata[name], key=rank)) for name in names]
    order = [next(queues[index]) for index in _schedule([len(strata[name]) for name in names])]
    return {size: tuple(order[:size]) for size in sorted(set(sizes))}


def _schedule(counts: Sequence[int]) -> list[int]:
    """The class of each place 1..N: Tijdeman's rule, as earliest deadline first over N unit jobs.

    The x-th job of class i (x from 0) may not take a place before its class would be ahead of its share
    by more than B = 1 - 1/(2C - 2), and must take one before the class would be behind by more than B.
    All in integers, so ties fall the same way on every machine.
    """
    total = sum(counts)
    if len(counts) == 1:
        return [0] * total
    unit = 2 * len(counts) - 2
    jobs = sorted(
        (
            -(-total * (1 + unit * x) // (unit * count)),  # first place it may take
            total * (unit - 1 + unit * x) // (unit * count),  # last place before which it may wait
            index,
        )
        for index, count in enumerate(counts)
        for x in range(count)
    )
    chosen: list[int] = []
    waiting: list[tuple[int, int]] = []
    arrived = 0
    for place in range(1, total + 1):
        while arrived < total and jobs[arrived][0] <= place:
            heapq.heappush(waiting, jobs[arrived][1:])
            arrived += 1
        chosen.append(heapq.heappop(waiting)[1])
    return chosen
