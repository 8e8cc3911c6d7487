"""Hosted models that think before they answer: which do, how a service is told, and how long that may take.

As known in November 2026, from the providers' own reference pages. Whether a service did as it was told is
seen in its answers, and said beside the decision where it did not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.models.endpoint import host_of
from harness.models.profiles import TWIN
from harness.models.protocol import Decoding
from harness.records import Json

if TYPE_CHECKING:
    from harness.models.remote import RemoteModel

_START = r"(?:^|[/:])"  # of a name, behind its owner (openai/gpt-5) or mark (ft:gpt-5)
_OPENAI = re.compile(rf"{_START}(?:o\d|gpt-5)(?![\w.-]*chat)", re.IGNORECASE)
_GPT_OSS = re.compile(rf"{_START}gpt-oss", re.IGNORECASE)
_THINKERS = re.compile(
    rf"{_START}(?:deepseek-r\d|deepseek-reasoner|qwq|magistral|exaone-deep)|"
    r"[-_](?:thinking|reasoning|reasoner)(?:[-_:.]|$)",
    re.IGNORECASE,
)
_NON_THINKERS = re.compile(r"non?[-_]?(?:thinking|reasoning)", re.IGNORECASE)
_EFFORT_NONE = re.compile(rf"{_START}gpt-5\.\d", re.IGNORECASE)  # can be told not to think at all
_ALWAYS = re.compile(rf"{_START}(?:o\d|gpt-5[\w.-]*-(?:pro|codex))", re.IGNORECASE)  # cannot be told


def thinks(model: str, decoding: Decoding) -> bool:
    """Whether a model of that name may think under these settings, so that its limit has room for that."""
    if _OPENAI.search(model):
        return decoding.thinking is not False or _EFFORT_NONE.search(model) is None
    if decoding.thinking is not None:
        return decoding.thinking
    if _NON_THINKERS.search(model):
        return False
    return _GPT_OSS.search(model) is not None or _THINKERS.search(model) is not None


def most_tokens(model: str, decoding: Decoding) -> int:
    """The most tokens of one reply, thought and answer together. ``model`` is a hosted one's name."""
    room = decoding.max_thinking_tokens if thinks(model, decoding) else 0
    return decoding.max_new_tokens + room


def request_limit(spec: RemoteModel, decoding: Decoding) -> int:
    """The limit to send; a rehearsal's models do not think, whatever they are called."""
    return decoding.max_new_tokens if spec.provider.name == TWIN.name else most_tokens(spec.model, decoding)


def thinking_fields(spec: RemoteModel, decoding: Decoding) -> dict[str, Json]:
    """The fields of a request that tell the service whether to think; none where nothing was said.

    Raises:
        UsageError: the model cannot do as it is told.
    """
    wanted, name = decoding.thinking, spec.model
    if wanted is None or spec.provider.name == TWIN.name:
        return {}
    if spec.takes_prompt:
        _require_no_thought(spec, wanted)
        return {}
    if _OPENAI.search(name) or _GPT_OSS.search(name):
        if wanted:
            return {"reasoning_effort": "medium"}
        if _ALWAYS.search(name) or _GPT_OSS.search(name):
            raise UsageError(
                f"thinking=False: {name} cannot answer without thinking.\n"
                "  hint: leave thinking out, or ask another model."
            )
        return {"reasoning_effort": "none" if _EFFORT_NONE.search(name) else "minimal"}
    if spec.provider.speaks in ("openai", "azure"):
        _require_no_thought(spec, wanted)
        return {}
    host = host_of(spec.url)
    if host.endswith("openrouter.ai"):
        return {"reasoning": {"enabled": wanted}}
    if host.endswith("deepseek.com"):
        return {"thinking": {"type": "enabled" if wanted else "disabled"}}
    if host.endswith("groq.com"):
        return {"reasoning_effort": "default" if wanted else "none"}
    if host.endswith("googleapis.com"):
        return {"reasoning_effort": "medium" if wanted else "none"}
    # vLLM, SGLang and llama.cpp's server hand these to the chat template; families have either name
    return {"chat_template_kwargs": {"enable_thinking": wanted, "thinking": wanted}}


def _require_no_thought(spec: RemoteModel, wanted: bool) -> None:
    if wanted:
        raise UsageError(
            f"thinking=True: {spec.model} at {spec.url} does not think before it answers.\n"
            "  hint: leave thinking out, or ask a model that does."
        )
