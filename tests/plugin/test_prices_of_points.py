"""`economics.toml` prices points by the name of their score, whichever test runs first."""

from __future__ import annotations

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject

PRICES = """
requests_per_day = 1_000_000
served_input_usd_per_mtok = 1.0
served_output_usd_per_mtok = 10.0
training_usd_per_hour = 0
training_row_usd = 0.5
"""
HEAD = SUITE.replace("scores=(right,)", "scores=(right, loud)").replace(
    "\n\n@pytest.fixture", '\nloud = Contains(name="loud")\n\n\n@pytest.fixture', 1
)
LOUD = """
def test_loud(candidate, baseline):
    assert candidate.scores(loud) > baseline.scores(loud)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> SmallProject:
    made = SmallProject(pytester)
    made.conftest()
    return made


def test_the_named_score_is_priced_whichever_test_runs_first(project: SmallProject) -> None:
    """Nine against three of ten rows: 60 points at $2."""
    project.write("suites/economics.toml", f"{PRICES}value_usd_per_point_per_day.right = 2\n")
    for gates in (TARGET + LOUD, LOUD + TARGET):
        project.suite(gates, head=HEAD)
        assert project.run("--candidate=good").status == 0
        (money,) = project.record.economics
        (score,) = money.priced_scores
        assert (score.suite, score.score, score.n) == ("support", "right", 40)
        assert score.difference == pytest.approx(0.6)
        assert money.with_quality is not None
        assert money.with_quality.usd_per_day - money.saving_usd_per_day == pytest.approx(120)
        assert (money.rows_used, money.data_preparation_usd) == (30, 15)


def test_a_plain_number_is_refused_where_targets_compare_several(project: SmallProject) -> None:
    project.write("suites/economics.toml", f"{PRICES}value_usd_per_point_per_day = 2\n")
    project.suite(LOUD + TARGET, head=HEAD)
    project.run("--candidate=good").assert_one_screen(
        "suites/economics.toml: value_usd_per_point_per_day = 2 does not say of which score, and targets"
        " compare 2: support/loud, support/right.",
        "value_usd_per_point_per_day.loud = 2",
    )
    project.suite(GUARD.replace("right", "loud") + TARGET, head=HEAD)
    assert project.run("--candidate=good").status == 0
    (score,) = project.record.economics[0].priced_scores
    assert score.score == "right"


def test_names_are_checked_before_anybody_is_asked(project: SmallProject) -> None:
    project.suite()
    project.suite(name="billing")
    for key, says in {
        "rihgt": "value_usd_per_point_per_day: unknown score 'rihgt'. Did you mean 'right'?",
        '"suport/right"': "unknown suite 'suport'. Did you mean 'support'?",
        "right": 'value_usd_per_point_per_day."billing/right" = 2 or value_usd_per_point_per_day."support/',
    }.items():
        project.write("suites/economics.toml", f"{PRICES}value_usd_per_point_per_day.{key} = 2\n")
        project.run("--candidate=good").assert_one_screen("suites/economics.toml: ", says)


def test_a_score_of_a_suite_that_this_run_leaves_out_is_noted(project: SmallProject) -> None:
    project.suite()
    project.suite(name="billing")
    project.write("suites/economics.toml", f'{PRICES}value_usd_per_point_per_day."billing/right" = 2\n')
    assert project.run("suites/support", "--candidate=good").status == 0
    assert project.record.economics[0].priced_scores == ()
    assert any("not priced in this run: suites/economics.toml" in note for note in project.record.notes)
