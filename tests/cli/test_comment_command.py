"""``harness comment``: one comment a request, updated and not repeated, and a job that it never fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.stub_forge import PERSON, Forge, running_forge
from harness.cli.main import main
from harness.records import RunRecord
from harness.report.ci import code_quality
from harness.report.comment import comment_of, mark_of
from harness.report.runjson import dumped, load_file

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"


@pytest.fixture(scope="module")
def no_go() -> RunRecord:
    """The worked example's NO-GO, without what takes long to draw."""
    return replace(load_file(EXAMPLE / "no-go" / "run.json"), gate_policy="regression")


@pytest.fixture
def runs(tmp_path: Path, no_go: RunRecord, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one short run."""
    monkeypatch.chdir(tmp_path)
    short = replace(no_go, trials=(), economics=())
    (tmp_path / "out" / short.id).mkdir(parents=True)
    (tmp_path / "out" / short.id / "run.json").write_bytes(b"".join(dumped(short)))
    return tmp_path / "out"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Forge]:
    with running_forge("github") as forge:
        event = tmp_path / "event.json"
        event.write_text(json.dumps({"pull_request": {"number": 5, "head": {"sha": "c0ffee" * 6}}}))
        for name, value in {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": forge.url,
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_RUN_ID": "77",
            "GITHUB_TOKEN": "ghs_secret",
            "GITHUB_WORKFLOW": "fine-tune",
            "GITHUB_JOB": "decide",
        }.items():
            monkeypatch.setenv(name, value)
        yield forge


def test_the_comment_is_updated_and_not_repeated(
    github: Forge, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = mark_of("fine-tune/decide")
    for number in range(250):  # of people, one of whom has copied the mark; on three pages
        github.add(f"{mark}\nGO, trust me" if number == 3 else f"comment {number}", PERSON)
    for _ in range(3):
        assert main(["comment", str(runs), "--link=https://example.com/report"]) == 0
    assert len(github.comments) == 251
    mine = str(github.comments[-1]["body"])
    assert mine.splitlines()[0] == mark
    assert "**Blocks this change** (`--gate=regression`): a gate is refuted" in mine
    assert "−15.5 [−21.2, −10.1]" in mine
    assert "[report](<https://example.com/report>)" in mine
    assert "[run](<https://github.com/o/r/actions/runs/77>)" in mine
    assert f"commit {'c0ffee' * 2}" in mine
    assert [method for method, _ in github.calls if method != "GET"] == ["POST", "PATCH", "PATCH"]
    assert github.tokens == {"Bearer ghs_secret"}
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "commented on GitHub: https://github.com/o/r/pull/5#issuecomment-251"
    assert said[1].startswith("updated the comment on GitHub: ")


def test_jobs_have_comments_of_their_own_and_copies_go(github: Forge, runs: Path) -> None:
    for key in ("one", "two"):
        main(["comment", str(runs), f"--key={key}"])
    github.add(str(github.comments[0]["body"]), github.me)  # of a job that ended at the same time
    main(["comment", str(runs), "--key=one"])
    assert [one["id"] for one in github.comments] == [1, 2]


def test_a_person_s_token_finds_its_own_comment(github: Forge, runs: Path) -> None:
    github.tells_user, github.me = True, PERSON
    for _ in range(2):
        main(["comment", str(runs)])
    assert len(github.comments) == 1


def test_a_run_without_a_report_is_said(github: Forge, runs: Path) -> None:
    main(["comment", str(runs)])
    assert "NO-GO" in str(github.comments[0]["body"])
    for given in ([], ["no-such-folder"]):
        assert main(["comment", *given]) == 0
        body = str(github.comments[0]["body"])
        assert "No decision" in body
        assert "NO-GO" not in body


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_EVENT_PATH": "/nowhere"}, "this step is not of a pull request"),
        ({"GITHUB_REPOSITORY": "o/other"}, "GitHub answered 404: Not Found. hint: give the job `permissions"),
        ({"GITHUB_API_URL": "http://127.0.0.1:9"}, "GitHub was not reached: ConnectError"),
        ({}, "GitHub answered 403: Resource not accessible by integration. hint: give the job `permissions"),
    ],
)
def test_what_cannot_be_posted_is_one_line_and_fails_no_job(
    github: Forge,
    runs: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    spoil: dict[str, str],
    said: str,
) -> None:
    github.may_write = False
    for name, value in spoil.items():
        monkeypatch.setenv(name, value)
    assert main(["comment", str(runs)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"no comment was written: {said}")
    assert not github.comments


def test_a_token_goes_over_no_plain_wire(
    github: Forge, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://github.example.com/api")
    assert main(["comment", str(runs)]) == 2
    assert "http:// is not encrypted" in capsys.readouterr().err


def test_gitlab_has_one_note_and_a_code_quality_report(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_forge("gitlab") as forge:
        forge.me, forge.tells_user = {"id": 9, "username": "project_7_bot"}, True
        for name, value in {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": forge.url,
            "CI_PROJECT_ID": "7",
            "CI_MERGE_REQUEST_IID": "5",
            "CI_JOB_NAME": "decide",
            "CI_JOB_URL": "https://gitlab.example/-/jobs/1",
            "CI_PROJECT_DIR": str(runs.parent.parent),
            "GITLAB_TOKEN": "glpat-x",
        }.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):
            assert main(["comment", str(runs), "--code-quality=quality.json"]) == 0
        assert [method for method, _ in forge.calls if method != "GET"] == ["POST", "PUT"]
        (note,) = forge.comments
        assert "[report](<https://gitlab.example/-/jobs/1/artifacts/browse>)" in str(note["body"])
        monkeypatch.delenv("GITLAB_TOKEN")
        monkeypatch.setenv("CI_JOB_TOKEN", "job")
        forge.may_write = False
        capsys.readouterr()
        assert main(["comment", str(runs)]) == 0
        assert "set GITLAB_TOKEN to a project access token" in capsys.readouterr().out
    (issue,) = json.loads(Path("quality.json").read_text())
    assert issue["severity"] == "critical"
    assert issue["check_name"] == "finetune-harness/refuted"
    where = f"{runs.parent.name}/suites/retention/test_retention.py"
    assert issue["location"] == {"path": where, "lines": {"begin": 18}}
    assert re.fullmatch("[0-9a-f]{64}", issue["fingerprint"])


def test_every_issue_of_a_report_has_a_fingerprint_that_stays(no_go: RunRecord, tmp_path: Path) -> None:
    worse = replace(no_go, gates=(*no_go.gates, *no_go.gates))
    found = json.loads(code_quality(worse, tmp_path, tmp_path))
    assert len({issue["fingerprint"] for issue in found}) == len(found) == 2
    moved = tuple(replace(gate, place=gate.place.replace(":18:", ":99:")) for gate in no_go.gates)
    again = json.loads(code_quality(replace(no_go, gates=moved), tmp_path, tmp_path))
    assert [issue["fingerprint"] for issue in again] == [found[0]["fingerprint"]]


def test_elsewhere_the_comment_is_printed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["comment", str(runs)]) == 0
    assert "# Should we ship no-replay?" in capsys.readouterr().out


def test_what_a_reader_needs_is_on_top_and_there_is_room(no_go: RunRecord) -> None:
    text = comment_of(no_go, mark_of("job"), {})
    assert len(text) < 65_536
    top = text.partition("<details>")[0]
    for needed in (
        "NO-GO: no-replay at 100 rows",
        "MDE",
        "−15.5 [−21.2, −10.1]",
        "&#36;8,751 a day",
        "earned its",
    ):
        assert needed in top
    assert "Learning curve" not in text
