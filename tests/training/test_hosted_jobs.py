"""From files to a tuned model: what is asked of a service, in each of the states that a job can be in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hosted_builders import (
    BASE,
    NO_WAITING,
    SETTINGS,
    FakeService,
    Machine,
    hooked,
    provider_of,
    request_of,
    rows,
    tuned,
)
from openai.types import FileObject

from harness.errors import HostedTrainingError
from harness.models.profiles import AZURE, COMPATIBLE, OPENAI, TWIN, Profile
from harness.training.hosted.budget import JobBudget
from harness.training.hosted.jobs import JobGoesOn
from harness.training.hosted.openai import FINGERPRINT_KEY
from harness.training.hosted.provider import (
    JobFailure,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    TuningProvider,
)
from harness.training.hosted.request import JobRequest, JobSettings, make_request


def _ctrl_c(seconds: float) -> None:
    raise KeyboardInterrupt


CTRL_C = replace(NO_WAITING, sleep=_ctrl_c)


def body_of(settings: JobSettings, profile: Profile, validation: str | None = None) -> dict[str, object]:
    return dict(provider_of(FakeService(), profile).body(request_of(settings), "f", validation))


def test_files_are_sent_the_job_is_begun_and_waited_for() -> None:
    service = FakeService()
    done = tuned(request_of(), service)
    assert service.asked.count("files.create") == 2
    assert service.asked.count("jobs.create") == 1
    assert done.job.tuned_model == f"ft:{BASE}:org::ftjob-0"
    assert [(m.step, m.train_loss, m.batch_loss) for m in done.metrics] == [(1, 2.0, None), (2, 1.0, 1.2)]
    assert [c.step for c in done.checkpoints] == [1, 2, 3]


@pytest.mark.parametrize("profile", [OPENAI, AZURE, COMPATIBLE, TWIN], ids=lambda p: p.name)
def test_a_second_run_finds_the_job_and_begins_none(profile: Profile) -> None:
    request, service = request_of(profile=profile), FakeService(keeps_metadata=profile.metadata)
    first = tuned(request, service, profile=profile)
    service.asked.clear()
    assert tuned(request, service, profile=profile).job == first.job
    assert "jobs.create" not in service.asked
    assert "files.create" not in service.asked


def test_a_job_under_way_is_waited_for() -> None:
    service = FakeService()
    with pytest.raises(JobGoesOn):
        tuned(request_of(), service, CTRL_C)
    assert tuned(request_of(), service).job.id == "ftjob-0"
    assert service.asked.count("jobs.create") == 1


@pytest.mark.parametrize(
    "other",
    [
        request_of(seed=1),
        request_of(n=13),
        request_of(replace(SETTINGS, hyperparameters={"n_epochs": 4})),
        request_of(replace(SETTINGS, suffix="b")),
        request_of(replace(SETTINGS, hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 2.0})),
        make_request(SETTINGS, rows(12), (), 0, names_job=False),
    ],
    ids=["seed", "rows", "epochs", "suffix", "rate", "no development rows"],
)
def test_another_content_is_another_job(other: JobRequest) -> None:
    service = FakeService()
    tuned(request_of(), service)
    tuned(other, service)
    assert len(service.jobs) == 2
    assert set(service.uploads().values()) == {1}


def test_another_seed_is_another_job_where_jobs_carry_no_metadata() -> None:
    service = FakeService(keeps_metadata=False)
    for seed in (0, 1, 0):
        tuned(request_of(seed=seed, profile=COMPATIBLE), service, profile=COMPATIBLE)
    assert len(service.jobs) == 2


def test_metadata_and_wandb_make_no_other_job() -> None:
    other = replace(SETTINGS, metadata={"team": "a"}, wandb={"project": "p"})
    assert request_of(other).fingerprint == request_of().fingerprint


def test_fingerprints_are_those_of_the_jobs_that_services_already_have() -> None:
    """A change here means that every job is begun and paid again."""
    assert request_of().fingerprint == "718b687b1298808205f94b5ee21e340175a77fe5fd446285d69d34668d25f765"
    assert request_of().training.name == "harness-e758f184611433b6caae230d25f6a372.jsonl"
    named = request_of(profile=AZURE).training.name
    assert named == "harness-718b687b1298808205f94b5ee21e3401.jsonl"
    hyperparameters = {"batch_size": 4, "learning_rate_multiplier": 1.8}
    other = request_of(replace(SETTINGS, hyperparameters=hyperparameters, suffix="support"), seed=3)
    assert other.fingerprint == "10d64b499adadf9839b8d29592adad8fde18a599e9c25deef40dc94b5eae9e9c"
    prompts = JobSettings("babbage-002", {"n_epochs": 3}, completions=True)
    made = make_request(prompts, rows(2), (), 0, names_job=False)
    assert made.fingerprint == "9fd7c6bb85e1ab1178aca8bf0e48ee67371d02202eaf411297998cc26a063897"


def test_the_request_is_what_the_provider_takes() -> None:
    settings = replace(
        SETTINGS,
        hyperparameters={"n_epochs": 2, "batch_size": 4},
        suffix="s",
        metadata={"team": "a"},
        wandb={"project": "p"},
    )
    assert body_of(settings, OPENAI, "v") == {
        "model": BASE,
        "training_file": "f",
        "validation_file": "v",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        "seed": 0,
        "suffix": "s",
        "metadata": {"team": "a", FINGERPRINT_KEY: request_of(settings).fingerprint},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
    }
    auto = JobSettings(BASE)
    assert body_of(auto, COMPATIBLE) == {
        "model": BASE,
        "training_file": "f",
        "seed": 0,
        "suffix": request_of(auto).fingerprint[:12],
    }
    assert body_of(auto, OPENAI)["method"] == {"type": "supervised", "supervised": {}}
    assert body_of(SETTINGS, COMPATIBLE)["hyperparameters"] == {"n_epochs": 3}


def test_ids_and_metadata_of_rows_are_not_sent() -> None:
    given = tuple(replace(row, metadata={"customer": "C-1", "id": row.id}) for row in rows(12))
    assert b"C-1" not in make_request(SETTINGS, given, (), 0, names_job=False).training.content


def test_a_file_of_the_same_name_with_other_bytes_is_not_taken_for_it() -> None:
    service, request = FakeService(), request_of()
    service.files["other"] = FileObject.construct(id="other", filename=request.training.name, bytes=5)
    assert tuned(request, service).job.training_file != "other"


def test_a_service_that_ignores_the_metadata_filter_gives_no_other_job_away() -> None:
    service = FakeService()
    first = tuned(request_of(), service).job
    listed = service._list_jobs
    service._list_jobs = lambda limit, metadata=None: listed(limit)  # type: ignore[method-assign]
    assert tuned(request_of(seed=1), service).job.id != first.id


# --------------------------------------------------------------------------- what goes wrong
def test_a_job_that_fails_on_its_input_says_code_parameter_and_the_users_own_line() -> None:
    failure = JobFailure("invalid_training_file", "Line 3, message 2: bad role", "training_file")
    service = FakeService(life=("validating_files", "failed"), failure=failure)
    with pytest.raises(HostedTrainingError) as caught:
        tuned(request_of(), service)
    error = caught.value
    assert (error.code, error.param, error.job) == ("invalid_training_file", "training_file", "ftjob-0")
    assert error.where == ("train.jsonl:3",)
    assert "Line 3, message 2: bad role" in str(error)
    assert "hint: correct train.jsonl:3" in str(error)


def test_a_job_that_failed_on_its_input_is_not_begun_again() -> None:
    failure = JobFailure("invalid_training_file", "Line 3 is wrong", "training_file")
    service = FakeService(life=("queued", "failed"), failure=failure)
    for _ in range(2):
        with pytest.raises(HostedTrainingError, match="Line 3 is wrong"):
            tuned(request_of(), service)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_that_ended_through_no_fault_of_the_input_is_told_of_and_begun_again(end: str) -> None:
    service = FakeService(life=("queued", end), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError, match="run again"):
        tuned(request_of(), service)
    service.life = ("queued", "succeeded")
    done = tuned(request_of(), service)
    assert done.job.id == "ftjob-1"
    assert len(done.notes) == 1
    assert "ftjob-0" in done.notes[0]
    assert set(service.uploads().values()) == {1}


def test_a_failed_job_beside_a_good_one_is_told_of_and_the_good_one_used() -> None:
    service = FakeService()
    first = tuned(request_of(), service).job
    bad = JobFailure("invalid_training_file", "no", "training_file")
    service.jobs["x"] = service.jobs[first.id].model_copy(
        update={"id": "x", "status": "failed", "error": {"code": bad.code, "param": bad.param}}
    )
    assert tuned(request_of(), service).job == first


def test_a_paused_job_says_how_it_goes_on() -> None:
    with pytest.raises(HostedTrainingError, match="harness jobs resume ftjob-0"):
        tuned(request_of(), FakeService(life=("queued", "paused")))


def test_a_job_without_news_is_left_after_the_patience() -> None:
    slept: list[float] = []
    service = FakeService(life=("queued", "running"))
    with pytest.raises(HostedTrainingError, match="no news of the tuning job ftjob-0") as caught:
        tuned(request_of(), service, replace(NO_WAITING, sleep=slept.append, patience_s=60))
    assert 60 <= sum(slept) < 65
    assert "harness jobs cancel ftjob-0" in str(caught.value)


def test_a_file_that_is_found_wrong_is_an_error_with_its_line() -> None:
    service = FakeService(
        file_status=("pending", "error"), file_problem="Example 2 lacks an assistant message"
    )
    with pytest.raises(HostedTrainingError) as caught:
        tuned(request_of(), service)
    assert caught.value.where == ("train.jsonl:2",)
    assert not service.jobs


def test_a_line_of_the_validation_file_is_a_line_of_the_development_rows() -> None:
    failure = JobFailure("invalid_validation_file", "lines 1 and 3 are too long", "validation_file")
    with pytest.raises(HostedTrainingError) as caught:
        tuned(request_of(), FakeService(life=("queued", "failed"), failure=failure))
    assert caught.value.where == ("dev.jsonl:1", "dev.jsonl:3")


@pytest.mark.parametrize("call", ["files.create", "jobs.create"])
def test_a_refusal_keeps_the_services_words(call: str) -> None:
    no = RequestRejected("no such base", code="model_not_available", param="model")
    with pytest.raises(HostedTrainingError) as caught:
        tuned(request_of(), FakeService(refuses={call: no}))
    assert (caught.value.code, caught.value.message) == ("model_not_available", "no such base")
    assert "hint:" in str(caught.value)


@pytest.mark.parametrize("call", ["jobs.list_events", "checkpoints.list", "files.content", "models.retrieve"])
def test_what_is_only_of_interest_does_not_stop_a_job(call: str) -> None:
    service = FakeService(refuses={call: RequestRejected("not here", status=404)})
    assert tuned(request_of(), service).job.status == "succeeded"


@pytest.mark.parametrize("done", [True, False], ids=["it was done", "it was not done"])
@pytest.mark.parametrize("lost", ["upload", "submit"])
def test_what_may_have_been_done_is_looked_for_before_it_is_done_again(lost: str, done: bool) -> None:
    service, calls = FakeService(), list[str]()

    def hook(name: str, call: Callable[[], object]) -> object:
        calls.append(name)
        if name == lost and calls.count(name) == 1:
            if done:
                call()
            raise OutcomeUnknown("connection broke")
        return call()

    tuned(request_of(), hooked(provider_of(service), hook))
    assert set(service.uploads().values()) == {1}
    assert len(service.jobs) == 1


def test_a_busy_service_is_asked_again_and_retry_after_is_obeyed() -> None:
    slept: list[float] = []
    busy = iter([RateLimited("429", retry_after_s=7.0), OutcomeUnknown("503")])

    def hook(name: str, call: Callable[[], object]) -> object:
        if name == "find" and (problem := next(busy, None)):
            raise problem
        return call()

    environment = replace(NO_WAITING, sleep=slept.append)
    tuned(request_of(), hooked(provider_of(FakeService()), hook), environment)
    assert slept[:2] == [7.0 + 2.0, 4.0]  # what is asked for, and a random share of 2 s that double


def failing(service: FakeService, when: Callable[[str], bool], error: BaseException) -> TuningProvider:
    def hook(name: str, call: Callable[[], object]) -> object:
        if when(name):
            raise error
        return call()

    return hooked(provider_of(service), hook)


def test_a_service_that_cannot_be_reached_is_an_error_that_says_so() -> None:
    gone = failing(FakeService(), lambda name: True, OutcomeUnknown("Connection error."))
    with pytest.raises(HostedTrainingError, match="cannot be reached"):
        tuned(request_of(), gone)


def test_a_job_survives_a_network_that_is_gone_for_good() -> None:
    gone = failing(FakeService(), lambda name: name == "get", OutcomeUnknown("Connection error."))
    with pytest.raises(HostedTrainingError, match="the job ftjob-0 goes on there"):
        tuned(request_of(), gone)


def test_ctrl_c_leaves_the_job_running_and_says_how_to_end_it() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        tuned(request_of(), FakeService(), CTRL_C)
    flags = "--base-url=http://127.0.0.1:1/v1 --profile=twin"
    assert f"`harness jobs cancel ftjob-0 {flags}`" in str(caught.value)


@pytest.mark.parametrize("begun", [False, True], ids=["a new job", "a job that is found"])
def test_ctrl_c_just_after_a_job_is_known_names_it(begun: bool) -> None:
    service = FakeService(life=("running",))
    if begun:
        with pytest.raises(JobGoesOn):
            tuned(request_of(), service, CTRL_C)
    names = ("events", "shutdown_date")
    stopped = failing(service, lambda name: name in names and bool(service.jobs), KeyboardInterrupt())
    with pytest.raises(JobGoesOn, match="harness jobs cancel ftjob-0"):
        tuned(request_of(), stopped)


def test_ctrl_c_while_a_job_is_submitted_says_that_one_may_have_begun() -> None:
    stopped = failing(FakeService(), lambda name: name == "submit", KeyboardInterrupt())
    with pytest.raises(JobGoesOn, match=r"a tuning job may have begun.* `harness jobs list --base-url"):
        tuned(request_of(), stopped)


def test_ctrl_c_after_a_finished_job_was_found_leaves_nothing_that_costs() -> None:
    service = FakeService()
    tuned(request_of(), service)
    stopped = failing(service, lambda name: name == "shutdown_date", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        tuned(request_of(), stopped)
    assert not isinstance(caught.value, JobGoesOn)


def test_a_job_is_told_of_once_when_it_is_begun_or_found() -> None:
    service, first, second = FakeService(), Machine(), Machine()
    tuned(request_of(), service, machine=first)
    tuned(request_of(), service, machine=second)
    assert [text for text in first.said if "ftjob-0" in text] == [f"tuning job ftjob-0 of {BASE} has begun."]
    (found,) = (text for text in second.said if "ftjob-0" in text)
    assert "is found" in found


def test_a_job_that_failed_before_is_not_the_one_that_an_error_names() -> None:
    service = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        tuned(request_of(), service)
    service.refuses = {"jobs.create": RequestRejected("no", param="model")}
    with pytest.raises(HostedTrainingError) as caught:
        tuned(request_of(), service)
    assert caught.value.job is None


def test_a_file_that_is_never_checked_is_an_error_and_no_job_is_begun() -> None:
    service = FakeService(file_status=("pending",))
    with pytest.raises(HostedTrainingError, match="has not checked the training file file-0 after 60"):
        tuned(request_of(), service)
    assert not service.jobs


def test_the_bar_counts_trained_steps_and_notes_the_loss() -> None:
    shown: list[tuple[float, float | None, str]] = []

    class Bar:
        def at(self, done: float, total: float | None = None, note: str = "") -> None:
            shown.append((done, total, note))

    tuned(request_of(), FakeService(), bar=Bar())
    assert (2.0, 2.0, "loss 1.000, ftjob-0 succeeded") in shown


# --------------------------------------------------------------------------- lifetimes
def test_no_job_is_begun_where_no_new_jobs_are_taken() -> None:
    service, late = FakeService(), replace(NO_WAITING, today=date(2027, 1, 6))
    with pytest.raises(HostedTrainingError, match="2027-01-06"):
        tuned(request_of(), service, late, profile=OPENAI)
    assert not service.jobs


def test_a_job_that_was_begun_before_the_end_is_still_used() -> None:
    service, late = FakeService(), replace(NO_WAITING, today=date(2027, 1, 10))
    tuned(request_of(), service, profile=OPENAI)
    assert tuned(request_of(), service, late, profile=OPENAI).job.id == "ftjob-0"


def test_the_services_own_shutdown_date_is_checked_and_kept() -> None:
    service = FakeService(shutdown_date="2026-12-24")
    assert tuned(request_of(), service).ends == "2026-12-24"
    with pytest.raises(HostedTrainingError, match="was shut down on 2026-12-24"):
        tuned(request_of(n=14), service, replace(NO_WAITING, today=date(2026, 12, 24)))


def test_when_a_model_ends_is_told_before_money_is_set_aside_and_warned_of_within_the_horizon() -> None:
    class ReservedError(Exception):
        pass

    class Budget(JobBudget):
        def reserve(self, found: object = None, quote: object = None) -> None:
            raise ReservedError

    def said(ends: str) -> list[str]:
        machine = Machine()
        with pytest.raises(ReservedError):
            tuned(
                request_of(),
                FakeService(shutdown_date=ends),
                replace(NO_WAITING, budget=Budget()),
                machine=machine,
            )
        return machine.said

    (soon,), (later,) = said("2026-12-10"), said("2027-01-14")
    assert soon.startswith("WARNING")
    assert "2026-12-10, in 19 days: within the horizon of 30 days" in soon
    assert "2027-01-14, in 54 days (the service)" in later
    assert "WARNING" not in later
