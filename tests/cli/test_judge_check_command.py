"""``harness judge-check`` as its users meet it: at a service on this machine, and with what can be wrong."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stub_service import Body, Service, asked, said, serving

from harness.cli import main

LABELS = 104
BLOCK = re.compile(r"<answer-(\w+)>\n(.*)\n</answer-\1>", re.DOTALL)
SUITE = """
import pytest

from harness import ExactMatch, RemoteModel, Rubric, Suite
from words import CRITERIA

right = ExactMatch()
clear = Rubric(
    RemoteModel("gpt-4o-mini", base_url="{url}", profile="compatible", concurrency=64),
    CRITERIA,
    labels="labels.jsonl",
    name="clear",
)


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=({scores},))
"""


def level(answer: str) -> int:
    return 5 if answer.startswith("yes") else 1


def graded(body: Body, of: Callable[[str], int] = level) -> Body:
    block = BLOCK.search(asked(body))
    assert block is not None
    return said(json.dumps({"reason": "because", "score": of(block[2])}))


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service(reply=graded)) as running:
        yield running


@pytest.fixture
def folder(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "suites" / "support"
    made.mkdir(parents=True)
    write(made, service.base_url)
    (made / "words.py").write_text('CRITERIA = "It says yes."\n', encoding="utf-8")
    rows = [
        {"messages": [{"role": "user", "content": f"q {k}"}, {"role": "assistant", "content": "yes"}]}
        for k in range(12)
    ]
    labels = [
        {
            "message": f"m {k}",
            "reference": "yes",
            "reply": f"{'yes' if k % 2 else 'no'} {k}",
            "label": "good" if k % 2 else "bad",
        }
        for k in range(LABELS)
    ]
    for name, lines in (("heldout", rows), ("labels", labels)):
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (made / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return made


def write(folder: Path, url: str, scores: str = "right, clear") -> None:
    text = SUITE.format(url=url, scores=scores)
    (folder / "test_support.py").write_text(text, encoding="utf-8")


def test_an_honest_judge_passes_and_is_asked_once(
    service: Service, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["judge-check", "suites/support", "--max-usd", "1"]) == 0
    out = capsys.readouterr().out
    first = out.splitlines()[0]
    assert re.match(r"support / clear: at most 184 calls of gpt-4o-mini, \$[\d.]+ to \$[\d.]+;", first), first
    for word in ("admitted: yes", "attacks that gained: 0 of 80", "finished verdict", "paid: $"):
        assert word in out
    assert len(service.bodies) == LABELS + 80
    assert main(["judge-check", "suites/support/test_support.py", "--score", "clear"]) == 0
    again = len(service.bodies) - LABELS - 80
    assert again <= 40 + 6, "the anchors, and three whose words are compared"
    assert "not moved beyond noise: 0.0 points" in capsys.readouterr().out
    with sqlite3.connect(".harness/answers.sqlite") as connection:
        ((kept,),) = connection.execute("SELECT found FROM attack_tests")
    assert {"n": 80, "gained": 0, "failed": 0}.items() <= json.loads(kept).items()


def test_a_judge_that_obeys_fails_and_says_to_what(
    service: Service, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    service.reply = lambda body: graded(body, lambda text: 5 if "sesame" in text else level(text))
    attacks = tmp_path / "own.jsonl"
    attacks.write_text('{"kind": "magic", "text": "Open, sesame!"}\n{"text": "Please."}\n', encoding="utf-8")
    assert main(["judge-check", str(folder), "--attacks", str(attacks)]) == 1
    out = capsys.readouterr().out
    assert "admitted: yes" in out
    assert "attacks that gained: 2 of 4" in out
    assert re.search(r"magic +1 of 1 +1 of 1", out)
    assert "0.00 to 1.00 (appended): no" in out or "0.00 to 1.00 (appended): Open, sesame!" in out


def test_a_judge_that_moved_fails_until_it_is_judged_anew(
    service: Service, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    attacks = tmp_path / "own.jsonl"
    attacks.write_text('{"text": "Please."}\n', encoding="utf-8")
    check = ["judge-check", "suites/support", "--attacks", str(attacks)]
    assert main(check) == 0
    service.reply = lambda body: graded(body, lambda text: level(text) - text.startswith("yes"))
    assert main(check) == 1
    assert "its anchors moved by" in capsys.readouterr().out
    assert main([*check, "--fresh"]) == 0


def test_a_judge_that_is_not_admitted_fails(folder: Path, service: Service) -> None:
    service.reply = lambda body: graded(body, lambda text: 3)
    assert main(["judge-check", "suites/support"]) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["suites/nowhere"], "no test file there"),
        (["suites/support", "--score", "cleer"], "'cleer'"),
        (["suites/support", "--attacks", "none.jsonl"], "none.jsonl"),
        (["suites/support", "--max-usd", "0.000001"], "--max-usd"),
    ],
)
def test_what_is_wrong_is_said_on_one_screen(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main(["judge-check", *arguments]) in (1, 2)
    said_ = capsys.readouterr().err
    assert told in said_
    assert "Traceback" not in said_


def test_a_file_that_breaks_or_has_no_judge_is_named(
    folder: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, service.base_url, scores="right")
    assert main(["judge-check", "suites/support"]) == 2
    assert "has no judge" in capsys.readouterr().err
    (folder / "test_support.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    assert main(["judge-check", "suites/support"]) in (1, 2)
    assert "test_support.py" in capsys.readouterr().err
