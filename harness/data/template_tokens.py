"""Texts that already hold a chat template: its tokens, its headings, a transcript of turns.

Rows that were exported as prompts are put into a template a second time when they are trained on or asked.
A row that talks about such tokens has them in a sentence; a template has them at the ends of a text, in
pairs, or before the name of a role. In code (backticks) they are not looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.data.findings import Finding
from harness.records import Row

TRANSCRIPT_SHARE = 0.05  # of the rows: fewer texts that begin with "User:" may mean a user
EXPORTED_SHARE = 0.2  # of the rows: so many with a template's tokens are an exported file

_ROLE = r"(?:system|user|assistant|human|ai|bot|model|tool|developer|ipython|observation)"
_TOKEN = re.compile(
    r"<\|[A-Za-z][^\s<>|]{0,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|\[gMASK\]|<sop>|<extra_id_\d+>"
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`|\"[^\"\n]{1,60}\"|'[^'\n]{1,60}'|“[^”\n]{1,60}”", re.DOTALL)
_STRUCK = re.compile(r"<s>[^<>]*</s>")  # HTML's
_HEADING = re.compile(
    r"^[ \t]*#{2,4} ?(Instruction|Response|Input|Output|Human|Assistant|User|System)s? ?:",
    re.MULTILINE | re.IGNORECASE,
)
_TURN = re.compile(r"^[ \t]*(Human|User|Assistant|AI|System|Bot) ?:", re.MULTILINE | re.IGNORECASE)
_MODELS = frozenset({"assistant", "ai", "bot"})
_THOUGHT = re.compile(r"\s*<(think|thinking|thought|reasoning)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a text holds of a template."""

    shown: str
    is_token: bool = False  # of the template itself, and no heading, thought or transcript
    is_lone: bool = False  # one speaker's name at the beginning, which may mean something else


def leftover(text: str, *, is_reply: bool) -> Leftover | None:
    """The first trace of a template in ``text``; None where there is none."""
    if is_reply and (thought := _THOUGHT.match(text)):
        return Leftover(thought[0].strip())
    if "<" in text or "[" in text:
        plain = _STRUCK.sub("", _CODE.sub("", text)).strip()
        found = list(_TOKEN.finditer(plain))
        if found and _is_structure(plain, found):
            return Leftover(found[0][0], is_token=True)
    if ":" not in text:
        return None
    headings = list(_HEADING.finditer(text))
    names = {heading[1].casefold() for heading in headings}
    if headings and (len(names) > 1 or not text[: headings[0].start()].strip()):
        return Leftover(headings[0][0].strip())
    turns = list(_TURN.finditer(text))
    speakers = [turn[1].casefold() for turn in turns]
    if len(set(speakers)) > 1 and _MODELS.intersection(speakers):
        return Leftover(turns[0][0].strip())
    if turns and not text[turns[-1].end() :].strip() and speakers[-1] in _MODELS:
        return Leftover(turns[-1][0].strip())
    if turns and not text[: turns[0].start()].strip():
        return Leftover(turns[0][0].strip(), is_lone=True)
    return None


def _is_structure(text: str, found: Sequence[re.Match[str]]) -> bool:
    """Whether tokens stand as a template has them: at an end, two of a kind's pair, or before a role."""
    if found[0].start() == 0 or found[-1].end() == len(text):
        return True
    if any(
        re.match(rf"\s*{_ROLE}\s*\n", text[token.end() : token.end() + 30], re.IGNORECASE) for token in found
    ):
        return True
    return len(found) > 1 and any("\n" in text[a.end() : b.start()] for a, b in pairwise(found))


def leftovers(rows: Sequence[Row]) -> list[tuple[int, str, Leftover]]:
    """By place: the part of the row and what it holds. Lone names count where many rows begin with one."""
    found: list[tuple[int, str, Leftover]] = []
    for at, row in enumerate(rows):
        for message in row.messages:
            trace = leftover(message.content, is_reply=message.role == "assistant")
            if trace is not None:
                found.append((at, message.role, trace))
                break
    lone = sum(trace.is_lone for _, _, trace in found)
    if lone < max(3, TRANSCRIPT_SHARE * len(rows)):
        found = [one for one in found if not one[2].is_lone]
    return found


def is_exported(rows: Sequence[Row], found: Sequence[tuple[int, str, Leftover]]) -> bool:
    """Whether so many rows hold tokens that the file is one of finished prompts."""
    return sum(trace.is_token for _, _, trace in found) >= max(3, EXPORTED_SHARE * len(rows))


def template_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """``template-leftover``: one finding for each row that holds a template's tokens, headings or turns."""
    for at, role, trace in leftovers(rows):
        whose = {"assistant": "the reply", "user": "the user's message"}.get(role, f"the {role} message")
        problem = f"{whose} already holds a chat template's {trace.shown!r}"
        hint = "give the plain texts as messages: the template is applied when they are trained on and asked"
        yield Finding("template-leftover", lines[at], problem, hint)
