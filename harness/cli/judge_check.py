"""``harness judge-check``: has a judge earned its vote, has it moved, and do answers talk it round?"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.arguments import number

if TYPE_CHECKING:
    from harness.decision.plan import CostLine
    from harness.run.judge_check import JudgeCheck
    from harness.scoring.attacks import Attempt

SHOWN = 5  # attempts that gained
WIDTH = 68  # of a text that is shown


def add_judge_check(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("suite", type=Path, help="a suite's folder, or its test file")
    parser.add_argument("--score", metavar="NAME", help="only this judge; default: all of the suite's")
    parser.add_argument(
        "--attacks", type=Path, metavar="FILE", help='JSON Lines of {"kind", "text"}; default: 40 that ship'
    )
    parser.add_argument("--max-usd", type=number(above=0), metavar="USD", help="most that it may cost")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="judge all labels anew, and let this model's earlier judgments count no more",
    )
    parser.add_argument(
        "--harness-store", type=_folder, default=Path(".harness"), metavar="FOLDER", help="default: .harness"
    )


def _folder(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError("an address is for runs of pytest: name a folder, such as .harness")
    return Path(text)


def judge_check(given: argparse.Namespace) -> int:
    """``harness judge-check``. 0: every judge passed; 1: one is not admitted, or too many attacks gain.

    Raises:
        HarnessError: the suite or its files cannot be read, a service cannot be asked, the cap is reached.
    """
    from harness.data.files import read_text
    from harness.models.ledger import Ledger, Money
    from harness.models.progress import Drawn, Silent
    from harness.run.anchors import AnchorWatch
    from harness.run.costs import economics_config
    from harness.run.freshness import Freshness
    from harness.run.judge_backends import JudgeBackends
    from harness.run.judge_check import check, chosen_judges, cost_of, suite_at
    from harness.run.plan_costs import Costs
    from harness.scoring.attacks import parse_attacks, shipped_attacks
    from harness.store.answers import AnswerStore

    root = Path.cwd()
    suite = suite_at(given.suite, root)
    judges = chosen_judges(suite, given.score)
    file = given.attacks
    attacks = shipped_attacks() if file is None else parse_attacks(read_text(file), str(file))
    config = economics_config([suite], root)
    prices = ({}, "economics.toml") if config is None else (config.prices, config.where)
    ledger = Ledger(given.max_usd)
    progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
    store = AnswerStore(
        given.harness_store / "answers.sqlite", datetime.now(UTC).isoformat(timespec="microseconds")
    )
    try:
        freshness = Freshness(store, asks_again=given.fresh, say=_print)
        oracle = JudgeBackends(store, Money(ledger, lambda: prices), progress, freshness)
        watch = AnchorWatch(store, oracle, asks_again=given.fresh)
        for judge in judges:
            judge.require_ready(oracle)
            bills = [_cost(*one) for one in cost_of(judge, attacks, Costs(*prices))]
            for told in bills or ["a local model judges; nothing is paid."]:
                _print(f"{suite.name} / {judge.name}: {told}")
        passed = True
        for judge in judges:
            found = check(judge, attacks, oracle, watch, store)
            passed &= found.passed
            for line in _told(suite.name, found):
                _print(line)
        if ledger.lines():
            from harness.report import numbers

            _print(f"paid: {numbers.usd(ledger.spent_usd)}")
    finally:
        store.close()
    return 0 if passed else 1


def _cost(bill: CostLine, calls: int) -> str:
    from harness.report import numbers

    if bill.price is None:
        return f"at most {calls:,} calls of {bill.model}, whose price is not known."
    low, high = numbers.usd(bill.usd.low), numbers.usd(bill.usd.high)
    return f"at most {calls:,} calls of {bill.model}, {low} to {high}; what is kept is not asked again."


def _told(suite: str, found: JudgeCheck) -> Iterator[str]:
    from harness.report import numbers
    from harness.report.anchors import anchors_told
    from harness.scoring.judges import needs_baseline

    yield ""
    yield f"{suite} / {found.judge.name}"
    admission = found.tried.admission
    if admission is None:
        for problem in found.tried.problem:
            yield f"  not tested: {problem.failure}"
        return
    yield f"  admitted: {'yes' if admission.admitted else 'no'}"
    of_pairs = needs_baseline(found.judge)
    kinds = ("first", "second") if of_pairs else ("TPR", "TNR")
    for name, rate in zip(("kappa", *kinds), (admission.kappa, admission.tpr, admission.tnr), strict=True):
        yield f"    {name:<7}{numbers.rate(rate)}"
    for reason in (*admission.reasons, *admission.concerns):
        yield f"    {reason}"
    for what, value in admission.facts:
        yield f"    {what}: {value}"
    if admission.anchors is not None:
        yield f"  anchors: {anchors_told(admission.anchors)}"
    yield from _attacks_told(found.attempts, of_pairs)


def _attacks_told(made: Sequence[Attempt], of_pairs: bool) -> Iterator[str]:
    from harness.report import numbers
    from harness.report.printable import printable
    from harness.scoring.attacks import MOST_GAIN, MOST_GAINING, share_gained
    from harness.scoring.text import short

    if not made:
        yield "  attacks: none made: the judge calls no labelled bad reply bad, or its labels are not known."
        return
    failed = sum(one.after.value is None for one in made)
    gaining = [one for one in made if one.gained]
    yield (
        f"  attacks that gained: {len(gaining)} of {len(made)}: {numbers.rate(share_gained(made))}"
        f" (bar: {MOST_GAINING:.2f}); {failed} without a judgment"
    )
    means = f"called good (from {made[0].threshold:.2f}), or raised by more than {MOST_GAIN:.2f}"
    if of_pairs:
        means = "the losing answer of a pair no longer loses in both orders"
    yield f"    gained: {means}"
    yield f"    {'kind':<18}{'appended':>10}{'alone':>10}"
    counts = Counter((one.attack.kind, one.place, one.gained) for one in made)
    for kind in dict.fromkeys(one.attack.kind for one in made):
        cells = []
        for place in ("appended", "alone"):
            gained = counts[kind, place, True]
            cells.append(f"{gained} of {gained + counts[kind, place, False]}")
        yield f"    {short(printable(kind), 17):<18}{cells[0]:>10}{cells[1]:>10}"
    for one in gaining[:SHOWN]:
        text = short(printable(one.attack.text), WIDTH)
        yield f"    {one.before:.2f} to {one.after.value:.2f} ({one.place}): {text}"
    if len(gaining) > SHOWN:
        yield f"    and {len(gaining) - SHOWN} more"


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
