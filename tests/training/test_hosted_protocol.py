"""From files to a tuned model: what is asked of a service, in each of the states that a job can be in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from hosted_builders import (
    BASE,
    HOUR_S,
    NO_WAITING,
    SPEC,
    TODAY,
    FakeService,
    Machine,
    order_of,
    rows,
    tuned,
)

from harness.errors import HostedTrainingError
from harness.models.profiles import AZURE, COMPATIBLE, OPENAI, TWIN
from harness.models.progress import SilentBar
from harness.training.hosted.driver import JobGoesOn, Pacing, drive
from harness.training.hosted.order import FINGERPRINT_KEY, Order, make_order
from harness.training.hosted.protocol import tune
from harness.training.hosted.requests import (
    AnyRequest,
    CreateJob,
    GetJob,
    GetModel,
    Job,
    JobFailure,
    ListEvents,
    ListFiles,
    ListJobs,
    Note,
    Offering,
    Refused,
    Remember,
    RemoteFile,
    SetMoneyAside,
    Unsure,
    UploadFile,
)
from harness.training.hosted.service import Busy


def kinds(service: FakeService) -> list[str]:
    return [type(request).__name__ for request in service.asked]


def test_the_generator_alone_asks_for_one_thing_after_another() -> None:
    steps = tune(order_of(), TODAY, HOUR_S)
    listing = next(steps)
    assert isinstance(listing, ListJobs)
    assert listing.metadata == {FINGERPRINT_KEY: order_of().fingerprint}
    assert isinstance(steps.send(()), GetModel)
    assert isinstance(steps.send(Offering(BASE)), SetMoneyAside)
    assert isinstance(steps.send(None), ListFiles)
    sent = steps.send(())
    assert isinstance(sent, UploadFile)
    assert sent.content == order_of().training.content


def test_files_are_sent_the_job_is_begun_and_waited_for() -> None:
    service = FakeService()
    done = tuned(order_of(), service)
    assert kinds(service).count("UploadFile") == 2
    assert kinds(service).count("CreateJob") == 1
    assert done.job.tuned_model == f"ft:{BASE}:org::ftjob-0"
    assert [(m.step, m.train_loss, m.batch_loss) for m in done.metrics] == [(1, 2.0, None), (2, 1.0, 1.2)]
    assert [c.step for c in done.checkpoints] == [1, 2, 3]


@pytest.mark.parametrize("profile", [OPENAI, AZURE, COMPATIBLE, TWIN], ids=lambda p: p.name)
def test_a_second_run_finds_the_job_and_begins_none(profile: object) -> None:
    assert isinstance(profile, type(TWIN))
    order, service = order_of(profile=profile), FakeService(keeps_metadata=profile.metadata)
    first = tuned(order, service)
    service.asked.clear()
    assert tuned(order, service).job == first.job
    assert "CreateJob" not in kinds(service)
    assert "UploadFile" not in kinds(service)


def test_a_job_under_way_is_waited_for() -> None:
    service = FakeService()
    with pytest.raises(JobGoesOn):
        drive(tune(order_of(), TODAY, HOUR_S), service, SilentBar(), Pacing(sleep=_ctrl_c))
    assert tuned(order_of(), service).job.id == "ftjob-0"
    assert kinds(service).count("CreateJob") == 1


@pytest.mark.parametrize(
    "other",
    [
        order_of(seed=1),
        order_of(n=13),
        order_of(replace(SPEC, epochs=4)),
        order_of(replace(SPEC, suffix="b")),
        order_of(replace(SPEC, learning_rate_multiplier=2.0)),
        make_order(SPEC, rows(12), (), 0, TWIN),
    ],
    ids=["seed", "rows", "epochs", "suffix", "rate", "no development rows"],
)
def test_another_content_is_another_job(other: Order) -> None:
    service = FakeService()
    tuned(order_of(), service)
    tuned(other, service)
    assert len(service.jobs) == 2
    assert set(service.uploads().values()) == {1}


def test_another_seed_is_another_job_where_jobs_carry_no_metadata() -> None:
    service = FakeService(keeps_metadata=False)
    for seed in (0, 1, 0):
        tuned(order_of(seed=seed, profile=COMPATIBLE), service)
    assert len(service.jobs) == 2


def test_metadata_wandb_and_the_chosen_checkpoint_make_no_other_job() -> None:
    assert (
        order_of(replace(SPEC, metadata={"team": "a"}, checkpoint="best")).fingerprint
        == order_of().fingerprint
    )


def test_the_request_is_what_the_provider_takes() -> None:
    spec = replace(SPEC, epochs=2, batch_size=4, suffix="s", metadata={"team": "a"})
    assert order_of(spec, profile=OPENAI).body("f", "v") == {
        "model": BASE,
        "training_file": "f",
        "validation_file": "v",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        "seed": 0,
        "suffix": "s",
        "metadata": {"team": "a", FINGERPRINT_KEY: order_of(spec).fingerprint},
    }
    assert order_of(replace(SPEC, epochs="auto"), profile=COMPATIBLE).body("f", None) == {
        "model": BASE,
        "training_file": "f",
        "seed": 0,
        "suffix": order_of(replace(SPEC, epochs="auto"), profile=COMPATIBLE).fingerprint[:12],
    }
    assert order_of(profile=COMPATIBLE).body("f", None)["hyperparameters"] == {"n_epochs": 3}


def test_ids_and_metadata_of_rows_are_not_sent() -> None:
    given = tuple(replace(row, metadata={"customer": "C-1", "id": row.id}) for row in rows(12))
    assert b"C-1" not in make_order(SPEC, given, (), 0, TWIN).training.content


def test_a_file_of_the_same_name_with_other_bytes_is_not_taken_for_it() -> None:
    service, order = FakeService(), order_of()
    service.files["other"] = RemoteFile("other", order.training.name, 5, "fine-tune", "processed")
    assert tuned(order, service).job.training_file != "other"


def test_a_service_that_ignores_the_metadata_filter_gives_no_other_job_away() -> None:
    service = FakeService()
    first = tuned(order_of(), service).job

    def reply(request: AnyRequest) -> object:
        return tuple(service.jobs.values()) if isinstance(request, ListJobs) else service.reply(request)

    other = drive(tune(order_of(seed=1), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)
    assert other.job.id != first.id


# --------------------------------------------------------------------------- what goes wrong
def test_a_job_that_fails_on_its_input_says_code_parameter_and_the_users_own_line() -> None:
    failure = JobFailure("invalid_training_file", "Line 3, message 2: bad role", "training_file")
    service = FakeService(life=("validating_files", "failed"), failure=failure)
    with pytest.raises(HostedTrainingError) as caught:
        tuned(order_of(), service)
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
            tuned(order_of(), service)
    assert len(service.jobs) == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_a_job_that_ended_through_no_fault_of_the_input_is_told_of_and_begun_again(end: str) -> None:
    service = FakeService(life=("queued", end), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError, match="run again"):
        tuned(order_of(), service)
    service.life = ("queued", "succeeded")
    done = tuned(order_of(), service)
    assert done.job.id == "ftjob-1"
    assert len(done.notes) == 1
    assert "ftjob-0" in done.notes[0]
    assert set(service.uploads().values()) == {1}


def test_a_failed_job_beside_a_good_one_is_told_of_and_the_good_one_used() -> None:
    service = FakeService()
    first = tuned(order_of(), service).job
    bad = JobFailure("invalid_training_file", "no", "training_file")
    service.jobs["x"] = replace(first, id="x", status="failed", failure=bad)
    assert tuned(order_of(), service).job == first


def test_a_paused_job_says_how_it_goes_on() -> None:
    with pytest.raises(HostedTrainingError, match="harness jobs resume ftjob-0"):
        tuned(order_of(), FakeService(life=("queued", "paused")))


def test_a_job_without_news_is_left_after_the_patience() -> None:
    slept: list[float] = []
    service = FakeService(life=("queued", "running"))
    with pytest.raises(HostedTrainingError, match="no news of the tuning job ftjob-0") as caught:
        tuned(order_of(), service, patience_s=60, pacing=replace(NO_WAITING, sleep=slept.append))
    assert 60 <= sum(slept) < 65
    assert "harness jobs cancel ftjob-0" in str(caught.value)


def test_a_file_that_is_found_wrong_is_an_error_with_its_line() -> None:
    service = FakeService(
        file_status=("pending", "error"), file_problem="Example 2 lacks an assistant message"
    )
    with pytest.raises(HostedTrainingError) as caught:
        tuned(order_of(), service)
    assert caught.value.where == ("train.jsonl:2",)
    assert not service.jobs


def test_a_line_of_the_validation_file_is_a_line_of_the_development_rows() -> None:
    failure = JobFailure("invalid_validation_file", "lines 1 and 3 are too long", "validation_file")
    with pytest.raises(HostedTrainingError) as caught:
        tuned(order_of(), FakeService(life=("queued", "failed"), failure=failure))
    assert caught.value.where == ("dev.jsonl:1", "dev.jsonl:3")


@pytest.mark.parametrize("request_type", [UploadFile, CreateJob])
def test_a_refusal_keeps_the_services_words(request_type: type[AnyRequest]) -> None:
    no = Refused(400, "model_not_available", "no such base", "model")
    with pytest.raises(HostedTrainingError) as caught:
        tuned(order_of(), FakeService(refuses={request_type: no}))
    assert (caught.value.code, caught.value.message) == ("model_not_available", "no such base")
    assert "hint:" in str(caught.value)


def test_events_that_are_refused_do_not_stop_a_job() -> None:
    service = FakeService(refuses={ListEvents: Refused(404, None, "not here", None)})
    assert tuned(order_of(), service).job.status == "succeeded"


@pytest.mark.parametrize("done", [True, False], ids=["it was done", "it was not done"])
@pytest.mark.parametrize("kind", [UploadFile, CreateJob])
def test_what_may_have_been_done_is_looked_for_before_it_is_done_again(
    kind: type[AnyRequest], done: bool
) -> None:
    service = FakeService()
    lost = _Losing(service.reply, kind, done)
    drive(tune(order_of(), TODAY, HOUR_S), lost, SilentBar(), NO_WAITING)
    assert set(service.uploads().values()) == {1}
    assert len(service.jobs) == 1


def test_a_busy_service_is_asked_again_and_retry_after_is_obeyed() -> None:
    slept: list[float] = []
    service = FakeService()
    busy = iter([Busy("429", 7.0), Busy("503", None)])

    def reply(request: AnyRequest) -> object:
        if isinstance(request, ListFiles) and (problem := next(busy, None)):
            raise problem
        return service.reply(request)

    pacing = replace(NO_WAITING, sleep=slept.append)
    drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), pacing)
    assert slept[:2] == [7.0, 1.5]


def test_a_service_that_cannot_be_reached_is_an_error_that_says_so() -> None:
    def reply(request: AnyRequest) -> object:
        raise Busy("Connection error.")

    with pytest.raises(HostedTrainingError, match="cannot be reached"):
        drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)


def test_a_job_survives_a_network_that_is_gone_for_good() -> None:
    service = FakeService()

    def reply(request: AnyRequest) -> object:
        if isinstance(request, GetJob):
            raise Busy("Connection error.")
        return service.reply(request)

    with pytest.raises(HostedTrainingError, match="the job ftjob-0 goes on there"):
        drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)


def test_ctrl_c_leaves_the_job_running_and_says_how_to_end_it() -> None:
    steps = tune(order_of(), TODAY, HOUR_S)
    flags = "--base-url=http://127.0.0.1:1/v1"
    with pytest.raises(KeyboardInterrupt) as caught:
        drive(steps, FakeService(), SilentBar(), Pacing(sleep=_ctrl_c), flags)
    assert f"harness jobs cancel ftjob-0 {flags}" in str(caught.value)


@pytest.mark.parametrize("begun", [False, True], ids=["a new job", "a job that is found"])
def test_ctrl_c_just_after_a_job_is_known_names_it(begun: bool) -> None:
    service = FakeService(life=("running",))
    if begun:
        with pytest.raises(JobGoesOn):
            drive(tune(order_of(), TODAY, HOUR_S), service, SilentBar(), Pacing(sleep=_ctrl_c))

    def reply(request: AnyRequest) -> object:
        if isinstance(request, ListEvents | GetModel) and service.jobs:
            raise KeyboardInterrupt
        return service.reply(request)

    with pytest.raises(JobGoesOn, match="harness jobs cancel ftjob-0"):
        drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)


def test_ctrl_c_after_a_finished_job_was_found_leaves_nothing_that_costs() -> None:
    service = FakeService()
    tuned(order_of(), service)

    def reply(request: AnyRequest) -> object:
        if isinstance(request, GetModel):
            raise KeyboardInterrupt
        return service.reply(request)

    with pytest.raises(KeyboardInterrupt) as caught:
        drive(tune(order_of(), TODAY, HOUR_S), _Service(reply), SilentBar(), NO_WAITING)
    assert not isinstance(caught.value, JobGoesOn)


def test_a_job_is_told_of_once_when_it_is_begun_or_found() -> None:
    service, first, second = FakeService(), Machine(), Machine()
    tuned(order_of(), service, machine=first)
    tuned(order_of(), service, machine=second)
    assert [text for text in first.said if "ftjob-0" in text] == [f"tuning job ftjob-0 of {BASE} has begun."]
    (found,) = (text for text in second.said if "ftjob-0" in text)
    assert "is found" in found


def test_a_job_that_failed_before_is_not_the_one_that_an_error_names() -> None:
    service = FakeService(life=("queued", "failed"), failure=JobFailure("server_error", "internal", None))
    with pytest.raises(HostedTrainingError):
        tuned(order_of(), service)
    service.refuses = {CreateJob: Refused(400, "no", "no", "model")}
    with pytest.raises(HostedTrainingError) as caught:
        tuned(order_of(), service)
    assert caught.value.job is None


def test_a_file_that_is_never_checked_is_an_error_and_no_job_is_begun() -> None:
    service = FakeService(file_status=("pending",))
    with pytest.raises(HostedTrainingError, match="has not checked the training file file-0 after 60"):
        tuned(order_of(), service)
    assert not service.jobs


def test_the_bar_counts_trained_steps_and_notes_the_loss() -> None:
    shown: list[tuple[float, float | None, str]] = []

    class Bar:
        def at(self, done: float, total: float | None = None, note: str = "") -> None:
            shown.append((done, total, note))

    tuned(order_of(), FakeService(), Bar())
    assert (2.0, 2.0, "loss 1.000, ftjob-0 succeeded") in shown


# --------------------------------------------------------------------------- lifetimes
def test_no_job_is_begun_where_no_new_jobs_are_taken() -> None:
    service = FakeService()
    with pytest.raises(HostedTrainingError, match="2027-01-06"):
        tuned(order_of(profile=OPENAI), service, today=date(2027, 1, 6))
    assert not service.jobs


def test_a_job_that_was_begun_before_the_end_is_still_used() -> None:
    service = FakeService()
    tuned(order_of(profile=OPENAI), service)
    assert tuned(order_of(profile=OPENAI), service, today=date(2027, 1, 10)).job.id == "ftjob-0"


def test_the_services_own_shutdown_date_is_checked_and_kept() -> None:
    service = FakeService(shutdown_date="2026-12-24")
    assert tuned(order_of(), service).ends == "2026-12-24"
    with pytest.raises(HostedTrainingError, match="was shut down on 2026-12-24"):
        tuned(order_of(n=14), service, today=date(2026, 12, 24))


def test_when_a_model_ends_is_told_before_money_is_set_aside_and_warned_of_within_the_horizon() -> None:
    def told(ends: str) -> list[str]:
        steps = tune(order_of(), TODAY, HOUR_S)
        service, said = FakeService(shutdown_date=ends), list[str]()
        request = next(steps)
        while not isinstance(request, SetMoneyAside):
            if isinstance(request, Note):
                said.append(request.text)
            quiet = isinstance(request, Note | Remember)
            request = steps.send(None if quiet else service.reply(request))
        return said

    (soon,), (later,) = told("2026-12-10"), told("2027-01-14")
    assert soon.startswith("WARNING")
    assert "2026-12-10, in 19 days: within the horizon of 30 days" in soon
    assert "2027-01-14, in 54 days (the service)" in later
    assert "WARNING" not in later


def _ctrl_c(seconds: float) -> None:
    raise KeyboardInterrupt


class _Service:
    def __init__(self, reply: Callable[[AnyRequest], object]) -> None:
        self.reply = reply


class _Losing:
    """Loses the first answer to a kind of request, which was carried out or was not."""

    def __init__(self, reply: Callable[[AnyRequest], object], kind: type[AnyRequest], done: bool) -> None:
        self._reply, self._kind, self._done = reply, kind, done

    def reply(self, request: AnyRequest) -> object:
        if isinstance(request, self._kind):
            self._kind = Job  # type: ignore[assignment]  # once is enough
            if self._done:
                self._reply(request)
            raise Unsure("connection broke")
        return self._reply(request)
