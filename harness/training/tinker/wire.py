"""The SDK's HTTP client, as it is used here: it goes nowhere else, and reaches servers of an earlier wire."""

from __future__ import annotations

import json
from typing import Any

import httpx
from tinker._base_client import DefaultAsyncHttpxClient
from tinker.lib.internal_client_holder import InternalClientHolder

# fields that say what is so without them, or what only serves to find a checkpoint again
LEFT_OUT = frozenset(("display_name", "kind", "optimizer_config", "user_metadata"))


class StayingClient(DefaultAsyncHttpxClient):
    """Follows no redirect: the key and the rows would go to an address that nobody has named.

    A request that is refused for fields of ``LEFT_OUT`` that the server does not know is sent without them.
    """

    def __init__(self) -> None:
        super().__init__(follow_redirects=False)

    async def send(self, request: httpx.Request, **how: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """See ``httpx.AsyncClient``."""
        response = await super().send(request, **how)
        if response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
            return response
        await response.aread()
        unknown = _unknown(response)
        if not unknown or not unknown <= LEFT_OUT:
            return response
        body = {name: value for name, value in json.loads(request.content).items() if name not in unknown}
        headers = {k: v for k, v in request.headers.items() if k not in ("content-length", "host")}
        less = self.build_request(request.method, request.url, json=body, headers=headers)
        return await super().send(less, **how)


def _unknown(response: httpx.Response) -> set[str]:
    """The fields that a request was refused for, as pydantic's errors name them."""
    try:
        told = response.json()["detail"]
        return {each["loc"][1] for each in told if each["type"] == "extra_forbidden"}
    except (ValueError, LookupError, TypeError):
        return set()


class StayingHolder(InternalClientHolder):
    """The SDK's own, of which every client is a ``StayingClient``."""

    @property
    def _constructor_kwargs(self) -> dict[str, Any]:
        return self._kwargs

    @_constructor_kwargs.setter
    def _constructor_kwargs(self, given: dict[str, Any]) -> None:
        self._kwargs = {**given, "http_client": StayingClient()}
