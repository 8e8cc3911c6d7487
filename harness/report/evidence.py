"""What the rows could show, and which suites changed at all: beside the gates, no part of the decision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.decision.exploratory import anything_changed, which_changed
from harness.decision.power import can_show_of
from harness.records import RunRecord, ScoreVector
from harness.report import numbers
from harness.report.trial_pairs import pairs
from harness.report.view_models import Cell, TextTable

_FLIPS_SEED = 0  # the permutations are the same each time that the page is built
_HEAD = (
    Cell("suite / score"),
    Cell("candidate"),
    *(Cell(name, numeric=True) for name in ("n", "difference", "p (two-sided)", "p (Holm-adjusted)")),
    Cell("test"),
)


def power(record: RunRecord) -> tuple[str, ...]:
    """For every score of the largest size: the smallest change that its rows can show."""
    return tuple(
        f"{suite} / {candidate.score}, {candidate.subject}: "
        f"{can_show_of(candidate, baseline, alpha=record.alpha)}."
        for suite, candidate, baseline in _sides(record)
    )


def changes(record: RunRecord) -> TextTable | None:
    """Did anything change, in either direction? One line for each suite and score; None without any."""
    generator = np.random.default_rng(_FLIPS_SEED)
    sides = list(_sides(record))
    if not sides:
        return None
    found = which_changed([anything_changed(mine, theirs, generator) for _, mine, theirs in sides])
    rows = []
    for (suite, _, _), adjusted in zip(sides, found, strict=True):
        change = adjusted.change
        figures = (
            numbers.count(change.n),
            numbers.points(change.difference),
            numbers.p_value(change.p),
            numbers.p_value(adjusted.holm_p),
        )
        names = Cell(f"{suite} / {change.score}"), Cell(change.candidate)
        rows.append((*names, *(Cell(text, numeric=True) for text in figures), Cell(change.method)))
    note = (
        f"Exploratory: {len(found)} questions were asked of one run, so read the adjusted p (S. Holm 1979)."
        " That a suite changed says neither that it got better nor that a gate holds."
    )
    return TextTable("Did anything change, in either direction?", _HEAD, tuple(rows), note)


def _sides(record: RunRecord) -> Iterator[tuple[str, ScoreVector, ScoreVector]]:
    """Suite, candidate and baseline of every score that both have, at the largest size."""
    for pair in pairs(record):
        for info in pair.suite.scores:
            sides = pair.vectors(info.name)
            if sides is not None:
                yield (pair.suite.name, *sides)
