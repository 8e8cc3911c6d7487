"""What a test claims, read from its source: targets, and what is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import Prompted, assert_better, assert_not_worse
from harness.errors import UsageError
from harness.records import Role
from harness.run.claim_detection import claims_improvement, expected_gate, require_target
from harness.run.selection import Arm

ENTRY = Arm("prompted", Prompted(model="smollm2-135m"))
BAR = 0.5

# the values never matter: only the source is read
Side = Any


def greater(candidate: Side, baseline: Side) -> None:
    assert candidate.scores("x") > baseline.scores("x")


def mirrored(candidate: Side, baseline: Side) -> None:
    assert baseline.scores("x") + 0.1 < candidate.scores("x")


def by_function(candidate: Side, baseline: Side) -> None:
    assert_better(candidate.scores("x"), baseline.scores("x"))


def by_a_function_of_their_own(candidate: Side, baseline: Side) -> None:
    helper(candidate, baseline)


def guard(candidate: Side, baseline: Side) -> None:
    assert candidate.scores("x") >= baseline.scores("x") - 0.1


def guard_by_function(candidate: Side, baseline: Side) -> None:
    assert_not_worse(candidate.scores("x"), baseline.scores("x"), margin=0.1)


def bar(candidate: Side) -> None:
    assert candidate.scores("x") > 0.85


class Grouped:
    def method(self, candidate: Side, baseline: Side) -> None:
        text = """
not indented"""
        assert candidate.scores("x") > baseline.scores("x"), text


def helper(candidate: Side, baseline: Side) -> None:
    greater(candidate, baseline)


@pytest.mark.parametrize("test", [greater, mirrored, by_function, by_a_function_of_their_own, Grouped.method])
def test_a_claim_of_improvement_is_read(test: Callable[..., object]) -> None:
    assert claims_improvement(test)
    assert expected_gate(test, "support", "test_x", ENTRY).role is Role.TARGET


@pytest.mark.parametrize("test", [guard, guard_by_function, bar])
def test_a_guard_and_a_bar_claim_no_improvement(test: Callable[..., object]) -> None:
    assert not claims_improvement(test)
    assert expected_gate(test, "support", "test_x", ENTRY).role is Role.GUARD


def test_a_test_without_source_may_claim_anything() -> None:
    made: dict[str, Callable[..., object]] = {}
    exec("def made(candidate): pass", made)
    assert claims_improvement(made["made"])


def test_gates_without_a_target_are_refused_at_the_first_ones_line() -> None:
    gates = [expected_gate(test, "support", "test_x", ENTRY) for test in (guard, bar)]
    line = guard.__code__.co_firstlineno
    with pytest.raises(UsageError, match=rf"test_expected\.py:{line}: the 2 collected gates hold no target"):
        require_target([guard, bar], gates)
    require_target([guard, greater], [*gates, expected_gate(greater, "support", "test_y", ENTRY)])
    require_target([], [])
