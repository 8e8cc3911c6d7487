"""The reference run: a small file of what a candidate scored, row by row, that later runs are held to.

It holds no weights and no words: rows, scores and answers are known by digests. A ``run.json`` serves as one
as well. A row is known by what it asks, its reference and its metadata; one of a ``run.json``, which has no
metadata, by the first two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TypeVar

from harness.atomic import what_is_at
from harness.data.files import MOST_LABEL_BYTES, read_text
from harness.data.fingerprints import bytes_digest, fingerprint
from harness.errors import DataError, StoreError, UsageError
from harness.records import (
    Answer,
    HeldoutUse,
    HeldTo,
    Json,
    Outcome,
    Role,
    RowSet,
    RunRecord,
    SinceReference,
    SuiteInfo,
    SuiteRow,
    Trial,
    Verdict,
)
from harness.report import numbers
from harness.report.runjson import JudgedHead, load_file, load_head

DIGITS = 12  # of digests that only have to differ from each other
_ROWS_SHOWN = 8
MOST_SETS, MOST_USES = 2, 100  # that the file carries of one suite; the store holds all
_BEGINS = re.compile(rb'\s*\{\s*"reference"\s*:')
_HINT = "\n  hint: name the file that --bless wrote, or the run.json of an earlier run."
_T = TypeVar("_T", float, int)


@dataclass(frozen=True, slots=True)
class ReferenceTrial:
    """One seed's answers to a suite, each by the beginning of its SHA-256, and what came of them.

    All tuples have one item a row. An answer that never came is an empty text, a score without a value None.
    """

    seed: int | None
    model: str  # fingerprint of what answered
    answers: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, ...]]
    prompt_tokens: tuple[int | None, ...] = ()
    completion_tokens: tuple[int | None, ...] = ()
    latency_ms: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ReferenceSuite:
    """A suite as the reference was judged by it. ``rows`` and ``scores`` are known by their content."""

    name: str
    heldout: str
    rows: tuple[str, ...]
    scores: Mapping[str, str]  # by name: fingerprint of how it is made; empty: not known
    prompt_digest: str | None
    schema_digest: str  # of the JSON schema that answers were bound to; empty: none
    trials: tuple[ReferenceTrial, ...]  # one a seed
    history: tuple[HeldoutUse, ...] = ()  # decisions that the rows have served
    row_sets: tuple[RowSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A candidate that runs are held to: what it scored, row by row, without its weights and its words."""

    candidate: str
    size: int | None
    seeds: tuple[int, ...]
    run: str  # the id of its run
    created: str  # of that run; ISO 8601, UTC
    suites: tuple[ReferenceSuite, ...]
    processor: str = ""
    blessed: str = ""  # when; ISO 8601, UTC; empty: it is a run that nobody blessed
    by: str = ""
    why: str = ""
    commit: str = ""
    reference: int = 1  # version of the file's form

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.candidate if self.size is None else f"{self.candidate}@{self.size}"


# --------------------------------------------------------------------------- from a run
def short(value: Json) -> str:
    """The beginning of the fingerprint of ``value``."""
    try:
        return fingerprint(value)[:DIGITS]
    except UsageError:  # settings of a check of the project's own, such as a path
        return fingerprint(repr(value))[:DIGITS]


def recorded_key(row: SuiteRow) -> str:
    """What a row of a record is known by."""
    return short([row.asked or row.question, row.reference])


def answer_digest(answer: Answer) -> str:
    """Of what was said; empty where no answer came."""
    return "" if answer.failure is not None else bytes_digest(answer.text.encode("utf-8", "replace"))[:DIGITS]


def model_of(model_digest: str, trial: Trial) -> str:
    """Of what answered: a model, and what it was trained into."""
    return short([model_digest, trial.training.fingerprint if trial.training else ""])


def made_as(kind: str, spec: Json) -> str:
    """How a score is made: its class and its settings."""
    return short([kind, spec])


def reference_of(
    record: RunRecord,
    candidate: str,
    size: int | None,
    rows: Mapping[str, Sequence[str]] | None = None,
    scores: Mapping[str, Mapping[str, str]] | None = None,
) -> Reference:
    """What one candidate of a run scored.

    Args:
        rows: by suite, what its rows are known by; None: as far as the record tells.
        scores: by suite and name, how each score is made; None: as far as the record tells, of judges alone.
    """
    mine = [trial for trial in record.trials if (trial.candidate, trial.size) == (candidate, size)]
    info = next(one for one in record.candidates if one.name == candidate)
    suites = []
    for suite in record.suites:
        trials = sorted((t for t in mine if t.suite == suite.name), key=lambda t: t.seed or 0)
        if not trials:
            continue
        of_judges = {
            one.name: made_as(one.description.partition(":")[0], one.spec) if one.spec else ""
            for one in suite.scores
        }
        made = of_judges if scores is None else scores[suite.name]
        history, row_sets = _uses(suite)
        suites.append(
            ReferenceSuite(
                name=suite.name,
                heldout=suite.heldout,
                rows=tuple(map(recorded_key, suite.rows) if rows is None else rows[suite.name]),
                scores={name: how for name, how in made.items() if all(_has(t, name) for t in trials)},
                prompt_digest=suite.prompt_digest,
                schema_digest=trials[0].schema_digest,
                trials=tuple(_trial(suite, trial, info.model_digest) for trial in trials),
                history=history,
                row_sets=row_sets,
            )
        )
    return Reference(
        candidate=candidate,
        size=size,
        seeds=tuple(dict.fromkeys(trial.seed for trial in mine if trial.seed is not None)),
        run=record.id,
        created=record.created,
        suites=tuple(suites),
        processor=record.environment.get("processor", ""),
    )


def _has(trial: Trial, score: str) -> bool:
    """Whether every row was judged."""
    return score in trial.scores and all(one.was_judged for one in trial.scores[score])


def _trial(suite: SuiteInfo, trial: Trial, model_digest: str) -> ReferenceTrial:
    place = {answer.row_id: at for at, answer in enumerate(trial.answers)}
    at = [place[row.id] for row in suite.rows if row.id in place]
    if len(at) < len(suite.rows):
        raise UsageError(f"run: {trial.label} did not answer every row of suite {suite.name}.")
    answers = [trial.answers[each] for each in at]
    return ReferenceTrial(
        seed=trial.seed,
        model=model_of(model_digest, trial),
        answers=tuple(map(answer_digest, answers)),
        scores={
            name: tuple(None if scores[each].failure else _rounded(scores[each].value, 6) for each in at)
            for name, scores in trial.scores.items()
            if _has(trial, name)
        },
        prompt_tokens=tuple(answer.prompt_tokens for answer in answers),
        completion_tokens=tuple(answer.completion_tokens for answer in answers),
        latency_ms=tuple(_rounded(answer.latency_ms, 1) for answer in answers),
    )


def _rounded(value: float | None, digits: int) -> float | None:
    """Whole numbers without their ``.0``, to keep the file small."""
    if value is None:
        return None
    return int(value) if value == int(value) else round(value, digits)


def _uses(suite: SuiteInfo) -> tuple[tuple[HeldoutUse, ...], tuple[RowSet, ...]]:
    """The latest decisions of the rows, and the latest sets of rows that they name."""
    latest = suite.history[-MOST_USES:]
    named = list(dict.fromkeys(use.rows for use in reversed(latest)))[:MOST_SETS]
    sets = tuple(one for one in suite.row_sets if one.digest in named)
    return tuple(use for use in latest if use.rows in named), sets


# --------------------------------------------------------------------------- the file
def dump_reference(reference: Reference) -> str:
    """As JSON, a column of rows to a line, so that a change to one score is a change to one line."""
    return f"{_text(reference)}\n"


def _text(value: object, indent: str = "") -> str:
    inner = indent + " "
    if is_dataclass(value) and not isinstance(value, type) and not isinstance(value, HeldoutUse | RowSet):
        names = sorted((field.name for field in fields(value)), key=lambda name: name != "reference")
        value = {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        lines = (f"{inner}{json.dumps(key)}: {_text(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}" if value else "{}"
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        return "[\n" + ",\n".join(inner + _text(item, inner) for item in value) + f"\n{indent}]"
    import msgspec

    return msgspec.json.encode(value).decode()


def reference_file(path: Path) -> Path:
    """The file that is meant: of a run's folder, its ``run.json``."""
    return path / "run.json" if what_is_at(path) == "folder" else path


def is_blessed(file: Path) -> bool:
    """Whether it is a file that ``--bless`` wrote, and no ``run.json``."""
    if what_is_at(file) != "file":
        return False
    try:
        with file.open("rb") as content:
            return _BEGINS.match(content.read(64)) is not None
    except OSError:  # whoever reads it as a run.json says what is wrong
        return False


def load_reference(file: Path, names: Collection[str]) -> Reference:
    """What a file says, of either form.

    Args:
        file: see ``reference_file``.
        names: candidates of today's run: of several in a ``run.json``, one of these is meant.

    Raises:
        UsageError: it cannot be read, is a rehearsal's, or does not tell which candidate is meant.
    """
    try:
        return load_blessed(file) if is_blessed(file) else _of_run(load_file(file), names)
    except (DataError, StoreError, OSError, UsageError) as error:
        problem = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        hint = "" if "hint:" in problem else _HINT
        raise UsageError(f"--against={file}: {problem.removeprefix(f'{file}: ')}{hint}") from error


def load_blessed(file: Path) -> Reference:
    """The reference that ``--bless`` wrote.

    Raises:
        DataError, StoreError: it cannot be read, or its columns are not as long as its rows.
    """
    from pydantic import TypeAdapter, ValidationError

    text = read_text(file, ".json", most_bytes=MOST_LABEL_BYTES)
    try:
        plain = json.loads(text)
        if plain.get("reference") != 1:
            raise StoreError(f"version {plain.get('reference')!r}; this version of the harness reads 1.")
        found = TypeAdapter(Reference).validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(f"does not fit a reference run at {place}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"this is not JSON ({error}).") from error
    for suite in found.suites:
        for trial in suite.trials:
            columns = [trial.answers, *trial.scores.values()]
            optional = [trial.prompt_tokens, trial.completion_tokens, trial.latency_ms]
            lengths = {len(column) for column in (*columns, *filter(None, optional))}
            if lengths - {len(suite.rows)} or not trial.scores.keys() >= suite.scores.keys():
                raise StoreError(
                    f"suite {suite.name}: its columns are not as long as its {len(suite.rows)} rows."
                )
    return found


def _of_run(record: RunRecord, names: Collection[str]) -> Reference:
    if record.rehearsal:
        raise UsageError("is a rehearsal, whose answers are a stand-in's.")
    decided = {(d.candidate, d.size): d.verdict for d in record.decisions}
    tried = {(t.candidate, t.size) for t in record.trials}
    meant = [place for place in decided if place in tried]
    for narrower in (
        [place for place in meant if place[0] in names],
        [place for place in meant if decided[place] is Verdict.GO],
    ):
        if len(meant) > 1 and narrower:
            meant = narrower
    if len(meant) != 1:
        listed = ", ".join(name for name, _ in meant)
        problem = (
            f"decides about {len(meant)} candidates ({listed})" if meant else "decides about no candidate"
        )
        raise UsageError(f"{problem}.\n  hint: --bless the one that runs are held to.")
    return reference_of(record, *meant[0])


def head_of(file: Path) -> JudgedHead:
    """What a file says of the uses of held-out rows, of either form.

    Raises:
        DataError, StoreError, OSError, UnicodeDecodeError: it cannot be read.
    """
    if not is_blessed(file):
        return load_head(file, JudgedHead)
    found = load_blessed(file)
    suites = tuple(
        SuiteInfo(
            name=suite.name,
            heldout=suite.heldout,
            heldout_digest="",
            rows=(),
            scores=(),
            slices=(),
            prompt_digest=suite.prompt_digest,
            uses=0,
            history=suite.history,
            row_sets=suite.row_sets,
        )
        for suite in found.suites
    )
    return JudgedHead(found.run, found.created, 0.05, (), (), suites=suites)


# --------------------------------------------------------------------------- in words
def means(columns: Sequence[Sequence[_T | None]]) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = [value for column in columns for value in column if value is not None]
    return sum(known) / len(known) if known else None


def reference_lines(record: RunRecord) -> Iterator[str]:
    """What a run was held to, and what it would have blocked: a few sentences."""
    if record.held_to is not None:
        yield from _held_to(record, record.held_to)
    if record.gate_policy == "regression":
        yield from _power(record)


def _held_to(record: RunRecord, held: HeldTo) -> Iterator[str]:
    blessed = f"blessed {held.blessed[:10]} by {held.by}: {held.why}" if held.blessed else "not blessed"
    yield f"reference: {held.label} of run {held.run} ({held.path}; {blessed})"
    yield from held.said
    yield from filter(None, map(_since, held.changes))
    allowed = {
        f"{100 * -found.claimed:.3g} points of {found.score}" + (f" where {found.rows}" if found.rows else "")
        for gate in record.gates
        if gate.against and (found := gate.comparison) is not None
    }
    if allowed:
        yield (
            f"against it, a candidate may lose {numbers.listed(sorted(allowed), most=8)}: what the suite's"
            f" own guard of a score allows, else {100 * held.margin:.3g} points"
        )
    for decision in record.decisions:
        mine = [t for t in record.trials if (t.candidate, t.size) == (decision.candidate, decision.size)]
        now = [
            means([[getattr(answer, name) for answer in trial.answers] for trial in mine])
            for name in ("prompt_tokens", "completion_tokens", "latency_ms")
        ]
        then = held.prompt_tokens, held.completion_tokens, held.latency_ms
        units = ("prompt tokens", "answer tokens", "ms")
        pairs = [
            f"{numbers.tokens(a)} {unit} ({numbers.tokens(b)})"
            for a, b, unit in zip(now, then, units, strict=True)
            if a is not None and b is not None
        ]
        if pairs:
            yield f"a request of {decision.candidate} takes {', '.join(pairs)}; in brackets the reference"


def _since(change: SinceReference) -> str:
    """Which rows are otherwise than in the reference; empty where none is."""
    said = [f"{change.candidate} gives {len(change.answers):,} of {change.rows:,} rows another answer"]
    for score, rows in change.scores.items():
        sign = -1 if score in change.less_is_better else 1
        steps = {row: sign * (now - then) for row, (then, now) in rows.items()}
        lost = sorted((row for row, step in steps.items() if step < 0), key=steps.__getitem__)
        worse = f"worse on {len(lost):,} ({numbers.listed(lost, most=_ROWS_SHOWN)})" if lost else ""
        better = f"better on {len(rows) - len(lost):,}" if len(rows) > len(lost) else ""
        said += [f"{score} is {' and '.join(filter(None, (worse, better)))}"] if rows else []
    return (
        f"suite {change.suite}: since the reference, {'; '.join(said)}" if change.answers or said[1:] else ""
    )


def _power(record: RunRecord) -> Iterator[str]:
    for decision in record.decisions:
        own = [
            gate
            for gate in record.gates
            if (gate.candidate, gate.size, gate.state) == (decision.candidate, decision.size, "gated")
        ]
        losses: dict[str, list[str]] = {}
        for gate in own:
            found = gate.comparison
            if found is not None and gate.smallest_loss is not None:
                score = f"{found.score} where {found.rows}" if found.rows else found.score
                beside = f"reference {gate.against}" if gate.against else found.baseline
                losses.setdefault(beside, []).append(f"{score} {100 * gate.smallest_loss:.1f}")
        blocked = any(gate.comparison and gate.comparison.outcome is Outcome.REFUTED for gate in own)
        verdict = "shows a regression" if blocked else "shows no regression"
        if losses:
            each = [f"against {name}: {numbers.listed(known, most=8)}" for name, known in losses.items()]
            yield (
                f"the regression gate {verdict} of {decision.candidate}; with these rows it shows, 4 times in"
                f" 5, a true loss of so many points {'; '.join(each)}"
            )
        elif own:
            why = (
                "no guard has enough rows to show any loss"
                if any(gate.role is Role.GUARD for gate in own)
                else "no gate guards a score, so it blocks only a target that is shown to be worse"
            )
            yield f"the regression gate {verdict} of {decision.candidate}: {why}"
