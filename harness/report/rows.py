"""Every row of a run for the page's browser: texts, values and outcomes, packed. Pure.

A page of 10,000 rows and six trials holds some 15 MB of text. It is held as JSON, deflated and in base64,
which the page's script unpacks, so that opening the page parses none of it.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import chain
from math import inf, nan
from typing import TypeAlias

import numpy as np
import regex
from numpy.typing import NDArray

from harness.records import TIE, Answer, Gate, Kind, Outcome, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.report import numbers
from harness.report.trial_pairs import MOST_OF_A_SLICE, Pair, is_advisory, pairs, trial_label
from harness.report.view_models import RowsData

MOST_BYTES = 3_200_000  # of the packed rows
LONGEST, LONGEST_REASON = 2_000, 300  # characters of a text and of a reason
GRADED_CHANGE, GRADED_RIGHT = 0.25, 0.5
_MANY_ROWS, _TRIED = 3_000, 2_000  # of more rows than the first, the second are packed to guess the size
_DRAWN = 0.2  # of the rows of a page that cannot hold all

Letters: TypeAlias = NDArray[np.uint8]  # the codes of a letter for each row of a suite
Places: TypeAlias = NDArray[np.int64]
Lettered: TypeAlias = Mapping[int, Mapping[str, Letters]]  # each trial's outcomes by check; keys: identities

#: a letter for each outcome, in the order in which rows are shown
OUTCOMES = {
    "l": "lost",
    "f": "failed",
    "x": "both wrong",
    "w": "won",
    "r": "both right",
    "n": "not judged",
}
_URGENT = (Outcome.REFUTED, Outcome.INCONCLUSIVE)  # the suites of such gates come first
_OF_SEVERAL = "lwfxrn"  # the first of these that any check has is the row's

# what steers the reader's eye or a terminal without being seen: control characters but tab and line feed,
# those that turn the writing direction, invisible ones, tags, halves of surrogate pairs
_HIDDEN = regex.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)
# a letter of those scripts that set no spaces, a word, white space, or any other character
_WORDS = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Khmer}\p{Lao}\p{Myanmar}]|[\p{L}\p{M}\p{N}_]+|\s+|.", regex.S
)


def shown(text: str) -> str:
    """``text`` with its hidden characters spelled out: ``␛`` for an escape, ``⟨U+202E⟩`` for an override."""

    def spelled(found: regex.Match[str]) -> str:
        code = ord(found[0])
        return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"

    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return _HIDDEN.sub(spelled, text) if _HIDDEN.search(text) else text


def words(text: str) -> list[str]:
    """``text`` cut into words, marks and white space; joined they are ``text`` again."""
    return [found[0] for found in _WORDS.finditer(text)]


def outcomes(suite: SuiteInfo, info: ScoreInfo, trial: Trial, baseline: Trial | None) -> Letters:
    """What became of each row of the suite on one check: a letter a row, as `OUTCOMES` has them.

    Lost is right before and wrong now, or a graded score that fell by ``GRADED_CHANGE`` or more; won is the
    opposite. Without a baseline no row is lost or won.
    """
    after = values(suite, trial, info.name)
    right = 1.0 if info.kind is Kind.BINARY else GRADED_RIGHT
    before = after
    if baseline is not None or info.kind is Kind.PREFERENCE:
        before = _before(suite, info, baseline)
    with np.errstate(invalid="ignore"):
        step = after - before
    found = np.where(after >= right, _code("r"), _code("x"))
    found[(step >= GRADED_CHANGE) | ((after >= right) & (before < right))] = _code("w")
    found[(step <= -GRADED_CHANGE) | ((before >= right) & (after < right))] = _code("l")
    found[np.isinf(after) | np.isinf(before)] = _code("n")
    found[np.isnan(after) | np.isnan(before)] = _code("f")
    return found.astype(np.uint8)


def _code(letter: str) -> np.uint8:
    return np.uint8(ord(letter))


def of_several(suite: SuiteInfo, each: Mapping[str, Letters]) -> Letters:
    """The outcome of each row over the checks that have a vote, or over all where none has."""
    voting = [each[info.name] for info in suite.scores if info.name in each and not is_advisory(info)]
    ranks = np.full(len(suite.rows), len(_OF_SEVERAL) - 1)
    for found in voting or each.values():
        ranks = np.minimum(ranks, _ranks(_OF_SEVERAL)[found])
    chosen: Letters = np.frombuffer(_OF_SEVERAL.encode("ascii"), np.uint8)[ranks]
    return chosen


def _ranks(letters: str) -> NDArray[np.int64]:
    """The place of each letter, by its code."""
    table = np.zeros(128, np.int64)
    table[[ord(letter) for letter in letters]] = range(len(letters))
    return table


def values(suite: SuiteInfo, trial: Trial, score: str) -> NDArray[np.float64]:
    """The score of each row, in the suite's order. NaN: it failed; infinite: not asked or not judged."""
    if score not in trial.scores:
        return np.full(len(suite.rows), inf)
    scores = trial.scores[score]
    found = np.array([*(one.value for one in scores), inf], np.float64)  # None becomes nan
    for at in np.flatnonzero(np.isnan(found)).tolist():
        found[at] = nan if scores[at].was_judged else inf
    return found[places(suite, trial)]


def places(suite: SuiteInfo, trial: Trial) -> Places:
    """Where the answer to each row of the suite stands; -1: it was not asked."""
    asked, ids = [answer.row_id for answer in trial.answers], [row.id for row in suite.rows]
    if asked == ids:
        return np.arange(len(ids))
    at = {name: place for place, name in enumerate(asked)}
    return np.array([at.get(name, -1) for name in ids], np.int64)


def _before(suite: SuiteInfo, info: ScoreInfo, baseline: Trial | None) -> NDArray[np.float64]:
    """The baseline's values; of a preference, which is set against it already, ties."""
    if baseline is None or info.kind is Kind.PREFERENCE:
        return np.full(len(suite.rows), TIE)
    return values(suite, baseline, info.name)


def lettered(pair: Pair, trial: Trial) -> dict[str, Letters]:
    """The outcomes of a trial by check."""
    return {
        info.name: outcomes(pair.suite, info, trial, pair.baseline)
        for info in pair.suite.scores
        if info.name in trial.scores
    }


def by_loss(pair: Pair, each: Mapping[str, Letters]) -> Places:
    """Places of the suite's rows: losses of the leading trial first, the largest before others.

    ``each`` holds that trial's outcomes by check.
    """
    suite = pair.suite
    scored = [info for info in suite.scores if info.name in each]
    voting = [info for info in scored if not is_advisory(info)] or scored
    steps = np.zeros(len(suite.rows))
    for info in voting if pair.baseline else ():
        with np.errstate(invalid="ignore"):
            step = values(suite, pair.lead, info.name) - _before(suite, info, pair.baseline)
        steps += np.where(np.isfinite(step), step, 0.0)
    return np.lexsort((steps, _ranks("".join(OUTCOMES))[of_several(suite, each)]))


def note_of(answer: Answer) -> str:
    """What is to be known of an answer beside its text: why there is none, that it was cut off, its route."""
    if answer.failure is not None:
        return f"failed: {answer.failure}"
    if answer.finish == "length":
        return "cut off at the token limit"
    return f"{answer.route}: {answer.parts[-1].why}" if answer.route else ""


def packed_rows(record: RunRecord) -> RowsData | None:
    """All rows of all suites with a comparison, or as many of the worst as a page holds; None without one."""
    found = pairs(record)
    urgent = [gate.suite for outcome in _URGENT for gate in record.gates if _decides(gate, outcome)]
    names = dict.fromkeys([*urgent, *(pair.suite.name for pair in found)])
    suites = {name: some for name in names if (some := [one for one in found if one.suite.name == name])}
    n_all = sum(len(some[0].suite.rows) for some in suites.values())
    if not n_all:
        return None
    data, share, of_all = _fitting(suites, n_all)
    note = f"{numbers.plural(n_all, 'row')}, all of this run."
    if share < 1:
        each = [_counts(len(some[0].suite.rows), share) for some in suites.values()]
        n, drawn = map(sum, zip(*each, strict=True))
        note = (
            f"This page holds {numbers.count(n, n_all)} rows, as many as fit: {n - drawn:,} those where the"
            f" sides differ and the wrong ones before others, {drawn:,} were drawn from the rest by chance."
            " Counts are of these; run.json has all."
        )
    if not of_all and any(len(pair.trials) > 1 for pair in found):
        note += " Answers of other sizes and seeds than the decided one are in run.json."
    return RowsData(data, note)


def _fitting(suites: Mapping[str, Sequence[Pair]], n_all: int) -> tuple[str, float, bool]:
    """What a page holds: the rows packed, their share, and whether with the answers of all sizes."""
    found = [*chain.from_iterable(suites.values())]
    letters = {id(trial): lettered(pair, trial) for pair in found for trial in pair.trials}
    ranked = [_ranked(some, letters) for some in suites.values()]
    several = any(len(pair.trials) > 1 for pair in found)

    def packed(share: float, *, of_all: bool) -> str:
        kept = [_kept(order, share) for order in ranked]
        return _packed(suites, letters, kept, of_all=of_all)

    data, share = "", 1.0
    for of_all in (True, False) if several else (False,):
        share = 1.0
        if n_all > _MANY_ROWS:  # packing all of them to find that they are too many takes seconds
            tried = _TRIED / n_all
            guess = 1.1 * tried * MOST_BYTES / len(packed(tried, of_all=of_all))  # more rows share more
            share = 1.0 if guess > 0.85 else guess
        if of_all and share < 1:
            continue
        data = packed(share, of_all=of_all)
        while not of_all and len(data) > MOST_BYTES and share > 1e-3:
            share *= 0.95 * MOST_BYTES / len(data)
            data = packed(share, of_all=of_all)
        if len(data) <= MOST_BYTES:
            return data, share, of_all
    return data, share, False


def _ranked(some: Sequence[Pair], letters: Lettered) -> Places:
    """Places of a suite's rows, the worst first; those of several candidates take turns."""
    each = [by_loss(pair, letters[id(pair.lead)]) for pair in some]
    if len(each) == 1:
        return each[0]
    turns = np.stack(each, axis=1).ravel()
    return turns[np.sort(np.unique(turns, return_index=True)[1])]


def _counts(n_rows: int, share: float) -> tuple[int, int]:
    """How many of a suite's rows are kept, and how many of those are drawn by chance."""
    n = n_rows if share >= 1 else int(share * n_rows)
    return n, 0 if share >= 1 else int(_DRAWN * n)


def _kept(order: Places, share: float) -> Places:
    """Places of the rows that a page holds: the first in ``order``, and some of the others by chance."""
    n, drawn = _counts(len(order), share)
    rest = np.random.default_rng(0).choice(order[n - drawn :], drawn, replace=False)  # the same again
    return np.sort(np.concatenate([order[: n - drawn], rest]))


def _decides(gate: Gate, outcome: Outcome) -> bool:
    return gate.state == "gated" and gate.comparison is not None and gate.comparison.outcome is outcome


def _packed(
    suites: Mapping[str, Sequence[Pair]], letters: Lettered, kept: Sequence[Places], *, of_all: bool
) -> str:
    texts = _Texts()
    blocks = [
        _suite(some, texts, letters, mine, of_all=of_all)
        for some, mine in zip(suites.values(), kept, strict=True)
    ]
    whole = {"texts": texts.known, "suites": blocks, "outcomes": OUTCOMES}
    told = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    return b64encode(zlib.compress(told.encode("ascii"), 6)).decode("ascii")


class _Texts:
    """Each text once; answers are often the same."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._places: dict[tuple[str, int], int] = {}

    def place(self, text: str, most: int = LONGEST) -> int:
        """Where the text stands, cut to so many characters."""
        key = text, most
        if key not in self._places:
            self._places[key] = len(self.known)
            left = len(text) - most
            more = f" … ({left:,} more characters are in run.json)" if left > 0 else ""
            self.known.append(shown(text[:most]) + more)
        return self._places[key]


def _suite(
    some: Sequence[Pair], texts: _Texts, letters: Lettered, kept: Places, *, of_all: bool
) -> dict[str, object]:
    suite = some[0].suite
    rows = [suite.rows[place] for place in kept.tolist()]
    keys = [key for key in suite.slices if any(key in row.slices for row in rows)]
    sides: list[dict[str, object]] = []
    stands: dict[int, int] = {}  # of baselines, by identity: several candidates may share one
    for pair in some:
        base = pair.baseline
        if base is not None and id(base) not in stands:
            stands[id(base)] = len(sides)
            sides.append(_side(suite, base, kept, texts))
        for trial in pair.trials:
            each = letters[id(trial)]
            whole = [of_several(suite, each), *(each.get(info.name) for info in suite.scores)]
            side = _side(suite, trial, kept, texts if of_all or trial is pair.lead else None)
            side["base"] = -1 if base is None else stands[id(base)]
            side["lead"] = trial is pair.lead
            side["outcomes"] = ["" if one is None else one[kept].tobytes().decode("ascii") for one in whole]
            sides.append(side)
    return {
        "name": suite.name,
        "checks": [
            {
                "name": info.name,
                "kind": info.kind.value,
                "votes": not is_advisory(info),
                "right": 1.0 if info.kind is Kind.BINARY else GRADED_RIGHT,
            }
            for info in suite.scores
        ],
        "id": [shown(row.id) for row in rows],
        "question": [texts.place(row.question) for row in rows],
        "reference": [texts.place(row.reference) for row in rows],
        "slices": [
            [
                key,
                [texts.place(row.slices[key], MOST_OF_A_SLICE) if key in row.slices else -1 for row in rows],
            ]
            for key in keys
        ],
        "sides": sides,
    }


def _side(suite: SuiteInfo, trial: Trial, kept: Places, texts: _Texts | None) -> dict[str, object]:
    """One trial's answers by row: texts, why one failed, and each check's value with its reason.

    Without ``texts`` values alone: -2 stands for a text that the page does not hold, -1 for none.
    """

    def held(text: str, most: int = LONGEST) -> int:
        return -2 if texts is None else texts.place(text, most)

    at = places(suite, trial)[kept].tolist()
    answers = [None if place < 0 else trial.answers[place] for place in at]
    checks: list[object] = []
    for info in suite.scores:
        scores = trial.scores.get(info.name)
        if scores is None:
            checks.append(None)
            continue
        mine = [None if place < 0 else scores[place] for place in at]
        checks.append(
            [
                [None if one is None or one.value is None else round(one.value, 3) for one in mine],
                [-1 if one is None else held(one.failure or one.reason, LONGEST_REASON) for one in mine],
            ]
        )
    return {
        "label": trial_label(trial),
        "text": [-1 if one is None else held(one.text) for one in answers],
        "note": [-1 if one is None or not (why := note_of(one)) else held(why) for one in answers],
        "checks": checks,
    }
