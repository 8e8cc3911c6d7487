"""Answers, names and rows that try to steer the terminal, the page or the parser."""

from __future__ import annotations

from xml.etree import ElementTree as XmlTree

import pytest
from small_project import SUITE, TARGET, SmallProject, jsonl, row, rows

ANSWERS = {
    "markup": "[red]bold[/] [/] [link=file:///etc/passwd]x[/link]",
    "ansi": "\x1b[2J\x1b[31mEVIL\x1b[0m \x1b]0;title\x07 \x9b31m \r gone",
    "page": "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}",
    "long": "no " * 40_000,
    "nothing": "",
    "nul": "no\0no \u202e reversed \u2028 line",
    "half": "no \ud800 way",
}
HOSTILE = """

def hostile(prompt, size):
    log(prompt.row_id)
    return {answer!r}


@harness.candidate
def hostile_one():
    return Scripted(train="train.jsonl", reply=hostile)
"""


@pytest.mark.parametrize(("kind", "colour"), [*((kind, "yes") for kind in ANSWERS), ("ansi", "no")])
def test_a_hostile_answer_breaks_neither_terminal_nor_page(
    project: SmallProject, kind: str, colour: str
) -> None:
    project.conftest(HOSTILE.format(answer=ANSWERS[kind]))
    project.suite()
    outcome = project.run("--candidate=hostile-one", f"--color={colour}", "-vv", "--junitxml=out.xml")
    assert outcome.status == 1
    assert "INTERNALERROR" not in outcome.said
    assert "REFUTED" in outcome.out
    for raw in ("\x1b[2J", "\x1b[31mEVIL", "\x1b]0;", "\x9b", "\x07", "\0", "\u202e"):
        assert raw not in outcome.said
    if colour == "no":
        assert "\x1b" not in outcome.out
    page = (project.path / "reports" / project.record.id / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert len(page) < 8_000_000
    assert XmlTree.parse(project.path / "out.xml").getroot()[0].attrib["failures"] == "1"
    project.run("--candidate=hostile-one")
    assert len(project.asked) == 80
    first, second = project.records()
    assert first.gates == second.gates


def test_the_terminal_shows_what_a_hostile_answer_held(project: SmallProject) -> None:
    project.conftest(HOSTILE.format(answer=ANSWERS["ansi"]))
    project.suite()
    assert r"\x1b[31mEVIL\x1b[0m" in project.run("--candidate=hostile-one", "-vv").out


@pytest.mark.parametrize("assertion", ["assert_better(", "assert not_shown("])
def test_every_way_to_claim_keeps_escapes_away(project: SmallProject, assertion: str) -> None:
    project.conftest(HOSTILE.format(answer="\x1b[31mEVIL"))
    helper = """
def not_shown(candidate, baseline):
    return bool(candidate > baseline)

"""
    gates = f"""{helper if "not_shown" in assertion else ""}
def test_better(candidate, baseline):
    {assertion}candidate.scores(right), baseline.scores(right))
    assert candidate.scores(right) > baseline.scores(right)
"""
    project.suite(gates)
    outcome = project.run("--candidate=hostile-one")
    assert outcome.last_line == "1 failed"
    assert "\x1b" not in outcome.said


def test_an_exception_of_a_reply_keeps_escapes_away(project: SmallProject) -> None:
    raising = HOSTILE.replace("return {answer!r}", "raise ValueError({answer!r})")
    project.conftest(raising.format(answer="\x1b[31mEVIL \ud800"))
    project.suite()
    outcome = project.run("--candidate=hostile-one")
    assert "\x1b" not in outcome.said
    assert "INTERNALERROR" not in outcome.said
    assert outcome.last_line == "1 inconclusive"


@pytest.mark.parametrize("colour", ["yes", "no"])
def test_names_that_look_like_markup_are_shown_as_they_are(project: SmallProject, colour: str) -> None:
    gates = """
@pytest.mark.parametrize("what", [1, 2], ids=["[red]x", "[/]"])
def test_better(candidate, baseline, what):
    assert candidate.scores(right) > baseline.scores(right)
"""
    project.suite(gates, head=SUITE.replace('name="right"', 'name="[/bold] [blink]right"'))
    outcome = project.run("--candidate=good", f"--color={colour}")
    assert (outcome.status, "INTERNALERROR" in outcome.said) == (0, False)
    flat = "".join(outcome.out.split())
    assert "better[[red]x]" in flat
    assert "better[[/]]" in flat
    assert "[/bold][blink]right" in flat


def test_rows_that_look_like_markup_are_shown_as_they_are(project: SmallProject) -> None:
    held = [row("[/]\x1b[31m-5", "<b>{{ 1 }}</b>"), *rows("support", 20)]
    project.write("train.jsonl", jsonl(rows("train", 3)))
    project.suite(held=held)
    outcome = project.run("--candidate=bad", "--baseline=good", "--color=no", "-vv")
    assert outcome.status == 1
    assert r"[/]\x1b[31m-5" in outcome.out
    assert "\x1b" not in outcome.out
    page = (project.path / "reports" / project.record.id / "report.html").read_text(encoding="utf-8")
    assert "<b>{{" not in page


def test_a_suite_without_any_right_answer_is_inconclusive_not_a_crash(project: SmallProject) -> None:
    """Constant and empty: the degenerate ends of every interval."""
    project.suite(TARGET, held=rows("support", 1))
    outcome = project.run("--candidate=good")
    assert outcome.last_line == "1 inconclusive"
