"""The examples of docs/architecture.md, run as they stand: candidate kind, service, judge, executor."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from small_project import CONFTEST, SUITE, TARGET, SmallProject, jsonl, row, rows
from stub_service import Service, asked, said, serving

from harness.candidates.base import MEMBERS
from harness.training.hosted.provider import TuningProvider

for name in ("openai", "anyio", "httpx2", "httpcore2", "starlette", "uvicorn"):
    import_module(name)  # pytester forgets what a run was the first to import; these cannot be imported twice

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def example(kind: str, page: Path = PAGE) -> str:
    """The code block of the page that is marked as tested under that name."""
    found = re.search(
        rf"<!-- tested: {kind} -->\n```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None, kind
    return found[1]


def test_the_candidate_kind_has_a_learning_curve(project: SmallProject) -> None:
    project.write("conftest.py", CONFTEST + example("candidate"))
    colours = ("red", "blue", "green", "black")
    train = [row(f"t-{k}", f"item {colours[k % 4]} {k}", colours[k % 4]) for k in range(40)]
    held = [row(f"h-{k}", f"thing {100 + k} {colours[k % 4]}", colours[k % 4]) for k in range(40)]
    project.write("train.jsonl", jsonl(train))
    project.suite(TARGET, held=held)
    assert project.run("--candidate=nearest", "--sizes=2,20").status == 0, "GO"
    trials = [t for t in project.record.trials if t.candidate == "nearest"]
    means = {t.size: sum(s.value or 0 for s in t.scores["right"]) for t in trials}
    assert means[2] < means[20] == 40
    plan = project.run("--candidate=nearest", "--sizes=2,20", "--plan")
    assert "nearest@20" in plan.out


class Cloud(ModuleType):
    """The vendor's SDK that the page imports, and its service."""

    class BadRequest(Exception):  # noqa: N818 - its own name
        """Of the SDK."""

    def __init__(self) -> None:
        super().__init__("cloud_sdk")
        self.jobs: dict[str, dict[str, object]] = {}
        self.created = 0

    def find_job(self, id: str) -> dict[str, object] | None:
        return self.jobs.get(id)

    def create_job(self, id: str, model: str, rows: list[str], epochs: int) -> dict[str, object]:
        self.created += 1
        self.jobs[id] = {"id": id, "state": "QUEUED", "model": f"{model}-tuned", "losses": [], "rows": rows}
        return dict(self.jobs[id])

    def get_job(self, id: str) -> dict[str, object]:
        job = self.jobs[id]
        job["state"] = "DONE" if job["losses"] else "RUNNING"
        job["losses"] = [1.0, 0.5]
        return dict(job)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    sdk = Cloud()
    monkeypatch.setitem(sys.modules, "cloud_sdk", sdk)
    return sdk


def test_the_service_is_one_file(
    project: SmallProject, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuned once, answered by the model that the provider names, found again, rehearsed."""
    monkeypatch.setenv("CLOUD_API_KEY", "sk-planted-22")
    service = Service(reply=lambda body: said("yes" if "tuned" in str(body["model"]) else "no"))
    with serving(service) as running:
        file = example("provider").replace("poll_s=10.0", "poll_s=0.001")
        file = file.replace('"https://cloud.example"', f'"{running.base_url.removesuffix("/v1")}"')
        project.write("conftest.py", CONFTEST + file)
        project.write("train.jsonl", jsonl(rows("train", 30)))
        project.suite(TARGET)
        assert project.run("--candidate=cloud", "--plan", baseline="").status == 0
        assert project.run("--candidate=cloud", "--rehearse", baseline="").status in (0, 1)
        assert (cloud.created, service.bodies) == (0, [])
        assert project.run("--candidate=cloud", baseline="").status == 0, "GO"
        assert project.run("--candidate=cloud", baseline="").status == 0
        assert cloud.created == 1
        models = {str(body["model"]) for body in service.bodies}
        assert models == {"open-8b", "open-8b-tuned"}
        assert project.record.candidates[0].kind == "hosted"


def test_the_documented_classes_have_every_member() -> None:
    provider = [name for name in vars(TuningProvider) if not name.startswith("_")]
    for kind, members in (("candidate", MEMBERS), ("provider", provider)):
        text = example(kind)
        missing = [m for m in members if not re.search(rf"\n    (def )?{m}\b", text)]
        assert missing == [], kind


@pytest.fixture
def grader() -> Iterator[Service]:
    def reply(body: dict[str, object]) -> dict[str, object]:
        words = asked(body)
        question, _, answer = words.partition("\nAnswer: ")
        number = re.search(r"2 \+ (\d+)\?", question)
        good = answer.startswith(str(2 + int(number[1])) + "\n") if number else answer.startswith("yes")
        return said(f'{{"good": {str(good).lower()}}}')

    with serving(Service(reply=reply)) as running:
        yield running


def test_the_judge_is_admitted_and_decides(project: SmallProject, grader: Service) -> None:
    head = f"""
import pytest
from harness import ExactMatch, Suite
{example("judge")}
judge = YesNo(RemoteModel("grader", base_url="{grader.base_url}"))
right = ExactMatch(name="right")


@pytest.fixture(scope="module")
def suite():
    return Suite(heldout="heldout.jsonl", scores=(right, judge))


def test_judged(candidate, baseline):
    assert candidate.scores(judge) > baseline.scores(judge)
"""
    project.suite("", head=head)
    assert "judge support/yes-no" in project.run("--candidate=good", "--plan").out
    assert grader.bodies == []
    assert project.run("--candidate=good").status == 0, "GO"
    assert {gate.state for gate in project.record.gates} == {"gated"}


def test_the_executor_trains_two_at_once(project: SmallProject) -> None:
    project.write("mycluster.py", example("executor"))
    project.pytester.syspathinsert(project.path)
    project.suite()
    assert project.run("--candidate=good", "--executor=mycluster:TwoAtOnce", "--sizes=10,20").status == 0
    project.run("--candidate=good", "--executor=mycluster:Nobody").assert_one_screen(
        "--executor=mycluster:Nobody: AttributeError", asked=len(project.asked)
    )


def test_the_chain_and_the_route_stand_as_they_are_written(project: SmallProject) -> None:
    page = PAGE.with_name("rungs.md")
    with serving(
        Service(reply=lambda body: said("yes" if "earlier_answer" in str(body) else "no"))
    ) as running:
        chain = example("chain", page).replace("2024-07-18", f'2024-07-18", base_url="{running.base_url}')
        project.write("conftest.py", CONFTEST + chain + example("route", page))
        for name in ("train.jsonl", "dev.jsonl"):
            project.write(name, jsonl(rows(name[:3], 30)))
        for name in ("extract.md", "write.md", "suites/support/prompt.md"):
            project.write(name, "Answer with yes or no.")
        head = SUITE.replace('heldout="heldout.jsonl"', 'heldout="heldout.jsonl", prompt="prompt.md"')
        project.suite(TARGET, head=head)
        assert "routed" in project.run("--candidates", baseline="").out
        assert project.run("--candidate=two-steps", baseline="").status == 0, "GO"
        (answer, *_) = next(t for t in project.record.trials if t.candidate == "two-steps").answers
        assert [part.text for part in answer.parts] == ["no", ""]


def test_the_prompted_rungs_stand_as_they_are_written(project: SmallProject) -> None:
    page = PAGE.with_name("rungs.md")
    service = Service(reply=lambda body: said("yes" if "handbook says" in str(body) else "no"))
    with serving(service) as running:
        text = "".join(example(kind, page) for kind in ("prompt", "nearest", "retrieval"))
        project.write("conftest.py", CONFTEST + text.replace("-18", f'-18", base_url="{running.base_url}'))
        project.write("train.jsonl", jsonl(rows("train", 30)))
        project.write("better.md", "The handbook says yes.")
        project.write("handbook/a.md", "# Support\n\nThe handbook says yes to support.")
        project.write("suites/support/prompt.md", "Answer with yes or no.")
        head = SUITE.replace('heldout="heldout.jsonl"', 'heldout="heldout.jsonl", prompt="prompt.md"')
        project.suite(TARGET, head=head)
        project.run("--candidate=better-prompt", "--candidate=nearest-3", "--candidate=handbook", baseline="")
    trials = {trial.candidate: trial for trial in project.record.trials}
    right = {name: trial.scores["right"][0].value for name, trial in trials.items()}
    assert (right["better-prompt"], right["nearest-3"], right["handbook"]) == (1.0, 0.0, 1.0)
    assert "its own prompt better.md (prompt SHA-256 " in trials["better-prompt"].asked_with
    assert [one.place for one in trials["handbook"].looked_up["support-0"]] == ["handbook/a.md#1"]
    assert len(trials["nearest-3"].looked_up["support-0"]) == 3
