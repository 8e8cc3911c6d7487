"""Rows that repeat other rows: copies, near-copies, and files filled in from templates.

Texts are compared by the share of three-word runs they have in common (containment: A. Z. Broder, "On the
resemblance and containment of documents", 1997).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from harness.data.findings import Finding
from harness.data.fingerprints import bytes_digest
from harness.data.plain_text import SHORT_WORDS, words
from harness.records import Message, Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints: TypeAlias = npt.NDArray[np.int64]

Trigram: TypeAlias = tuple[str, str, str]

MIN_RUNS = 3  # as many as five words have
# a run in more than 5% of the texts is boilerplate; in up to 5 texts it never is, in more than 50 always
COMMON_SHARE, COMMON_AT_LEAST, COMMON_AT_MOST = 0.05, 5, 50
NEAR_CONTAINMENT = 0.5
HONEST_SHORT_COPIES = 3  # rows with one short message and one reply that are no finding
PAIRS_AT_ONCE = 2000  # rows compared with all others in one sparse product

SAMPLE_TURNS = 1000  # distinct-3 falls with the number of texts, so all files are judged on this many
TEMPLATE_TURNS = 50  # fewer are not judged
TEMPLATE_SHARE = 0.5
OWN_PASSAGE_RUNS = 8  # six new words in a row, and the runs that reach into them: more than a filled slot

# In "12 + 5" and "12 - 5" the sign is no punctuation
_SIGN = re.compile(r"[+*=<>^%÷×−]|(?<=[\d\s)])[-/](?=[\s\d(])")


@dataclass(frozen=True, slots=True)
class PlainRow:
    """The texts of a row without case, spacing and punctuation: rows with equal texts are copies."""

    user: str
    answer: str  # every other turn but the system's, with its tool calls
    turns: int
    short: bool  # under five words, as messages have that repeat honestly
    words: tuple[tuple[str, ...], ...]  # of each user turn

    @classmethod
    def of(cls, row: Row) -> PlainRow:
        """From a row's messages."""
        turns = [m.content for m in row.messages if m.role == "user"]
        others = [m for m in row.messages if m.role not in ("user", "system", "developer")]
        found = tuple(tuple(map(sys.intern, words(turn))) for turn in turns)  # each word held once
        user = "\n".join(map(_same, turns, found))
        answer = "\n".join(map(plain_turn, others))
        return cls(user, answer, len(turns) + len(others), sum(map(len, found)) < SHORT_WORDS, found)


def plain_turn(message: Message) -> str:
    """A turn without case, spacing and punctuation, and with its tool calls as they are."""
    calls = [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join([_same(message.content, words(message.content)), *calls])


def _same(text: str, found: Sequence[str]) -> str:
    if not found:
        return "".join(text.split())
    signs = "".join(_SIGN.findall(unicodedata.normalize("NFKC", text)))
    return f"{' '.join(found)} {signs}"


def copies(plain: Sequence[PlainRow], lines: Sequence[int]) -> Iterator[Finding]:
    """``exact-duplicate``: one finding for each group of rows with the same user text and the same reply.

    User texts of under five words repeat honestly and are reported from the fourth copy.
    """
    for group in _groups((text.user, text.answer) for text in plain):
        if len(group) < 2 or (plain[group[0]].short and len(group) <= HONEST_SHORT_COPIES):
            continue
        at = tuple(sorted(lines[index] for index in group))
        problem = f"{len(at)} rows have the same user text and the same reply: {shown_lines(at)}"
        hint = "keep one of them: copies are learned by heart and take room from other rows"
        yield Finding("exact-duplicate", at[1], problem, hint, at)


def shown_lines(lines: Collection[int]) -> str:
    """``lines 4, 9, 13 ...``: the first five."""
    ordered = sorted(lines)
    more = " ..." if len(ordered) > 5 else ""
    return f"line{'s' if len(ordered) > 1 else ''} {', '.join(map(str, ordered[:5]))}{more}"


def _groups(keys: Iterable[object]) -> list[list[int]]:
    found: dict[object, list[int]] = defaultdict(list)
    for at, key in enumerate(keys):
        found[key].append(at)
    return list(found.values())


# --------------------------------------------------------------------------- near-copies
def near_copies(
    plain: Sequence[PlainRow], lines: Sequence[int], settled: Collection[Collection[int]] = ()
) -> Iterator[Finding]:
    """``near-duplicate``: one finding for each group of rows whose user texts share half of their runs.

    Two texts are alike when the smaller shares at least 50% of its three-word runs with the other; a group
    is all that are joined by such pairs. Copies of a row count once. Runs in more than 5% of the rows are
    boilerplate and not compared (never those in up to 5 rows, always those in more than 50), nor are texts
    of under five words or left with fewer than three runs, nor conversations of different numbers of turns
    (one may be the other's beginning). Groups that lie within the lines of one of ``settled`` are left out.
    """
    firsts = [group[0] for group in _groups((text.user, text.answer) for text in plain)]
    compared = sorted((at for at in firsts if not plain[at].short), key=lambda at: lines[at])
    known = [frozenset(group) for group in settled]
    for members, (a, b), share in _alike([plain[at] for at in compared]):
        at = tuple(lines[compared[member]] for member in members)
        if any(known_lines.issuperset(at) for known_lines in known):
            continue
        pair = f"lines {lines[compared[a]]} and {lines[compared[b]]}"
        more = "" if len(at) == 2 else f"; {len(at)} rows are so joined ({shown_lines(at)})"
        problem = f"the user texts of {pair} share {share:.0%} of their three-word runs{more}"
        hint = "keep the best of them, unless they ask different things of one pasted text"
        yield Finding("near-duplicate", at[1], problem, hint, at)


def _alike(texts: Sequence[PlainRow]) -> list[tuple[list[int], tuple[int, int], float]]:
    """The groups of texts that are alike, each with its most alike pair and the containment of that."""
    import numpy as np  # here, as scipy is slow to import
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b, share = _pairs(texts)
    same_turns = np.array([text.turns for text in texts], dtype=np.int64)
    kept = same_turns[a] == same_turns[b]
    a, b, share = a[kept], b[kept], share[kept]
    if not len(a):
        return []
    joined = coo_array((np.ones(len(a)), (a, b)), shape=(len(texts), len(texts)))
    _, labels = connected_components(joined, directed=False)
    best: dict[int, tuple[tuple[int, int], float]] = {}
    for at in np.lexsort((b, a, -share)):  # most alike first, then by line
        best.setdefault(int(labels[a[at]]), ((int(a[at]), int(b[at])), float(share[at])))
    members: dict[int, list[int]] = defaultdict(list)
    for at in np.unique(np.concatenate([a, b])):
        members[int(labels[at])].append(int(at))
    return [(members[label], *best[label]) for label in sorted(members, key=lambda label: members[label])]


def _pairs(texts: Sequence[PlainRow]) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Each pair of texts that are alike, once, by place: the lower, the higher, their containment."""
    import numpy as np
    from scipy.sparse import csr_array

    row, run = _runs(texts)
    limit = max(COMMON_AT_LEAST, min(COMMON_SHARE * len(texts), COMMON_AT_MOST))
    rare = np.bincount(run)[run] <= limit  # the others are boilerplate
    row, run = row[rare], run[rare]
    enough = np.bincount(row, minlength=len(texts))[row] >= MIN_RUNS
    row, run = row[enough], run[enough]
    size = np.bincount(row, minlength=len(texts))
    runs = int(run.max()) + 1 if len(run) else 0
    has = csr_array((np.ones(len(row), dtype=np.int32), (row, run)), shape=(len(texts), runs))
    by_run = has.T.tocsr()
    found: list[tuple[Ints, Ints, npt.NDArray[np.float64]]] = []
    for start in range(0, max(len(texts), 1), PAIRS_AT_ONCE):
        shared = (has[start : start + PAIRS_AT_ONCE] @ by_run).tocoo()
        a, b = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        share = shared.data / np.minimum(size[a], size[b])
        kept = (a < b) & (share >= NEAR_CONTAINMENT)
        found.append((a[kept], b[kept], share[kept]))
    ones, others, shares = zip(*found, strict=True)
    return np.concatenate(ones), np.concatenate(others), np.concatenate(shares)


def _runs(texts: Sequence[PlainRow]) -> tuple[Ints, Ints]:
    """Which text has which three-word run: two arrays of one length, each pair once. No run spans turns."""
    import numpy as np

    number: dict[str, int] = {}
    flat = [number.setdefault(word, len(number)) for text in texts for turn in text.words for word in turn]
    turns = [(at, len(turn)) for at, text in enumerate(texts) for turn in text.words]
    lengths = np.array([length for _, length in turns], dtype=np.int64)
    turn_of = np.repeat(np.arange(len(turns), dtype=np.int64), lengths)
    text_of = np.repeat(np.array([at for at, _ in turns], dtype=np.int64), lengths)
    word = np.array(flat, dtype=np.int64)
    within = turn_of[:-2] == turn_of[2:]
    _, two = np.unique(word[:-2][within] << 32 | word[1:-1][within], return_inverse=True)
    _, three = np.unique(two << 32 | word[2:][within], return_inverse=True)
    pairs = np.unique(text_of[:-2][within] << 32 | three)
    return pairs >> 32, pairs & 0xFFFFFFFF


# --------------------------------------------------------------------------- diversity
def diversity(rows: Sequence[Row]) -> float:
    """Distinct-3 of the user turns, in [0, 1]: distinct three-word runs over all of them; 1 with no run.

    After J. Li et al., "A diversity-promoting objective function for neural conversation models", 2016,
    who divide by words. Over at most 1,000 distinct turns of at least five words, chosen by a hash of their
    words: the score falls with the number of texts, so only scores over as many are comparable.
    """
    return _distinct_3(_sample(PlainRow.of(row) for row in rows))


def _sample(plain: Iterable[PlainRow]) -> list[list[Trigram]]:
    turns = {turn for text in plain for turn in text.words if len(turn) >= SHORT_WORDS}
    chosen = sorted(turns, key=lambda turn: bytes_digest(" ".join(turn).encode("utf-8", "surrogatepass")))
    return [list(zip(turn, turn[1:], turn[2:], strict=False)) for turn in chosen[:SAMPLE_TURNS]]


def _distinct_3(texts: Sequence[Sequence[Trigram]]) -> float:
    total = sum(map(len, texts))
    return len({run for text in texts for run in text}) / total if total else 1.0


def filled_in(plain: Sequence[PlainRow], line: int) -> Iterator[Finding]:
    """``low-diversity``: most of the user turns are filled in from templates.

    A turn counts as filled in when over half of its runs are in other turns too and it has no passage of
    its own (six new words in a row), as a message pasted under one instruction has. Judged on the turns
    that ``diversity`` is, where there are at least 50.
    """
    texts = _sample(plain)
    if len(texts) < TEMPLATE_TURNS:
        return
    in_texts = Counter(run for text in texts for run in set(text))
    filled = 0
    for text in texts:
        shared = [in_texts[run] > 1 for run in text]
        # the longest stretch of runs that no other turn has
        own = max((len(list(g)) for is_shared, g in groupby(shared) if not is_shared), default=0)
        filled += sum(shared) > len(shared) / 2 and own < OWN_PASSAGE_RUNS
    if filled > TEMPLATE_SHARE * len(texts):
        problem = (
            f"{filled:,} of {len(texts):,} user turns ({filled / len(texts):.0%}) share most of their "
            "three-word runs with others and have no passage of their own; "
            f"distinct-3 is {_distinct_3(texts):.2f}"
        )
        hint = "add messages that people wrote: a model trained on filled-in templates learns the templates"
        yield Finding("low-diversity", line, problem, hint)
