"""Training rows against held-out rows: differences in classes, languages and lengths.

A model trained on other classes, languages or lengths than those of real use is tested on the wrong thing.

A shift is reported where it is both shown (p < 0.01, Bonferroni-adjusted for the fields compared) and
large enough to matter (Cramér's V of at least 0.1; |Cliff's delta| of at least 0.15, its "small": J. Romano
et al., "Appropriate statistics for ordinal level data", 2006).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import median

from harness.data.findings import Finding
from harness.data.leakage import words
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

_SCRIPTS = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u024f\u1e00-\u1eff",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f",
    "Armenian": "\u0530-\u058f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
}
_LETTERS = {name: re.compile(f"[{ranges}]") for name, ranges in _SCRIPTS.items()}
KANA_SHARE = 0.1  # Japanese mixes Kana into Han


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of both sides. Values are class names."""

    code: str
    label: str
    train: tuple[str, ...]
    heldout: tuple[str, ...]

    @property
    def has_classes(self) -> bool:
        """Whether its values repeat, as classes do; a field with a new value in most rows holds ids."""
        sides = self.train, self.heldout
        are_ids = any(len(set(side)) > len(side) / 2 for side in sides if len(side) > 1)
        return not are_ids and len({*self.train, *self.heldout}) <= MOST_CLASSES


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
    fields: list[_Field] = []
    keys = {stratify} if stratify else {key for row in rows for key in row.metadata}
    for key in sorted(keys - set(LANGUAGE_FIELDS)):
        field = _field("class-shift", key, rows, heldout)
        if field is not None and (stratify or field.has_classes):
            fields.append(field)
    language = next(filter(None, (_field("language-shift", k, rows, heldout) for k in LANGUAGE_FIELDS)), None)
    if language is None:
        train, held = (
            tuple(filter(None, (script(row.question) for row in side))) for side in (rows, heldout)
        )
        if train and held and len({*train, *held}) > 1:
            language = _Field("language-shift", "script of the last user message", train, held)
    if language is not None:
        fields.append(language)
    for field in fields:
        found = _shares_shift(field, line, tests=len(fields))
        if found is not None:
            yield found
    found = _length_shift(rows, heldout, line)
    if found is not None:
        yield found


# --------------------------------------------------------------------------- classes and languages
def _field(code: str, key: str, rows: Sequence[Row], heldout: Sequence[Row]) -> _Field | None:
    sides = []
    for side in (rows, heldout):
        values = [str(v) for row in side if isinstance(v := row.metadata.get(key), str | int)]
        if len(values) < PRESENT_SHARE * len(side):
            return None
        sides.append(tuple(values))
    return _Field(code, f'"{key}"', *sides) if len({*sides[0], *sides[1]}) > 1 else None


def script(text: str) -> str | None:
    """The writing system of most letters of ``text``, by Unicode block; None where it has no letter."""
    if text.isascii():
        return "Latin" if _LETTERS["Latin"].search(text) else None
    counts = {name: len(letters.findall(text)) for name, letters in _LETTERS.items()}
    if counts["Kana"] >= KANA_SHARE * (counts["Kana"] + counts["Han"]):
        counts["Kana"] += counts.pop("Han")
    most = max(counts, key=lambda name: counts[name])
    return most if counts[most] else None


def cramers_v(train: Mapping[str, int], heldout: Mapping[str, int]) -> float:
    """How far the shares of two sides lie apart, in [0, 1], each side counted as half of all rows.

    Cramér's V of the table of shares; equal to that of the counts where both sides have the same n.
    Unlike that one it does not shrink when one side has many more rows than the other.
    """
    n, m = sum(train.values()), sum(heldout.values())
    shares = ((train.get(name, 0) / n, heldout.get(name, 0) / m) for name in {**train, **heldout})
    # summed from the smallest, so that the order of the classes does not touch the last digit
    return sqrt(sum(sorted((p - q) ** 2 / (p + q) for p, q in shares)) / 2)


def _shares_shift(field: _Field, line: int, tests: int) -> Finding | None:
    train, heldout = Counter(field.train), Counter(field.heldout)
    v = cramers_v(train, heldout)
    if v < V_AT_LEAST:
        return None
    p, test = _p_value(train, heldout)
    p = min(1.0, p * tests)
    if p >= P_BELOW:
        return None
    n, m = len(field.train), len(field.heldout)
    gap = {name: train[name] / n - heldout[name] / m for name in {**train, **heldout}}
    ranked = sorted(gap, key=lambda name: (-gap[name], name))

    def described(name: str) -> str:
        a, b = train[name], heldout[name]
        return f"{name[:40]} ({a / n:.1%}, {a:,} rows, against {b / m:.1%}, {b:,} rows)"

    over = [described(name) for name in ranked[:CLASSES_SHOWN] if gap[name] > 0]
    under = [described(name) for name in reversed(ranked[-CLASSES_SHOWN:]) if gap[name] < 0]
    problem = (
        f"the shares of {field.label} in {n:,} training and {m:,} held-out rows differ: too many of "
        f"{'; '.join(over)}; too few of {'; '.join(under)} ({test}, {_p(p)}; Cramér's V = {v:.2f})"
    )
    return Finding(field.code, line, problem, "add or take out rows until the shares are those of real use")


def _p_value(train: Mapping[str, int], heldout: Mapping[str, int]) -> tuple[float, str]:
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
def _length_shift(rows: Sequence[Row], heldout: Sequence[Row], line: int) -> Finding | None:
    train, held = ([len(words(row.question)) for row in side] for side in (rows, heldout))
    if len({*train, *held}) == 1:
        return None
    from scipy.stats import mannwhitneyu  # slow to import

    result = mannwhitneyu(train, held)
    p, delta = float(result.pvalue), 2 * float(result.statistic) / (len(train) * len(held)) - 1
    if p >= P_BELOW or abs(delta) < DELTA_AT_LEAST:
        return None
    problem = (
        f"the last user message is {'longer' if delta > 0 else 'shorter'} in training than in held-out rows: "
        f"median {median(train):g} words (n = {len(train):,}) against {median(held):g} (n = {len(held):,}) "
        f"(Mann-Whitney test, {_p(p)}; Cliff's delta = {delta:+.2f})"
    )
    return Finding("length-shift", line, problem, "train on messages as long as those of real use")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
