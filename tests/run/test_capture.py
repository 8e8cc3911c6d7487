"""``harness capture``: what comes is in the file, whatever ends the process, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from filelock import FileLock
from openai.types.chat import ChatCompletion
from starlette.responses import Response
from stub_service import Body, Service, asked, error, said, serving

from harness.cli import main
from harness.data.fingerprints import fingerprint
from harness.data.recorded import RecordedAnswer, parse_recorded
from harness.run.capture import read_whole

SUITE = """
import pytest

from harness import ExactMatch, Suite


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", prompt="prompt.md", scores=(ExactMatch(),), final="final.jsonl")
"""
OUT = Path("answers.jsonl")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    terminate = signal.getsignal(signal.SIGTERM)
    suite(tmp_path, "support")
    yield tmp_path
    signal.signal(signal.SIGTERM, terminate)


def suite(root: Path, name: str, n: int = 12) -> None:
    folder = root / "suites" / name
    folder.mkdir(parents=True)
    (folder / f"test_{name}.py").write_text(SUITE)
    (folder / "prompt.md").write_text("In full.")
    for file, what in (("heldout", name), ("final", f"last {name}")):
        turns = [
            [("system", "Short."), ("user", f"{what} {number}?"), ("assistant", "yes")] for number in range(n)
        ]
        rows = [{"messages": [{"role": role, "content": text} for role, text in turn]} for turn in turns]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def capture(
    service: Service, *more: str, suites: tuple[str, ...] = ("support",), model: str = "gpt-4o-mini"
) -> int:
    named = [f"suites/{name}" for name in suites]
    return main(["capture", *named, f"--model={model}", f"--base-url={service.base_url}", *more])


def answers() -> dict[str, RecordedAnswer]:
    return {str(one.id): one for one in parse_recorded(OUT.read_bytes(), str(OUT))}


def test_all_suites_go_into_one_file_and_are_asked_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite(project, "other")  # of the same rows
    (project / "suites/other/heldout.jsonl").write_bytes(
        (project / "suites/support/heldout.jsonl").read_bytes()
    )
    with serving(Service()) as service:
        assert capture(service, suites=("support", "other")) == 0
        assert capture(service, suites=("support", "other")) == 0
        assert len(service.bodies) == 24
        assert "24 answers" in capsys.readouterr().out
        first = service.bodies[0]["messages"]
        assert first == [
            {"role": "system", "content": "In full."},
            {"role": "user", "content": asked(service.bodies[0])},
        ]
        assert capture(service, "--final", "--out=final.jsonl") == 0
        assert asked(service.bodies[-1]).startswith("last support")


def test_a_fine_tune_is_asked_as_it_was_trained(project: Path) -> None:
    with serving(Service()) as service:
        assert capture(service, "--as-trained", model="ft:gpt-4o-mini:acme::x") == 0
        assert service.bodies[0]["messages"][0] == {"role": "system", "content": "Short."}  # type: ignore[index]
    assert answers()["row-1"].prompt is None


def test_replies_as_the_sdk_types_them_are_recorded_with_what_is_odd_about_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd: dict[str, Body] = {
        "0": {"content": None, "refusal": "I cannot."},
        "1": {"content": None, "tool_calls": [CALL]},
        "2": {"content": "<think>hm</think>yes", "finish_reason": "length"},
        "3": {"content": "", "finish_reason": "content_filter"},
        "4": {"content": "yes", "usage": None},
        "5": {"content": ""},
        "6": {"content": 'é\u2028"\n'},
    }

    def reply(body: Body) -> Body:
        number = asked(body).rstrip("?").split()[-1]
        made = odd.get(number, {"content": "yes"})
        choice = {
            "index": 0,
            "logprobs": None,
            "finish_reason": made.pop("finish_reason", "stop"),
            "message": {
                "role": "assistant",
                "refusal": None,
                **{k: v for k, v in made.items() if k != "usage"},
            },
        }
        tokens = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        whole = {
            **{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18"},
            **{"system_fingerprint": "fp_9", "choices": [choice], "usage": made.get("usage", tokens)},
        }
        return ChatCompletion.model_validate(whole).model_dump(mode="json")

    with serving(Service(reply=reply)) as service:
        assert capture(service) == 0
    found = answers()
    failed = {name: one.failure for name, one in found.items() if one.failure}
    assert failed == {
        "row-1": "refused: I cannot.",
        "row-2": "a tool call in place of an answer, and no tools were offered",
        "row-4": "withheld by the service's content filter",
    }
    assert (found["row-3"].answer, found["row-3"].finish) == ("<think>hm</think>yes", "length")
    assert (found["row-6"].answer, found["row-7"].answer) == ("", 'é\u2028"\n')
    assert (found["row-8"].served_by, found["row-8"].system_fingerprint) == ("gpt-4o-mini-2024-07-18", "fp_9")
    assert found["row-8"].usd == pytest.approx(9 * 0.15e-6 + 2 * 0.6e-6)
    told = capsys.readouterr().out
    assert "1 without an answer: refused: I cannot." in told
    assert "1 cut off at their limit" in told


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_call_that_failed_is_recorded_as_that_and_asked_again(project: Path) -> None:
    is_down = True

    def script(body: Body, number: int) -> Response | None:
        return error(400, "not today") if is_down and asked(body) == "support 3?" else None

    with serving(Service(script=script)) as service:
        assert capture(service) == 1
        assert "not today" in str(answers()["row-4"].failure)
        is_down = False
        assert capture(service) == 0
        assert len(service.bodies) == 13
    assert answers()["row-4"].answer == "re: support 3?"
    assert len(OUT.read_text().splitlines()) == 12


def test_a_misspelt_model_leaves_nothing_that_stands_in_the_way(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Service(script=lambda body, number: error(404, "no such model"))) as service:
        assert capture(service, model="gpt-4o-minni") == 1
        assert "answers.jsonl: 0 answers, and 12 calls that failed" in capsys.readouterr().out
        at = service.base_url
    with serving(Service()) as service:
        OUT.write_text(OUT.read_text().replace(at, service.base_url))
        assert capture(service) == 0
    assert {one.model for one in answers().values()} == {"gpt-4o-mini"}


def test_answers_are_recorded_under_a_schema_as_they_are_asked_for_in_a_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    (project / "shape.json").write_text(json.dumps(shape))
    with serving(Service()) as service:
        assert capture(service, "--schema=shape.json") == 2
        assert "no suite here has a JsonSchema check" in capsys.readouterr().err
        file = project / "suites/support/test_support.py"
        check = "JsonSchema({'type': 'object'})"
        file.write_text(SUITE.replace("ExactMatch()", check).replace("ExactMatch", "JsonSchema"))
        assert capture(service, "--schema=./shape.json") == 0
        assert service.bodies[0]["response_format"]["json_schema"]["schema"] == shape  # type: ignore[index]
        assert capture(service) == 2
    held = answers()["row-1"].settings["schema"]
    assert held == {"name": "shape.json", "digest": fingerprint(json.dumps(shape))}


def test_the_cap_ends_it_with_what_came_and_a_higher_one_goes_on(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Service()) as service:
        assert capture(service, "--max-usd=0.0001") == 1
        said_ = capsys.readouterr()
        assert "--max-usd=0.0001 is reached" in said_.err
        assert f"answers.jsonl: {len(answers())} answers" in said_.out
        assert 0 < len(answers()) == len(service.bodies) < 12
        assert capture(service, "--max-usd=1") == 0
        assert len(service.bodies) == 12
        assert capture(service, "--max-usd=1", "--out=b.jsonl", model="nobody-knows") == 2
        assert "nobody-knows" in capsys.readouterr().err


def test_one_file_holds_answers_of_one_kind(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite(project, "other")
    with serving(Service()) as service:
        assert capture(service) == 0
        before = OUT.read_bytes()

        def refused(*more: str, suites: tuple[str, ...] = ("support",)) -> str:
            assert capture(service, *more, suites=suites) == 2
            return capsys.readouterr().err

        assert "another model: gpt-4o-mini, and this command has gpt-4o" in refused("--model=gpt-4o")
        assert "another model" in refused("--model=gpt-4o", suites=("other",))
        assert "another way of asking" in refused("--as-trained")
        assert "another decoding" in refused("--max-new-tokens=64")
        (project / "suites/support/prompt.md").write_text("In other words.")
        assert "another prompt" in refused()
        assert (OUT.read_bytes(), len(service.bodies)) == (before, 12)


def test_a_row_that_changed_is_named_and_nothing_is_sent(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = project / "suites/support/heldout.jsonl"
    with serving(Service()) as service:
        assert capture(service) == 0
        held.write_text(held.read_text().replace("support 5?", "support five?"))
        assert capture(service) == 1
        assert "'row-6'" in capsys.readouterr().err
        held.write_text(
            held.read_text().replace("support five?", "support 5?").replace('"Short."', '"Brief."')
        )
        assert capture(service) == 0
        assert len(service.bodies) == 12


def test_two_at_once_do_not_write_to_one_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Service()) as service:
        with FileLock("answers.jsonl.lock"):
            assert capture(service) == 2
        assert "another harness capture writes to it" in capsys.readouterr().err
        assert service.bodies == []
        assert capture(service) == 0  # what another one left behind locks nothing, and nothing is left now
    assert {file.name for file in project.iterdir()} == {"answers.jsonl", "suites"}
    lines = capsys.readouterr().err.splitlines()
    assert re.match(r"gpt-4o-mini answers support: \d+ of 12 rows \(", lines[0])
    assert "12 of 12" in lines[-1]
    assert len(lines) <= 11


def test_a_half_line_is_dropped_and_its_row_asked_again(project: Path) -> None:
    with serving(Service()) as service:
        assert capture(service) == 0
        whole = OUT.read_bytes()
        for cut, left in ((whole + b'{"id": "row-9', 12), (whole[:-1], 12), (whole[:-20], 11)):
            OUT.write_bytes(cut)
            assert len(read_whole(OUT)) == left
            assert capture(service) == 0
            assert len(answers()) == len(OUT.read_bytes().splitlines()) == 12
        assert len(service.bodies) == 13


def test_a_process_that_is_killed_loses_nothing_that_came(project: Path) -> None:
    def script(body: Body, number: int) -> Response | None:
        if len(service.bodies) > 8:
            time.sleep(0.1)  # in the server's loop: nothing else is answered meanwhile
        return None

    with serving(Service(script=script)) as service:
        command = [sys.executable, "-m", "harness.cli", "capture", "suites/support", "--model=m"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen([*command, f"--base-url={service.base_url}"], env=environment) as child:
            end = time.monotonic() + 30
            while not OUT.exists() or OUT.read_bytes().count(b"\n") < 4:
                assert time.monotonic() < end
                time.sleep(0.005)
            child.kill()
        at = service.base_url
    came = len(answers())
    assert came >= 4
    with serving(Service()) as service:
        OUT.write_text(OUT.read_text().replace(at, service.base_url))
        assert capture(service, model="m") == 0
    assert (len(service.bodies), len(answers())) == (12 - came, 12)


@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, 5), (signal.SIGTERM, 1)])
def test_ctrl_c_keeps_what_is_on_its_way(
    project: Path, number: signal.Signals, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = count(1)

    def reply(body: Body) -> Body:
        if next(replies) == after:
            os.kill(os.getpid(), number)
        return said("yes")

    with serving(Service(reply=reply, delay_s=0.01)) as service:
        assert capture(service) == 130
        assert len(answers()) == len(service.bodies) == len(OUT.read_bytes().splitlines())
        assert f"{len(answers())} answers\n" in capsys.readouterr().out
        assert capture(service) == 0
        assert len(service.bodies) == 12
