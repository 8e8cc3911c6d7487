"""The models that judges ask: the built-in one for likelihoods, local encoders, and hosted ones that grade.

A hosted grader is asked once for each distinct prompt, at temperature 0. Judgments are stored, so that a
second run asks nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING

from harness.candidates.base import MutableModel
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.models.device import device_plan
from harness.models.embeddings import (
    EmbedderSource,
    LocalEmbedder,
    numeric_config,
    require_embedder,
    resolve_embedder,
)
from harness.models.ledger import Money
from harness.models.local import LocalModel, reading_numeric_config, reads_trees
from harness.models.progress import Progress, Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import OpenRemoteModel, RemoteModel
from harness.models.source import BUILTIN, resolve
from harness.records import Answer, Json, Message
from harness.run.answering import content_key, keeping
from harness.run.freshness import Freshness, Questions
from harness.scoring.envelope import read_answer
from harness.scoring.judges import BUILTIN_EMBEDDER, Failure, GradingModel
from harness.store.answers import AnswerStore

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class JudgeBackends:
    """An ``Oracle`` and ``EmbeddingOracle`` of ``scoring.judges``.

    Judgments and vectors are stored in ``store``, and judgments paid with ``money``.
    """

    def __init__(
        self, store: AnswerStore, money: Money, progress: Progress, freshness: Freshness | None = None
    ) -> None:
        self._store, self._money, self._progress = store, money, progress
        self._freshness = freshness or Freshness(store)
        self._reader: LocalModel | None = None
        self._embedders: dict[str, KeptEmbedder] = {}
        self._graders: dict[tuple[RemoteModel, str, int], HostedGrader] = {}

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> list[float]:
        """See ``scoring.judges.Scorer``; the built-in model reads."""
        return [fmean(tokens) for tokens in self.token_logprobs(prompts)]

    def token_logprobs(self, prompts: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See ``scoring.judges.TokenOracle``; the built-in model reads each distinct text once. Kept."""
        source, plan = resolve(BUILTIN, self._progress), device_plan()
        context: dict[str, Json] = {
            "model": source.digest,
            "numerics": reading_numeric_config(plan),
            "versions": f"transformers {version('transformers')}, torch {version('torch')}",
            # other texts in a batch shape the rounding, unless all are read as trees
            "beside": None if reads_trees(plan) else [list(prompt) for prompt in prompts],
        }
        within = fingerprint(context)
        keys = {prompt: fingerprint([within, *prompt]) for prompt in prompts}
        kept = {prompt: self._store.judgment(key) for prompt, key in keys.items()}
        missing = [prompt for prompt in keys if kept[prompt] is None]
        if missing and not reads_trees(plan):
            missing = list(keys)
        if missing:
            if self._reader is None:
                self._reader = LocalModel.load(source, plan)
            with self._progress.task(f"judging {len(missing)} texts", unit="text") as bar:
                for prompt, numbers in zip(missing, self._reader.token_logprobs(missing), strict=True):
                    kept[prompt] = numbers
                    self._store.keep_judgment(keys[prompt], numbers)
                bar.at(len(missing), len(missing))
        return [found for prompt in prompts if (found := kept[prompt]) is not None]

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> KeptEmbedder:
        """See ``scoring.judges.EmbeddingOracle``.

        Raises:
            UnknownName: it is neither the built-in encoder nor a folder.
            UsageError: the extra ``local`` is not installed.
            ModelError: the folder holds no encoder that can be read.
        """
        if model not in self._embedders:
            require_embedder(model)
            self._embedders[model] = KeptEmbedder(model, self._store, self._progress)
        return self._embedders[model]

    def today(self) -> JudgesOfToday:
        """The same, but that judgments of earlier runs are asked for again; see ``JudgesOfToday``."""
        return JudgesOfToday(self)

    def grader(self, model: GradingModel, schema: Mapping[str, Json], max_tokens: int) -> HostedGrader:
        """The model, ready to be asked. Sends nothing.

        Raises:
            ModelError: there is no key.
            UnknownName: there is a cap, and no price.
            UsageError: it is no ``RemoteModel``.
        """
        if not isinstance(model, RemoteModel):
            raise UsageError(
                f"{type(model).__name__} cannot grade: give the judge a RemoteModel, such as"
                " RemoteModel('gpt-4o-mini')."
            )
        place = model, fingerprint(schema), max_tokens
        if place not in self._graders:
            opened = model.open(self._money.on(model.billed_as, purpose="judging"), self._progress, schema)
            self._graders[place] = HostedGrader(
                opened, max_tokens, self._store, self._progress, self._freshness
            )
        return self._graders[place]


@dataclass
class KeptEmbedder:
    """An encoder whose vectors are stored, each text's alone; see ``scoring.judges.Embedder``."""

    model: str
    store: AnswerStore
    progress: Progress

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See ``scoring.judges.Embedder``; each distinct text that is not stored is read once."""
        import numpy as np

        keys = {text: fingerprint({**self._context, "text": text}) for text in texts}
        kept = self.store.embeddings(keys.values())
        missing = [text for text, key in keys.items() if key not in kept]
        if missing:
            progress = self.progress if len(missing) > 1 else Silent()  # a finished bar leaves a line
            with progress.task(f"embedding {len(missing)} texts", unit="text") as bar:
                vectors = self._loaded.embed(missing, lambda read: bar.at(read, len(missing)))
            fresh = {
                keys[text]: row.astype("<f4").tobytes() for text, row in zip(missing, vectors, strict=True)
            }
            self.store.keep_embeddings(fresh)
            kept |= fresh
        found = [np.frombuffer(kept[keys[text]], "<f4") for text in texts]
        return np.array(found, np.float32).reshape(len(texts), -1)

    @cached_property
    def _source(self) -> EmbedderSource:
        return resolve_embedder(self.model, self.progress)

    @cached_property
    def _loaded(self) -> LocalEmbedder:
        return LocalEmbedder(self._source)

    @cached_property
    def _context(self) -> dict[str, Json]:
        """What shapes a vector beside its text."""
        return {"encoder": self._source.digest, "numerics": numeric_config()}


@dataclass
class HostedGrader:
    """A hosted model that gives judgments of at most ``max_tokens``; see ``scoring.judges.Grader``."""

    model: OpenRemoteModel
    max_tokens: int
    store: AnswerStore
    progress: Progress
    freshness: Freshness

    @cached_property
    def context(self) -> str:
        """The key of stored judgments, beside their prompts.

        Not ``max_tokens``: a judgment that came to its end is the same under any higher limit.
        """
        identity = self.model.spec.identity()
        return fingerprint({"grader": identity, "schema": self.model.schema, "temperature": 0.0, "repeat": 0})

    def ask(self, prompts: Sequence[Sequence[Message]]) -> list[str | Failure]:
        """The judgment of each prompt, in their order; a call that failed is a failure, and is not stored.

        Raises:
            BudgetReached: the next judgment could pass the cap; those that came before it are stored.
            ModelError: the service refuses every call, or has stopped answering.
        """
        keys = [content_key(messages) for messages in prompts]
        own = {key: Prompt(key, tuple(messages)) for key, messages in zip(keys, prompts, strict=True)}
        self._settle(own)
        known = frozenset(key for key in own if key in self._judgments)
        failed: dict[str, Failure] = {}
        if len(known) < len(own):
            model, done, total = self.model, len(known), len(own)
            # all prompts are handed over, known or not: they name a batch
            coming = model.answer(list(own.values()), Decoding(max_new_tokens=self.max_tokens), known)
            stored = keeping(
                self.store, self.context, self._complete(coming), lambda: map(self._or_failure, model.late())
            )
            with self.progress.task(f"{model.spec.model} judges", unit="judgment") as bar, closing(stored):
                bar.at(done, total)
                for answer in stored:
                    if answer.failure is None:
                        self._judgments[answer.row_id] = _judgment(answer)
                    else:
                        failed[answer.row_id] = Failure(answer.failure)
                    done += 1
                    bar.at(done, total, model.note)
        return [failed[key] if key in failed else self._judgments[key] for key in keys]

    def ask_today(self, prompts: Sequence[Sequence[Message]], seen: JudgmentsOfToday) -> list[str | Failure]:
        """As ``ask``, but that a model which may have changed is asked again for what an earlier run kept.

        What it says now is not stored: it would stand among judgments of what may be another model.
        """
        kept = dict(zip(map(content_key, prompts), self.ask(prompts), strict=True))
        own = {content_key(messages): Prompt(content_key(messages), tuple(messages)) for messages in prompts}
        origins = self.store.origins(self.context)
        earlier = [key for key in own if key in origins and origins[key].run != self.store.run]
        seen.n_of_this_run += len(own) - len(earlier)
        if self.model.spec.is_pinned or not self.freshness.probes or not earlier:
            return [kept[content_key(messages)] for messages in prompts]
        seen.dates += [origins[key].given or "" for key in earlier]
        seen.n_of_this_run += len(earlier)
        decoding = Decoding(max_new_tokens=self.max_tokens)
        coming = self._single.answer([own[key] for key in earlier], decoding, frozenset())
        name = f"{self.model.spec.model} judges its anchors"
        with self.progress.task(name, unit="judgment") as bar, closing(self._complete(coming)) as answers:
            for done, answer in enumerate(answers, start=1):
                kept[answer.row_id] = _judgment(answer)
                bar.at(done, len(earlier))
        return [kept[content_key(messages)] for messages in prompts]

    @cached_property
    def _single(self) -> OpenRemoteModel:
        """The model, asked call by call and given up soon: nobody waits a day to see if it is the same."""
        spec = self.model.spec
        return replace(self.model, spec=replace(spec, batch=False, attempts=min(2, spec.attempts)))

    @cached_property
    def _judgments(self) -> dict[str, str | Failure]:
        """Stored judgments by their prompts' keys, read as answers are."""
        return {key: _judgment(answer) for key, answer in self.freshness.kept(self.context).items()}

    def _settle(self, own: Mapping[str, Prompt]) -> None:
        """Forget stored judgments that are to be asked for again, or are another model's."""
        spec = self.model.spec
        mutable = None if spec.is_pinned else MutableModel(spec, lambda: self._single)
        kept = {key: answer for key, answer in self.freshness.kept(self.context).items() if key in own}
        decoding = Decoding(max_new_tokens=self.max_tokens)
        asked = Questions(list(own.values()), decoding, self.context, kept)
        if self.freshness.settle(mutable, fingerprint(spec.identity()), f"the judge {spec.model}", asked):
            self.__dict__.pop("_judgments", None)  # read anew

    def _complete(self, answers: Generator[Answer, None, None]) -> Generator[Answer, None, None]:
        # a generator that closes the other: else calls on their way would not be late yet when they are read
        with closing(answers):
            yield from map(self._or_failure, answers)

    def _or_failure(self, answer: Answer) -> Answer:
        """The answer; one that was cut off holds no judgment, and is a failure."""
        if answer.finish != "length":
            return answer
        why = f"cut off after {self.max_tokens} tokens; raise the judge's max_tokens"
        return replace(answer, text="", finish="failed", failure=why)


def _judgment(came: Answer) -> str | Failure:
    """What the grader said, without the thought before it."""
    read = read_answer(came)
    return read.text if read.failure is None else Failure(read.failure)


@dataclass
class JudgmentsOfToday:
    """Of judgments that were read: how many are this run's, and the days of those that it asked for again."""

    n_of_this_run: int = 0
    dates: list[str] = field(default_factory=list)


class JudgesOfToday:
    """An oracle whose hosted models say what they say now; see ``HostedGrader.ask_today``."""

    def __init__(self, judges: JudgeBackends) -> None:
        self._judges, self.seen = judges, JudgmentsOfToday()

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> list[float]:
        """See ``scoring.judges.Scorer``: a local model is known by its content."""
        return self._judges.logprob(prompts)

    def token_logprobs(self, prompts: Sequence[tuple[str, str]]) -> list[list[float]]:
        """See ``scoring.judges.TokenOracle``; as ``logprob``."""
        return self._judges.token_logprobs(prompts)

    def embedder(self, model: str = BUILTIN_EMBEDDER) -> KeptEmbedder:
        """See ``scoring.judges.EmbeddingOracle``; as ``logprob``."""
        return self._judges.embedder(model)

    def grader(self, model: GradingModel, schema: Mapping[str, Json], max_tokens: int) -> GraderOfToday:
        """See ``scoring.judges.Oracle``."""
        return GraderOfToday(self._judges.grader(model, schema, max_tokens), self.seen)


@dataclass(frozen=True)
class GraderOfToday:
    """See ``HostedGrader.ask_today``."""

    grader: HostedGrader
    seen: JudgmentsOfToday

    def ask(self, prompts: Sequence[Sequence[Message]]) -> list[str | Failure]:
        """See ``scoring.judges.Grader``."""
        return self.grader.ask_today(prompts, self.seen)
