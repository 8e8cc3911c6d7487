"""Every tuning service, through documented words, faults and kills: it ends in an answer or leads out."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_ins import Fault, Scenario, Stand
from stand_ins.conformance import BACKENDS, Outcome, Play, backend, draw, play, write_rows

from harness.training.hosted.services import Statuses, services

SEED = 1  # `python -m benchmarks conformance` plays 200 a service


@pytest.fixture(params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> type[Stand]:
    if services()[request.param].installed is None:
        pytest.skip("its SDK is not installed")
    return backend(request.param)


def played(kind: type[Stand], folder: Path, given: Play) -> Outcome:
    folder.mkdir(exist_ok=True)
    write_rows(folder)
    out = play(kind, given, folder)
    assert out.is_well, (given, out)
    return out


def test_whatever_is_drawn_it_ends_in_an_answer_or_in_a_sentence_that_leads_out(
    kind: type[Stand], tmp_path: Path
) -> None:
    played(kind, tmp_path, draw(kind, SEED))


@pytest.mark.parametrize(("service", "seed"), [("fireworks", 165), ("fireworks", 190), ("together", 44)])
def test_scenarios_that_once_led_nowhere(service: str, seed: int, tmp_path: Path) -> None:
    kind = backend(service)
    played(kind, tmp_path, draw(kind, seed))


def test_every_documented_word_is_taken_for_what_it_is(kind: type[Stand], tmp_path: Path) -> None:
    words = services()[kind.service].statuses
    if words is None:
        pytest.skip("it has no jobs")
    scenario = Scenario(
        statuses=(*words.under_way, "a_word_of_next_year"), page=2, extra={"x_new": {"a": [1, None]}}
    )
    assert played(kind, tmp_path / "all", Play(scenario)).ended == "answered"
    for word in (*words.failed, *words.cancelled, *words.paused):
        out = played(kind, tmp_path / word, Play(Scenario(ends=word, statuses=words.under_way[:1])))
        assert out.ended != "answered"


def test_killed_again_and_again_it_is_paid_once(kind: type[Stand], tmp_path: Path) -> None:
    kills = frozenset((n, n % 2 == 0) for n in range(1, 60, 5))  # each life gets a few calls further
    assert played(kind, tmp_path, Play(Scenario(), kills)).ended == "answered"


def test_nobody_else_is_asked_no_key_is_shown_and_the_answer_to_the_submission_may_be_lost(
    kind: type[Stand], tmp_path: Path
) -> None:
    key = next(iter(kind.keys.values()))
    faults = {n: Fault(307, "", to="elsewhere") for n in (1, 7, 13)}
    faults |= {n: Fault(401, f'{{"error": {{"message": "Incorrect key: {key}"}}}}') for n in (0, 5)}
    out = played(kind, tmp_path, Play(Scenario(faults=faults, lost=Fault(after=True))))
    assert out.ended == "answered"
    assert out.billed == 1


def test_the_price_that_is_asked_is_what_a_cap_holds_back(kind: type[Stand], tmp_path: Path) -> None:
    if kind.asks_usd is None:
        pytest.skip("it names no price beforehand")
    short = played(kind, tmp_path / "short", Play(Scenario(), max_usd=kind.asks_usd - 0.001))
    assert "BudgetReached" in short.ended
    assert not short.billed


# --------------------------------------------------------------------------- what is recorded
def test_recorded_words_are_those_of_the_recorded_job() -> None:
    for service in services().values():
        told = service.shapes.get(service.job, {}).get("status", "")
        if service.statuses is not None and told.startswith('"'):
            words = {word.strip('"') for word in told.removesuffix("?").split(" | ")}
            assert words <= service.statuses.all, service.name


def test_words_have_one_meaning_each() -> None:
    for service in services().values():
        words = service.statuses or Statuses(under_way=(), succeeded=(), failed=())
        every = (*words.under_way, *words.succeeded, *words.failed, *words.cancelled, *words.paused)
        assert len(every) == len(set(every)), service.name
