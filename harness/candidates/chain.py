"""Several prompts to one model, each given what the one before said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from harness.candidates.base import Asker, Call, Prepared, Variant, asked_with_prompt
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted, prompt_rows
from harness.data.fingerprints import bytes_digest, fingerprint
from harness.errors import UsageError
from harness.fields import Span
from harness.models.protocol import Prompt, Tools
from harness.models.remote import RemoteModel
from harness.records import Answer, Message, Part, Row

MOST_KEPT = 2_000  # characters of what a step said, in the record
_TAG = re.compile(r"<(?=\s*/?\s*(?:question|earlier_answer)\b)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Chain(Prompted):
    """A model that is asked several times for one answer: each prompt is given what the one before said.

    Each step's file stands where the suite's prompt would, with the same facts of the row. The first step is
    asked the question; the others are given it between tags, and after it the answer of the step before. A
    suite without a prompt is another task, and is asked plainly.

    Args:
        steps: prompt files, in their order.
    """

    kind: ClassVar[str] = "chain"
    cost_rank: ClassVar[int] = 1

    steps: Annotated[tuple[str, ...], Span(1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None:
            raise UsageError(f"Chain(prompt={self.prompt!r}): its prompts are its steps; leave prompt= out.")

    def own_prompts(self, lab: Lab) -> tuple[Row, ...]:
        """See ``Prompted``."""
        return prompt_rows(lab, self.steps)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        inner = super().prepare(lab, variant)
        texts = [lab.prompt(step) for step in self.steps]
        asked_as = self.model.model if isinstance(self.model, RemoteModel) else ""

        def compose(rows: Sequence[Row], asker: Asker) -> Mapping[str, Answer]:
            said: dict[str, list[tuple[str, Answer]]] = {row.id: [] for row in rows}
            for number, (name, text) in enumerate(zip(self.steps, texts, strict=True), 1):
                is_last, prompts = number == len(texts), []
                for row in rows:
                    before, prompt = said[row.id], asker.prompt(row, text)
                    tools = Tools.of(row) if is_last else None
                    if prompt is None:  # another task: one plain question
                        if is_last:
                            prompts.append(Prompt(row.id, row.prompt, tools=Tools.of(row)))
                    elif not before:
                        prompts.append(Prompt(row.id, asked_with_prompt(row, prompt), tools=tools))
                    elif before[-1][1].failure is None:
                        turns = asked_with_prompt(row, prompt)
                        prompts.append(Prompt(row.id, _handed_on(turns, before[-1][1].text), tools=tools))
                call = Call(self, inner, prompts, is_last, asked_as, follows=number > 1)
                for row_id, answer in asker.ask(call).items():
                    said[row_id].append((f"step {number} of {len(texts)}, {name}", answer))
            is_task = {row.id: asker.prompt(row) is not None for row in rows}
            return {row: joined(each) if is_task[row] else each[0][1] for row, each in said.items()}

        identity = fingerprint({"chain": inner.identity, "steps": texts})
        digests = [bytes_digest(text.encode())[:12] for text in texts]
        each = [f"{step} (SHA-256 {digest})" for step, digest in zip(self.steps, digests, strict=True)]
        asked_with = f"{len(each)} prompts in turn: {', '.join(each)}"
        return replace(inner, identity=identity, compose=compose, asked_with=asked_with)


def _handed_on(turns: tuple[Message, ...], earlier: str) -> tuple[Message, ...]:
    """The turns, with the earlier answer after the question, or after what a tool gave back.

    Whoever wrote either may have written our tags into it: such a tag is not one.
    """
    last = turns[-1]
    if last.role != "user":
        said = _TAG.sub("&lt;", earlier.strip())
        return (*turns, Message("user", f"<earlier_answer>\n{said}\n</earlier_answer>"))
    question, said = (_TAG.sub("&lt;", text.strip()) for text in (last.content, earlier))
    told = f"<question>\n{question}\n</question>\n\n<earlier_answer>\n{said}\n</earlier_answer>"
    return (*turns[:-1], replace(last, content=told))


def joined(said: Sequence[tuple[str, Answer]], *, is_chain: bool = True) -> Answer:
    """The last answer, with the tokens and the time of all. A call that failed is named in its failure.

    In a chain, an answer that rests on one that was cut off counts as cut off itself.
    """
    name, last = said[-1]
    answers = [answer for _, answer in said]
    parts = [part for one, answer in said for part in _parts(one, answer, is_last=answer is last)]
    is_cut = is_chain and last.finish == "stop" and any(answer.finish == "length" for answer in answers)
    latencies = [answer.latency_ms for answer in answers if answer.latency_ms is not None]
    return replace(
        last,
        prompt_tokens=_sum(answer.prompt_tokens for answer in answers),
        completion_tokens=_sum(answer.completion_tokens for answer in answers),
        cached_prompt_tokens=sum(answer.cached_prompt_tokens for answer in answers),
        latency_ms=sum(latencies) if len(latencies) == len(answers) else None,
        attempts=sum(answer.attempts for answer in answers),
        batched=any(answer.batched for answer in answers),
        finish="length" if is_cut else last.finish,
        failure=None if last.failure is None else f"{name}: {last.failure}",
        parts=tuple(parts),
    )


def _parts(name: str, answer: Answer, *, is_last: bool) -> list[Part]:
    """The calls of one answer, which may itself have been made of several."""
    if answer.parts:
        return [replace(part, name=f"{name}: {part.name}") for part in answer.parts]
    text = "" if is_last else answer.text[:MOST_KEPT]
    return [Part(name, text, answer.prompt_tokens, answer.completion_tokens)]


def _sum(counts: Iterable[int | None]) -> int | None:
    """Their sum; None where one of them is not known."""
    known = list(counts)
    return None if None in known else sum(count or 0 for count in known)
