"""A job's money: set aside before it is begun, never twice, and settled by what the service billed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hosted_builders import BASE, NO_WAITING, TODAY, FakeService, tuned

from harness.candidates.prepare import Lab
from harness.decision.prices import price_of
from harness.errors import BudgetReached, HostedTrainingError, UsageError
from harness.models.ledger import Ledger
from harness.models.pricing import Spending
from harness.models.progress import Silent
from harness.store.adapters import AdapterStore
from harness.training.hosted.prepare import Outside, hosted_rows, prepare_hosted
from harness.training.hosted.ready import require_hosted_beginnable
from harness.training.hosted.requests import (
    AnyRequest,
    CreateJob,
    GetJob,
    Job,
    JobFailure,
    Refused,
    Unsure,
    UploadFile,
)
from harness.training.hosted.service import Busy, Service
from harness.training.hosted.spec import OpenAITuning

SPEC = OpenAITuning(base=BASE, train="train.jsonl", base_url="http://127.0.0.1:1/v1", profile="twin")
PRICE = price_of(BASE, tuned=True)
USD_A_TOKEN = (PRICE.training_usd_per_mtok or 0) / 1e6


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    turns = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}]
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"messages": turns, "id": str(k)}) for k in range(12)), encoding="utf-8"
    )
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def again(lab: Lab) -> Lab:
    """That of a later session, over the same store."""
    return Lab(lab.root, lab.adapters, Silent())


def outside(service: Service, ledger: Ledger) -> Outside:
    def spending(candidate: OpenAITuning, purpose: str) -> Spending:
        return Spending(candidate.base, PRICE, ledger)

    return Outside(lambda _: nullcontext(service), lambda: TODAY, NO_WAITING, spending)


def test_a_job_is_billed_what_the_service_says_once(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)
    for _ in range(2):
        prepare_hosted(SPEC, lab, None, 0, outside(service, ledger))
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)
    assert ledger.reserved_usd == 0


def test_a_job_that_could_pass_the_cap_is_not_begun_and_nothing_is_sent(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=0.0001)
    with pytest.raises(BudgetReached, match="missing: the tuning of gpt-4o-mini"):
        prepare_hosted(SPEC, lab, None, 0, outside(service, ledger))
    assert (service.jobs, service.files, ledger.spent_usd) == ({}, {}, 0)


def test_a_job_that_is_found_is_not_paid_again(lab: Lab, tmp_path: Path) -> None:
    service = FakeService()
    prepare_hosted(SPEC, lab, None, 0, outside(service, Ledger()))
    clone = Lab(lab.root, AdapterStore(tmp_path / "another"), Silent())
    ledger = Ledger(max_usd=0.0)
    prepare_hosted(SPEC, clone, None, 0, outside(service, ledger))
    assert ledger.spent_usd == 0


def under_way(lab: Lab, spec: OpenAITuning = SPEC, **said: object) -> FakeService:
    """A service with the job of another machine, which has not ended."""
    service = FakeService(life=(*["running"] * 5, "succeeded"))
    order = hosted_rows(spec, lab, None, 0).order
    job = service.reply(CreateJob(order.body("file-0", None)))
    assert isinstance(job, Job)
    service.jobs[job.id] = replace(job, status="running", **said)  # type: ignore[arg-type]
    return service


def test_a_job_under_way_that_is_found_falls_due_in_this_run(lab: Lab) -> None:
    ledger = Ledger(max_usd=1.0)
    prepare_hosted(SPEC, lab, None, 0, outside(under_way(lab), ledger))
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)
    assert ledger.reserved_usd == 0


def test_a_job_under_way_that_would_pass_the_cap_is_named_and_left_alone(lab: Lab) -> None:
    service, ledger = under_way(lab), Ledger(max_usd=0.0)
    with pytest.raises(BudgetReached, match="job ftjob-0 goes on at the service"):
        prepare_hosted(SPEC, lab, None, 0, outside(service, ledger))
    assert (len(service.jobs), service.jobs["ftjob-0"].status, ledger.spent_usd) == (1, "running", 0)


def test_a_job_under_way_is_bounded_by_the_epochs_that_it_says(lab: Lab) -> None:
    auto, ledger = replace(SPEC, epochs="auto"), Ledger(max_usd=1.0)
    with pytest.raises(UsageError, match=r"ftjob-0 .* is under way, begun with epochs='auto'"):
        prepare_hosted(auto, lab, None, 0, outside(under_way(lab, auto), ledger))
    said = under_way(lab, auto, hyperparameters={"n_epochs": 4})
    beginnable(auto, lab, said, ledger)
    prepare_hosted(auto, again(lab), None, 0, outside(said, ledger))
    assert ledger.spent_usd == pytest.approx(360 * USD_A_TOKEN)


def test_a_creation_whose_answer_was_lost_counts_as_spent(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)

    def reply(request: AnyRequest) -> object:
        if service.jobs:
            raise Busy("no network")
        reply = service.reply(request)
        if isinstance(request, CreateJob):
            raise Unsure("the connection broke")
        return reply

    with pytest.raises(HostedTrainingError, match="A tuning job may have begun"):
        prepare_hosted(SPEC, lab, None, 0, outside(_Service(reply), ledger))
    assert len(service.jobs) == 1
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2
    assert ledger.reserved_usd == 0


def test_a_refusal_after_a_creation_without_an_answer_does_not_free_its_money(lab: Lab) -> None:
    service, ledger = FakeService(lag=10**6), Ledger(max_usd=1.0)

    def reply(request: AnyRequest) -> object:
        if isinstance(request, CreateJob):
            if service.jobs:
                raise Refused(400, "no", "no", "model")
            service.reply(request)
            raise Unsure("timed out")
        return service.reply(request)

    with pytest.raises(HostedTrainingError):
        prepare_hosted(SPEC, lab, None, 0, outside(_Service(reply), ledger))
    assert ledger.spent_usd > 0


def test_a_job_that_is_lost_from_sight_counts_as_spent(lab: Lab) -> None:
    service, ledger = FakeService(), Ledger(max_usd=1.0)

    def reply(request: AnyRequest) -> object:
        if isinstance(request, GetJob):
            raise Busy("no network")
        return service.reply(request)

    with pytest.raises(HostedTrainingError, match="ftjob-0 goes on there"):
        prepare_hosted(SPEC, lab, None, 0, outside(_Service(reply), ledger))
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2


@pytest.mark.parametrize("kind", [CreateJob, UploadFile])
def test_a_service_that_stays_busy_has_begun_nothing_and_its_words_are_told(
    lab: Lab, kind: type[AnyRequest]
) -> None:
    calls: list[AnyRequest] = []
    service, ledger = FakeService(), Ledger(max_usd=1.0)

    def reply(request: AnyRequest) -> object:
        if isinstance(request, kind):
            calls.append(request)
            raise Busy("at most 3 active jobs", None, "rate_limit_exceeded", "model")
        return service.reply(request)

    with pytest.raises(HostedTrainingError, match="nothing was begun") as caught:
        prepare_hosted(SPEC, lab, None, 0, outside(_Service(reply), ledger))
    told = caught.value
    assert (told.code, told.param, told.message) == (
        "rate_limit_exceeded",
        "model",
        "at most 3 active jobs",
    )
    assert len(calls) == NO_WAITING.tries
    assert (ledger.spent_usd, ledger.reserved_usd) == (0, 0)


class _Service:
    def __init__(self, reply: Callable[[AnyRequest], object]) -> None:
        self.reply = reply


def test_epochs_left_to_the_service_are_refused_under_a_cap(lab: Lab) -> None:
    with pytest.raises(UsageError, match="epochs=3"):
        prepare_hosted(replace(SPEC, epochs="auto"), lab, None, 0, outside(FakeService(), Ledger(1.0)))


def beginnable(spec: OpenAITuning, lab: Lab, service: FakeService, ledger: Ledger) -> None:
    require_hosted_beginnable(spec, hosted_rows(spec, lab, None, 0), lab, outside(service, ledger))


AUTO = replace(SPEC, epochs="auto")


def test_what_nothing_bounds_is_refused_under_a_cap_before_anything_is_begun(lab: Lab) -> None:
    service = FakeService()
    with pytest.raises(UsageError, match="epochs=3"):
        beginnable(AUTO, lab, service, Ledger(1.0))
    assert (service.jobs, service.files) == ({}, {})
    beginnable(AUTO, lab, service, Ledger())


def test_a_finished_job_in_the_store_passes_under_a_cap_whatever_its_epochs(lab: Lab) -> None:
    service = FakeService()
    prepare_hosted(AUTO, lab, None, 0, outside(service, Ledger()))
    service.asked.clear()
    ledger = Ledger(max_usd=0.0)
    beginnable(AUTO, lab, service, ledger)
    prepare_hosted(AUTO, lab, None, 0, outside(service, ledger))
    assert (service.asked, ledger.spent_usd) == ([], 0)


def test_a_job_that_has_ended_at_the_service_passes_under_a_cap_whatever_its_epochs(
    lab: Lab,
) -> None:
    service, order = FakeService(), hosted_rows(AUTO, lab, None, 0).order
    tuned(order, service)
    ledger = Ledger(max_usd=0.0)
    beginnable(AUTO, lab, service, ledger)
    prepare_hosted(AUTO, lab, None, 0, outside(service, ledger))
    assert (len(service.jobs), ledger.spent_usd) == (1, 0)


def test_a_job_that_failed_at_the_service_does_not_count_as_there(lab: Lab) -> None:
    service = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        prepare_hosted(AUTO, lab, None, 0, outside(service, Ledger()))
    with pytest.raises(UsageError, match="epochs=3"):
        beginnable(AUTO, lab, service, Ledger(1.0))


def test_nothing_is_asked_of_the_service_where_a_job_may_be_begun(lab: Lab) -> None:
    service = FakeService()
    beginnable(SPEC, lab, service, Ledger(1.0))
    assert service.asked == []


def test_a_job_that_was_refused_costs_nothing_and_one_that_failed_may_have(lab: Lab) -> None:
    ledger = Ledger(max_usd=1.0)
    refusing = FakeService(refuses={CreateJob: Refused(400, "no", "no", "model")})
    with pytest.raises(HostedTrainingError):
        prepare_hosted(SPEC, lab, None, 0, outside(refusing, ledger))
    assert (ledger.spent_usd, ledger.reserved_usd) == (0, 0)
    failing = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        prepare_hosted(SPEC, again(lab), None, 0, outside(failing, ledger))
    assert ledger.spent_usd > 360 * USD_A_TOKEN / 2
    assert ledger.reserved_usd == 0
