"""What a batch answered is taken, however the run that sent it ended; only the rest is sent again."""

from __future__ import annotations

from functools import partial

import pytest
from batch_service import BatchService, Body, answered

from harness.decision.prices import price_of
from harness.errors import ModelError
from harness.models.endpoint import Endpoint
from harness.models.ledger import Ledger, Spending
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.remote_batch import BatchGoesOn, cut
from harness.records import Answer, Message

PROMPTS = [Prompt(f"r{k}", (Message("user", f"question {k}"),)) for k in range(100)]
DAY_S = 24 * 3600.0


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> BatchService:
    service = BatchService()
    monkeypatch.setattr(Endpoint, "client", lambda endpoint: service.client())
    return service


def opened(waits: int = 1000, ledger: Ledger | None = None) -> OpenRemoteModel:
    """A model whose process is killed at its wait number ``waits``."""
    left = waits

    def sleep(seconds: float) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    spec = RemoteModel("gpt-4o-mini", base_url="http://127.0.0.1:9/v1", profile="twin", batch=True)
    spending = Spending("gpt-4o-mini", price_of("gpt-4o-mini", tuned=False), ledger) if ledger else None
    return OpenRemoteModel(spec, spending, Silent(), sleep=sleep)


def ask(model: OpenRemoteModel, known: frozenset[str] = frozenset()) -> list[Answer]:
    return list(model.answer(PROMPTS, Decoding(max_new_tokens=8), known))


def number(request: Body) -> int:
    return int(str(request["custom_id"])[1:])


def test_a_run_that_kept_some_of_a_batch_takes_the_rest_of_it(service: BatchService) -> None:
    coming = opened().answer(PROMPTS, Decoding(max_new_tokens=8), frozenset())
    kept = frozenset(next(coming).row_id for _ in range(40))
    coming.close()
    rest = ask(opened(), kept)
    assert {a.row_id for a in rest} == {p.row_id for p in PROMPTS} - kept
    assert service.sizes() == [100]


def test_a_failed_row_in_one_part_does_not_hide_the_batch_of_the_next(
    service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.remote_batch.cut", partial(cut, most_lines=50))
    service.reply = lambda request: 400 if request["custom_id"] == "r7" else answered()
    got: list[Answer] = []
    with pytest.raises(Killed):
        got.extend(opened(waits=1).answer(PROMPTS, Decoding(max_new_tokens=8), frozenset()))
    known = frozenset(a.row_id for a in got if a.failure is None)
    assert len(known) == 49
    service.reply = lambda request: answered()
    again = ask(opened(), known)
    assert service.sizes() == [50, 50, 1], "the failed row alone is sent again"
    assert {a.row_id for a in again if a.failure is None} == {p.row_id for p in PROMPTS} - known
    assert sorted(service.billed) == sorted(p.row_id for p in PROMPTS)


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
def test_what_a_batch_answered_before_it_expired_or_was_cancelled_is_not_paid_again(
    service: BatchService, ends: str
) -> None:
    service.ends, service.reply = ends, lambda request: answered() if number(request) < 32 else None
    with pytest.raises(Killed):
        ask(opened(waits=0))
    service.end("batch_0")
    service.ends, service.reply = "completed", lambda request: answered("later")
    ledger = Ledger(1.0)
    got = ask(opened(ledger=ledger))
    assert service.sizes() == [100, 68]
    assert {a.row_id: a.text for a in got} == {
        p.row_id: "yes" if int(p.row_id[1:]) < 32 else "later" for p in PROMPTS
    }
    assert sorted(service.billed) == sorted(p.row_id for p in PROMPTS)
    each = (10 * 0.15 + 0.60) / 1e6 / 2
    assert ledger.spent_usd == pytest.approx(68 * each), "what an earlier run paid is not counted again"


def test_a_batch_that_is_being_cancelled_is_waited_for(service: BatchService) -> None:
    service.ends, service.reply = "cancelled", lambda request: answered() if number(request) < 10 else None
    with pytest.raises(Killed):
        ask(opened(waits=0))
    service.batches["batch_0"].status = "cancelling"

    def reply(request: Body) -> Body | None:
        service.ends = "completed" if len(service.batches) > 1 else "cancelled"
        return answered() if len(service.batches) > 1 or number(request) < 10 else None

    service.reply = reply
    assert {a.row_id for a in ask(opened()) if a.failure is None} == {p.row_id for p in PROMPTS}
    assert service.sizes() == [100, 90]


def test_an_answer_in_a_batch_that_cannot_be_read_counts_at_its_most(service: BatchService) -> None:
    service.reply = lambda request: {"choices": []} if number(request) == 0 else 400
    ledger = Ledger(1.0)
    model = opened(ledger=ledger)
    got = {a.row_id: a for a in ask(model)}
    assert (got["r0"].failure or "").startswith("malformed answer")
    assert ledger.spent_usd == pytest.approx(
        model.wire.request(PROMPTS[0], Decoding(max_new_tokens=8)).most_usd, abs=1e-11
    )


def test_a_batch_that_is_hours_over_its_window_ends_the_run_and_says_how_to_end_it(
    service: BatchService,
) -> None:
    service.looks = 10**9
    model = opened()
    waited = 0.0

    def sleep(seconds: float) -> None:
        nonlocal waited
        waited += seconds

    start = model.now()
    model.sleep, model.now = sleep, lambda: start + waited
    with pytest.raises(
        ModelError, match=r"batch_0 .* is in_progress, and should have ended 1\.0 hours ago"
    ) as caught:
        ask(model)
    assert DAY_S < waited < DAY_S + 2 * 3600
    assert "/v1/batches/batch_0/cancel" in str(caught.value)
    assert len(service.batches) == 1


def test_ctrl_c_leaves_a_batch_running_and_says_how_to_end_it(service: BatchService) -> None:
    service.looks = 10**9
    model = opened()

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    model.sleep = interrupted
    with pytest.raises(BatchGoesOn, match=r"the next run finds it.*\n.*curl -X POST .*batch_0/cancel"):
        ask(model)


def test_a_service_that_wants_a_day_s_pause_is_not_waited_for(
    service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from httpx2 import Request, Response
    from openai import RateLimitError

    headers = {"retry-after": "86400"}
    busy = Response(429, headers=headers, request=Request("GET", "http://127.0.0.1:9/v1/batches"))

    def turned_away(limit: int) -> None:
        raise RateLimitError("tomorrow", response=busy, body=None)

    monkeypatch.setattr(service, "_batches", turned_away)
    waited: list[float] = []
    model = opened()
    model.sleep = waited.append
    with pytest.raises(ModelError, match="tomorrow"):
        ask(model)
    assert waited == []
