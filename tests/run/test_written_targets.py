"""Which scores targets compare, read from how they are written."""

from __future__ import annotations

import ast

import pytest

from harness.run.written_claims import target_arguments


@pytest.mark.parametrize(
    ("body", "scores"),
    [
        ("assert candidate.scores(a) > baseline.scores(a)", ["a"]),
        ("assert baseline.scores(a) < candidate.scores(a)", ["a"]),
        ("assert candidate.scores(a) - 0.02 > baseline.scores(a)", ["a"]),
        ("assert candidate.scores(a) > baseline.scores(a) + 0.02", ["a"]),
        ("mine = candidate.scores(checks.a); assert mine > baseline.scores(checks.a)", ["checks.a"]),
        ("assert_better(candidate.scores(a), baseline.scores(a))", ["a"]),
        ("assert candidate.scores(a, language='es') > baseline.scores(a, language='es')", ["a"]),
        ("assert candidate.preferred(a) > 0.5", ["a"]),
        ("assert 0.55 < candidate.preferred(a, language='es')", ["a"]),
        # guards, bars, and what cannot be read
        ("assert candidate.preferred(a) > 0.45", []),
        ("assert candidate.preferred(a) >= 0.5", []),
        ("assert candidate.scores(a) >= baseline.scores(a)", []),
        ("assert candidate.scores(a) > baseline.scores(a) - 0.05", []),
        ("assert candidate.scores(a) > 0.9", []),
        ("assert better(candidate, baseline)", []),
        ("assert len(candidate.scores(a)) > len(rows)", []),
    ],
)
def test_the_scores_of_targets_are_read(body: str, scores: list[str]) -> None:
    function = ast.parse(f"def test(candidate, baseline):\n    {body}\n")
    assert [ast.unparse(each) for each in target_arguments(function)] == scores
