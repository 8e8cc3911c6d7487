"""Rows that stand on both sides: copied, lightly edited, or inside another text.

Copies are found by their text in one plain form, whatever its length. Edits are found by ``nearness``, and
how much nearness proves is read off the data: where training rows are as near to each other, a held-out row
that is near to one of them is what the task looks like, and no leak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NoReturn, TypeAlias

from harness.data.leak_bar import Found, LeakBar, calibrated_bar
from harness.data.nearness import WIDE, Neighbours, WordForWord, Words, least_evidence
from harness.data.plain_text import SHORT_WORDS, plain_words, same_key
from harness.errors import LeakError
from harness.records import Row

LeakKind: TypeAlias = Literal["exact", "exact-short", "edited", "moved", "inside", "quoted", "conversation"]

CALIBRATION_ROWS = 2_000
REPLY_WORDS = 11
SHORT_SHARE, SHORT_ROWS = 0.05, 2  # held-out rows that may repeat short training rows, or be quoted
SAME_ADDED_SHARE = 1 / 3  # of the held-out texts, with the same words added to them
HONEST_AT_TIMES: Collection[LeakKind] = ("exact-short", "quoted")
SAME_REPLY_QUESTIONS = 2  # distinct questions with one reply; in more, it is a stock phrase or a label
PAIRS_SHOWN = 5
USER = "user text"
REPLY = "the reply"


@dataclass(frozen=True, slots=True)
class Leak:
    """A training row and a held-out row that are too much alike.

    ``kind``: ``exact``, the same text; ``exact-short``, the same text of under five words, which honest data
    have too ("refund???"); ``edited``, most words in the same order; ``moved``, the same sentences in another
    order; ``inside``, one text within the other; ``quoted``, the held-out text stands word for word in what
    the training row asks or replies, which a few honest rows do too; ``conversation``, like questions with
    the same reply.
    """

    train_id: str
    heldout_id: str
    train_where: str
    heldout_where: str
    kind: LeakKind
    similarity: float  # share of words, in [0, 1]
    part: str = USER  # of the training row

    def is_named(self, names: Iterable[str]) -> bool:
        """Whether one of ``names`` is a row's id or place (or its end), or the pair as errors show it."""
        ids = self.train_id, self.heldout_id, f"{self.train_where} ~ {self.heldout_where}"
        places = self.train_where, self.heldout_where
        return any(name in ids or f"/{place}".endswith(f"/{name}") for name in names for place in places)


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What the comparison of two sides found. Pairs are in the order of the held-out rows."""

    leaks: tuple[Leak, ...]
    near: frozenset[str]  # ids of held-out rows that are near to a training row without being its copy


def describe(leak: Leak) -> str:
    """How the two rows are alike, for people."""
    where = "" if leak.part == USER else f" in {leak.part}"
    if leak.kind in ("exact", "exact-short"):
        return f"the same user text{where}"
    if leak.kind == "quoted":
        return f"the held-out text stands word for word in {leak.part}"
    if leak.kind == "conversation":
        return "user text and reply: the same reply to a like question"
    how = {"edited": "in the same order", "moved": "in another order", "inside": "of the shorter text"}
    return f"user text{where}: {leak.similarity:.0%} of the words are the same, {how[leak.kind]}"


def require_no_leaks(
    train: Sequence[Row],
    heldout: Sequence[Row],
    accepted: Sequence[str] | Literal["warn"] = (),
    *,
    sides: tuple[str, str] = ("training rows", "held-out rows"),
) -> LeakReport:
    """Compare the two sides; the leaks that are accepted remain in the result.

    Args:
        train: rows that were learnt from, or chosen on.
        heldout: rows that nothing may be known of.
        accepted: names of leaks (see ``Leak.is_named``), or ``warn`` for all.
        sides: what the two are, in messages.

    Raises:
        LeakError: with the first five pairs. Short texts repeat in honest data, and long ones quote others:
            pairs of these are refused where more than 5% of the held-out rows (and more than two) are such.
    """
    compared = compare_rows(train, heldout)
    if accepted == "warn":
        return compared
    unnamed = [leak for leak in compared.leaks if not leak.is_named(accepted)]
    found = without_honest_repeats(unnamed, len(heldout))
    if found:
        refuse_leaks(found, sides)
    return compared


def without_honest_repeats(found: Sequence[Leak], rows: int) -> Sequence[Leak]:
    """The leaks without those of short and quoted texts, where these are few of ``rows`` held-out rows."""
    few = max(SHORT_ROWS, SHORT_SHARE * rows)
    for kind in HONEST_AT_TIMES:
        if len({leak.heldout_id for leak in found if leak.kind == kind}) <= few:
            found = [leak for leak in found if leak.kind != kind]
    return found


def refuse_leaks(found: Sequence[Leak], sides: tuple[str, str]) -> NoReturn:
    """LeakError with the first five of these pairs; ``sides`` as `require_no_leaks` has them."""
    lines = [f"  {leak.train_where} ~ {leak.heldout_where} ({describe(leak)})" for leak in found]
    shown = "\n".join(lines[:PAIRS_SHOWN])
    more = f"\n  and {len(lines) - PAIRS_SHOWN} more" if len(lines) > PAIRS_SHOWN else ""
    rows = len({leak.train_where for leak in found})
    ours, theirs = sides
    raise LeakError(
        found[0].train_where,
        f"{ours} that are also in the {theirs}, copied or edited ({rows}):\n{shown}{more}",
        f"take these rows out of the {'training file' if ours == 'training rows' else ours}, or replace the"
        f" {theirs} with ones never trained on; repeats that are honest can be accepted by name,"
        f' Suite(leaks=("{found[0].heldout_where}",))',
    )


def find_leaks(train: Sequence[Row], heldout: Sequence[Row]) -> tuple[Leak, ...]:
    """The pairs of a training and a held-out row that are too much alike; see ``compare_rows``."""
    return compare_rows(train, heldout).leaks


def compare_rows(train: Sequence[Row], heldout: Sequence[Row], *, calibrated: bool = True) -> LeakReport:
    """Compare every training row with every held-out row.

    Of a held-out row its user turns are compared. Of a training row these, each earlier turn, and the system
    message, which may hold examples; in its user text and its reply a held-out text is found word for word.
    Time and memory grow with the pairs that share rare word pairs.

    Args:
        train: one side.
        heldout: the other.
        calibrated: whether pairs that are as near as training rows are to each other are left out.
    """
    asked = [_user_text(row) for row in heldout]
    known = [_user_text(row) for row in train]
    at_key: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for at, row in enumerate(train):
        at_key[same_key(known[at])].append((at, USER))
        for part, text in _parts(row):
            at_key[same_key(text)].append((at, part))
    asked_words, known_words = [plain_words(text) for text in asked], [plain_words(text) for text in known]
    wanted = WordForWord(asked_words)
    inside, quoted = _inside_parts(train, wanted), _quoted(train, known_words, wanted)
    owners: defaultdict[Words, list[tuple[int, str]]] = defaultdict(list)
    for at, row in enumerate(train):
        owners[known_words[at]].append((at, USER))
        for part, text in _parts(row):
            owners[plain_words(text)].append((at, part))
    pool = list(owners)
    neighbours = Neighbours(pool, asked_words)
    nearest = _nearest(neighbours, asked_words)
    bar = LeakBar(WIDE, *[least_evidence(len(pool) * len(set(asked_words)))] * 2)
    if calibrated:
        copied = [same_key(text) in at_key for text in asked]
        others = [found for found, is_copy in zip(nearest, copied, strict=True) if not is_copy]
        among = _among_themselves(neighbours, owners, known_words)
        bar = calibrated_bar(bar, nearest, others, among, len(heldout))
    replies = _same_replies(train, known_words)
    leaks: list[Leak] = []
    near: set[str] = set()
    for at, row in enumerate(heldout):
        kind: LeakKind = "exact-short" if len(asked_words[at]) < SHORT_WORDS else "exact"
        found: dict[int, tuple[LeakKind, float, str]] = {}
        for other, part in at_key.get(same_key(asked[at]), ()):
            found.setdefault(other, (kind, 1.0, part))
        for other, part in inside.get(asked_words[at], ()):
            found.setdefault(other, ("inside" if kind == "exact" else kind, 1.0, part))
        for place, one in nearest[at]:
            for other, part in owners[pool[place]]:
                if bar.is_met(one):
                    found.setdefault(other, (one.relation, one.similarity, part))
        for other in replies.get(same_key(row.reference), ()):
            if _share_pairs(asked_words[at], known_words[other], neighbours):
                found.setdefault(other, ("conversation", 1.0, USER))
        if nearest[at] and not found:
            near.add(row.id)
        for other, part in quoted.get(asked_words[at], ()):
            found.setdefault(other, ("quoted", 1.0, part))
        leaks += [
            Leak(train[other].id, row.id, train[other].where, row.where, *found[other])
            for other in sorted(found)
        ]
    return LeakReport(tuple(leaks), frozenset(near))


# --------------------------------------------------------------------------- texts of rows
def _user_text(row: Row) -> str:
    """What the row asks: its user turns."""
    return "\n".join(m.content for m in row.messages if m.role == "user")


def _parts(row: Row) -> Iterator[tuple[str, str]]:
    """The other texts of a training row that may hold a held-out row, with their names."""
    turns = [m for m in row.messages if m.role == "user"]
    if len(turns) > 1:
        yield from (("an earlier turn", turn.content) for turn in turns[:-1])
        yield "the last turn", turns[-1].content
    for message in row.messages[:-1]:
        if message.role != "user" and message.content:
            system = message.role in ("system", "developer")
            yield ("the system message" if system else "an earlier turn"), message.content


def _inside_parts(train: Sequence[Row], wanted: WordForWord) -> Mapping[Words, Sequence[tuple[int, str]]]:
    """The held-out texts that stand word for word in other parts of training rows than what these ask."""
    owners: defaultdict[Words, dict[tuple[int, str], None]] = defaultdict(dict)
    for at, row in enumerate(train):
        for part, text in _parts(row):
            owners[plain_words(text)][at, part] = None
    found: defaultdict[Words, list[tuple[int, str]]] = defaultdict(list)
    for words, places in owners.items():
        for held in wanted.within(words):
            found[held] += places
    return found


def _quoted(
    train: Sequence[Row], known: Sequence[Words], wanted: WordForWord
) -> Mapping[Words, Sequence[tuple[int, str]]]:
    """The held-out texts that stand word for word in what training rows ask or reply, and are not all of it.

    Short questions begin longer ones honestly. They count where the same is added to a third of them, as a
    signature or an instruction is.
    """
    found: defaultdict[Words, list[tuple[int, str]]] = defaultdict(list)
    short: defaultdict[Words, list[tuple[Words, int]]] = defaultdict(list)
    for at, row in enumerate(train):
        for held in wanted.within(plain_words(row.reference)):
            if len(held) >= SHORT_WORDS:
                found[held].append((at, REPLY))
        for held in wanted.within(known[at]):
            if held == known[at]:
                continue
            if len(held) >= REPLY_WORDS:
                found[held].append((at, USER))
            elif (added := _added(known[at], held)) is not None:
                short[added].append((held, at))
    few = max(SHORT_ROWS, SAME_ADDED_SHARE * wanted.count)
    for places in short.values():
        if len({held for held, _ in places}) > few:
            for held, at in places:
                found[held].append((at, USER))
    return found


def _added(text: Words, held: Words) -> Words | None:
    """What stands after or before ``held`` in ``text``, numbers alike; None where it stands in between."""
    if text[: len(held)] == held:
        rest = text[len(held) :]
    elif text[-len(held) :] == held:
        rest = text[: -len(held)]
    else:
        return None
    return tuple("0" if word.isdigit() else word for word in rest)


# --------------------------------------------------------------------------- what is near
def _nearest(neighbours: Neighbours, texts: Sequence[Words]) -> list[Found]:
    """For each text what is near it, equal texts asked for once."""
    distinct = list(dict.fromkeys(texts))
    found = dict(zip(distinct, neighbours.of(distinct), strict=True))
    return [found[text] for text in texts]


def _among_themselves(
    neighbours: Neighbours, owners: Mapping[Words, Sequence[tuple[int, str]]], known: Sequence[Words]
) -> list[tuple[int, Found]]:
    """The places of distinct training rows, each with what it is near to: what honest rows look like."""
    place = {text: at for at, text in enumerate(owners)}
    distinct = list(dict.fromkeys(known))
    sample = distinct[:: max(1, len(distinct) // CALIBRATION_ROWS)]
    of_row: defaultdict[int, set[int]] = defaultdict(set)  # a row's own parts are no neighbours
    for text, places in owners.items():
        for row, _ in places:
            of_row[row].add(place[text])
    own = [set().union(*(of_row[row] for row, _ in owners[text])) for text in sample]
    return list(zip([place[text] for text in sample], neighbours.of(sample, own), strict=True))


# --------------------------------------------------------------------------- replies
def _same_replies(train: Sequence[Row], known: Sequence[Words]) -> Mapping[str, Sequence[int]]:
    """The training rows of each long reply that only few questions have."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(train):
        if len(plain_words(row.reference)) >= REPLY_WORDS:
            rows[same_key(row.reference)].append(at)
    return {
        reply: places
        for reply, places in rows.items()
        if len({known[at] for at in places}) <= SAME_REPLY_QUESTIONS
    }


def _share_pairs(a: Words, b: Words, neighbours: Neighbours) -> bool:
    """Whether two questions share two word pairs that are not common ones."""
    return len(set(pairwise(a)) & set(pairwise(b)) & neighbours.column.keys()) > 1
