"""The official client's objects as plain values.

Providers leave fields out, add their own and answer with half of what the types promise; everything is read
as a mapping, and what is not there is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from harness.errors import HostedTrainingError
from harness.records import Json
from harness.training.hosted.requests import (
    Checkpoint,
    Event,
    Job,
    JobFailure,
    Offering,
    RemoteFile,
)

T = TypeVar("T")
MOST_PAGES = 100


class Garbled(Exception):  # noqa: N818 - an answer that is none
    """The service answered with something that cannot be read."""


class Page(Protocol):
    """A page of a listing, as the client gives it."""

    @property
    def data(self) -> Sequence[object]:
        """What stands on it."""

    def has_next_page(self) -> bool:
        """Whether it is not the last."""

    def get_next_page(self) -> Page:
        """The one after it."""


class Reader:
    """Reads what a service says; ``clean`` takes secrets out of its words."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        self._clean = clean

    def all(self, page: Page, read: Callable[[object], T]) -> tuple[T, ...]:
        """Every item of all pages.

        Raises:
            HostedTrainingError: more pages than are read; what was not seen is not known to be missing.
        """
        return tuple(read(item) for item in _items(page, whole=True))

    def events(self, page: Page, known: str | None) -> tuple[Event, ...]:
        """Oldest first. Services list the newest first; pages are read until one that is known."""
        found: list[Event] = []
        for item in _items(page, whole=False):
            event = self._event(item)
            if event.id == known:
                break
            found.append(event)
        descending = len(found) < 2 or found[0].created >= found[-1].created
        return tuple(reversed(found)) if descending else tuple(found)

    def _event(self, item: object) -> Event:
        found = _fields(item)
        return Event(
            id=_text(found, "id") or "",
            message=self._clean(_text(found, "message") or ""),
            level=_text(found, "level") or "info",
            data=_mapping(found.get("data")),
            created=_whole(found, "created_at") or 0,
        )

    def file(self, item: object) -> RemoteFile:
        """A file object."""
        found = _fields(item)
        return RemoteFile(
            id=_required(found, "id"),
            name=_text(found, "filename") or "",
            bytes=_whole(found, "bytes") or 0,
            purpose=_text(found, "purpose") or "",
            status=_text(found, "status") or "",
            problem=self._clean(_text(found, "status_details") or ""),
            created=_whole(found, "created_at") or 0,
        )

    def job(self, item: object) -> Job:
        """A job object."""
        found = _fields(item)
        files = found.get("result_files")
        return Job(
            id=_required(found, "id"),
            status=_text(found, "status") or "",
            model=_text(found, "model") or "",
            training_file=_text(found, "training_file") or "",
            validation_file=_text(found, "validation_file"),
            tuned_model=_text(found, "fine_tuned_model"),
            suffix=_text(found, "suffix") or _text(found, "user_provided_suffix"),
            hyperparameters=_hyperparameters(found),
            seed=_whole(found, "seed"),
            metadata={key: str(value) for key, value in _mapping(found.get("metadata")).items()},
            failure=self._failure(found.get("error")),
            result_files=tuple(map(_file_id, files)) if isinstance(files, list) else (),
            trained_tokens=_whole(found, "trained_tokens"),
            created=_whole(found, "created_at") or 0,
            finished=_whole(found, "finished_at"),
        )

    def _failure(self, error: Json) -> JobFailure | None:
        if isinstance(error, str) and error:
            return JobFailure(None, self._clean(error), None)
        found = _mapping(error)
        code, message, param = (_text(found, name) for name in ("code", "message", "param"))
        if not (code or message):  # some services send an empty error with every job
            return None
        return JobFailure(code, self._clean(message) if message else None, param)

    def checkpoint(self, item: object) -> Checkpoint:
        """A checkpoint object."""
        found = _fields(item)
        return Checkpoint(
            id=_text(found, "id") or "",
            step=_whole(found, "step_number") or 0,
            model=_text(found, "fine_tuned_model_checkpoint") or "",
            metrics=_mapping(found.get("metrics")),
        )

    def offering(self, item: object) -> Offering:
        """A model object."""
        found = _fields(item)
        return Offering(_text(found, "id") or "", _text(found, "shutdown_date"))


def said_no(body: object) -> tuple[str | None, str | None, str | None]:
    """Code, message and parameter in the body of an error."""
    found = _mapping(body)
    found = _mapping(found.get("error")) or found
    message = found.get("message") or found.get("detail")
    return _text(found, "code"), None if message is None else str(message), _text(found, "param")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What the service asks to wait; dates are not read."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None


def _items(page: Page, *, whole: bool) -> Iterator[object]:
    """The items of all pages; a service that gives the same page again and again is believed once.

    Raises:
        HostedTrainingError: ``whole``, and there are too many.
    """
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        data = getattr(page, "data", None)
        if not isinstance(data, list):
            raise Garbled("the service answered with no list")
        ids = {str(_fields(item).get("id")) for item in data}
        if not ids - seen:
            return
        yield from (item for item in data if str(_fields(item).get("id")) not in seen)
        seen |= ids
        if not page.has_next_page():
            return
        page = page.get_next_page()
    if whole:
        raise HostedTrainingError(
            f"the service lists more than {MOST_PAGES} pages ({len(seen):,} files or jobs): whether what is"
            " looked for stands on a later one is not known.",
            "delete old files there, or use another of the provider's projects; then run again.",
        )


def _fields(item: object) -> Mapping[str, Json]:
    from openai import BaseModel

    if not isinstance(item, BaseModel):
        raise Garbled("the service answered with something that is no JSON object")
    return item.model_dump(warnings=False)


def _hyperparameters(found: Mapping[str, Json]) -> Mapping[str, Json]:
    """What the job says of its settings, wherever it says so; "auto" and empty ones left out."""
    method = _mapping(found.get("method"))
    nested = _mapping(_mapping(method.get("supervised")).get("hyperparameters"))
    said = [*nested.items(), *_mapping(found.get("hyperparameters")).items()]
    return {key: value for key, value in said if value is not None and value != "auto"}


def _file_id(item: Json) -> str:
    return _text(item, "id") or "" if isinstance(item, Mapping) else str(item)


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _required(found: Mapping[str, Json], name: str) -> str:
    text = _text(found, name)
    if not text:
        raise Garbled(f"the service's answer has no {name}")
    return text


def _text(found: Mapping[str, Json], name: str) -> str | None:
    value = found.get(name)
    return None if value is None or value == "" else str(value)


def _whole(found: Mapping[str, Json], name: str) -> int | None:
    value = found.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
