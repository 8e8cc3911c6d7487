"""Scores broken down by row metadata: exploratory, adjusted, and labelled so."""

from __future__ import annotations

from collections.abc import Iterator

from harness.decision.slices import by_slice
from harness.decision.vectors import recorded_units
from harness.records import Comparison, RunRecord, ScoreInfo
from harness.report import numbers
from harness.report.answers import MOST_OF_A_SLICE
from harness.report.intervals import axis, plot, reach_of, sign_tone
from harness.report.trial_pairs import Pair, is_advisory, pairs, trial_label
from harness.report.view_models import SliceLine, Slices

NOTE = (
    "Exploratory: these slices were not chosen before looking, and none of them decides. "
    "p-values are two-sided, adjusted by Benjamini–Hochberg within one score and one slice key. "
    "A slice that matters deserves its own rows and its own gate."
)
_MOST = 40  # lines of one table
_Sliced = tuple[str, str, Comparison, float | None]


def slices(record: RunRecord) -> tuple[Slices, ...]:
    """One table for each suite, candidate and score, the largest differences first."""
    return tuple(
        _table(record, pair, info, found)
        for pair in pairs(record)
        for info in pair.suite.scores
        if (found := list(_sliced(record, pair, info)))
    )


def _sliced(record: RunRecord, pair: Pair, info: ScoreInfo) -> Iterator[_Sliced]:
    sides = pair.vectors(info.name)
    if sides is None:
        return
    present = {key for row in pair.suite.rows for key in row.slices}
    units = recorded_units(pair.suite)
    for key in (key for key in pair.suite.slices if key in present):
        for value, found, adjusted in by_slice(units, *sides, key, alpha=record.alpha):
            yield key, value, found, adjusted


def _table(record: RunRecord, pair: Pair, info: ScoreInfo, found: list[_Sliced]) -> Slices:
    ranked = sorted(found, key=lambda line: -abs(line[2].difference or 0.0))[:_MOST]
    reach = reach_of(comparison for _, _, comparison, _ in ranked)
    low, high = axis(reach)
    level = numbers.percent(1 - 2 * record.alpha, 0)
    note = (
        f"{trial_label(pair.lead)} − {pair.candidate.baseline}; intervals are two-sided {level}, unadjusted."
    )
    if len(found) > len(ranked):
        note += f" The {len(ranked)} largest differences of {len(found):,} slices are shown."
    return Slices(
        title=f"{pair.suite.name} / {info.name}, {pair.lead.label}"
        + (" (advisory)" if is_advisory(info) else ""),
        lines=tuple(_line(*line, info, reach) for line in ranked),
        axis_low=low,
        axis_high=high,
        note=note,
    )


def _line(
    key: str, value: str, found: Comparison, adjusted: float | None, info: ScoreInfo, reach: float
) -> SliceLine:
    tone = sign_tone(found)
    return SliceLine(
        key=key,
        value=value[:MOST_OF_A_SLICE],
        n=numbers.count(found.n),
        baseline_mean=numbers.mean(found.baseline_mean, info.kind),
        candidate_mean=numbers.mean(found.candidate_mean, info.kind),
        difference=numbers.points(found.difference),
        interval=numbers.interval(found.low, found.high),
        p_adjusted=numbers.p_value(adjusted),
        tone=tone,
        plot=plot(found, reach, tone, with_bound=False),
    )
