"""Units dealt out to both sides of a split so that each class has its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.data.split_groups import Choice, require_small_enough
from harness.data.subsets import Stratum, nested_subsets
from harness.records import Row

CLASSES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ByClass:
    """Deals units out so that each class has its share."""

    rows: Sequence[Row]
    classes: Sequence[Stratum]
    order: Sequence[int]  # places in the order of nested_subsets
    wanted: int
    target: Mapping[Stratum, int]  # rows of each class to hold out

    @classmethod
    def of(cls, rows: Sequence[Row], wanted: int, seed: int, stratify: str | None) -> ByClass:
        """With the order of ``nested_subsets`` and the classes' shares of ``wanted`` rows."""
        placed = [replace(row, where=str(at)) for at, row in enumerate(rows)]
        subset = nested_subsets(placed, [len(rows)], seed, stratify)[len(rows)]
        order = [int(row.where) for row in subset]
        classes = [None if stratify is None else row.text(stratify) for row in rows]
        return cls(rows, classes, order, wanted, Counter(classes[at] for at in order[:wanted]))

    def __call__(self, members: Sequence[Sequence[int]]) -> Choice:
        """Which of the units' rows are held out."""
        smallest = min(members, key=len)
        require_small_enough(self.rows, smallest, self.wanted, "held-out")
        require_small_enough(self.rows, smallest, len(self.rows) - self.wanted, "training")
        rank = {at: k for k, at in enumerate(self.order)}
        units = sorted(members, key=lambda unit: (-len(unit), min(rank[at] for at in unit)))
        held = self._groups([unit for unit in units if len(unit) > 1])
        self._singles(held, [unit[0] for unit in units if len(unit) == 1])
        self._improve(held, units)
        return Choice(frozenset(held), self._notes(held))

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
