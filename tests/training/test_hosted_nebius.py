"""Nebius: a job that succeeds names no model; one is published of it, and that one answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hosted_builders import Killed, killing
from stand_ins import Scenario, hurried
from stand_ins.conformance import write_rows
from stand_ins.nebius import ANSWERS, TUNED, NebiusStand

from harness import NebiusTuning, OpenAITuning
from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.errors import HostedTrainingError, UsageError
from harness.models.progress import Silent
from harness.store.adapters import AdapterStore
from harness.training.hosted.provider import TuningProvider


@pytest.fixture
def nebius() -> Iterator[tuple[NebiusStand, str]]:
    with NebiusStand(Scenario()) as service:
        yield service, f"{service.url}/v1/"


@dataclass(frozen=True, kw_only=True)
class Quick(hurried(NebiusTuning)):
    """The candidate, which does not wait, and which a test can kill."""

    killed_at: int | None = None

    def service(self) -> TuningProvider:  # type: ignore[override]
        own = super().service()
        return own if self.killed_at is None else killing(own, self.killed_at, after=True)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("NEBIUS_API_KEY", NebiusStand.keys["NEBIUS_API_KEY"])
    write_rows(tmp_path)
    return Lab(tmp_path, AdapterStore(tmp_path / "store"), Silent())


def spec(url: str, **fields: Any) -> Quick:  # noqa: ANN401 - any field of the candidate
    return Quick(base=TUNED, train="train.jsonl", base_url=url, learning_rate=1e-5, lora_rank=16, **fields)


def fresh(lab: Lab) -> Lab:
    return Lab(lab.root, lab.adapters, Silent())


@pytest.mark.parametrize("lists_job", [True, False])
def test_a_job_ends_in_a_model_that_answers_under_the_name_that_the_service_gave_it(
    nebius: tuple[NebiusStand, str], lab: Lab, lists_job: bool
) -> None:
    service, url = nebius
    service.lists_job = lists_job
    candidate = spec(url)
    candidate.preflight(lab, Variant("n", candidate, 6))
    made = candidate.prepare(lab, Variant("n", candidate, 6))
    assert made.training is not None
    asked = candidate.estimate(lab, Variant("n", candidate, 6)).asked_as
    assert asked is not None
    assert asked.model == service.published[0]["name"]
    assert service.published[0]["checkpoint_id"] == "ftckpt-9"  # the last one
    (job,) = service.jobs.values()
    assert job["hyperparameters"] == {"lora": True, "lora_r": 16, "learning_rate": 1e-5, "n_epochs": 3}
    assert candidate.remote(TUNED).model == ANSWERS  # the baseline's
    clone = Lab(lab.root, AdapterStore(lab.root / "elsewhere"), Silent())  # another machine
    assert candidate.prepare(clone, Variant("n", candidate, 6)).identity == made.identity
    assert [service.posted.count(path) for path in ("/v1/fine_tuning/jobs", "/v0/models")] == [1, 1]


def test_killed_after_each_call_one_job_is_begun_and_it_ends_in_one_model(
    nebius: tuple[NebiusStand, str], lab: Lab
) -> None:
    service, url = nebius
    for at in range(30):
        killed = spec(url, killed_at=at)
        with suppress(Killed):
            killed.prepare(fresh(lab), Variant("n", killed))
            break
    else:
        raise AssertionError("it never came through")
    assert at > 3
    assert [len(service.jobs), len(service.published)] == [1, 1]


def test_a_model_that_cannot_be_published_leads_out_and_nothing_is_paid_twice(
    nebius: tuple[NebiusStand, str], lab: Lab
) -> None:
    service, url = nebius
    service.checked, service.reason = ("validating", "error"), "adapter rank 16 is above 8"
    candidate = spec(url)
    for _ in range(2):
        with pytest.raises(HostedTrainingError, match="adapter rank 16 is above 8") as caught:
            candidate.prepare(fresh(lab), Variant("n", candidate))
        assert "nothing is tuned twice" in str(caught.value)
    service.published.clear()  # as the hint says
    service.checked = ("active",)
    assert candidate.prepare(fresh(lab), Variant("n", candidate)).training is not None
    assert len(service.jobs) == 1


def test_a_base_that_takes_no_adapter_is_told_and_nothing_is_paid_twice(
    nebius: tuple[NebiusStand, str], lab: Lab
) -> None:
    service, url = nebius
    wrong = spec(url, served_as="meta-llama/another")
    with pytest.raises(HostedTrainingError, match=r"did not publish its model.*no such base") as caught:
        wrong.prepare(lab, Variant("n", wrong))
    assert "served_as=" in str(caught.value)
    assert spec(url).prepare(fresh(lab), Variant("n", spec(url))).training is not None
    assert len(service.jobs) == 1


def test_the_general_kind_reaches_it_too_by_its_address(nebius: tuple[NebiusStand, str], lab: Lab) -> None:
    service, url = nebius
    candidate = hurried(OpenAITuning)(
        base=TUNED, train="train.jsonl", base_url=url, profile="nebius", learning_rate_multiplier=1e-5
    )
    assert candidate.prepare(lab, Variant("n", candidate)).training is not None
    (job,) = service.jobs.values()
    assert job["hyperparameters"] == {"lora": True, "learning_rate": 1e-5, "n_epochs": 3}


def test_a_factor_is_no_rate_and_a_rehearsal_leaves_the_service(lab: Lab) -> None:
    candidate = NebiusTuning(base=TUNED, train="train.jsonl", learning_rate=2.0)
    with pytest.raises(UsageError, match="the rate itself"):
        candidate.job(lab, Variant("n", candidate))
    there = replace(candidate, learning_rate="auto", suffix="s").redirected("http://127.0.0.1:9/v1")
    assert (there.base, there.suffix, there.base_url) == (TUNED, "s", "http://127.0.0.1:9/v1")
    there.require_fit(there.service().capabilities)
