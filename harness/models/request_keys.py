"""What the key of a kept answer has to say of its request, beside the question and the settings.

Keys were made of the turns and of ``Decoding`` when the first answers were paid for, and those must be found
for as long as the request stays the same. So the form that requests had then is written down here, once and
for all: where a request has it, nothing is added to the key; where it differs, the difference is. But for the
limit of tokens: an answer that came to its end is the same under any higher one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.models.protocol import Decoding, Prompt
from harness.records import Json

if TYPE_CHECKING:
    from harness.models.remote import RemoteModel

# as of that time; `remote_wire` has the one that counts now
_REASONING = re.compile(r"(ft:)?(o\d|gpt-5)")
_LIMITS = ("max_tokens", "max_completion_tokens")


def sent_beside(spec: RemoteModel, prompts: Sequence[Prompt], decoding: Decoding) -> list[Json]:
    """For each prompt the fields of its request that differ from the first form; None where none does."""
    from harness.models.remote_wire import ModelWire

    wire = ModelWire(spec)
    return [
        _difference(wire.request(prompt, decoding).body, _first_form(spec, prompt, decoding))
        for prompt in prompts
    ]


def _difference(body: dict[str, Json], first: dict[str, Json]) -> dict[str, Json] | None:
    names = sorted({*body, *first}.difference(_LIMITS))
    return {name: body.get(name) for name in names if body.get(name) != first.get(name)} or None


def _first_form(spec: RemoteModel, prompt: Prompt, decoding: Decoding) -> dict[str, Json]:
    """A request for the prompt as it was in version 0.2. Do not change it: the keys of paid answers do."""
    body: dict[str, Json] = {"model": spec.model}
    if spec.takes_prompt:
        body["prompt"] = "\n\n".join(message.content for message in prompt.messages)
    else:
        body["messages"] = [
            {"role": m.role, "content": m.content} | ({} if m.name is None else {"name": m.name})
            for m in prompt.messages
        ]
    if _REASONING.match(spec.model) and not spec.takes_prompt:
        return body | {"max_completion_tokens": decoding.max_new_tokens}
    body |= {"max_tokens": decoding.max_new_tokens, "temperature": decoding.temperature}
    if decoding.temperature > 0:
        body |= {"top_p": decoding.top_p, "seed": decoding.seed + prompt.repeat}
    if spec.logprobs:
        body["logprobs"] = 0 if spec.takes_prompt else True
    return body
