"""What a service refuses, as errors that name the user's own file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import HostedTrainingError
from harness.models.retry import SPENT_CODES, TOO_MANY
from harness.training.hosted.provider import (
    FAILED,
    Capabilities,
    JobFailure,
    Quote,
    RequestRejected,
    ServiceError,
    TuningJob,
)
from harness.training.hosted.request import JobRequest, Upload

PLACES_SHOWN = 5
_INPUT_CODES = re.compile("invalid|unsupported|unsafe|policy|moderation|format|too_large|not_found")
_INPUT_PARAMS = ("training_file", "validation_file", "hyperparameters", "model", "method", "suffix", "seed")
_LINE = re.compile(
    r"\b(?:lines?|rows?|examples?|samples?|records?)\s*(?:numbers?|no\.?|#)?\s*"
    r"(\d+(?:\s*(?:,|and|&)\s*\d+)*)",
    re.IGNORECASE,
)


def is_of_the_input(failure: JobFailure | None) -> bool:
    """Whether the same input would fail again, so that another job would only cost time and money."""
    if failure is None:
        return False
    is_known = _INPUT_CODES.search((failure.code or "").lower()) is not None
    return is_known or (failure.param or "").startswith(_INPUT_PARAMS)


# --------------------------------------------------------------------------- a job that did not end well
def job_ended(request: JobRequest, job: TuningJob) -> HostedTrainingError:
    """A job that failed, or that somebody cancelled while it was waited for."""
    if job.failure is None and job.status not in FAILED:
        return HostedTrainingError(
            f"the tuning job {job.id} of {request.base} was cancelled.",
            "run again, and a new job is begun.",
            job=job.id,
        )
    failure = job.failure or JobFailure()
    where = places(request, failure.param, failure.message)
    hint = "it may not be your data: run again, and a new job is begun."
    if is_of_the_input(failure):
        hint = _hint(where, failure.code, failure.param)
    return HostedTrainingError(
        f"the tuning job {job.id} of {request.base} failed.",
        hint,
        code=failure.code,
        message=failure.message,
        param=failure.param,
        where=where,
        job=job.id,
    )


def job_paused(request: JobRequest, job: TuningJob, service: Capabilities) -> HostedTrainingError:
    """A job that will not go on by itself."""
    resume, cancel = service.command_for("resume", job.id), service.command_for("cancel", job.id)
    how, end = (f" with {resume}", f": {cancel}") if service.command else (" there", "")
    return HostedTrainingError(
        f"the tuning job {job.id} of {request.base} is paused.",
        f"let it go on{how}, then run again: it is found, and nothing is paid twice. Or cancel it{end}.",
        job=job.id,
    )


def job_silent(
    request: JobRequest, job: TuningJob, service: Capabilities, hours: float
) -> HostedTrainingError:
    """A job without news for longer than the candidate's patience."""
    follow, cancel = service.command_for("follow", job.id), service.command_for("cancel", job.id)
    look = f"; {follow} looks at it, {cancel} ends it" if service.command else ""
    return HostedTrainingError(
        f"no news of the tuning job {job.id} of {request.base} for {hours:g} hours; it is {job.status}.",
        f"it goes on at the service: run again later to wait on{look}. patience_hours= sets how long.",
        job=job.id,
    )


def job_without_model(request: JobRequest, job: TuningJob, service: Capabilities) -> HostedTrainingError:
    """A job that has succeeded and made nothing that can be asked."""
    look = service.command_for("follow", job.id)
    return HostedTrainingError(
        f"the tuning job {job.id} of {request.base} succeeded, but the service names no model.",
        "run again later: the job is found, and nothing is paid twice. Where it stays so, ask the service's"
        " support for the model of that job" + (f"; {look} shows what it says." if look else "."),
        job=job.id,
    )


# --------------------------------------------------------------------------- a refused file or job
def file_unusable(request: JobRequest, sent: Upload, problem: str) -> HostedTrainingError:
    """A file that the service took and then found wrong."""
    param = request.param(sent)
    where = places(request, param, problem)
    return HostedTrainingError(
        f"the service rejected the {param.replace('_', ' ')} ({len(sent.places)} rows).",
        _hint(where, None, param),
        message=problem or None,
        param=param,
        where=where,
    )


def file_unchecked(request: JobRequest, sent: Upload, id: str, waited_s: float) -> HostedTrainingError:
    """A file that the service has not finished checking."""
    param = request.param(sent)
    return HostedTrainingError(
        f"the service has not checked the {param.replace('_', ' ')} {id} after {waited_s / 60:.0f} minutes.",
        "run again later: the file is found there. No job was begun.",
        param=param,
    )


def rejected(
    request: JobRequest,
    problem: str,
    no: RequestRejected,
    *,
    param: str | None = None,
    job: str | None = None,
) -> HostedTrainingError:
    """A file or a job that the service did not take, or does not show any more."""
    param = param or no.param
    where = places(request, param, no.message)
    hint = _hint(where, no.code, param)
    if no.status == 401:
        hint = "check that the key belongs to this service and has not been withdrawn."
    elif no.status == 403:
        hint = "the key's project may not tune models: ask whoever administers it, or use another project."
    elif no.code in SPENT_CODES:
        hint = "the account's quota or budget is used up: raise it with the provider, then run again."
    elif no.status == TOO_MANY:
        hint = (
            "nothing was begun. The service takes no more at the moment: wait until other jobs have ended,"
            " then run again; what was sent is used."
        )
    return HostedTrainingError(
        problem,
        hint,
        code=no.code or str(no.status),
        message=no.message,
        param=no.param,
        where=where,
        job=job,
    )


def not_allowed(request: JobRequest, quote: Quote) -> HostedTrainingError:
    """A job that the account has not the money for, by the service's own word."""
    limit = "" if quote.limit_usd is None else f"; the account may spend ${quote.limit_usd:,.2f}"
    return HostedTrainingError(
        f"the service asks ${quote.usd:,.2f} for tuning {request.base}{limit}: it would end the job unpaid.",
        "nothing was begun. Raise the account's limit or credit there, or tune on fewer rows (--sizes=) or"
        " epochs; then run again: what was sent is used.",
    )


def outcome_unknown(what: str, problem: str) -> HostedTrainingError:
    """Something that may or may not have been done, and cannot be found."""
    return HostedTrainingError(
        f"it is not known whether the service {what}.",
        "run again: what it did is found by its content, and only what is missing is done.",
        message=problem,
    )


def from_service(
    error: ServiceError, job: str | None = None, unreached_hint: str = "check the address and the network."
) -> HostedTrainingError:
    """Any other call that failed, perhaps while a job was followed."""
    if not isinstance(error, RequestRejected):
        return HostedTrainingError(
            "the service cannot be reached, or does not answer as it should.",
            unreached_hint,
            message=str(error),
            job=job,
        )
    hint = "change what the service names, then run again: what was done is found."
    if error.status in (401, 403):
        hint = "check that the key belongs to this service, has not been withdrawn, and may tune models."
    elif error.status == 404:
        hint = "check the address: base_url ends in /v1 at most services. Not every one of them tunes models."
    return HostedTrainingError(
        "the service refused a request.",
        hint,
        code=error.code or str(error.status),
        message=error.message,
        param=error.param,
        job=job,
    )


def places(request: JobRequest, param: str | None, message: str | None) -> tuple[str, ...]:
    """The user's ``file:line`` of every line that the message names, counted from 1 as services do."""
    # "validation_file" is a parameter, "the validation file" stands in a message
    is_dev = param.startswith("validation") if param else "validation file" in (message or "")
    sent = request.validation if is_dev and request.validation else request.training
    named = (
        int(digits) for match in _LINE.finditer(message or "") for digits in re.findall(r"\d+", match[1])
    )
    found = dict.fromkeys(sent.places[n - 1] for n in named if 1 <= n <= len(sent.places))
    return tuple(found)[:PLACES_SHOWN]


def _hint(where: Sequence[str], code: str | None, param: str | None) -> str:
    """For a problem of the input."""
    if where:
        return f"correct {where[0]}; `harness validate {where[0].rpartition(':')[0]}` finds most such rows."
    if param and param.endswith("_file"):
        return "`harness validate FILE --model MODEL` finds most of what services refuse."
    if param == "model" or "model" in (code or ""):
        return "name a model that this service tunes for this account: base='…'."
    if param:
        return f"change what the candidate says of {param}."
    return "change what the service names; what was sent is kept there and used again where it is the same."
