"""``harness twin``: the hosted service's API on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from harness.atomic import what_is_at
from harness.cli.arguments import whole
from harness.errors import UsageError

PORT = 8123


def add_twin(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``harness twin``."""
    parser.add_argument(
        "--port", type=whole(0, 65_535), default=PORT, help=f"on 127.0.0.1; default {PORT}, 0 takes any"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep files, jobs and models there")
    parser.add_argument(
        "--scripted", action="store_true", help="no model: answers with the most similar example's reply"
    )
    parser.add_argument(
        *("--alias", "--stand-in"), action="append", default=[], metavar="MODEL", help="offer this model too"
    )
    parser.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="FAULT=VALUE",
        help="switch a fault on, such as rate_limited=0.05 or job_fails_at_step=3; an unknown one lists all",
    )


def twin(port: int, state: Path | None, scripted: bool, aliases: Sequence[str], fail: Sequence[str]) -> int:
    """``harness twin``. 0: stopped by Ctrl-C or a termination signal."""
    from harness.models.progress import Drawn, Silent
    from harness.testing.fake_openai import CHAT, ScriptedBackend, parse_faults, running_fake_openai
    from harness.testing.fake_openai.real import RealBackend

    if state is not None and os.path.lexists(state) and what_is_at(state) != "folder":
        raise UsageError(f"--state {state}: that is there, and is no folder.\n  hint: name a folder.")
    faults = {}
    for text in fail:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--fail {text}: write FAULT=VALUE, such as --fail rate_limited=0.05.")
        faults[name.strip().replace("-", "_")] = value.strip()
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
    backend = ScriptedBackend(script=None) if scripted else RealBackend(progress=progress)
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in stopping}
    behind = "scripted answers, no model" if scripted else "the built-in model, really trained"
    kept = f"kept in {state}" if state else "forgotten at the end (keep it with --state DIR)"
    try:
        with running_fake_openai(
            state, port, aliases, faults=parse_faults(faults), backend=backend
        ) as base_url:
            print(  # noqa: T201 - a command speaks
                f"The local twin answers at {base_url} ({behind}; {kept}).\n"
                "Point the SDK at it, with any key:\n"
                f"  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=any\n"
                "or Tinker's SDK:\n"
                f"  export TINKER_BASE_URL={base_url} TINKER_API_KEY=tml-any\n"
                f"Models: {', '.join((CHAT, *aliases))}, and more at {base_url}/models.\n"
                f"What was called: {base_url.removesuffix('/v1')}/twin/stats. Ctrl-C ends it.",
                flush=True,
            )
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0
