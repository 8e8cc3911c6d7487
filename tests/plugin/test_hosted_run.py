"""A hosted fine-tune in a run: tuned and asked over HTTP, decided, kept, and paid from one budget."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest
from hosted_project import KEY, says, tuned_at
from small_project import TARGET, SmallProject

from harness.testing.twin import CHAT, ScriptedBackend, running_twin, twin_stats

# pytester forgets what a run was the first to import; these cannot be imported twice
for name in ("openai", "anyio", "httpx2", "starlette", "uvicorn"):
    import_module(name)


@pytest.fixture
def url() -> Iterator[str]:
    with running_twin(backend=ScriptedBackend(says)) as base_url:
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
