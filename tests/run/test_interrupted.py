"""Answers that were paid for are kept, whatever ends the run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from stub_service import Body, Service, said, serving

from harness.errors import StoreError
from harness.records import Answer
from harness.run.answering import keeping
from harness.store.answers import AnswerStore

CONTEXT, AT_ONCE = "context", 16
CHILD = f"""
import sys
from contextlib import closing
from pathlib import Path
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.plugin.stopping import sigterm_as_ctrl_c
from harness.records import Message
from harness.run.answering import keeping
from harness.store.answers import AnswerStore

url, store = sys.argv[1:]
model = RemoteModel("m", base_url=url, api_key_env="NO_SUCH_KEY", concurrency={AT_ONCE}).open()
prompts = [Prompt(f"r{{k}}", (Message("user", f"q{{k}}"),)) for k in range(5000)]
coming = model.answer(prompts, Decoding(), frozenset())
kept = keeping(AnswerStore(Path(store)), "{CONTEXT}", coming, model.late)
with sigterm_as_ctrl_c(), closing(kept) as answers:
    for answer in answers:
        pass
"""


class SlowAfterADozen(Service):
    """The first twelve answers come at once, the others not in this test."""

    begun = 0

    async def handle(self, request: Request) -> Response:
        self.begun += 1
        if self.begun > 12:
            await asyncio.sleep(60)
        return await super().handle(request)


@contextmanager
def asking(service: Service, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that asks the service 5,000 questions."""
    command = [sys.executable, "-c", CHILD, service.base_url, str(folder / "a.sqlite")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def kept(folder: Path) -> int:
    return len(AnswerStore(folder / "a.sqlite").answers(CONTEXT))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_lose_no_answer(number: signal.Signals, tmp_path: Path) -> None:
    answered: list[Body] = []

    def reply(body: Body) -> Body:
        answered.append(body)
        return said("yes")

    with serving(Service(delay_s=0.1, reply=reply)) as service, asking(service, tmp_path) as child:
        until(lambda: len(answered) >= 5 * AT_ONCE)
        child.send_signal(number)
        assert child.wait(30) != 0
        assert kept(tmp_path) == len(answered) == len(service.bodies)


def test_that_holds_where_the_runner_ignores_ctrl_c(pytestconfig: pytest.Config) -> None:
    """As ``make test &`` in a script does; children inherit it."""
    tests = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    assert tests is not None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        tests.pytest_configure(pytestconfig)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_is_killed_loses_no_answer_older_than_a_second_or_so(tmp_path: Path) -> None:
    """A dozen come at once, and then none for long: nothing but the clock can have them written down."""
    service = SlowAfterADozen()
    with serving(service), asking(service, tmp_path) as child:
        until(lambda: service.begun == 12 + AT_ONCE)
        time.sleep(2.5)
        child.kill()
        child.wait()
        assert kept(tmp_path) == 12


def test_a_second_ctrl_c_ends_at_once_and_keeps_what_came(tmp_path: Path) -> None:
    service = SlowAfterADozen()
    with serving(service), asking(service, tmp_path) as child:
        until(lambda: service.begun == 12 + AT_ONCE)
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert child.poll() is None, "it waits for what is on its way"
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) != 0
        assert time.monotonic() - began < 3
        assert kept(tmp_path) == 12


# --------------------------------------------------------------------------- within one process
def answer(number: int) -> Answer:
    return Answer(f"r{number}", "yes", 1, 1, 1.0)


def test_what_came_after_the_iteration_was_left_is_kept_in_one_go(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")
    left: list[str] = []

    def coming() -> Iterator[Answer]:
        try:
            for number in range(100):
                yield answer(number)
        finally:
            left.append("left")

    def late() -> list[Answer]:
        assert left, "asked for only when nothing more can come"
        return [answer(number) for number in (2, 500, 501)]

    def interrupted() -> None:
        with closing(keeping(store, CONTEXT, coming(), late)) as answers:
            for one in answers:
                if one.row_id == "r2":
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.answers(CONTEXT).keys() == {"r0", "r1", "r2", "r500", "r501"}


def test_a_store_that_cannot_be_written_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")

    def full(context: str, answers: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "keep_answers", full)

    def coming() -> Iterator[Answer]:
        for number in range(1000):
            yield answer(number)

    got: list[Answer] = []
    with pytest.raises(StoreError, match="full"):
        got.extend(keeping(store, CONTEXT, coming()))
    assert got == []


def test_failures_are_not_kept(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")
    failed = Answer("r1", "", 0, 0, 0.0, "failed", "no")
    assert len(list(keeping(store, CONTEXT, iter([answer(0), failed])))) == 2
    assert store.answers(CONTEXT).keys() == {"r0"}


def test_ctrl_c_in_the_middle_of_a_write_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")
    keep, writes = store.keep_answers, []

    def interrupted_once(context: str, answers: Sequence[Answer]) -> None:
        writes.append(len(answers))
        if len(writes) == 3:
            raise KeyboardInterrupt
        keep(context, answers)

    monkeypatch.setattr(store, "keep_answers", interrupted_once)
    with pytest.raises(KeyboardInterrupt), closing(keeping(store, CONTEXT, map(answer, range(9)))) as answers:
        for _ in answers:
            pass
    assert store.answers(CONTEXT).keys() == {"r0", "r1", "r2"}


def test_progress_is_watched_while_an_answer_is_long_in_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.run.answering.WATCH_S", 0.01)
    watched: list[str] = []

    def coming() -> Iterator[Answer]:
        yield answer(0)
        until(lambda: len(watched) >= 3)
        yield answer(1)

    def watch() -> None:
        watched.append(threading.current_thread().name)

    store = AnswerStore(tmp_path / "a.sqlite")
    assert len(list(keeping(store, CONTEXT, coming(), watch=watch))) == 2
    seen = len(watched)
    time.sleep(0.05)
    assert len(watched) == seen, "it ends with the answers"
    assert set(watched) == {"harness progress"}


def test_half_a_surrogate_pair_is_stored_as_a_question_mark(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path / "a.sqlite")
    (passed_on,) = keeping(store, CONTEXT, iter([replace(answer(0), text="a\ud800b")]))
    assert passed_on.text == "a?b" == store.answers(CONTEXT)["r0"].text
