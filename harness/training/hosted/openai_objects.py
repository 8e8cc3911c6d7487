"""Objects of OpenAI's API as plain values.

Services leave fields out, add their own, and answer with half of what the SDK's types promise. So every
object is read as a mapping, and a field that is missing is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeAlias

from harness.errors import HostedTrainingError
from harness.records import Json
from harness.training.hosted.provider import (
    JobCheckpoint,
    JobEvent,
    JobFailure,
    OutcomeUnknown,
    RemoteFile,
    TuningJob,
)
from harness.training.hosted.request import Upload

Clean: TypeAlias = Callable[[str], str]  # takes secrets out of a service's words

MOST_PAGES = 100
FILE_UNUSABLE = frozenset({"error", "failed", "deleted", "deleting"})
FILE_CHECKING = frozenset({"pending", "running", "notRunning", "uploading", "importing", "processing"})


class Page(Protocol):
    """A page of a listing, as the SDK gives it."""

    @property
    def data(self) -> Sequence[object]:
        """Its items."""

    def has_next_page(self) -> bool:
        """Whether another follows."""

    def get_next_page(self) -> Page:
        """The next one."""


def items(page: Page, *, whole: bool = True) -> Iterator[object]:
    """The items of all pages. A service that cannot page may give the same page for ever: it is read once.

    Raises:
        HostedTrainingError: ``whole``, and there are too many pages: an item that was not seen is not known
            to be missing, and another job would be begun for it.
    """
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        data = getattr(page, "data", None)
        if not isinstance(data, list):
            raise OutcomeUnknown("the service answered with no list")
        ids = [str(fields_of(item).get("id")) for item in data]
        if seen.issuperset(ids):
            return
        yield from (item for id, item in zip(ids, data, strict=True) if id not in seen)
        seen.update(ids)
        if not page.has_next_page():
            return
        page = page.get_next_page()
    if whole:
        raise HostedTrainingError(
            f"the service lists more than {MOST_PAGES} pages ({len(seen):,} files or jobs): whether the one"
            " looked for is on a later one is not known.",
            "delete old files there, or use another of the provider's projects; then run again.",
        )


def same_files(page: Page, sent: Upload, clean: Clean) -> list[RemoteFile]:
    """Usable files of the same name, which holds a digest, and of the same size where it is known, by age."""
    same = [
        found
        for found in map(fields_of, items(page))
        if _text(found, "filename") == sent.name
        and _whole(found, "bytes") in (None, 0, len(sent.content))
        and _text(found, "status") not in FILE_UNUSABLE
    ]
    same.sort(key=lambda found: (_whole(found, "created_at") or 0, _text(found, "id") or ""))
    return [read_file(found, clean) for found in same]


def read_file(item: object, clean: Clean) -> RemoteFile:
    """A file object."""
    found = fields_of(item)
    status = _text(found, "status") or ""
    state: Literal["checking", "ready", "unusable"] = "ready"
    if status in FILE_UNUSABLE | FILE_CHECKING:
        state = "unusable" if status in FILE_UNUSABLE else "checking"
    return RemoteFile(
        id=_required(found, "id"),
        state=state,
        problem=clean(_text(found, "status_details") or ""),
    )


def read_job(item: object, clean: Clean) -> TuningJob:
    """A job object of the SDK.

    Raises:
        OutcomeUnknown: it is none, or has no id.
    """
    found = fields_of(item)
    files = found.get("result_files")
    # settings stand under the method, or beside it, or in both places
    method = _mapping(_mapping(found.get("method")).get("supervised"))
    applied = {**_mapping(method.get("hyperparameters")), **_present(found.get("hyperparameters"))}
    error = found.get("error")
    words = {"message": error} if isinstance(error, str) else _mapping(error)
    code, message, param = (_text(words, name) for name in ("code", "message", "param"))
    failure = JobFailure(code, clean(message) if message else None, param)
    return TuningJob(
        id=_required(found, "id"),
        status=_text(found, "status") or "",
        model=_text(found, "model") or "",
        training_file=_text(found, "training_file") or "",
        validation_file=_text(found, "validation_file"),
        tuned_model=_text(found, "fine_tuned_model"),
        suffix=_text(found, "suffix") or _text(found, "user_provided_suffix"),
        hyperparameters=_present(applied),
        seed=_whole(found, "seed"),
        metadata={key: str(value) for key, value in _mapping(found.get("metadata")).items()},
        failure=failure if code or message else None,  # some send an empty error with every job
        result_files=tuple(
            _text(file, "id") or "" if isinstance(file, Mapping) else str(file)
            for file in (files if isinstance(files, list) else ())
        ),
        trained_tokens=_whole(found, "trained_tokens"),
        created=_whole(found, "created_at") or 0,
        finished=_whole(found, "finished_at"),
    )


def read_events(page: Page, known: str | None, clean: Clean) -> tuple[JobEvent, ...]:
    """Events of all pages, oldest first, whichever way they are listed.

    Most services list the newest first: reading ends where events are older than the ``known`` one.
    """
    events: list[JobEvent] = []
    known_at: int | None = None
    for item in items(page, whole=False):
        found = fields_of(item)
        id, created = _text(found, "id") or "", _whole(found, "created_at") or 0
        if known_at is not None and created < known_at:
            break
        if id == known:
            known_at = created
            continue
        message, level = clean(_text(found, "message") or ""), _text(found, "level") or "info"
        events.append(JobEvent(id, message, level, _mapping(found.get("data")), created))
    is_newest_first = len(events) < 2 or events[0].created >= events[-1].created
    return tuple(reversed(events)) if is_newest_first else tuple(events)


def read_checkpoint(item: object) -> JobCheckpoint:
    """A checkpoint object."""
    found = fields_of(item)
    return JobCheckpoint(
        id=_text(found, "id") or "",
        step=_whole(found, "step_number") or 0,
        model=_text(found, "fine_tuned_model_checkpoint") or "",
        metrics=_mapping(found.get("metrics")),
    )


def read_shutdown_date(item: object) -> str | None:
    """The ``shutdown_date`` of a model object, or the day that Azure gives for the end of its answers."""
    found = fields_of(item)
    ends = _whole(_mapping(found.get("deprecation")), "inference")
    day = None
    with suppress(ValueError, OverflowError, OSError):  # no time that there is
        day = datetime.fromtimestamp(ends, UTC).date().isoformat() if ends else None
    return _text(found, "shutdown_date") or day


def error_fields(body: object) -> tuple[str | None, str | None, str | None]:
    """Code, message and parameter in the body of an error, in any of the forms that services give it."""
    found = _mapping(body)
    found = _mapping(found.get("error")) or found
    message = found.get("message") or found.get("detail")
    return _text(found, "code"), None if message is None else str(message), _text(found, "param")


def fields_of(item: object) -> Mapping[str, Json]:
    """An object of the SDK, or a mapping, as a mapping.

    Raises:
        OutcomeUnknown: it is neither.
    """
    from openai import BaseModel

    if isinstance(item, Mapping):
        return item
    if not isinstance(item, BaseModel):
        raise OutcomeUnknown("the service answered with something that is no JSON object")
    return item.model_dump(warnings=False)


def _present(value: object) -> dict[str, Json]:
    """The settings that are given: not empty, and not left to the service."""
    return {name: set_to for name, set_to in _mapping(value).items() if set_to not in (None, "auto")}


def _mapping(value: object) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _required(found: Mapping[str, Json], name: str) -> str:
    text = _text(found, name)
    if not text:
        raise OutcomeUnknown(f"the service's answer has no {name}")
    return text


def _text(found: Mapping[str, Json], name: str) -> str | None:
    value = found.get(name)
    return None if value is None or value == "" else str(value)


def _whole(found: Mapping[str, Json], name: str) -> int | None:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value)
