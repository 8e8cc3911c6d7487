"""Training rows that are also among the held-out rows, copied or lightly edited.

Rows are compared by the share of three-word runs they have in common (containment: A. Z. Broder, "On the
resemblance and containment of documents", 1997), with the system message left out. It finds copies and
edits of them, not a row in wholly other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Literal, TypeAlias

from harness.errors import LeakError
from harness.records import Row

Trigram: TypeAlias = tuple[str, str, str]
LeakKind: TypeAlias = Literal["exact", "message", "conversation", "exact-short"]

SHORT_WORDS = 5  # shorter texts repeat honestly, and hold too few runs to compare
MIN_RUNS = 3  # as many as five words have
# a run in more than 5% of the texts is boilerplate; in up to 5 texts it never is, in more than 50 always
COMMON_SHARE, COMMON_AT_LEAST, COMMON_AT_MOST = 0.05, 5, 50
STOCK_REPLY_ROWS = 2  # a run in more replies than one training and one held-out row
LONE_RUN_WORDS = 0.7  # words to share where only one run is shared
PAIRS_SHOWN = 5

# Chinese and Japanese are written without spaces: there, one character counts as a word
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


@dataclass(frozen=True, slots=True)
class Leak:
    """A training row and a held-out row that are too much alike.

    ``kind``: ``exact``, the same user text; ``message``, user texts that share runs; ``conversation``,
    user texts and replies that do so together; ``exact-short``, the same user text of under five words,
    which honest data have too ("refund???") and which is no ground for refusal.
    """

    train_id: str
    heldout_id: str
    train_where: str
    heldout_where: str
    kind: LeakKind
    containment: float  # in [threshold, 1]


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of ``text``, without punctuation and whatever its Unicode normal form."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def word_trigrams(text: str) -> frozenset[Trigram]:
    """The distinct runs of three words of ``text``."""
    found = words(text)
    return frozenset(zip(found, found[1:], found[2:], strict=False))


def require_no_leaks(
    train: Sequence[Row], heldout: Sequence[Row], threshold: float = 0.3
) -> tuple[Leak, ...]:
    """The ``exact-short`` pairs, to show; ``LeakError`` with the first five pairs of other kinds."""
    leaks = find_leaks(train, heldout, threshold)
    found = [leak for leak in leaks if leak.kind != "exact-short"]
    if not found:
        return leaks
    lines = [f"  {leak.train_where} ~ {leak.heldout_where} ({describe(leak)})" for leak in found]
    shown = "\n".join(lines[:PAIRS_SHOWN])
    more = f"\n  and {len(lines) - PAIRS_SHOWN} more" if len(lines) > PAIRS_SHOWN else ""
    rows = len({leak.train_where for leak in found})
    raise LeakError(
        found[0].train_where,
        f"training rows that are also in the held-out rows, copied or edited ({rows}):\n{shown}{more}",
        "take these rows out of the training file, or replace the held-out rows with ones never trained on",
    )


def describe(leak: Leak) -> str:
    """How the two rows are alike, for people."""
    if leak.kind == "exact":
        return "the same user text"
    what = "user text" if leak.kind == "message" else "user text and reply"
    return f"{what}: {leak.containment:.0%} of three-word runs shared"


def find_leaks(train: Sequence[Row], heldout: Sequence[Row], threshold: float = 0.3) -> tuple[Leak, ...]:
    """Every pair of a training and a held-out row that are too much alike, in the held-out rows' order.

    Compared are the user turns and, where these share two runs, the user turns with the replies. A pair
    leaks when the containment of its three-word runs, in either direction, is at least ``threshold``.

    - Texts of under five words, and texts left with fewer than three runs, only leak by being the same
      (case, punctuation and spacing aside).
    - Runs in more than 5% of the distinct user texts of both sides together are boilerplate and not
      compared (never those in up to 5 texts, always those in more than 50).
    - Runs in the replies to more than two distinct user texts are stock phrases or labels and not
      compared; nor are replies of under five words. Two different questions with one answer do not leak.
    - Where a single run is shared, 70% of the shorter text's words must be too.

    Time and memory grow with the pairs that share a run, not with all pairs.
    """
    sides = [_Text.of(row) for row in train], [_Text.of(row) for row in heldout]
    distinct = {text.same: text for side in sides for text in side}
    limit = max(COMMON_AT_LEAST, min(COMMON_SHARE * len(distinct), COMMON_AT_MOST))
    common = _in_more_than(limit, (text.message for text in distinct.values()))
    stock = _in_more_than(STOCK_REPLY_ROWS, (text.reply for text in distinct.values()))
    known, asked = ([text.without(common, stock) for text in side] for side in sides)
    # the training texts by their runs, so that a held-out text meets only those that share one
    same: defaultdict[str, list[int]] = defaultdict(list)
    by_message: defaultdict[Trigram, list[int]] = defaultdict(list)
    by_reply: defaultdict[Trigram, list[int]] = defaultdict(list)
    for at, text in enumerate(known):
        same[text.same].append(at)
        if text.is_compared:
            for run in text.message:
                by_message[run].append(at)
            for run in text.reply:
                by_reply[run].append(at)
    leaks: list[Leak] = []
    for row, text in zip(heldout, asked, strict=True):
        copied = same.get(text.same, [])
        kind: LeakKind = "exact-short" if text.is_short else "exact"
        alike = [(at, (kind, 1.0)) for at in copied]
        if text.is_compared:
            runs = Counter(chain.from_iterable(by_message.get(run, ()) for run in text.message))
            reply_runs = Counter(chain.from_iterable(by_reply.get(run, ()) for run in text.reply))
            for at in sorted(runs.keys() - set(copied)):
                found = _alike(text, known[at], runs[at], reply_runs[at], threshold)
                alike += [(at, found)] if found else []
        leaks += [Leak(train[at].id, row.id, train[at].where, row.where, *found) for at, found in alike]
    return tuple(leaks)


def _alike(a: _Text, b: _Text, runs: int, reply_runs: int, threshold: float) -> tuple[LeakKind, float] | None:
    """How two texts are too much alike, if they are. ``runs`` and ``reply_runs``: how many they share."""
    share = runs / min(len(a.message), len(b.message))
    if share >= threshold:
        # words in common, repeats counted: a single run may be a phrase that two questions share
        in_both = (Counter(a.words) & Counter(b.words)).total() if runs == 1 else 0
        if runs > 1 or in_both / min(len(a.words), len(b.words)) >= LONE_RUN_WORDS:
            return "message", share
    if runs == 1 or not reply_runs:
        return None
    share = (runs + reply_runs) / min(len(a.message) + len(a.reply), len(b.message) + len(b.reply))
    return ("conversation", share) if share >= threshold else None


@dataclass(frozen=True, slots=True)
class _Text:
    """The parts of a row that are compared."""

    same: str  # equal for user texts that are the same but for case, punctuation and spacing
    words: tuple[str, ...]  # of the user turns
    message: frozenset[Trigram]  # of the user turns, none across two turns
    reply: frozenset[Trigram]  # of the assistant's, empty for under five words

    @classmethod
    def of(cls, row: Row) -> _Text:
        turns = [m.content for m in row.messages if m.role == "user"]
        replies = [m.content for m in row.messages if m.role == "assistant"]
        compared = [reply for reply in replies if len(words(reply)) >= SHORT_WORDS]
        found = tuple(word for turn in turns for word in words(turn))
        return cls(
            same=" ".join(found) or "".join("".join(turns).split()),
            words=found,
            message=frozenset[Trigram]().union(*map(word_trigrams, turns)),
            reply=frozenset[Trigram]().union(*map(word_trigrams, compared)),
        )

    @property
    def is_short(self) -> bool:
        return len(self.words) < SHORT_WORDS

    @property
    def is_compared(self) -> bool:
        """Whether it has runs enough to be compared by them; the others leak by being the same only."""
        return not self.is_short and len(self.message) >= MIN_RUNS

    def without(self, common: Set[Trigram], stock: Set[Trigram]) -> _Text:
        return _Text(self.same, self.words, self.message - common, self.reply - stock)


def _in_more_than(limit: float, texts: Iterable[Set[Trigram]]) -> frozenset[Trigram]:
    counts = Counter(trigram for text in texts for trigram in text)
    return frozenset(trigram for trigram, count in counts.items() if count > limit)
