"""Fireworks' API behind its official SDK: the client, its errors, and what several calls share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from harness.models.endpoint import Endpoint
from harness.models.profiles import FIREWORKS
from harness.models.retry import TOO_MANY, retry_after_s
from harness.training.hosted.fireworks_objects import last
from harness.training.hosted.provider import OutcomeUnknown, RateLimited, RequestRejected, ServiceError

if TYPE_CHECKING:
    from fireworks import APIStatusError, Fireworks

T = TypeVar("T")

URL = "https://api.fireworks.ai"
ACCOUNT = "FIREWORKS_ACCOUNT_ID"  # the environment variable that the SDK reads, too
MESSAGE_CHARACTERS = 1_000
ALREADY_EXISTS = 6  # of gRPC, whose codes the service's errors have
_UNREADABLE = (ValueError, RecursionError, AttributeError)  # of the SDK: no JSON, or a text in its place
_KEYLIKE = re.compile(r"\bfw_[\w*.\-]{6,}")


@dataclass(frozen=True)
class FireworksAccount:
    """An account at Fireworks. No text of it is returned or raised with the key in it.

    Args:
        base_url: the service's address, without a path.
        api_key_env: the environment variable that holds the key (None: ``FIREWORKS_API_KEY``).
        account: the account's id (None: what ``FIREWORKS_ACCOUNT_ID`` says).
    """

    base_url: str = URL
    api_key_env: str | None = None
    account: str | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where its models are asked, and with which key."""
        return FIREWORKS.endpoint(f"{self.url}/inference/v1", self.api_key_env)

    @property
    def account_id(self) -> str:
        """The account's id; empty where nobody names it."""
        import os

        return last((self.account or os.environ.get(ACCOUNT, "")).strip().rstrip("/"))

    @property
    def url(self) -> str:
        """See ``TuningProvider``."""
        return self.base_url.rstrip("/")

    def close(self) -> None:
        """See ``TuningProvider``."""
        client: Fireworks | None = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    @cached_property
    def _client(self) -> Fireworks:
        from fireworks import DefaultHttpxClient, Fireworks

        http = DefaultHttpxClient(
            follow_redirects=False,
            trust_env=not self.endpoint.is_local,
            verify=self.url.startswith("https:"),  # certificates that nobody needs take 30 ms to read
        )
        kind = partial(
            Fireworks, account_id=self.account_id, base_url=self.url, max_retries=0, http_client=http
        )
        return self.endpoint.opened(kind)

    @contextmanager
    def _calling(self) -> Iterator[Fireworks]:
        """The client, whose errors leave here as those of ``provider``."""
        import fireworks

        failure: ServiceError
        try:
            yield self._client
            return
        except fireworks.APIStatusError as error:
            failure = self._failure(error)
        except (fireworks.APIError, *_UNREADABLE) as error:
            failure = OutcomeUnknown(self._clean(str(error) or type(error).__name__))
        raise failure from None  # the client's own error holds the request's headers, and so the key

    def _failure(self, error: APIStatusError) -> ServiceError:
        body = error.body if isinstance(error.body, Mapping) else {}
        inner = body.get("error")
        words = inner if isinstance(inner, Mapping) else body
        message = words.get("message") or (inner if isinstance(inner, str) else None) or str(error)
        said, status, code = self._clean(str(message)), error.status_code, words.get("code")
        wait_s = retry_after_s(error.response.headers, time.time())
        if status == TOO_MANY:
            return RateLimited(said, retry_after_s=wait_s, code=None if code is None else str(code))
        if status == 409:
            exists = code in (ALREADY_EXISTS, "ALREADY_EXISTS") or "already exists" in said.lower()
            return Taken(said, exists=exists)
        # a 503 is no word of the service but often a proxy's: behind it a job may have begun
        if status in (408, 425) or status >= 500:
            return OutcomeUnknown(said, retry_after_s=wait_s)
        return RequestRejected(said, status=status, code=None if code is None else str(code))

    def _clean(self, said: str) -> str:
        return _KEYLIKE.sub("[key]", self.endpoint.scrub(said))[:MESSAGE_CHARACTERS]


class Taken(RequestRejected):
    """HTTP 409: the id may be taken; ``exists`` where the service says so in as many words."""

    def __init__(self, message: str, *, exists: bool) -> None:
        self.exists = exists
        super().__init__(message, status=409)


def unless_gone(call: Callable[[], T]) -> T | None:
    """What ``call`` gives; None where the service says that there is no such thing."""
    try:
        return call()
    except RequestRejected as no:
        if no.status != 404:
            raise
        return None
