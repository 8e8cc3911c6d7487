"""Everything that can be known to be wrong before a model is loaded, trained or asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from harness.candidates.base import Candidate, Prepared
from harness.candidates.lab import Lab
from harness.data.leakage import require_no_leaks
from harness.errors import HarnessError, UsageError
from harness.models.protocol import Decoding, Prompt
from harness.run.references import require_references
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Oracle


def require_rows(arms: Iterable[Arm], suites: Iterable[LoadedSuite], lab: Lab) -> None:
    """Check the rows that shape candidates against the suites; the sizes of one candidate share them.

    Raises:
        UsageError: a size beyond the data.
        DataError: unreadable or leaking rows, or a check that scores a row's own reference as wrong.
    """
    suites = list(suites)
    for suite in suites:
        require_references(suite)
    compared: set[str] = set()
    for arm in arms:
        data = arm.candidate.data(lab.at(arm.folder))
        if data is None:
            continue
        if data.is_trained and not data.train:
            raise UsageError(
                f"{arm.name}: its data() gives no training rows, and it is trained.\n"
                "  hint: give those that it learns from, or None where it learns from none."
            )
        if arm.size is not None and arm.size > len(data.train):
            raise UsageError(
                f"--sizes: {arm.size} rows asked for, and {data.file} has {len(data.train)}.\n"
                f"  hint: ask for at most {len(data.train)}, or add rows."
            )
        if arm.name not in compared:
            compared.add(arm.name)
            for suite in suites:
                require_no_leaks(data.seen, suite.rows)


Unanswered = Callable[[Arm, Candidate, Prepared], Iterable[tuple[str, Sequence[Prompt], Decoding]]]


def problems_of(arms: Iterable[Arm], lab: Lab, unanswered: Unanswered) -> Iterator[HarnessError]:
    """Why variants could not be prepared or asked; nothing is sent where the lab is offline.

    ``unanswered`` gives what an arm is still to be asked; see ``Lab``.
    """
    for arm in arms:
        own_lab = replace(lab.at(arm.folder), unanswered=partial(unanswered, arm))
        for variant in arm.variants:
            try:
                # the record needs both, when all has been paid for
                arm.candidate.described()
                arm.candidate.endpoint()
                arm.candidate.preflight(own_lab, variant)
            except HarnessError as problem:
                yield problem


def problems_of_judges(suite: LoadedSuite, oracle: Oracle) -> Iterator[HarnessError]:
    """Why a suite's judges could not be asked."""
    for judge in suite.judges:
        try:
            judge.require_ready(oracle)
        except HarnessError as problem:
            yield problem
