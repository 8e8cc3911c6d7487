"""A hosted job that ends badly: it is begun once a session, and the decision says what became of it."""

from __future__ import annotations

import shutil
import threading
import time
from importlib import import_module

from small_project import GUARD, TARGET, SmallProject

from harness.records import Decision
from harness.testing.fake_openai import (
    CHAT,
    CLOSING,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpcore2", "httpx2", "starlette", "uvicorn"):
    import_module(name)

HOSTED = """
from harness import OpenAITuning


@harness.candidate
def hosted():
    return OpenAITuning(base="{base}", train="train.jsonl", epochs=1, base_url="{url}", profile="twin",
                        decoding=harness.Decoding(max_new_tokens=8))
"""


def of_two_suites(project: SmallProject, url: str) -> SmallProject:
    project.conftest(HOSTED.format(base=CHAT, url=url))
    for suite in ("support", "other"):
        project.suite(TARGET + GUARD, name=suite)
    return project


def decision(project: SmallProject) -> Decision:
    (found,) = project.record.decisions
    return found


def test_a_job_that_fails_is_begun_once_for_all_gates_and_the_decision_has_its_words(
    project: SmallProject,
) -> None:
    with running_fake_openai(backend=ScriptedBackend(), faults=Faults(job_fails_at_step=1)) as url:
        outcome = of_two_suites(project, url).run("--candidate=hosted")
        assert outcome.status == 1, outcome.said
        assert twin_stats(url)["jobs"] == 1
        assert any("the tuning job ftjob-" in why and "failed" in why for why in decision(project).reasons)
        assert "INCONCLUSIVE" in outcome.out
        set_twin_faults(url, Faults())
        assert project.run("--candidate=hosted").status == 1  # it answers no better than the old one
        assert twin_stats(url)["jobs"] == 2


def test_a_job_that_somebody_cancels_is_not_begun_again_in_that_session(project: SmallProject) -> None:
    from openai import OpenAI

    with (
        running_fake_openai(backend=ScriptedBackend(), faults=Faults(job_stalls_at_step=1)) as url,
        OpenAI(base_url=url, api_key="any") as client,
    ):

        def cancel_the_first() -> None:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                for job in client.fine_tuning.jobs.list():
                    if job.status == "running":
                        client.fine_tuning.jobs.cancel(job.id)
                        set_twin_faults(url, Faults())
                        return
                time.sleep(0.05)

        somebody = threading.Thread(target=cancel_the_first)
        somebody.start()
        outcome = of_two_suites(project, url).run("--candidate=hosted")
        somebody.join()
        assert outcome.status == 1, outcome.said
        assert twin_stats(url)["jobs"] == 1
    assert any("was cancelled" in why for why in decision(project).reasons)
    assert "was cancelled" in outcome.out


def test_when_the_model_ends_reaches_the_report_of_a_job_that_failed(project: SmallProject) -> None:
    with running_fake_openai(backend=ScriptedBackend(), faults=Faults(job_fails_at_step=1)) as url:
        project.conftest(HOSTED.format(base=CLOSING, url=url))
        project.suite(TARGET)
        outcome = project.run("--candidate=hosted")
    assert outcome.status == 1, outcome.said
    assert any(f"{CLOSING} and every fine-tune on it stop answering" in note for note in project.record.notes)


def test_a_log_names_the_job_once_when_it_is_begun_and_once_when_it_is_found(project: SmallProject) -> None:
    with running_fake_openai(backend=ScriptedBackend()) as url:
        of_two_suites(project, url)
        begun = project.run("--candidate=hosted").result.stderr.str()
        shutil.rmtree(project.path / ".harness")
        found = project.run("--candidate=hosted").result.stderr.str()
    assert begun.count("ftjob-") == 1
    assert "harness: tuning job ftjob-" in begun
    assert "has begun" in begun
    assert found.count("ftjob-") == 1
    assert "is found: it has succeeded" in found


def test_an_error_at_a_smaller_size_says_nothing_of_the_decision(project: SmallProject) -> None:
    project.conftest()
    project.suite(FAILS_SMALL)
    outcome = project.run("--candidate=good", "--sizes=10,30")
    assert "only at 10 rows" in outcome.out
    assert decision(project).verdict == "GO"


FAILS_SMALL = """
def test_better(candidate, baseline):
    from harness.errors import TrainingError

    if candidate.name == "good@10":
        raise TrainingError("only at 10 rows")
    assert candidate.scores(right) > baseline.scores(right)
"""
