"""``harness jobs``: fine-tuning jobs at a service, listed, followed, ended."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from harness.training.hosted.driver import Pacing
    from harness.training.hosted.requests import Job, Steps
    from harness.training.hosted.service import OpenAIService

T = TypeVar("T")
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
    from harness.models.endpoint import Endpoint
    from harness.models.profiles import profile_of
    from harness.training.hosted.driver import Pacing
    from harness.training.hosted.service import OpenAIService

    base_url, key = getattr(given, "base_url", None), getattr(given, "api_key_env", None)
    profile = profile_of(getattr(given, "profile", None), Endpoint(base_url).url)
    with OpenAIService(profile.endpoint(base_url, key)) as service:
        asked = _Asked(service, Pacing(), profile.poll_s, getattr(given, "json", False))
        if given.action == "follow":
            try:
                return _follow(asked, given.id)
            except KeyboardInterrupt:
                sys.stderr.write(f"the job {given.id} goes on at the service.\n")
                return INTERRUPTED
        if given.action in ("cancel", "resume"):
            return _change(asked, given.action, given.id)
        return _list(asked)


@dataclass(frozen=True)
class _Asked:
    service: OpenAIService
    pacing: Pacing
    poll_s: float
    as_json: bool


def _list(asked: _Asked) -> int:
    from harness.training.hosted.requests import ListJobs, ask

    found = sorted(_driven(ask(ListJobs()), asked), key=lambda job: job.created, reverse=True)
    if asked.as_json:
        _print(json.dumps([asdict(job) for job in found], indent=1))
        return 0
    for job in found:
        _print(_line(job))
    if not found:
        _print("no tuning jobs there.")
    return 0


def _follow(asked: _Asked, id: str) -> int:
    """Print events as they come, then checkpoints and how the job ended."""
    from harness.training.hosted.requests import (
        PAUSED,
        SUCCEEDED,
        GetJob,
        ListCheckpoints,
        ListEvents,
        ask,
    )

    seen: set[str] = set()
    last: str | None = None
    while True:
        job = _driven(ask(GetJob(id)), asked)
        for event in _driven(ask(ListEvents(id, last)), asked):
            if event.id not in seen and not asked.as_json:
                _print(f"{_time(event.created)}  {event.message}")
            seen.add(event.id)
            last = event.id
        if job.has_ended or job.status in PAUSED:
            break
        asked.pacing.sleep(asked.poll_s)
    checkpoints = _driven(ask(ListCheckpoints(id)), asked) if job.status == SUCCEEDED else ()
    if asked.as_json:
        _print(json.dumps({**asdict(job), "checkpoints": [asdict(c) for c in checkpoints]}, indent=1))
    else:
        for checkpoint in sorted(checkpoints, key=lambda c: c.step):
            measured = {k: v for k, v in checkpoint.metrics.items() if isinstance(v, float) and k != "step"}
            numbers = ", ".join(f"{name} {value:.3f}" for name, value in sorted(measured.items()))
            _print(f"checkpoint at step {checkpoint.step}: {checkpoint.model}  {numbers}")
        _print(_line(job))
    return 0 if job.status == SUCCEEDED else 1


def _change(asked: _Asked, action: str, id: str) -> int:
    from harness.training.hosted.requests import CancelJob, ResumeJob, ask

    change = CancelJob(id) if action == "cancel" else ResumeJob(id)
    job = _driven(ask(change), asked)
    _print(json.dumps(asdict(job), indent=1) if asked.as_json else _line(job))
    return 0


def _driven(steps: Steps[T], asked: _Asked) -> T:
    from harness.models.progress import SilentBar
    from harness.training.hosted.driver import drive

    return drive(steps, asked.service, SilentBar(), asked.pacing)


def _line(job: Job) -> str:
    made = f" -> {job.tuned_model}" if job.tuned_model else ""
    why = f" ({job.failure.code}: {job.failure.message})" if job.failure else ""
    return f"{job.id}  {_time(job.created)}  {job.status:<16} {job.model}{made}{why}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
