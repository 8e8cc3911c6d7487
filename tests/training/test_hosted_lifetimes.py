"""When models end: known closures and what the service says, checked before a job and told in the report."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from harness import NebiusTuning
from harness.errors import HostedTrainingError
from harness.models.profiles import AZURE, COMPATIBLE, NEBIUS, TWIN, Profile
from harness.training.hosted.jobs import Environment
from harness.training.hosted.lifetimes import (
    ending_notes,
    known_closures,
    lifetime,
    require_tunable,
    today,
)
from harness.training.hosted.openai_objects import read_shutdown_date

MINI = "gpt-4o-mini-2024-07-18"
CLOSES = date(2027, 1, 14)


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o",
        "gpt-4o-2024-08-06",
        MINI,
        "gpt-4.1-2025-04-14",
        "gpt-4.1-mini",
        "ft:gpt-4.1-mini-2025-04-14:o::x",
    ],
)
def test_the_announced_closures_cover_snapshots_and_fine_tunes(model: str) -> None:
    assert lifetime(model, None, in_table=True).shutdown == CLOSES


@pytest.mark.parametrize("model", ["gpt-4o-mini-transcribe", "gpt-5", "babbage-003", "ft:curie-002:o::x"])
def test_no_other_model_is_taken_for_one_of_them(model: str) -> None:
    assert lifetime(model, None, in_table=True).shutdown is None


def test_a_snapshot_with_a_date_of_its_own_has_that_one() -> None:
    assert lifetime("gpt-4o-2024-05-13", None, in_table=True).shutdown == date(2026, 10, 23)


@pytest.mark.parametrize("base", ["babbage-002", "davinci-002", "gpt-3.5-turbo-1106"])
def test_what_was_tuned_may_answer_for_longer_than_its_base(base: str) -> None:
    assert lifetime(base, None, in_table=True).shutdown == date(2026, 9, 28)
    assert lifetime(f"ft:{base}:o::x", None, in_table=True).shutdown == date(2026, 10, 23)


@pytest.mark.parametrize("base", ["babbage-002", "davinci-002"])
def test_completion_models_were_closed_to_tuning_before_the_others(base: str) -> None:
    with pytest.raises(HostedTrainingError, match=r"no new tuning job can begin .* since 2024-10-28"):
        require_tunable(lifetime(base, None, in_table=True), date(2026, 9, 27))
    with pytest.raises(HostedTrainingError, match="was shut down on 2026-09-28"):
        require_tunable(lifetime(base, None, in_table=True), date(2026, 9, 28))


@pytest.mark.parametrize("profile", [AZURE, NEBIUS, COMPATIBLE, TWIN], ids=lambda p: p.name)
def test_the_table_holds_at_openais_own_address_alone(profile: Profile) -> None:
    found = lifetime(MINI, None, in_table=profile.lifetimes)
    assert (found.shutdown, found.no_new_jobs_from) == (None, None)
    require_tunable(found, date(2030, 1, 1))


def test_what_the_service_says_comes_before_the_table() -> None:
    assert lifetime(MINI, "2027-03-01", in_table=True).shutdown == date(2027, 3, 1)
    assert lifetime(MINI, "2027-03-01", in_table=False).source == "the service"
    assert lifetime(MINI, "soon", in_table=True).shutdown == CLOSES


@pytest.mark.parametrize(("day", "can"), [(date(2027, 1, 5), True), (date(2027, 1, 6), False)])
def test_the_last_day_of_tuning_is_the_day_before_the_closure(day: date, can: bool) -> None:
    found = lifetime(MINI, None, in_table=True)
    if can:
        require_tunable(found, day)
        return
    with pytest.raises(HostedTrainingError, match=r"no new tuning job can begin .* since 2027-01-06"):
        require_tunable(found, day)


def test_a_model_that_is_shut_down_says_so_with_its_source() -> None:
    with pytest.raises(HostedTrainingError, match="was shut down on 2027-01-14") as caught:
        require_tunable(replace(lifetime(MINI, None, in_table=True), no_new_jobs_from=None), CLOSES)
    assert known_closures().source in str(caught.value)
    assert str(known_closures().known_on) in str(caught.value)


def test_an_end_within_the_horizon_is_a_warning_and_beyond_it_a_note() -> None:
    found = lifetime(MINI, None, in_table=True)
    within, *_ = ending_notes(found, CLOSES - timedelta(days=54), 90)
    beyond, *_ = ending_notes(found, CLOSES - timedelta(days=54), 30)
    assert within.startswith("WARNING")
    assert "in 54 days: within the horizon of 90 days" in within
    assert not beyond.startswith("WARNING")
    assert "2027-01-14" in beyond


def test_a_model_without_a_known_end_has_no_note() -> None:
    assert ending_notes(lifetime("some-model", None, in_table=False), date(2026, 1, 1), 90) == ()


def test_every_date_of_the_table_has_a_source_and_a_day() -> None:
    table = known_closures()
    assert table.known_on >= date(2026, 11, 21)
    assert table.source.startswith("https://")
    assert all(isinstance(day, date) for day in table.shutdowns.values())


@pytest.mark.parametrize("file", ["conftest.py", "harness/cli/starter/conftest.py.jinja", "docs/moving.md"])
def test_what_people_begin_with_outlives_the_models_that_end(file: str) -> None:
    text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8")
    (base,) = set(re.findall(r'(?:base|MODEL) ?= ?"(.*/.*)"', text))
    candidate = NebiusTuning(base=base, train="train.jsonl")
    found = lifetime(base, None, in_table=candidate.service().capabilities.lifetimes)
    require_tunable(found, date(2027, 3, 1))
    assert ending_notes(found, date(2027, 3, 1), 90) == ()
    assert "NebiusTuning(" in text
    assert "OpenAITuning(" not in text


def test_the_tests_clock_is_the_one_that_a_run_asks(pytestconfig: pytest.Config) -> None:
    day = pytestconfig.option.today
    expected = datetime.now(UTC).date() if day is None else day.date()
    assert abs(today() - expected) <= timedelta(days=day is None)
    assert Environment().today == today()


@pytest.mark.parametrize(
    ("told", "day"),
    [
        ({"deprecation": {"fine_tune": 1, "inference": 1_808_697_600}}, "2027-04-26"),
        ({"deprecation": {"inference": 10**30}}, None),
        ({"deprecation": {}, "shutdown_date": "2027-01-14"}, "2027-01-14"),
        ({"deprecation": None}, None),
    ],
)
def test_azure_gives_the_end_of_a_models_answers_as_a_time(told: dict[str, object], day: str | None) -> None:
    assert read_shutdown_date({"id": "m", **told}) == day
