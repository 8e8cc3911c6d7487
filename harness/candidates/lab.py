"""What candidates are made with: files, base models, the artifact store, executors and money."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import what_is_at
from harness.candidates.nearest import By, Index
from harness.data.files import read_prompt, read_text
from harness.data.fingerprints import fingerprint, row_fingerprint
from harness.data.passages import Passage, passages_digest, read_passages
from harness.data.rows import file_digest, read_rows
from harness.decision.economics_file import EconomicsConfig
from harness.decision.plan import Purpose
from harness.errors import DataError, HarnessError
from harness.models.askable import remember_format, remembered_format
from harness.models.chat_format import Chat, ChatFormat, TokenReader, load_chat
from harness.models.device import DevicePlan, device_plan
from harness.models.embeddings import LocalEmbedder, embedder_is_at_hand, resolve_embedder
from harness.models.ledger import Money, Spending
from harness.models.progress import Progress
from harness.models.protocol import AnswerSchema, Decoding, Prompt
from harness.models.server_process import Servers
from harness.models.source import ModelSource, folder_digest, resolve, resolve_tokenizer
from harness.records import Json, Row
from harness.scoring.json_schema import JsonSchema
from harness.scoring.judges import BUILTIN_EMBEDDER, Embedder
from harness.store.adapters import AdapterStore
from harness.training.executor import Executor, Site, SubprocessExecutor, site_of
from harness.training.hosted.lifetimes import today

if TYPE_CHECKING:
    from harness.candidates.base import Candidate, Prepared


def answer_schema(given: str | Mapping[str, Json], name: str, root: Path) -> AnswerSchema:
    """A schema, or the one in a file under ``root``; see ``Lab.schema``."""
    check = JsonSchema(name if isinstance(given, str) else given, name="schema={…}")
    document = check.bind(lambda _: read_text(root / str(given), ".json")).document
    if not isinstance(document, Mapping):
        raise DataError(name, "a schema of answers is a JSON object", "write an answer's shape into it")
    return AnswerSchema(json.dumps(document, ensure_ascii=False), name)


@dataclass(frozen=True)
class Lab:
    """What a candidate is made with, seen from the folder of its conftest.

    Files and base models are read once for the whole run, whoever asks.
    """

    root: Path  # the folder that the candidate's paths start from
    adapters: AdapterStore  # where artifacts are kept
    progress: Progress  # who watches
    project: Path | None = None  # the project's root, which paths in messages start from (None: ``root``)
    executor: Executor = field(default_factory=SubprocessExecutor)  # where trainings run
    money: Money | None = None  # what hosted models are paid from; None: nothing is counted
    # the time over which the project's economics add up a saving
    horizon_days: Callable[[], float] = lambda: EconomicsConfig(1).horizon_days
    # compares rows that were made during the run with the held-out files
    require_unseen: Callable[[Sequence[Row]], None] = lambda rows: None
    # for each suite that the arm is asked and whose answers are not all kept: its name, prompts and decoding
    unanswered: Callable[[Candidate, Prepared], Iterable[tuple[str, Sequence[Prompt], Decoding]]] = (
        lambda candidate, prepared: ()
    )
    # gives the built-in sentence encoder; None: one that keeps no vectors
    embedder: Callable[[], Embedder] | None = None
    is_offline: bool = False  # whether nothing may be sent (``--plan``)
    today: Callable[[], date] = today
    # why a hosted job of this run made nothing, by artifact: what failed is not begun again in the same run
    failed: dict[str, HarnessError] = field(default_factory=dict, repr=False, compare=False)
    # which training a deployment's name was given to, by service and name
    deployed: dict[str, Json] = field(default_factory=dict, repr=False, compare=False)
    servers: Servers = field(
        default_factory=Servers, repr=False, compare=False
    )  # that answer for local weights
    _sources: dict[tuple[str, bool], ModelSource] = field(default_factory=dict, repr=False, compare=False)
    _chats: dict[tuple[ModelSource, bool], Chat] = field(default_factory=dict, repr=False, compare=False)
    _readers: dict[str, TokenReader] = field(default_factory=dict, repr=False, compare=False)
    _passages: dict[Path, tuple[Passage, ...]] = field(default_factory=dict, repr=False, compare=False)
    _indexes: dict[tuple[str, str, str], Index] = field(default_factory=dict, repr=False, compare=False)
    _files: dict[Path, tuple[Row, ...]] = field(default_factory=dict, repr=False, compare=False)

    def at(self, root: Path) -> Lab:
        """The same lab for candidates of another folder; what was read is shared."""
        return replace(self, root=root)

    def shown(self, path: str) -> str:
        """A candidate's path as people see it: relative to the project's root."""
        return self.relative(self.root / path)

    def relative(self, file: Path) -> str:
        """A file's path as people see it."""
        return os.path.relpath(file, self.project or self.root)

    def rows(self, path: str) -> tuple[Row, ...]:
        """Rows of a file that a candidate names.

        Raises:
            DataError: it is missing or broken.
        """
        file = (self.project or self.root) / self.shown(path)
        if os.path.realpath(file) != os.path.realpath(self.root / path):
            file = self.root / path  # behind a link, ".." is another folder than the name says
        if file not in self._files:
            self._files[file] = read_rows(file)
        return self._files[file]

    def prompt(self, path: str) -> str:
        """The text of a candidate's own prompt file.

        Raises:
            DataError: it is missing, no text, or has nothing in it.
        """
        return read_prompt(self.root / path, self.shown(path), "the candidate's prompt")

    def passages(self, path: str) -> tuple[Passage, ...]:
        """The passages of a folder that a candidate names, read once.

        Raises:
            DataError, UsageError: see ``read_passages``.
        """
        if self.root / path not in self._passages:
            self._passages[self.root / path] = read_passages(self.root / path, self.shown(path))
        return self._passages[self.root / path]

    def index(self, key: tuple[str, By], texts: Sequence[str], by: By) -> Index:
        """An index of texts, made once; ``key`` names their file and how they are compared."""
        # a plan fetches nothing
        is_away = by == "embeddings" and self.is_offline and not embedder_is_at_hand()
        by = "bm25" if is_away else by
        own = (str(self.root / key[0]), by, fingerprint(list(texts)))
        if own not in self._indexes:
            self._indexes[own] = Index(texts, by, self.embedder or self._own_embedder)
            if is_away:
                self.progress.say(f"{key[0]}: until the sentence encoder is fetched, BM25 stands for it.")
        return self._indexes[own]

    def _own_embedder(self) -> Embedder:
        return LocalEmbedder(resolve_embedder(BUILTIN_EMBEDDER, self.progress))

    def schema(self, given: str | Mapping[str, Json] | None) -> AnswerSchema | None:
        """A candidate's schema, read and found to be one; None where it has none.

        Raises:
            DataError: it cannot be read, is no JSON Schema, or no object.
        """
        if given is None:
            return None
        return answer_schema(given, self.shown(given) if isinstance(given, str) else "schema={…}", self.root)

    def source(self, model: str, trust_remote_code: bool = False) -> ModelSource:
        """The base model of that name, fetched if need be. Its digest reads all weights, once.

        A path starts from the candidate's folder; anything else is the built-in name or a Hugging Face id.

        Raises:
            ModelError, UnknownName: there is none, or it cannot be fetched.
        """
        name = self.path_or_name(model)
        key = name, trust_remote_code
        if key not in self._sources:
            self._sources[key] = resolve(name, self.progress, trust_remote_code)
        return self._sources[key]

    def tokenizer(self, name: str) -> ModelSource:
        """The tokenizer of a base that runs elsewhere; see ``source``. Nothing else of it is fetched.

        Raises:
            ModelError, UnknownName: see ``resolve_tokenizer``.
        """
        name = self.path_or_name(name)
        key = f"tokenizer of {name}", False
        if key not in self._sources:
            self._sources[key] = resolve_tokenizer(name, self.progress)
        return self._sources[key]

    def path_or_name(self, model: str) -> str:
        """A model's path, which starts from the candidate's folder; its name where nothing is there."""
        return os.path.relpath(self.root / model) if what_is_at(self.root / model) else model

    def chat(self, source: ModelSource, thinking: bool | None) -> Chat:
        """A base's tokenizer and chat template. Not for several threads at once.

        Raises:
            ModelError: see ``load_chat``.
        """
        key = source, bool(thinking)
        if key not in self._chats:
            self._chats[key] = load_chat(source, thinking)
        return self._chats[key]

    def chat_format(self, source: ModelSource) -> ChatFormat:
        """What a base's chat template wants. Its tokenizer is read once a machine.

        Raises:
            ModelError: see ``load_chat``.
        """
        found = remembered_format(source)
        if found is None:
            found = self.chat(source, None).format
            remember_format(source, found)
        return found

    def reader(self, source: ModelSource) -> TokenReader:
        """What the chat template of a local model makes of prompts; the tokenizer is loaded once."""
        return self._readers.setdefault(source.digest, TokenReader(source, self.chat))

    def by_content(self, value: Json) -> Json:
        """A field of a candidate by its content: the name of a file or folder is replaced by a digest of it.

        Files of rows count by their rows, in any order; other files by their bytes; folders by the model in
        them.
        """
        if isinstance(value, Mapping):
            return {name: self.by_content(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.by_content(item) for item in value]
        if not isinstance(value, str) or not value or not what_is_at(self.root / value):
            return value
        if what_is_at(self.root / value) == "folder":
            if self.root / value in self._passages:
                return passages_digest(self._passages[self.root / value])
            return folder_digest(self.root / value)
        try:
            return fingerprint(sorted(map(row_fingerprint, self.rows(value))))
        except DataError:
            return file_digest(self.root / value)

    def plan(self) -> DevicePlan:
        """This machine's device and precision."""
        return device_plan()

    def site(self) -> Site:
        """What trainings are computed with: on this machine, or where the executor runs them."""
        from harness.training.local.recipe import shaping_versions

        return site_of(self.executor) or Site(self.plan(), shaping_versions())

    def at_once(self, candidate: Candidate) -> int:
        """How many of a candidate's trainings run at once, on one base; 1: they take turns.

        Raises:
            UsageError: ``HARNESS_SIDE_BY_SIDE`` is no number.
        """
        is_able = getattr(candidate, "trains_beside", False)  # a kind of the project's own need not have it
        beside: Callable[[DevicePlan], int] | None = getattr(self.executor, "beside", None)
        return beside(self.plan()) if beside is not None and is_able else 1

    def spending(
        self, model: str, *, tuned: bool = False, purpose: Purpose = "answers", quoted: bool = False
    ) -> Spending | None:
        """The price and the budget of calls of a hosted model; None where nothing is counted.

        Raises:
            UnknownName: there is a cap and no price; says what to add to which file.
        """
        if self.money is None:
            return None
        return self.money.on(model, tuned=tuned, purpose=purpose, quoted=quoted)
