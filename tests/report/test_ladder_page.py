"""What a reader of a ladder's report learns first."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from ladder_run import FIVE, Outcome, Step, ladder_run
from sample_run import ECONOMICS, sample_run

from harness.records import Correction, RunRecord
from harness.report.html import render_html
from harness.report.ladder import ladder_block
from harness.report.markdown import render_markdown
from harness.report.runjson import dump_run, load_run
from harness.report.terminal import summary
from harness.report.view_models import LadderBlock

STOPPED = (*FIVE[:2], *(replace(step, outcome="not tried", usd=None) for step in FIVE[2:]))


def block(record: RunRecord) -> LadderBlock:
    made = ladder_block(record)
    assert made is not None
    return made


def facts(record: RunRecord) -> dict[str, tuple[str, str]]:
    return {fact.name: (fact.value, fact.words) for fact in block(record).facts}


def test_the_first_things_said_are_the_rung_what_the_next_adds_and_what_both_cost() -> None:
    said = facts(ladder_run())
    assert block(ladder_run()).verdict == "few-shot-5"
    assert said["quality"] == (
        "+17.0 [+12.5, +22.1], n = 200",
        "support / intent (the first target), against prompt",
    )
    assert said["the next rung would add"] == ("+4.0 [−0.2, +8.4], n = 200", "retrieval")
    assert said["per 1,000 requests"] == ("$0.31", "retrieval: $0.42")
    assert said["latency, mean"] == ("260 ms", "retrieval: 390 ms")
    assert "for less a request: qlora-r16@400." in block(ladder_run()).means


def test_a_rung_that_was_not_tried_adds_no_number() -> None:
    made = ladder_run(STOPPED, "first")
    assert facts(made)["the next rung would add"] == ("not tried", "retrieval")
    assert facts(made)["latency, mean"] == ("260 ms", "")  # of retrieval nothing is known
    assert facts(made)["not spent"] == ("$12.50", "at least, on 3 rungs not tried")
    assert block(made).table.rows[2][1:6] == ("not tried", "–", "not tried", "–", "–")
    assert [mark.rank for mark in block(made).charts[0].marks] == [1, 2]


def test_the_efficient_rungs_are_joined_on_a_logarithmic_axis_of_dollars() -> None:
    cost, latency = block(ladder_run()).charts
    assert cost.line == [4, 5]
    assert cost.is_log
    assert not latency.is_log
    assert "rung 4: 0.050, +35.0 points" in cost.description


def test_without_prices_cost_is_tokens_and_with_few_of_them_the_others_are_named() -> None:
    none = block(ladder_run([replace(step, usd=None) for step in FIVE])).charts[0]
    assert none.x_label.startswith("tokens")
    assert "models of one size only" in none.note
    some = block(ladder_run([replace(s, usd=None) if s.size else s for s in FIVE])).charts[0]
    assert some.note == "Not in this picture, since nothing prices them: 4."


def test_the_crossover_says_from_how_many_requests_a_day_on_and_at_which_difference() -> None:
    made = replace(ladder_run(), economics=(replace(ECONOMICS, horizon_days=90.0),))
    crossings = block(made).crossovers
    assert crossings is not None
    rows = {row[0]: row for row in crossings.rows}
    # $6.40 / ($0.00410 - $0.00005) / 90 days
    assert rows["qlora-r16@400 against large-model"][4] == "18 requests a day"
    assert rows["qlora-r16@400 against large-model"][1] == "−5.5 [−9.5, −2.0], n = 200"
    dear = [replace(step, usd=9.0) if step.size else step for step in FIVE]
    never = block(ladder_run(dear)).crossovers
    assert never is not None
    assert {row[4] for row in never.rows} == {"never: it costs as much a request, or more"}


def test_a_difference_that_labels_corrected_is_shown_as_corrected() -> None:
    made = ladder_run()
    corrected = replace(
        made.gates[0],
        comparison=replace(made.gates[0].comparison, difference=0.02, low=-0.01, high=0.05),  # type: ignore[type-var]
        correction=Correction(200, 60, 0.5, 0.02, 3.0, {"ada": 60}),
    )
    rows = block(replace(made, gates=(corrected, *made.gates[1:]))).table.rows
    assert rows[1][2] == "+2.0 [−1.0, +5.0], n = 200"


EDGES = {
    "one": FIVE[:1],
    "all alike": [replace(step, usd=0.0, ms=300.0, share=0.6) for step in FIVE],
    "nothing known": [replace(step, usd=None, ms=None, training_usd=None) for step in FIVE],
    "twenty": [Step(f"c{i}", 0.5 + 0.02 * i, "undecided", 0.01 * 2**i, None) for i in range(20)],
    "odd names": [replace(step, name=f"<b>|`{step.name}` " + "x" * 90, usd=None) for step in FIVE],
}


@pytest.mark.parametrize("case", EDGES)
def test_every_ladder_is_shown_in_all_reports(case: str) -> None:
    made = ladder_run(EDGES[case], n_rows=20)
    page, text, end = render_html(made), render_markdown(made), summary(made, 80, False)
    assert "<b>|" not in page
    assert page.count('-desc">Quality in points') == len(block(made).charts)
    assert len(block(made).table.rows) == len(EDGES[case])
    for told in (text, end):
        assert "nan" not in told
        assert "None" not in told
        assert ("evidence points to" in told) is (told is text)
    assert "What the evidence points to" in page
    assert load_run(dump_run(made), "run.json") == made


@pytest.mark.parametrize(
    ("outcomes", "verdict", "tone"),
    [
        (["fails"] * 5, "No rung holds", "bad"),
        (["fails", "undecided", "fails", "fails", "fails"], "No rung holds so far", "unsure"),
        (["holds"] * 5, "prompt", "good"),
    ],
)
def test_the_colour_says_whether_more_evidence_could_change_it(
    outcomes: list[Outcome], verdict: str, tone: str
) -> None:
    steps = [replace(step, outcome=outcome) for step, outcome in zip(FIVE, outcomes, strict=True)]
    made = block(ladder_run(steps))
    assert (made.verdict, made.tone) == (verdict, tone)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (
            "fails fails fails holds",
            "Fine-tuning was worth it: qlora-r16@400 holds, and nothing before",
        ),
        ("fails nottried nottried holds", "qlora-r16@400 holds; nothing else without fine-tuning was tried"),
        ("fails holds nottried nottried", "Fine-tuning is not needed: few-shot-5 holds without it."),
        ("fails fails fails fails", "Fine-tuning was not worth it: qlora-r16@400 does not hold."),
        ("fails fails fails undecided", "stays open: qlora-r16@400 undecided."),
        (
            "fails fails undecided nottried",
            "Fine-tuning was not tried. 3 of 4 rungs were tried, not qlora",
        ),
        ("fails fails fails", "3 of 3 rungs were tried."),
    ],
)
def test_the_first_thing_said_is_whether_the_fine_tune_was_worth_it(outcomes: str, said: str) -> None:
    each = [cast("Outcome", outcome.replace("nott", "not t")) for outcome in outcomes.split()]
    steps = [replace(step, outcome=outcome) for step, outcome in zip(FIVE, each, strict=False)]
    found = block(ladder_run(steps, "first")).means
    assert said in found
    assert found.index(said.split()[0]) == 0 or "stays open" in said


def test_a_run_without_a_ladder_has_none() -> None:
    assert ladder_block(sample_run(n_rows=20)) is None
