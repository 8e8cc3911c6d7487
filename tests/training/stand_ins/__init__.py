"""Strict stand-ins of tuning services, one file a service, and the scenarios that they play.

A stand-in listens on loopback and speaks its service's wire as the vendor's SDK types have it: a request with
a field that those types do not name is refused, and what is answered parses as the SDK's own models. What it
is to say, leave out, add and break comes from a ``Scenario``; nothing in it is drawn by chance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import ClassVar, Literal, Self, TypeVar

from harness.candidates.base import Candidate, Prepared
from harness.candidates.hosted_base import BaseHostedTuning
from harness.candidates.lab import Lab
from harness.models.protocol import Decoding, Prompt
from harness.records import Json, Message
from stand_ins.loopback import Asked, Fault, Loopback, Reply, Wire

__all__ = ["Asked", "Fault", "Loopback", "Reply", "Scenario", "Stand", "Unanswered", "Wire", "hurried"]

TunedT = TypeVar("TunedT", bound=BaseHostedTuning)
BY_TUNED, BY_BASE = "by the tuned model", "by the base"  # what a stand-in's models answer


@dataclass(frozen=True)
class Scenario:
    """What a service does, made of its documented words.

    Args:
        seed: names the scenario; where it was drawn, from this.
        statuses: the words that the job passes through before its end, one a look; empty: the usual ones.
        ends: the word that it ends in, one of the service's own; empty: its word for success.
        failure: what the service says of a job that failed.
        omit: optional fields that its answers leave out, by name.
        extra: fields that nobody documents, added to its answers.
        faults: what becomes of the n-th request (from 0) in place of its answer.
        page: items on a page of a listing.
        renamed: what answers has another name than the job was told, where the service gives names.
        lag: listings that do not show yet what was just made.
        lost: what becomes of the answer to the first submission of a job.
        late: looks at a job that has succeeded at which it names no model yet.
    """

    seed: int = 0
    statuses: tuple[str, ...] = ()
    ends: str = ""
    failure: str = "the service's own machine failed"
    omit: frozenset[str] = frozenset()
    extra: Mapping[str, Json] = field(default_factory=dict)
    faults: Mapping[int, Fault] = field(default_factory=dict)
    page: int = 100
    renamed: bool = False
    lag: int = 0
    lost: Fault | None = None
    late: int = 0


class Unanswered(Exception):  # noqa: N818 - a failure of an answer is a value; this is how ``proves`` tells it
    """The tuned model was asked and gave no answer; the text is the failure's own."""


class Stand:
    """A stand-in of one service, and how a candidate is pointed at it. A context manager.

    A service's own class has ``service``, ``keys``, ``usual``, ``success``, ``wire``, ``candidate`` and
    ``billed``; what it was asked is in ``requests``.
    """

    service: ClassVar[str]  # its name in the registry of services
    keys: ClassVar[Mapping[str, str]]  # environment variables that hold keys while it stands
    usual: ClassVar[tuple[str, ...]]  # the words that a job passes through
    success: ClassVar[str]  # the word that it ends in
    begins_at: ClassVar[str]  # the path that jobs are posted to
    asks_usd: ClassVar[float | None] = None  # the price that it names before a job is begun
    # optional fields without which nothing can be known of a job: never left out
    essential: ClassVar[frozenset[str]] = frozenset({"id", "status"})

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        #: Where redirects lead: it belongs to nobody, and may not be asked.
        self.elsewhere = Loopback(self._astray, {})
        self.astray: list[Asked] = []  # what it was asked nevertheless
        moved = {
            n: replace(fault, to=f"{self.elsewhere.url}/x")
            for n, fault in scenario.faults.items()
            if fault.to
        }
        first = {} if scenario.lost is None else {self.begins_at: scenario.lost}
        self.server = Loopback(self.wire, {**scenario.faults, **moved}, first)
        self._before: dict[str, str | None] = {}

    # ----------------------------------------------------------------------- of each service
    def wire(self, asked: Asked) -> Reply:
        """What the service does with a request. Called by one thread at a time."""
        raise NotImplementedError

    def candidate(self, train: str, dev: str | None) -> Candidate:
        """A candidate at this stand-in."""
        raise NotImplementedError

    @property
    def billed(self) -> int:
        """Trainings that were begun and not refused, without those that the service itself failed."""
        raise NotImplementedError

    def user_acts(self) -> None:
        """What only the user can do between two runs, as the errors ask: deploy the model, for one."""

    def proves(self, prepared: Prepared) -> None:
        """See that the tuned model answers what was prepared.

        Raises:
            AssertionError: another one does.
            Unanswered: none does.
        """
        prompt = Prompt("row", (Message("user", "which model are you?"),))
        answers = list(prepared.load().answer([prompt], Decoding(), frozenset()))
        assert len(answers) == 1
        if answers[0].failure is not None:
            raise Unanswered(str(answers[0].failure))
        assert answers[0].text == BY_TUNED, answers[0].text

    # ----------------------------------------------------------------------- of all
    @property
    def url(self) -> str:
        """Where it listens; no path."""
        return self.server.url

    def _astray(self, asked: Asked) -> Reply:
        if not self.may_leave(asked):
            self.astray.append(asked)
        return Reply()

    def may_leave(self, asked: Asked) -> bool:
        """Whether a redirect of that request may be followed: none may, where no address is signed."""
        return False

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request, in order; those that were broken, too."""
        return self.server.requests

    @property
    def life(self) -> tuple[str, ...]:
        """The words that a job says, one a look; the last for ever."""
        return (*(self.scenario.statuses or self.usual), self.scenario.ends or self.success)

    def __enter__(self) -> Self:
        self._before = {name: os.environ.get(name) for name in self.keys}
        os.environ.update(self.keys)
        self.server.start()
        self.elsewhere.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.server.stop()
        self.elsewhere.stop()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        return False


def hurried(kind: type[TunedT]) -> type[TunedT]:
    """A kind of candidate that does not wait between two looks at its service."""
    from harness.training.hosted.jobs import Environment

    class Hurried(kind):  # type: ignore[valid-type, misc]
        def environment(self, lab: Lab) -> Environment:
            own: Environment = super().environment(lab)
            return replace(own, sleep=lambda seconds: None, uniform=lambda low, high: high)

        __hash__ = kind.__hash__

    Hurried.__name__ = kind.__name__
    return Hurried
