"""``harness store``: what the store holds, whether it is whole, and making room in it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.words import plural

if TYPE_CHECKING:
    from harness.store.upkeep import Entry

DAY_S = 86_400.0


def add_store(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True)
    ls = actions.add_parser("ls", help="what it holds: size, age, last use, and the candidates that used it")
    ls.add_argument(
        "--report-dir", type=Path, default=Path("reports"), help="where the runs lie that used it"
    )
    verify = actions.add_parser("verify", help="read all of it; exit status 1 where it is not as written")
    gc = actions.add_parser("gc", help="remove what was not used for long, what is made again for free first")
    gc.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
    gc.add_argument(
        "--older-than",
        type=_days,
        default=30,
        metavar="DAYS",
        help="such as 90d; default 30d",
    )
    gc.add_argument("--paid", action="store_true", help="also answers and jobs that may have cost money")
    for action in (ls, verify, gc):
        action.add_argument("--harness-store", type=Path, default=Path(".harness"), help="default: .harness")


def _days(text: str) -> int:
    number = text.removesuffix("d")
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days, such as 30d")
    return int(number)


def store(given: argparse.Namespace) -> int:
    """``harness store``. 0: done; 1: ``verify`` found something wrong.

    Raises:
        UsageError: there is no store.
        StoreError: its database cannot be read or written.
    """
    from harness.store import upkeep

    folder: Path = given.harness_store
    if not folder.is_dir():
        raise UsageError(f"there is no store at {folder}.\n  hint: name its folder by --harness-store.")
    if given.action == "verify":
        return _verify(folder)
    found = list(upkeep.entries(folder))
    if given.action == "ls":
        _list(found, _users(given.report_dir))
        return 0
    chosen = list(upkeep.removable(found, unused_s=given.older_than * DAY_S, paid=given.paid))
    kept = [] if given.dry_run else upkeep.remove(folder, chosen)
    for entry in chosen:
        word = "stays: a run is making it" if entry in kept else "would go" if given.dry_run else "gone"
        _print(f"{_size(entry.bytes):>9}  {entry.kind:<10} {entry.name}  ({entry.about}; {word})")
    freed = sum(entry.bytes for entry in chosen if entry not in kept)
    left = sum(entry.bytes for entry in found) - freed
    would = "would be" if given.dry_run else "is"
    _print(f"{_size(freed)} {would} free; {_size(left)} stay.")
    paid = sum(entry.bytes for entry in found if entry.worth == "paid")
    if not given.paid and paid:
        _print(f"{_size(paid)} of what stays may have cost money: only --paid takes it.")
    return 0


def _verify(folder: Path) -> int:
    from harness.store import upkeep

    wrong = list(upkeep.problems(folder))
    for problem in wrong:
        _print(f"{problem.where}: {problem.what}.\n  hint: {problem.mend}.")
    extra = [each for each in upkeep.entries(folder) if each.worth == "left"] if not wrong else []
    for entry in extra:
        _print(f"{entry.name}: {entry.about}; `harness store gc` removes it.")
    _print(f"{folder}: {plural(len(wrong), 'problem')}." if wrong else f"{folder}: all is as it was written.")
    return 1 if wrong else 0


def _users(reports: Path) -> dict[str, list[str]]:
    """By training: the candidates and runs that used it, as the reports tell."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(reports.glob("*/run.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # what cannot be read used nothing
            for trial in json.loads(file.read_bytes())["trials"]:
                user = f"{trial['candidate']} in {file.parent.name}"
                if trial["training"] and user not in found[trial["training"]["fingerprint"]]:
                    found[trial["training"]["fingerprint"]].append(user)
    return found


def _list(found: Iterable[Entry], users: dict[str, list[str]]) -> None:
    _print(f"{'size':>9}  {'age':>6}  {'unused':>6}  {'what':<10} name")
    for entry in found:
        used: Sequence[str] = users.get(entry.fingerprint, []) if entry.fingerprint else []
        by = f"; {used[-1]}" + (f" and {len(used) - 1} more" if len(used) > 1 else "") if used else ""
        ages = f"{_age(entry.age_s):>6}  {_age(entry.unused_s):>6}"
        _print(f"{_size(entry.bytes):>9}  {ages}  {entry.kind:<10} {entry.name}  ({entry.about}{by})")


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    for unit, size in (("d", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


def _size(count: int) -> str:
    size, units = float(count), ("B", "kB", "MB", "GB", "TB")
    unit = 0
    while size >= 1000 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {units[unit]}" if size >= 100 or not unit else f"{size:.1f} {units[unit]}"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
