"""Every comparison of the run, one line each, gates first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TypeAlias

from harness.decision.paired import compare
from harness.records import Comparison, Gate, Kind, Role, RunRecord
from harness.report import numbers
from harness.report.evidence import changes, power
from harness.report.intervals import OUTCOME_TONE, plot, reach_of, sign_tone
from harness.report.trial_pairs import pairs, seeds_label
from harness.report.view_models import ComparisonLine, Comparisons, Tone

_STATE_ORDER = {"gated": 0, "missing": 1, "advisory": 2, "measured": 3, "no gate": 4}
_InSuite: TypeAlias = tuple[str, Comparison]
_Reaches: TypeAlias = dict[tuple[str, str], float]


def comparisons(record: RunRecord) -> Comparisons:
    """The gates in the order gated, not run, advisory, measured; then scores that no gate asserts."""
    gates = sorted(record.gates, key=lambda gate: _STATE_ORDER[gate.state])
    ungated = list(_ungated(record))
    reach = _reaches([(g.suite, g.comparison) for g in gates if g.comparison], ungated)
    lines = [_gate_line(gate, reach) for gate in gates]
    lines += [_line(suite, "", "no gate", "–", found.candidate, found, reach) for suite, found in ungated]
    level = numbers.percent(1 - 2 * record.alpha, 0)
    return Comparisons(
        lines=tuple(lines),
        note="Differences are candidate − baseline on the same rows, in points; intervals are two-sided "
        f"{level}, so each limit is a one-sided test at {numbers.percent(record.alpha, 0)}. "
        "Lines that are measured, advisory or without a gate decide nothing.",
        power=power(record),
        changes=changes(record),
    )


def _reaches(*found: list[_InSuite]) -> _Reaches:
    """The half-width of the axis of each score of each suite."""
    together: dict[tuple[str, str], list[Comparison]] = {}
    for suite, comparison in chain(*found):
        together.setdefault((suite, comparison.score), []).append(comparison)
    return {key: reach_of(mine) for key, mine in together.items()}


def claim(role: Role, comparison: Comparison | None) -> str:
    """What a gate asserts, in words."""
    if role is Role.TARGET:
        by = comparison.bound if comparison else 0.0
        return f"target: better by {numbers.points(by)}" if by else "target: better"
    if role is Role.GUARD:
        return f"guard: above {numbers.points(comparison.bound)}" if comparison else "guard: not worse"
    return f"threshold: against {comparison.baseline}" if comparison else "threshold"


def _ungated(record: RunRecord) -> Iterator[_InSuite]:
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


def _gate_line(gate: Gate, reach: _Reaches) -> ComparisonLine:
    subject = seeds_label(gate.size, gate.seeds, gate.candidate)
    if gate.comparison is None:
        return _not_run(gate, subject)
    role = claim(gate.role, gate.comparison)
    return _line(gate.suite, gate.test, gate.state, role, subject, gate.comparison, reach)


def _line(
    suite: str, test: str, state: str, role: str, subject: str, found: Comparison, reach: _Reaches
) -> ComparisonLine:
    no_claim = state == "no gate"
    tone: Tone = sign_tone(found) if no_claim else OUTCOME_TONE[found.outcome]
    return ComparisonLine(
        suite=suite,
        test=_short(test),
        score=found.score,
        role=role,
        state=state,
        subject=subject,
        baseline=found.baseline,
        n=_n(found),
        failed=f"{found.failures:,} failed" if found.failures else "",
        baseline_mean=numbers.mean(found.baseline_mean, found.kind),
        candidate_mean=numbers.mean(found.candidate_mean, found.kind),
        difference=numbers.points(found.difference),
        interval=numbers.interval(found.low, found.high),
        outcome="–" if no_claim else found.outcome.value,
        tone=tone,
        method=found.method,
        reason="" if no_claim else _reason(found),
        plot=plot(found, reach[suite, found.score], tone),
    )


def _not_run(gate: Gate, subject: str) -> ComparisonLine:
    none = numbers.NONE
    return ComparisonLine(
        suite=gate.suite,
        test=_short(gate.test),
        score=none,
        role=claim(gate.role, None),
        state="not run",
        subject=subject,
        baseline=none,
        n=none,
        failed="",
        baseline_mean=none,
        candidate_mean=none,
        difference=none,
        interval=none,
        outcome="not run",
        tone="unsure",
        method=none,
        reason="The gate was deselected or never reached, so the decision cannot be GO.",
        plot=None,
    )


def _short(test: str) -> str:
    """The test's function: its file is as good as named by the suite."""
    return test.rsplit("::", 1)[-1]


def _n(found: Comparison) -> str:
    text = f"{found.n:,}"
    if found.clusters is not None:
        text += f" in {numbers.plural(found.clusters, 'cluster')}"
    return text


def _reason(found: Comparison) -> str:
    parts = [found.reason]
    if found.kind is Kind.BINARY and found.discordant is not None:
        parts.append(f"{numbers.count(found.discordant, found.n)} rows differ.")
    return " ".join(part for part in parts if part)
