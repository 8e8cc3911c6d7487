"""A plan's high end is never passed, and its low end never lies above it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planned_project import HOSTED, Project

from harness import Prompted
from harness.decision.plan import Usd, total
from harness.models.ledger import Ledger, Spending
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.records import Message, Price
from harness.run.plan_costs import Asking, Costs, Payee
from harness.run.planning import make_plan
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai, twin_stats
from harness.testing.fake_openai.backend import Question

usd = st.floats(0, 100)
ranges = st.builds(
    lambda low, more: Usd(low, None if more is None else low + more), usd, st.one_of(st.none(), usd)
)
texts = st.text(st.characters(codec="utf-8"), max_size=80)
prices = st.builds(
    Price,
    model=st.just("m"),
    input_usd_per_mtok=usd,
    output_usd_per_mtok=usd,
    training_usd_per_mtok=st.none(),
    source=st.just("a test"),
    date=st.none(),
    cached_input_usd_per_mtok=st.one_of(st.none(), usd),
)


@given(st.lists(ranges, max_size=8))
def test_the_low_end_of_a_sum_is_never_above_its_high_end(found: list[Usd]) -> None:
    whole = total(found)
    assert whole.high is None or whole.low <= whole.high
    assert (whole.high is None) == any(one.high is None for one in found)


@settings(deadline=None, max_examples=25)  # each call reads an encoding
@given(
    model=st.sampled_from(["gpt-4o-mini", "gpt-3.5-turbo-0125", "qwen3-4b", "ft:gpt-4o:team::1"]),
    price=prices,
    asked=st.lists(texts, min_size=1, max_size=5),
    references=st.lists(texts, min_size=1, max_size=5),
    longest=st.integers(1, 50),
    batched=st.booleans(),
    data=st.data(),
)
def test_no_calls_within_their_bounds_cost_more_than_was_planned(
    model: str,
    price: Price,
    asked: list[str],
    references: list[str],
    longest: int,
    batched: bool,
    data: st.DataObject,
) -> None:
    prompts = [Prompt(str(k), (Message("user", text),)) for k, text in enumerate(asked)]
    base, is_tuned = (model.split(":")[1], True) if model.startswith("ft:") else (model, False)
    costs = Costs({(base, is_tuned): price}, "economics.toml")
    asking = Asking(model, prompts, references, longest)
    bill, _ = costs.answers(Payee(base, is_tuned, batched), [asking])
    assert bill.usd.high is not None
    assert bill.usd.low <= bill.usd.high * (1 + 1e-12)

    spec = RemoteModel(model, "http://127.0.0.1:1/v1", profile="twin", batch=batched)
    ledger = Ledger(bill.usd.high + 1e-9)  # a cap of the high end is never in the way
    opened = spec.open(Spending(model, price, ledger))
    for prompt in prompts:
        most = opened.wire.request(prompt, Decoding(max_new_tokens=longest)).most_usd
        assert most is not None
        counted = costs.tokens(base, model).of_prompt(prompt.messages)[0]
        cached = data.draw(st.integers(0, counted))
        written = data.draw(st.integers(0, longest))
        spent = Spending(model, price, ledger).cost(counted, written, cached, batched=batched)
        ledger.reserve(most).settle(spent)
    assert ledger.spent_usd <= bill.usd.high + 1e-9


# --------------------------------------------------------------------------- a whole run, at the twin
TWINS = """
requests_per_day = 1
[prices."{model}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
[prices."{model}".tuned]
training_usd_per_mtok = 3.0
input_usd_per_mtok = 10.0
output_usd_per_mtok = 20.0
"""


def talkative(question: Question) -> str:
    return "yes " * (1 + sum(map(ord, question.last)) % 7)


@pytest.mark.parametrize("batch", [False, True])
def test_a_run_spends_no_more_than_its_plan_and_leaves_nothing_to_pay(tmp_path: Path, batch: bool) -> None:
    project = Project(tmp_path)
    project.write("suites/economics.toml", TWINS.format(model=CHAT))
    with running_fake_openai(backend=ScriptedBackend(talkative)) as url:
        asked = RemoteModel(CHAT, url, profile="twin", batch=batch)
        project.candidates = {
            "hosted": replace(HOSTED, base=CHAT, base_url=url),
            "asked": Prompted(model=asked, decoding=Decoding(max_new_tokens=5)),
        }
        before = twin_stats(url)
        plan = make_plan(project.run(sizes=(10, 12), seeds=(0, 1)))
        assert twin_stats(url) == before
        assert plan.usd().high is not None
        run = project.run(plan.usd().high + 1e-9, sizes=(10, 12), seeds=(0, 1))  # type: ignore[operator]
        run.check()
        for entry in run.selection.arms():
            for trial in run.trials_of(entry, "support"):
                assert all(answer.failure is None for answer in trial.answers)
        for purpose in ("training", "answers"):
            high = plan.usd(purpose).high
            assert high is not None
            spent = sum(line.usd for line in run.ledger.lines() if line.purpose == purpose)
            assert 0 < spent <= high
        after = make_plan(project.run(sizes=(10, 12), seeds=(0, 1)))
    assert after.usd() == Usd()
    assert [one.calls.new for one in after.work] == [0] * len(after.work)
    assert sum(one.trainings.kept for one in after.work if one.trainings) == 4


@pytest.mark.parametrize("batch", [False, True])
def test_looking_whether_a_model_is_the_same_is_in_the_plan_and_stays_below_it(
    tmp_path: Path, batch: bool
) -> None:
    project = Project(tmp_path)
    project.write("suites/economics.toml", TWINS.format(model="gpt-4o-mini"))
    with running_fake_openai(backend=ScriptedBackend(talkative), aliases=["gpt-4o-mini"]) as url:
        asked = RemoteModel("gpt-4o-mini", url, profile="twin", batch=batch)
        project.candidates = {"asked": Prompted(model=asked, decoding=Decoding(max_new_tokens=5))}
        first = project.run(1.0)
        first.trials_of(next(arm for arm in first.selection.arms() if arm.name == "asked"), "support")
        first.store.close()
        plan = make_plan(project.run())
        assert sum(one.calls.probes for one in plan.work) == 6, "its own baseline is the same model"
        high = plan.usd("answers").high
        assert high is not None
        run = project.run(high + 1e-9)
        run.trials_of(next(arm for arm in run.selection.arms() if arm.name == "asked"), "support")
        assert 0 < sum(line.usd for line in run.ledger.lines()) <= high
        assert run.freshness.notes
