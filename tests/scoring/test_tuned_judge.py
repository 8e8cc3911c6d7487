"""A judge trained on its labels: what trains does not test, noise admits nobody, references are good."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import DataError, UsageError
from harness.records import Answer, Row
from harness.scoring.admission import MIN_TNR, MIN_TPR
from harness.scoring.cross_fit import FOLDS, CrossFitted, Labelled, cross_fit, folds
from harness.scoring.drift import as_answered
from harness.scoring.judge import LikelihoodJudge
from harness.scoring.judges import BUILTIN_EMBEDDER, Failure, Judge, judged_rows, tried_out
from harness.scoring.labels import Label
from harness.scoring.panel import Panel
from harness.scoring.tuned_judge import TrainedJudge, TunedJudge, with_references

if TYPE_CHECKING:
    import numpy.typing as npt

JUDGE = TunedJudge("summary", labels="labels.jsonl")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Reader:
    """Vectors of letters, and tokens that are likely where the context holds them."""

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> Reader:
        return self

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32)

    def token_logprobs(self, prompts: Sequence[tuple[str, str]]) -> list[list[float]]:
        return [
            [-1.0 if f" {word} " in f" {context} ".replace("\n", " ") else -5.0 for word in text.split()]
            for context, text in prompts
        ]

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> list[float]:
        return [sum(tokens) / len(tokens) for tokens in self.token_logprobs(prompts)]

    def grader(self, model: object, schema: object, max_tokens: int) -> Reader:
        return self

    def ask(self, prompts: object) -> Sequence[str | Failure]:
        raise AssertionError("nobody is asked here")


def some_labels(n: int = 80) -> tuple[Label, ...]:
    """Good replies say the reference in another order, bad ones change one word and a number."""
    chance = random.Random(1)
    labels = []
    for k in range(n):
        said = ["".join(chance.sample(LETTERS[:26], 5)) for _ in range(5)] + [str(100 + k)]
        reply = list(reversed(said)) if k % 2 else [*said[:4], "other", str(500 + k)]
        labels.append(Label(f"message {' '.join(said)}", " ".join(said), " ".join(reply), k % 2 == 1))
    return tuple(labels)


@cache
def trained(labels: tuple[Label, ...] = ()) -> TrainedJudge:
    return replace(JUDGE, known=labels or some_labels()).calibrated(Reader())


def answered(reply: str, message: str = "hello") -> tuple[list[Row], list[Answer]]:
    row, answer, _ = as_answered(Label(message, "red kit 12", reply, True), "summary")
    return [row], [answer]


def test_it_is_admitted_where_its_readings_tell_and_all_labels_test() -> None:
    admission = trained().admission
    assert admission.admitted
    assert (admission.n_calibration, admission.n_test) == (64, 80)
    assert dict(admission.facts)["references called good"].startswith("1.00")


def test_labels_in_another_order_make_the_same_judge() -> None:
    labels = some_labels()
    assert trained(tuple(reversed(labels))).admission == trained().admission


def labelled(n: int, seed: int, groups: Sequence[str] = ()) -> Labelled:
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(n, 4))
    good = np.arange(n) % 2 == 0
    chance.shuffle(good)
    return Labelled(features, good, groups or [str(k) for k in range(n)], [""] * n, features + 1)


def test_labels_of_one_message_share_a_fold() -> None:
    of = labelled(120, 0, [str(k // 3) for k in range(120)])
    fold = folds(of, "0/0")
    assert all(len({fold[k], fold[k + 1], fold[k + 2]}) == 1 for k in range(0, 120, 3))
    assert np.bincount(fold).tolist() == [24] * FOLDS


def rates(of: Labelled, fitted: CrossFitted) -> tuple[float, float]:
    said = fitted.log_odds(of.features, of.groups) >= 0
    return float(said[of.good].mean()), float((~said[~of.good]).mean())


def test_nothing_of_a_label_reaches_the_heads_that_score_its_message() -> None:
    of, probe = labelled(60, 0), np.ones((1, 4))
    other = replace(of, features=np.concatenate([of.features[:1] + 50, of.features[1:]]))
    before, after = cross_fit(of, 0), cross_fit(other, 0)
    assert before.log_odds(probe, ["0"]) == after.log_odds(probe, ["0"])
    assert before.log_odds(probe, ["new"]) != after.log_odds(probe, ["new"])
    assert len(before.heads) == FOLDS * len(before.unseen_by["0"])


def test_labels_that_are_noise_admit_no_head() -> None:
    """Where a label trained the head that tests it, 12 features of 60 labels would look informative."""
    found = []
    for seed in range(4):
        of = labelled(60, seed)
        wide = np.random.default_rng(seed).normal(size=(60, 12))
        of = replace(of, features=wide, anchors=wide + np.random.default_rng(99).normal(size=(60, 12)))
        found.append(rates(of, cross_fit(of, seed)))
    assert not any(tpr >= MIN_TPR and tnr >= MIN_TNR for tpr, tnr in found)
    assert abs(float(np.mean(found)) - 0.5) < 0.12


def test_noisy_copies_of_a_message_do_not_leak_their_label() -> None:
    """Each message three times, alike in features and in a label that nothing explains."""
    of = labelled(60, 3)
    copies = [k // 3 for k in range(180)]
    of = Labelled(
        of.features[copies], of.good[copies], [str(k) for k in copies], [""] * 180, of.anchors[copies]
    )
    assert sum(rates(of, cross_fit(of, 0))) - 1 < 0.4


def test_a_judge_that_calls_references_bad_is_not_admitted() -> None:
    """People reword good replies and copy bad ones but for a word, and a head can learn just that."""
    refused = with_references(trained().admission, [0.6] * 23 + [0.4] * 7)
    assert not refused.admitted
    assert "own references, given as replies, it calls 0.77" in refused.reasons[0]


def test_the_reason_tells_what_was_read_and_a_wrong_number_costs() -> None:
    judge = trained()
    (right,), (wrong,) = (
        judge.score_many(*answered(text, "I have a red kit 12"), Reader())
        for text in ("12 kit red", "13 kit red")
    )
    assert right.value is not None
    assert wrong.value is not None
    assert right.value > wrong.value
    assert "a number that is nowhere else" in wrong.reason
    assert [score.value for score in judge.score_many(*answered(""), Reader())] == [0.0]


def test_a_text_without_a_direction_is_a_failure_and_never_a_zero() -> None:
    (score,) = trained().score_many(*answered("..."), Reader())
    assert score.value is None
    assert score.failure is not None


def test_too_few_labels_say_how_many_are_needed() -> None:
    with pytest.raises(DataError, match="good replies to 4 different messages, too few to train"):
        trained(some_labels(8))
    same = tuple(replace(label, message="one") for label in some_labels())
    with pytest.raises(DataError, match="to 1 different messages"):
        trained(same)
    reasons = trained(some_labels(40)).admission.reasons
    assert "not enough labels: 20 good, and at least 25 are needed" in reasons


def test_it_is_a_judge_and_sits_on_a_panel() -> None:
    lines = (
        json.dumps(
            {
                "message": label.message,
                "reference": label.reference,
                "summary": label.reply,
                "label": "good" if label.good else "bad",
            }
        )
        for label in some_labels()
    )
    text = "\n".join(lines)
    bound = JUDGE.bind(lambda _: text)
    assert isinstance(bound, Judge)
    assert {JUDGE: 1}[bound] == 1
    assert bound.spec() != JUDGE.spec()
    assert bound.estimate([]) is None
    panel = Panel((JUDGE, LikelihoodJudge("summary", labels="labels.jsonl", name="likelihood")))
    tried = tried_out(panel.bind(lambda _: text), Reader())
    assert tried.admission is not None
    (score,) = judged_rows(panel, tried, *answered("12 kit red", "red kit 12"), Reader())
    assert score.value is not None


class OldOracle:
    """An oracle of the time before single tokens were shown."""

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> Reader:
        return Reader()

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> list[float]:
        return [0.0] * len(prompts)

    def grader(self, model: object, schema: object, max_tokens: int) -> Reader:
        return Reader()


def test_settings_and_oracles_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="bind it first"):
        JUDGE.calibrated(Reader())
    with pytest.raises(UsageError, match="OldOracle shows no single tokens"):
        replace(JUDGE, known=some_labels()).calibrated(OldOracle())
    assert TunedJudge(labels="x").name == "tuned"
