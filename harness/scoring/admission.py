"""A judge has to earn its vote: its agreement with people, on labels it has not seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import atanh, sqrt, tanh

import numpy as np

from harness.errors import UsageError
from harness.records import Admission, Disagreement, Rate
from harness.scoring.annotators import NO_ANNOTATION, Annotation
from harness.scoring.annotators import annotation as agreement_of
from harness.scoring.labels import Label
from harness.scoring.mentions import words
from harness.scoring.text import short

MIN_TPR, MIN_TNR = 0.8, 0.8
MIN_YOUDEN = 0.6  # to be exceeded: a judge that meets both other bars exactly is at the edge twice
MIN_LABELS_OF_A_KIND = 25  # good and bad each, in the test half: fewer admit bad judges by luck
LENGTH_BAR = 0.3  # a medium correlation by J. Cohen (1988), Statistical Power Analysis, ch. 3
MOST_DISAGREEMENTS = 4  # that a record holds
_LONGEST = 400  # characters of each of their texts
_MIN_RANKED = 5  # labels of a kind, for a rank correlation among them
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels from 1 to ``scale`` that people and the judge gave to the same replies, in one order."""

    people: Sequence[int]
    judge: Sequence[int]
    scale: int


def admit(
    judge: str,
    truth: Sequence[bool],
    predicted: Sequence[bool],
    *,
    threshold: float,
    n_calibration: int,
    values: Sequence[float] = (),
    lengths: Sequence[int] = (),
    levels: Levels | None = None,
    annotation: Annotation = NO_ANNOTATION,
    is_half: bool = True,
) -> Admission:
    """Admitted when TPR and TNR reach .8, their sum less 1 exceeds .6, and 25 labels of each kind tested it.

    The bars are on point estimates. Kappa is reported and has no bar: it falls with the share of the rarer
    kind, whatever the judge is worth.

    Args:
        judge: its name.
        truth: the label that people gave to each reply; True is good.
        predicted: the judge's label of the same replies.
        threshold: the score from which it calls a reply good.
        n_calibration: number of other labels that it was calibrated on.
        values: the judge's scores of the same replies, in [0, 1], where they are more than good or bad.
        lengths: of the same replies, in characters.
        levels: those of replies that people gave a level.
        annotation: how far several annotators agreed.
        is_half: whether they are one half of all labels; False where all of them test.

    Raises:
        UsageError: the labels are not one each, or all alike.
    """
    if len(truth) != len(predicted):
        raise UsageError(f"{judge}: {len(truth)} labels but {len(predicted)} judgments")
    if len(set(truth)) < 2:
        raise UsageError(f"{judge}: admission needs labels of both kinds, good and bad")
    for what, given in (("scores", values), ("lengths", lengths)):
        if given and len(given) != len(truth):
            raise UsageError(f"{judge}: {len(truth)} labels but {len(given)} {what}")
    hits, rejections = (
        [guess == kind for label, guess in zip(truth, predicted, strict=True) if label == kind]
        for kind in (True, False)
    )
    tpr, tnr = wilson(sum(hits), len(hits)), wilson(sum(rejections), len(rejections))
    scored = list(values) or [float(guess) for guess in predicted]
    of_length = length_effect(truth, scored, lengths) if lengths else None
    return Admission(
        judge=judge,
        admitted=not (reasons := missed_bars(tpr, tnr, is_half)),
        kappa=cohen_kappa(truth, predicted),
        tpr=tpr,
        tnr=tnr,
        threshold=threshold,
        n_calibration=n_calibration,
        n_test=len(truth),
        reasons=reasons,
        weighted_kappa=None if levels is None else weighted_kappa(levels),
        slope=_slope(truth, predicted, values, levels),
        length_effect=of_length,
        alpha=annotation.alpha,
        n_annotators=annotation.n_annotators,
        n_ties=annotation.n_ties,
        concerns=(*annotation.concerns, *_length_concerns(of_length)),
    )


def admit_on(
    judge: str,
    test: Sequence[Label],
    values: Sequence[float],
    *,
    threshold: float,
    n_calibration: int,
    known: Sequence[Label],
    levels: Sequence[int] = (),
    scale: int = 0,
    reasons: Sequence[str] = (),
    is_half: bool = True,
) -> Admission:
    """``admit`` with everything that labels hold.

    Args:
        judge: its name.
        test: labels that it was not calibrated on.
        values: its scores of their replies.
        threshold: the score from which it calls a reply good.
        n_calibration: number of labels that it was calibrated on.
        known: all labels as they were read, each annotator's.
        levels: those that the judge gave in place of ``values``, on a ``scale``.
        reasons: the judge's, of each value, where it gives any.
        is_half: see ``admit``.
    """
    both = [
        (label.level, level)
        for label, level in zip(test, levels, strict=False)  # no levels where it has no scale
        if label.level is not None
    ]
    found = admit(
        judge,
        [label.good for label in test],
        [value >= threshold for value in values],
        threshold=threshold,
        n_calibration=n_calibration,
        values=values,
        lengths=[len(label.reply) for label in test],
        levels=Levels([one for one, _ in both], [other for _, other in both], scale) if both else None,
        annotation=agreement_of(known),
        is_half=is_half,
    )
    few = few_messages(
        {kind: [x.content[:2] for x in test if x.good is of] for kind, of in (("good", True), ("bad", False))}
    )
    right: dict[str, list[bool]] = defaultdict(list)
    opposed = []
    for at, (label, value) in enumerate(zip(test, values, strict=True)):
        said = "good" if label.good else "bad"
        kind = "" if label.kind in ("", said) else f"{said}, {label.kind}"
        right[kind].append((value >= threshold) == label.good)
        if not right[kind][-1]:
            people = float(label.good)
            if label.level is not None and scale > 1:
                people = (label.level - 1) / (scale - 1)
            reason = reasons[at] if reasons else ""
            opposed.append(
                Disagreement(kind or said, label.message, label.reply, float(value), people, reason)
            )
    return replace(
        found,
        admitted=found.admitted and not few,
        reasons=(*found.reasons, *few),
        by_kind={kind: wilson(sum(hits), len(hits)) for kind, hits in sorted(right.items()) if kind},
        annotators=tuple(sorted({label.annotator for label in known if label.annotator})),
        disagreements=widest(opposed),
    )


def few_messages(labels: Mapping[str, Sequence[tuple[str, ...]]]) -> tuple[str, ...]:
    """Why enough labels are too few; ``labels`` are by kind, each as its message and reference.

    Errors on replies to one message go together: 25 labels of five messages admit as many bad judges as
    labels of ten would. Case and punctuation make no other message.
    """
    labels = {kind: [tuple(map(same_words, key)) for key in keys] for kind, keys in labels.items()}
    return tuple(
        f"not enough messages: {len(keys)} {kind} labels in the test are of {len(set(keys))}, and it takes"
        f" {MIN_LABELS_OF_A_KIND} different ones"
        for kind, keys in labels.items()
        if len(set(keys)) < MIN_LABELS_OF_A_KIND <= len(keys)
    )


def same_words(text: str) -> str:
    """Equal for texts that are the same but for case and punctuation."""
    return " ".join(words(text)[0]) or text


def widest(found: Iterable[Disagreement]) -> tuple[Disagreement, ...]:
    """The few of which judge and people said the most different things, with texts cut."""
    order = sorted(found, key=lambda one: (-abs(one.score - one.label), one.where, one.question, one.answer))
    return tuple(
        replace(
            one,
            question=short(one.question, _LONGEST),
            answer=short(one.answer, _LONGEST),
            reason=short(one.reason, _LONGEST),
        )
        for one in order[:MOST_DISAGREEMENTS]
    )


def missed_bars(tpr: Rate, tnr: Rate, is_half: bool = True) -> tuple[str, ...]:
    """Why a judge with these rates is not admitted."""
    where = f"in the test half, which needs at least {MIN_LABELS_OF_A_KIND} (about {2 * MIN_LABELS_OF_A_KIND}"
    few = [
        f"not enough labels: {rate.n} {kind} {where} {kind} in the file)"
        if is_half
        else f"not enough labels: {rate.n} {kind}, and at least {MIN_LABELS_OF_A_KIND} are needed"
        for kind, rate in (("good", tpr), ("bad", tnr))
        if rate.n < MIN_LABELS_OF_A_KIND
    ]
    low = [
        f"{name} {in_words(rate)} is below {bar:g}"
        for name, rate, bar in (("TPR", tpr, MIN_TPR), ("TNR", tnr, MIN_TNR))
        if rate.value < bar
    ]
    if not low and round(tpr.value + tnr.value - 1.0, 9) <= MIN_YOUDEN:
        low = [f"TPR + TNR - 1 is {MIN_YOUDEN:g}, and has to be above it"]
    return (*few, *low)


def shown_share(admission: Admission) -> tuple[float, float]:
    """The least and the most of a true difference that the judge's scores are taken to show.

    A judge that errs alike on both sides shows ``TPR + TNR - 1`` of a difference in the share of good
    replies (W. J. Rogan and B. Gladen 1978), and scores on a finer scale show their slope on the labels. Of
    both 95% intervals these are the outermost limits.
    """
    rates = [admission.youden, *([] if admission.slope is None else [admission.slope])]
    return max(0.0, min(r.low for r in rates)), max(0.0, min(1.0, max(r.high for r in rates)))


# --------------------------------------------------------------------------- rates and agreement
def wilson(hits: int, n: int) -> Rate:
    """A share with Wilson's (1927) two-sided 95% interval; ``n`` is at least 1."""
    from scipy.stats import binomtest  # scipy.stats takes a second to import

    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Rate(hits / n, float(interval.low), float(interval.high), n)


def in_words(rate: Rate) -> str:
    """A rate with its interval and n."""
    return f"{rate.value:.2f} ({rate.low:.2f} to {rate.high:.2f}, n={rate.n})"


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> Rate:
    """Cohen's kappa (1960) of two binary ratings; see ``weighted_kappa``, of which it is the case of two."""
    return weighted_kappa(Levels([1 + one for one in first], [1 + one for one in second], 2))


def weighted_kappa(levels: Levels) -> Rate:
    """Cohen's weighted kappa (1968) of levels, with its large-sample two-sided 95% interval.

    Weights are quadratic: ``1 - (i - j)² / (scale - 1)²``. The standard error is that of Fleiss, Cohen and
    Everitt (1969) for a non-zero kappa. Two constant and equal ratings have kappa 0: there was nothing to
    agree on.
    """
    n, k = len(levels.people), levels.scale
    counts = np.zeros((k, k))
    np.add.at(counts, (np.asarray(levels.people) - 1, np.asarray(levels.judge) - 1), 1.0)
    cells = counts / n
    apart = (np.subtract.outer(np.arange(k), np.arange(k)) / (k - 1)) ** 2
    row, column = cells.sum(axis=1), cells.sum(axis=0)
    by_chance = float(row @ apart @ column)
    if by_chance < 1e-12:
        return Rate(0.0, 0.0, 0.0, n)
    kappa = 1.0 - float((apart * cells).sum()) / by_chance
    weights, expected = 1.0 - apart, 1.0 - by_chance
    means = np.add.outer(weights @ column, row @ weights)
    spread = float((cells * (weights - means * (1.0 - kappa)) ** 2).sum())
    variance = max(0.0, spread - (kappa - expected * (1.0 - kappa)) ** 2) / ((1.0 - expected) ** 2 * n)
    half = _Z95 * sqrt(variance)
    return Rate(kappa, max(-1.0, kappa - half), min(1.0, kappa + half), n)


def length_effect(truth: Sequence[bool], values: Sequence[float], lengths: Sequence[int]) -> Rate | None:
    """Spearman's correlation of score and length among labels of one kind; None where neither kind has one.

    Those of the two kinds are averaged as Fisher's z, weighted by ``n - 3``; the standard error is Fieller,
    Hartley and Pearson's (1957). Positive: of two replies that people called alike, the longer scores higher.
    """
    from scipy.stats import spearmanr

    found: list[tuple[float, int]] = []
    label, value, length = (np.asarray(each, dtype=float) for each in (truth, values, lengths))
    for kind in (1.0, 0.0):
        own = label == kind
        n = int(own.sum())
        if n >= _MIN_RANKED and np.ptp(value[own]) > 0.0 and np.ptp(length[own]) > 0.0:
            r = float(spearmanr(value[own], length[own]).statistic)
            found.append((atanh(min(max(r, -0.999), 0.999)), n))
    if not found:
        return None
    weight = float(sum(n - 3 for _, n in found))
    z, half = sum(z * (n - 3) for z, n in found) / weight, _Z95 * sqrt(1.06 / weight)
    return Rate(tanh(z), tanh(z - half), tanh(z + half), sum(n for _, n in found))


def _length_concerns(found: Rate | None) -> tuple[str, ...]:
    if found is None or abs(found.value) < LENGTH_BAR or found.low <= 0.0 <= found.high:
        return ()
    which = "longer" if found.value > 0 else "shorter"
    return (
        f"of replies that people called alike it prefers the {which}: rank correlation of score and length"
        f" {found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}, n={found.n}), beyond {LENGTH_BAR:g}",
    )


def _slope(
    truth: Sequence[bool], predicted: Sequence[bool], values: Sequence[float], levels: Levels | None
) -> Rate | None:
    """The least-squares slope of scores on labels, with HC2 errors (MacKinnon and White 1985) and a t.

    On labels of good and bad it is the difference of the two means, with Welch's variance. None where scores
    say no more than good or bad, and for fewer than two labels of a kind.
    """
    from scipy.special import stdtrit

    if not values or list(values) == [float(guess) for guess in predicted]:
        return None
    y, x = np.asarray(values, dtype=float), np.asarray(truth, dtype=float)
    if levels is not None and len(levels.people) == len(y):
        x = (np.asarray(levels.people, dtype=float) - 1.0) / (levels.scale - 1)
    order = np.lexsort((x, y))  # the same sums in any order of the labels
    y, x = y[order], x[order]
    n, centred = len(y), x - x.mean()
    squares = float((centred**2).sum())
    leverage = 1.0 / n + centred**2 / squares
    if n < 4 or (leverage > 1.0 - 1e-9).any():
        return None
    slope = float(centred @ y) / squares
    residuals = y - y.mean() - slope * centred
    error = sqrt(float((centred**2 * residuals**2 / (1.0 - leverage)).sum())) / squares
    half = float(stdtrit(n - 2, 0.975)) * error
    return Rate(slope, slope - half, slope + half, n)
