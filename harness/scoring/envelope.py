"""Takes the answer out of what a model said: thoughts, channel headers and special tokens are set aside.

Only an envelope counts, which stands at the beginning or the end. The same tags inside an answer are part of
it. The forms are those of the chat templates and response templates that trl and transformers ship, and of
the reasoning parsers of vLLM and SGLang.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from harness.records import Answer, FailureKind

# --------------------------------------------------------------------------- the forms of thoughts
# <think>, <mm:think>, <seed:think>, <longcat_think>, <think:name>: nobody writes these but models that think
_THINK = r"(?:[a-z][\w.-]*[:_])?think(?:[:_][a-z][\w-]*)?"
_ATTRIBUTES = r"(?:\s+[a-z][\w-]{0,40}=[^<>]{0,200})?"  # <think duration="3s">
# words that an answer may be written in, too: they are no envelope where the references begin with them
_WORDS = r"(?:ant)?thinking|thoughts?|reasoning|scratchpad|inner_monologue"
_WRAPPERS = r"answer|response|output|solution|final"  # written around the answer after a thought

_MARKS: tuple[tuple[str, str], ...] = (  # (opening, closing) patterns of one family each
    (r"\[THINK\]", r"\[/THINK\]"),  # Mistral
    (r"◁think▷", r"◁/think▷"),  # Kimi
    (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere
    (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    (r"<\|think:start\|>", r"<\|think:end\|>"),  # Solar
    (r"<\|think\|>", r"<\|end\|>"),
    (r"\[unused16\]", r"\[unused17\]"),  # Pangu
    (r"/think[ \t]*\n", r"<\|im_end\|>\s*<\|im_start\|>assistant[^\n]*(?:\n|\Z)"),  # HyperCLOVA
)
_OPENING = re.compile(
    rf"<(?P<tag>{_THINK}|(?P<word>{_WORDS})){_ATTRIBUTES}\s*>|"
    + "|".join(f"(?P<m{k}>{opening})" for k, (opening, _) in enumerate(_MARKS)),
    re.IGNORECASE,
)
_CLOSING = tuple(re.compile(closing, re.IGNORECASE) for _, closing in _MARKS)
# a closing tag alone: the opening one ended the prompt, as DeepSeek's and Nemotron's templates have it
_LONE = re.compile(
    rf"</(?P<tag>{_THINK}|(?P<word>{_WORDS}))\s*>|"
    + "|".join(f"(?P<m{k}>{closing})" for k, (_, closing) in enumerate(_MARKS) if closing != r"<\|end\|>")
    # OpenAI's harmony, whose analysis was begun by the prompt
    + r"|(?P<final>(?:<\|(?:end|eom)\|>\s*)?<\|start\|>assistant(?:\s*to=user)?"
    r"(?:<\|channel\|>\s*final[^<]*)?(?:<\|constrain\|>[^<]*)?<\|message\|>)",
    re.IGNORECASE,
)
# IBM Granite 3.2: sentences, not tags
_GRANITE = re.compile(r"Here(?:'s|’s| is) my thought process:", re.IGNORECASE)
_GRANITE_ANSWER = re.compile(r"Here(?:'s|’s| is) my response:", re.IGNORECASE)

# harmony and its relatives: a reply is a sequence of messages, and the header of each says whom it is for
_HEADER = re.compile(
    r"\s*(?:<\|start\|>\s*(?:assistant)?)?[ \t]*(?:to=(?P<to>[\w.-]{1,200}))?[ \t]*"
    r"(?:<\|channel\|>\s*(?P<channel>[a-z]+)[^<]*)?(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
_MESSAGE_END = re.compile(r"<\|(?:end|eom|return|call|eot)\|>|(?=<\|start\|>\s*assistant)")
# the same, decoded without its special tokens
_BARE_ANALYSIS, _BARE_FINAL = re.compile(r"analysis\s*(?=\S)"), "assistantfinal"

# --------------------------------------------------------------------------- special tokens at the ends
_START_TOKEN = re.compile(
    r"(?:<\|open\|>response<\|sep\|>|<\|(?!tool)[\w:.▁-]{1,40}\|>|<｜(?!tool)[^<>｜]{1,40}｜>|<start_of_turn>|<\|turn>|<bos>|"
    r"\[/INST\]|\[gMASK\]|<sop>)(?:(?:assistant|model)(?=\s|<)[ \t]*(?:\n|<\|end_header_id\|>)?)?\s*"
)
_END_TOKEN = re.compile(
    r"<\|close\|>(?:response|message)<\|sep\|>|<\|(?!tool)[\w:.▁-]{1,40}\|>|<｜(?!tool)[^<>｜]{1,40}｜>|</s>|<eos>|<pad>|<eop>|<EOT>|"
    r"<end_of_turn>|<turn\|>|<end_of_utterance>|\[EOS\]|\[EOT\]"
)
_ALL_WRAPPERS = frozenset(_WRAPPERS.split("|"))
# byte order marks and spaces without width, which decoders and proxies leave at the beginning
_UNSEEN = "\ufeff\u200b\u2060"
_LONGEST_TOKEN = 48  # characters of an end token
_ENDED_AT_ONCE = 4  # tokens of a turn without text: its end, and what a template writes around it
_MOST_LONE = 50  # closing tags that are looked at
_QUOTES = tuple("`'\"“”‘’«»")
_SENTENCE_ENDS = ".!?…:;)]}。！？"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a model said, taken apart."""

    text: str  # the answer
    thought: str | None = None  # what was set aside before it; None: there was none
    is_complete: bool = True  # whether the thought came to its end


def opened(said: str, *, cut: bool = False, kept: frozenset[str] = frozenset()) -> Opened:
    """The answer in what a model said. Text without an envelope comes back as it is, white space included.

    Args:
        said: everything that the model wrote.
        cut: whether it was cut off at a limit.
        kept: tags that are part of answers here; see ``kept_tags``.
    """
    said = _seen(said)
    if _is_json(said):
        return Opened(said)
    body = _without_end_tokens(said)
    if (messages := _harmony(body, cut=cut)) is not None:
        return messages
    thoughts: list[str] = []
    while True:
        body = _seen(body.lstrip()) if thoughts else body
        step = _opening_step(body, kept) or _lone_step(body, kept)
        if step is None:
            shorter = _without_start(body, kept, is_answer=bool(thoughts))
            if shorter == body:
                break
            body = shorter
            continue
        thought, rest, is_firm = step
        if rest is None:
            if is_firm or cut:
                return Opened("", "\n\n".join([*thoughts, thought]), is_complete=False)
            break  # an answer that begins with such a word
        thoughts.append(thought)
        body = rest
    if thoughts:
        return Opened(body, "\n\n".join(filter(None, thoughts)))
    return Opened(said if body == said else body.strip())


def kept_tags(references: Iterable[str]) -> frozenset[str]:
    """Tags of words that references begin with, after any thought: there they are part of an answer."""
    found: set[str] = set()
    for reference in references:
        begins = re.match(rf"\s*<({_WORDS}|{_WRAPPERS})\s*>", reference, re.IGNORECASE)
        if begins is None:
            tail = opened(reference, kept=_ALL_WRAPPERS).text if "<" in reference else reference
            begins = re.match(rf"\s*<({_WRAPPERS})\s*>", tail, re.IGNORECASE)
        if begins is not None:
            found.add(begins[1].lower())
    return frozenset(found)


def read_answer(
    came: Answer, kept: frozenset[str] = frozenset(), *, thinks_past: int | None = None
) -> Answer:
    """What came from a model, as the answer that is scored; one that never came has a ``failure``.

    Reading an answer that has been read changes nothing.

    Args:
        came: as a model gave it.
        kept: see ``kept_tags``.
        thinks_past: of a model that thinks first, the most tokens of an answer alone. What is longer, was cut
            off and shows no thought is one, whose beginning stood in the prompt. None: it may not think.
    """
    if came.failure is not None:
        return replace(came, failure_kind=came.failure_kind or FailureKind.ERROR)
    found = opened(came.text, cut=came.finish == "length", kept=kept)
    shows_none = found.thought is None and not came.thought and not came.thought_tokens
    total = came.completion_tokens or 0
    too_long = thinks_past is not None and total > thinks_past
    if came.finish == "length" and shows_none and too_long:
        found = Opened("", came.text, is_complete=False)
    parts = [part for part in (came.thought, found.thought) if part]
    thought = "\n\n".join(parts) if parts else None
    written = came.thought_tokens
    if written is None and thought is not None and thought.strip():
        # nobody counted them: their share of the characters, which is near their share of the tokens
        share = len(thought) / max(1, len(thought) + len(found.text))
        written = round(share * total)
    answer = replace(came, text=found.text, thought=thought, thought_tokens=written)
    failure = _why_none(came, found, thought)
    if failure is None:
        return answer
    return replace(answer, text="", finish="failed", failure=failure[1], failure_kind=failure[0])


def _why_none(came: Answer, found: Opened, thought: str | None) -> tuple[FailureKind, str] | None:
    """Why no answer came, or None. An empty text that ended at once is an answer: the model said nothing.

    One that took many tokens is none. They went into a thought that the service keeps to itself, or were
    lost on their way.
    """
    has_thought = bool(thought and thought.strip())
    total = came.completion_tokens or 0
    after = f"after {total:,} tokens" if total else "at the limit"
    if not found.is_complete and came.finish != "length":
        return FailureKind.UNANSWERED, f"a thought that never ended, and no answer ({after})"
    if found.is_complete and found.text.strip():
        return None
    if came.finish == "length":
        where = "while it thought" if has_thought or came.thought_tokens else "before it said anything"
        advice = "a larger Decoding(max_thinking_tokens=...), or thinking=False, lets it answer"
        return FailureKind.CUT, f"cut off {where}, {after}; {advice}"
    if has_thought or came.thought_tokens:
        return FailureKind.UNANSWERED, f"a thought, and no answer after it ({after})"
    if not found.text and total > _ENDED_AT_ONCE:
        return FailureKind.UNANSWERED, f"no text came ({after})"
    return None


# --------------------------------------------------------------------------- steps
# Each gives (thought, the rest or None where the thought never ends, whether the tag can mean nothing else).
def _opening_step(body: str, kept: frozenset[str]) -> tuple[str, str | None, bool] | None:
    """A thought that begins here."""
    start = len(body) - len(body.lstrip())
    begun = _OPENING.match(body, start)
    if begun is not None:
        tag = begun["tag"]
        if tag is not None and tag.lower() in kept:
            return None
        end = _closing_of(begun).search(body, begun.end())
        inside = body[begun.end() :] if end is None else body[begun.end() : end.start()]
        return inside.strip(), None if end is None else body[end.end() :], begun["word"] is None
    said = _GRANITE.match(body, start)
    if said is not None:
        end = _GRANITE_ANSWER.search(body, said.end())
        inside = body[said.end() :] if end is None else body[said.end() : end.start()]
        return inside.strip(), None if end is None else body[end.end() :], False
    bare = _BARE_ANALYSIS.match(body, start)
    if bare is None:
        return None
    final = body.find(_BARE_FINAL, bare.end())
    if final >= 0:
        return body[bare.end() : final].strip(), body[final + len(_BARE_FINAL) :], True
    is_glued = body[start + len("analysis") :][:1].isalpha()  # no word goes on like that
    return (body[bare.end() :], None, False) if is_glued else None


def _lone_step(body: str, kept: frozenset[str]) -> tuple[str, str, bool] | None:
    """A thought whose beginning stood in the prompt, so that only its end was written."""
    for end in islice(_LONE.finditer(body), _MOST_LONE):
        if end["word"] and end["word"].lower() in kept:
            continue
        if _is_envelope_end(body, end):
            return body[: end.start()].strip(), body[end.end() :], True
    return None


def _closing_of(begun: re.Match[str]) -> re.Pattern[str]:
    if begun["tag"] is not None:
        return re.compile(rf"</{re.escape(begun['tag'])}\s*>", re.IGNORECASE)
    (place,) = (k for k in range(len(_MARKS)) if begun[f"m{k}"] is not None)
    return _CLOSING[place]


def _is_envelope_end(body: str, end: re.Match[str]) -> bool:
    """Whether a closing tag without an opening one ends a thought, and is not spoken of or quoted."""
    before, after = body[: end.start()], body[end.end() :]
    if end["tag"] is not None and re.search(rf"<{re.escape(end['tag'])}[\s>]", before, re.IGNORECASE):
        return False  # an element inside the answer
    if before.endswith(_QUOTES) or (before.count("```") % 2 and after.count("```") % 2):
        return False  # quoted, or within a code fence
    if _is_within_json(before.lstrip()):
        return False
    if end["tag"] is None:
        return True  # a special token
    line_before, line_after = before.rstrip(" \t"), after.lstrip(" \t")
    alone = line_before[-1:] in ("", "\n", "\r") or line_after[:1] in ("", "\n", "\r")
    ends_sentence = line_before[-1:] in _SENTENCE_ENDS
    glued = line_after == after and (after.startswith("```") or after[:1] not in ".,;:!?)'`’”»")
    return alone or ends_sentence or glued


def _harmony(body: str, *, cut: bool) -> Opened | None:
    """The answer among messages with headers; None where the text has none."""
    header = _HEADER.match(body)
    if header is None:
        return None
    answers: list[str] = []
    thoughts: list[str] = []
    at = 0
    while header is not None:
        end = _MESSAGE_END.search(body, header.end())
        inside = body[header.end() : end.start() if end else len(body)].strip()
        for_user = header["channel"] == "final" or (
            header["channel"] is None and header["to"] in (None, "user")
        )
        (answers if for_user else thoughts).append(inside)
        at = end.end() if end else len(body)
        header = _HEADER.match(body, at)
    thought = "\n\n".join(filter(None, thoughts)) or None
    if not answers:
        return Opened("", thought or "", is_complete=not cut)
    return Opened("\n\n".join(filter(None, answers)), thought)


def _without_start(body: str, kept: frozenset[str], *, is_answer: bool) -> str:
    """``body`` without a special token that it begins with; after a thought, also without what wraps it."""
    token = _START_TOKEN.match(body.lstrip())
    if token is not None:
        return body.lstrip()[token.end() :]
    return _unwrapped(_without_end_tokens(body).strip(), kept) if is_answer else body


def _unwrapped(answer: str, kept: frozenset[str]) -> str:
    """The answer without an element that holds all of it, such as Hunyuan's ``<answer>``."""
    whole = re.fullmatch(rf"<({_WRAPPERS})\s*>(.*?)(?:</\1\s*>)?", answer, re.DOTALL | re.IGNORECASE)
    if whole is None or whole[1].lower() in kept:
        return answer
    return whole[2].strip()


def _without_end_tokens(text: str) -> str:
    """``text`` without the special tokens at its end; as it is where there are none."""
    body, strikes_through = text, "<s>" in text  # an element of HTML
    while True:
        tail = body.rstrip()
        found = next(_tokens_at_the_end(tail), None)
        if found is None or (found == "</s>" and strikes_through):
            return body
        body = tail[: -len(found)]


def _tokens_at_the_end(tail: str) -> Iterator[str]:
    window = max(0, len(tail) - _LONGEST_TOKEN)
    for at in range(window, len(tail)):
        if tail[at] in "<[" and _END_TOKEN.fullmatch(tail, at):
            yield tail[at:]


def _is_within_json(before: str) -> bool:
    """Whether a text ends within a string of the JSON value that it begins with."""
    if before[:1] not in ("{", "[", '"') or len(re.findall(r'(?<!\\)"', before)) % 2 == 0:
        return False
    try:
        json.JSONDecoder().raw_decode(before)
    except (ValueError, RecursionError):
        return True
    return False  # the value has ended, and words follow


def _seen(text: str) -> str:
    """``text`` without the unseen characters that it begins with, and white space among them."""
    rest = text.lstrip()
    return rest.lstrip(f"{_UNSEEN} \t\r\n") if rest[:1] and rest[0] in _UNSEEN else text


def _is_json(text: str) -> bool:
    body = text.strip()
    if body[:1] not in ("{", "[", '"') or body[:8].upper().startswith(("[THINK]", "[UNUSED")):
        return False
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
