"""``harness store``: what is there, whether it is whole, and what may go."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from harness.cli.main import main
from harness.records import Answer, Training
from harness.store.adapters import AdapterStore, resume_file
from harness.store.answers import AnswerStore
from harness.store.upkeep import HOSTED

KEYS = {name: letter * 64 for name, letter in zip(("new", "old", "paid"), "abc", strict=True)}


def made(key: str) -> Training:
    return Training(key, 2, 0, 3, 6, 100, 40, 1.5, 200.0, (), None, "cpu", "bfloat16", ("a", "b"), {}, "d")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three artifacts, two of which nobody used for 40 days; a killed training; answers and vectors."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".harness"
    adapters = AdapterStore(folder / "adapters")
    long_ago = time.time() - 40 * 86_400

    for name, key in KEYS.items():

        def build(part: Path, name: str = name, key: str = key) -> Training:
            (part / "adapter_model.safetensors").write_bytes(b"w" * 5_000)
            if name == "paid":
                (part / HOSTED).write_text("{}", "utf-8")
            return made(key)

        adapters.get_or_train(key, build)
        if name != "new":
            os.utime(adapters.folder(key) / "manifest.json", (long_ago, long_ago))
    (folder / "adapters" / f"{'d' * 32}.part-x").mkdir()
    resume = resume_file(folder / "adapters" / ("d" * 32))
    resume.write_bytes(b"r" * 100)
    os.utime(resume, (long_ago, long_ago))
    with closing(AnswerStore(folder / "answers.sqlite", run="2026-11-28T00:00:00.000000+00:00")) as answers:
        answers.keep_answers("context", [Answer("a", "yes", 1, 1, 0.0)])
        answers.keep_embeddings({"key": b"v" * 300})
    return folder


def names(store: Path) -> set[str]:
    return {path.name[:1] + path.suffix for path in (store / "adapters").iterdir() if path.suffix != ".lock"}


def test_ls_tells_what_is_there_and_who_used_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = store.parent / "reports" / "20261128-1"
    run.mkdir(parents=True)
    trials = f'{{"trials": [{{"candidate": "qlora", "training": {{"fingerprint": "{KEYS["new"]}"}}}}]}}'
    (run / "run.json").write_text(trials, "utf-8")
    assert main(["store", "ls"]) == 0
    said = capsys.readouterr().out
    lines = {line.split("  (")[0].split()[-1]: line for line in said.splitlines()[1:]}
    assert "2 rows, 6 steps; qlora in 20261128-1" in lines["a" * 32]
    assert "now" in lines["a" * 32]
    assert "40 d" in lines["b" * 32]
    assert "hosted" in lines["c" * 32]
    assert "1 answers" in said


def test_verify_names_what_is_wrong_and_the_mend(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "verify"]) == 0
    assert "all is as it was written" in capsys.readouterr().out
    (store / "adapters" / ("a" * 32) / "adapter_model.safetensors").write_bytes(b"x" * 5_000)
    with (store / "answers.sqlite").open("rb+") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)
    assert main(["store", "verify"]) == 1
    said = capsys.readouterr().out
    assert f"{'a' * 32}/adapter_model.safetensors: its bytes are not those" in said
    assert "answers.sqlite: SQLite finds" in said
    assert said.count("hint: ") == 2
    assert not list(store.glob("*.damaged-*")), "it changes nothing"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--dry-run"], {"a", "b", "c", "d.part-x", "d.safetensors"}),
        ([], {"a", "c"}),
        (["--older-than=50d"], {"a", "b", "c", "d.safetensors"}),
        (["--older-than=0"], {"c"}),
        (["--paid"], {"a"}),
    ],
)
def test_gc_removes_what_is_made_again_for_free_and_nothing_paid_unless_asked(
    store: Path, options: list[str], left: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "gc", *options]) == 0
    assert names(store) == left
    said = capsys.readouterr().out
    assert ("would be free" in said) == ("--dry-run" in options)
    with closing(AnswerStore(store / "answers.sqlite")) as answers:
        assert answers.answers("context"), "they are younger"
        assert bool(answers.embeddings(["key"])) == ("--dry-run" in options)
    assert main(["store", "verify"]) == 0


def test_gc_leaves_a_run_what_it_is_making(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FileLock(store / "adapters" / f"{'d' * 32}.lock"):
        assert main(["store", "gc"]) == 0
    assert {"d.part-x", "d.safetensors"} <= names(store)
    assert "a run is making it" in capsys.readouterr().out


def test_a_store_that_is_not_there_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "ls", f"--harness-store={tmp_path / 'none'}"]) == 2
    assert "hint: name its folder" in capsys.readouterr().err
