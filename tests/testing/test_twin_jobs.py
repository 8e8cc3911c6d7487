"""A job's life in the twin, through the official SDK: from the upload to a tuned model that answers."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from twin_client import asked, chat_row, lines, new_job, upload, waited

from harness.testing.fake_openai import (
    ALIAS,
    CHAT,
    CLOSED_TO_TUNING,
    CLOSING,
    COMPLETIONS,
    RETIRED,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)


@pytest.fixture
def stalled(client: OpenAI, base_url: str) -> Iterator[str]:
    """A job that runs and waits after its first step."""
    set_twin_faults(base_url, Faults(job_stalls_at_step=1))
    job = new_job(client)
    waited(client, job.id, ("running",))
    yield job.id
    set_twin_faults(base_url, Faults())
    waited(client, job.id, ("succeeded", "cancelled", "paused"))


def test_a_tuned_model_answers_what_it_was_trained_on(client: OpenAI) -> None:
    job = new_job(client)
    assert job.status == "validating_files"
    done = waited(client, job.id)
    assert (done.status, done.model, done.training_file) == ("succeeded", CHAT, job.training_file)
    assert done.fine_tuned_model is not None
    assert done.fine_tuned_model.startswith(f"ft:{CHAT}:twin::")
    assert done.trained_tokens is not None
    assert done.trained_tokens > 0
    assert asked(client, done.fine_tuned_model, "question 7") == "reply 7"
    assert asked(client, CHAT, "question 7") == "question 7"


def test_auto_is_decided_when_the_job_runs_and_shown(client: OpenAI) -> None:
    file = upload(client, lines([chat_row(k) for k in range(12)]))
    job = client.fine_tuning.jobs.create(model=ALIAS, training_file=file.id, suffix="Mine", seed=7)
    assert (job.hyperparameters.n_epochs, job.seed, job.model) == ("auto", 7, CHAT)
    done = waited(client, job.id)
    hyperparameters = done.hyperparameters
    assert (hyperparameters.n_epochs, hyperparameters.batch_size) == (8, 8)  # 8 epochs of 12 rows: within 100
    assert hyperparameters.learning_rate_multiplier == 1.0
    assert done.method is not None
    assert done.method.supervised is not None
    assert done.method.supervised.hyperparameters is not None
    assert done.method.supervised.hyperparameters.n_epochs == 8
    assert ":twin:mine:" in (done.fine_tuned_model or "")


def test_events_come_newest_first_in_pages_and_hold_the_losses(client: OpenAI) -> None:
    job = new_job(client)
    waited(client, job.id)
    page = client.fine_tuning.jobs.list_events(job.id, limit=3)
    assert len(page.data) == 3
    assert page.has_more
    events = list(page)
    assert [event.message for event in events[:2]] == [
        "The job has successfully completed",
        f"New fine-tuned model created: {waited(client, job.id).fine_tuned_model}",
    ]
    assert events[-1].message == f"Created fine-tuning job: {job.id}"
    steps = [event.data for event in reversed(events) if event.type == "metrics"]
    assert [step["step"] for step in steps if isinstance(step, dict)] == [1, 2, 3, 4]
    assert isinstance(steps[0], dict)
    assert set(steps[0]) >= {"train_loss", "train_mean_token_accuracy", "total_steps"}


def test_checkpoints_can_be_asked_and_the_last_is_the_model_itself(client: OpenAI) -> None:
    done = waited(client, new_job(client, epochs=5).id)
    kept = list(client.fine_tuning.jobs.checkpoints.list(done.id))
    assert [checkpoint.step_number for checkpoint in kept] == [10, 8, 6]  # of the last three epochs
    assert kept[0].fine_tuned_model_checkpoint == done.fine_tuned_model
    assert kept[1].fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-8"
    assert kept[1].metrics.train_loss is not None
    assert asked(client, kept[1].fine_tuned_model_checkpoint, "question 1") == "reply 1"


def test_the_results_file_has_a_line_a_step_and_the_validation_losses(client: OpenAI) -> None:
    rows = [chat_row(k) for k in range(12)]
    job = client.fine_tuning.jobs.create(
        model=CHAT,
        training_file=upload(client, lines(rows)).id,
        validation_file=upload(client, lines(rows[:3])).id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 6}}},
    )
    done = waited(client, job.id)
    table = list(csv.DictReader(client.files.content(done.result_files[0]).text.splitlines()))
    assert [row["step"] for row in table] == ["1", "2", "3", "4"]
    assert [bool(row["valid_loss"]) for row in table] == [False, True, False, True]
    assert float(table[3]["valid_mean_token_accuracy"]) <= 1
    assert client.files.retrieve(done.result_files[0]).purpose == "fine-tune-results"


def test_jobs_are_listed_newest_first_and_found_by_their_metadata(client: OpenAI) -> None:
    file = upload(client, lines([chat_row(k) for k in range(12)]))
    made = [
        client.fine_tuning.jobs.create(
            model=CHAT, training_file=file.id, metadata={"of": "list", "k": str(k)}
        )
        for k in range(3)
    ]
    assert [j.id for j in client.fine_tuning.jobs.list(limit=1, metadata={"of": "list"})] == [
        job.id for job in reversed(made)
    ]
    found = client.fine_tuning.jobs.list(metadata={"of": "list", "k": "1"})
    assert [job.id for job in found] == [made[1].id]
    assert found.data[0].metadata == {"of": "list", "k": "1"}
    assert not client.fine_tuning.jobs.list(metadata={"of": "nothing"}).data
    for job in made:  # none is under way when another test makes jobs stall
        waited(client, job.id)


def test_a_running_job_can_be_cancelled_and_stays_so(client: OpenAI, base_url: str, stalled: str) -> None:
    assert client.fine_tuning.jobs.cancel(stalled).status == "cancelled"
    set_twin_faults(base_url, Faults())
    done = waited(client, stalled)
    assert (done.status, done.fine_tuned_model) == ("cancelled", None)
    assert done.finished_at is not None
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(stalled)


def test_a_job_can_be_paused_and_goes_on_where_it_was(client: OpenAI, base_url: str, stalled: str) -> None:
    assert str(client.fine_tuning.jobs.pause(stalled).status) == "paused"
    set_twin_faults(base_url, Faults())
    assert str(client.fine_tuning.jobs.retrieve(stalled).status) == "paused"
    assert client.fine_tuning.jobs.resume(stalled).status == "queued"
    assert waited(client, stalled).status == "succeeded"


def test_one_job_trains_at_a_time(client: OpenAI, base_url: str, stalled: str) -> None:
    second = new_job(client)
    assert waited(client, second.id, ("queued",)).status == "queued"
    client.fine_tuning.jobs.cancel(second.id)


def test_a_job_fails_at_the_step_that_it_is_told_to(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(job_fails_at_step=2))
    done = waited(client, new_job(client).id)
    assert done.status == "failed"
    assert done.error is not None
    assert (done.error.code, done.error.param) == ("server_error", None)
    assert client.fine_tuning.jobs.list_events(done.id, limit=1).data[0].level == "error"


def test_a_job_that_stalls_at_step_0_stays_queued(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(job_stalls_at_step=0))
    job = waited(client, new_job(client).id, ("queued",))
    client.fine_tuning.jobs.cancel(job.id)
    assert waited(client, job.id).status == "cancelled"


def test_models_tell_their_last_day(client: OpenAI) -> None:
    listed = {model.id: model.shutdown_date for model in client.models.list()}
    assert listed[CHAT] == "2036-01-01"
    assert listed[CLOSING] is not None
    assert RETIRED not in listed
    assert client.models.retrieve(CLOSING).shutdown_date == listed[CLOSING]


def test_a_tuned_model_ends_with_its_base_and_can_be_deleted(client: OpenAI) -> None:
    name = waited(client, new_job(client, model=CLOSING).id).fine_tuned_model or ""
    assert client.models.retrieve(name).shutdown_date == client.models.retrieve(CLOSING).shutdown_date
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        asked(client, name, "question 1")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("model", [RETIRED, CLOSED_TO_TUNING, "gpt-9"])
def test_a_model_that_takes_no_jobs_is_refused(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="not available for fine-tuning") as caught:
        new_job(client, model=model)
    assert (caught.value.code, caught.value.param) == ("model_not_available", "model")


def test_a_completion_model_is_tuned_on_pairs_and_completes(client: OpenAI) -> None:
    pairs = [{"prompt": f"prompt {k} ->", "completion": f" end {k}"} for k in range(10)]
    job = client.fine_tuning.jobs.create(model=COMPLETIONS, training_file=upload(client, lines(pairs)).id)
    name = waited(client, job.id).fine_tuned_model or ""
    answer = client.completions.create(model=name, prompt="prompt 4 ->", max_tokens=5, logprobs=0)
    assert answer.choices[0].text == " end 4"
    assert answer.choices[0].logprobs is not None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stats_count_uploads_by_content_and_jobs() -> None:
    before = set(threading.enumerate())
    with (
        running_fake_openai(backend=ScriptedBackend()) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        new_job(client)
        new_job(client)
        stats = twin_stats(url)
    uploads = stats["uploads_by_sha256"]
    assert isinstance(uploads, dict)
    assert list(uploads.values()) == [2]
    assert (stats["uploads"], stats["jobs"]) == (2, 2)
    assert set(threading.enumerate()) <= before


def test_a_twin_answers_under_other_names_too() -> None:
    name = "gpt-4o-mini-2024-07-18"
    with (
        running_fake_openai(backend=ScriptedBackend(), aliases=(name,)) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        done = waited(client, new_job(client, model=name).id)
        assert (done.fine_tuned_model or "").startswith(f"ft:{name}:")
        assert asked(client, done.fine_tuned_model or "", "question 2") == "reply 2"
