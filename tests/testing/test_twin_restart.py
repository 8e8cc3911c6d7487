"""A twin with a folder goes on where it was: restarted, or killed and restarted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI
from twin_client import asked, new_job, waited

from harness.cli.main import main
from harness.errors import UsageError
from harness.testing.fake_openai import Faults, ScriptedBackend, running_fake_openai, twin_stats

ROOT = Path(__file__).parents[2]


def test_files_jobs_and_models_outlive_the_server(tmp_path: Path) -> None:
    with (
        running_fake_openai(backend=ScriptedBackend(), state=tmp_path) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        done = waited(client, new_job(client).id)
    with (
        running_fake_openai(backend=ScriptedBackend(), state=tmp_path) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        assert client.fine_tuning.jobs.retrieve(done.id) == done
        assert client.files.retrieve(done.training_file).id == done.training_file
        assert asked(client, done.fine_tuned_model or "", "question 3") == "reply 3"
        assert (twin_stats(url)["uploads"], twin_stats(url)["jobs"]) == (1, 1)


def test_an_unfinished_job_is_taken_up_again(tmp_path: Path) -> None:
    stalls = Faults(job_stalls_at_step=2)
    with (
        running_fake_openai(backend=ScriptedBackend(), state=tmp_path, faults=stalls) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        running, queued = new_job(client), new_job(client)
        waited(client, running.id, ("running",))
        waited(client, queued.id, ("queued",))
    with (
        running_fake_openai(backend=ScriptedBackend(), state=tmp_path) as url,
        OpenAI(base_url=url, api_key="any", max_retries=0) as client,
    ):
        done = [waited(client, job.id) for job in (running, queued)]
        assert [job.status for job in done] == ["succeeded", "succeeded"]
        events = list(client.fine_tuning.jobs.list_events(running.id))
        steps = [event for event in events if event.type == "metrics"]
        assert len(steps) == 4  # none twice


def test_without_a_folder_everything_is_forgotten() -> None:
    for _ in range(2):
        with (
            running_fake_openai(backend=ScriptedBackend()) as url,
            OpenAI(base_url=url, api_key="any", max_retries=0) as client,
        ):
            assert not client.fine_tuning.jobs.list().data
            new_job(client)


def start(state: Path) -> tuple[subprocess.Popen[str], str]:
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "twin",
        "--scripted",
        "--port",
        "0",
        "--state",
        str(state),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(3))
    found = re.search(r"export OPENAI_BASE_URL=(\S+) OPENAI_API_KEY=any", said)
    assert found, said
    return process, found[1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_command_serves_until_it_is_told_to_end_and_survives_a_kill(tmp_path: Path) -> None:
    process, url = start(tmp_path / "state")
    try:
        with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            done = waited(client, new_job(client).id)
    finally:
        process.kill()
        process.communicate()
    process, url = start(tmp_path / "state")
    try:
        with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            assert asked(client, done.fine_tuned_model or "", "question 3") == "reply 3"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with running_fake_openai(backend=ScriptedBackend()) as url:
        port = url.removesuffix("/v1").rpartition(":")[2]
        assert main(["twin", "--scripted", "--port", port]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err


def test_an_unknown_fault_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["twin", "--scripted", "--fail", "gremlins=1"]) == 2
    assert "job_fails_at_step" in capsys.readouterr().err
    assert main(["twin", "--scripted", "--fail", "dropped"]) == 2
    assert "write FAULT=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_a_missing_extra_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(UsageError, match=re.escape("pip install 'finetune-harness[twin]'")),
        running_fake_openai(backend=ScriptedBackend()),
    ):
        pass
