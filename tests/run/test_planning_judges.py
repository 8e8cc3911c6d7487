"""What a rubric's model would be asked, counted before there is an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_project import HOSTED, MODEL, NOWHERE, Project

from harness.data.hosted import text_counter
from harness.decision.plan import Usd, Work
from harness.models.ledger import prompt_bound
from harness.models.remote import RemoteModel
from harness.run.plan_costs import Costs, JudgedTrial, Tokens
from harness.run.planning import make_plan
from harness.run.session import Session
from harness.scoring.judges import Judge
from harness.scoring.labels import Label
from harness.scoring.pair_labels import PairLabel
from harness.scoring.pair_prompt import PairCase, as_pair_prompt
from harness.scoring.pairwise import Pairwise
from harness.scoring.panel import Panel
from harness.scoring.rubric import Rubric
from harness.scoring.rubric_prompt import Case, as_prompt
from harness.scoring.suite import SuiteScore

LABELS = tuple(Label(f"message {k}", "yes", f"reply {k}", good=k % 2 == 0) for k in range(24))
TOKENS = Tokens(MODEL, MODEL)
GRADER = RemoteModel(MODEL, NOWHERE, profile="twin")
RUBRIC = Rubric(GRADER, "It says yes.", labels="labels.jsonl", max_tokens=60, known=LABELS)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, {"hosted": HOSTED})


def judged(run: Session, rubric: Judge = RUBRIC) -> Session:
    """The run with a rubric in each suite."""
    for name, bound in run.suites.items():
        run.suites[name] = replace(bound, scores=(*bound.scores, cast(SuiteScore, rubric)))
    return run


def judges(run: Session) -> list[Work]:
    return [one for one in make_plan(run).work if one.label.startswith("judge ")]


def test_a_judge_is_asked_its_labels_once_and_every_row_of_every_trial(project: Project) -> None:
    (judge,) = judges(judged(project.run()))
    assert judge.label == "judge support/rubric"
    assert judge.calls.new == len(LABELS) + 10 * 2  # the candidate and its baseline
    assert judge.calls.most_answer_tokens == 60
    assert judge.trainings is None


def test_labels_are_asked_once_a_run_however_many_suites_there_are(project: Project) -> None:
    project.suite("second")
    both = judges(judged(project.run()))
    assert sorted(one.calls.new for one in both) == [20, len(LABELS) + 20]


def test_a_row_without_a_reference_to_judge_by_is_not_put_to_the_judge(project: Project) -> None:
    in_json = replace(RUBRIC, field="summary")  # the references are no JSON
    (judge,) = judges(judged(project.run(), in_json))
    assert judge.calls.new == len(LABELS)


def test_the_dollars_of_a_judge_are_those_of_its_prompts(project: Project) -> None:
    run = judged(project.run())
    (judge,) = judges(run)
    (bill,) = judge.bills
    count = text_counter("o200k_base")

    def prompt_tokens(case: Case) -> int:
        turns = as_prompt(RUBRIC.instructions, case)
        return 3 + sum(4 + count(turn.content) for turn in turns)

    labels = sum(prompt_tokens(Case(one.message, one.reference, one.reply)) for one in LABELS)
    rows = sum(prompt_tokens(Case(f"support {k}?", "yes", "")) + 1 for k in range(10))
    read, written = labels + 2 * rows, (24 + 20) * 40
    assert judge.calls.prompt_tokens == read
    assert bill.purpose == "judging"
    assert bill.usd.low == pytest.approx((read * 1.0 + written * 2.0) / 1e6)
    assert bill.usd.high is not None
    assert (read * 1.0 + (24 + 20) * 60 * 2.0) / 1e6 < bill.usd.high < 2.5 * bill.usd.low


def test_answers_that_are_kept_may_be_judged_already(project: Project) -> None:
    (bound,) = judged(project.run()).suites.values()
    costs = Costs(*project.run().prices())
    (rubric,) = bound.judges
    estimate = rubric.estimate(bound.rows)
    assert estimate is not None
    pinned = replace(estimate, model=replace(GRADER, version="2026-11"))
    fresh, kept = (costs.judgments(pinned, [JudgedTrial(new, 8)], labels=True)[0].usd for new in (1.0, 0.0))
    assert kept == Usd(0.0, fresh.high)
    # a model that may change behind its name is asked for its anchors in every run
    asked = costs.judgments(estimate, [JudgedTrial(0.0, 8)], labels=True, anchors=10)[0].usd
    assert 0 < asked.low < fresh.low
    assert asked.high == fresh.high
    assert fresh.low > 0


def test_a_judge_by_the_batch_costs_half(project: Project) -> None:
    whole, half = (
        judges(judged(project.run(), rubric))[0].bills[0]
        for rubric in (RUBRIC, replace(RUBRIC, model=replace(GRADER, batch=True)))
    )
    assert half.usd.low == pytest.approx(whole.usd.low / 2)
    assert half.usd.high == pytest.approx((whole.usd.high or 0) / 2)


def test_a_judge_without_a_price_is_named(project: Project) -> None:
    nameless = replace(RUBRIC, model=replace(GRADER, model="gpt-9"))
    plan = make_plan(judged(project.run(max_usd=5.0), nameless))
    assert [(bill.purpose, bill.model) for bill in plan.unpriced] == [("judging", "gpt-9")]
    assert plan.standing == "refused"


PAIRS = (PairLabel("m", "", "one", "two", "first"), PairLabel("m", "ref", "one", "two", "second"))
PAIRWISE = Pairwise(GRADER, "It is better.", labels="pairs.jsonl", max_tokens=60, known=PAIRS)


def test_a_judge_of_pairs_asks_both_orders_of_labels_and_of_each_candidates_rows(project: Project) -> None:
    (judge,) = judges(judged(project.run(), PAIRWISE))
    assert judge.calls.new == 2 * len(PAIRS) + 2 * 10  # the baseline is compared with itself nowhere


def test_a_panel_has_a_line_for_each_model_that_it_asks(project: Project) -> None:
    other = replace(RUBRIC, model=replace(GRADER, model="gpt-4o"), name="other")
    lines = judges(judged(project.run(), Panel((RUBRIC, other))))
    assert [(one.label, one.calls.new) for one in lines] == [
        (f"judge support/panel, {name}", len(LABELS) + 20) for name in (MODEL, "gpt-4o")
    ]


@settings(deadline=None)
@given(first=st.text(st.characters(codec="utf-8"), max_size=99), second=st.text(max_size=99))
def test_no_two_answers_within_their_limit_make_a_prompt_beyond_the_bound(first: str, second: str) -> None:
    second = second.encode("utf-8", "replace").decode()
    limit = max(TOKENS.of_text(first), TOKENS.of_text(second))
    case = PairCase("m", "yes", "", "")
    prompt = as_pair_prompt(PAIRWISE.instructions, case)
    _, most = TOKENS.of_judgment(PAIRWISE.estimate([]), prompt, case.reference, JudgedTrial(1.0, limit))
    sent = as_pair_prompt(PAIRWISE.instructions, replace(case, first=first, second=second))
    assert prompt_bound(MODEL)(sent) <= most


@settings(deadline=None)  # the first call reads an encoding
@given(answer=st.text(st.characters(codec="utf-8"), max_size=200), message=st.text(max_size=20))
def test_no_answer_within_its_limit_makes_a_prompt_beyond_the_bound(answer: str, message: str) -> None:
    limit = TOKENS.of_text(answer)
    case = Case(message.encode("utf-8", "replace").decode(), "yes", "")
    estimate = RUBRIC.estimate([])
    prompt = as_prompt(RUBRIC.instructions, case)
    expected, most = TOKENS.of_judgment(estimate, prompt, case.reference, JudgedTrial(1.0, limit))
    sent = as_prompt(RUBRIC.instructions, replace(case, answer=answer))
    assert prompt_bound(MODEL)(sent) <= most
    assert expected <= most
