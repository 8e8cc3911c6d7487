"""A hosted judge grades its anchors again in every run: one that moved has no vote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest
from stub_service import Body, Service, asked, said, serving

from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.remote import RemoteModel
from harness.records import Admission
from harness.run.anchors import AnchorWatch
from harness.run.freshness import Freshness
from harness.run.judge_backends import JudgeBackends
from harness.scoring.drift import MOST_ANCHORS
from harness.scoring.judges import tried_out
from harness.scoring.labels import Label
from harness.scoring.rubric import Rubric
from harness.store.answers import AnswerStore

LABELS = tuple(
    Label(f"m{k}", "right", f"{'right' if k % 2 else 'wrong'} {k}", good=bool(k % 2)) for k in range(104)
)
BLOCK = re.compile(r"<answer-(\w+)>\n(.*)\n</answer-\1>", re.DOTALL)
PROBES = 3  # judgments whose words are compared; see ``run.freshness``


@dataclass
class Grader:
    """What the service's model is today: a level by the answer and the number of this call."""

    level: Callable[[str, int], int]
    calls: int = 0

    def __call__(self, body: Body) -> Body:
        self.calls += 1
        block = BLOCK.search(asked(body))
        assert block is not None
        level = self.level(block[2], self.calls)
        # in other words each time, as a service does whose batches differ
        words = f"it is about {level}, looked at {self.calls} times"
        return said(json.dumps({"reason": words, "score": level}))


def honest(answer: str, call: int) -> int:
    return 5 if answer.startswith("right") else 1


def harsher(answer: str, call: int) -> int:
    """By one level for the good ones: it still tells them apart."""
    return honest(answer, call) - answer.startswith("right")


def wavering(answer: str, call: int) -> int:
    """Another level now and then, in either direction."""
    own = honest(answer, call)
    return own if call % 5 else (4 if own == 5 else 2)


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with serving(Service()) as service:
        yield service


@pytest.fixture
def service(running: Service) -> Service:
    running.reply = Grader(honest)
    running.bodies.clear()
    return running


@pytest.fixture(scope="module")
def judged_once(running: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first run of the honest judge keeps."""
    folder = tmp_path_factory.mktemp("first")
    turned(running, honest)
    first = run(folder, rubric(running))
    assert len(running.bodies) == len(LABELS)
    assert first.admitted
    assert first.anchors is not None
    assert (first.anchors.shift, len(first.anchors.scores)) == (None, MOST_ANCHORS)
    return folder


@pytest.fixture
def folder(judged_once: Path, tmp_path: Path) -> Path:
    return Path(copytree(judged_once, tmp_path / "kept"))


def rubric(service: Service, **given: object) -> Rubric:
    known: dict[str, object] = {"api_key_env": "NO_SUCH_KEY", "profile": "compatible", "concurrency": 64}
    model = RemoteModel("gpt-4o-mini", base_url=service.base_url, **{**known, **given})  # type: ignore[arg-type]
    return Rubric(model, "It is right.", labels="labels.jsonl", known=LABELS)


def run(
    folder: Path, judge: Rubric, *, fresh: bool = False, probes: bool = True, max_usd: float | None = None
) -> Admission:
    """The judge's admission in a new run over what earlier ones kept."""
    store = AnswerStore(folder / "kept.sqlite", datetime.now(UTC).isoformat(timespec="microseconds"))
    freshness = Freshness(store, asks_again=fresh, probes=probes)
    oracle = JudgeBackends(store, Money(Ledger(max_usd)), Silent(), freshness)
    watch = AnchorWatch(store, oracle, asks_again=fresh)
    admission = watch.watched(judge, tried_out(judge, oracle)).admission
    store.close()
    assert admission is not None
    return admission


def turned(service: Service, level: Callable[[str, int], int]) -> Grader:
    service.reply = grader = Grader(level)
    return grader


def test_the_same_model_keeps_its_vote_for_forty_calls_a_run(service: Service, folder: Path) -> None:
    judge = rubric(service)
    grader = turned(service, honest)
    second = run(folder, judge)
    assert second.admitted
    assert second.anchors is not None
    assert (second.anchors.shift, second.anchors.n, second.anchors.moved) == (0.0, MOST_ANCHORS, False)
    assert second.anchors.since[:4] == str(datetime.now(UTC).year)
    assert MOST_ANCHORS <= grader.calls <= MOST_ANCHORS + 2 * PROBES


def test_a_model_that_moved_has_no_vote_until_everything_is_judged_anew(
    service: Service, folder: Path
) -> None:
    judge = rubric(service)
    turned(service, harsher)
    for _ in range(2):  # what it says today does not take the place of what it said
        moved = run(folder, judge)
        assert not moved.admitted
        assert (moved.kappa.value, moved.tpr.value) == (1.0, 1.0), "it is as good as it was, and another"
        assert moved.anchors is not None
        assert moved.anchors.shift == pytest.approx(-0.125)
        assert "its anchors moved by -1" in moved.reasons[-1]
    renewed = run(folder, judge, fresh=True)
    assert renewed.admitted
    after = run(folder, judge)
    assert after.admitted
    assert after.anchors is not None
    assert after.anchors.shift == 0.0


def test_a_model_that_moved_and_repeats_itself_is_judged_anew_and_has_no_vote_yet(
    service: Service, folder: Path
) -> None:
    """The probe of words sees it first, and has all labels judged again; gates have its old thresholds."""
    judge = replace(rubric(service), criteria="It is right, and no more.")
    service.reply = lambda body: said(said_by(honest, body))
    run(folder, judge)
    service.reply = lambda body: said(said_by(harsher, body))
    calls = len(service.bodies)
    moved = run(folder, judge)
    assert not moved.admitted
    assert len(service.bodies) > calls + len(LABELS) - MOST_ANCHORS
    assert not run(folder, judge).admitted


def said_by(level: Callable[[str, int], int], body: Body) -> str:
    block = BLOCK.search(asked(body))
    assert block is not None
    found = level(block[2], 1)
    return json.dumps({"reason": f"it is {found}", "score": found})


def test_a_model_that_wavers_keeps_its_vote(service: Service, folder: Path) -> None:
    judge = rubric(service)
    turned(service, wavering)
    assert [run(folder, judge).admitted for _ in range(2)] == [True] * 2


def test_slow_steps_add_up(service: Service, folder: Path) -> None:
    judge = rubric(service)
    said_no = []
    for few in (5, 9):

        def some_lower(answer: str, call: int, few: int = few) -> int:
            own = honest(answer, call)
            return own - 1 if own == 5 and int(answer.split()[1]) % 20 < 2 * few else own

        turned(service, some_lower)
        said_no.append(not run(folder, judge).admitted)
    assert said_no[-1]


def test_a_pinned_model_and_a_rehearsal_are_not_asked_again(service: Service, folder: Path) -> None:
    pinned = rubric(service, version="2026-11-01")
    run(folder, pinned)
    calls = len(service.bodies)
    again = run(folder, pinned)
    assert again.anchors is not None
    assert again.anchors.shift is None
    assert not again.anchors.why
    assert run(folder, pinned, probes=False).admitted
    assert len(service.bodies) == calls


def test_a_cap_or_a_service_that_is_away_leaves_the_vote_and_is_said(service: Service, folder: Path) -> None:
    judge = rubric(service)
    capped = run(folder, judge, max_usd=0.0)
    assert capped.admitted
    assert capped.anchors is not None
    assert "could not be asked for again" in capped.anchors.why
    assert "--max-usd=0 is reached" in capped.anchors.why


def test_judgments_of_versions_without_anchors_are_what_is_compared_with(
    service: Service, folder: Path
) -> None:
    judge = rubric(service)
    store = AnswerStore(folder / "kept.sqlite")
    store._connection.execute("DROP TABLE anchors")
    store.close()
    turned(service, harsher)
    assert not run(folder, judge).admitted


def test_labels_that_are_added_do_not_begin_anew(service: Service, folder: Path) -> None:
    judge = rubric(service)
    turned(service, harsher)
    more = Label("another", "right", "right 61", good=True)
    assert not run(folder, replace(judge, known=(*LABELS, more))).admitted


def test_anchors_of_ones_own_are_asked_and_calibrate_nothing_and_others_begin_anew(
    service: Service, folder: Path
) -> None:
    copies, others = LABELS[:6], [Label(f"a{k}", "right", f"wrong {k}", good=False) for k in range(8)]
    frozen = (*copies, *others)
    judge = replace(rubric(service), anchors="anchors.jsonl", known_anchors=frozen)
    first = run(folder, judge)
    assert first.anchors is not None
    assert len(first.anchors.scores) == len(frozen), "not 40 of the labels"
    assert first.admitted
    assert (first.n_calibration, first.n_test) == (50, 52), "two of the copies would have calibrated"
    turned(service, lambda answer, call: honest(answer, call) + (answer.startswith("wrong")))
    assert not run(folder, judge).admitted
