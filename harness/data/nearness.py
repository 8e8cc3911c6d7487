"""How near two texts are to being one text, weighed by how rare what they share is among the task's texts.

Two texts are near when their words are, and that is evidence of a copy as far as the shared words are
surprising: a stock phrase of the task is shared by rows that nobody copied. Surprise is counted in nats
under a model of word pairs estimated on the texts that are compared (Kneser-Ney's older sibling, with a
Dirichlet prior: D. MacKay, L. Peto, "A hierarchical Dirichlet language model", 1995).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    Sparse: TypeAlias = csr_array[np.float64]

Words: TypeAlias = tuple[str, ...]
Relation: TypeAlias = Literal["edited", "moved", "inside"]

NEAR = 0.5  # any of the three relations: near, and no copy
NEAR_NATS = 15.0
EVIDENCE_NATS = 30.0  # of surprise in what is shared: among 10 million pairs, no chance
CHANCE_NATS = 14.0  # beyond the logarithm of the pairs: one pair by chance in a million comparisons
LEAST_NATS = 20.0
CANDIDATES = 12  # texts that share most, looked at more closely
COMMON_SHARE, COMMON_AT_LEAST = 0.05, 50  # word pairs in more texts do not suggest candidates
ALIGNED_WORDS = 400  # longer texts are compared by their runs alone
BEGINNING_WORDS = 5  # by which texts are looked for in longer ones
AT_ONCE = 500
PRIOR = 2.0  # pseudo-counts of the word pairs' model


@dataclass(frozen=True, slots=True)
class Bounds:
    """From which share of words two texts are copies. Shorter texts leak by being the same only."""

    edited: float  # of the longer text's words are the same, in their order
    moved: float  # of the longer text's words stand in runs of three that the other has too
    inside: float  # of the shorter text's words do
    words: int  # of the longer text, or of the one inside the other


# A fifth of the words edited leaves 80% where words are replaced, and 67% where each edit costs a word of
# its own: inserted words make the text longer. The wide bounds hold where honest rows are not that near.
NARROW = Bounds(edited=0.73, moved=0.85, inside=0.9, words=11)
WIDE = Bounds(edited=0.66, moved=0.75, inside=0.85, words=9)


@dataclass(frozen=True, slots=True)
class Near:
    """What two texts have in common."""

    relation: Relation
    similarity: float  # share of words, in [0, 1]
    evidence: float  # nats
    words: int  # of the longer text; of the one inside the other

    def is_copy(self, bounds: Bounds = NARROW) -> bool:
        """Whether the words alone are those of a copy or an edit; how much that proves is the evidence."""
        least = {"edited": bounds.edited, "moved": bounds.moved, "inside": bounds.inside}[self.relation]
        return self.words >= bounds.words and self.similarity >= least


class Surprise(Protocol):
    """How surprising words are."""

    def nats(self, before: str | None, word: str, left_out: int) -> float:
        """Surprise in ``word`` after ``before``, with so many of the texts that hold it left out."""


class Evenly:
    """Every word is as surprising: for texts whose frequencies are not known yet."""

    def nats(self, before: str | None, word: str, left_out: int) -> float:
        """See ``Surprise``."""
        return EVIDENCE_NATS / (NARROW.words * NARROW.inside * NARROW.edited)


class WordPairs:
    """How surprising a run of words is among ``texts``, each counted once."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self.words: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        for text in texts:
            self.words.update(text)
            self.pairs.update(pairwise(("", *text)))
            self.words[""] += 1
        self.total = max(self.words.total(), 1)

    def nats(self, before: str | None, word: str, left_out: int) -> float:
        """See ``Surprise``."""
        alone = max(self.words[word] - left_out, 0.5) / self.total
        if before is None:
            return -math.log(alone)
        after = max(self.pairs[before, word] - left_out, 0) + PRIOR * alone
        return -math.log(after / (max(self.words[before] - left_out, 0) + PRIOR))


def least_evidence(pairs: int) -> float:
    """The surprise, in nats, from which none of so many pairs shares its words by chance."""
    return min(max(CHANCE_NATS + math.log(max(pairs, 1)), LEAST_NATS), EVIDENCE_NATS)


def near(a: Words, b: Words, model: Surprise, left_out: int = 2) -> list[Near]:
    """How ``a`` and ``b`` are near, each relation that holds.

    ``left_out``: how many copies of what they share are no evidence that it is common, these two included.
    """
    shorter, longer = (a, b) if len(a) <= len(b) else (b, a)
    shared = (Counter(a) & Counter(b)).total()
    if shared < NEAR * len(shorter):
        return []
    found: list[Near] = []
    if shared >= NEAR * len(longer) and len(longer) <= ALIGNED_WORDS:
        found.append(_edited(a, b, model, left_out))
    runs = _in_shared_runs(shorter, longer)
    covered = sum(runs)
    nats = sum(
        model.nats(shorter[at - 1] if at and runs[at - 1] else None, shorter[at], left_out)
        for at, is_shared in enumerate(runs)
        if is_shared
    )
    both = min(covered, sum(_in_shared_runs(longer, shorter)))
    found.append(Near("moved", both / len(longer), nats, len(longer)))
    found.append(Near("inside", covered / len(shorter), nats, len(shorter)))
    return [one for one in found if one.similarity >= NEAR and one.evidence >= NEAR_NATS]


def _edited(a: Words, b: Words, model: Surprise, left_out: int) -> Near:
    """By an alignment that keeps the order."""
    nats, edits = 0.0, 0
    for kind, start, end, other, other_end in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind != "equal":
            edits += max(end - start, other_end - other)
            continue
        for at in range(start, end):
            before, theirs = (
                (a[at - 1] if at else ""),
                (b[other + at - start - 1] if other + at > start else ""),
            )
            nats += model.nats(before if before == theirs else None, a[at], left_out)
    return Near("edited", 1 - edits / max(len(a), len(b)), nats, max(len(a), len(b)))


def _in_shared_runs(a: Words, b: Words) -> list[bool]:
    """Which words of ``a`` stand in a run of three words that ``b`` has too."""
    theirs = set(zip(b, b[1:], b[2:], strict=False))
    inside = [False] * len(a)
    for at, run in enumerate(zip(a, a[1:], a[2:], strict=False)):
        if run in theirs:
            inside[at : at + 3] = [True] * 3
    return inside


class WordForWord:
    """Finds which of ``wanted`` stand in a text word for word. Texts of one word are not looked for."""

    def __init__(self, wanted: Iterable[Words]) -> None:
        self._by_beginning: defaultdict[Words, list[Words]] = defaultdict(list)
        for text in dict.fromkeys(wanted):
            if len(text) > 1:
                self._by_beginning[text[:BEGINNING_WORDS]].append(text)
        self._lengths = sorted({len(beginning) for beginning in self._by_beginning})
        self.count = sum(map(len, self._by_beginning.values()))
        self._first = frozenset(beginning[0] for beginning in self._by_beginning)

    def within(self, text: Words) -> list[Words]:
        """Those that ``text`` holds, each once."""
        found: dict[Words, None] = {}
        places = [at for at, word in enumerate(text) if word in self._first]
        for length in self._lengths:
            for at in places:
                for wanted in self._by_beginning.get(text[at : at + length], ()):
                    if text[at : at + len(wanted)] == wanted:
                        found[wanted] = None
        return list(found)


class Neighbours:
    """Finds the texts of ``pool`` that are near others, which are weighed with them by ``model``."""

    def __init__(
        self, pool: Sequence[Words], others: Iterable[Words] = (), model: Surprise | None = None
    ) -> None:
        distinct = dict.fromkeys([*pool, *others])
        self.pool = pool
        self.model: Surprise = model or WordPairs(distinct)
        texts_with: Counter[tuple[str, str]] = Counter()
        for text in distinct:
            texts_with.update(set(pairwise(text)))
        limit = max(COMMON_AT_LEAST, COMMON_SHARE * len(distinct))
        rare = [pair for pair, count in texts_with.items() if 1 < count <= limit]
        self.column = {pair: at for at, pair in enumerate(rare)}
        self.weight = [math.log(len(distinct) / texts_with[pair]) for pair in rare]
        self._table = self._sparse(pool).T.tocsc() if rare else None

    def of(
        self, texts: Sequence[Words], own: Sequence[Collection[int]] | None = None
    ) -> list[list[tuple[int, Near]]]:
        """For each text the places in the pool that are near it, and how; ``own`` are left out.

        The strongest come first; a place that is near in several ways is named with each.
        """
        import numpy as np

        found: list[list[tuple[int, Near]]] = [[] for _ in texts]
        if self._table is None:
            return found
        long = [at for at, text in enumerate(texts) if len(text) >= 3]
        for start in range(0, len(long), AT_ONCE):
            part = long[start : start + AT_ONCE]
            shares = (self._sparse([texts[at] for at in part]) @ self._table).tocsr()
            for row, at in enumerate(part):
                places = shares.indices[shares.indptr[row] : shares.indptr[row + 1]]
                values = shares.data[shares.indptr[row] : shares.indptr[row + 1]]
                left_out = own[at] if own is not None else ()
                best = (place for place in places[np.argsort(-values)].tolist() if place not in left_out)
                found[at] = self._near(texts[at], list(islice(best, CANDIDATES)))
        return found

    def _near(self, text: Words, places: Sequence[int]) -> list[tuple[int, Near]]:
        """Those of ``places`` that are near. Several copies of one text do not make its words common."""
        alike = [(place, found) for place in places if (found := near(text, self.pool[place], Evenly()))]
        copies = 1 + sum(any(one.is_copy() for one in found) for _, found in alike)
        weighed = [
            (place, one)
            for place, _ in alike
            for one in near(text, self.pool[place], self.model, max(copies, 2))
        ]
        return sorted(weighed, key=lambda pair: (-pair[1].is_copy(), -pair[1].evidence, pair[0]))

    def _sparse(self, texts: Sequence[Words]) -> Sparse:
        import numpy as np
        from scipy.sparse import csr_array

        places: list[int] = []
        ends = [0]
        for text in texts:
            places += [self.column[pair] for pair in set(pairwise(text)) if pair in self.column]
            ends.append(len(places))
        data = np.sqrt(np.array(self.weight))[np.array(places, dtype=np.int64)]
        return csr_array(
            (data, np.array(places, dtype=np.int64), np.array(ends)), shape=(len(texts), len(self.column))
        )
