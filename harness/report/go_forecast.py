"""The chance that a whole decision is GO, in words: beside a decision that is not taken, and in a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, log10

import numpy as np

from harness.decision.estimates import cluster_sums, pair
from harness.decision.go_power import (
    MOST_ROWS,
    PLANNED_DISCORDANT,
    PLANNED_ICC,
    PLANNED_SD,
    AssumedGate,
    GoForecast,
    assumed_of,
    forecast_go,
)
from harness.decision.plan import PlannedDecision
from harness.decision.power import POWER
from harness.decision.retesting import next_level
from harness.decision.student import Values
from harness.records import Comparison, Decision, Gate, Kind, Outcome, Role, RunRecord, Verdict
from harness.report import numbers
from harness.report.trial_pairs import Pair, pairs

_MOST_NAMED = 3


def assumed_gates(record: RunRecord, candidate: str, size: int | None) -> list[tuple[Gate, AssumedGate]]:
    """The gates that were judged and decide, each with the spread that was seen."""
    sides = {(p.suite.name, p.candidate.name): p for p in pairs(record)}
    found = []
    for gate in record.gates:
        if (gate.candidate, gate.size) != (candidate, size) or gate.state != "gated" or not gate.comparison:
            continue
        name, place = gate.test.rpartition("::")[2], (gate.suite, gate.candidate)
        mine = sides.get(place)
        by_looks = gate.comparison.p_one_sided is None and gate.comparison.low is not None
        n = len(mine.suite.rows) if by_looks and mine and not gate.comparison.rows else None
        assumed = assumed_of(gate.comparison, gate.role, name, gate.suite, n)
        seen = (
            _seen(mine, gate.comparison, gate.role)
            if mine and mine.lead.size == size and not gate.against
            else None
        )
        found.append((gate, replace(assumed, seen=seen)))
    return found


def at_levels(gate: AssumedGate, own: float, full: float, level_of: int) -> AssumedGate:
    """The gate at its ``own`` level, and with more rows at that of a file that grew, both among candidates.

    A level below the ``full`` one tells that the file had grown before.
    """
    more = next_level(own, int(own < full))
    return replace(gate, alpha=own / level_of, alpha_of_more=more / level_of)


def forecast_of(record: RunRecord, decision: Decision) -> GoForecast | None:
    """How likely an undecided run's rows are to show GO; None where no open gate is in the way of it.

    None, too, where labels corrected a gate: how sure it is depends on their number, not on that of rows.

    Where several candidates were tried, each gate is at the strictest of their levels (Holm).
    """
    if decision.verdict is not Verdict.INCONCLUSIVE:
        return None
    judged = assumed_gates(record, decision.candidate, decision.size)
    outcomes = [gate.comparison.outcome for gate, _ in judged if gate.comparison]
    if (
        any(gate.correction is not None for gate, _ in judged)
        or Outcome.INCONCLUSIVE not in outcomes
        or not any(gate.role is Role.TARGET for gate, _ in judged)
    ):
        return None
    level_of = _level_of(record, decision)
    return forecast_go([at_levels(one, one.alpha, record.alpha, level_of) for _, one in judged])


def _level_of(record: RunRecord, decision: Decision) -> int:
    return max(decision.candidates_judged, len(record.decisions))


def go_forecast(record: RunRecord, decision: Decision, forecast: GoForecast | None = None) -> str:
    """``forecast``, by default `forecast_of` the decision, in a sentence; empty where there is none."""
    forecast = forecast or forecast_of(record, decision)
    if forecast is None:
        return ""
    level_of = _level_of(record, decision)
    roles = {gate.role for gate in forecast.gates}
    truth = "the targets and thresholds" if Role.THRESHOLD in roles else "the targets"
    guards = ", and loses nothing on the guards," if Role.GUARD in roles else ""
    named = [
        gate for gate in record.gates if (gate.candidate, gate.size) == (decision.candidate, decision.size)
    ]
    judged = [gate.comparison for gate in named if gate.state == "gated" and gate.comparison]
    beside = ["failed rows repaired"] if any(found.failures for found in judged) else []
    beside += ["missing gates left out"] if any(gate.state == "missing" for gate in named) else []
    beside += [f"at the strictest level among {level_of} candidates"] if level_of > 1 else []
    aside = f" ({', '.join(beside)})" if beside else ""
    return (
        f"With these rows and this spread, a candidate that truly is as good as observed on {truth}{guards}"
        f" gets GO {_chance(forecast.p_go)} of the time{aside}{_takes(forecast)}."
    )


def planned_decision(one: PlannedDecision) -> str:
    """A line of a plan: P(GO), under which truth, what costs most, and how many rows it takes."""
    forecast = one.forecast
    targets = [gate for gate in forecast.gates if gate.role is Role.TARGET]
    gains = {f"{100 * gate.truth:.3g} points": gate for gate in targets}
    if len(gains) == 1 and len(targets) > 1:
        truth = f"if truly {next(iter(gains))} better on each target"
    else:
        each = [f"{100 * gate.truth:.3g} points on {gate.score or gate.name}" for gate in targets]
        truth = f"if truly better by {numbers.listed(each)}"
    if any(gate.role is Role.GUARD for gate in forecast.gates):
        truth += " and nothing lost on the guards"
    line = (
        f"{numbers.listed(one.candidates)}: GO {_about(forecast.p_go)} of the time {truth}{_takes(forecast)}."
    )
    return " ".join([line, *_grounds(one)])


def _grounds(one: PlannedDecision) -> Iterator[str]:
    """What the figures of a plan rest on."""
    planned = [gate for gate in one.forecast.gates if gate.name in one.planned]
    if one.earlier:
        runs = f"run{'s' if len(one.earlier) > 1 else ''} {', '.join(one.earlier)}"
        yield f"Spread and gains as in {runs}."
    if planned:
        said = []
        if any(gate.kind is not Kind.GRADED for gate in planned):
            shares = [
                f"{numbers.percent(PLANNED_DISCORDANT[role], 0)} on {role}s"
                for role in (Role.TARGET, Role.GUARD)
                if any(gate.role is role for gate in planned)
            ]
            said.append(f"rows differ: {' and '.join(shares)}")
        if any(gate.kind is Kind.GRADED for gate in planned):
            said.append(f"graded scores differ by sd {PLANNED_SD:g}")
        if any(gate.groups for gate in planned):
            said.append(f"rows of a group correlate by {PLANNED_ICC:g}")
        of = f" for {numbers.listed(one.planned)}" if one.earlier else ", for no run has seen these rows"
        yield f"Planning values{of}: {', '.join(said)}."
    levels = sorted({gate.alpha for gate in one.forecast.gates})
    why = [f"the strictest level among {one.level_of} candidates"] if one.level_of > 1 else []
    why += ["as rows were added to those that did not decide"] if one.is_grown else []
    if why:
        at = " or ".join(map(numbers.one_sided, levels))
        yield f"Each gate at {at}, {' and '.join(why)}."
    suites = [gate.suite for gate in one.forecast.gates]
    if not one.forecast.is_joint and len(set(suites)) < len(suites):
        yield "Gates are taken as independent: the least, where they rise and fall together."
    if one.uncounted:
        yield f"Not counted, for nothing tells where it stands: {numbers.listed(one.uncounted)}."


def _takes(forecast: GoForecast) -> str:
    """After a chance: what no rows show, the guard that costs most, and the rows that would do."""
    worst, without = forecast.costliest, f" ({_chance(forecast.p_without)} without it)"
    said = [_never(gate) + (without if gate is worst else "") for gate in forecast.hopeless[:_MOST_NAMED]]
    if worst is not None and not worst.is_hopeless:
        margin = f" ({-100 * worst.bound:g} points)" if worst.bound < 0.0 else ""
        said.append(f"{worst.role} {worst.name}{margin} costs most{without}")
    if forecast.p_go < POWER and not forecast.hopeless:
        levels = [gate.alpha_of_more for gate in forecast.gates if gate.alpha_of_more is not None]
        grown = f" if they are added to these ({numbers.one_sided(min(levels))} a gate)" if levels else ""
        said.append(_rows(forecast) + grown)
    return "".join(f"; {part}" for part in said)


def _never(gate: AssumedGate) -> str:
    what = f"{gate.role} {gate.name}"
    if gate.role is Role.GUARD:
        return (
            f"{what} has no margin, so sides that truly are equal pass it {_chance(gate.alpha)} of the time"
            " at any number of rows: give it one"
        )
    return f"{what} is not shown at any number of rows, were it as observed ({numbers.points(gate.truth)})"


def _rows(forecast: GoForecast) -> str:
    rows, at = forecast.rows, f"{100 * POWER:g}%"
    if rows is None:
        if any(gate.seeds > 1 for gate in forecast.gates):
            return f"rows alone do not bring it to {at}: more seeds"
        return f"{at} takes more than {MOST_ROWS:,} rows"
    if len(rows) == 1:
        (needed,) = rows.values()
        return f"{at} takes about {rounded_up(needed):,} rows"
    if len(set(rows.values())) == 1:
        return f"{at} takes about {rounded_up(max(rows.values())):,} rows of each suite"
    each = [f"{rounded_up(needed):,} of {suite}" for suite, needed in rows.items()]
    return f"{at} takes about {numbers.listed(each, most=len(each)).replace(' of ', ' rows of ', 1)}"


def rounded_up(rows: int) -> int:
    """Up, to two digits."""
    unit = int(10 ** max(int(log10(rows)) - 1, 0))
    return ceil(rows / unit) * unit


def _chance(value: float) -> str:
    """Whole percents; never 0% or 100%, which no simulation can say."""
    return "under 1%" if value < 0.005 else "over 99%" if value > 0.995 else numbers.percent(value, 0)


def _about(value: float) -> str:
    said = _chance(value)
    return said if said[0] in "uo" else f"about {said}"


def _seen(sides: Pair, found: Comparison, role: Role) -> Values | None:
    """The differences row by row, or summed by group, in the suite's order; None where they are not known."""
    vectors = None if found.rows else sides.vectors(found.score)
    if vectors is None:
        return None
    mine, theirs = vectors
    is_number = role is Role.THRESHOLD or found.kind is Kind.PREFERENCE
    rows = pair(mine, 0.0 if is_number else theirs)
    sign = -1.0 if is_number and found.candidate != mine.subject else 1.0
    differences = sign * rows.differences
    if rows.clusters is None:
        return differences
    return cluster_sums(rows.clusters, np.nan_to_num(differences))[0]
