"""What judges ask in a run: each judgment once, kept as it comes, paid as judging; failures are values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stub_service import DROP, Service, asked, error, said, serving

from harness.errors import BudgetReached, ModelError, UnknownName, UsageError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.records import Json, Message
from harness.run.judge_backends import JudgeBackends
from harness.scoring.judges import Failure
from harness.store.answers import AnswerStore

SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service(reply=lambda body: said(f"judged {asked(body)}"))) as running:
        yield running


def oracle(folder: Path, max_usd: float | None = None) -> tuple[JudgeBackends, Ledger]:
    """The oracle of a new run over what earlier ones have kept in ``folder``."""
    ledger = Ledger(max_usd)
    return JudgeBackends(AnswerStore(folder / "kept.sqlite"), Money(ledger), Silent()), ledger


def model(service: Service, name: str = "gpt-4o-mini", **given: object) -> RemoteModel:
    known: Mapping[str, object] = {"api_key_env": "NO_SUCH_KEY", "profile": "openai", "concurrency": 2}
    return RemoteModel(name, base_url=service.base_url, **{**known, **given})  # type: ignore[arg-type]


def questions(*texts: str) -> list[tuple[Message, ...]]:
    return [(Message("system", "Grade."), Message("user", text)) for text in texts]


ABC = questions("a", "b", "a", "c")
JUDGED = ["judged a", "judged b", "judged a", "judged c"]


def test_each_distinct_prompt_is_asked_once_in_this_run_and_the_next(
    service: Service, tmp_path: Path
) -> None:
    first, ledger = oracle(tmp_path)
    assert first.grader(model(service), SCHEMA, 40).ask(ABC) == JUDGED
    assert len(service.bodies) == 3
    assert {line.purpose for line in ledger.lines()} == {"judging"}
    assert first.grader(model(service), SCHEMA, 40).ask(questions("c", "b")) == ["judged c", "judged b"]
    again, nothing = oracle(tmp_path, max_usd=0.0)
    assert again.grader(model(service), SCHEMA, 40).ask(ABC) == JUDGED
    assert again.grader(model(service), SCHEMA, 40).ask([]) == []
    assert len(service.bodies) == 3
    assert nothing.spent_usd == 0


def test_another_model_or_schema_is_asked_anew_and_a_higher_limit_is_not(
    service: Service, tmp_path: Path
) -> None:
    judges, _ = oracle(tmp_path)
    judges.grader(model(service), SCHEMA, 40).ask(ABC)
    judges.grader(model(service), SCHEMA, 80).ask(ABC)
    assert len(service.bodies) == 3
    judges.grader(model(service), {**SCHEMA, "title": "other"}, 40).ask(ABC)
    assert len(service.bodies) == 6
    judges.grader(model(service, "gpt-4o"), SCHEMA, 40).ask(ABC)
    assert len(service.bodies) == 9


def test_judgments_are_bound_to_the_schema_where_the_service_offers_that(
    service: Service, tmp_path: Path
) -> None:
    judges, _ = oracle(tmp_path)
    judges.grader(model(service), SCHEMA, 40).ask(questions("a"))
    (body,) = service.bodies
    wrapped = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert body["response_format"] == {"type": "json_schema", "json_schema": wrapped}
    assert (body["temperature"], body["max_tokens"]) == (0.0, 40)
    judges.grader(model(service, profile="compatible"), SCHEMA, 40).ask(questions("a"))
    assert "response_format" not in service.bodies[-1]


def test_failed_and_cut_off_judgments_say_why_and_are_asked_again(service: Service, tmp_path: Path) -> None:
    def reply(body: dict[str, object]) -> dict[str, object]:
        answer = said(f"judged {asked(body)}")
        if asked(body) == "b":
            answer["choices"][0]["finish_reason"] = "length"  # type: ignore[index]
        return answer

    well, service.reply = service.reply, reply
    service.script = lambda body, number: error(400, "not that") if asked(body) == "c" else None
    judges, _ = oracle(tmp_path)
    a, b, _, c = judges.grader(model(service), SCHEMA, 40).ask(ABC)
    assert a == "judged a"
    assert b == Failure("cut off after 40 tokens; raise the judge's max_tokens")
    assert isinstance(c, Failure)
    assert "HTTP 400: not that" in c.reason
    service.reply, service.script = well, lambda body, number: None
    again, _ = oracle(tmp_path)
    assert again.grader(model(service), SCHEMA, 40).ask(ABC) == JUDGED
    assert [asked(body) for body in service.bodies].count("a") == 1


def test_the_cap_ends_judging_with_what_was_paid_for_kept(service: Service, tmp_path: Path) -> None:
    service.reply = lambda body: said(f"judged {asked(body)}", prompt_tokens=40, completion_tokens=40)
    many = questions(*(f"q{k}" for k in range(40)))
    judges, ledger = oracle(tmp_path, max_usd=0.0008)
    with pytest.raises(BudgetReached, match=r"missing: \d+ of 40 judgments of gpt-4o-mini"):
        judges.grader(model(service), SCHEMA, 40).ask(many)
    sent = len(service.bodies)
    assert 0 < sent < 40
    assert ledger.spent_usd <= 0.0008
    again, _ = oracle(tmp_path, max_usd=1.0)
    assert again.grader(model(service), SCHEMA, 40).ask(many) == [f"judged q{k}" for k in range(40)]
    assert len(service.bodies) == 40


def test_an_interrupted_run_loses_no_judgment_that_came(service: Service, tmp_path: Path) -> None:
    judges, _ = oracle(tmp_path)
    grader = judges.grader(model(service, concurrency=1), SCHEMA, 40)
    bar = Interrupting(after=3)
    grader.progress = bar
    with pytest.raises(KeyboardInterrupt):
        grader.ask(questions("a", "b", "c", "d", "e", "f", "g", "h"))
    again, _ = oracle(tmp_path)
    assert again.grader(model(service), SCHEMA, 40).ask(ABC) == JUDGED
    assert [asked(body) for body in service.bodies].count("a") == 1
    assert "calls/s" in bar.notes[-1]
    assert "$" in bar.notes[-1]


@dataclass
class Interrupting:
    """A watcher who presses Ctrl-C."""

    after: int
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def task(self, name: str, unit: str) -> Iterator[Interrupting]:
        assert (name, unit) == ("gpt-4o-mini judges", "judgment")
        yield self

    def say(self, text: str) -> None:
        """Nothing is said."""

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        self.notes.append(note)
        if done >= self.after:
            raise KeyboardInterrupt


def test_a_service_that_refuses_every_call_ends_the_run(service: Service, tmp_path: Path) -> None:
    service.script = lambda body, number: error(401, "wrong key")
    judges, _ = oracle(tmp_path)
    with pytest.raises(ModelError, match="wrong key"):
        judges.grader(model(service), SCHEMA, 40).ask(ABC)


def test_a_dropped_call_is_tried_again(service: Service, tmp_path: Path) -> None:
    service.script = lambda body, number: DROP if number == 1 and asked(body) == "b" else None
    judges, _ = oracle(tmp_path)
    assert judges.grader(model(service), SCHEMA, 40).ask(ABC) == JUDGED


def test_what_cannot_be_asked_or_paid_is_refused_before_anything_is_sent(
    service: Service, tmp_path: Path
) -> None:
    judges, _ = oracle(tmp_path, max_usd=1.0)
    with pytest.raises(UnknownName, match="own-model"):
        judges.grader(model(service, "own-model"), SCHEMA, 40)
    with pytest.raises(ModelError, match="NO_SUCH_KEY is not set"):
        judges.grader(RemoteModel("gpt-4o-mini", "https://far.example/v1", "NO_SUCH_KEY"), SCHEMA, 40)
    with pytest.raises(UsageError, match="cannot grade"):
        judges.grader(NoModel(), SCHEMA, 40)
    assert service.bodies == []


class NoModel:
    model, batch, is_tuned, url = "m", False, False, "http://127.0.0.1:9/v1"

    def redirected(self, url: str) -> NoModel:
        return self

    def identity(self) -> Mapping[str, Json]:
        return {}

    def require_ready(self) -> None:
        """Always."""


def test_the_schema_counts_in_what_a_call_may_cost(service: Service, tmp_path: Path) -> None:
    opened = [
        model(service).open(Money(Ledger()).on("gpt-4o-mini"), schema=schema) for schema in (None, SCHEMA)
    ]
    plain, bound = (one.wire.request(Prompt("r", ABC[0]), Decoding()).most_usd for one in opened)
    assert plain is not None
    assert bound is not None
    assert (bound - plain) / 0.15e-6 > len(json.dumps(SCHEMA)) / 8
