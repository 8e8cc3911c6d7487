"""Ctrl-C and SIGTERM while a hosted model is asked: the run ends as interrupted; nothing is paid again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from threading import Thread

import pytest
from small_project import TARGET, UNDRAWN, SmallProject
from stub_service import Body, Service, said, serving

from harness.plugin.stopping import sigterm_as_ctrl_c

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpcore2", "httpx2", "starlette", "uvicorn"):
    import_module(name)

HOSTED = """
from harness.models.remote import RemoteModel


@harness.candidate
def hosted():
    at = dict(base_url="{url}", api_key_env="NO_SUCH_KEY", concurrency=4, version="1")
    return Prompted(model=RemoteModel("m", **at))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_every_answer_and_the_next_asks_the_rest(
    project: SmallProject, number: signal.Signals
) -> None:
    answered: list[Body] = []

    def reply(body: Body) -> Body:
        answered.append(body)
        return said("yes")

    with serving(Service(delay_s=0.2, reply=reply)) as service:
        project.conftest(HOSTED.format(url=service.base_url))
        project.suite(TARGET)
        project.write("suites/conftest.py", UNDRAWN)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:hypothesispytest"]
        command += ["-p", "no:cacheprovider", "--baseline=old", "--candidate=hosted"]
        run = subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 60
            while len(answered) < 8 and time.monotonic() < end:
                time.sleep(0.01)
            run.send_signal(number)
            said_last = run.communicate(timeout=60)[0]
        finally:
            run.kill()
        assert run.returncode == 2, said_last
        assert "KeyboardInterrupt" in said_last
        first = len(answered)
        assert 8 <= first < 40
        assert project.run("--candidate=hosted").status in (0, 1)
        assert len(answered) == 40, "each row is answered once, in both runs together"


def test_sigterm_is_what_it_was_once_the_run_is_over() -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def terminated() -> None:
        with sigterm_as_ctrl_c():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        terminated()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_who_listens_to_sigterm_already_is_left_alone_and_so_are_threads() -> None:
    seen: list[object] = []

    def own(number: int, frame: object) -> None:
        seen.append(number)

    def within() -> None:
        with sigterm_as_ctrl_c():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.signal(signal.SIGTERM, own)
    try:
        within()
    finally:
        signal.signal(signal.SIGTERM, before)
    thread = Thread(target=within)
    thread.start()
    thread.join()
    assert seen == [own, signal.SIG_DFL]
