"""Rows of one file that are copies of each other: they say less than as many rows of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence

from harness.data.nearness import (
    EVIDENCE_NATS,
    LEAST_NATS,
    Bounds,
    Evenly,
    Near,
    Neighbours,
    WordPairs,
    Words,
    near,
)
from harness.data.plain_text import plain_words, same_key
from harness.records import Row

NUMBERED_WORDS = 8  # beside the number
# Of short texts: one word of seven edited, or all of one within the other, as with a greeting. Honest short
# rows may be as near; here that costs no more than a row that counts with another.
SHORT = Bounds(edited=0.85, moved=1.0, inside=1.0, words=4)
SHORT_TIMES = 4  # longer the other text may be
FORM_SHARE = 1 / 3  # of all texts: so many that are alike are one form filled in, and no copies


def copied_rows(rows: Sequence[Row]) -> list[list[int]]:
    """The places of rows that are copies or near-copies of each other, group by group.

    Copies ask the same in the plain form of ``same_key``, or in the same words beside one number (a ticket's,
    say). Near-copies are as near as leaks are, without the calibration: what the task's rows share honestly
    makes them dependent all the same. How rare their words are is judged with each group of like texts
    counted once, or else twenty edits of one text would look like a stock phrase.
    """
    at_key: dict[Hashable, int] = {}
    pairs = [(at_key.setdefault(key, at), at) for at, row in enumerate(rows) for key in _keys(row)]
    firsts = [group[0] for group in joined(len(rows), pairs)]
    texts = [plain_words(_asked(rows[at])) for at in firsts]
    like = [
        (place, other)
        for place, found in enumerate(
            Neighbours(texts, model=Evenly()).of(texts, [{k} for k in range(len(texts))])
        )
        for other, one in found
        if _is_copy(one, texts[place], texts[other])
    ]
    if like:
        groups = joined(len(texts), like)
        a_form = max(map(len, groups)) > FORM_SHARE * len(texts) and len(texts) > 1 / FORM_SHARE
        model = WordPairs(texts if a_form else [texts[group[0]] for group in groups])
        for a, b in like:
            found = near(texts[a], texts[b], model)
            if any(_is_copy(one, texts[a], texts[b]) for one in found):
                pairs.append((firsts[a], firsts[b]))
    return [group for group in joined(len(rows), pairs) if len(group) > 1]


def clusters(
    rows: Sequence[Row], own: Sequence[str | None], together: Collection[str] = ()
) -> tuple[str | None, ...]:
    """The cluster of each row: its ``own`` group, joined with those of its copies; None: it stands alone.

    Args:
        rows: of one file.
        own: the group that each row names.
        together: ids of rows that are one cluster whatever they say.
    """
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(name, at), at) for at, name in enumerate(own) if name is not None]
    pairs += [(group[0], at) for group in copied_rows(rows) for at in group]
    one = [at for at, row in enumerate(rows) if row.id in together]
    pairs += [(one[0], at) for at in one]
    found: list[str | None] = list(own)
    for group in joined(len(rows), pairs):
        if len(group) > 1:
            named = next((name for at in group if (name := own[at]) is not None), None)
            for at in group:
                found[at] = named or f"copies of {rows[group[0]].id}"
    return tuple(found)


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The sets of the places 0 to ``count`` that ``pairs`` join, each in order."""
    import numpy as np  # here, as scipy is slow to import
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    together = coo_array((np.ones(len(a)), (a, b)), shape=(count, count))
    _, labels = connected_components(together, directed=False)
    found: dict[int, list[int]] = defaultdict(list)
    for at, label in enumerate(labels.tolist()):
        found[label].append(at)
    return list(found.values())


def _is_copy(one: Near, a: Words, b: Words) -> bool:
    if one.is_copy() and one.evidence >= EVIDENCE_NATS:
        return True
    times = max(len(a), len(b)) / min(len(a), len(b))
    return one.is_copy(SHORT) and one.evidence >= LEAST_NATS and times <= SHORT_TIMES


def asks_the_same(a: Row, b: Row) -> bool:
    """Whether two rows ask the same, or nearly: copies as in ``copied_rows``, all words counted alike.

    So does ``a`` where one of its turns is all that ``b`` asks.
    """
    turns = {same_key(m.content) for m in a.prompt if m.role == "user"}
    if not {*_keys(a), *turns}.isdisjoint(_keys(b)):
        return True
    first, second = plain_words(_asked(a)), plain_words(_asked(b))
    if not first or not second:  # pictures and signs alone
        return False
    return any(_is_copy(one, first, second) for one in near(first, second, Evenly()))


def _asked(row: Row) -> str:
    return "\n".join(m.content for m in row.prompt if m.role not in ("system", "developer"))


def _keys(row: Row) -> list[Hashable]:
    text = _asked(row)
    words = plain_words(text)
    others = tuple(word for word in words if not any(letter.isdigit() for letter in word))
    keys: list[Hashable] = [same_key(text)]
    if len(others) == len(words) - 1 and len(others) >= NUMBERED_WORDS:
        keys.append(others)
    return keys
