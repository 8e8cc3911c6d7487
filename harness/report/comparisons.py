"""Every comparison of the run, one line each, gates first."""

from __future__ import annotations

from collections.abc import Iterator

from harness.decision.paired import compare
from harness.records import Comparison, Gate, Kind, Role, RunRecord
from harness.report import numbers
from harness.report.evidence import changes, power
from harness.report.intervals import OUTCOME_TONE, plot, reach_of, sign_tone
from harness.report.trial_pairs import pairs, seeds_label
from harness.report.view_models import ComparisonLine, Comparisons

_STATE_ORDER = {"gated": 0, "missing": 1, "advisory": 2, "measured": 3}


def comparisons(record: RunRecord) -> Comparisons:
    """The gates in the order gated, not run, advisory, measured; then scores that no gate asserts."""
    gates = sorted(record.gates, key=lambda gate: _STATE_ORDER[gate.state])
    ungated = list(_ungated(record))
    on_one_axis: dict[tuple[str, str], list[Comparison]] = {}
    for suite, found in [*((gate.suite, gate.comparison) for gate in gates), *ungated]:
        if found is not None:
            on_one_axis.setdefault((suite, found.score), []).append(found)
    reach = {place: reach_of(mine) for place, mine in on_one_axis.items()}

    lines = [
        gate_line(gate, reach[gate.suite, gate.comparison.score] if gate.comparison else 1.0)
        for gate in gates
    ]
    lines += [_line(suite, found, reach[suite, found.score]) for suite, found in ungated]
    return Comparisons(
        lines=tuple(lines),
        note="Differences are candidate − baseline on the same rows, in points; intervals are two-sided "
        f"{numbers.level(record.alpha)}, so each limit is a one-sided test at "
        f"{numbers.percent(record.alpha, 0)}. "
        "Lines that are measured, advisory or without a gate decide nothing.",
        power=power(record),
        changes=changes(record),
    )


def _ungated(record: RunRecord) -> Iterator[tuple[str, Comparison]]:
    """Scores of the lead trials that no gate compares: (suite, comparison)."""
    asserted = {(g.suite, g.candidate, g.size, g.comparison.score) for g in record.gates if g.comparison}
    for pair in pairs(record):
        lead = pair.lead
        for info in pair.suite.scores:
            if (pair.suite.name, lead.candidate, lead.size, info.name) in asserted:
                continue
            sides = pair.vectors(info.name)
            if sides is not None:
                yield pair.suite.name, compare(*sides, alpha=record.alpha)


def gate_line(gate: Gate, reach: float) -> ComparisonLine:
    """A gate, formatted. ``reach`` is the half-width of its axis, in score units."""
    if gate.comparison is not None:
        return _line(gate.suite, gate.comparison, reach, gate)
    return ComparisonLine(
        suite=gate.suite,
        test=_function(gate.test),
        score=numbers.NONE,
        role=claim(gate.role, None),
        state="not run",
        subject=seeds_label(gate.size, gate.seeds, gate.candidate),
        outcome="not run",
        tone="unsure",
        reason="The gate was deselected or never reached, so the decision cannot be GO.",
    )


def claim(role: Role, comparison: Comparison | None) -> str:
    """What a gate asserts, in words."""
    if role is Role.TARGET:
        by = comparison.bound if comparison else 0.0
        return f"target: better by {numbers.points(by)}" if by else "target: better"
    if role is Role.GUARD:
        return f"guard: above {numbers.points(comparison.bound)}" if comparison else "guard: not worse"
    return f"threshold: against {comparison.baseline}" if comparison else "threshold"


def _line(suite: str, found: Comparison, reach: float, gate: Gate | None = None) -> ComparisonLine:
    """A comparison. Without a gate it claims nothing, and its colour says which side of zero it is on."""
    tone = OUTCOME_TONE[found.outcome] if gate else sign_tone(found)
    reason = found.reason if gate else ""
    if gate and found.kind is Kind.BINARY and found.discordant is not None:
        reason = f"{reason} {numbers.count(found.discordant, found.n)} rows differ.".strip()
    return ComparisonLine(
        suite=suite,
        test=_function(gate.test) if gate else "",
        score=f"{found.score} where {found.rows}" if found.rows else found.score,
        role=claim(gate.role, found) if gate else numbers.NONE,
        state=gate.state if gate else "no gate",
        subject=seeds_label(gate.size, gate.seeds, gate.candidate) if gate else found.candidate,
        outcome=found.outcome.value if gate else numbers.NONE,
        tone=tone,
        reason=reason,
        baseline=found.baseline,
        n=numbers.count(found.n),
        clusters="" if found.clusters is None else f"in {numbers.plural(found.clusters, 'cluster')}",
        failed=f"{found.failures:,} failed" if found.failures else "",
        baseline_mean=numbers.mean(found.baseline_mean, found.kind),
        candidate_mean=numbers.mean(found.candidate_mean, found.kind),
        difference=numbers.points(found.difference),
        interval=numbers.interval(found.low, found.high),
        method=found.method,
        plot=plot(found, reach, tone),
    )


def _function(test: str) -> str:
    """The test's function; the suite, which is shown beside it, says the file."""
    return test.rsplit("::", 1)[-1]
