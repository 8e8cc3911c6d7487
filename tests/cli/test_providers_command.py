"""``harness providers``: a table, what is known of one, and the comparison with the installed SDKs."""

from __future__ import annotations

from dataclasses import replace

import pytest

import harness
from harness.cli.main import main
from harness.training.hosted import services as room
from harness.training.hosted.services import Shape, services

JOB = "openai.types.fine_tuning.FineTuningJob"


def test_the_installed_sdks_have_the_recorded_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "--check"]) == 0, capsys.readouterr().out


def test_a_service_is_a_line_and_its_candidate_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 128
    for service in services().values():
        assert any(line.startswith(f"{service.name} ") for line in lines)
        assert hasattr(harness, service.candidate)
        assert service.untried
        assert not service.compared or service.installed != "", service.name


def test_one_service_tells_what_nobody_has_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "azure"]) == 0
    said = capsys.readouterr().out
    assert "untried    any job at the service itself" in said
    assert "pausing, paused" in said
    assert main(["providers", "azur"]) == 2
    assert "Did you mean 'azure'?" in capsys.readouterr().err


def planted(
    monkeypatch: pytest.MonkeyPatch, job: Shape, without: tuple[str, ...] = (), more: tuple[str, ...] = ()
) -> None:
    """The record of OpenAI's job, as if the SDK had been another when it was read."""
    real = services()["openai"]
    told = {name: kind for name, kind in {**real.shapes[JOB], **job}.items() if name not in without}
    shapes = {**real.shapes, JOB: told, **{name: {} for name in more}}
    found = {"openai": replace(real, shapes=shapes)}
    monkeypatch.setattr(room, "services", lambda: found)


def test_drift_is_told_a_line_a_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(
        monkeypatch,
        job={
            "status": '"queued" | "running" | "succeeded" | "failed" | "cancelled" | "paused"',
            "seed": "int?",
            "owner": "str",
        },
        without=("metadata",),
        more=("openai.types.fine_tuning.Gone",),
    )
    assert main(["providers", "--check"]) == 1
    said = capsys.readouterr().out
    for line in (
        "openai: 5 differences",
        "+ FineTuningJob.metadata: dict[str, str]?",
        "- FineTuningJob.owner: str",
        '~ FineTuningJob.status: +"validating_files" -"paused"',
        "~ FineTuningJob.seed: int? -> int",
        "- openai.types.fine_tuning.Gone: gone",
        "hint: ",
    ):
        assert line in said
    assert len(said.splitlines()) < 50


def test_words_in_another_order_are_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(
        monkeypatch,
        job={
            "status": '"running" | "queued" | "succeeded" | "failed" | "cancelled" | "validating_files"',
        },
    )
    assert main(["providers", "openai", "--check"]) == 0
