"""Whether kept answers are still those of the model that would be asked today.

A local model is known by its content. What answers behind an address is known by a name, which may come to
mean another model: a server is redeployed, an alias is moved. Unless ``version=`` or the name itself pins the
model, a few kept answers are asked for again before any is used.

The answers are compared as they are scored, without the thoughts before them, by this rule. A service that
names another model as answering has changed. Else an answer speaks for a change if it comes otherwise than it
was kept, and so again when it is asked once more: a service that varies by itself seldom does that. One short
answer that speaks is enough. Long ones vary with a server's load (another batch rounds otherwise), and so do
short ones after a long thought: more of them must speak than came the same. The ``system_fingerprint`` is not
looked at: with one and the same model it may change by the day. Where answers are drawn at random, only the
name that the service gives can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from harness.candidates.base import MutableModel
from harness.errors import BudgetReached, ModelError
from harness.models.protocol import Decoding, Model, Prompt
from harness.records import Answer, Provenance
from harness.scoring.envelope import read_answer
from harness.store.answers import AnswerStore, Origin

PROBED = 3
LONG = 200  # characters, of thought and answer together
TOKEN = 4  # characters of a token, about
DAY = len("2026-11-28")

Sameness: TypeAlias = Literal["same", "changed", "unclear"]
ByKey: TypeAlias = Mapping[str, Answer]


@dataclass(frozen=True)
class Questions:
    """Prompts named by the keys that their answers are kept under, and what is kept of them.

    ``read`` gives the answer in what came, as it is scored.
    """

    prompts: Sequence[Prompt]
    decoding: Decoding
    context: str
    kept: ByKey
    read: Callable[[Answer], Answer] = field(default=read_answer, kw_only=True)


class Freshness:
    """Which kept answers a run may use.

    Args:
        store: where they are.
        asks_again: none that an earlier run gave (``--fresh``).
        probes: whether a service may be asked whether it has changed; a rehearsal asks nobody.
        say: tells people.

    ``notes`` has a sentence for each model that was looked at.
    """

    def __init__(
        self,
        store: AnswerStore,
        *,
        asks_again: bool = False,
        probes: bool = True,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._store, self._say = store, say
        self.asks_again, self.probes = asks_again, probes
        self._renewed: set[str] = set()  # contexts whose earlier answers count no more
        self._changed: set[str] = set()  # identities of models that turned out to be others
        self._verified: dict[str, str] = {}  # by identity: the date since which the model is the same
        self.notes: list[str] = []

    def kept(self, context: str) -> dict[str, Answer]:
        """The usable answers of a context, by key. Writes nothing."""
        found = self._store.answers(context)
        if not self.asks_again or context in self._renewed:
            return found
        own = self._store.origins(context)
        return {key: answer for key, answer in found.items() if own[key].run == self._store.run}

    def to_probe(self, mutable: MutableModel | None, identity: str, asked: Questions) -> list[Prompt]:
        """The questions whose kept answers are to be asked for again: of the oldest, those of lowest keys.

        If the model has been the same since the oldest was given, it has been for the others.
        """
        if mutable is None or not self.probes or identity in self._changed or not asked.kept:
            return []
        origins = self._earlier(asked)
        dates: dict[str | None, str] = {}
        for origin in origins.values():
            dates[origin.run] = min(origin.given or "", dates.get(origin.run, origin.given or ""))
        if not origins or min(dates.values()) >= self._verified.get(identity, "~"):
            return []
        order = sorted(origins, key=lambda key: (dates[origins[key].run], key))
        if asked.decoding.temperature > 0 or mutable.model.is_drawn:
            order = [key for key in order if asked.kept[key].served_by][:1]
        by_key = {prompt.row_id: prompt for prompt in asked.prompts}
        return [by_key[key] for key in order[:PROBED]]

    def settle(self, mutable: MutableModel | None, identity: str, label: str, asked: Questions) -> bool:
        """Let kept answers count no more where they are to be asked for again, or are another model's.

        Returns whether ``kept`` is to be read anew.
        """
        if asked.context in self._renewed:
            return False
        prompts = self.to_probe(mutable, identity, asked)
        if self.asks_again or identity in self._changed:
            self._renew(asked.context)
            return True
        if mutable is None or not prompts:
            return False
        verdict, why, fresh = _probed(mutable, prompts, asked)
        given = [origin.given for origin in self._earlier(asked).values()]
        since = "an unknown day" if None in given else min(day for day in given if day)[:DAY]
        told = f"{label}: {len(prompts)} of the answers kept since {since} were asked for again: {why}"
        if verdict == "changed":
            self._changed.add(identity)
            self._renew(asked.context)
            self._store.keep_answers(asked.context, fresh)
            told += " Another model answers under this name now, and everything is asked afresh."
        else:
            self._verified[identity] = min(day or "" for day in given)
        if verdict != "same":
            self._say(told)
        self.notes.append(told)
        return verdict == "changed"

    def provenance(self, rows: Collection[Sequence[tuple[str, str]]]) -> Provenance:
        """When the answers to rows were given, each by the contexts and keys of the answers that made it.

        A row counts as kept if all of these are, and were before this run; else as asked now.
        """
        origins = {context: self._store.origins(context) for context in {c for row in rows for c, _ in row}}
        found: list[list[Origin]] = []
        for row in rows:
            each = [origins[context][key] for context, key in row if key in origins[context]]
            if row and len(each) == len(row) and all(origin.run != self._store.run for origin in each):
                found.append(each)
        every = [origin for each in found for origin in each]
        dates = sorted(origin.given for origin in every if origin.given)
        return Provenance(
            asked=len(rows) - len(found),
            kept=len(found),
            undated=sum(not all(origin.given for origin in each) for each in found),
            oldest=dates[0] if dates else None,
            newest=dates[-1] if dates else None,
            runs=tuple(sorted({run_stamp(origin.run) for origin in every if origin.run})),
        )

    def _renew(self, context: str) -> None:
        self._store.outdate(context)
        self._renewed.add(context)

    def _earlier(self, asked: Questions) -> dict[str, Origin]:
        """The origins of what earlier runs have kept of the questions."""
        origins = self._store.origins(asked.context)
        return {key: origins[key] for key in asked.kept if origins[key].run != self._store.run}


def run_stamp(began: str) -> str:
    """``20261128-093000``, with which the id of a run that began then begins."""
    return began[:19].replace("-", "").replace(":", "").replace("T", "-")


def _probed(
    mutable: MutableModel, prompts: Sequence[Prompt], asked: Questions
) -> tuple[Sameness, str, list[Answer]]:
    """The verdict, why, and the new answers."""
    kept = {prompt.row_id: asked.read(asked.kept[prompt.row_id]) for prompt in prompts}
    try:
        model = mutable.open()
        came = dict(_asked(model, prompts, asked.decoding))
        first = {key: asked.read(answer) for key, answer in came.items()}
        differing = [
            p for p in prompts if p.row_id in first and not _is_same(first[p.row_id], kept[p.row_id])
        ]
        is_drawn = asked.decoding.temperature > 0 or mutable.model.is_drawn
        again = {} if is_drawn else dict(_asked(model, differing, asked.decoding))
        second = {key: asked.read(answer) for key, answer in again.items()}
    except BudgetReached:
        return "unclear", "the cap on spending leaves nothing for that. They are used as they are.", []
    except ModelError as error:
        return "unclear", f"{str(error).splitlines()[0]} They are used as they are.", []
    named = {answer.served_by for answer in asked.kept.values() if answer.served_by}
    verdict, why = compared(kept, first, second, named)
    if is_drawn and verdict != "changed":
        verdict, why = "same", "the service names the same model."
    return verdict, why, [] if is_drawn else list(came.values())


def _asked(model: Model, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[tuple[str, Answer]]:
    """Answers that came, by key."""
    for answer in model.answer(prompts, decoding, frozenset()) if prompts else ():
        if answer.failure is None:
            yield answer.row_id, answer


def compared(kept: ByKey, first: ByKey, second: ByKey, named: Collection[str] = ()) -> tuple[Sameness, str]:
    """Whether the answers of ``first`` are of the model that gave ``kept``; see this module for the rule.

    All have been read.

    Args:
        kept: by key.
        first: asked for again; those that failed are missing.
        second: once more, of those that came otherwise.
        named: every model that the service has named as giving a kept answer; a router may name several.
    """
    new = sorted({answer.served_by for answer in first.values() if answer.served_by}.difference(named))
    if named and new:
        before = ", ".join(sorted(named))
        return "changed", f"the service named {before} as answering, and names {', '.join(new)}."
    same = [key for key, answer in first.items() if _is_same(answer, kept[key])]
    speaking = [key for key in second if key not in same and _is_same(second[key], first[key])]
    if any(_length(kept[key]) < LONG for key in speaking) or len(speaking) > len(same):
        return "changed", f"{len(speaking)} came otherwise, twice alike."
    if not first:
        return "unclear", "none came. They are used as they are."
    if len(same) == len(first):
        return "same", "all came the same."
    return "unclear", (
        f"{len(first) - len(same)} came otherwise, as may be with one and the same model. They are used as"
        " they are; RemoteModel(version=…) settles it."
    )


def _is_same(answer: Answer, other: Answer) -> bool:
    return answer.text.strip() == other.text.strip()


def _length(answer: Answer) -> int:
    """The characters that a model wrote, as far as they are known."""
    return len(answer.text) + max(len(answer.thought or ""), TOKEN * (answer.thought_tokens or 0))
