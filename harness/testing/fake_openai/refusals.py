"""What the service answers when it refuses: status, and OpenAI's body of message, type, param and code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.records import Json


@dataclass(frozen=True)
class Refusal(Exception):  # noqa: N818 - an answer of the service, not an error of the twin
    """A refused request.

    Attributes:
        status: the HTTP status.
        message: for people.
        param: the parameter that is at fault, where one is.
        code: for programs, where there is one.
        kind: the body's ``type``.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    kind: str = "invalid_request_error"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Json]:
        """The JSON that goes with the status."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def unknown_parameter(name: str) -> Refusal:
    """A parameter that the endpoint does not have."""
    return Refusal(400, f"Unknown parameter: '{name}'.", name, "unknown_parameter")


def missing_parameter(name: str) -> Refusal:
    """A parameter that must be given."""
    return Refusal(400, f"Missing required parameter: '{name}'.", name, "missing_required_parameter")


def wrong_type(name: str, wanted: str, given: str) -> Refusal:
    """A parameter of another JSON type."""
    message = f"Invalid type for '{name}': expected {wanted}, but got {given} instead."
    return Refusal(400, message, name, "invalid_type")


def invalid_value(name: str, given: str, supported: str) -> Refusal:
    """A value outside a list of values."""
    message = f"Invalid value: '{given}'. Supported values are: {supported}."
    return Refusal(400, message, name, "invalid_value")


def unsupported(name: str, given: str) -> Refusal:
    """A value that this model does not take."""
    message = f"Unsupported value: '{name}' does not support {given} with this model."
    return Refusal(400, message, name, "unsupported_value")


def no_such_model(name: str) -> Refusal:
    """A model that was never there."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refusal(404, message, "model", "model_not_found")


def retired_model(name: str) -> Refusal:
    """A model past its shutdown date."""
    message = (
        f"The model `{name}` has been deprecated, learn more here:"
        " https://platform.openai.com/docs/deprecations"
    )
    return Refusal(404, message, "model", "model_not_found")


def not_tunable(name: str) -> Refusal:
    """A model that takes no new jobs."""
    message = f"Model {name} is not available for fine-tuning or does not exist."
    return Refusal(400, message, "model", "model_not_available")


def no_such_file(name: str) -> Refusal:
    """A file that is not there (any more)."""
    return Refusal(404, f"No such File object: {name}", "id")


def no_such_job(name: str) -> Refusal:
    """A job that was never made."""
    return Refusal(404, f"Could not find fine tune: {name}", "fine_tune_id", "fine_tune_not_found")


def no_such_batch(name: str) -> Refusal:
    """A batch that was never made."""
    return Refusal(404, f"No batch found with id '{name}'.")


def no_key() -> Refusal:
    """A request without a key."""
    message = (
        "You didn't provide an API key. You need to provide your API key in an Authorization header using"
        " Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    return Refusal(401, message)


def wrong_key(key: str) -> Refusal:
    """A key that is not the right one; it is shown cut, as the service does."""
    shown = f"{key[:4]}***{key[-4:]}" if len(key) > 12 else "***"
    message = (
        f"Incorrect API key provided: {shown}. You can find your API key at"
        " https://platform.openai.com/account/api-keys."
    )
    return Refusal(401, message, None, "invalid_api_key")


def rate_limited(retry_after_s: float) -> Refusal:
    """Too many requests: come back after so many seconds."""
    message = f"Rate limit reached for requests. Please try again in {retry_after_s:g}s."
    headers = {"retry-after": f"{retry_after_s:g}", "retry-after-ms": f"{retry_after_s * 1000:g}"}
    return Refusal(429, message, None, "rate_limit_exceeded", "requests", headers)


def server_error() -> Refusal:
    """The service's own fault."""
    message = "The server had an error while processing your request. Sorry about that!"
    return Refusal(500, message, kind="server_error")


def no_such_path(method: str, path: str) -> Refusal:
    """A path that the service does not have."""
    return Refusal(404, f"Invalid URL ({method} {path})")


def not_json() -> Refusal:
    """A body that is no JSON object."""
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your"
        " HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid"
        " JSON.)"
    )
    return Refusal(400, message)
