"""docs/reliability.md: each promise names tests that there are."""

from __future__ import annotations

import re

from pages import ROOT, spans

from harness.candidates.base import asked_with_prompt
from harness.records import Message, Row
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import ExactMatch
from harness.scoring.suite import Suite

PAGE = ROOT / "docs" / "reliability.md"


def test_every_test_that_a_promise_names_is_there() -> None:
    named = {code for _, code in spans(PAGE) if code.startswith("test_")}
    files = (file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = {
        name for text in files for name in re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)
    }
    assert named - there == set()
    assert len(named) > 40, "the page was read"


def test_every_promise_names_a_test() -> None:
    promises = PAGE.read_text(encoding="utf-8").split("## What is promised, and")[1].split("\n## ")[0]
    bare = [line for line in promises.splitlines() if line.startswith("| ") and "`test_" not in line]
    assert len(bare) == 2, bare  # the head, and the line below it


def test_templates_in_rows_and_prompts_stay_text() -> None:
    hostile = "{{ 7 * 7 }} {% for x in y %} {0.__class__} {prompt} %(a)s ${HOME} {system}"
    row = Row("r", (Message("system", hostile), Message("user", hostile), Message("assistant", "yes")))
    suite = Suite(heldout="heldout.jsonl", scores=(ExactMatch(),))
    for prompt, expected in (
        ("Before {system} after", f"Before {hostile} after"),
        (hostile, hostile.replace("{system}", hostile)),  # the place of the row's own, filled once
    ):
        bound = LoadedSuite("s", suite, (row,), prompt, suite.scores, "heldout.jsonl", ROOT)
        asked = asked_with_prompt(row, bound.prompt_of(row))
        assert [turn.content for turn in asked] == [expected, hostile]
