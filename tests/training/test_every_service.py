"""Every service that is known: its price has a date and a source, and holds in its rehearsal."""

from __future__ import annotations

import pytest

import harness
from benchmarks.rehearsals import SERVICES, priced
from harness.candidates.base import Candidate
from harness.decision.prices import LISTED, price_of
from harness.training.hosted.services import service_of, services

TWIN = "http://127.0.0.1:9/v1"


def candidate_at(name: str) -> Candidate:
    kind = service_of(name).candidate
    found: Candidate = eval(f'{SERVICES[name]}, train="train.jsonl")', {kind: getattr(harness, kind)})
    return found


@pytest.mark.parametrize("name", services())
def test_a_rehearsal_bills_a_service_s_own_dated_price_and_asks_the_stand_in(name: str) -> None:
    candidate = candidate_at(name)
    real, rehearsed = candidate.endpoint(), candidate.redirected(TWIN).endpoint()
    assert real is not None
    assert rehearsed is not None
    assert rehearsed.model.url.startswith(TWIN)
    assert real.tuned_as
    price = price_of(real.tuned_as, tuned=True)
    assert price.training_usd_per_mtok
    assert price.source
    assert rehearsed.tuned_as == real.tuned_as
    if name in LISTED:  # others are OpenAI's, whose table of fine-tunes has no date, and says so
        assert real.tuned_as.startswith(f"{name}/")
        assert price.date


def test_a_plan_is_read_for_the_rows_of_its_table_of_prices() -> None:
    plan = "a plan\n\ndollars a million tokens read\nmini 0.15\n  (tuned)\n\nnot ready: a key\n"
    assert priced(plan) == "mini 0.15\n  (tuned)"
    assert priced("a plan\n") == ""
