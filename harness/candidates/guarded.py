"""A candidate of anybody's, so held that whatever goes wrong inside it is said of it, on one screen."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import NoReturn, TypeVar, cast

from harness.candidates.base import (
    Ask,
    Asker,
    Candidate,
    Compose,
    CostEstimate,
    Given,
    Prepared,
    PricedModel,
    require_candidate,
)
from harness.errors import CandidateError, HarnessError
from harness.fields import shown_value
from harness.models.protocol import Decoding
from harness.records import Answer, Message, Row
from harness.training.rows import TrainingData

Result = TypeVar("Result")

# what each member is, or its call gives; it may give None where the second is True
_CALLS: Mapping[str, tuple[type, bool]] = {
    "data": (TrainingData, True),
    "described": (Mapping, False),
    "endpoint": (PricedModel, True),
    "estimate": (CostEstimate, False),
    "notes": (Iterable, False),
    "own_baseline": (object, False),
    "preflight": (object, True),
    "prepare": (Prepared, False),
    "redirected": (object, False),
}
_VALUES: Mapping[str, type] = {"cost_rank": int, "decoding": Decoding, "kind": str, "model_name": str}


def guarded(candidate: Candidate, name: str, where: str) -> Candidate:
    """``candidate``, whose members raise ``HarnessError`` alone and give what ``Candidate`` says.

    It equals the candidate itself. Ctrl-C and ``pytest.exit`` pass.

    Args:
        name: what the candidate is called in the run.
        where: ``file:line`` of the function that made it.
    """
    return cast(Candidate, _Guarded(candidate, name, where))


@contextmanager
def blaming(who: str) -> Iterator[None]:
    """Whatever is raised inside is a ``CandidateError`` that says ``who`` raised it.

    Errors of the harness pass, and so do Ctrl-C and ``pytest.exit``.

    Raises:
        CandidateError: its cause is what was raised.
    """
    import pytest

    try:
        yield
    except (HarnessError, KeyboardInterrupt, GeneratorExit, pytest.exit.Exception):
        raise
    except BaseException as error:  # SystemExit and pytest.skip among them: they would end or hide the run
        raise CandidateError(f"{who} raised {said(error)}") from error


def said(error: BaseException) -> str:
    """The exception and its message, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}harness{os.sep}" not in frame.filename] or list(frames)
    place = f"\n  at {os.path.relpath(own[-1].filename)}:{own[-1].lineno}" if own else ""
    return f"{type(error).__name__}: {error}".rstrip(": ") + place


class _Guarded:
    def __init__(self, candidate: Candidate, name: str, where: str) -> None:
        self._candidate, self._name, self._where = candidate, name, where

    def __eq__(self, other: object) -> bool:
        return bool(self._candidate == (other._candidate if isinstance(other, _Guarded) else other))

    def __hash__(self) -> int:
        return hash(self._candidate)

    def __str__(self) -> str:
        return type(self._candidate).__name__

    @property
    def trains_beside(self) -> bool:
        """See ``BaseCandidate``; others need not have it."""
        return bool(getattr(self._candidate, "trains_beside", False))

    def __getattr__(self, member: str) -> object:
        if member.startswith("__"):  # pickle and copy look for these before there is a candidate
            raise AttributeError(member)
        with self._blaming(member):
            value: object = getattr(self._candidate, member)
        if member in _CALLS:
            return partial(self._called, member, cast("Callable[..., object]", value))
        if member in _VALUES and not isinstance(value, _VALUES[member]):
            self._refuse(f"{member} is {shown_value(value)}, and no {_VALUES[member].__name__}")
        return value

    def _called(self, member: str, function: Callable[..., object], *given: object) -> object:
        with self._blaming(f"{member}()"):
            made = function(*given)
        kind, optional = _CALLS[member]
        is_right = optional if made is None else isinstance(made, kind)
        if kind is Iterable and isinstance(made, str):  # a text is not its letters
            is_right = False
        if member in ("own_baseline", "redirected"):
            where = f"{self._where}: the {member}() of {self._name}"
            return guarded(require_candidate(made, where), f"{member}() of {self._name}", self._where)
        if not is_right:
            more = " or None" if optional else ""
            self._refuse(f"{member}() gives {shown_value(made)}, and no {kind.__name__}{more}")
        if isinstance(made, Prepared):
            load, ask = partial(self._loaded, made.load), partial(self._asked, made.ask)
            answers = None if made.given is None else partial(self._given, made.given)
            compose = None if made.compose is None else partial(self._composed, made.compose)
            return replace(made, load=load, ask=ask, given=answers, compose=compose)
        if member == "described":
            self._require_json(made)
        return made

    def _loaded(self, load: Callable[[], Result]) -> Result:
        with self._blaming("the load() of what it prepared"):
            return load()

    def _asked(self, ask: Ask, row: Row, prompt: str | None) -> tuple[Message, ...]:
        with self._blaming(f"the ask() of what it prepared, of {row.where or row.id},"):
            return ask(row, prompt)

    def _given(self, given: Callable[..., Given], suite: str, rows: Sequence[Row]) -> Given:
        with self._blaming(f"the given() of what it prepared, for suite {suite},"):
            return given(suite, rows)

    def _composed(self, compose: Compose, rows: Sequence[Row], asker: Asker) -> Mapping[str, Answer]:
        with self._blaming("the compose() of what it prepared"):
            return compose(rows, asker)

    def _require_json(self, described: object) -> None:
        try:
            json.dumps(described, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            self._refuse(f"described() gives what JSON does not hold: {error}")

    def _blaming(self, what: str) -> AbstractContextManager[None]:
        return blaming(f"{self._where}: the candidate {self._name}: its {what}")

    def _refuse(self, problem: str) -> NoReturn:
        raise CandidateError(
            f"{self._where}: the candidate {self._name}: its {problem}.\n"
            "  hint: docs/architecture.md says what each member of a candidate gives."
        )


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{shown_value(value)} is neither text, number, list nor mapping")
