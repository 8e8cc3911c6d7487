"""The Batch API, against the local twin: half the price, and one batch for one content whatever happens."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from harness.decision.prices import price_of
from harness.errors import BudgetReached, ModelError
from harness.models.ledger import Ledger, Spending
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.remote_batch import cut
from harness.models.remote_wire import ModelWire, PricedRequest
from harness.records import Answer, Message
from harness.testing.fake_openai import (
    ALIAS,
    Faults,
    ScriptedBackend,
    running_fake_openai,
    set_twin_faults,
    twin_stats,
)

DECODING = Decoding(max_new_tokens=8)
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def twin() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend(reply_s=0.002), aliases=["gpt-4o-mini"]) as base_url:
        yield base_url


def opened(twin: str, model: str = ALIAS, ledger: Ledger | None = None) -> OpenRemoteModel:
    spec = RemoteModel(model, base_url=twin, profile="twin", api_key_env="NO_SUCH_KEY", batch=True)
    spending = Spending(model, price_of("gpt-4o-mini", tuned=False), ledger) if ledger else None
    return OpenRemoteModel(spec, spending, Silent(), sleep=lambda _: pause())


def pause() -> None:
    time.sleep(0.01)


def prompts(n: int) -> list[Prompt]:
    return [Prompt(f"r{k}", (Message("user", f"question {k}"),)) for k in range(n)]


def answers(model: OpenRemoteModel, n: int = 20) -> list[Answer]:
    return list(model.answer(prompts(n), DECODING, frozenset({"r3"})))


def test_a_batch_answers_every_row_that_is_not_known_in_one_upload(twin: str) -> None:
    got = {a.row_id: a for a in answers(opened(twin))}
    assert set(got) == {f"r{k}" for k in range(20)} - {"r3"}
    assert all(a.text == f"question {a.row_id[1:]}" for a in got.values())
    assert all(a.batched and a.latency_ms == 0 and a.completion_tokens == 2 for a in got.values())
    stats = twin_stats(twin)
    assert (stats["uploads"], stats["batches"], stats["batch_requests"]) == (1, 1, 19)


def test_the_same_content_asked_again_finds_its_batch(twin: str) -> None:
    first, second = answers(opened(twin)), answers(opened(twin))
    assert first == second
    assert twin_stats(twin)["batches"] == 1
    answers(opened(twin), n=5)
    assert twin_stats(twin)["batches"] == 2, "other content is another batch"


@pytest.mark.parametrize("seed", range(10))
def test_killed_anywhere_and_started_again_one_upload_and_one_batch_are_paid(twin: str, seed: int) -> None:
    """Killed before, in and after every request to the service; answers that got lost count, too."""
    rng = random.Random(seed)
    faults = Faults(lost=0.2, dropped=0.1, rate_limited=0.1, retry_after_s=0.01, server_error=0.1, seed=seed)
    set_twin_faults(twin, faults)
    got: list[Answer] = []
    for _ in range(60):
        model = opened(twin)
        left = rng.randrange(6)

        def sleep(seconds: float) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            pause()

        model.sleep = sleep
        try:
            got = answers(model)
        except (Killed, ModelError):
            continue
        break
    assert {a.row_id: a.text for a in got}.items() >= {"r0": "question 0", "r19": "question 19"}.items()
    stats = twin_stats(twin)
    assert (stats["uploads"], stats["batches"]) == (1, 1)


def test_a_batch_costs_half_and_one_that_is_found_nothing_more(twin: str) -> None:
    ledger = Ledger(1.0)
    got = answers(opened(twin, "gpt-4o-mini", ledger))
    tokens_in, tokens_out = (sum(getattr(a, f"{k}_tokens") for a in got) for k in ("prompt", "completion"))
    assert ledger.spent_usd == pytest.approx((tokens_in * 0.15 + tokens_out * 0.60) / 1e6 / 2)
    again = Ledger(0.0)
    assert answers(opened(twin, "gpt-4o-mini", again)) == got
    assert again.spent_usd == 0


def test_a_batch_that_could_pass_the_cap_is_not_sent(twin: str) -> None:
    with pytest.raises(BudgetReached, match="19 of 20 answers of gpt-4o-mini"):
        answers(opened(twin, "gpt-4o-mini", Ledger(1e-6)))
    assert twin_stats(twin)["uploads"] == 0


def test_requests_that_the_service_refuses_are_failures_with_its_words(twin: str) -> None:
    model = opened(twin)
    got = list(model.answer(prompts(3), Decoding(max_new_tokens=10**6), frozenset()))
    assert len(got) == 3
    assert all(a.finish == "failed" and "400" in (a.failure or "") for a in got)


def test_a_batch_that_fails_says_why(twin: str) -> None:
    two = [prompts(1)[0], prompts(1)[0]]  # one custom_id twice: the service fails the whole batch
    with pytest.raises(ModelError, match=r"failed: line 2: .*already been used.*duplicate_custom_id"):
        list(opened(twin).answer(two, DECODING, frozenset()))


def test_requests_are_cut_into_files_that_the_service_accepts() -> None:
    asked = [PricedRequest(prompt, {"model": "m", "text": "x" * 50}, 0.0) for prompt in prompts(25)]
    parts = list(cut(asked, completions=False, most_lines=10))
    assert [len(part.requests) for part in parts] == [10, 10, 5]
    assert [part.content.count(b"\n") for part in parts] == [10, 10, 5]
    assert len({part.name for part in parts}) == 3
    small = list(cut(asked, completions=True, most_bytes=400))
    assert all(len(part.content) <= 400 for part in small)
    assert sum(len(part.requests) for part in small) == 25
    assert {part.url for part in small} == {"/v1/completions"}


@pytest.mark.parametrize(
    ("model", "logprobs", "temperature", "schema", "name"),
    [
        ("gpt-4o-mini", False, 0.0, None, "3caf3cce3190d9986bec25425c9d19305bcec6d0"),
        ("gpt-4o-mini", True, 0.7, SCHEMA, "1350266cbe1682e060b6b5ff3069180d87a44982"),
        ("gpt-5-mini", False, 0.0, SCHEMA, "23693329df3e06e867a4a66784ab09e33398e47e"),
        ("babbage-002", True, 0.7, None, "9d0b4801bf120e407c2f67c4a2ad6c4aedba0e71"),
    ],
)
def test_a_batch_that_an_earlier_version_sent_is_found_by_its_name(
    model: str, logprobs: bool, temperature: float, schema: dict[str, object] | None, name: str
) -> None:
    turns = [(Message("system", "Be short."), Message("user", f"question {k}", name="ann")) for k in range(3)]
    prompts = [Prompt(f"r{k}", messages, repeat=k) for k, messages in enumerate(turns)]
    top_p, seed = (0.9, 5) if schema is not None and temperature else (1.0, 0)
    decoding = Decoding(max_new_tokens=8, temperature=temperature, top_p=top_p, seed=seed)
    wire = ModelWire(RemoteModel(model, profile="twin", batch=True, logprobs=logprobs), schema=schema)
    (part,) = cut([wire.request(prompt, decoding) for prompt in prompts], wire.completions)
    assert (part.name, part.file_name) == (name, f"harness-{name}.jsonl")


def test_calls_one_by_one_work_against_the_twin_too(twin: str) -> None:
    spec = RemoteModel(ALIAS, base_url=twin, api_key_env="NO_SUCH_KEY", logprobs=True)
    got = list(spec.open().answer(prompts(10), DECODING, frozenset()))
    assert sorted(a.text for a in got) == sorted(f"question {k}" for k in range(10))
    assert {a.logprob for a in got} == {-0.1}
