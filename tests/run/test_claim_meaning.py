"""Roles and bounds of claims, read from the source of tests before they run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.decision.claims import assert_better, assert_not_worse
from harness.models.remote import RemoteModel
from harness.records import Role
from harness.run.claim_meaning import ClaimMeaning, claim_meanings
from harness.run.session import Subject
from harness.scoring.checks import ExactMatch
from harness.scoring.pairwise import Pairwise

right = ExactMatch(name="right answer")
better = Pairwise(RemoteModel("gpt-4o-mini"), "It is better.", labels="pairs.jsonl")


class Checks:
    other = ExactMatch(name="other")


def target(candidate: Subject, baseline: Subject) -> None:
    assert candidate.scores(right) > baseline.scores(right) + 0.02


def mirrored(candidate: Subject, baseline: Subject) -> None:
    assert baseline.scores(right) - 0.05 <= candidate.scores(right)


def tolerant(candidate: Subject, baseline: Subject) -> None:
    assert candidate.scores(right) > baseline.scores(right) - 0.03


def named(candidate: Subject, baseline: Subject) -> None:
    mine, theirs = candidate.scores(Checks.other), baseline.scores(Checks.other)
    assert mine + 0.01 >= theirs


def sliced(candidate: Subject, baseline: Subject) -> None:
    assert candidate.scores(right, language="es") >= baseline.scores(right, language="es")


def bar(candidate: Subject) -> None:
    assert 0.85 < candidate.scores(right)  # noqa: SIM300 - so may a user write it


def helpers(candidate: Subject, baseline: Subject) -> None:
    assert_better(candidate.scores(right), baseline.scores(right), by=0.01)
    assert_not_worse(candidate.scores(right), baseline.scores(right), margin=0.04)


MARGIN = 0.02


def computed(candidate: Subject, baseline: Subject) -> None:
    assert candidate.scores(right) >= baseline.scores(right) - MARGIN


def computed_elsewhere(candidate: Subject, baseline: Subject, margin: float) -> None:
    assert candidate.scores(right) >= baseline.scores(right) - margin


def looped(candidate: Subject, baseline: Subject) -> None:
    for score in (right, Checks.other):
        assert candidate.scores(score) > baseline.scores(score)


def preferred(candidate: Subject) -> None:
    assert candidate.preferred(better) > 0.55
    assert candidate.preferred(better, language="es") >= 0.5
    assert 0.5 < candidate.preferred(better)  # noqa: SIM300 - so may a user write it


def nothing(candidate: Subject) -> None:
    assert candidate.name < "x"


@pytest.mark.parametrize(
    ("function", "claims"),
    [
        (target, [ClaimMeaning(Role.TARGET, 0.02, "right answer")]),
        (mirrored, [ClaimMeaning(Role.GUARD, -0.05, "right answer")]),
        (tolerant, [ClaimMeaning(Role.GUARD, -0.03, "right answer")]),
        (named, [ClaimMeaning(Role.GUARD, -0.01, "other")]),
        (sliced, [ClaimMeaning(Role.GUARD, 0.0, "right answer", (("language", "es"),))]),
        (bar, [ClaimMeaning(Role.THRESHOLD, 0.0, "right answer")]),
        (
            helpers,
            [
                ClaimMeaning(Role.TARGET, 0.01, "right answer"),
                ClaimMeaning(Role.GUARD, -0.04, "right answer"),
            ],
        ),
        (computed, [ClaimMeaning(Role.GUARD, -0.02, "right answer")]),
        (computed_elsewhere, [ClaimMeaning(Role.GUARD, None, "right answer")]),
        (looped, [ClaimMeaning(Role.TARGET, 0.0, None)]),
        (
            preferred,
            [
                ClaimMeaning(Role.TARGET, 0.05, "preference"),
                ClaimMeaning(Role.THRESHOLD, 0.0, "preference", (("language", "es"),)),
                ClaimMeaning(Role.TARGET, 0.0, "preference"),
            ],
        ),
        (nothing, []),
    ],
)
def test_a_claim_means_what_is_written(function: Callable[..., None], claims: list[ClaimMeaning]) -> None:
    assert list(claim_meanings(function)) == claims
