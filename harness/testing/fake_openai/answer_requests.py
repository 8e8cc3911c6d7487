"""The bodies of the two completion endpoints, checked: known parameters, turns, limits, stop sequences."""

from __future__ import annotations

from harness.records import Json, Message
from harness.testing.fake_openai.catalogue import TwinModel
from harness.testing.fake_openai.parameters import (
    Body,
    array,
    decimal,
    integer,
    kind_of,
    listed,
    required,
    text,
)
from harness.testing.fake_openai.refusals import (
    Refusal,
    invalid_value,
    missing_parameter,
    unsupported,
    wrong_type,
)

UNASKED_MAX_TOKENS = 512  # a small model may never stop; a real service would let it run to its limit
MOST_STOPS, MOST_TOP_LOGPROBS, MOST_COMPLETION_LOGPROBS = 4, 20, 5
ROLES = ("system", "assistant", "user", "function", "tool", "developer")
SAMPLING = ("temperature", "top_p", "n", "stop", "seed", "max_tokens", "user")
PENALTIES = ("frequency_penalty", "presence_penalty")
CHAT = (
    *SAMPLING,
    *PENALTIES,
    "model",
    "messages",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "metadata",
    "store",
    "stream",
    "stream_options",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "logit_bias",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
)
# what the service has and the twin's models have not
UNSUPPORTED = ("stream", "tools", "functions", "audio", "prediction", "reasoning_effort", "logit_bias")
COMPLETION = (
    *SAMPLING,
    *PENALTIES,
    "model",
    "prompt",
    "logprobs",
    "best_of",
    "echo",
    "suffix",
    "stream",
    "stream_options",
    "logit_bias",
)


def require_supported(body: Body) -> None:
    """Refuse what the twin's models cannot do."""
    for name in UNSUPPORTED:
        if body.get(name):
            raise unsupported(name, "a value other than the default")
    n = integer(body, "n", 1, 128)
    if n not in (None, 1) or integer(body, "best_of", 1, 20) not in (None, 1):
        raise unsupported("n", f"{n}")
    for name in PENALTIES:
        decimal(body, name, -2.0, 2.0)


def messages_of(body: Body) -> tuple[Message, ...]:
    """The turns of a chat."""
    required(body, "messages")
    given = array(body, "messages")
    if not given:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array"
            " instead."
        )
        raise Refusal(400, message, "messages", "empty_array")
    return tuple(_message(item, f"messages[{k}]") for k, item in enumerate(given))


def _message(item: Json, at: str) -> Message:
    if not isinstance(item, dict):
        raise wrong_type(at, "an object", kind_of(item))
    role = item.get("role")
    if role is None:
        raise missing_parameter(f"{at}.role")
    if role not in ROLES:
        raise invalid_value(f"{at}.role", str(role), listed(ROLES))
    content = item.get("content")
    if content is None and role != "assistant":
        raise Refusal(400, "Invalid value for 'content': expected a string, got null.", f"{at}.content")
    return Message(str(role), _content(content, f"{at}.content"))


def _content(content: Json, at: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type(at, "one of a string or array of objects", kind_of(content))
    parts = []
    for k, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Refusal(400, "Invalid content part: only text is supported by this model.", f"{at}[{k}]")
        parts.append(str(part["text"]))
    return "".join(parts)


def max_tokens_of(body: Body, model: TwinModel, names: tuple[str, ...]) -> int:
    """How long the reply may be, from whichever of ``names`` is given."""
    given = [name for name in names if body.get(name) is not None]
    if len(given) > 1:
        raise Refusal(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if not given:
        return UNASKED_MAX_TOKENS
    most = integer(body, given[0], 1, 2**63)
    assert most is not None
    if most > model.max_output_tokens:
        message = (
            f"{given[0]} is too large: {most}. This model supports at most {model.max_output_tokens}"
            f" completion tokens, whereas you provided {most}."
        )
        raise Refusal(400, message, given[0], "invalid_value")
    return most


def stops_of(body: Body) -> tuple[str, ...]:
    """The stop sequences."""
    given = body.get("stop")
    if isinstance(given, list):
        stops = tuple(str(item) for item in given)
    else:
        one = text(body, "stop")
        stops = () if one is None else (one,)
    if len(stops) > MOST_STOPS:
        message = (
            f"Invalid 'stop': array too long. Expected an array with maximum length {MOST_STOPS}, but got an"
            f" array with length {len(stops)} instead."
        )
        raise Refusal(400, message, "stop", "array_above_max_length")
    return stops
