"""Suites read from disk and checked whole, before anything is trained."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.data.copies import clusters, copied_rows
from harness.data.fields import require_field
from harness.data.files import MOST_LABEL_BYTES, read_prompt, read_text
from harness.data.fingerprints import bytes_digest, fingerprint, rows_fingerprint
from harness.data.recorded import digests_to_record
from harness.data.rows import line_of, read_rows
from harness.decision.vectors import SuiteUnits, score_vector
from harness.errors import DataError, UsageError
from harness.models.protocol import AnswerSchema
from harness.records import Admission, Json, Kind, Row, ScoreInfo, ScoreVector, SuiteInfo, SuiteRow, Trial
from harness.scoring.envelope import kept_tags, opened
from harness.scoring.json_schema import JsonSchema
from harness.scoring.judges import Judge, require_complete, trust_of
from harness.scoring.suite import DEFAULT_GROUP, Suite, SuiteScore

OWN_SYSTEM = "{system}"  # in a suite's prompt: the place of each row's own system message

COPIES_SHOWN = 5


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with its rows, prompt and checks read. ``name`` is its folder's (or its file's).

    ``scores`` are those of ``suite`` in their order, bound.
    """

    name: str
    suite: Suite
    rows: tuple[Row, ...] = field(repr=False)
    prompt: str | None
    scores: tuple[SuiteScore, ...]
    heldout: str  # path as people see it
    folder: Path
    reserved: tuple[Row, ...] = field(default=(), repr=False)  # of the other file: final rows, or held-out
    is_final: bool = False  # whether ``rows`` are the final ones
    repeated: frozenset[str] = frozenset()  # ids of rows that training has too: they count as one

    @property
    def files(self) -> tuple[str | os.PathLike[str], ...]:
        """The files of its held-out and final rows, from its folder."""
        return (self.suite.heldout, *([] if self.suite.final is None else [self.suite.final]))

    @cached_property
    def units(self) -> SuiteUnits:
        """The held-out rows as comparisons see them."""
        return SuiteUnits(
            self.name,
            tuple(row.id for row in self.rows),
            self.clusters,
            tuple(self._slices(row) for row in self.rows),
        )

    @cached_property
    def clusters(self) -> tuple[str | None, ...]:
        """Each row's cluster: its group, joined with its copies among the rows and with repeated rows."""
        own = [row.text(self.suite.group) for row in self.rows]
        return clusters(self.rows, own, self.repeated)

    @cached_property
    def copies(self) -> str:
        """A sentence about rows that are copies of each other; empty where there are none."""
        groups = copied_rows(self.rows)
        if not groups:
            return ""
        distinct = len(self.rows) - sum(len(group) - 1 for group in groups)
        places = [str(line_of(self.rows[at])) for at in groups[0]]
        lines = ", ".join(places[:COPIES_SHOWN]) + (", ..." if len(places) > COPIES_SHOWN else "")
        return (
            f"{self.name}: {distinct} distinct questions in {len(self.rows)} rows: copies and near-copies"
            f" count as one cluster each (the first: lines {lines} of {self.heldout})."
        )

    def sides(self, other: LoadedSuite) -> tuple[str, str]:
        """What ``other``'s rows and this suite's reserved rows are called in messages."""
        names = ("held-out rows", "final rows")
        first, second = reversed(names) if self.is_final else names
        where = "" if other.name == self.name else f" of suite {other.name}"
        return first + where, second

    @property
    def is_schema_checked(self) -> bool:
        """Whether its answers are to be JSON of a shape, so that a candidate's ``schema`` binds them."""
        return any(isinstance(score, JsonSchema) for score in self.scores)

    def binding(self, schema: AnswerSchema | None) -> AnswerSchema | None:
        """What answers are bound to for a candidate with this schema; None where they are not.

        Raises:
            UsageError: rows offer tools. A bound local model could make no call, and some hosted ones could.
        """
        if schema is None or not self.is_schema_checked:
            return None
        offering = [row for row in self.rows if row.tools]
        if offering:
            raise UsageError(
                f"suite {self.name}: {len(offering)} of {len(self.rows)} rows offer tools (the first:"
                f" {self.heldout}:{line_of(offering[0])}), and schema={schema.name} binds every answer: a"
                " model on this machine could make no call, and one at a service might.\n"
                "  hint: leave schema= out (a JsonSchema check still reads the answers), or put the rows with"
                " tools into a suite of their own, without a JsonSchema check."
            )
        return schema

    @cached_property
    def kept_tags(self) -> frozenset[str]:
        """Tags that are part of an answer here, since references begin with them."""
        return kept_tags(row.reference for row in self.rows)

    @cached_property
    def scored_rows(self) -> tuple[Row, ...]:
        """The rows as scores see them: a reference is read as an answer is, without the thought before it."""
        return tuple(self._scored(row) for row in self.rows)

    def _scored(self, row: Row) -> Row:
        last = row.messages[-1]
        said = opened(last.content, kept=self.kept_tags).text
        if said == last.content or not (said or last.tool_calls):
            return row
        return replace(row, messages=(*row.prompt, replace(last, content=said)))

    def vector(self, trial: Trial, score: str, *, advisory: bool = False) -> ScoreVector:
        """One score of a trial of this suite, row by row; ``advisory``: by a judge that has no vote."""
        (kind,) = (known.kind for known in self.scores if known.name == score)
        return score_vector(
            self.units,
            [answer.row_id for answer in trial.answers],
            trial.scores[score],
            subject=trial.label,
            score=score,
            kind=Kind(kind),
            advisory=advisory,
            unanswered=frozenset(answer.row_id for answer in trial.answers if answer.failure is not None),
        )

    @cached_property
    def own_system(self) -> Literal["", "placed", "beside", "replaced"]:
        """Where the rows' own system messages are in what a prompted side is sent; see ``SuiteInfo``."""
        own = {row.instructions for row in self.rows}
        if self.prompt is None:
            return ""
        if OWN_SYSTEM in self.prompt:
            return "placed"
        if len(own) > 1:
            return "beside"
        return "replaced" if any(own) else ""

    def prompt_of(self, row: Row, instead: str | None = None) -> str | None:
        """The suite's prompt for one row, or a candidate's own ``instead``, with the facts that only this
        row's system message holds.

        A fine-tune is asked with the row as it stands. Were these facts left out here, the side that is asked
        with the prompt would know less, and lose for it.
        """
        prompt = self.prompt if instead is None or self.prompt is None else instead
        if prompt is None or (not row.instructions and OWN_SYSTEM not in prompt):
            return prompt
        if OWN_SYSTEM in prompt:
            return prompt.replace(OWN_SYSTEM, row.instructions)
        return prompt if self.own_system == "replaced" else f"{prompt}\n\n{row.instructions}"

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The scores that a model gives."""
        return tuple(score for score in self.scores if isinstance(score, Judge))

    def is_same(self, other: LoadedSuite) -> bool:
        """Whether both ask the same and score it in the same way."""
        return self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        scores = [(score.name, score.spec()) for score in self.scores]
        own = self.suite
        return self.rows, self.prompt, scores, own.slices, own.group, own.max_tokens, own.may_drop, own.leaks

    def score(self, wanted: SuiteScore) -> SuiteScore:
        """The bound form of a score that a test names.

        Raises:
            UsageError: the suite does not list it.
        """
        both = zip(self.suite.scores, self.scores, strict=True)
        found = next((bound for written, bound in both if wanted in (written, bound)), None)
        if found is None:
            listed = ", ".join(repr(score.name) for score in self.scores)
            raise UsageError(
                f"suite {self.name}: {wanted.name!r} is not among its scores ({listed}); add it there."
            )
        return found

    @property
    def prompt_digest(self) -> str | None:
        """Of the prompt's text; None without one."""
        return None if self.prompt is None else bytes_digest(self.prompt.encode())

    def info(self, admissions: Mapping[str, Admission]) -> SuiteInfo:
        """The suite as the record keeps it, but for what its rows have judged."""
        return SuiteInfo(
            name=self.name,
            heldout=self.heldout,
            heldout_digest=rows_fingerprint(self.rows),
            rows=tuple(map(self._shown, self.rows, self.clusters, digests_to_record(self.rows))),
            scores=tuple(
                ScoreInfo(
                    name=s.name,
                    kind=Kind(s.kind),
                    description=_described(s),
                    admission=admissions.get(s.name),
                    spec=_asked(s),
                    trust=trust_of(s) if isinstance(s, Judge) else "",
                )
                for s in self.scores
            ),
            slices=self.suite.slices,
            prompt_digest=self.prompt_digest,
            own_system=self.own_system,
        )

    def _shown(self, row: Row, cluster: str | None, asked: str) -> SuiteRow:
        return SuiteRow(row.id, row.question, row.reference, self._slices(row), cluster, asked=asked)

    def _slices(self, row: Row) -> dict[str, str]:
        return {key: value for key in self.suite.slices if (value := row.text(key)) is not None}


def _described(score: SuiteScore) -> str:
    kind = (score.__doc__ or "").strip().splitlines()[0] if score.__doc__ else ""
    return f"{type(score).__name__}: {kind}"


def how_made(score: SuiteScore) -> Json:
    """What shapes a score: how a judge is asked, the settings of a check, and the code of a project's own."""
    if isinstance(score, Judge):
        return _asked(score)
    code = ""
    if not type(score).__module__.startswith("harness."):
        with suppress(OSError, TypeError):  # a class that no file holds
            code = inspect.getsource(type(score))
    return [score.spec(), code] if code else score.spec()


def _asked(score: SuiteScore) -> Mapping[str, Json]:
    """How a judge is asked; its labels, which are many, by one fingerprint."""
    if not isinstance(score, Judge):
        return {}
    spec = score.spec()
    return {**spec, "labels": fingerprint(spec.get("labels"))}


def load_suite(suite: Suite, file: Path, root: Path, *, final: bool = False) -> LoadedSuite:
    """Read what a suite names, relative to the suite's ``file``; with ``final``, its final rows.

    Raises:
        UsageError: ``final`` of a suite that names no final rows.
        DataError: a file is missing, empty or broken, or a row lacks a field that the suite groups or
            slices by.
    """
    folder = file.parent

    def read(name: str) -> str:
        try:
            return read_text(folder / name, most_bytes=MOST_LABEL_BYTES)
        except DataError as error:  # whoever reads says which file, and what it is for
            raise OSError(error.problem) from error

    heldout, reserved = folder / suite.heldout, suite.final
    if final:
        heldout, reserved = folder / _final_rows(suite, folder.name), suite.heldout
    rows = read_rows(heldout)
    shown = _relative(heldout, root)
    for key in suite.slices:
        require_field(rows, key, "slice", shown)
    # nobody has to have the default's field
    if suite.group != DEFAULT_GROUP or any(suite.group in row.metadata for row in rows):
        require_field(rows, suite.group, "group", shown)
    prompt = _prompt(suite, folder, root)
    for score in suite.scores:
        require_complete(score, folder.name)
    return LoadedSuite(
        name=folder.name,
        suite=suite,
        rows=rows,
        prompt=prompt,
        scores=tuple(_bound(score, read, _relative(folder, root)) for score in suite.scores),
        heldout=shown,
        folder=folder,
        reserved=() if reserved is None else read_rows(folder / reserved),
        is_final=final,
    )


def _final_rows(suite: Suite, name: str) -> str | os.PathLike[str]:
    if suite.final is None:
        raise UsageError(
            f"--final: suite {name} names no final rows.\n  hint: give it rows that nothing has been chosen"
            f" on: Suite(heldout={suite.heldout!r}, final='final.jsonl', ...)."
        )
    return suite.final


def _bound(score: SuiteScore, read: Callable[[str], str], folder: str) -> SuiteScore:
    """The score with its files read; what is wrong with them is said of ``folder/file:line``."""
    try:
        return score.bind(read)
    except DataError as error:
        raise DataError(f"{folder}/{error.where}", error.problem, error.hint) from error


def _prompt(suite: Suite, folder: Path, root: Path) -> str | None:
    if suite.prompt is None:
        return None
    path = folder / suite.prompt
    return read_prompt(path, _relative(path, root), "the suite's prompt")


def _relative(path: Path, root: Path) -> str:
    resolved = Path(os.path.realpath(path))
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(path)
