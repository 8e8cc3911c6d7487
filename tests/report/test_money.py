"""Break-even by tokens alone and with the measured points, and the value of more rows: both or neither."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from sample_run import ADAPTER, BASE, ECONOMICS, sample_run

from harness.decision.curve import CurveFit, ScoredTraining, fit_curve
from harness.decision.payback import usd_of_points
from harness.records import Economics, Payback, PricedScore, RunRecord
from harness.report.costs import cost
from harness.report.quality import more_rows
from harness.report.view_models import CostBlock

NAMELESS = replace(
    ECONOMICS, candidate=f"{ADAPTER}@400", value_usd_per_point_per_day=250.0, training_row_usd=0.25
)


@cache
def curve() -> CurveFit:
    """Far from its ceiling, and rising."""
    sizes = {50: 0.3, 100: 0.4, 200: 0.5, 400: 0.6}
    fit = fit_curve([ScoredTraining(size, 0, mean, 0.02) for size, mean in sizes.items()])
    assert isinstance(fit, CurveFit)
    return fit


def paid(usd: float, limits: tuple[float, float]) -> Payback:
    """$1.84 once."""
    days = [1.84 / each if each > 0 else None for each in (usd, *reversed(limits))]
    return Payback(usd, *limits, 90 * usd - 1.84, *days)


def priced(*scores: PricedScore) -> Economics:
    """The sample's economics with scores that have a price: $1.84 once, $0.34 of it data; $0.2539 a day."""
    tokens = paid(0.2539, (-0.1, 0.6))
    worth = [usd for one in scores if (usd := usd_of_points(one)) is not None]
    total, low, high = (sum(each) for each in zip((0.2539, -0.1, 0.6), *worth, strict=True))
    is_measured = bool(worth) and len(worth) == len(scores)
    return replace(
        ECONOMICS,
        candidate=f"{ADAPTER}@400",
        training_row_usd=0.25,
        data_preparation_usd=0.34,
        rows_used=400,
        tokens_alone=tokens,
        with_quality=paid(total, (low, high)) if is_measured else None,
        priced_scores=scores,
    )


def with_money(money: Economics, run: RunRecord | None = None) -> tuple[CostBlock, list[str]]:
    """The costs, and what is said of more rows under the curve of each score."""
    record = replace(run or sample_run(n_rows=40), economics=(money,))
    lines = [
        f"{suite.name} / {info.name}: {line}"
        for suite in record.suites
        for info in suite.scores
        for line in more_rows(record, suite, info, ADAPTER, curve(), 0.5)
    ]
    return cost(record, money), lines


INTENT = PricedScore("support", "intent", 250.0, 0.29, 0.2, 0.375, 200)


def test_both_break_evens_stand_side_by_side_with_their_intervals() -> None:
    costs, _ = with_money(priced(INTENT))
    assert costs.verdict == (
        "Tokens alone: pays for itself after 7.2 days [3.1, never] at 2,000 requests a day. With the measured"
        " +29.0 points of support / intent [+20.0, +37.5] (n = 200) at $250 a point and day: worth $7,250"
        " [$5,000, $9,376] a day, pays for itself after less than 0.1 days."
    )
    cells = {row[0]: row[2] for row in costs.table.rows}
    assert cells["training $1.50 and data preparation of 400 rows $0.34, once"] == "$1.84"
    assert cells["saved a day, tokens alone"] == "$0.25 [−$0.10, $0.60]"
    assert cells["break-even, tokens alone"] == "7.2 days [3.1, never]"
    assert cells["break-even with the points"] == "less than 0.1 days"
    assert "90% intervals" in costs.table.note


def test_the_value_of_more_rows_has_the_same_price_and_pays_for_rows_and_training() -> None:
    _, lines = with_money(priced(INTENT))
    (line,) = lines
    assert line.startswith("support / intent: 800 rows instead of 400 are expected to add ")
    # 400 rows at $0.25, and twice the $1.50 that training on half of them took
    assert "from the day it serves. They cost $100.00, and training on 800 about $3.00;" in line
    points, worth, net = (
        float(found.replace(",", ""))
        for pattern in (
            r"add ([\d.]+) points",
            r"worth \$([\d,.]+) in 90 days",
            r"about \$3.00; \$([\d,.]+) net",
        )
        for found in re.findall(pattern, line)
    )
    assert worth == pytest.approx(points * 250 * 90, rel=0.05)  # the points are shown to one decimal
    assert net == pytest.approx(worth - 103, abs=1)
    assert "Left out: evaluation, and the days until the rows are written" in line


def test_a_score_that_was_not_measured_is_priced_in_neither_place() -> None:
    gone = PricedScore("support", "summary", 10.0, why="its judge was not admitted")
    costs, lines = with_money(priced(INTENT, gone))
    assert lines == []
    assert not any("point" in row[0] for row in costs.table.rows)
    assert "no difference was measured for support / summary (its judge was not admitted)" in costs.notes[0]
    assert costs.verdict.startswith("Tokens alone: pays for itself after 7.2 days")
    assert "With the measured" not in costs.verdict


def test_a_score_that_fell_is_said_to_cost() -> None:
    costs, _ = with_money(priced(PricedScore("support", "intent", 250.0, -0.01, -0.02, 0.0, 200)))
    assert costs.verdict.endswith(
        "at $250 a point and day: costs $249.75 [−$0.60, $500.10] a day, never pays for itself (at the upper"
        " limit, after 3.1 days)."
    )
    costs, _ = with_money(priced(PricedScore("support", "intent", 250.0, -0.03, -0.04, -0.02, 200)))
    assert costs.verdict.endswith("costs $749.75 [$499.40, $1,000] a day, never pays for itself.")


def test_several_priced_scores_pay_for_the_rows_once() -> None:
    costs, lines = with_money(priced(INTENT, PricedScore("support", "valid", 1.0, 0.05, 0.01, 0.09, 200)))
    assert costs.table.rows[-1][2] == "less than 0.1 days"
    assert len(lines) == 2
    assert all("The rows are paid for once" in line for line in lines)


def test_an_older_record_with_several_targets_shows_no_points_and_says_why_in_any_order() -> None:
    run = sample_run(n_rows=40)
    pages = set()
    for seed in range(4):
        gates = list(run.gates)
        Random(seed).shuffle(gates)
        costs, lines = with_money(NAMELESS, replace(run, gates=tuple(gates)))
        pages.add((costs.verdict, *costs.notes, *lines))
    ((verdict, why, *rest),) = pages
    assert verdict == "Tokens alone: pays for itself after 7.2 days at 2,000 requests a day."
    assert "has $250 a point and day without the name of a score, and targets compare support / intent" in why
    assert not any("$250" in line for line in rest)


def test_examples_in_a_prompt_cost_their_rows_and_no_training() -> None:
    money = replace(priced(), candidate="few", training_usd=1.25, data_preparation_usd=1.25, rows_used=5)
    costs, _ = with_money(money)
    assert {row[0]: row[2] for row in costs.table.rows}["data preparation of 5 rows, once"] == "$1.25"


def test_a_side_whose_answers_were_cut_off_is_named_beside_the_saving() -> None:
    run = sample_run(n_rows=40)
    cut = tuple(
        replace(t, answers=tuple(replace(a, finish="length") for a in t.answers)) if t.label == BASE else t
        for t in run.trials
    )
    before, _ = with_money(ECONOMICS, run)
    costs, _ = with_money(ECONOMICS, replace(run, trials=cut))
    (note,) = set(costs.notes) - set(before.notes)
    assert f"answers of {BASE} were cut off at the token limit" in note
