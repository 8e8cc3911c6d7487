"""Training rows against held-out rows: differences in classes, languages and lengths.

A model trained on other classes, languages or lengths than those of real use is tested on the wrong thing.

A shift is reported where it is both shown (p < 0.01, Bonferroni-adjusted for the fields compared) and
large enough to matter (Cramér's V of at least 0.1; |Cliff's delta| of at least 0.15, its "small": J. Romano
et al., "Appropriate statistics for ordinal level data", 2006).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from statistics import median
from typing import TypeAlias

from harness.data.findings import Finding
from harness.data.plain_text import words
from harness.records import Row

P_BELOW = 0.01
V_AT_LEAST = 0.1
DELTA_AT_LEAST = 0.15
PRESENT_SHARE = 0.9  # a field that fewer rows have is not compared
MOST_CLASSES = 50
CLASSES_SHOWN = 2  # a side
LANGUAGE_FIELDS = ("language", "lang")
COCHRAN_SMALL, COCHRAN_SHARE = 5.0, 0.2  # W. G. Cochran, 1954: when chi-square's tail can be trusted
RESAMPLES = 9999
KANA_SHARE = 0.1  # Japanese mixes Kana into Han

ValuePair: TypeAlias = tuple[Sequence[str], Sequence[str]]  # of the training and the held-out rows


def shift_findings(
    rows: Sequence[Row], heldout: Sequence[Row], line: int, stratify: str | None = None
) -> Iterator[Finding]:
    """Where ``rows`` differ from ``heldout``; each finding is about the file and has the line ``line``.

    - ``class-shift``: of the metadata field ``stratify``, or else of each field that at least 90% of the
      rows of both sides have, with 2 to 50 classes (fields with a new value in most rows are ids).
    - ``language-shift``: of the metadata field ``language`` or ``lang``, or else of the writing system
      that most letters of the last user message belong to.
    - ``length-shift``: of the words of the last user message.

    Shares are compared by a chi-square test; by 9,999 tables drawn with the same margins and a fixed seed
    where expected counts are small. Lengths by the Mann-Whitney test. A field that either side lacks is
    not compared.
    """
    if not rows or not heldout:
        return
    compared: list[tuple[str, str, ValuePair]] = []  # code, field, values
    keys = {stratify} if stratify else {key for row in rows for key in row.metadata}
    for key in sorted(keys - set(LANGUAGE_FIELDS)):
        sides = _values(key, rows, heldout)
        if sides and not stratify:
            are_ids = any(len(set(side)) > len(side) / 2 for side in sides if len(side) > 1)
            sides = None if are_ids or len({*sides[0], *sides[1]}) > MOST_CLASSES else sides
        if sides:
            compared.append(("class-shift", f'"{key}"', sides))
    languages = [(f'"{key}"', sides) for key in LANGUAGE_FIELDS if (sides := _values(key, rows, heldout))]
    if not languages:
        train, held = ([name for row in side if (name := script(row.question))] for side in (rows, heldout))
        if train and held and len({*train, *held}) > 1:
            languages = [("script of the last user message", (train, held))]
    compared += [("language-shift", label, sides) for label, sides in languages[:1]]
    for code, label, sides in compared:
        problem = _shares_shift(label, *sides, tests=len(compared))
        if problem:
            yield Finding(code, line, problem, "add or take out rows until the shares are those of real use")
    problem = _length_shift(rows, heldout)
    if problem:
        yield Finding("length-shift", line, problem, "train on messages as long as those of real use")


# --------------------------------------------------------------------------- classes and languages
def _values(key: str, rows: Sequence[Row], heldout: Sequence[Row]) -> ValuePair | None:
    """The field's values on both sides, where enough rows have it and not all the same."""
    train, held = (
        [str(v) for row in side if isinstance(v := row.metadata.get(key), str | int)]
        for side in (rows, heldout)
    )
    is_there = len(train) >= PRESENT_SHARE * len(rows) and len(held) >= PRESENT_SHARE * len(heldout)
    return (train, held) if is_there and len({*train, *held}) > 1 else None


def script(text: str) -> str | None:
    """The writing system of most letters of ``text``, by their Unicode names; None where it has no letter."""
    counts: Counter[str] = Counter()
    for c, count in Counter(text).items():
        if unicodedata.category(c)[0] in "LM":  # marks: vowels in Indian scripts
            counts[unicodedata.name(c, "").partition(" ")[0].title()] += count
    del counts["Combining"]
    kana = sum(counts.pop(name, 0) for name in ("Hiragana", "Katakana", "Katakana-Hiragana"))
    han = counts.pop("Cjk", 0)
    if kana >= KANA_SHARE * (kana + han):
        kana, han = kana + han, 0
    counts += Counter(Kana=kana, Han=han)  # without zeros
    return counts.most_common(1)[0][0] if counts else None


def cramers_v(train: Mapping[str, int], heldout: Mapping[str, int]) -> float:
    """How far the shares of two sides lie apart, in [0, 1], each side counted as half of all rows.

    Cramér's V of the table of shares; that of counts shrinks when one side has many more rows.
    """
    n, m = sum(train.values()), sum(heldout.values())
    shares = ((train.get(name, 0) / n, heldout.get(name, 0) / m) for name in {**train, **heldout})
    # summed from the smallest, so that the order of the classes does not touch the last digit
    return sqrt(sum(sorted((p - q) ** 2 / (p + q) for p, q in shares)) / 2)


def _shares_shift(label: str, of_train: Sequence[str], of_heldout: Sequence[str], tests: int) -> str | None:
    train, heldout = Counter(of_train), Counter(of_heldout)
    v = cramers_v(train, heldout)
    if v < V_AT_LEAST:
        return None
    p, test = shares_p(train, heldout)
    p = min(1.0, p * tests)
    if p >= P_BELOW:
        return None
    n, m = len(of_train), len(of_heldout)
    gap = {name: train[name] / n - heldout[name] / m for name in {**train, **heldout}}
    ranked = sorted(gap, key=lambda name: (-gap[name], name))

    def described(name: str) -> str:
        a, b = train[name], heldout[name]
        return f"{name[:40]} ({a / n:.1%}, {a:,} rows, against {b / m:.1%}, {b:,} rows)"

    over = [described(name) for name in ranked[:CLASSES_SHOWN] if gap[name] > 0]
    under = [described(name) for name in reversed(ranked[-CLASSES_SHOWN:]) if gap[name] < 0]
    return (
        f"the shares of {label} in {n:,} training and {m:,} held-out rows differ: too many of "
        f"{'; '.join(over)}; too few of {'; '.join(under)} ({test}, {_p(p)}; Cramér's V = {v:.2f})"
    )


def shares_p(train: Mapping[str, int], heldout: Mapping[str, int]) -> tuple[float, str]:
    """How surely the shares of two sides differ: a p-value, and the name of its test."""
    import numpy as np  # here, as scipy.stats is slow to import
    from scipy.stats import MonteCarloMethod, chi2_contingency

    names = sorted({**train, **heldout})
    table = np.array([[side.get(name, 0) for name in names] for side in (train, heldout)])
    result = chi2_contingency(table, correction=False)
    expected = np.asarray(result.expected_freq)
    if expected.min() >= 1 and (expected < COCHRAN_SMALL).mean() <= COCHRAN_SHARE:
        return float(result.pvalue), "chi-square test"
    method = MonteCarloMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    drawn = chi2_contingency(table, correction=False, method=method)
    return float(drawn.pvalue), f"chi-square by {RESAMPLES:,} drawn tables"


# --------------------------------------------------------------------------- lengths
def _length_shift(rows: Sequence[Row], heldout: Sequence[Row]) -> str | None:
    train, held = ([len(words(row.question)) for row in side] for side in (rows, heldout))
    if len({*train, *held}) == 1:
        return None
    from scipy.stats import mannwhitneyu  # slow to import

    result = mannwhitneyu(train, held)
    p, delta = float(result.pvalue), 2 * float(result.statistic) / (len(train) * len(held)) - 1
    if p >= P_BELOW or abs(delta) < DELTA_AT_LEAST:
        return None
    return (
        f"the last user message is {'longer' if delta > 0 else 'shorter'} in training than in held-out rows: "
        f"median {median(train):g} words (n = {len(train):,}) against {median(held):g} (n = {len(held):,}) "
        f"(Mann-Whitney test, {_p(p)}; Cliff's delta = {delta:+.2f})"
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
