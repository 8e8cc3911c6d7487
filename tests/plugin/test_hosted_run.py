"""A hosted fine-tune in a run: tuned and asked over HTTP, decided, kept, and paid from one budget."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from importlib import import_module

import pytest
from hosted_project import HOSTED, KEY, says, tuned_at
from small_project import TARGET, SmallProject

from harness.report.pages import CHARTS, environment
from harness.testing.fake_openai import CHAT, ScriptedBackend, running_fake_openai, twin_stats

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in (
    "openai",
    "anyio",
    "httpcore2",
    "httpx2",
    "starlette",
    "uvicorn",
    "harness.testing.fake_openai.real",
):
    import_module(name)

SCRIPTED = "harness.testing.fake_openai.scripted_backend.ScriptedBackend"  # what a rehearsal asks


@pytest.fixture
def url() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend(says)) as base_url:
        yield base_url


@pytest.fixture
def hosted(project: SmallProject, url: str, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """A project whose candidate is tuned at the twin, with a key in the environment."""
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)
    return tuned_at(project, url)


def test_a_hosted_fine_tune_ends_in_a_decision_and_is_not_asked_for_twice(
    hosted: SmallProject, url: str
) -> None:
    outcome = hosted.run("--candidate=hosted", baseline="")
    assert outcome.status == 0, outcome.said
    assert hosted.record.decisions[0].verdict == "GO"
    before = twin_stats(url)
    again = hosted.run("--candidate=hosted", baseline="")
    assert again.status == 0, again.said
    after = twin_stats(url)
    assert after == before


def test_the_curves_of_the_job_stand_in_the_report(hosted: SmallProject, url: str) -> None:
    environment().globals.update({chart.__name__: chart for chart in CHARTS})  # draw
    conftest = hosted.path / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    conftest.write_text(text.replace("epochs=1", "epochs=2"), encoding="utf-8")
    assert hosted.run("--candidate=hosted", baseline="").status == 0
    (trained,) = [t.training for t in hosted.record.trials if t.training is not None]
    assert len([p for p in trained.points if p.train_loss is not None]) > 1
    assert len([p for p in trained.points if p.dev_loss is not None]) > 1
    page = next((hosted.path / "reports").glob("*/report.html")).read_text(encoding="utf-8")
    section = page.split('<section id="training"')[1].split("</section>")[0]
    loss, accuracy = section.split("<figure>")[1:]
    for chart in (loss, accuracy):
        assert "<svg" in chart
        assert len(re.findall(r"<(?:path|polyline)\b", chart)) >= 2  # training and development rows
    assert "Training of hosted: loss and token accuracy over epochs" in section


def test_a_rehearsal_whose_port_is_taken_takes_another_from_then_on(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SCRIPTED, lambda script: ScriptedBackend(says))
    project.conftest(REAL)
    project.suite(TARGET)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = project.write(".harness/rehearsal/twin/port", str(taken.getsockname()[1]))
        for _ in range(2):
            outcome = project.run("--candidate=openai-mini", "--rehearse", baseline="")
            assert outcome.status == 0, outcome.said
            assert file.read_text(encoding="utf-8") != str(taken.getsockname()[1])


PRICES = """
requests_per_day = 100
served_input_usd_per_mtok = 1.0
served_output_usd_per_mtok = 1.0

[prices."{base}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 1.0

[prices."{base}".tuned]
training_usd_per_mtok = 1.0
input_usd_per_mtok = 1.0
output_usd_per_mtok = 1.0
"""


def test_a_cap_that_is_reached_ends_inconclusive_and_a_higher_one_goes_on(
    hosted: SmallProject, url: str
) -> None:
    hosted.write("suites/economics.toml", PRICES.format(base=CHAT))
    poor = hosted.run("--candidate=hosted", "--max-usd=0.000001", baseline="")
    assert poor.status == 1, poor.said
    assert "--max-usd" in poor.out
    assert "INCONCLUSIVE" in poor.out
    rich = hosted.run("--candidate=hosted", "--max-usd=5", baseline="")
    assert rich.status == 0, rich.said
    jobs = twin_stats(url)["jobs"]
    assert (len(jobs) if isinstance(jobs, (list, dict)) else jobs) == 1


AUTO = HOSTED.replace("epochs=1", 'epochs="auto"')


def test_a_finished_job_passes_under_a_cap_though_nothing_bounded_it(hosted: SmallProject, url: str) -> None:
    hosted.conftest(AUTO.format(base=CHAT, url=url))
    hosted.write("suites/economics.toml", PRICES.format(base=CHAT))
    jobs = twin_stats(url)["jobs"]
    hosted.run("--candidate=hosted", "--max-usd=5", baseline="").assert_one_screen("epochs=3")
    assert twin_stats(url)["jobs"] == jobs
    assert hosted.run("--candidate=hosted", baseline="").status == 0
    again = hosted.run("--candidate=hosted", "--max-usd=5", baseline="")
    assert again.status == 0, again.said
    shutil.rmtree(hosted.path / ".harness" / "adapters")  # now only the service knows of it
    found = hosted.run("--candidate=hosted", "--max-usd=5", baseline="")
    assert found.status == 0, found.said


# --------------------------------------------------------------------------- plans
def test_a_plan_without_a_key_shows_jobs_calls_and_dollars_and_sends_nothing(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a plan sent something")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    project.conftest(REAL)
    project.suite(TARGET)
    outcome = project.run("--candidate=openai-mini", "--sizes=10,30", "--plan", "--max-usd=5", baseline="")
    assert outcome.status == 0, outcome.said
    for words in (
        "openai-mini@10 ",
        "openai-mini@30 ",
        "prompted-gpt-4o-mini-2024-07-18 ",
        "dollars: $0.00",
        "prices of 2025-12 and of unknown date",
        "training $0.00",
        "--max-usd=5 is enough",
        "not ready: https://api.openai.com/v1 needs a key",
        "OPENAI_API_KEY",
    ):
        assert words in outcome.out, outcome.out
    plan = outcome.out[outcome.out.index("A plan:") :].splitlines()
    assert max(map(len, plan)) <= 100
    assert not (project.path / "reports").exists()


def test_a_plan_says_what_is_kept_and_what_a_cap_would_refuse(hosted: SmallProject, url: str) -> None:
    unpriced = hosted.run("--candidate=hosted", "--plan", baseline="")
    assert "no price for tuning" in " ".join(unpriced.out.split())
    assert "economics.toml" in unpriced.out
    hosted.write("suites/economics.toml", PRICES.format(base=CHAT))
    hosted.conftest(AUTO.format(base=CHAT, url=url))
    before = twin_stats(url)
    refused = hosted.run("--candidate=hosted", "--plan", "--max-usd=5", baseline="")
    assert refused.status == 0, refused.said
    assert "write how many: epochs=3" in refused.out
    assert "--max-usd=5: the run would be refused" in refused.out
    assert twin_stats(url) == before
    assert hosted.run("--candidate=hosted", baseline="").status == 0
    kept = hosted.run("--candidate=hosted", "--plan", "--max-usd=5", baseline="")
    assert "Nothing is left to train." in kept.out
    assert "dollars: $0 " in kept.out
    assert "--max-usd=5 is enough" in kept.out


# --------------------------------------------------------------------------- rehearsals
def test_a_rehearsal_needs_no_key_and_is_stamped(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(SCRIPTED, lambda script: ScriptedBackend(says))
    project.conftest(REAL)
    project.suite(TARGET)
    first = project.run("--candidate=openai-mini", "--rehearse", baseline="")
    assert first.status == 0, first.said
    assert "GO: openai-mini at 30 rows" in first.out
    page = next((project.path / "reports").glob("*/report.html")).read_text(encoding="utf-8")
    assert "REHEARSAL" in page
    assert "REHEARSAL" in first.out
    assert "Nothing was paid." in page
    record = json.loads(next((project.path / "reports").glob("*/run.json")).read_text(encoding="utf-8"))
    assert record["rehearsal"] is True
    assert (project.path / ".harness" / "rehearsal").is_dir()
    assert not (project.path / ".harness" / "answers.sqlite").exists()
    assert project.run("--candidate=openai-mini", "--rehearse", baseline="").status == 0


def test_a_rehearsal_without_a_hosted_candidate_says_so(project: SmallProject) -> None:
    project.suite(TARGET)
    project.run("--candidate=good", "--rehearse").assert_one_screen("no candidate here is hosted")


REAL = """
from harness import OpenAITuning


@harness.candidate
def openai_mini():
    return OpenAITuning(base="gpt-4o-mini-2024-07-18", train="train.jsonl", epochs=1, suffix="support",
                        decoding=harness.Decoding(max_new_tokens=8))
"""
