"""Every comparison of the run, one line each, gates first; what its rows can show, and its slices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite

import numpy as np

from harness.decision.exploratory import anything_changed, by_slice, which_changed
from harness.decision.paired import compare
from harness.decision.power import can_show_of, smallest_effect
from harness.decision.vectors import recorded_units
from harness.records import Comparison, Gate, Kind, Role, RunRecord, ScoreVector
from harness.report import numbers
from harness.report.pictures import MOST_FORESTS, OUTCOME_TONE, slices_forest
from harness.report.trial_pairs import MOST_OF_A_SLICE, is_advisory, pairs, seeds_label, trial_label
from harness.report.view_models import (
    ComparisonLine,
    Comparisons,
    Figures,
    IntervalPlot,
    SliceLine,
    Slices,
    TextTable,
    Tone,
)

SLICES_NOTE = (
    "Exploratory: these slices were not chosen before looking, and none of them decides. "
    "p-values are two-sided, adjusted by Benjamini–Hochberg within one score and one slice key. "
    "A slice that matters deserves its own rows and its own gate."
)
_STATE_ORDER = ("gated", "missing", "advisory", "measured")
_REACHES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_MOST_SLICES = 40  # lines of one table


def comparisons(record: RunRecord) -> Comparisons:
    """The gates in the order gated, not run, advisory, measured; then scores that no gate asserts."""
    gates = sorted(record.gates, key=lambda gate: _STATE_ORDER.index(gate.state))
    asserted = {(g.suite, g.candidate, g.size, g.comparison.score) for g in gates if g.comparison}
    # suite, candidate and baseline at the largest size
    sides: list[tuple[str, ScoreVector, ScoreVector | float]] = []
    ungated: list[tuple[str, Comparison]] = []
    for pair in pairs(record):
        for info in pair.suite.scores:
            vectors = pair.vectors(info.name)
            if vectors is None:
                continue
            sides.append((pair.suite.name, *vectors))
            if (pair.suite.name, pair.candidate.name, pair.lead.size, info.name) not in asserted:
                ungated.append((pair.suite.name, compare(*vectors, alpha=record.alpha)))
    on_one_axis: dict[tuple[str, str], list[Comparison]] = {}
    for suite, found in [*((gate.suite, gate.comparison) for gate in gates), *ungated]:
        if found is not None:
            on_one_axis.setdefault((suite, found.score), []).append(found)
    reach = {place: reach_of(mine) for place, mine in on_one_axis.items()}
    measured = {(suite, mine.score, mine.subject): (mine, theirs) for suite, mine, theirs in sides}

    def shown(gate: Gate) -> ComparisonLine:
        found = gate.comparison
        if found is None:
            return gate_line(gate, 1.0, record.alpha)
        line = gate_line(gate, reach[gate.suite, found.score], record.alpha)
        vectors = measured.get((gate.suite, found.score, found.candidate))
        if vectors is None or found.rows or gate.correction or gate.against or gate.role is Role.THRESHOLD:
            return line
        effect = smallest_effect(*vectors, alpha=found.alpha)
        return replace(line, mde=numbers.NONE if effect is None else f"{100 * effect:.1f}")

    return Comparisons(
        lines=[
            *map(shown, gates),
            *(_line(suite, found, reach[suite, found.score], record.alpha) for suite, found in ungated),
        ],
        note="Differences are candidate − baseline on the same rows. In brackets stands the range that holds"
        f" the true one in {numbers.level(record.alpha)} of such runs; all of it has to lie above what is"
        " claimed (dashed).",
        power=[
            f"{suite} / {mine.score}, {mine.subject}: {can_show_of(mine, theirs, alpha=record.alpha)}."
            for suite, mine, theirs in sides
        ],
        changes=_changes(sides) if sides else None,
    )


def gate_line(gate: Gate, reach: float, alpha: float) -> ComparisonLine:
    """A gate, formatted. ``reach`` is the half-width of its axis, in score units.

    An interval at another level than the run's ``alpha`` says which.
    """
    if gate.comparison is not None:
        return _line(gate.suite, gate.comparison, reach, alpha, gate)
    return ComparisonLine(
        suite=gate.suite,
        test=_function(gate.test),
        score=numbers.NONE,
        role={Role.TARGET: "target: better", Role.GUARD: "guard: not worse"}.get(gate.role, "threshold"),
        state="not run",
        subject=seeds_label(gate.size, gate.seeds, gate.candidate),
        outcome="not run",
        reason=f"The decision cannot be GO: {gate.why or 'the gate was deselected or never reached.'}",
        figures=Figures("unsure"),
    )


def _line(
    suite: str, found: Comparison, reach: float, alpha: float, gate: Gate | None = None
) -> ComparisonLine:
    """A comparison. Without a gate it claims nothing, and its colour says which side of zero it is on."""
    reason = found.reason
    if found.kind is Kind.BINARY and found.discordant is not None:
        reason = f"{reason} {numbers.count(found.discordant, found.n)} rows differ.".strip()
    claim = f"threshold: against {found.baseline}"
    if gate and gate.role is Role.TARGET:
        claim = f"target: better by {numbers.points(found.bound)}" if found.bound else "target: better"
    elif gate and gate.role is Role.GUARD:
        what = "no worse than the reference" if gate.against else "guard"
        claim = f"{what}: above {numbers.points(found.bound)}"
    figures = _figures(found, reach, OUTCOME_TONE[found.outcome] if gate else _sign_tone(found))
    if found.alpha != alpha and found.low is not None:
        figures = replace(figures, interval=f"{figures.interval} ({numbers.level(found.alpha)})")
    return ComparisonLine(
        suite=suite,
        test=_function(gate.test) if gate else "",
        score=f"{found.score} where {found.rows}" if found.rows else found.score,
        role=claim if gate else numbers.NONE,
        state=gate.state if gate else "no gate",
        subject=seeds_label(gate.size, gate.seeds, gate.candidate) if gate else found.candidate,
        outcome=found.outcome.value if gate else numbers.NONE,
        reason=reason if gate else "",
        figures=figures,
        baseline=found.baseline,
        method=found.method,
    )


def _function(test: str) -> str:
    """The test's function; the suite, which is shown beside it, says the file."""
    return test.rsplit("::", 1)[-1]


def _figures(found: Comparison, reach: float, tone: Tone, *, with_bound: bool = True) -> Figures:
    return Figures(
        tone=tone,
        n=numbers.count(found.n),
        clusters="" if found.clusters is None else f"in {numbers.plural(found.clusters, 'cluster')}",
        failed=f"{found.failures:,} failed" if found.failures else "",
        baseline_mean=numbers.mean(found.baseline_mean, found.kind),
        candidate_mean=numbers.mean(found.candidate_mean, found.kind),
        difference=numbers.points(found.difference),
        interval=numbers.interval(found.low, found.high),
        plot=plot(found, reach, tone, with_bound=with_bound),
    )


def _sign_tone(found: Comparison) -> Tone:
    """Good or bad where the interval lies on one side of zero; plain where it holds zero."""
    if found.low is not None and found.low > 0:
        return "good"
    return "bad" if found.high is not None and found.high < 0 else "plain"


def _changes(sides: Iterable[tuple[str, ScoreVector, ScoreVector | float]]) -> TextTable:
    """Did anything change, in either direction? One line for each suite and score."""
    generator = np.random.default_rng(0)  # the permutations are the same each time that the page is built
    suites, mine, theirs = zip(*sides, strict=True)
    found = which_changed([anything_changed(*both, generator) for both in zip(mine, theirs, strict=True)])
    rows = [
        (
            f"{suite} / {adjusted.change.score}",
            adjusted.change.candidate,
            numbers.count(adjusted.change.n),
            numbers.points(adjusted.change.difference),
            numbers.p_value(adjusted.change.p),
            numbers.p_value(adjusted.holm_p),
            adjusted.change.method,
        )
        for suite, adjusted in zip(suites, found, strict=True)
    ]
    return TextTable(
        "Did anything change, in either direction?",
        ("suite / score", "candidate", "n#", "difference#", "p (two-sided)#", "p (Holm-adjusted)#", "test"),
        rows,
        f"Exploratory: {len(found)} questions were asked of one run, so read the adjusted p (S. Holm 1979)."
        " That a suite changed says neither that it got better nor that a gate holds.",
    )


def slices(record: RunRecord) -> list[Slices]:
    """Scores by row metadata: a table for each suite, candidate and score, the largest differences first."""
    tables = []
    gated = {(g.suite, g.comparison.score) for g in record.gates if g.comparison and g.state == "gated"}
    n_forests = 0
    for pair in pairs(record):
        units = recorded_units(pair.suite)
        keys = [key for key in pair.suite.slices if any(key in row.slices for row in pair.suite.rows)]
        for info in pair.suite.scores:
            sides = pair.vectors(info.name)
            if sides is None:
                continue
            found = [(k, *line) for k in keys for line in by_slice(units, *sides, k, alpha=record.alpha)]
            ranked = sorted(found, key=lambda line: -abs(line[2].difference or 0.0))[:_MOST_SLICES]
            reach = reach_of(comparison for _, _, comparison, _ in ranked)
            note = f"{trial_label(pair.lead)} − {pair.candidate.baseline}; intervals are two-sided "
            note += f"{numbers.level(record.alpha)}, unadjusted."
            if len(found) > len(ranked):
                note += f" The {len(ranked)} largest differences of {len(found):,} slices are shown."
            lines = [
                SliceLine(
                    key=key,
                    value=value[:MOST_OF_A_SLICE],
                    figures=_figures(comparison, reach, _sign_tone(comparison), with_bound=False),
                    p_adjusted=numbers.p_value(adjusted),
                )
                for key, value, comparison, adjusted in ranked
            ]
            title = f"{pair.suite.name} / {info.name}, {pair.lead.label}"
            title += " (advisory)" if is_advisory(info) else ""
            forest = None
            if (pair.suite.name, info.name) in gated and n_forests < MOST_FORESTS:
                named = [(f"{key} {value}", found, _sign_tone(found)) for key, value, found, _ in ranked]
                forest = slices_forest(title, named)
                n_forests += forest is not None
            tables.append(Slices(title, lines, axis(reach), note, forest))
    return [table for table in tables if table.lines]


def reach_of(found: Iterable[Comparison]) -> float:
    """The half-width, in score units, of one axis that holds every interval: a round number."""
    ends = (v for c in found for v in (c.low, c.high, c.difference, c.bound) if v is not None)
    widest = max((abs(v) for v in ends if isfinite(v)), default=0.0)
    return next((reach for reach in _REACHES if widest <= reach), 1.0)


def axis(reach: float) -> tuple[str, str]:
    """The labels of the two ends of the axis, in points."""
    return numbers.points(-reach).replace(".0", ""), numbers.points(reach).replace(".0", "")


def plot(found: Comparison, reach: float, tone: Tone, *, with_bound: bool = True) -> IntervalPlot | None:
    """The marks of one interval on an axis from ``-reach`` to ``reach``; None without an interval."""
    low, high, middle = found.low, found.high, found.difference
    if low is None or high is None or middle is None or not all(map(isfinite, (low, high, middle))):
        return None
    left, right, point, bound = (
        round(min(100.0, max(0.0, 50 + 50 * value / reach)), 2) for value in (low, high, middle, found.bound)
    )
    has_bound = with_bound and bool(found.bound)
    label = f"difference {numbers.points(middle)} points, interval {numbers.interval(low, high)}"
    if has_bound:
        label += f", has to clear {numbers.points(found.bound)}"
    width = round(max(right - left, 0.4), 2)
    return IntervalPlot(left, width, point, bound if has_bound else None, tone, axis(reach), label)
