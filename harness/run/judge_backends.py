"""What the judges of a run may ask: likelihoods of the built-in model, and hosted models that grade.

A hosted grader is asked once a distinct prompt, at temperature 0. What it says is kept, so that a second run
sends nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property

from harness.data.fingerprints import fingerprint
from harness.errors import BudgetReached, UsageError
from harness.models.pricing import Money
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.models.remote import RemoteModel
from harness.models.remote_answers import OpenRemoteModel
from harness.records import Answer, Json, Message
from harness.run.answer_writer import content_key, keeping
from harness.scoring.judges import Failure, GradingModel, Scorer
from harness.store.answers import AnswerStore

PURPOSE = "judging"


class JudgeBackends:
    """See ``scoring.judges.Oracle``.

    Args:
        reader: whose likelihoods are read.
        store: where graders' judgments are kept.
        money: what they are paid from.
        progress: who watches.
    """

    def __init__(self, reader: Scorer, store: AnswerStore, money: Money, progress: Progress) -> None:
        self._reader, self._store, self._money, self._progress = reader, store, money, progress
        self._graders: dict[tuple[RemoteModel, str, int], HostedGrader] = {}

    def logprob(self, prompts: Sequence[tuple[str, str]]) -> Sequence[float]:
        """See ``scoring.judges.Scorer``."""
        return self._reader.logprob(prompts)

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
            opened = model.open(self._money.on(model.model, purpose=PURPOSE), self._progress, schema)
            self._graders[place] = HostedGrader(opened, max_tokens, self._store, self._progress)
        return self._graders[place]


@dataclass
class HostedGrader:
    """A hosted model that is asked for judgments; see ``scoring.judges.Grader``.

    Args:
        model: with the schema that its judgments are bound to.
        max_tokens: longest judgment.
        store: where judgments are kept.
        progress: who watches.
    """

    model: OpenRemoteModel
    max_tokens: int
    store: AnswerStore
    progress: Progress

    @cached_property
    def context(self) -> str:
        """What judgments are kept under, but for their prompts.

        Not ``max_tokens``: a judgment that came to its end is the same under any higher limit.
        """
        identity = self.model.spec.identity()
        return fingerprint({"grader": identity, "schema": self.model.schema, "temperature": 0.0, "repeat": 0})

    def ask(self, prompts: Sequence[Sequence[Message]]) -> list[str | Failure]:
        """What it says to each prompt, in their order; a call that failed is a failure, and is not kept.

        Raises:
            BudgetReached: the next judgment could pass the cap; those that came before it are kept.
            ModelError: the service refuses every call, or has stopped answering.
        """
        keys = [content_key(messages) for messages in prompts]
        own = {key: Prompt(key, tuple(messages)) for key, messages in zip(keys, prompts, strict=True)}
        failed: dict[str, Failure] = {}
        with closing(self._asked(list(own.values()))) as answers:
            for answer in answers:
                if answer.failure is None:
                    self._kept[answer.row_id] = answer.text
                else:
                    failed[answer.row_id] = Failure(answer.failure)
        return [failed[key] if key in failed else self._kept[key] for key in keys]

    @cached_property
    def _kept(self) -> dict[str, str]:
        """Judgments by their prompts' keys."""
        return {key: answer.text for key, answer in self.store.answers(self.context).items()}

    def _asked(self, prompts: Sequence[Prompt]) -> Generator[Answer, None, None]:
        """Judgments that are not kept, as they come. All prompts are named: they name a batch."""
        known = frozenset(prompt.row_id for prompt in prompts if prompt.row_id in self._kept)
        model, done, total = self.model, len(known), len(prompts)
        if done == total:
            return
        coming = model.answer(prompts, Decoding(max_new_tokens=self.max_tokens), known)
        with self.progress.task(f"{model.spec.model} judges", unit="judgment") as bar:
            bar.at(done, total)
            try:
                with closing(keeping(self.store, self.context, self._wholes(coming), self._late)) as judged:
                    for answer in judged:
                        done += 1
                        bar.at(done, total, model.note)
                        yield answer
            except BudgetReached as reached:
                left = f"{total - done:,} of {total:,} judgments of {model.spec.model}"
                raise reached.naming(left) from None

    def _wholes(self, answers: Iterator[Answer]) -> Generator[Answer, None, None]:
        try:
            yield from map(self._whole, answers)
        finally:
            if isinstance(answers, Generator):
                answers.close()

    def _late(self) -> list[Answer]:
        """Judgments that were on their way when the asking was left."""
        return [self._whole(answer) for answer in self.model.late()]

    def _whole(self, answer: Answer) -> Answer:
        """The answer; where it was cut off there is no judgment, and so a failure."""
        if answer.finish != "length":
            return answer
        why = f"cut off after {self.max_tokens} tokens; raise the judge's max_tokens"
        return replace(answer, text="", finish="failed", failure=why)
