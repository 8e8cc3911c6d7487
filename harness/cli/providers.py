"""``harness providers``: which tuning services are known, as read when, and whether that still holds."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.training.hosted.services import Service

SHOWN = 40  # lines of drift: one screen


def add_providers(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("name", nargs="?", help="all that is known of this one")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="compare the recorded shapes with the installed SDKs"
    )
    what.add_argument("--record", action="store_true", help="print the shapes that the installed SDK has now")
    what.add_argument("--json", action="store_true", help="for programs")


def providers(given: argparse.Namespace) -> int:
    """``harness providers``. 1: recorded shapes are no longer those of the installed SDK.

    Raises:
        UnknownName: no such service.
    """
    from harness.training.hosted.services import service_of, services

    found = list(services().values()) if given.name is None else [service_of(given.name)]
    if given.check:
        return _check(found)
    if given.record:
        for service in found:
            _record(service)
    elif given.json:
        _print(json.dumps([asdict(service) for service in found], indent=1, default=str))
    elif given.name is None:
        _table(found)
    else:
        _details(found[0])
    return 0


def _table(found: list[Service]) -> None:
    rows = [("service", "candidate", "shapes of", "read on", "a tuned model answers")]
    rows += [(each.name, each.candidate, each.read_from, str(each.read_on), each.answers) for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    _print("")
    _print("No job has been begun at any of them from here: `harness providers NAME` says what is untried.")
    _print("`harness providers --check` compares the shapes with the installed SDKs.")


def _details(service: Service) -> None:
    sdk = f"{service.read_from} (installed: {service.sdk} {service.installed or 'not'})"
    lines = [
        ("candidate", service.candidate),
        ("shapes of", sdk),
        ("read on", str(service.read_on)),
        ("from", service.source),
        ("answers", service.answers),
        *(("works" if not n else "", each) for n, each in enumerate(service.works)),
        *(("untried" if not n else "", each) for n, each in enumerate(service.untried)),
    ]
    if service.statuses is not None:
        told = asdict(service.statuses)
        lines += [(name.replace("_", " "), ", ".join(words)) for name, words in told.items() if words]
    width = min(shutil.get_terminal_size().columns, 110)
    _print(service.title)
    for name, text in lines:
        head, rest = f"  {name:<11}", " " * 13
        wrapped = textwrap.wrap(
            text, width, initial_indent=head, subsequent_indent=rest, break_long_words=False
        )
        _print("\n".join(wrapped))
    _print(f"  {'shapes':<11}{', '.join(name.rpartition('.')[2] for name in service.shapes)}")


def _check(found: list[Service]) -> int:
    is_whole, budget = True, SHOWN
    for service in found:
        if not service.compared:
            _print(f"{service.name}: read from {service.source}; no SDK has its shapes")
            continue
        if service.installed is None:
            _print(f"{service.name}: not compared; pip install 'finetune-harness[{service.name}]'")
            continue
        drift = service.drift()
        versions = f"{service.sdk} {service.installed}, read from {service.sdk_version}"
        if not drift:
            _print(f"{service.name}: as recorded ({versions})")
            continue
        is_whole = False
        _print(f"{service.name}: {len(drift)} differences ({versions})")
        for line in drift[:budget]:
            _print(f"  {line}")
        if len(drift) > budget:
            _print(f"  and {len(drift) - budget} more")
        budget = max(1, budget - len(drift))
    if not is_whole:
        _print(
            "  hint: + is new in the SDK, - is gone, ~ has changed. See whether the provider still asks and"
            " reads what\n  it should, then write `harness providers NAME --record` into its file."
        )
    return 0 if is_whole else 1


def _record(service: Service) -> None:
    """The shapes as they stand in a service's file; those that are not the SDK's are left as they are."""
    from harness.training.hosted.services import shape_of

    for name, told in service.shapes.items():
        shape = shape_of(name) if name in service.compared else told
        _print(f"\n[shapes.{json.dumps(name)}]")
        for each, kind in shape.items():
            _print(f"{each} = " + (f"'{kind}'" if '"' in kind else f'"{kind}"'))


def _print(text: str) -> None:
    print(text)  # noqa: T201 - a command prints
