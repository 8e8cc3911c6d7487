"""What a run leaves where people look: properties in JUnit's file, annotations and a summary on GitHub."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as XmlTree

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject

TWO_CLAIMS = TARGET + GUARD.replace("def test_not_worse(candidate, baseline):\n", "").strip("\n") + "\n"
SILENT = """
def test_silent(candidate, baseline):
    pass
"""
SHOUTS = """

def shouts(prompt, size):
    return "no\\n::set-output name=x::y\\n  ::add-mask::a\\n##[error]z\\u200b"


@harness.candidate
def hostile():
    return Scripted(train="train.jsonl", reply=shouts)
"""
PRINTS = """
def test_prints(candidate, baseline):
    print(candidate.answers[0].text if hasattr(candidate, "answers") else "::set-output name=a::b")
    assert candidate.scores(right) > baseline.scores(right), "\\n::set-output name=c::d"
"""


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pytester: pytest.Pytester) -> Path:
    """The folder with the files of a step of GitHub Actions, whose workspace lies above the project."""
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_WORKSPACE": str(pytester.path.parent),
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def annotated(out: str) -> list[str]:
    """The lines that GitHub's runner acts on, once it is told to go on."""
    token = re.search(r"^::stop-commands::([0-9a-f]{32})$", out, re.MULTILINE)
    assert token is not None, out
    before, _, after = out.partition(f"\n::{token[1]}::\n")
    for line in before.splitlines():
        assert line.startswith("::stop-commands::") or not line.startswith("::"), line
    return [line for line in after.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_junit_has_the_figures_of_each_test(project: SmallProject) -> None:
    project.suite(TWO_CLAIMS)
    project.run("--candidate=good", "--junitxml=out.xml", "--sizes=10,30")
    cases = {case.get("name"): case for case in XmlTree.parse(project.path / "out.xml").iter("testcase")}
    named = {str(one.get("name")): one.get("value") for one in cases["test_better[good@30]"].iter("property")}
    assert named == {
        "score": "right",
        "claim": "target",
        "margin": "0",
        "n": "40",
        "difference": "+0.6000",
        "interval": named["interval"],
        "outcome": "shown",
        "state": "gated",
        "score_2": "right",
        "claim_2": "guard",
        "margin_2": "0.1",
        "n_2": "40",
        "difference_2": "+0.6000",
        "interval_2": named["interval"],
        "outcome_2": "shown",
        "state_2": "gated",
    }
    assert re.fullmatch(r"\[\+0\.4\d+, \+0\.7\d+\]", str(named["interval"]))
    smaller = cases["test_better[good@10]"].iter("property")
    assert "measured" in {one.get("value") for one in smaller}


def test_github_shows_refuted_and_open_gates_at_their_lines(project: SmallProject, github: Path) -> None:
    file = project.suite(TARGET + GUARD + SILENT)
    source = file.read_text().splitlines()
    outcome = project.run("--candidate=bad", "--candidate=much-the-same", "--gate=regression", "-q")
    assert outcome.status == 1
    found = annotated(outcome.out)
    where = f"{project.path.name}/suites/support/test_support.py"
    target, guard, silent = (
        next(k for k, line in enumerate(source, 1) if text in line)
        for text in ("> baseline", ">= baseline", "test_silent")
    )
    refuted = [line for line in found if line.startswith("::error ")]
    assert [line.partition(",title=")[0] for line in refuted] == [
        f"::error file={where},line={target}",
        f"::error file={where},line={guard}",
    ]
    assert "title=refuted%3A test_better (bad@30)::support / right, bad@30 against old@30" in refuted[0]
    assert "-30.0 points [-42.9, -18.8], n=40" in refuted[0]
    still = [line for line in found if line.startswith("::warning ")]
    assert f"::warning file={where},line={silent},title=not run%3A test_silent (bad@30)::" in "\n".join(still)
    assert f"::warning file={where},line={target},title=open%3A test_better (much-the-same@30)" in "\n".join(
        still
    )
    assert found == refuted + still
    summary = (github / "summary.md").read_text()
    assert summary == next((project.path / "reports").glob("*/report.md")).read_text()
    outputs = dict(line.split("=", 1) for line in (github / "output").read_text().splitlines())
    assert outputs["verdict"] == "NO-GO"
    assert (Path(outputs["run"]) / "run.json").exists()


def test_no_answer_is_a_command_to_the_runner(project: SmallProject, github: Path) -> None:
    project.conftest(SHOUTS)
    project.suite(PRINTS, head=SUITE)
    outcome = project.run("--candidate=hostile", "-s", "-vv")
    assert outcome.status == 1
    found = annotated(outcome.out)
    assert [line.split()[0] for line in found] == ["::error"]
    assert "##[" not in (github / "summary.md").read_text()


def test_elsewhere_nothing_is_said(
    project: SmallProject, github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    project.suite()
    outcome = project.run("--candidate=bad")
    assert "::" not in re.sub(r"\.py::", "", outcome.out)
    assert not [*github.glob("summary.md"), *github.glob("output")]
