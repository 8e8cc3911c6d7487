"""`harness decide RUN --requests-per-day=…`: other prices for the same answers, and no model is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import sample_run

from harness.cli.main import main
from harness.decision.money_claims import judge
from harness.errors import UsageError
from harness.records import Economics, Outcome, RunRecord, Verdict
from harness.report.earnings import earns, money_warnings, over_time
from harness.report.html import write_report
from harness.report.knowing import knowing_more
from harness.report.runjson import load_run
from harness.run.repricing import priced_again, repriced_config

PRICES = """
requests_per_day = 2000
horizon_days = 90
training_usd_per_hour = 3
training_row_usd = 0.25
heldout_row_usd = 0.5
served_input_usd_per_mtok = 1
served_output_usd_per_mtok = 4
value_usd_per_point_per_day.intent = 5
"""


def priced(more: str = "", record: RunRecord | None = None, **figures: str) -> tuple[RunRecord, Economics]:
    config = repriced_config(record or sample_run(n_rows=40), PRICES + more, "economics.toml", figures)
    found = priced_again(record or sample_run(n_rows=40), config, "harness decide")
    return found, found.economics[0]


def test_twice_the_requests_cost_and_save_twice_as_much() -> None:
    once, twice = priced()[1], priced(requests_per_day="4000")[1]
    assert twice.candidate_usd_per_day == pytest.approx(2 * once.candidate_usd_per_day)
    assert twice.training_usd == once.training_usd
    assert twice.outlook is not None
    assert twice.outlook.p_never is not None


def test_the_run_keeps_what_it_was_priced_with_and_can_be_priced_again_from_it() -> None:
    record, money = priced(horizon_days="30")
    assert "horizon_days = 30" in record.economics_toml
    again, same = priced_again(record, repriced_config(record, None, "", {}), ""), money
    assert again.economics[0] == same
    assert (record.trials, record.gates, record.decisions) == (again.trials, again.gates, again.decisions)


def test_without_a_file_the_mend_is_named() -> None:
    with pytest.raises(UsageError, match=r"holds no economics.toml.\n.*--economics suites/economics.toml"):
        repriced_config(sample_run(n_rows=40), None, "", {"horizon_days": "9"})


def test_a_gate_on_money_is_judged_again() -> None:
    record, money = priced()
    gate = judge("break_even_days", money, "<", 3650).gate("s::test_money", *_subject(money), "")
    assert gate.outcome is Outcome.SHOWN
    asserted = replace(record, money_gates=(gate,))
    dear, _ = priced("data_preparation_usd = 1_000_000_000\n", asserted)
    (judged,) = dear.money_gates
    assert judged.outcome is Outcome.REFUTED
    own = next(one for one in dear.decisions if one.candidate == gate.candidate)
    assert own.verdict is Verdict.NO_GO
    assert any("money gate test_money is refuted: break_even_days < 3650" in reason for reason in own.reasons)


def _subject(money: Economics) -> tuple[str, int | None]:
    name, _, size = money.candidate.partition("@")
    return name, int(size) if size else None


def test_what_it_is_worth_to_know_more_is_ranked() -> None:
    record, money = priced()
    options = knowing_more(record, money)
    assert {one.what for one in options} >= {"test more", "decide now"}
    known = [one.net_usd for one in options if one.net_usd is not None]
    assert known == sorted(known, reverse=True)
    (test_more,) = [one for one in options if one.what == "test more"]
    assert test_more.cost_usd == pytest.approx(50, rel=0.05)  # 100 rows at $0.50, and the answers
    assert knowing_more(replace(record, economics_toml=""), money) == []


def test_the_sentence_says_what_it_counts_and_when_it_pays() -> None:
    _, money = priced()
    said = earns(money)
    assert said.startswith("It saves $")
    assert "(tokens and support / intent)" in said
    assert "has earned its cost after" in said
    costs = earns(priced("value_usd_per_point_per_day = 0\n".replace("value", "#"))[1])
    assert costs.count(".") >= 1
    none = earns(replace(money, with_quality=None))
    assert "(tokens alone)" in none


def test_net_dollars_over_time_start_at_what_is_paid_once() -> None:
    _, money = priced()
    line = over_time(money)
    assert line[0] == (0, -money.training_usd, -money.training_usd, -money.training_usd)
    at_end = next(at for at in line if at.day >= money.horizon_days)
    assert money.outlook is not None
    assert at_end.usd == pytest.approx(money.outlook.usd_over_horizon.value)


def test_in_another_currency_figures_are_written_in_it() -> None:
    eur = PRICES.replace("_usd", "_eur").replace(
        "requests_per_day", "currency = 'EUR'\nusd_per_eur = 1.25\nrequests_per_day", 1
    )
    record = sample_run(n_rows=40)
    found = priced_again(record, repriced_config(record, eur, "economics.toml", {}), "").economics[0]
    dollars = priced()[1]
    assert found.training_usd == pytest.approx(1.25 * dollars.training_usd)
    assert earns(found) == earns(dollars).replace("$", "EUR ")


def test_the_command_writes_beside_the_run_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = replace(sample_run(n_rows=40), economics_toml=PRICES)
    write_report(record, tmp_path / record.id)
    main(["decide", str(tmp_path / record.id), "--requests-per-day=30000-80000"])
    said = capsys.readouterr().out
    (made,) = tmp_path.glob("*-priced/run.json")
    found = load_run(made.read_text(encoding="utf-8"), "")
    assert "requests_per_day = [30000.0, 80000.0]" in found.economics_toml
    assert found.economics[0].requests_per_day == 55_000
    assert earns(found.economics[0]) in said.replace("\n", " ")
    assert "--requests-per-day=[30000.0, 80000.0]" not in found.command
    assert money_warnings(found) == []
    assert main(["decide", str(tmp_path / record.id)]) == 2
    assert main(["decide", str(tmp_path / record.id), "--requests-per-day=many"]) == 2
    assert "or a range such as 30000-80000" in capsys.readouterr().err
    assert json.loads(made.read_text(encoding="utf-8"))["economics"][0]["outlook"]["swings"]
