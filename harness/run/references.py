"""Every row's own reference, scored before anything is trained or asked: the right answer must be right.

A check that scores a row's reference 0 would score a perfect candidate 0 there. Metadata that contradicts the
reference does that (a text "5" beside the number 5), and so does a pattern that does not match it.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import DataError
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import Check, NamedCheck, own_reference, score_all
from harness.scoring.judges import Judge

FULL_MARKS = 1.0


def require_references(suite: LoadedSuite) -> None:
    """See that each of the harness's own checks gives every row's reference full marks.

    Measures of time and length without a limit give no marks, and judges are not asked.

    Raises:
        DataError: naming the row, the check and what contradicts, and how many rows are like it.
    """
    for check in suite.scores:
        if not isinstance(check, NamedCheck) or not _is_own(check):
            continue
        found = [(row, why) for row in suite.scored_rows if (why := check.contradiction(row)) is not None]
        if found:
            row, why = found[0]
            others = [other.where or other.id for other, _ in found[1:]]
            more = f" (and of {len(others)} more rows, such as {others[0]})" if others else ""
            raise DataError(row.where or suite.heldout, f"{why.problem}{more}.", why.hint)


def reference_notes(suite: LoadedSuite) -> Iterator[str]:
    """What the project's own checks give the rows' references, where that is not 1: a sentence each.

    They may mean it so (a share of a word budget has no full marks), so nothing stops here. It runs code of
    the project's, so ``--plan`` does not call it.
    """
    for check in suite.scores:
        if not isinstance(check, Judge) and not _is_own(check):
            yield from _note(suite, check)


def _is_own(check: Check) -> bool:
    """Whether it is the harness's; a project's class that derives from one may score otherwise, and raise."""
    return type(check).__module__.startswith("harness.")


def _note(suite: LoadedSuite, check: Check) -> Iterator[str]:
    scores = score_all(check, suite.scored_rows, [own_reference(row) for row in suite.scored_rows])
    both = zip(suite.rows, scores, strict=True)
    pairs = [(row, score) for row, score in both if score.value != FULL_MARKS]
    if not pairs:
        return
    failed = [(row, score) for row, score in pairs if score.failure is not None]
    row, worst = min(failed or pairs, key=lambda pair: pair[1].value or 0.0)
    said = f"a failure, {worst.failure}" if worst.failure is not None else f"{worst.value:g}"
    if worst.failure is None and worst.reason:
        said += f" ({worst.reason})"
    yield (
        f"{suite.name}: {check.name!r} gives {len(pairs)} of {len(suite.rows)} rows' own references less than"
        f" 1; {row.where or row.id} gets {said}. A candidate that answers as the references do has no more."
    )
