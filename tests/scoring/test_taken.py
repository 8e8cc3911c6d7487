"""Whatever a check returns or raises, the other rows are scored and the scores are plain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.decision.vectors import SuiteUnits, score_vector
from harness.errors import UsageError
from harness.records import Answer, Json, Kind, Message, Row, Score
from harness.scoring.checks import Check, Contains, ExactMatch, FieldMatch, Refusal, Regex, score_all
from harness.scoring.json_schema import JsonSchema
from harness.scoring.suite import Suite


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class OwnScore(Score):
    pass


@dataclass(frozen=True, eq=False)
class Gives:
    """A stranger's check: it returns what it is given, or raises it."""

    given: object
    name: str = "mine"
    kind: Kind = Kind.GRADED

    def spec(self) -> Mapping[str, Json]:
        return {}

    def bind(self, read: Callable[[str], str]) -> Check:
        return self

    def score(self, row: Row, answer: Answer) -> Score:
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given  # type: ignore[return-value]  # that is the point


ROW = Row("r1", (Message("user", "?"), Message("assistant", "x")), {}, "heldout.jsonl:7")
NUMBERS = (0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), Decimal("0.5"), Fraction(1, 2))
ONES = (1, True, np.bool_(True), np.int64(1), 1.0000001)
HOSTILE: tuple[object, ...] = (
    *(None, "0.5", b"1", float("nan"), float("inf"), -0.1, 1.5, 10**400, 1j, object(), [], {0.5}, int),
    *(np.array([0.5]), np.array([0.5, 0.5]), Decimal("sNaN"), Score, Fraction(7, 2), "\ud800", "x" * 100_000),
)
RAISED = (
    *(
        ValueError("\ud800"),
        RecursionError(),
        MemoryError(),
        SystemExit(3),
        UnspeakableError(),
        UsageError("mine"),
    ),
    *(pytest.skip.Exception("later"), StopIteration(), AssertionError(), ExceptionGroup("g", [ValueError()])),
)


def one(given: object, kind: Kind = Kind.GRADED) -> Score:
    (score,) = score_all(Gives(given, kind=kind), [ROW], [Answer("r1", "x", 1, 1, 1.0)])
    return score


@pytest.mark.parametrize("number", NUMBERS, ids=lambda one: type(one).__name__)
def test_a_number_of_another_library_is_taken_as_a_float(number: object) -> None:
    for each in (number, Score(number), OwnScore(number, "why")):  # type: ignore[arg-type]
        score = one(each)
        assert type(score) is Score
        assert type(score.value) is float
        assert score.value == 0.5


@pytest.mark.parametrize("number", ONES, ids=repr)
def test_one_in_any_type_is_full_marks(number: object) -> None:
    assert one(number, Kind.BINARY) == Score(1.0)


@pytest.mark.parametrize("given", HOSTILE, ids=lambda one: repr(one)[:20].encode("ascii", "replace").decode())
def test_what_is_no_score_is_a_failure_that_names_the_check(given: object) -> None:
    score = one(given)
    assert score.value is None
    assert score.failure
    assert score.failure.startswith("mine: ")
    inside = one(Score(given))  # type: ignore[arg-type]
    assert inside.value is None
    assert inside.failure


@pytest.mark.parametrize("raised", RAISED, ids=lambda one: type(one).__name__)
def test_what_a_check_raises_is_a_failure_that_names_it(raised: BaseException) -> None:
    score = one(raised)
    assert score.value is None
    assert (score.failure or "").startswith(f"mine: {type(raised).__name__}")
    json.dumps(score.failure).encode()


def test_ctrl_c_ends_the_scoring() -> None:
    with pytest.raises(KeyboardInterrupt):
        one(KeyboardInterrupt())


def test_a_score_of_none_says_what_it_lacks() -> None:
    assert "without a failure" in (one(Score(None)).failure or "")
    assert one(Score(None, failure="no network")).failure == "no network"


def test_a_reason_is_a_short_unicode_text() -> None:
    for reason in (None, 3, ["a"], "\ud83d", "x" * 1_000_000):
        score = one(Score(0.5, reason))  # type: ignore[arg-type]
        assert type(score.reason) is str
        assert len(score.reason) <= 4_000
        score.reason.encode()


def test_a_half_right_answer_of_a_binary_check_names_the_kind() -> None:
    assert "Kind.GRADED" in (one(0.5, Kind.BINARY).failure or "")


texts = st.one_of(st.text(), st.text(st.characters(categories=["Cs", "Cc", "Nd", "Mn", "Po"])))
CHECKS: tuple[Check, ...] = (
    *(ExactMatch(), Contains(), Contains("n", first_words=3), Refusal(), Regex(r"(\w+)+x"), FieldMatch("n")),
    JsonSchema({"properties": {"n": {"pattern": "a+"}}, "uniqueItems": True}),
)


ANYTHING = st.sampled_from([*NUMBERS, *ONES, *HOSTILE, *RAISED])


@given(texts, ANYTHING)
def test_every_row_has_a_plain_score_whatever_the_answer_and_the_check(text: str, given: object) -> None:
    _require_plain_scores(text, given)


@pytest.mark.slow
@settings(max_examples=1_000, derandomize=True, deadline=None)
@given(texts, ANYTHING)
def test_a_thousand_hostile_answers_and_results_have_plain_scores(text: str, given: object) -> None:
    _require_plain_scores(text, given)


def _require_plain_scores(text: str, given: object) -> None:
    row, answer = Row("r1", ROW.messages, {"n": text}, "h.jsonl:1"), Answer("r1", text, 1, 1, 1.0)
    for check in (*CHECKS, Gives(given)):
        (score,) = score_all(check, [row], [answer])
        assert score.value is None or (type(score.value) is float and 0 <= score.value <= 1)
        assert (score.value is None) == (score.failure is not None)
        vector = score_vector(
            SuiteUnits("s", ("r1",), (None,), ({},)),
            ["r1"],
            [score],
            subject="a",
            score=check.name,
            kind=check.kind,
        )
        assert vector.row_ids == ("r1",)


# --------------------------------------------------------------------------- suites that cannot be
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scores": (ExactMatch,)}, r"write ExactMatch\(\.\.\.\)"),
        ({"scores": ExactMatch()}, "with the comma"),
        ({"scores": (object(),)}, "lacks name, kind, spec, bind, score"),
        ({"scores": (Gives(1, kind="yes"),)}, "there are Kind.BINARY"),  # type: ignore[arg-type]
        ({"scores": (Gives(1, name=""),)}, "is a text"),
        ({"scores": (ExactMatch(),), "group": ["customer"]}, "group"),
        ({"scores": (ExactMatch(),), "slices": "kind"}, "slices is a tuple"),
    ],
)
def test_a_suite_that_cannot_be_says_what_to_write(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Suite(heldout="heldout.jsonl", **options)  # type: ignore[arg-type]
