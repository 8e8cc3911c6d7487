"""``harness twin``: the hosted service's API on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from harness.errors import UsageError

PORT = 8123


@dataclass(frozen=True, slots=True)
class TwinAsked:
    """What ``harness twin`` was asked for."""

    port: int
    state: Path | None
    scripted: bool
    stands_in_for: tuple[str, ...]
    fail: tuple[str, ...]


def add_twin(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``harness twin``."""
    parser.add_argument("--port", type=int, default=PORT, help=f"on 127.0.0.1; default {PORT}, 0 takes any")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep files, jobs and models there")
    parser.add_argument("--scripted", action="store_true", help="no model: echoes, and learns rows by heart")
    parser.add_argument(
        "--stand-in", action="append", default=[], metavar="MODEL", help="offer this model's name too"
    )
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="FAULT=VALUE",
        help="switch a fault on, such as rate_limited=0.05 or job_fails_at_step=3; an unknown one lists all",
    )


def twin(asked: TwinAsked) -> int:
    """``harness twin``. 0: stopped by Ctrl-C or a termination signal."""
    from harness.models.progress import Drawn, Silent
    from harness.testing.fake_openai import ScriptedBackend, running_twin
    from harness.testing.fake_openai.faults import parse_faults
    from harness.testing.fake_openai.real import RealBackend
    from harness.testing.fake_openai.serving import require_installed

    require_installed()
    faults = parse_faults(_pairs(asked.fail))
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
    backend = ScriptedBackend() if asked.scripted else RealBackend(progress=progress)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with running_twin(
            backend=backend,
            state=asked.state,
            port=asked.port,
            faults=faults,
            stands_in_for=asked.stands_in_for,
        ) as base_url:
            print(_greeting(base_url, asked), flush=True)  # noqa: T201 - a command speaks
            stopped.wait()
    finally:
        backend.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--fail {text}: write FAULT=VALUE, such as --fail rate_limited=0.05.")
        pairs[name.strip().replace("-", "_")] = value.strip()
    return pairs


def _greeting(base_url: str, asked: TwinAsked) -> str:
    from harness.testing.fake_openai.catalogue import CHAT

    behind = "scripted answers, no model" if asked.scripted else "the built-in model, really trained"
    kept = f"kept in {asked.state}" if asked.state else "forgotten at the end (keep it with --state DIR)"
    return (
        f"The local twin answers at {base_url} ({behind}; {kept}).\n"
        "Point the SDK at it, with any key:\n"
        f"  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=any\n"
        f"Models: {', '.join((CHAT, *asked.stands_in_for))}, and more at {base_url}/models.\n"
        f"What was called: {base_url.removesuffix('/v1')}/twin/stats. Ctrl-C ends it."
    )
