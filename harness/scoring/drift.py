"""Whether a judge still scores as it did: frozen anchors, graded again, each compared with itself.

A hosted model may change behind its name. What it said of labelled replies is kept; some of these replies,
the same in every run, are put to it again. Where nothing changed, each difference is as likely to have the
other sign; the test counts all signs (Fisher's randomisation test of paired data, 1935). It is made twice, of
the mean and of good replies less bad ones: a judge that now calls everything middling has the mean it had.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from harness.errors import DataError
from harness.records import Admission, Anchors, Answer, Message, Row
from harness.scoring.labels import Label, by_majority
from harness.scoring.pair_labels import PairLabel, pairs_by_majority

MOST_ANCHORS = 40  # that are taken from labels
MOST_OWN_ANCHORS = 200  # of a file: each is paid in every run
FEWEST_ANCHORS = 9  # fewer cannot move beyond noise: of two tests, 2 * 2 / 2**8 is above the level
LEVEL = 0.01  # two-sided, of both tests together (Bonferroni)
STEPS = 1000  # scores are kept to so many parts, so that sums of differences are exact
SHORT_KEY = 16

Given: TypeAlias = Label | PairLabel
_G = TypeVar("_G", Label, PairLabel)


@runtime_checkable
class HasLabels(Protocol):
    """A judge with labels of its own. It may have ``known_anchors``, a tuple of such labels, as well."""

    @property
    def known(self) -> Sequence[Given] | None:
        """The labels, once they were read."""

    @property
    def field(self) -> str | None:
        """The field of JSON answers that it judges; None: the whole text."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A labelled reply as a row and its answer; of a pair, the first, and ``against`` it the second."""

    key: str
    row: Row
    answer: Answer
    good: bool | None  # of a pair, whether the first is better; None: neither is
    against: Answer | None = None


def as_answered(
    label: Given, field: str | None, reply: str | None = None
) -> tuple[Row, Answer, Answer | None]:
    """The row that the label's reply, or another one, answers, both in the form of the suite's.

    Of a pair, the first answer stands for the reply, and the second comes last.
    """

    def written(text: str) -> str:
        return text if field is None else json.dumps({field: text}, ensure_ascii=False)

    key = label.digest(0)[:SHORT_KEY]
    row = Row(key, (Message("user", label.message), Message("assistant", written(label.reference))))
    own, other = (label.first, label.second) if isinstance(label, PairLabel) else (label.reply, None)
    against = None if other is None else Answer(key, written(other), 0, 0, 0.0)
    return row, Answer(key, written(own if reply is None else reply), 0, 0, 0.0), against


def labels_of(judge: object) -> tuple[Given, ...]:
    """The judge's labels of replies, or of pairs, each once; none where they are not known."""
    if not isinstance(judge, HasLabels):
        return ()
    return each_once(known_of(judge))


def known_of(judge: object, what: Literal["known", "known_anchors"] = "known") -> tuple[Given, ...]:
    """The judge's labels, or anchors, as they were read; a judge of the project's own may have none."""
    given: object = getattr(judge, what, None)
    return tuple(one for one in given if isinstance(one, Given)) if isinstance(given, list | tuple) else ()


def each_once(known: Sequence[Given]) -> tuple[Given, ...]:
    """One label for each reply, or pair: what most of its annotators said."""
    return (
        *by_majority([label for label in known if isinstance(label, Label)]),
        *pairs_by_majority([label for label in known if isinstance(label, PairLabel)]),
    )


def require_anchors(anchors: Sequence[_G], where: str) -> tuple[_G, ...]:
    """The labels of a file of anchors, if they are enough to see a judge move, and few enough to be paid.

    Raises:
        DataError: fewer than 9 different ones or more than 200, or all of one kind.
    """
    n = len({label.content for label in anchors})
    if not FEWEST_ANCHORS <= n <= MOST_OWN_ANCHORS:
        problem = f"{n} different anchors, and it takes {FEWEST_ANCHORS} to {MOST_OWN_ANCHORS}"
        raise DataError(where, problem, f"{MOST_ANCHORS} are usual; each run judges all of them")
    if not {True, False} <= {label.good for label in anchors}:
        hint = "take good and bad replies, or pairs for either side, by halves"
        raise DataError(where, "all anchors are of one kind, so a judge that moves can hide", hint)
    return tuple(anchors)


def anchors_of(judge: object) -> tuple[Anchor, ...]:
    """The judge's own anchors, or at most 40 of its labels; none without labels.

    Of labels, half are good and half bad where there are enough, or half for either side: those of the lowest
    hashes, so that labels that are added or taken away leave most of them as they are.
    """
    if not isinstance(judge, HasLabels):
        return ()
    own = known_of(judge, "known_anchors")
    distinct = {label.digest(0): label for label in (each_once(own) if own else labels_of(judge))}
    order = sorted(distinct)
    if not own:
        good, bad = ([key for key in order if distinct[key].good is kind] for kind in (True, False))
        half = MOST_ANCHORS // 2
        order = sorted(
            [*good[: max(half, MOST_ANCHORS - len(bad))], *bad[: max(half, MOST_ANCHORS - len(good))]]
        )
    return tuple(
        Anchor(key[:SHORT_KEY], row, answer, distinct[key].good, against)
        for key in order
        for row, answer, against in [as_answered(distinct[key], judge.field)]
    )


def digest_of(anchors: Sequence[Anchor]) -> str:
    """Of the anchors' texts, in any order."""
    return sha256(" ".join(sorted(anchor.key for anchor in anchors)).encode()).hexdigest()[:SHORT_KEY]


def compared(
    anchors: Sequence[Anchor], before: Mapping[str, float], now: Mapping[str, float], since: str = ""
) -> Anchors:
    """Today's scores of the anchors beside earlier ones."""
    both = [anchor for anchor in anchors if anchor.key in before and anchor.key in now]
    plain = Anchors(digest_of(anchors), dict(sorted(now.items())), since, len(both))
    if len(both) < FEWEST_ANCHORS:
        return dataclasses.replace(plain, why=f"only {len(both)} anchors were judged then and now")
    every = [_steps(one, before, now) for one in both]
    good, bad = ([_steps(one, before, now) for one in both if one.good is kind] for kind in (True, False))
    p = min(1.0, 2 * min(sign_flip_p(every), sign_flip_p([*good, *(-step for step in bad)])))
    low, high = _interval([step / STEPS for step in every])
    return dataclasses.replace(
        plain,
        shift=_mean(every),
        low=low,
        high=high,
        good_shift=_mean(good),
        bad_shift=_mean(bad),
        p_value=p,
        moved=p <= LEVEL,
        of_pairs=any(one.against is not None for one in both),
    )


def _steps(anchor: Anchor, before: Mapping[str, float], now: Mapping[str, float]) -> int:
    return round(STEPS * now[anchor.key]) - round(STEPS * before[anchor.key])


def _mean(steps: Sequence[int]) -> float | None:
    return sum(steps) / STEPS / len(steps) if steps else None


def sign_flip_p(differences: Sequence[int]) -> float:
    """The share of all ways to give the differences signs whose sum is as far from 0 as theirs."""
    import numpy as np

    sizes = [abs(difference) for difference in differences if difference]
    total = sum(sizes)
    ways = np.zeros(2 * total + 1)  # by sum, from -total
    ways[total] = 1.0
    for size in sizes:
        ways = (np.roll(ways, size) + np.roll(ways, -size)) / 2  # nothing wraps: sums stay within the total
    far = abs(np.arange(-total, total + 1)) >= abs(sum(differences))
    return min(1.0, float(ways[far].sum()))


def _interval(differences: Sequence[float]) -> tuple[float, float]:
    """Student's two-sided 95% interval of the mean."""
    import numpy as np
    from scipy.stats import t

    values = np.asarray(differences)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return max(-1.0, mean - half), min(1.0, mean + half)


def after(admission: Admission, anchors: Anchors) -> Admission:
    """The admission with its anchors; withdrawn where they have moved."""
    noted = dataclasses.replace(admission, anchors=anchors)
    if not anchors.moved or anchors.shift is None or anchors.low is None or anchors.high is None:
        return noted
    points = f"{100 * anchors.shift:+.0f} points ({100 * anchors.low:+.0f} to {100 * anchors.high:+.0f}"
    each = ", ".join(
        f"{kind} by {100 * shift:+.0f}"
        for kind, shift in zip(anchors.kinds, (anchors.good_shift, anchors.bad_shift), strict=True)
        if shift is not None
    )
    since = anchors.since[:10] or "an unknown day"
    reason = (
        f"its anchors moved by {points}, n={anchors.n}) since {since}, {each}. What it said before and what"
        " it says now are not of one judge: `harness judge-check --fresh`, or a run with --fresh, has"
        " everything judged anew and tests the judge again"
    )
    return dataclasses.replace(noted, admitted=False, reasons=(*admission.reasons, reason))
