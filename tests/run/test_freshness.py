"""A kept answer is used while it is its model's; a name that means another model by now is noticed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from stub_service import Body, Service, asked, error, said, serving

from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.decision.prices import HOSTED
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.records import Answer, Message, Row, Trial
from harness.run.answering import Answerer, content_key
from harness.run.freshness import PROBED, Freshness, compared
from harness.run.judge_backends import JudgeBackends
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import ExactMatch
from harness.scoring.suite import Suite
from harness.store.adapters import AdapterStore
from harness.store.answers import AnswerStore

Reply = Callable[[Body], Body]
GREEDY = Decoding(max_new_tokens=8)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service(reply=lambda body: said(f"v1 {asked(body)}"))) as running:
        yield running


@dataclass
class Project:
    """Runs of one suite of ``rows`` questions, whose answers are kept in one file."""

    folder: Path
    service: Service
    rows: int = 6
    model: RemoteModel | None = None
    notes: list[str] = field(default_factory=list)
    runs: Iterator[int] = field(default_factory=itertools.count)

    def run(self, decoding: Decoding = GREEDY, *, fresh: bool = False, max_usd: float | None = None) -> Trial:
        """A run of its own; ``notes`` are what it said."""
        rows = tuple(
            Row(f"r{k}", (Message("user", f"{k}?"), Message("assistant", "x"))) for k in range(self.rows)
        )
        scores = (ExactMatch(),)
        held = Suite(heldout="h.jsonl", scores=scores, max_tokens=8)
        suite = LoadedSuite("s", held, rows, None, scores, "h.jsonl", self.folder)
        model = self.model or RemoteModel("m", base_url=self.service.base_url, attempts=1)
        candidate = Prompted(model=model, decoding=decoding)
        store = AnswerStore(self.folder / "a.sqlite", run=f"2026-11-0{next(self.runs) + 1}T09:00:00")
        freshness = Freshness(store, asks_again=fresh)
        ledger = Ledger(max_usd)
        money = Money(ledger, lambda: (HOSTED, "economics.toml"))
        lab = Lab(self.folder, AdapterStore(self.folder), Silent(), money=None if max_usd is None else money)
        answerer = Answerer(store, Silent(), JudgeBackends(store, money, Silent()), freshness)
        variant = Variant("served", candidate)
        trial = answerer.trial(variant, "served", candidate.prepare(lab, variant), suite, judge_all=True)
        self.notes = freshness.notes
        store.close()
        return trial

    def asked_by(self, **given: object) -> tuple[int, Trial]:
        """How many requests a run sends, and its trial."""
        before = len(self.service.bodies)
        trial = self.run(**given)  # type: ignore[arg-type]
        return len(self.service.bodies) - before, trial


@pytest.fixture
def project(tmp_path: Path, service: Service) -> Project:
    return Project(tmp_path, service)


def test_the_same_model_is_asked_three_questions_again_and_no_more(project: Project) -> None:
    first = project.run()
    assert (first.provenance.asked, first.provenance.kept) == (6, 0)  # type: ignore[union-attr]
    sent, second = project.asked_by()
    assert (sent, second.answers) == (PROBED, first.answers)
    assert project.notes[0].endswith("all came the same.")
    origin = second.provenance
    assert origin is not None
    assert (origin.asked, origin.kept, origin.undated, origin.runs) == (0, 6, 0, ("20261101-090000",))
    assert origin.oldest is not None
    assert origin.newest is not None
    assert origin.oldest <= origin.newest


def test_another_model_under_the_name_is_asked_everything(project: Project) -> None:
    project.run()
    project.service.reply = lambda body: said(f"v2 {asked(body)}")
    sent, trial = project.asked_by()
    assert {answer.text[:2] for answer in trial.answers} == {"v2"}
    assert sent == 2 * PROBED + 3, "three of the new answers came with the probe"
    assert "another model" in project.notes[0].lower()
    assert trial.provenance is not None
    assert (trial.provenance.asked, trial.provenance.kept) == (6, 0)
    assert project.asked_by()[0] == PROBED, "now it is the known one"


def test_a_renewal_that_is_cut_short_never_mixes_two_models(project: Project) -> None:
    project.run()
    project.service.reply = lambda body: said(f"v2 {asked(body)}")
    project.service.script = lambda body, number: error(400) if asked(body) == "5?" else None
    assert [a.failure is None for a in project.run().answers].count(True) == 5
    project.service.script = lambda body, number: None
    assert {answer.text[:2] for answer in project.run().answers} == {"v2"}


def test_one_short_answer_that_comes_otherwise_twice_is_enough(project: Project) -> None:
    first = min(range(6), key=lambda k: content_key([Message("user", f"{k}?")]))
    project.run()
    project.service.reply = lambda body: said(("v2 " if asked(body) == f"{first}?" else "v1 ") + asked(body))
    _, trial = project.asked_by()
    assert trial.answers[first].text.startswith("v2")


def test_a_service_that_varies_by_itself_keeps_its_answers_and_that_is_said(project: Project) -> None:
    draws = itertools.count()
    project.service.reply = lambda body: said(f"draw {next(draws)}")
    first = project.run()
    sent, second = project.asked_by()
    assert (sent, second.answers) == (2 * PROBED, first.answers)
    assert "version=" in project.notes[0]


def test_thoughts_are_not_compared_and_the_answers_after_them_are(project: Project) -> None:
    numbers = itertools.count()

    def thinker(version: str) -> Reply:
        return lambda body: said(f"<think>so, {next(numbers)}</think>\n{version} {asked(body)}")

    project.service.reply = thinker("v1")
    project.run()
    assert project.asked_by()[0] == PROBED
    assert "all came the same" in project.notes[0]
    project.service.reply = thinker("v2")
    sent, trial = project.asked_by()
    assert sent == 2 * PROBED + 3
    assert [answer.text for answer in trial.answers] == [f"v2 {k}?" for k in range(6)]


def test_white_space_around_an_answer_is_no_other_model(project: Project) -> None:
    project.run()
    project.service.reply = lambda body: said(f"v1 {asked(body)}\n")
    assert project.asked_by()[0] == PROBED


def test_an_alias_that_moves_is_noticed_though_the_answers_are_the_same(project: Project) -> None:
    project.service.reply = lambda body: {**said("yes"), "model": "m-2026-01-01"}
    assert {a.served_by for a in project.run().answers} == {"m-2026-01-01"}
    project.service.reply = lambda body: {**said("yes"), "model": "m-2026-06-01"}
    _, trial = project.asked_by()
    assert {a.served_by for a in trial.answers} == {"m-2026-06-01"}
    assert "m-2026-06-01" in project.notes[0]


def test_of_drawn_answers_only_the_name_of_the_model_is_compared(project: Project) -> None:
    drawn, draws = Decoding(max_new_tokens=8, temperature=0.7), itertools.count()
    project.service.reply = lambda body: {**said(f"{next(draws)}"), "model": "m-1"}
    first = project.run(drawn)
    assert project.asked_by(decoding=drawn) == (1, replace(first, provenance=project.run(drawn).provenance))
    project.service.reply = lambda body: {**said(f"{next(draws)}"), "model": "m-2"}
    sent, trial = project.asked_by(decoding=drawn)
    assert (sent, {a.served_by for a in trial.answers}) == (7, {"m-2"})


def test_drawn_answers_of_a_service_that_names_no_model_cost_nothing_again(project: Project) -> None:
    drawn = Decoding(max_new_tokens=8, temperature=0.7)
    project.service.reply = lambda body: {**said("x"), "model": "m"}
    project.run(drawn)
    assert project.asked_by(decoding=drawn)[0] == 0


def test_a_version_pins_the_model_and_another_one_is_another_model(project: Project) -> None:
    project.model = RemoteModel("m", base_url=project.service.base_url, version="sha256:1")
    project.run()
    project.service.reply = lambda body: said("v2")
    assert project.asked_by()[0] == 0
    project.model = replace(project.model, version="sha256:2")
    assert project.asked_by()[0] == 6


def test_openai_s_snapshots_are_pinned_by_their_names_and_others_are_not() -> None:
    pinned = ("gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:org::abc")
    assert all(RemoteModel(name, base_url="https://api.openai.com/v1").is_pinned for name in pinned)
    assert not RemoteModel("gpt-4o-mini", base_url="https://api.openai.com/v1").is_pinned
    assert not RemoteModel(pinned[0], base_url="http://127.0.0.1:8000/v1").is_pinned


def test_fresh_asks_all_again_once_and_the_next_run_uses_the_new_ones(project: Project) -> None:
    project.run()
    project.service.reply = lambda body: said("new")
    sent, trial = project.asked_by(fresh=True)
    assert (sent, {a.text for a in trial.answers}) == (6, {"new"})
    sent, trial = project.asked_by()
    assert (sent, {a.text for a in trial.answers}) == (PROBED, {"new"})


def test_the_oldest_answers_are_the_ones_that_are_asked_again(project: Project) -> None:
    project.rows = 4
    project.run()  # of a model that is replaced before the next rows come
    project.rows = 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Freshness, "to_probe", lambda *given: [])
        project.service.reply = lambda body: said(f"v2 {asked(body)}")
        project.run()
    _, trial = project.asked_by()
    assert {answer.text[:2] for answer in trial.answers} == {"v2"}


def test_a_service_that_is_away_leaves_kept_answers_in_use_and_says_so(project: Project) -> None:
    first = project.run()
    project.service.script = lambda body, number: error(401, "no such key")
    assert project.run().answers == first.answers
    assert "are used as they are" in project.notes[0]


def test_a_cap_that_leaves_nothing_leaves_kept_answers_in_use(project: Project) -> None:
    project.model = RemoteModel("gpt-4o-mini", base_url=project.service.base_url, attempts=1)
    first = project.run(max_usd=1.0)
    sent = len(project.service.bodies)
    assert project.run(max_usd=0.0).answers == first.answers
    assert len(project.service.bodies) == sent
    assert "the cap" in project.notes[0]


def test_answers_without_a_date_count_as_the_oldest_and_are_said_to_be_undated(
    project: Project, tmp_path: Path
) -> None:
    project.run()
    store = AnswerStore(tmp_path / "a.sqlite")
    store._connection.execute("UPDATE answers SET given = NULL, run = NULL")
    store._connection.commit()
    store.close()
    sent, trial = project.asked_by()
    assert sent == PROBED
    assert "an unknown day" in project.notes[0]
    assert trial.provenance is not None
    assert (trial.provenance.kept, trial.provenance.undated, trial.provenance.oldest) == (6, 6, None)


# --------------------------------------------------------------------------- the rule
LONG = "A long answer of many words. " * 10


def found(**texts: str) -> dict[str, Answer]:
    return {key: Answer(key, text, 1, 1, 0.0) for key, text in texts.items()}


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ({"a": LONG, "b": LONG + "x", "c": LONG}, {"b": LONG + "x"}, "unclear"),  # a server's load
        ({"a": LONG + "x", "b": LONG + "x", "c": LONG}, {"a": LONG + "x", "b": LONG + "x"}, "changed"),
        ({"a": LONG + "1", "b": LONG + "2", "c": LONG + "3"}, {"a": LONG, "b": LONG, "c": LONG}, "unclear"),
        ({"a": LONG}, {}, "same"),
        ({}, {}, "unclear"),
    ],
)
def test_long_answers_must_outnumber_those_that_came_the_same(
    first: dict[str, str], second: dict[str, str], verdict: str
) -> None:
    kept = found(a=LONG, b=LONG, c=LONG)
    assert compared(kept, found(**first), found(**second))[0] == verdict


def test_short_answers_after_long_thoughts_are_held_to_be_long() -> None:
    kept = {key: replace(answer, thought=LONG) for key, answer in found(a="1", b="2", c="3").items()}
    assert compared(kept, found(a="1", b="9", c="3"), found(b="9"))[0] == "unclear"
    hidden = {key: replace(answer, thought=None, thought_tokens=80) for key, answer in kept.items()}
    assert compared(hidden, found(a="1", b="9", c="3"), found(b="9"))[0] == "unclear"
    assert compared(hidden, found(a="8", b="9", c="3"), found(a="8", b="9"))[0] == "changed"


def test_a_router_that_names_several_models_is_not_taken_for_a_changed_one() -> None:
    kept, first = found(a="yes", b="no"), found(a="yes", b="no")
    first["a"] = replace(first["a"], served_by="small")
    assert compared(kept, first, {}, {"small", "large"})[0] == "same"
    assert compared(kept, first, {}, {"large"})[0] == "changed"
    assert compared(kept, first, {})[0] == "same", "kept by a version that noted no names"


# --------------------------------------------------------------------------- keys of what was paid for
TURNS = (Message("system", "Sort."), Message("user", "Where?"))
NAMED = (Message("user", "Where?", name="ana"), Message("assistant", "Here."), Message("user", "So?"))


def test_keys_of_paid_answers_never_change() -> None:
    assert content_key(TURNS) == "a604c3f049240b98363e6c9d275310fef7412f9c5295ca4d902557acecabe866"
    assert content_key(NAMED, 2) == "485571aac9f11e7aff9aff992a8fc7f4f0585674784ab219b2fc46ea01046683"


@pytest.mark.parametrize("name", ["gpt-4o-mini", "o4-mini", "ft:gpt-5-mini:o::x", "babbage-002", "served"])
@pytest.mark.parametrize("decoding", [GREEDY, Decoding(temperature=0.7, top_p=0.9, seed=5)])
def test_a_request_in_its_first_form_adds_nothing_to_the_key(name: str, decoding: Decoding) -> None:
    model = RemoteModel(name, base_url="http://127.0.0.1:8000/v1", logprobs=True)
    assert model.sent_beside([Prompt("a", TURNS), Prompt("b", NAMED, 2)], decoding) == [None, None]


def test_whatever_else_is_sent_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models.remote_wire import ModelWire

    request = ModelWire.request

    def with_effort(wire: ModelWire, prompt: Prompt, decoding: Decoding) -> object:
        sent = request(wire, prompt, decoding)
        return replace(sent, body={**sent.body, "reasoning_effort": "none"})

    monkeypatch.setattr(ModelWire, "request", with_effort)
    model = RemoteModel("m", base_url="http://127.0.0.1:8000/v1")
    (sent,) = model.sent_beside([Prompt("a", TURNS)], GREEDY)
    assert sent == {"reasoning_effort": "none"}
    assert content_key(TURNS, 0, sent) != content_key(TURNS)


def test_every_part_of_a_turn_that_a_model_may_read_is_part_of_the_key() -> None:
    user = Message("user", "Where?")
    others = [replace(user, weight=0), replace(user, tool_call_id="c1"), replace(user, name="ana")]
    assert len({content_key([turn]) for turn in (user, *others)}) == 4
