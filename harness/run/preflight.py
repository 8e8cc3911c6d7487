"""What can be known to be wrong before a model is loaded, trained or asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.candidates.prepare import Lab, require_ready
from harness.candidates.specs import FewShot
from harness.candidates.trained import Trained, known_replay
from harness.data.leakage import require_no_leaks
from harness.errors import HarnessError, UsageError
from harness.records import Row
from harness.run.selection import Arm
from harness.run.suite_loading import LoadedSuite
from harness.scoring.judges import Judge, Oracle


def require_rows(entry: Arm, suites: Iterable[LoadedSuite], lab: Lab) -> None:
    """Check an entry's training rows against the suites.

    Raises:
        UsageError: a size beyond the data.
        DataError: unreadable or leaking rows.
    """
    candidate = entry.candidate
    if not isinstance(candidate, Trained | FewShot):
        return
    rows = lab.rows(candidate.train)
    if entry.size is not None and entry.size > len(rows):
        raise UsageError(
            f"--sizes: {entry.size} rows asked for, and {candidate.train} has {len(rows)}.\n"
            f"  hint: ask for at most {len(rows)}, or add rows."
        )
    seen: list[Row] = list(rows)
    if isinstance(candidate, Trained):
        seen += known_replay(candidate, lab)
    for bound in suites:
        require_no_leaks(seen, bound.rows)


def unready(
    entries: Iterable[tuple[Arm, int]], suites: Iterable[LoadedSuite], lab: Lab, oracle: Oracle
) -> Iterator[HarnessError]:
    """What stands in the way of each entry and judge, as far as is known without a request."""
    for entry, seed in entries:
        try:
            require_ready(entry.candidate, lab, entry.size, seed)
        except HarnessError as problem:
            yield problem
    for bound in suites:
        yield from unready_judges(bound, oracle)


def unready_judges(bound: LoadedSuite, oracle: Oracle) -> Iterator[HarnessError]:
    """What stands in the way of a suite's judges."""
    for score in bound.scores:
        if isinstance(score, Judge):
            try:
                score.require_ready(oracle)
            except HarnessError as problem:
                yield problem
