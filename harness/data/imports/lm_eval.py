"""lm-evaluation-harness: the ``samples_*.jsonl`` of ``--log_samples``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.data.findings import Unusable
from harness.data.imports.turns import Turn, chat, listed
from harness.records import Json


def is_sample(value: Mapping[str, Json]) -> bool:
    """Whether the object is a logged sample."""
    return {"doc_id", "arguments", "target"} <= value.keys()


def items(value: Mapping[str, Json]) -> Iterator[Json]:
    """The sample, with its document's number as id: a task with several filters logs it once for each."""
    yield {**value, "id": value.get("doc_id")}


def row(sample: Mapping[str, Json]) -> Turn:
    """The row of a sample: the prompt that was sent, and its target; of several choices, the right one."""
    asked, offered = _requests(sample.get("arguments"))
    target = sample.get("target")
    if isinstance(target, list):
        target = target[0] if target else None
    choices = [text for text in offered if isinstance(text, str)]
    place = str(target)
    if len(choices) > 1 and place.isdecimal() and int(place) < len(choices):
        target = choices[int(place)]
    if target is None or not str(target).strip():
        raise Unusable("no-assistant", "a sample without a target", "a row needs a right reply")
    return chat(asked, str(target).strip())


def _requests(arguments: Json) -> tuple[Json, list[Json]]:
    """The first request's prompt, and what each request continues it with.

    Newer versions write ``{"gen_args_0": {"arg_0": prompt, "arg_1": ...}}``, older ones lists of lists.
    """
    requests = list(arguments.values()) if isinstance(arguments, dict) else listed(arguments)
    found = [list(one.values()) if isinstance(one, dict) else one for one in requests]
    pairs = [one for one in found if isinstance(one, list) and len(one) >= 2]
    if not pairs:
        raise Unusable("no-user", "a sample without a prompt", "log it with --log_samples")
    return pairs[0][0], [one[1] for one in pairs]
