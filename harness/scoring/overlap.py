"""Scores by the words that an answer shares with its reference: exact, readable, without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.records import Answer, Kind, Row, Score
from harness.scoring.checks import Contradiction, NamedCheck, no_expectation, own_reference
from harness.scoring.mentions import words
from harness.scoring.text import judged_text


@dataclass(frozen=True)
class TokenF1(NamedCheck):
    """The F1 of the answer's words against the reference's, as SQuAD counts it (Rajpurkar et al. 2016).

    Precision is the share of the answer's words that the reference has, recall the share of the reference's
    that the answer has, and F1 their harmonic mean; a word counts as often as it stands on both sides, and
    order does not count.

    Words and numbers are read as ``Contains`` reads them: without regard to case, in Unicode's composed form,
    without punctuation, numbers by their value, Chinese, Hiragana and Thai by the character. SQuAD's own
    script differs: it glues what punctuation joins ("well-known" and "Levi's" are one word, 3.5 is 35), and
    leaves out the articles of English, as ``ignored=("a", "an", "the")`` does here.

    Args:
        field: read this field of JSON answers and references; default the whole text.
        expected: the metadata key that holds the accepted texts, one or a list, of which the best counts;
            default the reference.
        ignored: words that do not count, on either side.
    """

    field: str | None = None
    expected: str | None = None
    ignored: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.ignored, str) or not all(isinstance(word, str) for word in self.ignored):
            raise UsageError(
                f"TokenF1(ignored={self.ignored!r}): give a tuple of words, such as ('a', 'the')"
            )
        object.__setattr__(self, "ignored", tuple(self.ignored))  # a list is not hashable

    @property
    def kind(self) -> Kind:
        """Between none of the words and all of them."""
        return Kind.GRADED

    def _default_name(self) -> str:
        return "token F1" if self.field is None else f"token F1 of {self.field}"

    def _score(self, row: Row, answer: Answer) -> Score:
        accepted = [one for one in map(self._words, self._accepted(row)) if any(one)]
        if not accepted:
            where = f"{self.expected!r} in its metadata" if self.expected else "its reference"
            return no_expectation(row, f"words in {where}" + (f" ({self.field})" if self.field else ""))
        text, problem = judged_text(answer.text, self.field)
        got = self._words(text)
        if not any(got):
            return Score(0.0, problem if not text else "no words")
        # numbers are read as English has them or as German has them, on both sides alike
        found = [_f1(*pair) for one in accepted for pair in zip(one, got, strict=True)]
        value, reason = max(found, key=lambda of: of[0])
        return Score(value, reason)

    def _accepted(self, row: Row) -> list[str]:
        if self.expected is None:
            return [judged_text(row.reference, self.field)[0]]
        held = row.metadata.get(self.expected)
        texts = held if isinstance(held, list | tuple) else [held]
        return [str(one) for one in texts if isinstance(one, str | int | float)]

    def _words(self, text: str) -> tuple[list[str], list[str]]:
        left_out = {word for one in self.ignored for word in words(one)[0]}
        one, other = words(text)
        return [word for word in one if word not in left_out], [
            word for word in other if word not in left_out
        ]

    def contradiction(self, row: Row) -> Contradiction | None:
        """See ``NamedCheck``; here only a row that has nothing to compare with."""
        failure = self.score(row, own_reference(row)).failure
        return Contradiction(failure, "write it into the row, or take the row out") if failure else None


def _f1(wanted: Sequence[str], got: Sequence[str]) -> tuple[float, str]:
    """F1 of two bags of words, neither empty, and how it came about."""
    shared = (Counter(wanted) & Counter(got)).total()
    others = len(got) - shared
    beside = f", {others} other{'s' if others > 1 else ''}" if others else ""
    reason = f"{shared} of {len(wanted)} words of the reference{beside}"
    return 2 * shared / (len(wanted) + len(got)), reason
