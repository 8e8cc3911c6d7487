"""What a plan counts, with dollars worked out by hand.

A row's question ("support 3?") has 4 tokens, its answer ("yes") 1. A message costs 4 more, the reply 3: a
prompt has 11 tokens, a training row 16. At most, a prompt counts ceil(11 × 1.02) + 8 = 20.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from planned_project import EIGHT, HOSTED, MODEL, NOWHERE, Project

from harness import FewShot, Prompted
from harness.decision.plan import CallCount, CostLine, Plan, Usd, Work
from harness.errors import DataError
from harness.models.remote import RemoteModel
from harness.run.planning import make_plan
from harness.testing import Scripted

ASKED = RemoteModel(MODEL, NOWHERE, profile="twin")
PROMPTED = Prompted(model=ASKED, decoding=EIGHT)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, {"hosted": HOSTED})


def near(low: float, high: float | None) -> object:
    return Usd(pytest.approx(low), None if high is None else pytest.approx(high))  # type: ignore[arg-type]


def by_label(plan: Plan) -> dict[str, Work]:
    return {one.label: one for one in plan.work}


# --------------------------------------------------------------------------- tokens and dollars
def test_a_job_and_its_calls_have_the_dollars_of_their_tokens(project: Project) -> None:
    plan = make_plan(project.run())
    tuned = by_label(plan)["hosted@12"]
    assert tuned.trainings is not None
    assert (tuned.trainings.rows, tuned.trainings.new, tuned.trainings.kept) == (12, 1, 0)
    assert tuned.trainings.tokens == 12 * 16 * 2
    assert tuned.trainings.most_tokens == pytest.approx((12 * 16 * 1.02 + 12 * 8) * 2)
    assert (tuned.calls.new, tuned.calls.kept) == (10, 0)
    assert (tuned.calls.prompt_tokens, tuned.calls.most_answer_tokens) == (10 * 11, 8)
    training, answers = tuned.bills
    assert training.usd == near(384 * 3e-6, 583.68 * 3e-6)
    assert answers.usd == near(10 * (11 * 10e-6 + 1 * 20e-6), 10 * (20 * 10e-6 + 8 * 20e-6))


def test_the_baseline_is_paid_at_the_bases_price(project: Project) -> None:
    (answers,) = by_label(make_plan(project.run()))[f"prompted-{MODEL}"].bills
    assert answers.usd == near(10 * (11 * 1e-6 + 1 * 2e-6), 10 * (20 * 1e-6 + 8 * 2e-6))
    assert not answers.is_tuned


def test_the_whole_is_the_sum_of_its_parts(project: Project) -> None:
    plan = make_plan(project.run())
    assert plan.usd() == near(0.001152 + 0.0013 + 0.00013, 0.00175104 + 0.0036 + 0.00036)
    assert plan.usd("training") == near(0.001152, 0.00175104)
    assert plan.usd("judging") == Usd()


def test_a_prompt_is_sent_with_every_row_and_a_fine_tune_has_none(project: Project) -> None:
    plan = by_label(make_plan(project.run(prompt="yes")))
    assert plan[f"prompted-{MODEL}"].calls.prompt_tokens == 10 * (11 + 4 + 1)
    assert plan["hosted@12"].calls.prompt_tokens == 10 * 11


def test_examples_in_the_prompt_are_paid_with_every_row(project: Project) -> None:
    project.candidates["few"] = FewShot(model=ASKED, decoding=EIGHT, train="train.jsonl", shots=3)
    few = by_label(make_plan(project.run(prompt="yes")))["few"]
    assert few.calls.prompt_tokens == 10 * (11 + 5 + 3 * (8 + 5))


def test_a_batch_costs_half(project: Project) -> None:
    project.candidates = {"batched": Prompted(model=replace(ASKED, batch=True), decoding=EIGHT)}
    (bill,) = make_plan(project.run()).work[0].bills  # its baseline is the same, and stands first
    assert bill.usd == near(10 * 13e-6 / 2, 10 * 36e-6 / 2)
    assert bill.price is not None
    assert "batch, half price" in bill.price.source


def test_a_short_answer_is_as_long_as_the_references_and_no_longer_than_may_be(project: Project) -> None:
    project.suite("support", answer="yes " * 50)
    (answers,) = by_label(make_plan(project.run()))[f"prompted-{MODEL}"].bills
    assert answers.usd.low == pytest.approx(10 * (11 * 1e-6 + 8 * 2e-6))


def test_each_size_and_seed_is_a_job_of_its_own(project: Project) -> None:
    plan = by_label(make_plan(project.run(sizes=(10, 12), seeds=(0, 1))))
    ten, twelve = plan["hosted@10"], plan["hosted@12"]
    assert ten.trainings is not None
    assert twelve.trainings is not None
    assert (ten.trainings.rows, ten.trainings.new, ten.calls.new) == (10, 2, 20)
    assert twelve.trainings.tokens == 2 * 384
    assert twelve.bills[0].usd == near(2 * 384 * 3e-6, 2 * 583.68 * 3e-6)


def test_a_deployment_is_bounded_by_bytes_for_its_name_says_no_encoding(project: Project) -> None:
    azure = replace(
        HOSTED, profile="azure", api_key_env="NO_SUCH_KEY", deployment="mine-{size}", base_deployment="base"
    )
    project.candidates = {"hosted": azure}
    answers = by_label(make_plan(project.run()))["hosted@12"].bills[1]
    bytes_at_most = len("support 3?") + 16 + 64
    assert answers.usd == near(10 * 130e-6, 10 * (bytes_at_most * 10e-6 + 8 * 20e-6))


# --------------------------------------------------------------------------- what is there already
def test_what_is_asked_twice_is_paid_once(project: Project) -> None:
    project.suite("support", ["yes?", "no?", "yes?"])
    baseline = by_label(make_plan(project.run()))[f"prompted-{MODEL}"]
    assert baseline.calls.new == 2
    assert baseline.bills[0].usd.low == pytest.approx(2 * (9 * 1e-6 + 2e-6))


def test_candidates_that_need_one_job_or_one_answer_pay_for_it_once(project: Project) -> None:
    project.candidates["other"] = replace(HOSTED, checkpoint=3)
    project.candidates["asked"] = PROMPTED
    plan = by_label(make_plan(project.run()))
    other, asked = plan["other@12"], plan["asked"]
    assert other.trainings is not None
    assert (other.trainings.new, other.trainings.kept, other.trainings.shared) == (0, 0, 1)
    assert other.calls.new == 10  # another checkpoint answers anew
    assert (asked.calls.new, asked.calls.shared) == (0, 10)
    assert asked.usd == Usd()


def test_a_script_costs_nothing_and_has_no_dollars(project: Project) -> None:
    project.candidates = {"script": Scripted(train="train.jsonl", reply=lambda prompt, size: "yes")}
    project.candidates["old"] = Scripted(train="train.jsonl", reply=lambda prompt, size: "no", base="old")
    plan = make_plan(project.run(baseline="old", candidates=("script",)))
    assert plan.bills == ()
    assert [one.usd for one in plan.work] == [None, None]
    assert plan.standing is None


# --------------------------------------------------------------------------- prices
def test_a_model_without_a_price_is_named_and_is_no_zero(project: Project) -> None:
    project.candidates = {"hosted": replace(HOSTED, base="gpt-9")}
    plan = make_plan(project.run())
    assert {(bill.purpose, bill.model, bill.is_tuned) for bill in plan.unpriced} == {
        ("answers", "gpt-9", False),
        ("training", "gpt-9", True),
        ("answers", "gpt-9", True),
    }
    assert [one.usd for one in plan.work] == [None, None]
    assert plan.prices_file == "suites/economics.toml"
    assert make_plan(project.run(max_usd=100.0)).standing == "refused"


def test_tuning_that_is_not_sold_has_no_price_though_its_answers_have(project: Project) -> None:
    text = (project.root / "suites/economics.toml").read_text(encoding="utf-8")
    project.write("suites/economics.toml", text.replace("training_usd_per_mtok = 3.0\n", ""))
    plan = make_plan(project.run())
    assert [(bill.purpose, bill.model) for bill in plan.unpriced] == [("training", MODEL)]
    assert by_label(plan)["hosted@12"].usd == near(0.0013, 0.0036)


# --------------------------------------------------------------------------- the cap
@pytest.mark.parametrize(
    ("max_usd", "standing"),
    [(None, None), (0.006, "fits"), (0.005, "may be reached"), (0.002, "will be reached")],
)
def test_a_plan_says_how_it_stands_to_the_cap(
    project: Project, max_usd: float | None, standing: str | None
) -> None:
    assert make_plan(project.run(max_usd)).standing == standing


def test_epochs_left_to_the_service_leave_the_high_end_open(project: Project) -> None:
    project.candidates = {"hosted": replace(HOSTED, epochs="auto")}
    plan = make_plan(project.run())
    assert plan.usd() == near(8 * 12 * 16 * 3e-6 + 0.0013 + 0.00013, None)  # 100 // 12 epochs
    assert plan.unbounded == ('hosted has epochs="auto"; write how many: epochs=3',)
    assert make_plan(project.run(max_usd=1.0)).standing == "refused"


# --------------------------------------------------------------------------- nothing is sent
def test_a_plan_needs_no_key_sends_nothing_and_says_that_the_key_is_missing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a plan sent something")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    openai = replace(HOSTED, base_url="https://api.openai.com/v1", profile=None)
    project.candidates = {"hosted": openai, "auto": replace(openai, epochs="auto")}
    for max_usd in (None, 1.0):
        plan = make_plan(project.run(max_usd))
        keys = [line for line in plan.unready if "OPENAI_API_KEY" in line]
        assert len(keys) == 1
        assert plan.usd().low > 0


def test_rows_that_the_service_would_refuse_are_an_error_with_and_without_a_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    project.candidates = {"hosted": replace(HOSTED, base_url="https://api.openai.com/v1", profile=None)}
    with pytest.raises(DataError, match="5 training rows; this service takes no fewer than 10"):
        make_plan(project.run(sizes=(5,)))


# --------------------------------------------------------------------------- sums
def test_a_sum_without_a_bound_has_none() -> None:
    assert Usd(1.0, 2.0) + Usd(0.5, None) == Usd(1.5, None)


def test_what_has_no_price_is_not_in_the_sum() -> None:
    bills = (CostLine("answers", "gpt-9", False, None, Usd(5.0, 5.0)),)
    plan = Plan((Work("x", True, None, CallCount(0, 0), bills),), ())
    assert plan.usd() == Usd()
    assert plan.unpriced == bills
