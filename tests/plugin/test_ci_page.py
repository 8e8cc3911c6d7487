"""docs/ci.md, action.yml and ci/gitlab.yml, run: on a regression, an improvement and no change."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import cast

import pytest
from small_project import GUARD, TARGET, SmallProject, jsonl, row

from benchmarks.stub_forge import Forge, running_forge
from benchmarks.workflow_steps import ROOT, Machine, Node, parsed, pushed

# pytester forgets what a test was the first to import; these cannot be imported twice
for name in ("anyio", "httpcore2", "httpx2"):
    import_module(name)

PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
TAUGHT = """
import json
from zlib import crc32


def taught(prompt, size):
    '''The label that the training row of the same kind has.'''
    kind = int(prompt.row_id.rpartition("-")[2]) % 10
    return json.loads((HERE / "train.jsonl").read_text().splitlines()[kind])["messages"][-1]["content"]


@harness.candidate
def qlora_r16():
    version = str(crc32((HERE / "train.jsonl").read_bytes()))
    return Scripted(train="train.jsonl", reply=taught, base="tuned", version=version)
"""


def blocks(kind: str) -> list[str]:
    """The page's examples of one kind."""
    return re.findall(rf"<!-- tested: {kind} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def machine(project: SmallProject, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A project whose baseline has 3 of 10 right, and whose candidate says what its training rows say."""
    project.conftest(TAUGHT)
    project.suite(TARGET + GUARD)
    project.write("pytest.ini", "[pytest]\nharness_baseline = old\n")

    def run(arguments: Sequence[str]) -> tuple[int, str]:
        outcome = project.run(*arguments, baseline="")
        return outcome.status, outcome.out

    return Machine(tmp_path_factory.mktemp("m"), project.path, run, {"LANG": "C.UTF-8"})


def teach(machine: Machine, right: int) -> None:
    """Training rows of which so many of 10 have the right label, and the others the swapped one."""
    labels = ["yes" if kind % 10 < right else "no" for kind in range(30)]
    text = jsonl([row(f"train-{k}", f"train {k}?", label) for k, label in enumerate(labels)])
    (machine.project / "train.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def forge() -> Iterator[Forge]:
    with running_forge("github") as found:
        yield found


def test_a_planted_regression_is_blocked_an_improvement_passes_and_no_change_is_neither(
    machine: Machine, forge: Forge
) -> None:
    example = blocks("github")[0]
    assert "uses: OWNER/finetune-harness@v1" in example

    teach(machine, 0)  # labels swapped
    assert not pushed(machine, forge.url, parsed(example))
    first = str(forge.comments[0]["body"])
    assert "**Blocks this change** (`--gate=regression`): a gate is refuted" in first
    assert "NO-GO: qlora-r16 at 30 rows" in first
    assert "Worse, not better: right (30.0% → 0.0% on 40 rows of support)" in first
    assert "**support-0** (lost right)" in first
    assert "[report](<https://github.com/o/r/artifacts/1>)" in first
    assert "::error file=suites/support/test_support.py,line=" in machine.log
    (upload,) = [given for name, given in machine.used if name == "actions/upload-artifact"]
    kept = {file.name for file in (machine.project / str(upload["path"])).rglob("*")}
    assert {"report.html", "report.md", "run.json", "junit.xml"} <= kept
    saved = [given["path"] for name, given in machine.used if name == "actions/cache/save"]
    assert (machine.project / str(saved[0]).split()[0]).is_dir()

    teach(machine, 9)
    assert pushed(machine, forge.url, parsed(example))
    assert "**Does not block this change**" in str(forge.comments[0]["body"])
    assert "GO: qlora-r16 at 30 rows" in str(forge.comments[0]["body"])

    teach(machine, 3)
    assert pushed(machine, forge.url, parsed(example))
    last = str(forge.comments[0]["body"])
    assert "**Neither blocks nor approves this change**" in last
    assert "INCONCLUSIVE: qlora-r16 at 30 rows" in last

    (machine.project / "conftest.py").write_text("import no_such_module\n")
    assert not pushed(machine, forge.url, parsed(example))
    assert "No decision" in str(forge.comments[0]["body"])
    assert len(forge.comments) == 1
    assert [method for method, _ in forge.calls if method != "GET"] == ["POST", "PATCH", "PATCH", "PATCH"]


def test_the_steps_without_the_action(machine: Machine, forge: Forge) -> None:
    teach(machine, 0)
    example = blocks("github")[1]
    assert not pushed(machine, forge.url, parsed(example))
    assert "**Blocks this change**" in str(forge.comments[0]["body"])
    assert (machine.folder / "summary.md").read_text().startswith("# Should we ship qlora-r16?")


def test_the_job_for_gitlab(machine: Machine) -> None:
    own = cast("Node", parsed(blocks("gitlab")[0])["decide"])
    base = cast("Node", parsed((ROOT / "ci" / "gitlab.yml").read_text(encoding="utf-8"))[str(own["extends"])])
    job = {**base, **own, "variables": {**cast("Node", base["variables"]), **cast("Node", own["variables"])}}
    teach(machine, 0)
    with running_forge("gitlab") as forge:
        forge.me, forge.tells_user = {"id": 9}, True
        machine.variables |= {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": forge.url,
            "CI_PROJECT_ID": "7",
            "CI_MERGE_REQUEST_IID": "5",
            "CI_JOB_NAME": "decide",
            "CI_PROJECT_DIR": str(machine.project),
            "GITLAB_TOKEN": "glpat-x",
        }
        assert not machine.gitlab_job(job)
        (note,) = forge.comments
        assert "**Blocks this change**" in str(note["body"])
    reports = cast("dict[str, str]", cast("Node", base["artifacts"])["reports"])
    folder = cast("dict[str, str]", base["variables"])["FINETUNE_REPORTS"]
    junit, quality = (
        machine.project / reports[name].replace("$FINETUNE_REPORTS", folder)
        for name in ("junit", "codequality")
    )
    assert "<testsuite" in junit.read_text()
    assert [issue["severity"] for issue in json.loads(quality.read_text())] == ["critical", "critical"]
    assert "::" not in re.sub(r"\.py::", "", machine.log)


def test_the_script_for_another_ci(machine: Machine) -> None:
    teach(machine, 0)
    assert machine.bash(blocks("another")[0], {}, machine.project) == 1
    assert "NO-GO" in (machine.project / "out" / "comment.md").read_text()


def test_the_page_names_the_inputs() -> None:
    names = cast("Node", parsed((ROOT / "action.yml").read_text(encoding="utf-8"))["inputs"])
    told = PAGE.partition("Inputs (")[2].partition("Its outputs")[0]
    assert set(names) - {"artifact"} <= set(re.findall(r"`([\w-]+)`", told))


def test_no_release_is_made_with_the_owner_left_open() -> None:
    done = subprocess.run(["make", "release-check"], cwd=ROOT, capture_output=True, text=True, check=False)
    places = {line.split(":")[0] for line in done.stdout.splitlines() if "OWNER/" in line}
    command = ["git", "grep", "-lI", "OWNER/", "--", ":!tests", ":!Makefile"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert places == set(tracked.stdout.split())
    assert (done.returncode != 0) is bool(places)
