"""What the rows could show, and which suites changed at all: beside the gates, no part of the decision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.decision.changes import Adjusted, anything_changed, which_changed
from harness.decision.power import can_show_of
from harness.records import RunRecord, ScoreVector
from harness.report import numbers
from harness.report.trial_pairs import pairs
from harness.report.view_models import Cell, Table

_FLIPS_SEED = 0  # the permutations are the same each time that the page is built
_HEAD = (
    Cell("suite / score"),
    Cell("candidate"),
    Cell("n", numeric=True),
    Cell("difference", numeric=True),
    Cell("p (two-sided)", numeric=True),
    Cell("p (Holm-adjusted)", numeric=True),
    Cell("test"),
)
_Sides = tuple[str, ScoreVector, ScoreVector]


def power(record: RunRecord) -> tuple[str, ...]:
    """For every score of the largest size: the smallest change that its rows can show."""
    lines = []
    for suite, candidate, baseline in _sides(record):
        said = can_show_of(candidate, baseline, alpha=record.alpha)
        lines.append(f"{suite} / {candidate.score}, {candidate.subject}: {said}.")
    return tuple(lines)


def changes(record: RunRecord) -> Table | None:
    """Did anything change, in either direction? One line for each suite and score; None without any."""
    generator = np.random.default_rng(_FLIPS_SEED)
    sides = list(_sides(record))
    found = which_changed([anything_changed(mine, theirs, generator) for _, mine, theirs in sides])
    rows = tuple(_row(suite, one) for (suite, _, _), one in zip(sides, found, strict=True))
    note = (
        f"Exploratory: {len(found)} questions were asked of one run, so read the adjusted p (S. Holm 1979)."
        " That a suite changed says neither that it got better nor that a gate holds."
    )
    return Table("Did anything change, in either direction?", _HEAD, rows, note) if rows else None


def _row(suite: str, found: Adjusted) -> tuple[Cell, ...]:
    change = found.change
    return (
        Cell(f"{suite} / {change.score}"),
        Cell(change.candidate),
        Cell(numbers.count(change.n), numeric=True),
        Cell(numbers.points(change.difference), numeric=True),
        Cell(numbers.p_value(change.p), numeric=True),
        Cell(numbers.p_value(found.holm_p), numeric=True),
        Cell(change.method),
    )


def _sides(record: RunRecord) -> Iterator[_Sides]:
    """Suite, candidate and baseline of every score that both have, at the largest size."""
    for pair in pairs(record):
        for info in pair.suite.scores:
            sides = pair.vectors(info.name)
            if sides is not None:
                yield (pair.suite.name, *sides)
