"""A run that is cut short while a job is under way at a service pays for nothing twice."""

from __future__ import annotations

import random
import shutil
import signal
import time

import pytest
from hosted_project import KEY, assert_paid_once, run_killed, says, started, told_commands, tuned_at
from openai import OpenAI
from small_project import UNDRAWN, SmallProject

from harness.cli import main
from harness.testing.fake_openai import (
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)


def calls(url: str) -> dict[str, int]:
    found = twin_stats(url)["calls"]
    assert isinstance(found, dict)
    return {name: n for name, n in found.items() if isinstance(n, int)}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)


def test_ctrl_c_leaves_the_job_and_says_how_to_follow_and_cancel_it(
    project: SmallProject, capsys: pytest.CaptureFixture[str]
) -> None:
    stalls = Faults(job_stalls_at_step=1)
    with (
        running_fake_openai(backend=ScriptedBackend(says), faults=stalls) as url,
        OpenAI(base_url=url, api_key="any") as client,
    ):
        tuned_at(project, url).write("suites/conftest.py", UNDRAWN)
        with started(project, "--baseline=old") as process:
            while "GET /v1/fine_tuning/jobs/{id}" not in calls(url):  # it waits for the job
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == pytest.ExitCode.INTERRUPTED, said
        assert KEY not in said
        (job,) = client.fine_tuning.jobs.list()
        assert job.status == "running"
        told = told_commands(said)
        assert set(told) == {"follow", "cancel"}, said
        assert {command[2] for command in told.values()} == {job.id}
        assert told["cancel"][3:] == told["follow"][3:]

        set_twin_faults(url, Faults())
        capsys.readouterr()
        assert main(told["follow"]) == 0
        assert f"{job.id} " in capsys.readouterr().out
        outcome = project.run("--candidate=hosted")
        assert outcome.status == 0, outcome.said
        assert project.record.decisions[0].verdict == "GO"
        assert_paid_once(url)


@pytest.mark.slow
def test_killed_at_any_point_a_run_ends_as_if_it_had_not_been(project: SmallProject) -> None:
    points = random.Random(20)  # the same each time, so that a failure comes back
    with running_fake_openai(backend=ScriptedBackend(says)) as url:
        assert tuned_at(project, url).run("--candidate=hosted").status == 0
        undisturbed, whole = project.record.decisions, sum(calls(url).values())
    for _ in range(2):
        shutil.rmtree(project.path / ".harness")
        shutil.rmtree(project.path / "reports")  # another service's decision on these rows would be counted
        with running_fake_openai(backend=ScriptedBackend(says)) as url:
            tuned_at(project, url)
            at, after = points.randrange(whole - 2), points.random() < 0.5
            assert run_killed(project, at, after=after) == -signal.SIGKILL
            again = points.randrange(6)  # what was begun is found in a few requests
            assert run_killed(project, again, after=not after) == -signal.SIGKILL
            assert project.run("--candidate=hosted").status == 0
            assert_paid_once(url)
        assert project.record.decisions == undisturbed, (at, after, again)
