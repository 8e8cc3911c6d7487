"""A service's refusals as errors that name the user's own file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import HostedTrainingError
from harness.training.hosted.order import Order, Upload
from harness.training.hosted.requests import Job, JobFailure, Refused, RemoteFile

PLACES_SHOWN = 5
BUSY = 429  # HTTP: too many requests
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # a 429 that no waiting mends
_INPUT_CODES = (
    "invalid",
    "unsupported",
    "unsafe",
    "policy",
    "moderation",
    "format",
    "too_large",
    "not_found",
)
_INPUT_PARAMS = ("training_file", "validation_file", "hyperparameters", "model", "method", "suffix", "seed")
_LINE = re.compile(
    r"\b(?:lines?|rows?|examples?|samples?|records?)\s*(?:numbers?|no\.?|#)?\s*"
    r"((?:\d+)(?:\s*(?:,|and|&)\s*\d+)*)",
    re.IGNORECASE,
)


def of_the_input(failure: JobFailure | None) -> bool:
    """Whether the same input would fail again, so that another job would only cost time and money."""
    if failure is None:
        return False
    code = (failure.code or "").lower()
    return any(word in code for word in _INPUT_CODES) or any(
        (failure.param or "").startswith(name) for name in _INPUT_PARAMS
    )


def failed(order: Order, job: Job) -> HostedTrainingError:
    """A job that failed."""
    failure = job.failure or JobFailure(None, None, None)
    where = places(order, failure.param, failure.message)
    hint = _mend(where, failure.code, failure.param)
    if not of_the_input(failure):
        hint = "it may not be your data: run again, and a new job is begun."
    return HostedTrainingError(
        f"the tuning job {job.id} of {order.base} failed.",
        hint,
        code=failure.code,
        message=failure.message,
        param=failure.param,
        where=where,
        job=job.id,
    )


def cancelled(order: Order, job: Job) -> HostedTrainingError:
    """A job that somebody cancelled while it was waited for."""
    return HostedTrainingError(
        f"the tuning job {job.id} of {order.base} was cancelled.",
        "run again, and a new job is begun.",
        job=job.id,
    )


def paused(order: Order, job: Job) -> HostedTrainingError:
    """A job that will not go on by itself."""
    return HostedTrainingError(
        f"the tuning job {job.id} of {order.base} is paused.",
        f"let it go on with `harness jobs resume {job.id}`, then run again: it is found, and nothing is paid"
        f" twice. Or cancel it: `harness jobs cancel {job.id}`.",
        job=job.id,
    )


def silent(order: Order, job: Job, hours: float) -> HostedTrainingError:
    """A job without news for longer than the candidate's patience."""
    return HostedTrainingError(
        f"no news of the tuning job {job.id} of {order.base} for {hours:g} hours; it is {job.status}.",
        f"it goes on at the service: run again later to wait on; `harness jobs follow {job.id}` looks at it,"
        f" `harness jobs cancel {job.id}` ends it. patience_hours= says how long to wait.",
        job=job.id,
    )


def file_rejected(order: Order, sent: Upload, problem: str) -> HostedTrainingError:
    """A file that the service took and then found wrong."""
    param = _param(order, sent)
    where = places(order, param, problem)
    return HostedTrainingError(
        f"the service rejected the {param.replace('_', ' ')} ({len(sent.places)} rows).",
        _mend(where, None, param),
        message=problem or None,
        param=param,
        where=where,
    )


def file_not_ready(order: Order, sent: Upload, file: RemoteFile, waited_s: float) -> HostedTrainingError:
    """A file that the service has not finished checking."""
    param = _param(order, sent)
    return HostedTrainingError(
        f"the service has not checked the {param.replace('_', ' ')} {file.id} after {waited_s / 60:.0f}"
        f" minutes: it is {file.status}.",
        "run again later: the file is found there. No job was begun.",
        param=param,
    )


def upload_refused(order: Order, sent: Upload, no: Refused) -> HostedTrainingError:
    """A file that the service did not take."""
    param = _param(order, sent)
    where = places(order, param, no.message)
    return HostedTrainingError(
        f"the service did not take the {param.replace('_', ' ')} ({len(sent.places)} rows).",
        _mend_of_status(no) or _mend(where, no.code, param),
        code=no.code or str(no.status),
        message=no.message,
        param=no.param,
        where=where,
    )


def job_refused(order: Order, no: Refused) -> HostedTrainingError:
    """A job that the service did not begin."""
    where = places(order, no.param, no.message)
    return HostedTrainingError(
        f"the service did not begin a tuning job of {order.base}.",
        _mend_of_status(no) or _mend(where, no.code, no.param),
        code=no.code or str(no.status),
        message=no.message,
        param=no.param,
        where=where,
    )


def unsure(what: str, problem: str) -> HostedTrainingError:
    """Something that may or may not have been done, and cannot be found."""
    return HostedTrainingError(
        f"it is not known whether the service {what}.",
        "run again: what it did is found by its content, and only what is missing is done.",
        message=problem,
    )


def places(order: Order, param: str | None, message: str | None) -> tuple[str, ...]:
    """The user's ``file:line`` of every line that the message names, counted from 1 as services do."""
    said = param or message or ""
    of_dev = said.startswith("validation") if param else "validation file" in said
    sent = order.validation if of_dev and order.validation else order.training
    lines = _lines(message or "")
    found = dict.fromkeys(sent.places[n - 1] for n in lines if 1 <= n <= len(sent.places))
    return tuple(found)[:PLACES_SHOWN]


def _lines(message: str) -> Sequence[int]:
    return [int(digits) for match in _LINE.finditer(message) for digits in re.findall(r"\d+", match.group(1))]


def _param(order: Order, sent: Upload) -> str:
    return "training_file" if sent is order.training else "validation_file"


def _mend_of_status(no: Refused) -> str | None:
    if no.status == 401:
        return "check that the key belongs to this service and has not been withdrawn."
    if no.status == 403:
        return "the key's project may not tune models: ask whoever administers it, or use another project."
    if no.code in SPENT:
        return "the account's quota or budget is used up: raise it with the provider, then run again."
    if no.status == BUSY:
        return (
            "nothing was begun. The service takes no more at the moment: wait until other jobs have ended"
            " (`harness jobs`), then run again; what was sent is used."
        )
    return None


def _mend(where: Sequence[str], code: str | None, param: str | None) -> str:
    if where:
        return f"correct {where[0]}; `harness validate {where[0].rpartition(':')[0]}` finds most such rows."
    if param and param.endswith("_file"):
        return "`harness validate FILE --model MODEL` finds most of what services refuse."
    if param == "model" or "model" in (code or ""):
        return "name a model that this service tunes for this account: base='…'."
    if param:
        return f"change what the candidate says of {param}."
    return "change what the service names; what was sent is kept there and used again where it is the same."
