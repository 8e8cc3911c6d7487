"""Bad input ends in an error for people: tries of ``python -m benchmarks doors``, and what they found."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.door_services import CHECKPOINTS, SESSION
from benchmarks.doors import run_doors, table
from harness import Contains, ExactMatch, MaxTokens, Regex
from harness.errors import DataError, HarnessError, ModelError, UsageError
from harness.models.local import with_adapter
from harness.models.remote_batch import BatchSender
from harness.report.html import write_index
from harness.report.runjson import RunHead, load_head
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import OutcomeUnknown, RequestRejected
from harness.training.tinker.service import _search, _step

FEW = {
    "options": 40,
    "environment": 10,
    "rows": 40,
    "tables": 15,
    "labels": 20,
    "recorded": 20,
    "economics": 30,
    "suites": 20,
    "run.json": 3,
    "store": 20,
    "replies": 15,
    "service": 20,
    "batches": 5,
    "shared store": 5,
    "together": 10,
    "fireworks": 10,
    "tinker": 20,
    "server": 20,
}


def test_a_few_tries_at_every_door(tmp_path: Path) -> None:
    outcomes = run_doors(FEW, tmp_path)
    bad = [one for one in outcomes if one.kind in ("traceback", "hang", "nonsense")]
    assert not bad, "\n\n".join(f"{one.door} {one.number}: {one.detail}" for one in bad)
    assert len(table(outcomes).splitlines()) == len(FEW) + 1


@pytest.mark.parametrize(
    "pattern", ["a{99999999}", r"(\d{9999}x){9999}", f"a{{{'9' * 5_000}}}", "a{99999999,}"]
)
def test_a_pattern_that_would_take_all_memory_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        Regex(pattern)
    assert Regex("a{1,99999999}").pattern  # only what is there at least is written out


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExactMatch(strip="no"),  # type: ignore[arg-type]  # that is the point
        lambda: MaxTokens("10"),  # type: ignore[arg-type]
        lambda: Contains(first_words=True),
        lambda: Contains(name="\x1b[2J"),
        lambda: Regex(int),  # type: ignore[arg-type]
    ],
)
def test_a_check_takes_no_value_of_another_type(make: object) -> None:
    with pytest.raises(UsageError, match="use "):
        make()  # type: ignore[operator]  # each is a function
    assert Regex("(?x) a\n b").pattern  # of several lines


def test_a_pipe_in_place_of_a_run_is_listed_and_not_waited_for(tmp_path: Path) -> None:
    import os

    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "run.json")
    with pytest.raises(DataError, match="a pipe"):
        load_head(tmp_path / "run" / "run.json", RunHead)
    assert "1 unreadable" in write_index(tmp_path).read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\xff", OutcomeUnknown),
        (b'{"id": ' + b"9" * 5_000 + b"}", OutcomeUnknown),
        (b'"a text"', OutcomeUnknown),
    ],
)
def test_a_reply_that_nobody_can_read_is_an_outcome_that_is_not_known(
    content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        provider(200, content).jobs()


def test_an_error_of_a_service_may_have_any_code() -> None:
    with pytest.raises(RequestRejected, match="no"):
        provider(400, b'{"error": {"message": "no", "code": ["a"], "type": {}}}').get("j")


def test_a_tinker_server_that_cannot_page_is_asked_twice() -> None:
    from tinker import types

    cursor = {"last_created_at": "2026-11-29T03:00:00Z", "last_session_id": "s-1"}
    page = types.SessionSearchResponse.model_validate({"sessions": [SESSION], "next_cursor": cursor})
    rest = SimpleNamespace(search_sessions=lambda asked: SimpleNamespace(result=lambda: page))
    assert len(list(_search(rest, "f"))) == 2  # type: ignore[arg-type]  # as much as is used


@pytest.mark.parametrize("number", ["9" * 5_000, "٣"])
def test_a_tinker_state_may_have_any_name(number: str) -> None:
    from tinker import types

    plain = CHECKPOINTS["checkpoints"][0] | {"checkpoint_id": f"harness-step-{number}"}  # type: ignore[index]
    assert _step(types.Checkpoint.model_validate(plain)) is None


def provider(status: int, content: bytes) -> OpenAIProvider:
    """One whose service answers so."""
    import httpx2
    from openai import OpenAI

    def reply(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=content, headers={"content-type": "application/json"})

    made = OpenAIProvider("http://127.0.0.1:9/v1")
    http = httpx2.Client(transport=httpx2.MockTransport(reply))
    made.__dict__["_client"] = OpenAI(
        api_key="any", base_url="http://127.0.0.1:9/v1", http_client=http, max_retries=0
    )
    return made


def test_an_answer_of_a_batch_may_hold_any_end_of_line() -> None:
    line = '{"custom_id": "a", "response": {"body": "one\u2028two\x85three"}}\n' + "[" * 100_000 + "\n"
    content = SimpleNamespace(content=lambda id: SimpleNamespace(text=line))
    sender = BatchSender.__new__(BatchSender)
    sender._insist = lambda request: request()  # type: ignore[method-assign]
    batch = SimpleNamespace(error_file_id=None, output_file_id="f")
    client = SimpleNamespace(files=content)
    assert list(sender._lines(client, batch)) == ["a"]  # type: ignore[arg-type]  # as much as is used


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(_Evil()))
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        with_adapter(None, tmp_path, None)  # type: ignore[arg-type]
    assert issubclass(ModelError, HarnessError)
