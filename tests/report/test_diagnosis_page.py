"""A diagnosis as pages and lines: hostile text stays text; failures that cannot be matched are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sample_run import diagnosis

from benchmarks.hostile_values import TEXTS
from harness.cli import main
from harness.report.diagnosis import diagnosis_html, diagnosis_lines, diagnosis_markdown, write_diagnosis

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        *(text for text in TEXTS if len(text) < 9999),
        "<script>alert(1)</script>",
        "\x1b]0;owned\x07 \u202e | [a](http://b) @all",
    ],
)
def test_hostile_text_is_text_everywhere(text: str) -> None:
    found = diagnosis(text)
    page = diagnosis_html(found)
    assert "default-src 'none'" in page
    assert "<script" not in page.lower()
    assert not re.search(r"<(img|svg|a|iframe|link|b|table onload)[ >/]", page.replace("<b>Next:", ""))
    markdown = diagnosis_markdown(found)
    assert not re.search(r"<script|\[a\]\(http|(?<![\w.])@\w", markdown)
    assert not re.search(r"[\x00-\x08\x1b\u202e]", "\n".join(diagnosis_lines(found)))


def test_all_three_files_say_the_same(tmp_path: Path) -> None:
    found = diagnosis("words of production")
    page = write_diagnosis(found, tmp_path).read_text("utf-8")
    data = json.loads((tmp_path / "diagnosis.json").read_text("utf-8"))
    markdown = (tmp_path / "diagnosis.md").read_text("utf-8")
    assert data["causes"] == ["shift"]
    assert data["tests"][0]["adjusted"] == 0.001
    for text in (page, markdown, "\n".join(diagnosis_lines(found))):
        assert "not those that it was tested on" in text
        assert "0.30 to 0.70" in text
        assert "p = 0.001" in text


SYSTEM = "Turn the customer's message into a support ticket."
REPLY = '{"intent": "refund", "urgency": "low", "summary": "Wants the money back"}'


@pytest.mark.parametrize(
    ("row", "problem", "mend"),
    [
        ({"text": "hello"}, ":1: no 'messages'", "give 'messages'"),
        ({"messages": [("user", "hello")]}, ":1: no assistant message", "a good assistant would give"),
        (
            {"messages": [("system", "You are a pirate."), ("user", "hello"), ("assistant", REPLY)]},
            ":1: its system message is neither that of the training rows",
            "ask as it was trained",
        ),
        (
            {"messages": [("system", SYSTEM), ("user", "hello"), ("assistant", "It is late.")]},
            ":1: 'valid JSON' scores the row's own reference 0",
            "the right answer, not the model's",
        ),
    ],
)
def test_failures_that_cannot_be_matched(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, object],
    problem: str,
    mend: str,
) -> None:
    monkeypatch.chdir(ROOT)
    if isinstance(turns := row.get("messages"), list):
        row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    file = tmp_path / "failures.jsonl"
    file.write_text(json.dumps(row), "utf-8")
    run = "tests/report/records/schema-2.json"
    assert main(["diagnose", run, str(file), "--no-ask", "--harness-store", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert problem in said
    assert "hint:" in said
    assert mend in said
    assert said.count("\n") < 6


def test_a_run_that_has_nothing_to_diagnose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run.json"
    old = json.loads((ROOT / "tests/report/records/schema-2.json").read_text("utf-8"))
    run.write_text(json.dumps({**old, "schema": 0}), "utf-8")
    assert main(["diagnose", str(run), "x.jsonl"]) == 1
    assert "run record schema 0" in capsys.readouterr().err
    run.write_text(json.dumps({**old, "trials": []}), "utf-8")
    assert main(["diagnose", str(run), "x.jsonl"]) == 2
    assert "trained no candidate" in capsys.readouterr().err
    run.write_text(json.dumps(old), "utf-8")
    assert main(["diagnose", str(run), "x.jsonl", "--candidate", "qlora"]) == 2
    assert "There are: qlora-r16" in capsys.readouterr().err
