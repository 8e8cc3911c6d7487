"""Lists in pages, as ``after`` and ``limit`` cut them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from harness.records import Json
from harness.testing.fake_openai.refusals import Refusal, wrong_type

MOST_A_PAGE = 100


class Shown(Protocol):
    """Whatever stands in a list."""

    @property
    def id(self) -> str:
        """What ``after`` names."""

    def shown(self) -> dict[str, Json]:
        """As the service gives it."""


def page(request: Request, found: Sequence[Shown], default: int, most: int = MOST_A_PAGE) -> Response:
    """The part of a list that ``after`` and ``limit`` ask for."""
    given = request.query_params.get("limit", str(default))
    if not given.lstrip("-").isdecimal():
        raise wrong_type("limit", "an integer", "a string")
    limit = int(given)
    if limit < 1:
        message = (
            f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {limit} instead."
        )
        raise Refusal(400, message, "limit", "integer_below_min_value")
    after = request.query_params.get("after")
    start = 0
    if after is not None:
        places = [k for k, item in enumerate(found) if item.id == after]
        if not places:
            raise Refusal(404, f"No object found with id '{after}'.", "after")
        start = places[0] + 1
    data = [item.shown() for item in found[start : start + min(limit, most)]]
    return JSONResponse(
        {
            "object": "list",
            "data": data,
            "has_more": start + len(data) < len(found),
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    )
