"""Records what a hosted model answers to suites, so that it can be compared with when it answers no more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.atomic import what_is_at, write_atomically
from harness.candidates.base import AS_TRAINED, WITH_PROMPT, asked_as_trained, asked_with_prompt
from harness.data.files import opened
from harness.data.recorded import (
    Matched,
    RecordedAnswer,
    digests_to_record,
    match,
    parse_recorded,
    recorded_from,
)
from harness.errors import UsageError
from harness.models.ledger import Spending
from harness.models.progress import Progress
from harness.models.protocol import AnswerSchema, Decoding, Prompt, Tools
from harness.models.remote import RemoteModel
from harness.records import Answer, FailureKind, Json
from harness.run.answering import keeping
from harness.run.suite_loading import LoadedSuite


@dataclass(frozen=True)
class Capture:
    """What is asked, and how.

    Args:
        model: who answers.
        decoding: how; a suite's ``max_tokens`` applies where it is lower.
        as_trained: whether it gets each row's own turns, as a fine-tune does, in place of the suite's prompt.
        schema: what answers to suites with a ``JsonSchema`` check are bound to.
        spending: its price and the ledger; None: nothing is counted.
    """

    model: RemoteModel
    decoding: Decoding
    as_trained: bool = False
    schema: AnswerSchema | None = None
    spending: Spending | None = None

    def record(self, suite: LoadedSuite, file: Path, progress: Progress) -> Matched:
        """Ask for the rows that ``file`` does not answer yet, and append each answer as it comes.

        Rows whose call failed are asked again. One process may write to a file at a time.

        Raises:
            UsageError: another process writes to it, or it holds answers that were asked for otherwise.
            DataError: it cannot be read, or a row asks something else than when it was answered.
            BudgetReached: the cap on spending; what came is recorded.
        """
        from filelock import FileLock, Timeout

        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_name(f"{file.name}.lock"), timeout=0)
        try:
            with lock:
                try:
                    self._record(suite, file, progress)
                finally:
                    with suppress(OSError):  # Windows removes it itself
                        Path(lock.lock_file).unlink()
        except Timeout as error:
            raise UsageError(f"{file}: another harness capture writes to it. Wait for its end.") from error
        return match(read_whole(file), suite.name, suite.rows)

    def _record(self, suite: LoadedSuite, file: Path, progress: Progress) -> None:
        recorded = read_whole(file)
        # a call that failed says nothing of the model, which may have been misspelt: it is asked again
        self._require_same([one for one in recorded if not _failed(one)], suite)
        kept = [one for one in recorded if not (_failed(one) and one.suite == suite.name)]
        if len(kept) < len(recorded) or not _ends(file):
            write_atomically(file, "".join(one.line() for one in kept))
        own = [one for one in kept if one.suite == suite.name]  # another suite's prompt is another question
        missing = {row.id for row in match(own, suite.name, suite.rows).missing}
        ask = asked_as_trained if self.as_trained else asked_with_prompt
        prompts = [Prompt(row.id, ask(row, suite.prompt_of(row)), tools=Tools.of(row)) for row in suite.rows]
        known = frozenset(prompt.row_id for prompt in prompts if prompt.row_id not in missing)
        model = self.model.open(self.spending, progress)
        with (
            _Lines(file, self, suite) as lines,
            progress.task(f"{self.model.model} answers {suite.name}", unit="row") as bar,
        ):

            def show() -> None:
                bar.at(len(known) + len(lines.written), len(prompts), model.note)

            show()
            coming = model.answer(prompts, self._decoding(suite), known)
            with closing(keeping(lines, suite.name, coming, model.late, show)) as answers:
                for answer in answers:
                    # keeping() passes failures on and stores none: here they are kept, for a later day may
                    # not be able to ask again
                    lines.keep_answers(suite.name, [answer])
                    show()

    def _decoding(self, suite: LoadedSuite) -> Decoding:
        most = min(suite.suite.max_tokens or self.decoding.max_new_tokens, self.decoding.max_new_tokens)
        return replace(self.decoding, max_new_tokens=most, schema=suite.binding(self.schema))

    def described(self, suite: LoadedSuite) -> dict[str, Json]:
        """What the answers to one suite have in common: fields of ``RecordedAnswer``."""
        return {
            "suite": suite.name,
            "asked_with": AS_TRAINED if self.as_trained else WITH_PROMPT,
            "prompt": None if self.as_trained else suite.prompt_digest or "",
            "settings": self._decoding(suite).described(),
            "model": self.model.model,
            "service": self.model.url,
        }

    def _require_same(self, recorded: Iterable[RecordedAnswer], suite: LoadedSuite) -> None:
        for name, value in self.described(suite).items():
            for one in recorded:
                before = getattr(one, name)
                is_concerned = name in _SAME_FOR_ALL or one.suite == suite.name
                if is_concerned and name != "suite" and before != value:
                    raise UsageError(
                        f"{one.where} was recorded with another {_WORDS.get(name, name)}: {before or 'none'},"
                        f" and this command has {value or 'none'}. A file holds answers of one kind.\n"
                        "  hint: name another file with --out; or repeat the command that began this one."
                    )


_SAME_FOR_ALL = ("model", "service", "asked_with")  # the others are each suite's own
_WORDS = {"asked_with": "way of asking", "prompt": "prompt (SHA-256)", "settings": "decoding"}


def _failed(one: RecordedAnswer) -> bool:
    return one.failure_kind is FailureKind.ERROR


@dataclass
class _Lines:
    """The file, to which answers are appended; a line is on the disk before the next is written."""

    file: Path
    capture: Capture
    suite: LoadedSuite
    written: set[str] = field(default_factory=set)
    _last: tuple[str, int] = ("", 0)  # the row whose line was begun last, and where that begins

    def __enter__(self) -> _Lines:
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        rows = self.suite.rows
        self._asked = dict(zip((row.id for row in rows), digests_to_record(rows), strict=True))
        self._questions = {row.id: row.question for row in rows}
        self._common = self.capture.described(self.suite)
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._descriptor)

    def keep_answers(self, context: str, answers: Iterable[Answer]) -> None:
        """Append answers; see ``run.answering.KeepsAnswers``."""
        for answer in answers:
            if answer.row_id in self.written:
                continue
            if self._last[0] == answer.row_id:  # Ctrl-C fell into its writing, and it comes once more
                os.ftruncate(self._descriptor, self._last[1])
            self._last = answer.row_id, os.fstat(self._descriptor).st_size
            line = recorded_from(
                answer,
                question=self._questions[answer.row_id],
                asked=self._asked[answer.row_id],
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                usd=self._usd(answer),
                **self._common,
            ).line()
            _write(self._descriptor, line.encode())
            self.written.add(answer.row_id)

    def _usd(self, answer: Answer) -> float | None:
        spending, read, written = self.capture.spending, answer.prompt_tokens, answer.completion_tokens
        if spending is None or read is None or written is None:
            return None
        return round(spending.cost(read, written, answer.cached_prompt_tokens), 12)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def read_whole(file: Path) -> Sequence[RecordedAnswer]:
    """The answers of a file that may have been cut off in its last line; none where there is no file.

    Raises:
        DataError: another line cannot be read.
    """
    if what_is_at(file) is None:
        return ()
    with opened(file) as lines:
        content = lines.read()
    if content and not content.endswith(b"\n"):
        whole, _, last = content.rpartition(b"\n")
        try:
            json.loads(last)
        except ValueError:  # a cut may fall behind a brace of the answer's own
            content = whole
    return parse_recorded(content, str(file)) if content.strip() else ()


def _ends(file: Path) -> bool:
    """Whether the last line is whole, so that another can follow it."""
    if what_is_at(file) is None:
        return True
    with opened(file) as lines:
        content = lines.read()
    return not content or content.endswith(b"\n")
