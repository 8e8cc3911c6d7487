"""Answers and scores: from the store where they are kept, from a model where they are not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version

from harness.candidates.base import Candidate, Prepared
from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.extras import installed_version
from harness.models.builtin import NAME as JUDGE_MODEL
from harness.models.device import device_plan
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.pricing import Money
from harness.models.progress import Bar, Progress
from harness.models.protocol import Decoding, Interruptible, Model, Noting, Prompt
from harness.models.source import resolve
from harness.records import Admission, Answer, Score
from harness.run.answer_writer import content_key, keeping
from harness.run.interim_analysis import NOT_JUDGED
from harness.run.judge_backends import JudgeBackends
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.judges import Calibrated, Judge
from harness.store.answers import AnswerStore


class Answerer:
    """Puts suites to candidates, and their answers to judges. Holds one loaded model at a time.

    ``seconds`` counts where the time of this run went (loading, generation, judging).
    """

    def __init__(
        self,
        store: AnswerStore,
        progress: Progress,
        money: Money,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store, self._progress, self._clock = store, progress, clock
        self._loaded: tuple[str, Model] | None = None
        self._judges: dict[str, Calibrated] = {}
        self.oracle = JudgeBackends(Reader(store, progress), store, money, progress)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def answers(
        self, label: str, candidate: Candidate, prepared: Prepared, bound: LoadedSuite
    ) -> tuple[Answer, ...]:
        """One answer a row, in the suite's order.

        Raises:
            BudgetReached: the next call could pass the cap; the answers that came before it are kept.
        """
        asked = _asked(candidate, prepared, bound)
        kept = self._kept(asked)
        if len(kept) < len(asked.prompts):
            model = self._model(prepared)
            began = self._clock()
            with self._progress.task(f"{label} answers {bound.name}", unit="row") as bar:
                self._ask(model, asked, kept, bar)
            self.seconds["generation"] += self._clock() - began
        return tuple(
            replace(kept[key], row_id=row.id) for key, row in zip(asked.keys, bound.rows, strict=True)
        )

    def _ask(self, model: Model, asked: Asked, kept: dict[str, Answer], bar: Bar) -> None:
        """Have the model answer what is not kept, and keep it."""

        def show() -> None:
            note = model.note if isinstance(model, Noting) else ""
            bar.at(len(kept), len(asked.prompts), note)

        show()
        coming = model.answer(asked.prompts, asked.decoding, frozenset(kept))
        late = model.late if isinstance(model, Interruptible) else tuple
        with closing(keeping(self._store, asked.context, coming, late, show)) as answers:
            for answer in answers:
                kept[answer.row_id] = answer
                show()

    def left(self, candidate: Candidate, prepared: Prepared, bound: LoadedSuite) -> Left:
        """What of a suite is still to be asked."""
        asked = _asked(candidate, prepared, bound)
        kept = self._kept(asked)
        return Left(
            prompts=tuple(prompt for prompt in asked.prompts if prompt.row_id not in kept),
            kept=sum(key in kept for key in asked.keys),
            decoding=asked.decoding,
            context=asked.context,
        )

    def _kept(self, asked: Asked) -> dict[str, Answer]:
        """Kept answers to what is asked, by its key; where each is kept alone, others share the context."""
        wanted = set(asked.keys)
        return {key: answer for key, answer in self._store.answers(asked.context).items() if key in wanted}

    def _model(self, prepared: Prepared) -> Model:
        if self._loaded is None or self._loaded[0] != prepared.identity:
            self._loaded = None  # let the old model go before the new one takes its place
            began = self._clock()
            self._loaded = (prepared.identity, prepared.load())
            self.seconds["loading"] += self._clock() - began
        return self._loaded[1]

    def scores(
        self, bound: LoadedSuite, answers: Sequence[Answer], *, judge_all: bool
    ) -> dict[str, tuple[Score, ...]]:
        """Every score of the suite over the answers, by name; judges only where all rows are to be judged."""
        began = self._clock()
        found: dict[str, tuple[Score, ...]] = {}
        for score in bound.scores:
            if not isinstance(score, Judge):
                found[score.name] = score_all(score, bound.rows, answers)
            elif judge_all:
                found[score.name] = self.judge(score).score_many(bound.rows, answers, self.oracle)
            else:
                found[score.name] = (NOT_JUDGED,) * len(answers)
        self.seconds["scoring"] += self._clock() - began
        return found

    def admission(self, judge: Judge) -> Admission | None:
        """Whether the judge was admitted; None where nothing has asked it in this run."""
        calibrated = self._judges.get(_judge_key(judge))
        return None if calibrated is None else calibrated.admission

    def judge(self, judge: Judge) -> Calibrated:
        """The judge, calibrated and tested for admission, once a run."""
        key = _judge_key(judge)
        if key not in self._judges:
            self._judges[key] = judge.calibrated(self.oracle)
        return self._judges[key]


def _judge_key(judge: Judge) -> str:
    """What tells judges apart. Not equality, which leaves the labels out: two files may have one name."""
    return fingerprint({"name": judge.name, "spec": judge.spec()})


class Reader:
    """The built-in model as a reader of likelihoods for judges; what it read is kept."""

    def __init__(self, store: AnswerStore, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._model: LocalModel | None = None

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> list[float]:
        """See ``scoring.judges.Scorer``."""
        source, plan = resolve(JUDGE_MODEL, self._progress), device_plan()
        numeric_config = (
            f"{batch_numeric_config(plan)}; transformers {version('transformers')}, torch {version('torch')}"
        )
        key = fingerprint(
            {"model": source.digest, "numerics": numeric_config, "prompts": [list(p) for p in prompts]}
        )
        kept = self._store.judgment(key)
        if kept is not None and len(kept) == len(prompts):
            return kept
        if self._model is None:
            self._model = LocalModel.load(source, plan)
        with self._progress.task(f"judging {len(prompts)} texts", unit="text") as bar:
            numbers = self._model.logprob(prompts)
            bar.at(len(prompts), len(prompts))
        self._store.keep_judgment(key, numbers)
        return numbers


@dataclass(frozen=True)
class Asked:
    """What a suite asks a candidate, how answers are drawn, and the keys under which they are kept.

    ``prompts`` are named by their keys, and each stands there once; ``keys`` has one for each row.
    """

    prompts: list[Prompt]
    keys: list[str]
    decoding: Decoding
    context: str


@dataclass(frozen=True)
class Left:
    """What a suite still asks a candidate: prompts named by their keys, each once, and rows already answered.

    Answers to one key in one ``context`` are one answer, whoever asks.
    """

    prompts: tuple[Prompt, ...]
    kept: int
    decoding: Decoding
    context: str


def _asked(candidate: Candidate, prepared: Prepared, bound: LoadedSuite) -> Asked:
    prompts = [Prompt(row.id, prepared.ask(row, bound.prompt)) for row in bound.rows]
    decoding = _decoding(candidate, bound)
    if not prepared.batch_independent:
        keys = [row.id for row in bound.rows]
        return Asked(prompts, keys, decoding, answers_context(prepared, prompts, decoding))
    if decoding.temperature > 0:
        prompts = _numbered(prompts)
    keys = [content_key(prompt.messages, prompt.repeat) for prompt in prompts]
    own = dict(zip(keys, prompts, strict=True))
    context = fingerprint({"model": prepared.identity, "decoding": decoding})
    return Asked([replace(prompt, row_id=key) for key, prompt in own.items()], keys, decoding, context)


def _numbered(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Each with the number of equal ones before it: rows with one question have draws of their own."""
    seen: Counter[str] = Counter()
    numbered: list[Prompt] = []
    for prompt in prompts:
        question = content_key(prompt.messages)
        numbered.append(replace(prompt, repeat=seen[question]))
        seen[question] += 1
    return numbered


def _decoding(candidate: Candidate, bound: LoadedSuite) -> Decoding:
    limit = bound.suite.max_tokens
    own = candidate.decoding
    return own if limit is None else replace(own, max_new_tokens=min(limit, own.max_new_tokens))


def answers_context(prepared: Prepared, prompts: Sequence[Prompt], decoding: Decoding) -> str:
    """The key under which answers are kept: model, decoding, numbers, library versions and all prompts.

    All prompts, not each one's own: which rows share a batch shapes greedy answers in bfloat16.
    """
    ids = [prompt.row_id for prompt in prompts]
    if len(set(ids)) != len(ids):
        raise ModelError("two rows to answer have one id.")  # read_rows refuses such files
    return fingerprint(
        {
            "model": prepared.identity,
            "decoding": decoding,
            "numerics": prepared.numeric_config,
            "versions": {name: installed_version(name) for name in ("torch", "transformers")},
            "prompts": [[p.row_id, [[m.role, m.content] for m in p.messages]] for p in prompts],
        }
    )
