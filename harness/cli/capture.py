"""``harness capture``: record what a hosted model answers to suites, while it still answers."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from harness.cli.arguments import number, whole
from harness.errors import UsageError
from harness.fields import LARGEST
from harness.records import FailureKind

if TYPE_CHECKING:
    from harness.data.recorded import Matched

INTERRUPTED = 130


def add_capture(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("suite", type=Path, nargs="+", help="a suite's folder, or its test file")
    parser.add_argument("--model", required=True, help="its name at the service")
    parser.add_argument(
        "--base-url", metavar="URL", help="the service; default: OPENAI_BASE_URL, else OpenAI"
    )
    parser.add_argument("--api-key-env", metavar="NAME", help="the variable that holds the key")
    parser.add_argument(
        "--out", type=Path, default=Path("answers.jsonl"), metavar="FILE", help="default: answers.jsonl"
    )
    parser.add_argument(
        "--as-trained",
        action="store_true",
        help="ask with each row's own turns, not with the suite's prompt: for a fine-tune",
    )
    parser.add_argument(
        "--schema",
        metavar="FILE",
        help="the JSON schema that answers to suites with a JsonSchema check are bound to",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=whole(1, LARGEST),
        default=128,
        metavar="N",
        help="longest answer, where the suite's max_tokens is not lower; default: 128",
    )
    parser.add_argument("--max-usd", type=number(above=0), metavar="USD", help="most that it may cost")
    parser.add_argument("--final", action="store_true", help="the suites' final rows")


def capture(given: argparse.Namespace) -> int:
    """``harness capture``. 0: every row has its answer; 1: a call failed; 130: interrupted.

    Raises:
        HarnessError: a suite or the file cannot be read, the service cannot be asked, the cap is reached.
    """
    from harness.candidates.lab import answer_schema
    from harness.models.ledger import Ledger, Money
    from harness.models.progress import Drawn, Printed
    from harness.models.protocol import Decoding
    from harness.models.remote import RemoteModel
    from harness.models.structured import require_bindable, schema_notes
    from harness.report import numbers
    from harness.run.capture import Capture, read_whole
    from harness.run.costs import economics_config
    from harness.run.judge_check import suite_at

    root = Path.cwd()
    suites = [suite_at(path, root, final=given.final) for path in given.suite]
    config = economics_config(suites, root)
    prices = ({}, "economics.toml") if config is None else (config.prices, config.where)
    ledger = Ledger(given.max_usd)
    model = RemoteModel(given.model, base_url=given.base_url, api_key_env=given.api_key_env)
    schema = None if given.schema is None else answer_schema(given.schema, str(Path(given.schema)), root)
    require_bindable(model, schema)
    bound = [suite.binding(schema) for suite in suites]
    if schema is not None and not any(bound):
        raise UsageError(f"--schema {schema.name} binds no answer: no suite here has a JsonSchema check.")
    model.require_ready()
    spending = Money(ledger, lambda: prices).on(model.billed_as)
    decoding = Decoding(max_new_tokens=given.max_new_tokens)
    recording = Capture(model, decoding, given.as_trained, schema, spending)
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Printed(sys.stderr.write, steps=True)
    for note in schema_notes(model, schema):
        _print(note)
    failed, status = 0, 0
    # what is on its way when the process is told to end is paid for, and comes yet
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for suite in suites:
            matched = recording.record(suite, given.out, progress)
            for line in told(suite.name, matched):
                _print(line)
            failed += sum(one.failure_kind is FailureKind.ERROR for one in matched.found.values())
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        lines = read_whole(given.out)
        came = sum(one.failure_kind is not FailureKind.ERROR for one in lines)
        more = f", and {numbers.plural(len(lines) - came, 'call')} that failed" if came < len(lines) else ""
        _print(f"{given.out}: {numbers.plural(came, 'answer')}{more}")
        if ledger.lines():
            _print(f"paid now: {numbers.usd(ledger.spent_usd)}")
        signal.signal(signal.SIGTERM, before)
    if failed or status:
        _print("The same command goes on where this one ended, and asks again for what failed.")
    return status or int(failed > 0)


def told(suite: str, matched: Matched) -> Iterator[str]:
    """What was recorded of one suite, in lines."""
    from harness.report import numbers

    answers = list(matched.found.values())
    served = sorted({one.served_by or one.model for one in answers if one.failure is None})
    came = [one for one in answers if one.failure is None]
    by = ", ".join(served) or "nobody"
    yield f"{suite}: {numbers.count(len(came), len(answers))} rows answered, by {by}"
    read, written = (
        sum(getattr(one, f"{kind}_tokens") or 0 for one in came) for kind in ("prompt", "completion")
    )
    times = [one.latency_ms for one in came if one.latency_ms is not None]
    if times:
        yield f"  {read:,} tokens read, {written:,} written; median latency {median(times):,.0f} ms"
    cut = sum(one.finish == "length" for one in came)
    if cut:
        yield f"  {cut:,} cut off at their limit: record with a higher --max-new-tokens into another file"
    for failure, n in Counter(one.failure for one in answers if one.failure is not None).most_common():
        yield f"  {n:,} without an answer: {failure}"


def _print(text: str) -> None:
    from harness.report.printable import printable

    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()
