"""Groups of rows dealt out to both sides of a split so that each class has its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from harness.data.split_groups import HeldOut, require_small_enough
from harness.data.subsets import Stratum, nested_subsets
from harness.records import Row

CLASSES_SHOWN = 5


class StratifiedSplit:
    """Holds out ``wanted`` rows with each class's share of them.

    The order of single rows is that of ``nested_subsets``, and so are the classes' whole numbers of rows.
    """

    def __init__(self, rows: Sequence[Row], wanted: int, seed: int, stratify: str | None) -> None:
        self._rows, self._wanted = rows, wanted
        self._classes: list[Stratum] = [None if stratify is None else row.text(stratify) for row in rows]
        placed = [replace(row, where=str(at)) for at, row in enumerate(rows)]
        order = [int(row.where) for row in nested_subsets(placed, [len(rows)], seed, stratify)[len(rows)]]
        self._rank = {at: k for k, at in enumerate(order)}
        self._target = self._count(order[:wanted])  # rows of each class to hold out

    def __call__(self, members: Sequence[Sequence[int]]) -> HeldOut:
        """Which of the groups' rows are held out.

        Raises:
            UsageError: the smallest group is larger than a side.
        """
        smallest = min(members, key=len)
        require_small_enough(self._rows, smallest, self._wanted, "held-out")
        require_small_enough(self._rows, smallest, len(self._rows) - self._wanted, "training")
        groups = sorted(members, key=lambda group: (-len(group), min(self._rank[at] for at in group)))
        held = self._groups([group for group in groups if len(group) > 1])
        self._singles(held, [group[0] for group in groups if len(group) == 1])
        self._improve(held, groups)
        return HeldOut(frozenset(held), self._notes(held))

    def _groups(self, groups: Sequence[Sequence[int]]) -> set[int]:
        """Largest first, each to the side that keeps every class's share of the rows dealt so far.

        To fill the held-out side first would fill it with the largest groups alone.
        """
        held: set[int] = set()
        have: Counter[Stratum] = Counter()
        seen: Counter[Stratum] = Counter()
        share = self._wanted / len(self._rows)
        for group in groups:
            counts = self._count(group)
            seen.update(counts)
            off = {c: have[c] - share * seen[c] for c in counts}
            change = sum((off[c] + n) ** 2 - off[c] ** 2 for c, n in counts.items())
            if change < 0 and len(held) + len(group) <= self._wanted:
                held.update(group)
                have.update(counts)
        return held

    def _singles(self, held: set[int], singles: Sequence[int]) -> None:
        """Fill up to the target of each class, then with any class up to the number of rows asked for."""
        have = self._count(held)
        for at in singles:
            if have[self._classes[at]] < self._target[self._classes[at]] and len(held) < self._wanted:
                held.add(at)
                have[self._classes[at]] += 1
        left = [at for at in singles if at not in held]
        held.update(left[: self._wanted - len(held)])

    def _improve(self, held: set[int], groups: Sequence[Sequence[int]]) -> None:
        """Move single groups while that brings the held-out side nearer to its targets."""
        counts = [self._count(group) for group in groups]
        while True:
            have = self._count(held)
            off = {c: have[c] - self._target[c] for c in {*have, *self._target}}
            changes = [
                self._change(n, off, len(held), group[0] in held)
                for group, n in zip(groups, counts, strict=True)
            ]
            best = min(range(len(groups)), key=changes.__getitem__)
            if changes[best] >= 0:
                return
            held.symmetric_difference_update(groups[best])

    def _change(self, counts: Mapping[Stratum, int], off: Mapping[Stratum, int], n: int, out: bool) -> int:
        """Of the squared deviation when a group changes sides. The total counts twice: it was asked for."""
        sign = -1 if out else 1
        gap, size = n - self._wanted, sign * sum(counts.values())
        classes = sum((off.get(c, 0) + sign * k) ** 2 - off.get(c, 0) ** 2 for c, k in counts.items())
        return classes + 2 * ((gap + size) ** 2 - gap**2)

    def _count(self, places: Iterable[int]) -> Counter[Stratum]:
        return Counter(self._classes[at] for at in places)

    def _notes(self, held: Iterable[int]) -> tuple[str, ...]:
        have, in_all = self._count(held), Counter(self._classes)
        share = {c: self._wanted * n / len(self._rows) for c, n in in_all.items()}
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
