"""Every file that takes part, compared with every other by content before anything is trained or asked.

Held-out and final rows may stand in nothing that shapes a candidate or chooses among candidates: training,
general and development rows, examples that are shown or looked up, the prompt; nor in each other. Left alone
are development rows among the training rows (they show a loss that is too good, and decide nothing), and
suites that share rows. Labels of judges have rules of their own (:mod:`harness.run.label_leaks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.candidates.lab import Lab
from harness.data.leakage import Leak, require_no_leaks
from harness.data.nearness import WordForWord
from harness.data.plain_text import SHORT_WORDS, plain_words
from harness.data.rows import line_of
from harness.data.template_tokens import is_exported, leftovers
from harness.errors import DataError, UsageError
from harness.records import Message, Row
from harness.run import label_leaks
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.training.rows import TrainingData

NAMES_SHOWN = 5


@dataclass(slots=True)
class Seen:
    """What training and held-out rows of one suite share, as far as the run may go on with it."""

    repeated: set[str] = field(default_factory=set)  # ids of held-out rows that count as one
    near: dict[str, frozenset[str]] = field(default_factory=dict)  # by arm: ids near to a training row
    notes: dict[str, None] = field(default_factory=dict)


def compare_files(arms: Iterable[Arm], suites: Sequence[LoadedSuite], lab: Lab) -> Mapping[str, Seen]:
    """Compare what shapes candidates with what judges them; by suite, what the run goes on with.

    Raises:
        UsageError: a size beyond the data.
        DataError: unreadable or leaking rows.
    """
    seen = {suite.name: Seen() for suite in suites}
    for suite in suites:
        _compare_suite(suite, suites)
        seen[suite.name].notes.update(dict.fromkeys(label_leaks.heldout_notes(suite)))
    known: list[tuple[TrainingData, dict[str, frozenset[str]]]] = []
    for arm in arms:
        data = arm.candidate.data(lab.at(arm.folder))
        if data is None:
            continue
        _require_size(arm, data)
        near = next((near for other, near in known if _is_same(data, other)), None)
        if near is None:
            for suite in suites[:1]:
                seen[suite.name].notes.update(_template_notes(data))
            near = {suite.name: _compare(data, suite, seen[suite.name]) for suite in suites}
            known.append((data, near))
        for name, ids in near.items():
            seen[name].near[arm.name] = ids
    return seen


def _is_same(data: TrainingData, other: TrainingData) -> bool:
    """Whether both hold the very rows: a file is read once for all candidates."""
    ours = data.train, data.general, data.dev, data.docs, data.prompts
    theirs = other.train, other.general, other.dev, other.docs, other.prompts
    return all(a is b or a == b for a, b in zip(ours, theirs, strict=True))


def _require_size(arm: Arm, data: TrainingData) -> None:
    if data.is_trained and not data.train:
        raise UsageError(
            f"{arm.name}: its data() gives no training rows, and it is trained.\n"
            "  hint: give those that it learns from, or None where it learns from none."
        )
    if arm.size is not None and arm.size > len(data.train):
        raise UsageError(
            f"--sizes: {arm.size} rows asked for, and {data.file} has {len(data.train)}.\n"
            f"  hint: ask for at most {len(data.train)}, or add rows."
        )


def _template_notes(data: TrainingData) -> dict[str, None]:
    """What to say of rows that hold a few leftovers of a template.

    Raises:
        DataError: a file of finished prompts.
    """
    found = leftovers(data.train) if data.is_trained else []
    if not found:
        return {}
    (first, _, trace), places = (
        found[0],
        ", ".join(str(line_of(data.train[at])) for at, *_ in found[:NAMES_SHOWN]),
    )
    more = f" and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else ""
    problem = (
        f"{len(found)} of {len(data.train)} training rows already hold a chat template's text, such as"
        f" {trace.shown!r} (lines {places}{more})"
    )
    if is_exported(data.train, found):
        hint = "give the plain texts as messages: the base's template would be applied a second time"
        raise DataError(data.train[first].where, problem, hint)
    return {f"{data.file}: {problem}.": None}


def _compare_suite(suite: LoadedSuite, suites: Sequence[LoadedSuite]) -> None:
    """A suite's own files with each other, and its final rows with the rows of other suites."""
    accepted = suite.suite.leaks
    if suite.reserved:
        for other in suites:
            require_no_leaks(other.rows, suite.reserved, accepted, sides=suite.sides(other))
    if suite.prompt is not None and suite.suite.prompt is not None:
        where = f"{suite.heldout.rpartition('/')[0]}/{suite.suite.prompt}".lstrip("/")
        shown = Row("prompt", (Message("system", suite.prompt), Message("assistant", "")), {}, where)
        for rows in (suite.rows, suite.reserved):
            require_no_leaks([shown], rows, accepted, sides=("examples in the prompt", "held-out rows"))


def _compare(data: TrainingData, suite: LoadedSuite, seen: Seen) -> frozenset[str]:
    """One candidate's rows with one suite; ids of the held-out rows that are near to a training row."""
    accepted = suite.suite.leaks
    beside = ((data.dev, "development rows"), (data.prompts, "examples in the candidate's own prompt"))
    for rows, ours in ((data.seen, "training rows"), *beside):
        require_no_leaks(rows, suite.reserved, accepted, sides=(ours, suite.sides(suite)[1]))
    found = require_no_leaks(data.seen, suite.rows, accepted)
    leaks = list(found.leaks)
    for rows, ours in beside:
        leaks += require_no_leaks(rows, suite.rows, accepted, sides=(ours, "held-out rows")).leaks
    seen.notes.update(dict.fromkeys(label_leaks.training_notes(data, suite)))
    seen.notes.update(dict.fromkeys(_told_answers(data, suite)))
    by_name = [leak for leak in leaks if accepted != "warn" and leak.is_named(accepted)]
    others = [leak for leak in leaks if leak not in by_name]
    seen.repeated |= {leak.heldout_id for leak in others}
    total = len(suite.rows)
    if by_name:
        seen.notes[f"{suite.name}: {_held(by_name, total)} too, and were accepted by name."] = None
    if others:
        why = (
            'leaks="warn" lets the run go on' if accepted == "warn" else "few, of texts that repeat honestly"
        )
        note = f"{suite.name}: {_held(others, total)} too ({why}): they count as one row together."
        seen.notes[note] = None
    return found.near


def _told_answers(data: TrainingData, suite: LoadedSuite) -> Iterator[str]:
    """A sentence where passages hold whole replies of held-out rows, word for word, and one for questions.

    Documents may hold the facts that replies rest on. Under five words are facts, or labels.
    """
    rows = list(reversed(suite.rows)) if data.docs else []
    for what, then, asked in (
        ("reply", "repeats it", {plain_words(row.reference): row for row in rows}),
        ("question", "is told what stands beside it", {plain_words(row.question): row for row in rows}),
    ):
        wanted = WordForWord(words for words in asked if len(words) >= SHORT_WORDS)
        found: dict[str, str] = {}
        for doc in data.docs:
            for words in wanted.within(plain_words(doc.messages[0].content)):
                found.setdefault(asked[words].where, doc.where)
        if found:
            row, place = next(iter(found.items()))
            yield (
                f"{suite.name}: {data.file} holds the whole {what} of {len(found)} of {len(rows)} held-out"
                f" rows word for word (the first: {row} in {place}): a candidate that finds it there {then}."
            )


def _held(leaks: Sequence[Leak], total: int) -> str:
    places = list(dict.fromkeys(leak.heldout_where for leak in leaks))
    more = f" and {len(places) - NAMES_SHOWN} more" if len(places) > NAMES_SHOWN else ""
    named = ", ".join(places[:NAMES_SHOWN])
    file = leaks[0].train_where.rpartition(":")[0]
    return f"{len(places)} of {total} held-out rows ({named}{more}) stand in {file}"


def with_repeats(suite: LoadedSuite, seen: Seen) -> LoadedSuite:
    """The suite with the rows that training has too counted as one."""
    repeated = suite.repeated | seen.repeated
    return suite if repeated == suite.repeated else replace(suite, repeated=frozenset(repeated))
