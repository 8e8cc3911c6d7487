"""Scores broken down by row metadata: exploratory, adjusted, and labelled so."""

from __future__ import annotations

from harness.decision.exploratory import by_slice
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


def slices(record: RunRecord) -> tuple[Slices, ...]:
    """One table for each suite, candidate and score, the largest differences first."""
    tables = []
    for pair in pairs(record):
        present = {key for row in pair.suite.rows for key in row.slices}
        units = recorded_units(pair.suite)
        keys = [key for key in pair.suite.slices if key in present]
        for info in pair.suite.scores:
            sides = pair.vectors(info.name)
            if sides is not None and keys:
                found = [(k, *line) for k in keys for line in by_slice(units, *sides, k, alpha=record.alpha)]
                tables.append(_table(pair, info, found, numbers.level(record.alpha)))
    return tuple(table for table in tables if table.lines)


def _table(
    pair: Pair, info: ScoreInfo, found: list[tuple[str, str, Comparison, float | None]], level: str
) -> Slices:
    ranked = sorted(found, key=lambda line: -abs(line[2].difference or 0.0))[:_MOST]
    reach = reach_of(comparison for _, _, comparison, _ in ranked)
    low, high = axis(reach)
    note = (
        f"{trial_label(pair.lead)} − {pair.candidate.baseline}; intervals are two-sided {level}, unadjusted."
    )
    if len(found) > len(ranked):
        note += f" The {len(ranked)} largest differences of {len(found):,} slices are shown."
    lines = tuple(
        SliceLine(
            key=key,
            value=value[:MOST_OF_A_SLICE],
            n=numbers.count(comparison.n),
            baseline_mean=numbers.mean(comparison.baseline_mean, info.kind),
            candidate_mean=numbers.mean(comparison.candidate_mean, info.kind),
            difference=numbers.points(comparison.difference),
            interval=numbers.interval(comparison.low, comparison.high),
            p_adjusted=numbers.p_value(adjusted),
            tone=sign_tone(comparison),
            plot=plot(comparison, reach, sign_tone(comparison), with_bound=False),
        )
        for key, value, comparison, adjusted in ranked
    )
    advisory = " (advisory)" if is_advisory(info) else ""
    return Slices(
        title=f"{pair.suite.name} / {info.name}, {pair.lead.label}{advisory}",
        lines=lines,
        axis_low=low,
        axis_high=high,
        note=note,
    )
