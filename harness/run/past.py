"""What rows have judged before: recipes at their sizes and seeds, and which of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from harness.store.answers import Judged


class Past:
    """What rows have judged before, from a history of any source.

    Args:
        rows: keys of the rows of today, one each; see ``asked_keys``.
        history: of these and other rows.
    """

    def __init__(self, rows: Sequence[str], history: Iterable[Judged]) -> None:
        self._rows, self._least = frozenset(rows), len(rows) / 2
        places: dict[frozenset[str], frozenset[int]] = {}  # by rows of the past: which of today's they are
        at: defaultdict[tuple[str, int | None, int | None], set[int]] = defaultdict(set)
        names: defaultdict[tuple[frozenset[str], str], dict[str, str]] = defaultdict(dict)
        for one in history:
            if one.rows not in places:
                places[one.rows] = frozenset(n for n, key in enumerate(rows) if key in one.rows)
            if places[one.rows]:
                at[one.recipe, one.size, one.seed] |= places[one.rows]
                names[one.rows, one.beside][one.recipe] = one.name
        self._at = at
        #: whose rows they are, which of today's, and by recipe the names; in the order of the history
        self._together = [(its, places[its], company) for (its, _), company in names.items()]

    def seeds(self, recipe: str, size: int | None) -> list[int]:
        """Those that most of the rows have judged a recipe at, at one size."""
        return sorted(
            seed
            for (its, at_size, seed), rows in self._at.items()
            if (its, at_size) == (recipe, size) and seed is not None and len(rows) >= self._least
        )

    def sizes(self, recipe: str) -> list[int]:
        """Those that most of the rows have judged a recipe at, with whatever seed."""
        by_size: defaultdict[int, set[int]] = defaultdict(set)
        for (its, size, _), rows in self._at.items():
            if its == recipe and size is not None:
                by_size[size] |= rows
        return sorted(size for size, rows in by_size.items() if len(rows) >= self._least)

    def company(self, recipe: str, today: Collection[str] = ()) -> dict[str, str]:
        """Other recipes that most of the rows have judged in one run with this one, and their last names.

        None where the recipe was first judged by these very rows and beside none but those of ``today``: that
        was no choice, and the same again decides as it did.
        """
        shared: defaultdict[str, set[int]] = defaultdict(set)
        names: dict[str, str] = {}
        with_it = [one for one in self._together if recipe in one[2]]
        if with_it and with_it[0][0] == self._rows and with_it[0][2].keys() <= {*today, recipe}:
            return {}
        for _, rows, company in with_it:
            for other, name in company.items():
                if other != recipe:
                    shared[other] |= rows
                    names[other] = name
        return {other: names[other] for other, rows in shared.items() if len(rows) >= self._least}
