"""The likelihood judge, with a scorer that counts shared words instead of a model."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DataError, UsageError
from harness.records import Answer, Kind, Message, Row, Score
from harness.scoring.calibration import fit_platt
from harness.scoring.judge import (
    CONTEXT,
    NULL_CONTEXT,
    CalibratedJudge,
    LikelihoodJudge,
    Statistic,
)
from harness.scoring.judges import Grader, Scorer
from harness.scoring.labels import Label, parse_labels, split_labels

JUDGE = LikelihoodJudge("summary", labels="labels.jsonl")
WORDS = (
    "hub",
    "valve",
    "refund",
    "parcel",
    "gas",
    "login",
    "invoice",
    "sensor",
    "relay",
    "promo",
    "app",
    "frost",
)


class Reads:
    """An oracle with nobody to ask."""

    def grader(self, model: object, schema: object, max_tokens: int) -> Grader:
        raise AssertionError("nobody is asked here")


class SharedWords(Reads):
    """Scores a continuation by how many of its words its context holds. Keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        self.calls.append(list(prompts))
        return [self._one(context, continuation) for context, continuation in prompts]

    @staticmethod
    def _one(context: str, continuation: str) -> float:
        words = continuation.split()
        return -4.0 + 3.0 * sum(word in context.split() for word in words) / len(words)


def some_labels(n: int = 120, noise: float = 0.0) -> tuple[Label, ...]:
    """Good replies hold the reference's words in another order, bad ones other words."""
    chance = random.Random(1)
    labels = []
    for index in range(n):
        reference = chance.sample(WORDS, 4)
        good = index % 2 == 0
        other = [word for word in WORDS if word not in reference][:4]
        like = good if chance.random() >= noise else not good
        reply = [*reversed(reference[:3]), other[0]] if like else [reference[0], *other[:3]]
        labels.append(Label(f"message {index}", " ".join(reference), " ".join(reply), good))
    return tuple(labels)


def calibrate(judge: LikelihoodJudge, labels: Sequence[Label], scorer: Scorer) -> CalibratedJudge:
    return replace(judge, known=tuple(labels)).calibrated(scorer)


def a_row(reference: str = '{"summary": "hub valve refund"}', row_id: str = "r1") -> Row:
    return Row(row_id, (Message("user", "?"), Message("assistant", reference)), {}, "heldout.jsonl:3")


def an_answer(text: str, row_id: str = "r1") -> Answer:
    return Answer(row_id, text, 5, 5, 1.0)


def a_line(**changes: object) -> str:
    fields = {"message": "m", "reference": "r", "summary": "s", "label": "good"}
    return json.dumps({**fields, **changes})


# --------------------------------------------------------------------------- labels
def test_labels_are_read_with_their_kind() -> None:
    text = a_line(kind="good") + "\n\n" + a_line(summary="t", label="bad", kind="subtle") + "\n"
    first, second = parse_labels(text, "labels.jsonl")
    assert (first.reply, first.good, first.kind) == ("s", True, "good")
    assert not second.good


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (a_line(reference=" "), "no text under 'reference'"),
        (a_line(summary=3), "no text under 'summary'"),
        (a_line(label="ok"), "the label is 'ok'"),
    ],
)
def test_a_broken_label_is_named_with_its_line(line: str, says: str) -> None:
    with pytest.raises(DataError, match=rf"labels\.jsonl:2: {says}"):
        parse_labels(a_line() + "\n" + line, "labels.jsonl")


def test_an_empty_or_missing_label_file_is_named() -> None:
    def missing(path: str) -> str:
        raise FileNotFoundError(path)

    with pytest.raises(DataError, match="no labels"):
        parse_labels("\n", "labels.jsonl")
    with pytest.raises(DataError, match=r"labels\.jsonl: the labels cannot be read"):
        JUDGE.bind(missing)


def test_a_bound_judge_is_found_under_the_unbound_one() -> None:
    bound = JUDGE.bind(lambda _: a_line())
    assert bound.known is not None
    assert {JUDGE: 1}[bound] == 1
    assert json.dumps(bound.spec()) != json.dumps(JUDGE.spec())


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_halves_do_not_depend_on_the_order_of_the_file(chance: random.Random, seed: int) -> None:
    labels = list(some_labels(40))
    before = tuple(frozenset(half) for half in split_labels(labels, seed))
    chance.shuffle(labels)
    assert tuple(frozenset(half) for half in split_labels(labels, seed)) == before


def test_the_halves_are_alike_in_labels_and_kinds_and_share_nothing() -> None:
    kinds = (("good", True),) * 51 + (("subtle", False),) * 26 + (("gross", False),) * 25
    labels = [Label(f"m{i}", "r", f"s{i}", good, kind) for i, (kind, good) in enumerate(kinds)]
    calibration, test = split_labels(labels)
    assert not set(calibration) & set(test)
    assert len(calibration) == len(test) == 51
    for kind in ("good", "subtle", "gross"):
        counts = [sum(label.kind == kind for label in half) for half in (calibration, test)]
        assert abs(counts[0] - counts[1]) <= 1


def test_copies_of_a_label_are_one() -> None:
    labels = some_labels(20)
    assert split_labels(labels + labels) == split_labels(labels)


# --------------------------------------------------------------------------- the statistic
@pytest.mark.parametrize(("statistic", "prompts"), [("reference_given_reply", 1), ("pmi", 2), ("both", 4)])
def test_each_statistic_asks_what_it_says_and_ranks_the_better_reply_higher(
    statistic: Statistic, prompts: int
) -> None:
    judge = LikelihoodJudge("summary", labels="x", statistic=statistic)
    scorer = SharedWords()
    judge.statistics([("hub valve", "gas app")], scorer)
    assert sum(map(len, scorer.calls)) == prompts
    worse, better = judge.statistics([("hub valve", "gas app"), ("hub valve", "valve hub")], scorer)
    assert better > worse


class Listed:
    """Gives each prompt its likelihood from a list."""

    def __init__(self, likelihoods: dict[tuple[str, str], float]) -> None:
        self.likelihoods = likelihoods

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        return [self.likelihoods[prompt] for prompt in prompts]


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ("reference_given_reply", -1.0),
        ("pmi", -1.0 - -3.0),
        ("both", ((-1.0 - -3.0) + (-2.5 - -7.0)) / 2),
    ],
)
def test_each_statistic_has_the_value_that_its_documentation_gives(
    statistic: Statistic, value: float
) -> None:
    given = CONTEXT.format
    scorer = Listed(
        {
            (given(given="the reply"), " the reference"): -1.0,
            (given(given="the reference"), " the reply"): -2.5,
            (NULL_CONTEXT, " the reference"): -3.0,
            (NULL_CONTEXT, " the reply"): -7.0,
        }
    )
    judge = LikelihoodJudge(labels="x", statistic=statistic)
    assert judge.statistics([("the reference", "the reply")], scorer) == (value,)


def test_a_reference_shared_by_replies_is_scored_once() -> None:
    scorer = SharedWords()
    JUDGE.statistics([("hub valve", "gas"), ("hub valve", "app")], scorer)
    alone, given_replies = scorer.calls
    assert len(alone) == 1
    assert len(given_replies) == 2


def test_what_references_are_worth_alone_is_the_same_question_for_every_candidate() -> None:
    """However many of a candidate's replies could not be read: so a scorer that keeps it reads it once."""
    judge = calibrate(JUDGE, some_labels(), SharedWords())
    rows = [
        Row(str(k), (Message("user", "?"), Message("assistant", json.dumps({"summary": f"hub {word}"}))))
        for k, word in enumerate(("valve", "gas"))
    ]
    asked = []
    for first in ('{"summary": "hub"}', "no json"):
        scorer = SharedWords()
        replies = (first, '{"summary": "gas"}')
        answers = [Answer(r.id, text, 1, 1, 1.0) for r, text in zip(rows, replies, strict=True)]
        judge.score_many(rows, answers, scorer)
        asked.append(scorer.calls[0])
    assert asked[0] == asked[1]


def test_braces_in_a_reply_are_only_text() -> None:
    assert len(JUDGE.statistics([("hub", "{0} {given} {}")], SharedWords())) == 1


def test_an_unknown_statistic_is_refused() -> None:
    with pytest.raises(UsageError, match="there are: reference_given_reply"):
        LikelihoodJudge(labels="x", statistic="bleu")  # type: ignore[arg-type]  # what the test is about


# --------------------------------------------------------------------------- calibration
def test_platts_calibration_gives_his_smoothed_rates_where_the_statistic_says_nothing() -> None:
    good = [True] * 30 + [False] * 10
    platt = fit_platt([1.0] * 40, good)
    smoothed = (30 * 31 / 32 + 10 * 1 / 12) / 40
    assert platt.probability(1.0) == pytest.approx(smoothed, abs=1e-4)


def test_platts_calibration_finds_the_minimum_of_his_loss() -> None:
    x = [-2.0, -1.5, -1.0, -0.2, 0.1, 0.3, 0.9, 1.4, 2.2, 2.5]
    good = [False, False, True, False, True, False, True, True, True, True]
    platt = fit_platt(x, good)
    targets = [7 / 8 if g else 1 / 6 for g in good]
    errors = [platt.probability(xi) - t for xi, t in zip(x, targets, strict=True)]
    assert sum(errors) == pytest.approx(0, abs=1e-3)  # the loss is flat in both directions
    assert sum(e * xi for e, xi in zip(errors, x, strict=True)) == pytest.approx(0, abs=1e-3)


def test_a_statistic_that_runs_backwards_is_not_turned_round() -> None:
    assert fit_platt([0.0, 1.0, 2.0, 3.0], [True, True, False, False]).slope == 0


def calibrated(noise: float = 0.0) -> CalibratedJudge:
    return calibrate(JUDGE, some_labels(noise=noise), SharedWords())


def test_a_judge_that_separates_is_admitted_on_the_half_it_has_not_seen() -> None:
    admission = calibrated().admission
    assert admission.admitted
    assert (admission.n_calibration, admission.n_test) == (60, 60)
    assert admission.kappa.value == 1


def test_a_judge_of_noise_is_not_admitted() -> None:
    admission = calibrated(noise=0.5).admission
    assert not admission.admitted
    assert admission.reasons


def test_calibration_is_the_same_every_time_and_in_any_order() -> None:
    again = calibrate(JUDGE, some_labels()[::-1], SharedWords())
    first = calibrated()
    assert again.admission == first.admission
    assert astuple(again.platt) == pytest.approx(astuple(first.platt))


def test_too_few_labels_are_refused_with_the_number_wanted() -> None:
    with pytest.raises(DataError, match="1 bad label, too few") as raised:
        calibrate(JUDGE, some_labels(3), SharedWords())
    assert "at least 2" in str(raised.value)


def test_labels_that_calibrate_and_are_too_few_to_admit_say_how_many_it_takes() -> None:
    few = calibrate(JUDGE, some_labels(98), SharedWords()).admission
    assert not few.admitted
    assert few.reasons == (
        "not enough labels: 24 bad in the test half, which needs at least 25 (about 50 bad in the file)",
    )
    assert calibrate(JUDGE, some_labels(100), SharedWords()).admission.admitted


# --------------------------------------------------------------------------- scores
def test_better_replies_get_higher_probabilities_with_the_statistic_as_reason() -> None:
    rows = [a_row(row_id="a"), a_row(row_id="b")]
    answers = [an_answer('{"summary": "refund valve hub"}', "a"), an_answer('{"summary": "gas app"}', "b")]
    judge = calibrated()
    good, bad = judge.score_many(rows, answers, SharedWords())
    assert good.value is not None
    assert bad.value is not None
    assert 0 <= bad.value < JUDGE.threshold < good.value <= 1
    assert good.reason == "pmi +3.00 nats a token"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "no field 'summary': not JSON"),
        ("{}", "no field 'summary'"),
        ('{"summary": "  "}', "field 'summary' is empty"),
        ('{"summary": 4}', "field 'summary' is not a text"),
    ],
)
def test_an_answer_without_the_field_is_worth_nothing(text: str, reason: str) -> None:
    (score,) = calibrated().score_many([a_row()], [an_answer(text)], SharedWords())
    assert score.value == 0.0
    assert score.reason.startswith(reason)


def test_without_a_field_the_whole_text_is_judged() -> None:
    judge = calibrate(LikelihoodJudge(labels="x"), some_labels(), SharedWords())
    full, empty = judge.score_many(
        [a_row("hub valve", "a"), a_row("hub valve", "b")],
        [an_answer("valve hub", "a"), an_answer(" ", "b")],
        SharedWords(),
    )
    assert full.value is not None
    assert full.value > 0.5
    assert empty == Score(0.0, "empty")


def test_a_lost_answer_and_a_row_without_reference_are_failures() -> None:
    rows = [a_row(row_id="a"), a_row("{}", "b")]
    lost = Answer("a", "", 1, 0, 1.0, finish="failed", failure="HTTP 500")
    first, second = calibrated().score_many(rows, [lost, an_answer('{"summary": "x"}', "b")], SharedWords())
    assert first == Score(None, failure="HTTP 500")
    assert second.value is None
    assert second.failure == "row b (heldout.jsonl:3) has no text under 'summary' in its reference"


class Nonsense(Reads):
    """A scorer that overflows."""

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        return [math.nan] * len(prompts)


def test_a_scorer_without_a_number_is_a_failure_and_not_a_score() -> None:
    (score,) = calibrated().score_many([a_row()], [an_answer('{"summary": "hub"}')], Nonsense())
    assert score.value is None
    assert score.failure == "the scorer gave no number: nan"
    with pytest.raises(DataError, match="gave no number"):
        calibrate(JUDGE, some_labels(), Nonsense())


def test_the_specification_holds_all_that_shapes_a_score() -> None:
    spec = json.loads(json.dumps(JUDGE.spec()))
    assert {"statistic", "context", "null_context", "labels"} <= set(spec)
    assert JUDGE.kind is Kind.GRADED
