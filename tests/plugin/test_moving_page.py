"""docs/moving.md from end to end: each of its commands, in their order, at stand-ins of both services."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from hosted_project import says
from small_project import GUARD, TARGET, SmallProject, jsonl, row

from harness.cli import main
from harness.testing.fake_openai import ScriptedBackend, running_fake_openai

for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn", "filelock"):
    import_module(name)  # pytester forgets what a run was the first to import; these cannot be imported twice

PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SCRIPTED = "harness.testing.fake_openai.scripted_backend.ScriptedBackend"  # what a rehearsal asks
KEY = "sk-planted-5d1"


def test_each_command_of_the_page_leads_on_to_a_decision(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(rf"<!-- tested: {'moving'} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    project.write("conftest.py", found[1])
    project.write("old-train.jsonl", jsonl([row(f"t-{n}", f"train {n}?") for n in range(30)]))
    (project.path / "train.jsonl").unlink()
    project.suite(TARGET + GUARD)
    (model,) = (words[words.index("--model") + 1] for words in COMMANDS if "capture" in words)
    ran: list[str] = []
    backend = ScriptedBackend(lambda question: "yes" if question.messages[-1].content[-2] < "3" else "no")
    for words in COMMANDS:
        if words[0] == "export":
            monkeypatch.setenv(words[1].partition("=")[0], KEY)
        elif words[0] == "harness":
            with running_fake_openai(backend=backend, aliases=[model], api_key=KEY) as url:
                monkeypatch.setenv("OPENAI_BASE_URL", url)
                assert main(words[1:]) == 0, words
            monkeypatch.delenv("OPENAI_BASE_URL")
        elif "--ladder" not in words:
            monkeypatch.setattr(SCRIPTED, lambda script: ScriptedBackend(says))
            is_plan = "--plan" in words
            outcome = project.run(*words[1:], *(() if is_plan else ("--rehearse",)), baseline="")
            assert outcome.status == (1 if "--candidate=untuned" in words else 0), outcome.said
            if is_plan:
                assert "nebius/meta-llama/Llama-3.1-8B-Inst" in outcome.out
                assert "second-hand" in outcome.out
        ran.append(words[0])
    assert ran.count("pytest") == 3
    verdicts = {one.candidate: one.verdict for one in project.record.decisions}
    assert verdicts == {"successor": "GO", "untuned": "NO-GO"}
    bills = {line.model for record in project.records() for line in record.spending}
    assert bills == {f"nebius/meta-llama/{name}-3.1-8B-Instruct" for name in ("Llama", "Meta-Llama")}
    files = [path for path in project.path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
