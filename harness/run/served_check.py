"""A server's answers held against the library's, before any of them counts.

A fine-tune that is served with another template, another end of turn or other weights answers fluently, and
wrongly. So some rows of each suite are answered by both, by this rule:

- each prompt is the library's, as far as the server tells: its tokens, its text, or the number of its tokens;
- no answer holds a token that ends turns, and answers end where the library's do;
- no check moves by more than ``NEAR`` on more rows than rounding does (``export_check``);
- where answers are greedy, they begin alike. One that parts at a token which the library finds nearly as
  likely as its own (``TIE``) is rounding. Of all rows ``VARIES`` may do so beyond that, and more than this
  gives with a chance of ``LEVEL`` are refused.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import exp
from statistics import mean
from typing import Protocol, cast

from harness.atomic import write_atomically
from harness.candidates.base import Call, Prepared
from harness.candidates.served import ByServer
from harness.errors import ModelError
from harness.models.chat import TurnsError, rendered
from harness.models.chat_format import Chat
from harness.models.progress import Progress
from harness.models.protocol import Decoding, Prompt
from harness.models.served import ServedModel
from harness.records import Answer
from harness.run.export_check import LEVEL, NEAR, disagreement
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.judges import Judge
from harness.scoring.measures import LatencyMs

OPENING, VARIES = 32, 0.1  # characters that are compared, and the share of rows where they may differ
TIE = 0.5  # nats between two tokens: bfloat16 has steps of an eighth where most logits are
SHOWN = 60  # characters of a prompt or an answer in a message


def require_alike(
    label: str,
    call: Call,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    suite: LoadedSuite,
    context: str,
    read: Callable[[Answer], Answer],
    open_server: Callable[[], ServedModel],
    progress: Progress,
) -> list[Answer]:
    """See that a suite's answers are the library's; once for each key that answers are kept under.

    Args:
        label: the variant's.
        call: its prepared model, and the prompts by the ids of rows.
        prompts: the same under the keys of answers.
        decoding: as asked.
        suite: whose checks count.
        context: that the answers are kept under.
        read: gives the answer in what came.
        open_server: starts the server, if it does not run.
        progress: shows it.

    Returns:
        Answers of the server, which need not be asked again.

    Raises:
        ModelError: they are not; names the first difference.
    """
    served = call.prepared.served
    assert served is not None
    record = served.record(call.prepared.identity, context)
    if record.is_file() and call.prepared.mutable is None:
        return []
    by_key = {prompt.row_id: prompt for prompt in prompts}
    chosen = random.Random(0).sample(sorted(by_key), min(served.service.server.compare_rows, len(by_key)))
    sample = [by_key[key] for key in chosen]
    served.service.make_room()
    with progress.task(f"{label}: the library answers {suite.name} to compare", unit="row") as bar:
        here = _answers(served.library, sample, decoding, bar.at)
    model, chat = open_server(), served.service.chat()
    told, prompt_problems = compare_prompts(sample, chat, model)
    came: dict[str, Answer] = {}
    if not prompt_problems:
        with progress.task(f"{label}: {served.service.server.told} answers {suite.name}", unit="row") as bar:
            for answer in model.answer(sample, decoding, frozenset()):
                came[answer.row_id] = answer
                bar.at(len(came), len(sample))
    problems = list(prompt_problems) or list(
        _differences(call, sample, here, came, chat, decoding, suite, read, served)
    )
    who = served.service.server.told
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems[:4])
        raise ModelError(
            f"{label}: {who} does not answer {suite.name} as the library does ({len(sample)} rows)."
            f"{listed}\n"
            f"  hint: it is to serve {served.service.folder()}, with its tokenizer, template and"
            " generation_config; docs/serving.md says what else may differ."
        )
    same = sum(read(came[key]).text == read(here[key]).text for key in chosen)
    say = (
        f"{label}, {suite.name}: of {len(sample)} rows that {who} and the library were asked, {same} answers"
        f" are the same; {told}."
    )
    write_atomically(record, json.dumps({"identity": call.prepared.identity, "told": say}))
    return [answer for answer in came.values() if answer.failure is None]


def _answers(
    library: Prepared, sample: Sequence[Prompt], decoding: Decoding, show: Callable[[float, float], None]
) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for answer in library.load().answer(sample, decoding, frozenset()):
        found[answer.row_id] = answer
        show(len(found), len(sample))
    return found


# ----------------------------------------------------------------- prompts
def compare_prompts(sample: Sequence[Prompt], chat: Chat, model: ServedModel) -> tuple[str, list[str]]:
    """How prompts were compared, in words, and the first that differs."""
    texts = [chat.prompt(prompt.messages, prompt.tools) for prompt in sample]
    how = ""
    for prompt, text, ids in zip(sample, texts, chat.ids(texts), strict=True):
        told = model.told_prompt(prompt)
        if told is None:
            return "it does not tell what its template makes of prompts", []
        if isinstance(told, int):
            how = "their prompts have as many tokens"
            if told != len(ids):
                return how, [_other_count(prompt, text, len(ids), told, chat)]
            continue
        how = "their prompts are equal to the byte" if isinstance(told, str) else "their prompts are equal"
        if told != (text if isinstance(told, str) else ids):
            other = told if isinstance(told, str) else str(chat.tokenizer.decode(told))
            return how, [_other_text(text, other)]
    return how, []


def _other_text(ours: str, theirs: str) -> str:
    """Both prompts from the first byte that differs."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((k for k, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    if ours == theirs:
        return "its prompts are the same text, and split into other tokens: another tokenizer is served"
    byte, begin = len(ours[:at].encode("utf-8", "surrogatepass")), max(0, at - SHOWN // 3)
    return (
        f"its prompts differ from byte {byte} on:\n"
        f"    here    …{ours[begin : at + SHOWN]!r}\n    server  …{theirs[begin : at + SHOWN]!r}"
    )


def _other_count(prompt: Prompt, text: str, ours: int, theirs: int, chat: Chat) -> str:
    """What may be missing, where the server tells the number of tokens alone."""
    others = [m for m in prompt.messages if m.role != "system"]
    because = ""
    for what, turns, reply_follows in (
        ("no generation prompt", prompt.messages, False),
        ("no system turn", others, True),
        ("neither a system turn nor a generation prompt", others, False),
    ):
        with suppress(TurnsError):
            other = rendered(chat.tokenizer, turns, reply_follows=reply_follows)
            if len(chat.ids([other])[0]) == theirs:
                because = because or f", as many as with {what}"
    if not because and theirs == ours + 1 and chat.tokenizer.bos_token:
        because = f", as with one more {chat.tokenizer.bos_token}"
    shown = text if len(text) <= 2 * SHOWN else f"{text[:SHOWN]}…{text[-SHOWN:]}"
    return f"its prompt has {theirs} tokens{because}, and {ours} here:\n    here    {shown!r}"


# ----------------------------------------------------------------- answers
def _differences(
    call: Call,
    sample: Sequence[Prompt],
    here: Mapping[str, Answer],
    came: Mapping[str, Answer],
    chat: Chat,
    decoding: Decoding,
    suite: LoadedSuite,
    read: Callable[[Answer], Answer],
    served: ByServer,
) -> Iterator[str]:
    failed = [answer.failure for answer in came.values() if answer.failure]
    if failed:
        yield f"{len(failed)} of {len(sample)} answers failed: {failed[0]}"
        return
    pairs = [(here[prompt.row_id], came[prompt.row_id]) for prompt in sample]
    yield from _ends(pairs, chat)
    if decoding.temperature == 0:
        yield from _openings(sample, pairs, chat, served)
    if not call.is_last or call.is_aside:
        return  # the suite's checks are for answers to its rows
    turns = {prompt.messages: prompt.row_id for prompt in call.prompts}
    rows = {row.id: row for row in suite.scored_rows}
    asked = [rows[id] for prompt in sample if (id := turns[prompt.messages]) in rows]
    if len(asked) < len(sample):
        return
    for score in suite.scores:
        if isinstance(score, Judge | LatencyMs):
            continue
        old, new = (
            [
                one.value
                for one in score_all(
                    score,
                    asked,
                    [
                        replace(read(pair[side]), row_id=row.id)
                        for pair, row in zip(pairs, asked, strict=True)
                    ],
                )
            ]
            for side in (0, 1)
        )
        near = sum(
            a == b or (a is not None and b is not None and abs(a - b) <= NEAR)
            for a, b in zip(old, new, strict=True)
        )
        then, now = [a or 0.0 for a in old], [b or 0.0 for b in new]
        if disagreement(near, then, now, decoding.temperature):
            yield (
                f"{score.name} agrees on {near} of {len(pairs)} rows, mean {mean(then):.3f} here and"
                f" {mean(now):.3f} on the server"
            )


class Gives(Protocol):
    """A local model, which knows how likely each token of a text is."""

    def token_logprobs(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Natural log-probability of each token of each continuation after its context."""


def _openings(
    sample: Sequence[Prompt], pairs: Sequence[tuple[Answer, Answer]], chat: Chat, served: ByServer
) -> Iterator[str]:
    """Whether answers begin alike, but for near ties."""
    asked = [
        (prompt, a, b)
        for prompt, (a, b) in zip(sample, pairs, strict=True)
        if a.text.strip()[:OPENING] != b.text.strip()[:OPENING]
    ]
    if not asked or not _is_more(len(asked), len(pairs), VARIES):
        return
    served.service.make_room()
    library = cast("Gives", served.library.load())
    end = str(chat.tokenizer.convert_ids_to_tokens(chat.ends[0]))
    told: list[tuple[float, Answer, Answer]] = []
    for prompt, a, b in asked:
        context = chat.prompt(prompt.messages, prompt.tools)
        ours, theirs = (one.text + ("" if one.finish == "length" else end) for one in (a, b))
        likely = library.token_logprobs([(context, ours), (context, theirs)])
        ids = zip(*chat.ids([ours, theirs]), strict=False)
        at = next((k for k, (first, second) in enumerate(ids) if first != second), -1)
        told.append((likely[0][at] - likely[1][at], a, b))
    told = sorted((one for one in told if one[0] > TIE), key=lambda one: -one[0])
    if told and _is_more(len(told), len(pairs), VARIES):
        gap, a, b = told[0]
        yield (
            f"{len(told)} of {len(pairs)} answers begin otherwise, as those of other weights do; the library"
            f" finds the first token that differs {exp(min(gap, 99)):,.0f} times less likely than its own:\n"
            f"    here    {a.text[:SHOWN]!r}\n    server  {b.text[:SHOWN]!r}"
        )


def _ends(pairs: Sequence[tuple[Answer, Answer]], chat: Chat) -> Iterator[str]:
    """Whether answers end with their turns."""
    marks = [str(chat.tokenizer.convert_ids_to_tokens(token)) for token in chat.ends]
    stray = [(mark, b) for a, b in pairs for mark in marks if mark in b.text and mark not in a.text]
    if stray:
        mark, answer = stray[0]
        at = answer.text.index(mark)
        yield (
            f"{len(stray)} of {len(pairs)} answers hold {mark}, which ends a turn: …"
            f"{answer.text[max(0, at - SHOWN // 2) : at + SHOWN // 2]!r}"
        )
    runs_on = [(a, b) for a, b in pairs if a.finish != "length" and b.finish == "length"]
    if runs_on and _is_more(len(runs_on), len(pairs), VARIES):
        a, b = runs_on[0]
        yield (
            f"{len(runs_on)} of {len(pairs)} answers run on to the limit where the library's end:\n"
            f"    here    {a.text[-SHOWN:]!r}\n    server  {b.text[len(a.text) - 10 :][:SHOWN]!r}"
        )


def _is_more(n: int, of: int, share: float) -> bool:
    """Whether so many are more than chance gives where a share of all are."""
    from scipy.stats import binom  # takes a second to import

    return float(binom.sf(n - 1, of, share)) < LEVEL
