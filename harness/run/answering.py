"""Answers and scores: from the store where they are kept, from a model where they are not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from threading import Event, Thread

from harness.candidates.base import Candidate, Prepared, Variant
from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.extras import installed_version
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Interruptible, Model, Prompt
from harness.records import Admission, Answer, Message, Score, Trial
from harness.run.interim_analysis import NOT_JUDGED
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.judges import Calibrated, Judge, Oracle
from harness.store.answers import AnswerStore

WATCH_S = 1.0


@dataclass(frozen=True)
class Asked:
    """What a suite asks a candidate: prompts named by their keys, each once, and a key for each row.

    Answers to one key in one ``context`` are one answer, whoever asks. ``kept`` holds those that are stored.
    """

    prompts: list[Prompt]
    keys: list[str]
    decoding: Decoding
    context: str
    kept: dict[str, Answer]

    @property
    def missing(self) -> list[Prompt]:
        """Prompts that no answer is stored for."""
        return [prompt for prompt in self.prompts if prompt.row_id not in self.kept]


class Answerer:
    """Puts suites to candidates, and their answers to judges. Holds one loaded model at a time.

    ``seconds`` counts where the time of this run went (loading, generation, scoring).
    """

    def __init__(self, store: AnswerStore, progress: Progress, oracle: Oracle) -> None:
        self._store, self._progress, self.oracle = store, progress, oracle
        self._loaded: tuple[str, Model] | None = None
        self._judges: dict[str, Calibrated] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def asked(self, candidate: Candidate, prepared: Prepared, bound: LoadedSuite) -> Asked:
        """What a suite asks the candidate, and what is stored of it."""
        prompts = [Prompt(row.id, prepared.ask(row, bound.prompt_of(row))) for row in bound.rows]
        decoding, limit = candidate.decoding, bound.suite.max_tokens
        if limit is not None:
            decoding = replace(decoding, max_new_tokens=min(limit, decoding.max_new_tokens))
        if prepared.batch_independent:
            if decoding.temperature > 0:
                prompts = _numbered(prompts)
            keys = [content_key(prompt.messages, prompt.repeat) for prompt in prompts]
            own = dict(zip(keys, prompts, strict=True))
            prompts = [replace(prompt, row_id=key) for key, prompt in own.items()]
            context = fingerprint({"model": prepared.identity, "decoding": decoding.settings()})
        else:
            keys = [row.id for row in bound.rows]
            context = _batch_context(prepared, prompts, decoding)
        # where each answer is kept alone, others share the context
        wanted, stored = set(keys), self._store.answers(context)
        kept = {key: answer for key, answer in stored.items() if key in wanted}
        return Asked(prompts, keys, decoding, context, kept)

    def trial(
        self, variant: Variant, label: str, prepared: Prepared, suite: LoadedSuite, *, judge_all: bool
    ) -> Trial:
        """A variant's answers and scores on a suite; see ``answers`` and ``scores``."""
        answers = self.answers(label, variant.candidate, prepared, suite)
        return Trial(
            candidate=variant.name,
            size=variant.size,
            seed=variant.seed,
            suite=suite.name,
            answers=answers,
            scores=self.scores(suite, answers, judge_all=judge_all),
            seconds=sum(answer.latency_ms for answer in answers) / 1000,
            numeric_config=prepared.numeric_config,
            training=prepared.training,
        )

    def answers(
        self, label: str, candidate: Candidate, prepared: Prepared, bound: LoadedSuite
    ) -> tuple[Answer, ...]:
        """One answer a row, in the suite's order.

        Raises:
            BudgetReached: the next call could pass the cap; the answers that came before it are kept.
        """
        asked = self.asked(candidate, prepared, bound)
        kept = asked.kept
        if len(kept) < len(asked.prompts):
            model = self._model(prepared)
            interruptible = model if isinstance(model, Interruptible) else None
            began = time.perf_counter()
            with self._progress.task(f"{label} answers {bound.name}", unit="row") as bar:

                def show() -> None:
                    bar.at(len(kept), len(asked.prompts), interruptible.note if interruptible else "")

                show()
                coming = model.answer(asked.prompts, asked.decoding, frozenset(kept))
                late = interruptible.late if interruptible else tuple
                with closing(keeping(self._store, asked.context, coming, late, show)) as answers:
                    for answer in answers:
                        kept[answer.row_id] = answer
                        show()
            self.seconds["generation"] += time.perf_counter() - began
        return tuple(
            replace(kept[key], row_id=row.id) for key, row in zip(asked.keys, bound.rows, strict=True)
        )

    def _model(self, prepared: Prepared) -> Model:
        if self._loaded is None or self._loaded[0] != prepared.identity:
            self._loaded = None  # let the old model go before the new one takes its place
            began = time.perf_counter()
            self._loaded = (prepared.identity, prepared.load())
            self.seconds["loading"] += time.perf_counter() - began
        return self._loaded[1]

    def scores(
        self, bound: LoadedSuite, answers: Sequence[Answer], *, judge_all: bool
    ) -> dict[str, tuple[Score, ...]]:
        """Every score of the suite over the answers, by name; judges only where all rows are to be judged."""
        began = time.perf_counter()
        found: dict[str, tuple[Score, ...]] = {}
        for score in bound.scores:
            if not isinstance(score, Judge):
                found[score.name] = score_all(score, bound.rows, answers)
            elif judge_all:
                found[score.name] = self.judge(score).score_many(bound.rows, answers, self.oracle)
            else:
                found[score.name] = (NOT_JUDGED,) * len(answers)
        self.seconds["scoring"] += time.perf_counter() - began
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
    """Not equality, which leaves the labels out: two files may have one name."""
    return fingerprint({"name": judge.name, "spec": judge.spec()})


def content_key(messages: Sequence[Message], repeat: int = 0) -> str:
    """A key for a question: after a change to one row only that row is asked anew, and equal questions once.

    Each ``repeat`` of a question has a key of its own.
    """
    turns = [[m.role, m.name, m.content] for m in messages]
    return fingerprint({"turns": turns, "repeat": repeat})


def _numbered(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Each with the number of equal ones before it: rows with one question have draws of their own."""
    seen: Counter[str] = Counter()
    numbered: list[Prompt] = []
    for prompt in prompts:
        question = content_key(prompt.messages)
        numbered.append(replace(prompt, repeat=seen[question]))
        seen[question] += 1
    return numbered


def _batch_context(prepared: Prepared, prompts: Sequence[Prompt], decoding: Decoding) -> str:
    """The key under which answers are kept: model, decoding, numbers, library versions and all prompts.

    All prompts, not each one's own: which rows share a batch shapes greedy answers in bfloat16.
    """
    ids = [prompt.row_id for prompt in prompts]
    if len(set(ids)) != len(ids):
        raise ModelError("two rows to answer have one id.")  # read_rows refuses such files
    return fingerprint(
        {
            "model": prepared.identity,
            "decoding": decoding.settings(),
            "numerics": prepared.numeric_config,
            "versions": {name: installed_version(name) for name in ("torch", "transformers")},
            "prompts": [[p.row_id, [[m.role, m.content] for m in p.messages]] for p in prompts],
        }
    )


# ----------------------------------------------------------------- storing answers as they come
def keeping(
    store: AnswerStore,
    context: str,
    answers: Iterator[Answer],
    late: Callable[[], Iterable[Answer]] = tuple,
    watch: Callable[[], None] = lambda: None,
) -> Generator[Answer, None, None]:
    """Pass answers on, each once it is stored under ``context``; a run that is cut short loses none.

    A failure is not stored: the next run asks again. Close the generator (``contextlib.closing``):
    otherwise a traceback holds it open, with late answers unstored, for as long as somebody holds that.

    Args:
        store: where they are stored.
        context: the fingerprint of the model and settings that give them.
        answers: as they come; closed at the end.
        late: gives answers that came after the iteration was left; see ``models.protocol.Interruptible``.
        watch: called once a second, from another thread, since the next answer may be long in coming.

    Raises:
        StoreError: an answer cannot be stored.
    """
    unstored: list[Answer] = []
    with _calling_each_second(watch):
        try:
            for answer in map(_in_unicode, answers):
                unstored.append(answer)  # Ctrl-C undoes a write that it falls into; the last one repeats it
                _store(store, context, unstored)
                yield answer
        finally:
            try:
                if isinstance(answers, Generator):
                    answers.close()
            finally:
                unstored += map(_in_unicode, late())
                _store(store, context, unstored)


def _store(store: AnswerStore, context: str, answers: list[Answer]) -> None:
    """Store answers, and empty the list once they are."""
    arrived = [answer for answer in answers if answer.failure is None]
    if arrived:
        store.keep_answers(context, arrived)
    answers.clear()


@contextmanager
def _calling_each_second(watch: Callable[[], None]) -> Iterator[None]:
    ended = Event()

    def call() -> None:
        while not ended.wait(WATCH_S):
            watch()

    thread = Thread(target=call, name="harness progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _in_unicode(answer: Answer) -> Answer:
    """The answer with halves of surrogate pairs, which no file can hold, as question marks."""
    text, failure = (
        None if given is None else given.encode("utf-8", "replace").decode("utf-8")
        for given in (answer.text, answer.failure)
    )
    return replace(answer, text=text or "", failure=failure)
