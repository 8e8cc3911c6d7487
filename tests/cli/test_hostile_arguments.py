"""Arguments and files that cannot be: one screen and an exit status, whatever is typed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from harness.cli import main

ROWS = "".join(json.dumps({"prompt": f"what is {k}?", "completion": str(k)}) + "\n" for k in range(30))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    (tmp_path / "there").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "digits.json").write_text('{"schema": ' + "9" * 5_000 + "}", encoding="utf-8")
    return tmp_path


SPLIT, CONVERT = ("split", "rows.jsonl", "--heldout=5"), ("convert", "rows.jsonl")
HOSTILE = [
    *[
        (("split", "rows.jsonl", f"--heldout={text}"), "--heldout")
        for text in ("", "1_0", "٣", "nan", "1e1", "-1")
    ],
    *[((*SPLIT, f"--seed={text}"), "seed") for text in ("-1", "1_0", "٣", "9" * 30, "1.0")],
    *[((*SPLIT, f"--to={name}"), name) for name in ("rows.jsonl", "pipe", "null", "loop")],
    *[
        ((*CONVERT, f"--to={name}", "--force"), name)
        for name in (
            "there",
            "pipe",
            "null",
            "loop",
            ".",
            "/proc/x",
        )
    ],
    *[
        ((*CONVERT, f"--to={name}"), "argument")
        for name in ("a\0b", "x" * 5_000, "\ud800", "a\nb", "\x1b[2J")
    ],
    *[(("validate", name), "cannot be read") for name in ("pipe", "null", "there", "loop")],
    *[(("validate", name), "argument") for name in ("", " ", "a\0b", "\ud800", "x" * 5_000)],
    *[
        (("validate", "rows.jsonl", f"--epochs={text}"), "epochs")
        for text in ("0", "nan", "inf", "1e400", "-1")
    ],
    *[(("validate", "rows.jsonl", f"--max-tokens={text}"), "tokens") for text in ("0", "-1", "1_0", "2.5")],
    *[
        (("report", name), name)
        for name in ("pipe", "null", "loop", "deep.json", "digits.json", "rows.jsonl")
    ],
    *[(("twin", "--scripted", f"--port={text}"), "port") for text in ("-1", "99999", "1_0", "٣", "x")],
    *[
        (("twin", "--scripted", "--port=0", f"--state={name}"), name)
        for name in ("rows.jsonl", "pipe", "loop")
    ],
    (("jobs", "--base-url=http://"), "http://"),
    (("jobs", "--base-url="), "empty"),
]


@pytest.mark.parametrize(("arguments", "says"), HOSTILE, ids=lambda value: ascii(value)[:60])
def test_it_is_refused_on_one_screen_that_names_it(
    folder: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own
        status = int(ended.code or 0)
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert says in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 40
    assert max(map(len, said.splitlines())) < 800
    assert all(line.isprintable() for line in said.splitlines())
    assert {path.name: path.lstat().st_mode for path in folder.iterdir()} == before


def test_a_state_that_is_none_of_a_twin_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.testing.fake_openai import running_fake_openai

    with running_fake_openai(folder / "kept"):
        pass
    for file in (folder / "kept").iterdir():
        if file.is_file():
            file.write_bytes(b"no database" * 100)
    assert main(["twin", "--scripted", "--port=0", "--state=kept"]) == 2
    assert "is no state of a twin" in capsys.readouterr().err


def test_a_service_that_nobody_runs_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        assert main(["jobs", f"--base-url={url}"]) == 1
    said = capsys.readouterr().err
    assert f"nobody answers at {url} (Connection refused)" in said
    assert "hint:" in said
