"""A plan as people read it: nothing wider than the terminal, no zero for what is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.decision.go_power import AssumedGate, forecast_go
from harness.decision.plan import (
    CallCount,
    CostLine,
    Plan,
    PlannedDecision,
    PlannedLabels,
    Power,
    Trainings,
    Usd,
    Work,
)
from harness.records import Kind, Price, Rate, Role
from harness.report.plan import plan_text

BASE = Price("gpt-4o-mini", 0.15, 0.6, None, "OpenAI, base prices of December 2025", "2025-12")
TUNED = Price("gpt-4o-mini (tuned)", 0.3, 1.2, 3.0, "price table without a date", None)
TRAINING = CostLine("training", "gpt-4o-mini", True, TUNED, Usd(0.30, 0.32))
ANSWERS = CostLine("answers", "gpt-4o-mini", True, TUNED, Usd(0.08, 0.70))
ASKED = CostLine("answers", "gpt-4o-mini", False, BASE, Usd(0.02, 0.10))
JUDGING = CostLine("judging", "gpt-4o-mini", False, BASE, Usd(0.01, 0.08))
PLAN = Plan(
    work=(
        Work("prompted-gpt-4o-mini-2024-07-18", True, None, CallCount(160, 0, 0, 92_300, 80), (ASKED,)),
        Work(
            "openai-mini@400",
            True,
            Trainings(400, 1, 0, 0, 112_600, 124_500),
            CallCount(150, 10, 0, 15_700, 80),
            (TRAINING, ANSWERS),
        ),
        Work("judge support/clear", True, None, CallCount(360, 0, 0, 120_000, 400), (JUDGING,)),
        Work(
            "qlora-r16@400",
            False,
            Trainings(490, 1, 0, 0, 136_200, 136_200),
            CallCount(160, 0),
            seconds={"training": 600.0, "answers": 60.0},
        ),
    ),
    power=(Power("support", "intent", 200, None, ""), Power("support", "valid", 200, 0.031, "20261121-q")),
    within=1.5,
)


def line_of(said: str, start: str) -> str:
    (found,) = [line for line in said.splitlines() if line.startswith(start)]
    return found


def test_each_line_of_work_stands_in_one_line_of_the_table() -> None:
    said = plan_text(PLAN)
    assert line_of(said, "openai-mini@400").split() == (
        ["openai-mini@400", "400", "113k–124k", "1", "0", "150", "10", "15.7k", "80", "$0.38–1.02"]
    )
    assert line_of(said, "prompted").split() == (
        ["prompted-gpt-4o-mini-2024-07-18", "160", "0", "92.3k", "80", "$0.020–0.10"]
    )
    assert line_of(said, "judge").split() == [
        "judge",
        "support/clear",
        "360",
        "0",
        "120k",
        "400",
        "$0.010–0.080",
    ]
    assert line_of(said, "qlora").split() == ["qlora-r16@400", "490", "136k", "1", "0", "160", "0"]


def test_the_whole_is_told_with_its_parts_and_the_dates_and_sources_of_its_prices() -> None:
    said = plan_text(PLAN)
    assert line_of(said, "dollars:") == (
        "dollars: $0.41 to $1.20 (prices of 2025-12 and of unknown date, below)"
    )
    assert "training $0.30 to $0.32; answers $0.10 to $0.80; judging $0.010 to $0.080" in said
    assert line_of(said, "gpt-4o-mini  ").split()[:4] == ["gpt-4o-mini", "0.15", "0.6", "2025-12"]
    assert "  unknown  price table without a date" in line_of(said, "gpt-4o-mini (tuned)")


@pytest.mark.parametrize(
    ("max_usd", "says"),
    [
        (1.2, "--max-usd=1.2 is enough"),
        (1.0, "--max-usd=1 may be reached"),
        (0.3, "--max-usd=0.3 will be reached before the end"),
    ],
)
def test_a_cap_is_told_beside_what_it_must_hold(max_usd: float, says: str) -> None:
    assert says in plan_text(replace(PLAN, max_usd=max_usd))


def test_what_has_no_price_is_named_with_the_file_and_the_table_to_add() -> None:
    bill = CostLine("training", "gpt-9", True, None)
    plan = Plan((Work("new@50", True, None, CallCount(40, 0, 0, 500, 8), (bill,)),), (), max_usd=5.0)
    flat = " ".join(plan_text(replace(plan, prices_file="suites/economics.toml")).split())
    assert "no price for tuning gpt-9: not in these dollars" in flat
    assert 'suites/economics.toml: [prices."gpt-9".tuned] with' in flat
    assert "training_usd_per_mtok" in flat
    assert "--max-usd=5: the run would be refused" in flat
    assert line_of(plan_text(plan), "new@50").endswith("no price")
    assert "$0" not in flat


def test_an_open_end_says_which_setting_closes_it() -> None:
    reason = 'hosted has epochs="auto"; write how many: epochs=3'
    bill = replace(TRAINING, usd=Usd(0.3, None), unbounded=reason)
    said = plan_text(Plan((Work("hosted@50", True, None, CallCount(0, 0), (bill,)),), ()))
    assert line_of(said, "dollars:").startswith("dollars: $0.30 and up")
    assert f"nothing bounds it: {reason}" in said


def test_a_plan_of_local_candidates_says_nothing_of_dollars() -> None:
    said = plan_text(replace(PLAN, work=PLAN.work[-1:]))
    assert "$" not in said
    assert "dollars" not in said
    assert "This machine computes for 7 to 16 min (training 10, answers 1.0)." in " ".join(said.split())


def test_what_a_service_computes_is_not_timed() -> None:
    assert "computes" not in plan_text(replace(PLAN, work=PLAN.work[:3]))


def test_what_the_rows_can_show_is_told_for_each_score() -> None:
    said = plan_text(PLAN)
    assert "200  intent  not known before a first run" in said
    assert "200  valid   3.1 points, by the spread of run 20261121-q" in said


def test_the_chance_of_go_stands_below_with_what_it_rests_on() -> None:
    target = AssumedGate("test_intent", "support", "intent", Role.TARGET, Kind.BINARY, 0.0, 200, 0.3, 0.1)
    guards = [
        AssumedGate(f"test_{at}", "support", "valid", Role.GUARD, Kind.BINARY, -0.05, 200, 0.1, 0.0)
        for at in range(3)
    ]
    names = ("test_intent", "test_0", "test_1", "test_2")
    planned = PlannedDecision(("qlora@400", "few"), forecast_go([target, *guards]), planned=names)
    said = " ".join(plan_text(replace(PLAN, decisions=(planned,))).split())
    assert said.endswith(
        "qlora@400 and few: GO about 27% of the time if truly better by 10 points on intent and nothing lost"
        " on the guards; guard test_0 (5 points) costs most (39% without it); 80% takes about 420 rows."
        " Planning values, for no run has seen these rows: rows differ: 30% on targets and 10% on guards."
        " Gates are taken as independent: the least, where they rise and fall together."
    )
    elsewhere = replace(guards[0], suite="retention", n=100)
    seen = PlannedDecision(("few",), forecast_go([target, elsewhere]), ("20261121-q",), level_of=2)
    said = " ".join(plan_text(replace(PLAN, decisions=(seen,))).split())
    assert "80% takes about 540 rows of support and 270 of retention. Spread and gains as in run" in said
    assert "Each gate at 5%, the strictest level among 2 candidates." in said


amounts = st.floats(0, 1e7)
# wide, zero-width, combining and control characters, beside whatever st.text finds
texts = st.one_of(st.text(), st.text("0 -⺀𠀀界👩❤\ufe0f\u0301\u200b\u200d\U000e0000\x08\x1b\x1f\n\t"))
bills = st.builds(
    CostLine,
    purpose=st.sampled_from(["training", "answers", "judging"]),
    model=texts.filter(bool),
    is_tuned=st.booleans(),
    price=st.sampled_from([None, BASE, TUNED]),
    usd=st.builds(Usd, amounts, st.one_of(st.none(), amounts)),
    unbounded=texts,
)
works = st.builds(
    Work,
    label=texts.filter(bool),
    is_hosted=st.booleans(),
    trainings=st.one_of(
        st.none(), st.builds(Trainings, *[st.integers(0, 10**6)] * 4, amounts, st.one_of(st.none(), amounts))
    ),
    calls=st.builds(CallCount, *[st.integers(0, 10**6)] * 3, st.integers(0, 10**9), st.integers(0, 10**5)),
    bills=st.lists(bills, max_size=2).map(tuple),
)


@given(st.lists(works, max_size=4), texts, st.one_of(st.none(), amounts))
def test_nothing_is_wider_than_the_terminal_or_steers_it(
    work: list[Work], problem: str, max_usd: float | None
) -> None:
    said = plan_text(Plan(tuple(work), (), max_usd=max_usd, unready=(problem,)))
    assert max(map(cell_len, said.split("\n"))) <= 100
    assert not {"\x08", "\x1b", "\x1f", "\t"} & {*said}


def test_wide_characters_are_folded_at_the_cells_that_they_take() -> None:
    label = "0000000000\x1f\x1f\x1f\x08⺀𠀀\U000e0000"
    said = plan_text(Plan((Work(label, False, None, CallCount(1, 0)),), (), unready=("界" * 130,)))
    assert max(map(cell_len, said.split("\n"))) == 100
    assert said.count("界") == 130


def test_what_labels_would_bring_is_one_table_for_judges_of_which_the_same_is_known() -> None:
    known = Rate(0.6, 0.4, 0.8, 100)
    labels = (
        PlannedLabels("support", "summary", 150, known),
        PlannedLabels("support", "tone", 150, known),
        PlannedLabels("other", "tone", 150, correlation=0.8, spread=0.4, earlier="run-1"),
    )
    said = plan_text(replace(PLAN, labels=labels)).splitlines()
    assert any("summary (suite support), tone (suite support)" in line for line in said)
    assert sum(line.startswith("rows labelled") for line in said) == 2
    assert [line.split()[0] for line in said if "±" in line] == ["25", "50", "100", "150"] * 2
    assert max(map(len, said)) <= 100
    assert "in run run-1" in " ".join(said)


def test_an_endpoint_by_the_hour_and_a_price_of_long_ago_are_said() -> None:
    price = Price("8b (tuned)", 0.0, 0.0, 0.5, "a page", "2026-05", None, hosting_usd_per_hour=8.0)
    work = (Work("by-hour", True, None, CallCount(1, 0), (CostLine("answers", "8b", True, price, Usd()),)),)
    said = " ".join(plan_text(Plan(work, (), today=date(2026, 11, 29))).split())
    assert "costs $8.00 an hour while it is up, asked or not: not in these dollars" in said
    assert "The price of 8b (tuned) was read on 2026-05 (a page), more than 90 days ago" in said
    assert "an hour date" in said
    assert "an hour" not in plan_text(PLAN)
