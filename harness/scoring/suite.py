"""A suite as a user writes it: the task that a candidate must be good at."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Literal, TypeAlias

from harness.errors import UnknownName, UsageError
from harness.fields import Count, require_fields
from harness.records import Kind
from harness.scoring.checks import Check
from harness.scoring.judges import Judge
from harness.scoring.text import short

DEFAULT_GROUP = "group"

SuiteScore: TypeAlias = Check | Judge


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Held-out rows, the full prompt and the scores that count. Paths are relative to the suite's file.

    Args:
        heldout: JSONL of rows that no candidate may have seen.
        prompt: full instructions, which prompted candidates get as their system message. Fine-tuned
            candidates get each row's own messages. Without a prompt every candidate does.
        scores: checks and judges; their names must differ.
        slices: metadata fields to break results down by.
        group: metadata field that names a row's cluster (one customer's rows, say).
        final: JSONL of other held-out rows, for one last test after a choice (of a seed, of a recipe) that
            was made on ``heldout``; ``--final`` judges the gates on them.
        leaks: rows of these files that training has too and that are right so, by id, by ``file:line`` or as
            the pair that the error shows; ``"warn"`` for all, which then count as one row together.
        may_drop: names of scores that may be worse than the baseline's without a gate that says by how much.
            Any other score that no gate compares with the baseline's, and that is shown to be more than 2
            points worse, stands in the way of GO.
        max_tokens: longest answer that the task needs; a candidate's own limit applies where it is lower.
    """

    heldout: str | PathLike[str]
    scores: tuple[SuiteScore, ...]
    prompt: str | PathLike[str] | None = None
    slices: tuple[str, ...] = ()
    group: str = DEFAULT_GROUP
    max_tokens: Count | None = None
    final: str | PathLike[str] | None = None
    leaks: tuple[str, ...] | Literal["warn"] = ()
    may_drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("scores", "slices"):
            object.__setattr__(self, name, _several(self.heldout, name, getattr(self, name)))
        for score in self.scores:
            _require_score(self.heldout, score)
        accepted: object = self.leaks  # whatever a user wrote
        if accepted != "warn":
            if not isinstance(accepted, list | tuple) or not all(isinstance(name, str) for name in accepted):
                raise UsageError(
                    f"Suite(leaks={accepted!r}): give the accepted rows by id or file:line, such as"
                    ' ("heldout.jsonl:7",), or "warn".'
                )
            object.__setattr__(self, "leaks", tuple(accepted))  # a list would not be hashable
        require_fields(self)
        names = [score.name for score in self.scores]
        if not names:
            raise UsageError(f"Suite(heldout={self.heldout!r}) has no scores: nothing could be measured.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(
                f"Suite(heldout={self.heldout!r}): two scores are named {twice[0]!r}; set name=."
            )
        for name in self.may_drop:
            if name not in names:
                raise UnknownName("score in may_drop=", name, names, f"Suite(heldout={self.heldout!r}).")


def _several(heldout: object, name: str, given: object) -> tuple[object, ...]:
    """``given`` as a tuple; UsageError where it is one thing in place of several."""
    if isinstance(given, list | tuple):
        return tuple(given)
    shown = given.__name__ if isinstance(given, type) else short(repr(given), 60)
    raise UsageError(f"Suite(heldout={heldout!r}): {name} is a tuple: {name}=({shown},), with the comma.")


def _require_score(heldout: object, score: object) -> None:
    """UsageError for what cannot be a check or a judge, with what it lacks.

    A judge that lacks members is left to ``judges.require_complete``, which knows the suite's name.
    """
    at = f"Suite(heldout={heldout!r})"
    if isinstance(score, type):
        raise UsageError(f"{at}: scores holds the class {score.__name__}; write {score.__name__}(...).")
    name = type(score).__name__
    wanted = ("name", "kind", "spec", "bind", *(() if hasattr(score, "calibrated") else ("score",)))
    lacking = [member for member in wanted if not hasattr(score, member)]
    if lacking:
        raise UsageError(
            f"{at}: {name} lacks {', '.join(lacking)} of a check.\n"
            "  hint: kind is Kind.BINARY for 0 or 1, and Kind.GRADED for anything in [0, 1];"
            " docs/writing-suites.md shows a whole check."
        )
    called, kind = getattr(score, "name", None), getattr(score, "kind", None)
    if not isinstance(called, str) or not called.strip():
        raise UsageError(f"{at}: the name of {name} is a text, and not {short(repr(called), 60)}.")
    if kind not in list(Kind):
        known = ", ".join(f"Kind.{one.name}" for one in Kind)
        raise UsageError(f"{at}: the kind of {name} is {short(repr(kind), 60)}; there are {known}.")
    try:
        hash(score)
    except TypeError as error:
        raise UsageError(
            f"{at}: {name} cannot be hashed: {error}.\n"
            "  hint: make it a @dataclass(frozen=True) whose fields are texts, numbers or tuples."
        ) from error
