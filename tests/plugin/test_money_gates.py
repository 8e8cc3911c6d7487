"""Money that a test asserts decides; money that no test asserts decides nothing."""

from __future__ import annotations

import pytest
from small_project import TARGET, SmallProject

from harness.records import Outcome, Verdict

PRICES = """
requests_per_day = 1_000_000
served_input_usd_per_mtok = 1.0
served_output_usd_per_mtok = 10.0
training_usd_per_hour = 0
training_row_usd = 0.5
value_usd_per_point_per_day.right = 2
"""
MONEY = """
def test_money(candidate):
    assert candidate.economics.break_even_days < {days}
    assert candidate.economics.saving_usd_per_day > {usd}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> SmallProject:
    made = SmallProject(pytester)
    made.conftest()
    made.write("suites/economics.toml", PRICES)
    return made


def test_money_decides_only_where_a_test_asserts_it(project: SmallProject) -> None:
    """60 points at $2 a day, measured on 40 rows, pay for 30 rows at $0.50 within a day."""
    project.suite(TARGET + MONEY.format(days=90, usd=20))
    assert project.run("--candidate=good").status == 0
    record = project.record
    days, saving = record.money_gates
    assert (days.figure, days.outcome, days.candidate) == ("break_even_days", Outcome.SHOWN, "good")
    assert days.place.startswith("suites/support/test_")
    assert saving.outcome is Outcome.SHOWN
    assert record.decisions[0].verdict is Verdict.GO
    assert any(
        "money gate test_money is shown: break_even_days < 90" in r for r in record.decisions[0].reasons
    )
    assert not any(gate.state == "money" for gate in record.gates)

    project.suite(TARGET + MONEY.format(days=90, usd=10_000))
    run = project.run("--candidate=good")
    assert run.status == 1
    assert "saving_usd_per_day > 10000: 120 [" in run.said
    assert "misses it" in run.said
    assert project.record.decisions[0].verdict is Verdict.NO_GO


def test_money_that_is_not_known_holds_nothing(project: SmallProject) -> None:
    (project.path / "suites/economics.toml").unlink()
    project.suite(TARGET + MONEY.format(days=90, usd=0))
    run = project.run("--candidate=good")
    assert run.status == 1
    assert "break_even_days < 90: not known, there is no economics.toml beside the suites" in run.said
    assert project.record.decisions[0].verdict is Verdict.INCONCLUSIVE
