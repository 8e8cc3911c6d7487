"""Every service that is known, rehearsed and planned: a decision, its dollars, and where prices were read."""

from __future__ import annotations

import pytest
from hosted_project import says
from small_project import TARGET, SmallProject, rows

from benchmarks.rehearsals import SERVICES, priced
from harness.decision.prices import LISTED
from harness.testing.fake_openai.scripted_backend import ScriptedBackend
from harness.training.hosted.services import services

SCRIPTED = "harness.testing.fake_openai.scripted_backend.ScriptedBackend"  # what a rehearsal asks
CANDIDATES = (
    "\nfrom harness import FireworksTuning, NebiusTuning, OpenAITuning, TinkerTuning, TogetherTuning\n"
)
CANDIDATES += "".join(
    f'\n\n@harness.candidate\ndef at_{name}():\n    return {SERVICES[name]}, train="train.jsonl")\n'
    for name in services()
)


@pytest.fixture
def everywhere(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.setattr(SCRIPTED, lambda script: ScriptedBackend(says))
    project.conftest(CANDIDATES)
    project.suite(TARGET, held=rows("support", 12))
    return project


def test_a_rehearsal_decides_on_every_service_and_says_what_it_would_have_cost(
    everywhere: SmallProject,
) -> None:
    outcome = everywhere.run("--candidate=at-*", "--rehearse")
    record = everywhere.record
    assert {made.candidate for made in record.decisions} == {f"at-{name}" for name in services()}, (
        outcome.said
    )
    paid = {line.model for line in record.spending if line.purpose == "training" and line.usd > 0}
    named = {"gpt-4o-mini-2024-07-18"} | {
        f"{name}/" for name in services() if name not in ("openai", "azure")
    }
    assert all(any(model.startswith(name) for model in paid) for name in named), (paid, outcome.said)


def test_a_plan_names_the_price_of_every_service_with_its_date_and_source(everywhere: SmallProject) -> None:
    outcome = everywhere.run("--candidate=at-*", "--plan")
    table = " ".join(priced(outcome.out).split())
    assert all(f"{service}/" in table for service in LISTED), outcome.said
    assert all(word in table for word in ("2026-10-07", "https://fireworks.ai/pricing", "second-hand"))
    # what has no price yet says so, with the lines that give it one
    assert '[prices."together/base"] with input_usd_per_mtok' in " ".join(outcome.out.split())
