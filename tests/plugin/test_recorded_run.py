"""docs/capture.md from end to end: recorded at a service, replayed without it."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from small_project import CONFTEST, SUITE, TARGET, Row, SmallProject, jsonl, row

from harness.cli import main
from harness.data.recorded import parse_recorded
from harness.testing.fake_openai import ScriptedBackend, running_fake_openai
from harness.testing.fake_openai.backend import Question

for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn", "filelock"):
    import_module(name)  # pytester forgets what a run was the first to import; these cannot be imported twice

PAGE = (Path(__file__).parents[2] / "docs" / "capture.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SUCCESSOR = """

@harness.candidate
def scripted():
    return Scripted(train="train.jsonl", reply=lambda prompt, size: "yes")


@harness.candidate
def earlier():
    return harness.Recorded(run="reports/first")


@harness.candidate
def people():
    return harness.Recorded("people.jsonl")
"""
PROMPTED = SUITE.replace('heldout="heldout.jsonl",', 'heldout="heldout.jsonl", prompt="prompt.md",')


def command(program: str) -> list[str]:
    """The arguments of the page's command of that program."""
    (line,) = (line for line in COMMANDS if line.startswith(program))
    return shlex.split(line.removeprefix(program))


@pytest.fixture
def recorded(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """The page's project, recorded at a stand-in that is gone by now."""
    found = re.search(r"<!-- tested: recorded -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    project.write("conftest.py", CONFTEST + found[1] + SUCCESSOR)
    project.write("train.jsonl", jsonl([row(f"t-{n}", f"train {n}?") for n in range(30)]))
    project.suite(TARGET, head=PROMPTED)
    project.write("suites/support/prompt.md", "Say yes or no.")
    arguments = command("harness capture")
    model = arguments[arguments.index("--model") + 1]

    def reply(question: Question) -> str:
        assert question.messages[0].content == "Say yes or no."
        return "yes" if int(question.messages[-1].content.rstrip("?").split()[-1]) % 10 < 3 else "no"

    backend = ScriptedBackend(reply)
    with running_fake_openai(backend=backend, aliases=[model], api_key="sk-planted-5d1") as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-5d1")
        assert main(["capture", *arguments]) == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    return project


def test_the_page_leads_to_a_decision(recorded: SmallProject) -> None:
    text = (recorded.path / "answers.jsonl").read_text(encoding="utf-8")
    assert "sk-planted" not in text
    answers = parse_recorded(text.encode(), "answers.jsonl")
    for one in answers:
        assert None not in (one.prompt_tokens, one.completion_tokens, one.latency_ms, one.usd)
        assert one.time
        assert one.served_by or one.model

    recorded.run(*command("pytest"), "--rehearse")
    (asked,) = (trial for trial in recorded.record.trials if trial.candidate == "successor")
    assert len(asked.answers) == 40
    assert recorded.record.rehearsal
    trial = next(trial for trial in recorded.record.trials if trial.candidate == "today")
    assert sum(score.value or 0 for score in trial.scores["right"]) == 12
    assert trial.provenance is not None
    assert trial.provenance.kept == 40
    page = next((recorded.path / "reports").glob("*/report.md")).read_text(encoding="utf-8")
    assert f"40 recorded from {answers[0].model}" in page
    assert trial.asked_with == "the suite's prompt"
    assert trial.decoding["max_new_tokens"] == 128

    # another prompt is told, people's answers say what they do not know, and a run is a recording, too
    recorded.write("suites/support/prompt.md", "Say yes or no. Be brief.")
    people: list[Row] = [{"id": f"support-{n}", "answer": "yes"} for n in range(39)]
    recorded.write("people.jsonl", jsonl([*people, {"id": "support-39", "failure": "nobody could tell"}]))
    recorded.write("suites/economics.toml", ECONOMICS)
    outcome = recorded.run("--candidate=people", "--baseline=today")
    assert outcome.status == 0, outcome.said
    (decision,) = recorded.record.decisions
    told = " ".join(decision.notes)
    assert "the answers of today were recorded under another prompt than the suite's today" in told
    assert "39 of 39 answers of people have no token counts" in told
    assert "1 of 40 answers of people never came" in told
    assert any("nobody counted the tokens of the answers of people" in note for note in recorded.record.notes)
    assert recorded.record.economics == ()


ECONOMICS = "requests_per_day = 10\n"


def test_a_run_is_a_recording_and_what_does_not_fit_is_one_screen(recorded: SmallProject) -> None:
    recorded.run("--candidate=scripted", "--baseline=today")
    (folder,) = (recorded.path / "reports").glob("2*")
    folder.rename(recorded.path / "reports" / "first")
    recorded.run("--candidate=today", "--baseline=earlier").assert_one_screen(
        "unknown candidate in reports/first", "scripted@30, today"
    )
    conftest = recorded.path / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    conftest.write_text(text.replace('"reports/first"', '"reports/first", candidate="scripted@30"'))
    recorded.run("--candidate=today", "--baseline=earlier")
    (trial,) = (trial for trial in recorded.record.trials if trial.candidate == "earlier")
    assert {answer.text for answer in trial.answers} == {"yes"}
    assert trial.provenance is not None
    assert trial.provenance.recorded == "reports/first, scripted@30"

    held = recorded.path / "suites/support/heldout.jsonl"
    held.write_text(held.read_text().replace("support 7?", "support seven?"))
    for more in ([], ["--plan"]):
        recorded.run("--candidate=scripted", "--baseline=today", *more).assert_one_screen(
            "answers.jsonl:",
            "'support-7'",
            "asks something else",
            "then 'support 7?', now 'support seven?'",
            "hint:",
        )
    lines = (recorded.path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["id"] != "support-7"]
    recorded.write("answers.jsonl", "\n".join(kept))
    recorded.run("--candidate=scripted", "--baseline=today").assert_one_screen(
        "1 of 40 rows of suite support have no recorded answer: 'support-7'"
    )
