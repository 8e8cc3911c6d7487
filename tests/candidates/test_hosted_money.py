"""A job's money: set aside before it is begun, never twice, and settled by what the service billed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hosted_builders import BASE, NO_WAITING, TODAY, FakeService

from harness.candidates.hosted.prepare import Outside, prepare_hosted
from harness.candidates.hosted.requests import CreateJob, JobFailure, Refused
from harness.candidates.hosted.spec import OpenAITuning
from harness.candidates.prepare import Workshop
from harness.decision.prices import price_of
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.progress import Silent
from harness.models.spending import Spending
from harness.run.ledger import Ledger
from harness.store.adapters import AdapterStore

SPEC = OpenAITuning(base=BASE, train="train.jsonl", base_url="http://127.0.0.1:1/v1", profile="twin")
PRICE = price_of(BASE, tuned=True)
USD_A_TOKEN = (PRICE.training_usd_per_mtok or 0) / 1e6


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}]
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"messages": turns, "id": str(k)}) for k in range(12)), encoding="utf-8"
    )
    return Workshop(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def again(workshop: Workshop) -> Workshop:
    """That of a later session, over the same store."""
    return Workshop(workshop.root, workshop.adapters, Silent())


def outside(service: FakeService, ledger: Ledger) -> Outside:
    def spending(candidate: OpenAITuning, purpose: str) -> Spending:
        return Spending(candidate.base, PRICE, ledger)

    return Outside(lambda _: nullcontext(service), lambda: TODAY, NO_WAITING, spending)


def test_a_job_is_billed_what_the_service_says_once(workshop: Workshop) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)
    for _ in range(2):
        prepare_hosted(SPEC, workshop, None, 0, outside(service, ledger))
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)
    assert ledger.reserved_usd == 0


def test_a_job_that_could_pass_the_cap_is_not_begun_and_nothing_is_sent(workshop: Workshop) -> None:
    service, ledger = FakeService(), Ledger(max_usd=0.0001)
    with pytest.raises(BudgetReached, match="missing: the tuning of gpt-4o-mini"):
        prepare_hosted(SPEC, workshop, None, 0, outside(service, ledger))
    assert (service.jobs, service.files, ledger.spent_usd) == ({}, {}, 0)


def test_a_job_that_is_found_is_not_paid_again(workshop: Workshop, tmp_path: Path) -> None:
    service = FakeService()
    prepare_hosted(SPEC, workshop, None, 0, outside(service, Ledger()))
    clone = Workshop(workshop.root, AdapterStore(tmp_path / "another"), Silent())
    ledger = Ledger(max_usd=0.0)
    prepare_hosted(SPEC, clone, None, 0, outside(service, ledger))
    assert ledger.spent_usd == 0


def test_epochs_left_to_the_service_are_refused_under_a_cap(workshop: Workshop) -> None:
    with pytest.raises(UsageError, match="epochs=3"):
        prepare_hosted(replace(SPEC, epochs="auto"), workshop, None, 0, outside(FakeService(), Ledger(1.0)))


def test_a_job_that_was_refused_costs_nothing_and_one_that_failed_may_have(workshop: Workshop) -> None:
    ledger = Ledger(max_usd=1.0)
    refusing = FakeService(refuses={CreateJob: Refused(400, "no", "no", "model")})
    with pytest.raises(HostedTrainingError):
        prepare_hosted(SPEC, workshop, None, 0, outside(refusing, ledger))
    assert (ledger.spent_usd, ledger.reserved_usd) == (0, 0)
    failing = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        prepare_hosted(SPEC, again(workshop), None, 0, outside(failing, ledger))
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2
    assert ledger.reserved_usd == 0
