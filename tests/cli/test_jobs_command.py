"""``harness jobs``: what is under way at a service, against a twin of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from openai import OpenAI

from harness.cli import main
from harness.testing.fake_openai import CHAT, Faults, ScriptedBackend, running_fake_openai

ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend()) as address:
        yield address


@pytest.fixture
def stalled() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend(), faults=Faults(job_stalls_at_step=1)) as address:
        yield address


def begun(url: str) -> str:
    content = "\n".join(json.dumps(ROW) for _ in range(12)).encode()
    with OpenAI(base_url=url, api_key="any") as client:
        file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        return client.fine_tuning.jobs.create(model=CHAT, training_file=file.id).id


def test_a_job_is_followed_to_its_end_with_its_checkpoints(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = begun(url)
    assert main(["jobs", "follow", job, "--base-url", url, "--profile=twin"]) == 0
    said = capsys.readouterr().out
    assert "Step 1/" in said
    assert f"checkpoint at step 16: ft:{CHAT}" in said
    assert said.splitlines()[-1].startswith(job)
    assert said.count("Created fine-tuning job") == 1


def test_jobs_are_listed_with_or_without_an_action_and_options_may_stand_on_either_side(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job = begun(url)
    for arguments in (
        ["jobs", "--base-url", url],
        ["jobs", "list", "--base-url", url],
        ["jobs", "--base-url", url, "list"],
    ):
        assert main(arguments) == 0
        assert job in capsys.readouterr().out
    assert main(["jobs", "--base-url", url, "--json"]) == 0
    assert job in {found["id"] for found in json.loads(capsys.readouterr().out)}


def test_a_job_is_cancelled(stalled: str, capsys: pytest.CaptureFixture[str]) -> None:
    job = begun(stalled)
    assert main(["jobs", "cancel", job, "--base-url", stalled]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert main(["jobs", "follow", job, "--base-url", stalled, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"


def test_a_paused_job_goes_on(stalled: str, capsys: pytest.CaptureFixture[str]) -> None:
    job = begun(stalled)
    with OpenAI(base_url=stalled, api_key="any") as client:
        while client.fine_tuning.jobs.retrieve(job).status != "running":
            time.sleep(0.01)
        client.fine_tuning.jobs.pause(job)
    assert main(["jobs", "resume", job, "--base-url", stalled]) == 0
    assert job in capsys.readouterr().out


def test_a_job_that_is_not_there_is_an_error_in_the_services_words(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "cancel", "ftjob-none", "--base-url", url]) == 1
    said = capsys.readouterr().err
    assert "ftjob-none" in said
    assert "hint:" in said


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert main(["jobs"]) == 1
    assert "OPENAI_API_KEY" in capsys.readouterr().err
