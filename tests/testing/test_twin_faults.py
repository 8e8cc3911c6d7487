"""Faults that are switched on reach the SDK as the faults of the service would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import OpenAI
from twin_client import asked, new_job

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


def test_a_dropped_connection_did_nothing(client: OpenAI, base_url: str) -> None:
    before = twin_stats(base_url)["jobs"]
    set_twin_faults(base_url, Faults(dropped=1, path="/v1/fine_tuning"))
    with pytest.raises(openai.APIConnectionError):
        new_job(client)
    assert twin_stats(base_url)["jobs"] == before


def test_a_lost_answer_leaves_the_job_behind(client: OpenAI, base_url: str) -> None:
    before = twin_stats(base_url)["jobs"]
    set_twin_faults(base_url, Faults(lost=1, path="/v1/fine_tuning"))
    with pytest.raises(openai.APIConnectionError):
        new_job(client)
    set_twin_faults(base_url, Faults())
    assert isinstance(before, int)
    assert twin_stats(base_url)["jobs"] == before + 1


def test_a_malformed_body_is_half_an_answer(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(malformed=1))
    with pytest.raises(json.JSONDecodeError):
        asked(client, CHAT, "hello")


def test_a_slow_answer_comes_late(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(slow=1, slow_s=0.3, latency_s=0.1))
    began = time.monotonic()
    assert asked(client, CHAT, "hello") == "hello"
    assert time.monotonic() - began >= 0.4
    with pytest.raises(openai.APITimeoutError):
        asked(client.with_options(timeout=0.1), CHAT, "hello")


def test_too_many_at_once_are_turned_away(client: OpenAI, base_url: str) -> None:
    set_twin_faults(base_url, Faults(most_at_once=2, latency_s=0.3))

    def ask(_: int) -> bool:
        try:
            return asked(client, CHAT, "hello") == "hello"
        except openai.RateLimitError:
            return False

    with ThreadPoolExecutor(6) as pool:
        answered = list(pool.map(ask, range(6)))
    assert 1 <= sum(answered) < 6


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
    assert parse_faults({"rate_limited": "0.05", "job_fails_at_step": "3", "path": "/v1/files"}) == Faults(
        rate_limited=0.05, job_fails_at_step=3, path="/v1/files"
    )


@pytest.mark.parametrize("given", [{"nope": "1"}, {"dropped": "often"}, {"dropped": "1.5"}, {"slow": "-1"}])
def test_a_fault_that_is_none_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        parse_faults(given)
