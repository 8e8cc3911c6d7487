"""Causes of failures: the planted one comes first, and where none is planted none is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from harness.decision.effects import cliffs_delta, newcombe
from harness.records import Cause, Message, Row, TrainingPoint
from harness.run.cause_inputs import Case, General
from harness.run.causes import find_causes

TOPICS = {
    "refund": "money back for the broken kettle I sent away on {}",
    "delivery": "where is the parcel that the courier promised for {}",
    "login": "the password reset never arrives by mail since {}",
    "billing": "my invoice of {} shows a wrong amount of tax",
}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
POLISH = "gdzie jest moja przesyłka którą kurier obiecał dostarczyć w zeszłym tygodniu"


def rows(kind: str, labels: Sequence[str], rng: Random) -> list[Row]:
    made = []
    for at, label in enumerate(labels):
        text = f"{TOPICS[label].format(rng.choice(DAYS))} {rng.randrange(10**6)} {rng.choice(DAYS)}"
        made.append(Row(f"{kind}-{at}", (Message("user", text), Message("assistant", label))))
    return made


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.shift.RESAMPLES", 399)


@pytest.fixture
def case() -> Case:
    rng = Random(3)
    labels = list(TOPICS) * 30
    heldout = rows("held", labels, rng)
    return Case(
        rows("train", labels, rng),
        heldout,
        rows("failed", list(TOPICS) * 10, rng),
        {row.id: at % 5 > 0 for at, row in enumerate(heldout)},
    )


def causes(case: Case) -> list[Cause]:
    return find_causes(case)[1]


def test_nothing_is_claimed_of_rows_like_the_others(case: Case) -> None:
    tests, found, _ = find_causes(case)
    assert found == []
    seen = [one.detectable for one in tests if one.p is not None]
    assert all(power is not None and 0.2 < power < 0.6 for power in seen)
    # what could not be looked at says why
    assert all(one.said for one in tests)
    assert {one.cause for one in tests} == {
        "leaks",
        "long tail",
        "shift",
        "overfitting",
        "base",
        "forgetting",
    }


def test_a_class_that_training_lacks_comes_before_the_shift_that_it_is(case: Case) -> None:
    without = [row for row in case.training if row.reference != "refund"]
    heldout = [row for row in case.heldout if row.reference != "refund"]
    tests, found, categories = find_causes(replace(case, training=without, heldout=heldout))
    assert found == ["long tail"]
    shown = next(one for one in tests if one.is_shown)
    assert "refund (10; 0)" in shown.said
    assert "refund" in shown.next_step
    assert (categories[0].value, categories[0].is_thin, categories[0].training) == ("refund", True, 0)


def test_another_language_is_a_shift(case: Case) -> None:
    failed = [
        replace(row, messages=(Message("user", f"{POLISH} {at}"), row.messages[1])) if at % 2 else row
        for at, row in enumerate(case.failures)
    ]
    assert causes(replace(case, failures=failed)) == ["shift"]


def test_what_was_known_to_be_hard_is_no_shift(case: Case) -> None:
    failed = [row for row in case.failures if row.reference in ("refund", "login")]
    hard = {row.id: row.reference not in ("refund", "login") for row in case.heldout}
    assert causes(replace(case, failures=failed * 2, right=hard)) == []
    evenly = {row.id: at % 3 > 0 for at, row in enumerate(case.heldout)}
    assert causes(replace(case, failures=failed * 2, right=evenly)) == ["shift"]


def test_held_out_rows_that_were_trained_on(case: Case) -> None:
    copied = case.heldout[:60]
    right = {row.id: at < 60 or at % 2 > 0 for at, row in enumerate(case.heldout)}
    found = replace(case, training=[*case.training, *copied], right=right)
    assert causes(found) == ["leaks"]


def test_loss_base_and_general_suites(case: Case) -> None:
    losses = (1.0, 0.8, 0.82, 1.1)
    curve = [TrainingPoint(at, at, 1.0, None, loss, 0.03, None) for at, loss in enumerate(losses, 1)]
    assert causes(replace(case, curve=curve)) == ["overfitting"]
    assert causes(replace(case, curve=curve[:3])) == []
    known = {row.id: at % 2 > 0 for at, row in enumerate(case.heldout)}
    assert causes(replace(case, base=(known, [True] * 38 + [None] * 2))) == ["base"]
    assert causes(replace(case, base=(known, [True, False] * 20))) == []
    assert causes(replace(case, general=[General("facts", 30, 4, 200)])) == ["forgetting"]
    assert causes(replace(case, general=[General("facts", 12, 8, 200)])) == []


def test_the_strongest_evidence_comes_first_and_p_values_know_of_each_other(case: Case) -> None:
    known = {row.id: at % 2 > 0 for at, row in enumerate(case.heldout)}
    both = replace(case, base=(known, [True] * 40), general=[General("facts", 30, 4, 200)])
    tests, found, _ = find_causes(both)
    assert found == ["base", "forgetting"]
    made = [one for one in tests if one.p is not None]
    for one in made:
        assert one.p is not None
        assert one.adjusted is not None
        assert one.p <= one.adjusted <= 1
    least = min(made, key=lambda one: one.p or 0)
    assert least.adjusted == pytest.approx((least.p or 0) * len(made))


def test_effects_against_published_and_plain_values() -> None:
    # R. G. Newcombe (1998), Statistics in Medicine 17:873, table II: 56/70 - 48/80, method 10
    assert newcombe((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert cliffs_delta([1, 2, 3], [1, 2, 3])[0] == 0
    delta, low, high = cliffs_delta([4, 5, 6, 7], [1, 2, 3])
    assert delta == 1
    assert high == pytest.approx(1)
    assert -0.2 < low < 0  # of three and four rows little is known
