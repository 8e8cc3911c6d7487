"""A job's money: set aside before it is begun, never twice, and settled by what the service billed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hosted_builders import (
    BASE,
    FakeService,
    FakeTuning,
    hooked,
    provider_of,
    tuned,
    variant,
)

from harness.candidates.lab import Lab
from harness.decision.prices import price_of
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.ledger import Ledger, Money, Spending
from harness.models.progress import Silent
from harness.records import Price
from harness.store.adapters import AdapterStore
from harness.training.hosted.budget import JobBudget, TokenBill
from harness.training.hosted.jobs import RETRY
from harness.training.hosted.provider import (
    JobFailure,
    OutcomeUnknown,
    Quote,
    RateLimited,
    RequestRejected,
    TuningProvider,
)

SPEC = FakeTuning(base=BASE, train="train.jsonl", base_url="http://127.0.0.1:1/v1", profile="twin")
AUTO = replace(SPEC, epochs="auto")
USD_A_TOKEN = (price_of(BASE, tuned=True).training_usd_per_mtok or 0) / 1e6


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}]
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"messages": turns, "id": str(k)}) for k in range(12)), encoding="utf-8"
    )
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def paid_from(lab: Lab, ledger: Ledger) -> Lab:
    """The lab of a new run, over the same store."""
    return Lab(lab.root, lab.adapters, Silent(), money=Money(ledger))


def prepared(spec: FakeTuning, lab: Lab, service: FakeService | TuningProvider, ledger: Ledger) -> None:
    provider = provider_of(service) if isinstance(service, FakeService) else service
    candidate = replace(spec, provider=provider)
    candidate.prepare(paid_from(lab, ledger), variant(candidate))


def preflighted(spec: FakeTuning, lab: Lab, service: FakeService, ledger: Ledger) -> None:
    candidate = replace(spec, provider=provider_of(service))
    candidate.preflight(paid_from(lab, ledger), variant(candidate))


def test_a_job_is_billed_what_the_service_says_once(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)
    for _ in range(2):
        prepared(SPEC, lab, service, ledger)
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)
    assert ledger.reserved_usd == 0


@pytest.mark.parametrize(
    ("per_mtok", "tokens", "usd", "spent"),
    [(None, 500, None, 0.4), (10.0, 500, None, 0.005), (10.0, 500, 0.3, 0.3), (None, None, None, 0.4)],
)
def test_a_job_with_a_quote_is_settled_by_the_service_its_tokens_or_the_quote(
    per_mtok: float | None, tokens: int | None, usd: float | None, spent: float
) -> None:
    ledger = Ledger(max_usd=1.0)
    price = Price("m", 1.0, 1.0, per_mtok, "a test", "2026-11-29")
    budget = JobBudget(Spending("m", price, ledger), TokenBill(1.0, None), "m")
    budget.reserve(quote=Quote(0.4))
    budget.submitting()
    budget.settle(tokens, usd)
    assert ledger.spent_usd == pytest.approx(spent)
    assert ledger.reserved_usd == 0


def test_a_job_that_could_pass_the_cap_is_not_begun_and_nothing_is_sent(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=0.0001)
    with pytest.raises(BudgetReached, match="missing: the tuning of gpt-4o-mini"):
        prepared(SPEC, lab, service, ledger)
    assert (service.jobs, service.files, ledger.spent_usd) == ({}, {}, 0)


def test_a_job_that_is_found_is_not_paid_again(lab: Lab, tmp_path: Path) -> None:
    service = FakeService()
    prepared(SPEC, lab, service, Ledger())
    clone = Lab(lab.root, AdapterStore(tmp_path / "another"), Silent())
    ledger = Ledger(max_usd=0.0)
    prepared(SPEC, clone, service, ledger)
    assert ledger.spent_usd == 0


def under_way(lab: Lab, spec: FakeTuning = SPEC, **changes: object) -> FakeService:
    """A service with the job of another machine, which has not ended."""
    service = FakeService(life=(*["running"] * 5, "succeeded"))
    job = provider_of(service).submit(spec.job(lab, variant(spec)).request, "file-0", None)
    service.change(job.id, status="running", **changes)
    return service


def test_a_job_under_way_that_is_found_falls_due_in_this_run(lab: Lab) -> None:
    ledger = Ledger(max_usd=1.0)
    prepared(SPEC, lab, under_way(lab), ledger)
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)
    assert ledger.reserved_usd == 0


def test_a_job_under_way_that_would_pass_the_cap_is_named_and_left_alone(lab: Lab) -> None:
    service, ledger = under_way(lab), Ledger(max_usd=0.0)
    with pytest.raises(BudgetReached, match="job ftjob-0 goes on at the service"):
        prepared(SPEC, lab, service, ledger)
    assert (len(service.jobs), service.jobs["ftjob-0"].status, ledger.spent_usd) == (1, "running", 0)


def test_a_job_under_way_is_bounded_by_the_epochs_that_it_says(lab: Lab) -> None:
    auto, ledger = replace(SPEC, epochs="auto"), Ledger(max_usd=1.0)
    with pytest.raises(UsageError, match=r"ftjob-0 .* is under way, begun with epochs='auto'"):
        prepared(auto, lab, under_way(lab, auto), ledger)
    said = under_way(lab, auto, hyperparameters={"n_epochs": 4})
    preflighted(auto, lab, said, ledger)
    prepared(auto, lab, said, ledger)
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)


def test_a_submission_whose_answer_was_lost_counts_as_spent(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)

    def hook(name: str, call: Callable[[], object]) -> object:
        if service.jobs:
            raise OutcomeUnknown("no network")
        result = call()
        if name == "submit":
            raise OutcomeUnknown("the connection broke")
        return result

    with pytest.raises(HostedTrainingError, match="A tuning job may have begun"):
        prepared(SPEC, lab, hooked(provider_of(service), hook), ledger)
    assert len(service.jobs) == 1
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2
    assert ledger.reserved_usd == 0


def test_a_refusal_after_a_submission_without_an_answer_does_not_free_its_money(lab: Lab) -> None:
    service, ledger = FakeService(lag=10**6), Ledger(max_usd=1.0)

    def hook(name: str, call: Callable[[], object]) -> object:
        if name == "submit":
            if service.jobs:
                raise RequestRejected("no", param="model")
            call()
            raise OutcomeUnknown("timed out")
        return call()

    with pytest.raises(HostedTrainingError):
        prepared(SPEC, lab, hooked(provider_of(service), hook), ledger)
    assert ledger.spent_usd > 0


def test_a_job_that_is_lost_from_sight_counts_as_spent(lab: Lab) -> None:
    service, ledger = FakeService(refuses={"jobs.retrieve": OutcomeUnknown("no network")}), Ledger(1.0)
    with pytest.raises(HostedTrainingError, match="ftjob-0 goes on there"):
        prepared(SPEC, lab, service, ledger)
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2


@pytest.mark.parametrize("call", ["jobs.create", "files.create"])
def test_a_service_that_stays_busy_has_begun_nothing_and_its_words_are_told(lab: Lab, call: str) -> None:
    busy = RateLimited("at most 3 active jobs", code="rate_limit_exceeded", param="model")
    service, ledger = FakeService(refuses={call: busy}), Ledger(max_usd=1.0)
    with pytest.raises(HostedTrainingError, match="nothing was begun") as caught:
        prepared(SPEC, lab, service, ledger)
    said = caught.value
    assert (said.code, said.param, said.message) == (
        "rate_limit_exceeded",
        "model",
        "at most 3 active jobs",
    )
    assert service.asked.count(call) == RETRY.throttled_attempts
    assert (ledger.spent_usd, ledger.reserved_usd) == (0, 0)


def test_epochs_left_to_the_service_are_refused_under_a_cap(lab: Lab) -> None:
    with pytest.raises(UsageError, match="epochs=3"):
        prepared(replace(SPEC, epochs="auto"), lab, FakeService(), Ledger(1.0))


def test_what_nothing_bounds_is_refused_under_a_cap_before_anything_is_begun(lab: Lab) -> None:
    service = FakeService()
    with pytest.raises(UsageError, match="epochs=3"):
        preflighted(AUTO, lab, service, Ledger(1.0))
    assert (service.jobs, service.files) == ({}, {})
    preflighted(AUTO, lab, service, Ledger())


def test_a_finished_job_in_the_store_passes_under_a_cap_whatever_its_epochs(lab: Lab) -> None:
    service = FakeService()
    prepared(AUTO, lab, service, Ledger())
    service.asked.clear()
    ledger = Ledger(max_usd=0.0)
    preflighted(AUTO, lab, service, ledger)
    prepared(AUTO, lab, service, ledger)
    assert (service.asked, ledger.spent_usd) == ([], 0)


def test_a_job_that_has_ended_at_the_service_passes_under_a_cap_whatever_its_epochs(
    lab: Lab,
) -> None:
    service = FakeService()
    tuned(AUTO.job(lab, variant(AUTO)).request, service)
    ledger = Ledger(max_usd=0.0)
    preflighted(AUTO, lab, service, ledger)
    prepared(AUTO, lab, service, ledger)
    assert (len(service.jobs), ledger.spent_usd) == (1, 0)


def test_a_job_that_failed_at_the_service_does_not_count_as_there(lab: Lab) -> None:
    service = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        prepared(AUTO, lab, service, Ledger())
    with pytest.raises(UsageError, match="epochs=3"):
        preflighted(AUTO, lab, service, Ledger(1.0))


def test_nothing_is_asked_of_the_service_where_a_job_may_be_begun(lab: Lab) -> None:
    service = FakeService()
    preflighted(SPEC, lab, service, Ledger(1.0))
    assert service.asked == []


def test_a_job_that_was_refused_costs_nothing_and_one_that_failed_may_have(lab: Lab) -> None:
    ledger = Ledger(max_usd=1.0)
    refusing = FakeService(refuses={"jobs.create": RequestRejected("no", param="model")})
    with pytest.raises(HostedTrainingError):
        prepared(SPEC, lab, refusing, ledger)
    assert (ledger.spent_usd, ledger.reserved_usd) == (0, 0)
    failing = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        prepared(SPEC, lab, failing, ledger)
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2
    assert ledger.reserved_usd == 0
