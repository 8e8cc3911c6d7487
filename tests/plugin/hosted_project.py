"""A small project whose candidate is tuned at a twin of the service, and runs of it that are cut short."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pytest
from openai import OpenAI
from small_project import TARGET, SmallProject, jsonl, row

from harness.testing.fake_openai import CHAT, twin_stats
from harness.testing.fake_openai.backend import Question

HOSTED = """
from harness import OpenAITuning


@harness.candidate
def hosted():
    return OpenAITuning(base="{base}", train="train.jsonl", dev="dev.jsonl", epochs=1, base_url="{url}",
                        profile="twin", api_key_env="HARNESS_TEST_KEY", metadata={{"team": "support"}},
                        decoding=harness.Decoding(max_new_tokens=8))
"""
KEY = "sk-planted-7f3a9c"
CHOSEN = ("--candidate=hosted", "-p", "no:randomly", "-p", "no:hypothesispytest", "-p", "no:cacheprovider")
PRELOADED = [
    "bpe_openai",
    "harness.plugin",
    "harness.report.html",
    "httpx2",
    "matplotlib.figure",
    "openai",
    "scipy.stats",
]


def says(question: Question) -> str:
    """What the tuned model has learnt, and its base has not."""
    return "no" if question.weights is None else "yes"


def tuned_at(project: SmallProject, url: str) -> SmallProject:
    """The project with one suite, its candidate tuned at ``url``; every row has an id and an intent."""
    project.conftest(HOSTED.format(base=CHAT, url=url))
    for name, n in (("train", 30), ("dev", 4)):
        told = [row(f"{name}-id-{k}", f"{name} {k}?", intent=f"intent-{k}") for k in range(n)]
        project.write(f"{name}.jsonl", jsonl(told))
    project.suite(TARGET)
    return project


def uploads(url: str) -> dict[str, bytes]:
    """What was uploaded for tuning, by the file's name."""
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        files = [file for file in client.files.list() if file.purpose == "fine-tune"]
        return {file.filename: client.files.content(file.id).content for file in files}


def assert_paid_once(url: str) -> None:
    """One job, and one upload of each of its two files."""
    stats = twin_stats(url)
    sent = stats["uploads_by_sha256"]
    assert isinstance(sent, dict)
    assert sorted(sent.values()) == [1, 1]
    assert stats["jobs"] == 1


@contextmanager
def started(project: SmallProject, *more: str) -> Iterator[subprocess.Popen[str]]:
    """``pytest`` on the project as a user starts it; killed at the end if it still runs."""
    command = [sys.executable, "-m", "pytest", "suites", *CHOSEN, *more]
    with subprocess.Popen(
        command, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_killed(project: SmallProject, at: int, *, after: bool) -> int | None:
    """A run whose process kills itself before (or after) its ``at``-th request; its exit code.

    Processes are forked from one that has imported what a run needs: starting Python anew takes seconds.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(project.path, dict(os.environ), at, after))
    process.start()
    process.join()
    return process.exitcode


def _run(folder: Path, environment: dict[str, str], at: int, after: bool) -> None:
    import httpx2

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    quiet = os.open("killed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    reached = _killed_at(at)
    send, send_async = httpx2.Client.send, httpx2.AsyncClient.send

    def sent(*given: object, **named: object) -> object:
        last = reached()
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        response = send(*given, **named)  # type: ignore[arg-type]
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    async def sent_async(*given: object, **named: object) -> object:
        last = reached()
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        response = await send_async(*given, **named)  # type: ignore[arg-type]
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    httpx2.Client.send = sent  # type: ignore[method-assign,assignment]
    httpx2.AsyncClient.send = sent_async  # type: ignore[method-assign,assignment]
    os._exit(pytest.main(["suites", *CHOSEN]))


def _killed_at(at: int) -> Callable[[], bool]:
    """Whether a request is the ``at``-th."""
    seen = count()
    return lambda: next(seen) == at


def told_commands(said: str) -> dict[str, list[str]]:
    """The ``harness jobs`` commands that a message names, by action: their arguments."""
    told = re.findall(r"`harness (jobs (\w+) [^`]+)`", " ".join(said.split()))
    return {action: command.split() for command, action in told}
