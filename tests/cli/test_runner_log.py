"""What a command prints in a step of GitHub Actions: no line of it is one that the runner acts on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.cli.runner_log import taken_for_text

HOSTILE = "::set-output name=verdict::GO"


@pytest.fixture(autouse=True)
def step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


def test_rows_that_look_like_commands_are_printed_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": HOSTILE, "content": "##[error]b"}]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    main(["validate", str(file)])
    main(["validate", f"{file}\n{HOSTILE}"])
    out, error = capsys.readouterr()
    assert HOSTILE in out + error
    assert not re.search(r"^[^|\w]*::|##\[", out + error, re.MULTILINE)


@pytest.mark.parametrize("parts", [["::", "err", "or::x\n"], ["\u200b ::error::x"], ["a\r::error::x\n"]])
def test_lines_that_come_in_parts(parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with taken_for_text(is_json=False):
        for part in parts:
            sys.stdout.write(part)
            sys.stdout.flush()
    assert not re.search(r"(^|[\r\n])[^|\w]*::", capsys.readouterr().out)


def test_a_document_means_what_it_meant(capsys: pytest.CaptureFixture[str]) -> None:
    whole = {"text": "##[error] #[ ::error::"}
    with taken_for_text(is_json=True):
        sys.stdout.write(json.dumps(whole, indent=1))
    out = capsys.readouterr().out
    assert "##[" not in out
    assert json.loads(out) == whole


def test_a_file_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out").open("w") as file:
        monkeypatch.setattr("sys.stdout", file)
        with taken_for_text(is_json=False):
            sys.stdout.write(HOSTILE)
    assert (tmp_path / "out").read_text() == HOSTILE
