"""Answers and scores: from the store where they are kept, from a model where they are not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol, cast

from harness.candidates.base import Call, Candidate, Given, Prepared, Variant, answered_by
from harness.data.fingerprints import fingerprint
from harness.errors import ModelError
from harness.extras import installed_version
from harness.models.bound import RULES
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Interruptible, Model, Prompt, Tools
from harness.models.thinking import most_tokens
from harness.records import Admission, Answer, Json, Message, Score, Trial
from harness.report.printable import printable
from harness.run.composing import KeptAsker, LiveAsker
from harness.run.freshness import Freshness, Questions
from harness.run.interim_analysis import NOT_JUDGED
from harness.run.received import plain_answers
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.envelope import read_answer
from harness.scoring.judges import Judge, Oracle, TriedJudge, judged_rows, needs_baseline, tried_out
from harness.store.answers import AnswerStore

if TYPE_CHECKING:
    from harness.models.served import ServedModel

WATCH_S = 1.0
NEAR_THE_LIMIT = 0.9  # of the tokens of a limit: services count them each in a way of their own
# raised when a change here or in `models.generation` makes a local model answer the same prompt otherwise
GENERATION = 2


@dataclass(frozen=True)
class Asked(Questions):
    """What a suite asks a candidate: prompts named by their keys, each once, and a key for each row.

    Answers to one key in one ``context`` are one answer, whoever asks. ``kept`` holds those that are stored,
    and ``probe`` names those of them that are asked for again first; see ``run.freshness``.
    """

    keys: list[str]
    kept: dict[str, Answer]
    most_tokens: int  # of one reply, thought and answer together
    probe: list[Prompt] = field(default_factory=list)
    given: Given | None = None  # where nobody is asked

    @property
    def missing(self) -> list[Prompt]:
        """Prompts that no answer is stored for."""
        return [prompt for prompt in self.prompts if prompt.row_id not in self.kept]


class Answerer:
    """Puts suites to candidates, and their answers to judges. Holds one loaded model at a time.

    ``seconds`` counts where the time of this run went (loading, generation, scoring). ``watched`` looks once
    more at a judge that has been tested; see ``run.anchors``.
    """

    def __init__(
        self,
        store: AnswerStore,
        progress: Progress,
        oracle: Oracle,
        freshness: Freshness | None = None,
        watched: Callable[[Judge, TriedJudge], TriedJudge] = lambda judge, tried: tried,
    ) -> None:
        self._store, self._progress, self.oracle = store, progress, oracle
        self.freshness = freshness or Freshness(store)
        self._loaded: tuple[str, Model] | None = None
        self._judges: dict[str, TriedJudge] = {}
        self._watched = watched
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def calls(self, candidate: Candidate, prepared: Prepared, bound: LoadedSuite) -> list[Call]:
        """What a suite asks the candidate: one call, or several that follow each other.

        Nothing is sent. Where a call rests on an answer that is not kept, the row's reference stands for it.
        """
        if prepared.compose is None:
            prompts = [
                Prompt(row.id, prepared.ask(row, bound.prompt_of(row, prepared.prompt)), tools=Tools.of(row))
                for row in bound.rows
            ]
            return [Call(candidate, prepared, prompts)]
        asker = KeptAsker(self, bound)
        prepared.compose(bound.rows, asker)
        return asker.calls

    def asked(self, call: Call, bound: LoadedSuite) -> Asked:
        """One call of a suite, and what is stored of its answers."""
        candidate, prepared, prompts = call.candidate, call.prepared, list(call.prompts)
        decoding, limit = candidate.decoding, bound.suite.max_tokens
        if limit is not None and call.is_last and not call.is_aside:
            decoding = replace(decoding, max_new_tokens=min(limit, decoding.max_new_tokens))
        if prepared.given is not None:
            given = prepared.given(bound.name, bound.rows)
            ids, read = [prompt.row_id for prompt in prompts], partial(read_answer, kept=bound.kept_tags)
            most = decoding.max_new_tokens
            return Asked(prompts, decoding, "", dict(given.answers), ids, most, given=given, read=read)
        if call.is_last:
            decoding = replace(decoding, schema=bound.binding(prepared.schema))
        if prepared.batch_independent:
            if decoding.temperature > 0:
                prompts = _numbered(prompts)
            beside = [None] * len(prompts) if prepared.read is None else prepared.read(prompts, decoding)
            keys = [
                content_key(prompt.messages, prompt.repeat, _with_tools(prompt, sent))
                for prompt, sent in zip(prompts, beside, strict=True)
            ]
            own = dict(zip(keys, prompts, strict=True))
            prompts = [replace(prompt, row_id=key) for key, prompt in own.items()]
            context = fingerprint({"model": prepared.identity, "decoding": decoding.settings()})
        else:
            keys = [prompt.row_id for prompt in prompts]
            context = _batch_context(prepared, prompts, decoding)
        # where each answer is kept alone, others share the context
        wanted, stored = set(keys), self.freshness.kept(context)
        endpoint = answered_by(candidate)
        most = most_tokens("" if endpoint is None else endpoint.model.model, decoding)
        kept = {
            key: answer
            for key, answer in stored.items()
            if key in wanted
            and not _cut_too_early(answer, decoding, most)
            and not (answer.logprob is None and call.needs_logprobs and prepared.gives_logprobs)
        }
        # the most tokens of an answer alone, where the model may write a thought before it
        alone = decoding.max_new_tokens if most > decoding.max_new_tokens else None
        read = partial(read_answer, kept=bound.kept_tags, thinks_past=alone)
        asked = Asked(prompts, decoding, context, kept, keys, most, read=read)
        return replace(asked, probe=self.freshness.to_probe(prepared.mutable, prepared.identity, asked))

    def trial(
        self,
        variant: Variant,
        label: str,
        prepared: Prepared,
        suite: LoadedSuite,
        *,
        judge_all: bool,
        against: Sequence[Answer] | None = None,
    ) -> Trial:
        """A variant's answers and scores on a suite; see ``answers`` and ``scores``."""
        calls, answers = self._made(label, variant.candidate, prepared, suite)
        every = [(call, self.asked(call, suite)) for call in calls if not call.is_aside]
        asked = every[-1][1]
        given = asked.given
        made_of: dict[str, list[tuple[str, str]]] = {answer.row_id: [] for answer in answers}
        for call, one in every:
            for prompt, key in zip(call.prompts, one.keys, strict=True):
                if prompt.row_id in made_of and (call.rows is None or prompt.row_id in call.rows):
                    made_of[prompt.row_id].append((one.context, key))
        looked = prepared.looked if suite.prompt is not None else None  # another task is shown nothing
        return Trial(
            candidate=variant.name,
            size=variant.size,
            seed=variant.seed,
            suite=suite.name,
            answers=answers,
            scores=self.scores(suite, answers, judge_all=judge_all, against=against),
            seconds=sum(answer.latency_ms or 0.0 for answer in answers) / 1000,
            numeric_config=prepared.numeric_config,
            training=prepared.training,
            provenance=given.provenance if given else self.freshness.provenance(made_of.values()),
            asked_with=given.asked_with if given else prepared.asked_with,
            decoding=given.decoding if given else asked.decoding.described(),
            looked_up={} if looked is None else {row.id: looked(row) for row in suite.rows},
        )

    def answers(
        self, label: str, candidate: Candidate, prepared: Prepared, bound: LoadedSuite
    ) -> tuple[Answer, ...]:
        """One answer a row, in the suite's order.

        Raises:
            BudgetReached: the next call could pass the cap; the answers that came before it are kept.
        """
        return self._made(label, candidate, prepared, bound)[1]

    def _made(
        self, label: str, candidate: Candidate, prepared: Prepared, bound: LoadedSuite
    ) -> tuple[list[Call], tuple[Answer, ...]]:
        """The calls that were put, and the answers that came of them."""
        if prepared.compose is None:
            calls = self.calls(candidate, prepared, bound)
            return calls, self.answered(label, calls[0], bound)
        asker = LiveAsker(self, bound, label)
        made = prepared.compose(bound.rows, asker)
        return asker.calls, tuple(made[row.id] for row in bound.rows)

    def answered(self, label: str, call: Call, bound: LoadedSuite) -> tuple[Answer, ...]:
        """One answer to each prompt of a call, in their order; see ``answers``."""
        asked, prepared = self.asked(call, bound), call.prepared
        if asked.given is None and self.freshness.settle(prepared.mutable, prepared.identity, label, asked):
            asked = self.asked(call, bound)
        kept = asked.kept
        if len(kept) < len(asked.prompts):
            if prepared.served is not None:
                kept.update(self._compared(label, call, bound, asked))
            model = self._model(prepared)
            interruptible = model if isinstance(model, Interruptible) else None
            began = time.perf_counter()
            with self._progress.task(f"{label} answers {bound.name}", unit="row") as bar:

                def show() -> None:
                    bar.at(len(kept), len(asked.prompts), interruptible.note if interruptible else "")

                show()
                known, ids = frozenset(kept), set(asked.keys)
                coming = plain_answers(
                    lambda: model.answer(asked.prompts, asked.decoding, known),
                    ids,
                    known,
                    lambda said: self._progress.say(printable(f"{label}, {bound.name}: {said}")),
                )
                late = interruptible.late if interruptible else tuple
                with closing(keeping(self._store, asked.context, coming, late, show)) as answers:
                    for answer in answers:
                        kept[answer.row_id] = answer
                        show()
            self.seconds["generation"] += time.perf_counter() - began
        # what is kept is what came: a better reader reads it again, and nothing is asked again
        return tuple(
            asked.read(replace(kept[key], row_id=prompt.row_id))
            for key, prompt in zip(asked.keys, call.prompts, strict=True)
        )

    def _compared(
        self, label: str, call: Call, bound: LoadedSuite, asked: Asked
    ) -> Iterator[tuple[str, Answer]]:
        """The answers that a server gave while they were compared with the library's, by key."""
        from harness.run.served_check import require_alike

        self._loaded = None
        came = require_alike(
            label,
            call,
            asked.prompts,
            asked.decoding,
            bound,
            asked.context,
            asked.read,
            lambda: cast("ServedModel", self._model(call.prepared)),
            self._progress,
        )
        self._store.keep_answers(asked.context, came)
        return ((answer.row_id, answer) for answer in came)

    def let_go(self) -> None:
        """Give back the memory of the model that is loaded."""
        self._loaded = None

    def _model(self, prepared: Prepared) -> Model:
        if self._loaded is None or self._loaded[0] != prepared.identity:
            self._loaded = None  # let the old model go before the new one takes its place
            began = time.perf_counter()
            self._loaded = (prepared.identity, prepared.load())
            self.seconds["loading"] += time.perf_counter() - began
        return self._loaded[1]

    def scores(
        self,
        bound: LoadedSuite,
        answers: Sequence[Answer],
        *,
        judge_all: bool,
        against: Sequence[Answer] | None = None,
    ) -> dict[str, tuple[Score, ...]]:
        """Every score of the suite over the answers, by name; judges only where all rows are to be judged.

        Judges that set them ``against`` the baseline's answers give none where there are no such answers, as
        for the baseline itself.
        """
        began = time.perf_counter()
        found: dict[str, tuple[Score, ...]] = {}
        for score in bound.scores:
            if not isinstance(score, Judge):
                found[score.name] = score_all(score, bound.scored_rows, answers)
            elif needs_baseline(score) and against is None:
                continue
            elif judge_all:
                others = against if needs_baseline(score) else None
                found[score.name] = judged_rows(
                    score, self.judge(score), bound.scored_rows, answers, self.oracle, others
                )
            else:
                found[score.name] = (NOT_JUDGED,) * len(answers)
        self.seconds["scoring"] += time.perf_counter() - began
        return found

    def admission(self, judge: Judge) -> Admission | None:
        """Whether the judge was admitted; None where nothing has asked it in this run, or it broke."""
        calibrated = self._judges.get(_judge_key(judge))
        return None if calibrated is None else calibrated.admission

    def judge(self, judge: Judge) -> TriedJudge:
        """The judge, calibrated and tested for admission, once a run."""
        key = _judge_key(judge)
        if key not in self._judges:
            tried = tried_out(judge, self.oracle)
            if tried.admission is not None and not tried.admission.admitted:
                why = "; ".join(tried.admission.reasons)
                self._progress.say(
                    printable(f"the judge {judge.name} is not admitted, and its gates decide nothing: {why}")
                )
            self._judges[key] = self._watched(judge, tried)
        return self._judges[key]


def _cut_too_early(answer: Answer, decoding: Decoding, most_tokens: int) -> bool:
    """Whether a model that thinks unasked was cut off at a lower limit than today's: it is asked again.

    The key does not tell, for answers that came to their end are the same under any higher limit.
    """
    if answer.finish != "length" or decoding.thinking is not None or most_tokens <= decoding.max_new_tokens:
        return False
    return 0 < (answer.completion_tokens or 0) < NEAR_THE_LIMIT * most_tokens


def _judge_key(judge: Judge) -> str:
    """Not equality, which leaves the labels out: two files may have one name."""
    return fingerprint({"name": judge.name, "spec": judge.spec()})


def content_key(messages: Sequence[Message], repeat: int = 0, beside: Json = None) -> str:
    """A key for a question: after a change to one row only that row is asked anew, and equal questions once.

    Each ``repeat`` of a question has a key of its own, and so has what is sent ``beside`` the turns.
    """
    key: dict[str, Json] = {"turns": [_turn(message) for message in messages], "repeat": repeat}
    return fingerprint(key if beside is None else {**key, "beside": beside})


def _with_tools(prompt: Prompt, sent: Json) -> Json:
    """What a key says beside a question's turns, with the tools that it offers."""
    return sent if prompt.tools is None else [sent, prompt.tools.text, prompt.tools.parallel]


def _turn(message: Message) -> list[Json]:
    """A turn, without the fields that it leaves at their defaults: keys of paid answers must never change."""
    turn: list[Json] = [message.role, message.name, message.content]
    if message.tool_calls or message.tool_call_id is not None or message.weight != 1:
        turn += [message.tool_calls, message.tool_call_id, message.weight]
    return turn


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

    All prompts, not each one's own: which rows share a batch shapes greedy answers in bfloat16. A prompt
    counts by what the model reads of it; by its turns where that is not known.
    """
    ids = [prompt.row_id for prompt in prompts]
    if len(set(ids)) != len(ids):
        raise ModelError("two rows to answer have one id.")  # read_rows refuses such files
    turns = [[_turn(message) for message in prompt.messages] for prompt in prompts]
    beside = map(_with_tools, prompts, turns)
    read = list(beside) if prepared.read is None else prepared.read(prompts, decoding)
    bound = {} if decoding.schema is None else {"bound": [RULES, installed_version("llguidance")]}
    return fingerprint(
        {
            **bound,
            "model": prepared.identity,
            "decoding": decoding.settings(),
            "generation": GENERATION,
            "numerics": prepared.numeric_config,
            "versions": {name: installed_version(name) for name in ("torch", "transformers")},
            "prompts": list(zip(ids, read, strict=True)),
        }
    )


# ----------------------------------------------------------------- storing answers as they come
class KeepsAnswers(Protocol):
    """A store, or a file."""

    def keep_answers(self, context: str, answers: Iterable[Answer]) -> None:
        """Store answers; one that was stored before may come once more."""


def keeping(
    store: KeepsAnswers,
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


def _store(store: KeepsAnswers, context: str, answers: list[Answer]) -> None:
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
    text, failure, thought, served_by = (
        None if given is None else given.encode("utf-8", "replace").decode("utf-8")
        for given in (answer.text, answer.failure, answer.thought, answer.served_by)
    )
    return replace(answer, text=text or "", failure=failure, thought=thought, served_by=served_by or "")
