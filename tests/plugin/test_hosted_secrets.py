"""What leaves this machine: no key into a file or a line, no metadata of rows, nothing to another address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hosted_project import KEY, says, tuned_at, uploads
from openai import OpenAI
from small_project import TARGET, Outcome, SmallProject
from starlette.responses import Response
from stub_service import Service, error, serving

from harness.cli import main
from harness.errors import ModelError
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.records import Message
from harness.testing.fake_openai import ScriptedBackend, running_fake_openai
from harness.training.hosted.openai import FINGERPRINT_KEY

LOUD = ("-vv", "--showlocals", "--full-trace", "--tb=long", "-rA", "--log-level=DEBUG")
FAILS = """
def test_fails(candidate, baseline):
    model = candidate.arm.candidate.remote("any").open()
    endpoint = model.spec.endpoint
    client = endpoint.client()
    assert candidate.scores(right) > baseline.scores(right)
    assert client is None
"""
QUESTION = [Prompt("r0", (Message("user", "Hello?"),))]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)


def assert_nowhere(secret: str, *folders: Path) -> None:
    """The secret is in no file below the folders; there are files of all the kinds that a run writes."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    for file in files:
        assert secret.encode() not in file.read_bytes(), file


def kinds(folder: Path) -> set[str]:
    return {file.suffix for file in folder.rglob("*") if file.is_file()}


def jobs(arguments: str, url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status of ``harness jobs …`` against ``url``, and everything that it said."""
    capsys.readouterr()
    status = main(["jobs", *arguments.split(), f"--base-url={url}", "--api-key-env=HARNESS_TEST_KEY"])
    said = capsys.readouterr()
    return status, said.out + said.err


def loudly(project: SmallProject) -> Outcome:
    return project.run("--candidate=hosted", *LOUD)


# --------------------------------------------------------------------------- the key
def test_a_key_reaches_no_file_and_no_line_however_loud_the_run(
    project: SmallProject, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_LOG", "debug")
    state = tmp_path / "twin"
    with running_fake_openai(backend=ScriptedBackend(says), state=state, api_key=KEY) as url:
        tuned_at(project, url).suite(FAILS + TARGET)
        outcome = loudly(project)
        assert outcome.result.parseoutcomes().items() >= {"failed": 1, "passed": 1}.items(), outcome.out[
            -2000:
        ]
        assert "HTTP Request: POST" in outcome.said, "the log is among what is searched"
        assert "client     = <openai.OpenAI object" in outcome.said, "and so are the locals"
        assert KEY not in outcome.said
        assert_nowhere(KEY, project.path, state)
        assert {".sqlite", ".json", ".html", ".md"} <= kinds(project.path)
        assert any(
            file.read_bytes().startswith(b"SQLite format 3") for file in state.iterdir() if file.is_file()
        )
        with OpenAI(base_url=url, api_key=KEY) as client:
            (job,) = client.fine_tuning.jobs.list()
        for arguments in ("list", "list --json", f"follow {job.id}", f"follow {job.id} --json"):
            status, said = jobs(arguments, url, capsys)
            assert (status, KEY in said) == (0, False)
            assert job.id in said


def test_a_refusal_that_quotes_the_key_is_told_without_it(
    project: SmallProject, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = error(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key")
    with serving(Service(script=lambda body, number: refused)) as server:
        tuned_at(project, server.base_url)
        outcome = loudly(project)
        assert outcome.status != 0
        assert "Incorrect API key provided" in outcome.said
        assert "check that the key belongs to this service" in outcome.said
        assert KEY not in outcome.said
        for arguments in ("list", "follow ftjob-1", "cancel ftjob-1"):
            status, said = jobs(arguments, server.base_url, capsys)
            assert (status, KEY in said) == (1, False)
            assert "Incorrect API key provided" in said
        model = RemoteModel("any", base_url=server.base_url, api_key_env="HARNESS_TEST_KEY", profile="twin")
        with pytest.raises(ModelError, match="Incorrect API key provided") as caught:
            list(model.open().answer(QUESTION, Decoding(), frozenset()))
        assert KEY not in str(caught.value)
        keys = {headers.get("authorization", "") for headers in server.headers}
        assert keys == {f"Bearer {KEY}"}, "it was sent, and nothing else was"
    assert_nowhere(KEY, project.path)


# --------------------------------------------------------------------------- rows
def test_what_is_uploaded_holds_turns_and_nothing_else(project: SmallProject) -> None:
    with running_fake_openai(backend=ScriptedBackend(says)) as url:
        assert tuned_at(project, url).run("--candidate=hosted").status == 0
        sent = uploads(url)
        with OpenAI(base_url=url, api_key="any") as client:
            (job,) = client.fine_tuning.jobs.list()
    assert sorted(content.count(b"\n") for content in sent.values()) == [4, 30]
    for content in sent.values():
        rows = [json.loads(line) for line in content.splitlines()]
        assert {tuple(row) for row in rows} == {("messages",)}
        assert {tuple(turn) for row in rows for turn in row["messages"]} == {("role", "content")}
        assert b"intent" not in content
        assert b"-id-" not in content
    assert job.metadata is not None
    assert set(job.metadata) == {"team", FINGERPRINT_KEY}
    assert job.metadata["team"] == "support"


# --------------------------------------------------------------------------- addresses
def failure_of(model: RemoteModel) -> str:
    """Why the question was not answered."""
    try:
        (answer,) = model.open().answer(QUESTION, Decoding(), frozenset())
    except ModelError as error:
        return str(error)
    return answer.failure or ""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_nothing_to_another_address(
    project: SmallProject, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Service()) as elsewhere:
        away = Response(b"{}", status, {"location": f"{elsewhere.base_url}/taken"})
        with serving(Service(script=lambda body, number: away)) as server:
            assert jobs("list", server.base_url, capsys)[0] == 1
            for batch in (False, True):
                model = RemoteModel(
                    "any",
                    base_url=server.base_url,
                    api_key_env="HARNESS_TEST_KEY",
                    profile="twin",
                    batch=batch,
                    attempts=1,
                )
                assert str(status) in failure_of(model)
            if status == 307:  # the one that would send a body on
                outcome = tuned_at(project, server.base_url).run("--candidate=hosted")
                assert outcome.status != 0
        assert server.paths
        assert elsewhere.paths == []
