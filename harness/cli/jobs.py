"""``harness jobs``: fine-tuning jobs at a service, listed, followed, ended."""

from __future__ import annotations

import argparse
import json
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from harness.errors import HostedTrainingError
from harness.models.progress import noticed

if TYPE_CHECKING:
    from harness.training.hosted.jobs import Environment
    from harness.training.hosted.openai import OpenAIProvider
    from harness.training.hosted.provider import TuningJob

KNOCK_S = 5.0
INTERRUPTED = 130  # what shells give for Ctrl-C


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(dest="action")
    listing = actions.add_parser("list", help="all jobs, the newest first (also without an action)")
    chosen = [
        actions.add_parser("follow", help="what happened to a job, until it ends; its checkpoints"),
        actions.add_parser("cancel", help="end a job; what it trained until then is paid for"),
        actions.add_parser("resume", help="let a paused job go on"),
    ]
    for one in chosen:
        one.add_argument("id", help="the job's id, such as ftjob-…")
    for one in (parser, listing, *chosen):
        _add_service(one)


def _add_service(parser: argparse.ArgumentParser) -> None:
    """Options that may stand before the action or after it; after it they must not undo those before."""
    unset = argparse.SUPPRESS
    parser.add_argument("--base-url", default=unset, metavar="URL", help="the service; default: OpenAI's own")
    parser.add_argument(
        "--api-key-env", default=unset, metavar="NAME", help="the variable that holds its key"
    )
    parser.add_argument("--profile", default=unset, help="openai, azure, nebius, compatible or twin")
    parser.add_argument("--json", action="store_true", default=unset, help="for programs")


def jobs(given: argparse.Namespace) -> int:
    """``harness jobs``. 0: done; 1: the job that was followed did not end well.

    Raises:
        HostedTrainingError: the service refused, or cannot be reached.
        ModelError: there is no key.
    """
    from harness.training.hosted.errors import from_service
    from harness.training.hosted.jobs import Environment
    from harness.training.hosted.openai import OpenAIProvider
    from harness.training.hosted.provider import ServiceError

    names = ("base_url", "api_key_env", "profile")
    service, environment = OpenAIProvider(*(getattr(given, name, None) for name in names)), Environment()
    service.require_ready()
    _require_there(service.url)
    as_json = getattr(given, "json", False)
    try:
        if given.action == "follow":
            return _follow(service, environment, given.id, as_json)
        if given.action in ("cancel", "resume"):
            change = service.cancel if given.action == "cancel" else service.resume
            _show(environment.ask(change, given.id), as_json)
        else:
            with noticed(f"asking {service.url}", sys.stderr.write):
                found = environment.ask(service.jobs)
            _list(found, as_json)
    except ServiceError as error:
        raise from_service(error) from None
    except KeyboardInterrupt:
        if given.action != "follow":
            raise
        sys.stderr.write(f"the job {given.id} goes on at the service.\n")
        return INTERRUPTED
    finally:
        service.close()
    return 0


def _require_there(url: str) -> None:
    """Knock once: a run waits for a service that is away for minutes, and a person at a terminal does not.

    Raises:
        HostedTrainingError: nobody listens at the address. Behind a proxy that is not known.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or {"http": 80}.get(address.scheme, 443)
    if getproxies() and not proxy_bypass(host):
        return
    try:
        socket.create_connection((host, port), timeout=KNOCK_S).close()
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise HostedTrainingError(
            f"nobody answers at {url} ({why}).", "is the address right (--base-url), and the service running?"
        ) from error


def _list(jobs: tuple[TuningJob, ...], as_json: bool) -> None:
    found = sorted(jobs, key=lambda job: job.created, reverse=True)
    if as_json:
        _print(json.dumps([asdict(job) for job in found], indent=1))
        return
    for job in found:
        _print(_line(job))
    if not found:
        _print("no tuning jobs there.")


def _follow(service: OpenAIProvider, environment: Environment, id: str, as_json: bool) -> int:
    """Print events as they come, then checkpoints and how the job ended."""
    from harness.training.hosted.provider import PAUSED, SUCCEEDED

    seen: set[str] = set()
    last: str | None = None
    while True:
        job = environment.ask(service.get, id)
        for event in environment.ask(service.events, id, last):
            if event.id not in seen and not as_json:
                _print(f"{_time(event.created)}  {event.message}")
            seen.add(event.id)
            last = event.id
        if job.has_ended or job.status in PAUSED:
            break
        environment.sleep(service.capabilities.poll_s)
    checkpoints = environment.ask(service.checkpoints, id) if job.status == SUCCEEDED else ()
    if as_json:
        _print(json.dumps({**asdict(job), "checkpoints": [asdict(c) for c in checkpoints]}, indent=1))
    else:
        for checkpoint in sorted(checkpoints, key=lambda c: c.step):
            measured = {k: v for k, v in checkpoint.metrics.items() if isinstance(v, float) and k != "step"}
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in sorted(measured.items()))
            _print(f"checkpoint at step {checkpoint.step}: {checkpoint.model}  {numbers}")
        _print(_line(job))
    return 0 if job.status == SUCCEEDED else 1


def _show(job: TuningJob, as_json: bool) -> None:
    _print(json.dumps(asdict(job), indent=1) if as_json else _line(job))


def _line(job: TuningJob) -> str:
    made = f" -> {job.tuned_model}" if job.tuned_model else ""
    why = f" ({job.failure.code}: {job.failure.message})" if job.failure else ""
    return f"{job.id}  {_time(job.created)}  {job.status:<16} {job.model}{made}{why}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
