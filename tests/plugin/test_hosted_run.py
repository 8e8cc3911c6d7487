"""A hosted fine-tune in a run: tuned and asked over HTTP, decided, kept, and paid from one budget."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from importlib import import_module

import pytest
from small_project import TARGET, SmallProject, jsonl, row

from harness.testing.twin import CHAT, ScriptedBackend, running_twin, twin_stats
from harness.testing.twin.backend import Question

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpcore2", "httpx2", "starlette", "uvicorn", "harness.testing.twin.real"):
    import_module(name)

HOSTED = """
from harness import OpenAITuning


@harness.candidate
def hosted():
    return OpenAITuning(base="{base}", train="train.jsonl", epochs=1, base_url="{url}", profile="twin",
                        api_key_env="HARNESS_TEST_KEY", decoding=harness.Decoding(max_new_tokens=8))
"""
KEY = "sk-planted-7f3a9c"


def says(question: Question) -> str:
    """What the tuned model has learnt, and its base has not."""
    return "no" if question.weights is None else "yes"


@pytest.fixture
def url() -> Iterator[str]:
    with running_twin(backend=ScriptedBackend(says)) as base_url:
        yield base_url


@pytest.fixture
def hosted(project: SmallProject, url: str, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    """A project whose candidate is tuned at the twin, with a key in the environment."""
    monkeypatch.setenv("HARNESS_TEST_KEY", KEY)
    project.conftest(HOSTED.format(base=CHAT, url=url))
    project.suite(TARGET)
    return project


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
    dev = [row(f"dev-{k}", f"dev {k}?") for k in range(4)]
    hosted.write("dev.jsonl", jsonl(dev))
    conftest = hosted.path / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    conftest.write_text(text.replace("epochs=1", 'epochs=2, dev="dev.jsonl"'), encoding="utf-8")
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
    monkeypatch.setattr("harness.testing.twin.real.RealBackend", lambda: ScriptedBackend(says))
    project.conftest(REAL)
    project.suite(TARGET)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = project.write(".harness/rehearsal/twin/port", str(taken.getsockname()[1]))
        for _ in range(2):
            outcome = project.run("--candidate=openai-mini", "--rehearse", baseline="")
            assert outcome.status == 0, outcome.said
            assert file.read_text(encoding="utf-8") != str(taken.getsockname()[1])


def test_a_key_reaches_no_file_and_no_line_of_output(hosted: SmallProject) -> None:
    outcome = hosted.run("--candidate=hosted", baseline="")
    assert KEY not in outcome.said
    for file in hosted.path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


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


def test_a_rehearsal_needs_no_key_and_is_stamped(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("harness.testing.twin.real.RealBackend", lambda: ScriptedBackend(says))
    project.conftest(REAL)
    project.suite(TARGET)
    first = project.run("--candidate=openai-mini", "--rehearse", baseline="")
    assert first.status == 0, first.said
    assert "GO: openai-mini at 30 rows" in first.out
    page = next((project.path / "reports").glob("*/report.html")).read_text(encoding="utf-8")
    assert "REHEARSAL" in page
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
