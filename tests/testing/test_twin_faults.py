"""Faults that are switched on reach the SDK as the faults of the service would."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from twin_client import asked, chat_row, lines, upload

from harness.errors import UsageError
from harness.testing.fake_openai import CHAT, Faults, set_twin_faults, twin_stats
from harness.testing.fake_openai.faults import parse_faults


@pytest.fixture(autouse=True)
def no_faults_after(base_url: str) -> Iterator[None]:
    yield
    set_twin_faults(base_url, Faults())


def test_every_request_may_be_unauthorized(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(unauthorized=1))
    with pytest.raises(openai.AuthenticationError):
        asked(client, CHAT, "hello")


def test_a_rate_limit_says_when_to_come_back(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(rate_limited=1, retry_after_s=0.25))
    with pytest.raises(openai.RateLimitError) as caught:
        asked(client, CHAT, "hello")
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "0.25"
    assert caught.value.response.headers["retry-after-ms"] == "250"


def test_the_services_own_error(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(server_error=1))
    with pytest.raises(openai.InternalServerError) as caught:
        asked(client, CHAT, "hello")
    assert caught.value.type == "server_error"


@pytest.mark.parametrize(("fault", "made"), [("dropped", 0), ("lost", 1)])
def test_a_connection_breaks_before_or_after_the_job_is_made(
    client: OpenAI, base_url: str, fault: str, made: int
) -> None:
    file = upload(client, lines([chat_row(k) for k in range(12)]))
    before = twin_stats(base_url)["jobs"]
    set_twin_faults(base_url, parse_faults({fault: 1}))
    with pytest.raises(openai.APIConnectionError):
        client.fine_tuning.jobs.create(model=CHAT, training_file=file.id)
    assert isinstance(before, int)
    assert twin_stats(base_url)["jobs"] == before + made


def test_a_malformed_body_is_half_an_answer(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(malformed=1))
    with pytest.raises(json.JSONDecodeError):
        asked(client, CHAT, "hello")


def test_the_same_seed_hits_the_same_requests(client: OpenAI, base_url: str) -> None:
    def hits() -> list[bool]:
        set_twin_faults(base_url, Faults(server_error=0.3, rate_limited=0.2, seed=5))
        found = []
        for _ in range(30):
            try:
                asked(client, CHAT, "hello")
                found.append(True)
            except openai.APIStatusError:
                found.append(False)
        return found

    first = hits()
    assert first == hits()
    assert 5 <= first.count(False) <= 25


def test_faults_are_counted(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(server_error=1))
    with pytest.raises(openai.InternalServerError):
        client.models.list()
    faults = twin_stats(base_url)["faults"]
    assert isinstance(faults, dict)
    assert faults["server_error"] >= 1


def test_faults_are_read_from_texts() -> None:
    assert parse_faults({"rate_limited": "0.05", "job_fails_at_step": "3"}) == Faults(
        rate_limited=0.05, job_fails_at_step=3
    )


@pytest.mark.parametrize(
    "given",
    [
        {"nope": "1"},
        {"dropped": "often"},
        {"dropped": "1.5"},
        {"lost": "-1"},
        {"lost": "0.6", "dropped": "0.6"},
    ],
)
def test_a_fault_that_is_none_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        parse_faults(given)
