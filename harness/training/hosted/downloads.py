"""Files that a service gives: fetched from where it says, and gone on with where an earlier attempt broke."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.endpoint import Endpoint, host_of, is_loopback
from harness.training.hosted.provider import OutcomeUnknown, RequestRejected

if TYPE_CHECKING:
    import httpx


def opened(place: str, service: Endpoint, headers: Mapping[str, str], stack: ExitStack) -> httpx.Response:
    """What lies at an address that the ``service`` has named; it is shown no key."""
    import httpx

    is_ours = service.is_local and is_loopback(place)
    if not place.startswith("https://") and not is_ours:
        raise RequestRejected(f"the file is said to lie at {host_of(place)}, unencrypted")
    try:
        client = stack.enter_context(httpx.Client(trust_env=not is_ours, timeout=service.timeout_s))
        return stack.enter_context(client.stream("GET", place, headers=dict(headers)))
    except httpx.HTTPError as error:  # its words hold the address, which may be signed
        raise OutcomeUnknown(f"{host_of(place)} does not answer ({type(error).__name__})") from None


def ranged(there: int) -> dict[str, str]:
    """Headers that ask for a file from its byte ``there`` on."""
    return {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})


def keep(answer: httpx.Response, file: Path, there: int, most_bytes: int, before: int = 0) -> None:
    """Write an answer to ``ranged(there)`` into a file, whose first ``before`` bytes are not of it."""
    import httpx

    if answer.status_code == 416 and there:  # nothing is left of it
        return
    if answer.status_code not in (200, 206):
        raise OutcomeUnknown(f"{answer.url.host} answered {answer.status_code} to a download")
    size = before + (there if answer.status_code == 206 else 0)
    with file.open("r+b" if size else "wb") as into:
        into.seek(size)
        into.truncate()
        try:
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > most_bytes:
                    raise RequestRejected(f"the archive has more than {most_bytes:,} bytes", status=413)
                into.write(piece)
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"the download broke off ({type(error).__name__})") from None
