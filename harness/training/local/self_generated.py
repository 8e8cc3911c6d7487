"""General rows against forgetting, written by the base model itself.

Before it is trained, the base answers neutral prompts, greedily; it is then trained on these answers beside
its own rows, which holds its answers in place. Rows written by others would draw it towards their style.
After J. Huang et al., "Mitigating Catastrophic Forgetting in Large Language Models with Self-Synthesized
Rehearsal" (ACL 2024), where the model writes the prompts too.

The rows are stored beside the adapters, once, and shared by all sizes and seeds. They are ordinary chat rows
in a file, and a training is named by their content: it does not matter who wrote the file.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from harness.data.convert import to_json
from harness.data.files import read_text
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.data.rows import read_rows, require_no_tools
from harness.errors import DataError, StoreError, TrainingError, UsageError
from harness.fields import Count, require_fields
from harness.models.cache import build_once, is_whole
from harness.models.chat_format import load_chat
from harness.models.device import DevicePlan
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.progress import Bar, Progress
from harness.models.protocol import Decoding, Model, Prompt
from harness.models.source import ModelSource
from harness.records import FailureKind, Json, Message, Row
from harness.scoring.envelope import read_answer
from harness.store.adapters import AdapterStore
from harness.training.local.tokens import encode_row

MOST_GENERATED_ROWS = 100
NEUTRAL_PROMPTS = Path(__file__).with_name("neutral_prompts.txt")
ROWS, RECORD = "rows.jsonl", "generation.json"
RECIPE = 1  # raised when a change here makes the same prompts give other rows
LEAST_ROUND = 16  # prompts asked together at least, or the last few rows would take a round each

Unused: TypeAlias = Literal["cut_off", "empty", "failed", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class SelfGenerated:
    """General rows that the base itself writes, as a fine-tune's ``replay``.

    Args:
        rows: how many, 1 to 100; 50 to 100 are advised. They are added whole to every size.
        max_new_tokens: longest reply. One that does not end within it is left out, not cut.
        prompts: what the base is asked, instead of the 100 neutral prompts of this package: a text file
            with one prompt a line, or chat rows (``.jsonl``) whose last replies are not used.
    """

    rows: int = 60
    max_new_tokens: Count = 96
    prompts: str | None = None

    def __post_init__(self) -> None:
        require_fields(self)
        if not 1 <= self.rows <= MOST_GENERATED_ROWS:
            raise UsageError(
                f"SelfGenerated(rows={self.rows}): use 1 to {MOST_GENERATED_ROWS}; 50 to 100 are advised."
                " They are added whole to every size; more would outweigh the task's own at small sizes.\n"
                "  hint: for more, name a file of general rows: replay='general.jsonl'."
            )


@dataclass(frozen=True, slots=True)
class Generation:
    """How general rows came to be: ``kept`` of ``wanted``, and how many replies were left out, and why."""

    base: str
    wanted: int
    kept: int
    cut_off: int  # had not ended after max_new_tokens
    empty: int
    failed: int
    max_new_tokens: int
    numeric_config: str
    versions: Mapping[str, str]
    unreadable: int = 0  # could not be trained on: learnt, they would not be read as they were written

    @property
    def left_out(self) -> str:
        """The replies that were not taken, counted by their reasons."""
        late = f"not ended within {self.max_new_tokens} tokens"
        reasons = {late: self.cut_off, "empty": self.empty, "failed": self.failed}
        reasons["not to be trained on as they are"] = self.unreadable
        if not (total := sum(reasons.values())):
            return "none left out"
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return f"{total} of {total + self.kept} replies were left out ({counts})"


@dataclass(frozen=True)
class GeneratedRows:
    """The general rows that one base writes, and where they are stored.

    ``prompts`` are rows with an empty last reply, in the order in which they are asked.
    """

    spec: SelfGenerated
    source: ModelSource
    nf4: bool  # whether the base is quantised when it is trained; it answers as it is trained
    plan: DevicePlan
    prompts: tuple[Row, ...]
    store: AdapterStore
    chat: Mapping[str, Json] = field(default_factory=dict, hash=False)  # ``ChatFormat.key()`` of the base

    @property
    def folder(self) -> Path:
        """Beside the adapters, named by everything that shapes the replies."""
        key = fingerprint(
            {
                "recipe": RECIPE,
                "base": self.source.digest,
                "nf4": self.nf4,
                "numerics": batch_numeric_config(self.plan),
                "prompts": rows_fingerprint(self.prompts),
                "rows": self.spec.rows,
                "max_new_tokens": self.spec.max_new_tokens,
                "versions": self._versions(),
                **self.chat,
            }
        )
        adapter = self.store.folder(key)
        return adapter.with_name(f"replay-{adapter.name}")

    @property
    def file(self) -> Path:
        """The rows, as chat JSONL."""
        return self.folder / ROWS

    def found(self) -> tuple[Row, ...] | None:
        """The rows where they are in the store, None where the base has not been asked. Needs no model.

        Raises:
            TrainingError: the base was asked, and finished too few replies.
            StoreError: the record cannot be read.
        """
        self.store.fetch(self.folder, is_whole)
        return self._checked() if is_whole(self.folder) else None

    def get(self, progress: Progress) -> tuple[Row, ...]:
        """The rows; the base writes them now if they are not in the store. Safe with several processes.

        Raises:
            TrainingError, StoreError: see ``found``.
        """
        build_once(self.folder, lambda into: self._generate(into, progress))
        self.store.share(self.folder)
        return self._checked()

    def summary(self) -> str | None:
        """One sentence for people about the rows in the store; None where there are none."""
        if not is_whole(self.folder):
            return None
        made = _read_record(self.folder / RECORD)
        number = f"{made.kept}" if made.kept == made.wanted else f"only {made.kept} of {made.wanted}"
        return f"{number} general rows were generated by the base itself; {made.left_out}."

    def _versions(self) -> dict[str, str]:
        shaping = ("torch", "transformers", *(("bitsandbytes",) if self.nf4 else ()))
        return {name: version(name) for name in shaping}

    @cached_property
    def _is_learnt(self) -> Callable[[Row], bool]:
        """Whether a row can be trained on: its reply, learnt and read back, is what it was."""
        chat = load_chat(self.source)

        def is_learnt(row: Row) -> bool:
            try:
                encode_row(chat, row, sys.maxsize)
            except DataError:
                return False
            return True

        return is_learnt

    def _checked(self) -> tuple[Row, ...]:
        made = _read_record(self.folder / RECORD)
        if 2 * made.kept < made.wanted:
            raise TrainingError(
                f"{made.base} gave only {made.kept} of the {made.wanted} general rows asked for:"
                f" {made.left_out}.\n"
                "  hint: raise SelfGenerated(max_new_tokens=...), name prompts that short replies answer by"
                " SelfGenerated(prompts='prompts.txt'), or name a file of rows: replay='general.jsonl'."
            )
        return read_rows(self.file)

    def _generate(self, into: Path, progress: Progress) -> None:
        from pydantic import TypeAdapter

        wanted = self.spec.rows
        with progress.task(f"generating {wanted} general replies", unit="reply") as bar:
            bar.at(0, wanted)
            model = LocalModel.load(self.source, self.plan, nf4=self.nf4)
            rows, left_out = _answered(model, self._is_learnt, self.prompts, self.spec, bar)
        lines = [
            json.dumps({"id": row.id, **to_json(row, metadata=False)}, ensure_ascii=False) + "\n"
            for row in rows
        ]
        (into / ROWS).write_text("".join(lines), encoding="utf-8", newline="\n")
        made = Generation(
            base=self.source.name,
            wanted=wanted,
            kept=len(rows),
            **{reason: left_out[reason] for reason in get_args(Unused)},
            max_new_tokens=self.spec.max_new_tokens,
            numeric_config=f"{'nf4 base; ' if self.nf4 else ''}{model.numeric_config}",
            versions=self._versions(),
        )
        (into / RECORD).write_bytes(TypeAdapter(Generation).dump_json(made, indent=1))


def plan_generation(
    spec: SelfGenerated,
    root: Path,
    source: ModelSource,
    nf4: bool,
    plan: DevicePlan,
    store: AdapterStore,
    chat: Mapping[str, Json] | None = None,
) -> GeneratedRows:
    """The generation that ``spec``, whose path starts from ``root``, asks of a base.

    Raises:
        DataError: the file of prompts cannot be read, or has fewer prompts than rows are asked for.
    """
    file = NEUTRAL_PROMPTS if spec.prompts is None else root / spec.prompts
    prompts = _prompt_rows(file) if file.suffix == ".jsonl" else _prompt_lines(file)
    if len(prompts) < spec.rows:
        raise DataError(
            str(file),
            f"{len(prompts)} different prompts, and SelfGenerated(rows={spec.rows}) asks for more rows.",
            "add prompts (more than rows: replies that do not end are left out), or ask for fewer rows",
        )
    return GeneratedRows(spec, source, nf4, plan, prompts, store, chat or {})


# --------------------------------------------------------------------------- prompts
def _prompt_lines(file: Path) -> tuple[Row, ...]:
    """One prompt a line; blank lines and repeats are skipped."""
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(file, file.suffix).split("\n"), start=1):
        if line.strip():
            lines.setdefault(line.strip(), number)
    return tuple(
        Row(f"general-{number}", (Message("user", line), Message("assistant", "")), where=f"{file}:{number}")
        for line, number in lines.items()
    )


def _prompt_rows(file: Path) -> tuple[Row, ...]:
    """Chat rows without their last replies. Earlier replies are others' and get weight 0."""
    found: dict[str, Row] = {}
    rows = read_rows(file)
    require_no_tools(rows)
    for row in rows:
        turns = tuple(replace(m, weight=0) if m.role == "assistant" else m for m in row.prompt)
        asked = replace(row, messages=(*turns, Message("assistant", "")), metadata={})
        found.setdefault(rows_fingerprint([asked]), asked)
    return tuple(found.values())


# --------------------------------------------------------------------------- replies
def _answered(
    model: Model, is_learnt: Callable[[Row], bool], prompts: Sequence[Row], spec: SelfGenerated, bar: Bar
) -> tuple[list[Row], Counter[Unused]]:
    """Rows with the model's replies: the first ``wanted`` prompts, in order, whose replies came to an end.

    A reply that was cut off would teach to stop anywhere, or never; its prompt gives way to the next one.
    """
    wanted, decoding = spec.rows, Decoding(max_new_tokens=spec.max_new_tokens)
    kept: list[Row] = []
    left_out: Counter[Unused] = Counter()
    asked = 0
    while asked < len(prompts) and len(kept) < wanted:
        batch = prompts[asked : asked + max(wanted - len(kept), LEAST_ROUND)]
        asked += len(batch)
        questions = [Prompt(row.id, row.prompt) for row in batch]
        answers = {a.row_id: read_answer(a) for a in model.answer(questions, decoding, frozenset())}
        for row in batch:
            answer = answers[row.id]
            if len(kept) == wanted:
                break
            if answer.finish == "length" or answer.failure_kind is FailureKind.CUT:
                left_out["cut_off"] += 1
            elif answer.failure_kind is FailureKind.UNANSWERED:
                left_out["empty"] += 1
            elif answer.failure is not None or answer.finish == "failed":
                left_out["failed"] += 1
            elif not answer.text.strip():
                left_out["empty"] += 1
            else:
                made = replace(row, messages=(*row.prompt, Message("assistant", answer.text)))
                if is_learnt(made):
                    kept.append(made)
                else:
                    left_out["unreadable"] += 1
        bar.at(len(kept), wanted, f"{left_out.total()} left out")
    return kept, left_out


def _read_record(record: Path) -> Generation:
    from pydantic import TypeAdapter

    try:
        fields = json.loads(record.read_bytes())
        if "numerics" in fields:  # the field's name in records of earlier versions
            fields["numeric_config"] = fields.pop("numerics")
        return TypeAdapter(Generation).validate_python(fields)
    except (OSError, ValueError, TypeError) as error:  # pydantic's and json's errors are ValueErrors
        raise StoreError(
            f"{record} cannot be read: delete {record.parent} and the rows are generated again."
        ) from error
