"""The decision in plain sentences: of what it speaks, why, what that earns, what it breaks, what comes next.

They open the page and the Markdown, for readers who know no statistics: a figure that is uncertain has the
range beside it in which the truth is likely to lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.decision.estimates import pair as paired
from harness.decision.go_power import GoForecast
from harness.records import (
    Comparison,
    Decision,
    Gate,
    Kind,
    Outcome,
    Role,
    RunRecord,
    Verdict,
)
from harness.report import numbers
from harness.report.earnings import earns
from harness.report.next_step import next_step
from harness.report.sentences import baselines_of, cut, is_number, listed, sentences
from harness.report.trial_pairs import Pair, pairs, size_label
from harness.report.view_models import Fact

_OBSTACLE = 120  # characters of what stands in the way


def plainly(record: RunRecord, decision: Decision, forecast: GoForecast | None) -> list[Fact]:
    """Why, what it earns or costs, what it breaks, and what to do next: a sentence or two each."""
    own = gates_of(record, decision)
    return [
        Fact("Why", _why(record, decision, own)),
        Fact("Earns or costs", _money(record, decision)),
        Fact("Breaks", _breaks(record, decision)),
        Fact("Next", next_step(record, decision, own, forecast)),
    ]


def gates_of(record: RunRecord, decision: Decision) -> list[Gate]:
    """The gates of the decision's candidate at its size."""
    wanted = decision.candidate, decision.size
    return [gate for gate in record.gates if (gate.candidate, gate.size) == wanted]


def speaks_of(record: RunRecord, decision: Decision) -> str:
    """The candidate, what it was trained on, the baseline, and the rows that both were asked."""
    own = gates_of(record, decision)
    told = decision.candidate
    if decision.size is not None:
        told += f", trained on {numbers.plural(decision.size, 'row')}"
        n_trainings = len(decision.seeds)
        if n_trainings > 1:
            told += f" (the average of {n_trainings} trainings)"
        elif n_trainings:
            told += " (one training; another may land elsewhere)"
    baselines = baselines_of(own)
    if baselines:
        told += f", against {listed(baselines)}"
    rows = {suite.name: len(suite.rows) for suite in record.suites}
    asked = [name for name in dict.fromkeys(gate.suite for gate in own) if name in rows]
    if asked:
        total = sum(rows[name] for name in asked)
        each = listed([f"{rows[name]:,} of {name}" for name in asked])
        told += (
            f", on {total:,} held-out rows: {each}"
            if len(asked) > 1
            else f", on {total:,} held-out rows of {asked[0]}"
        )
    return f"{told}."


# --------------------------------------------------------------------------- why
def _why(record: RunRecord, decision: Decision, own: Sequence[Gate]) -> str:
    judged = [(g, g.comparison) for g in own if g.state == "gated" and g.comparison is not None]
    by_outcome = {
        outcome: [(gate, found) for gate, found in judged if found.outcome is outcome] for outcome in Outcome
    }
    name = _Names(own)
    shown, refuted = by_outcome[Outcome.SHOWN], by_outcome[Outcome.REFUTED]
    money = {outcome: [*_of_money(record, decision, outcome)] for outcome in Outcome}
    if decision.verdict is Verdict.NO_GO and (refuted or money[Outcome.REFUTED]):
        others = len(judged) - len(refuted)
        rest = [_rest(others)] if others and len(shown) == others else []
        lost = [_lost(name, *one) for one in refuted]
        lost += [f"it does not earn what is asked: {claim}" for claim in money[Outcome.REFUTED]]
        return sentences([listed(lost, most=3), *rest])
    if decision.level is not None and decision.verdict is not Verdict.GO:
        return (
            "Its own tests hold, but not at the stricter level that several candidates at once ask for: of"
            f" {decision.candidates_judged} that are tried, one may look good by luck."
        )
    if decision.verdict is Verdict.GO and shown:
        earned = [f"It earns what is asked: {listed(money[Outcome.SHOWN])}"] if money[Outcome.SHOWN] else []
        return sentences([*earned, *_won(name, shown)])
    said = [*_in_the_way(decision, own), *_open(name, by_outcome[Outcome.INCONCLUSIVE])]
    said += [f"whether it earns what is asked is open: {claim}" for claim in money[Outcome.INCONCLUSIVE]]
    if said and shown:
        said.append(_rest(len(shown)))
    return sentences(said) or cut(next(iter(decision.reasons), "No test asked anything of it."))


def _of_money(record: RunRecord, decision: Decision, outcome: Outcome) -> Iterator[str]:
    """The claims about money that ended so."""
    for gate in record.money_gates:
        if (gate.candidate, gate.size, gate.outcome) == (decision.candidate, decision.size, outcome):
            yield f"{gate.figure} {gate.sign} {gate.bound:g}"


def _rest(n: int) -> str:
    return f"The other {_tests(n)} hold" if n > 1 else "The other test holds"


def _tests(n: int) -> str:
    return numbers.plural(n, "test")


class _Names:
    """A score's name, with its suite where two suites have one of that name, and with the slice."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        suites: dict[str, set[str]] = {}
        for gate in gates:
            if gate.comparison is not None:
                suites.setdefault(gate.comparison.score, set()).add(gate.suite)
        self._shared = {score for score, found in suites.items() if len(found) > 1}

    def __call__(self, gate: Gate, found: Comparison) -> str:
        name = f"{gate.suite} / {found.score}" if found.score in self._shared else found.score
        name = f"{name} where {found.rows}" if found.rows else name
        return f"{name} against the reference" if gate.against else name


def _means(found: Comparison, *, unit: bool = False) -> str:
    """Before and now: ``9.0% → 51.5%``."""
    after = " of rows" if unit and found.kind is Kind.BINARY else ""
    after = " of 100" if found.kind is Kind.GRADED else after
    before = numbers.mean(found.baseline_mean, found.kind)
    now = numbers.mean(found.candidate_mean, found.kind)
    return f"{before} → {now}{after}"


def _points(margin: float) -> str:
    text = f"{100 * margin:.3g}"
    return f"{text} point" if text == "1" else f"{text} points"


def _bar(gate: Gate, found: Comparison) -> str:
    """A score against a plain number: its own mean, and what is asked."""
    is_at_most = is_number(found.candidate) and found.candidate != gate.candidate
    mean, number = found.candidate_mean, found.baseline_mean
    if is_at_most:
        mean, number = number, mean
    asked = None if number is None else number + (-found.claimed if is_at_most else found.claimed)
    words = "at most" if is_at_most else "more than"
    return f"{numbers.mean(mean, found.kind)}, {words} {numbers.mean(asked, found.kind)} asked"


def _won(name: _Names, shown: Sequence[tuple[Gate, Comparison]]) -> Iterator[str]:
    def told(role: Role) -> list[str]:
        of_role = [(gate, found) for gate, found in shown if gate.role is role]
        parts = []
        for place, (gate, found) in enumerate(of_role):
            values = _bar(gate, found) if role is Role.THRESHOLD else _means(found, unit=not place)
            parts.append(f"{name(gate, found)} ({values})")
        return list(dict.fromkeys(parts))

    if better := told(Role.TARGET):
        yield f"Better where it has to be: {listed(better)}"
    if kept := told(Role.GUARD):
        yield f"Within the loss that is allowed on {listed(kept)}"
    if bars := told(Role.THRESHOLD):
        yield f"It clears its bars: {listed(bars)}"
    level = numbers.one_sided(max(found.alpha for _, found in shown))
    yield f"Were any of it untrue, luck would show it at most {level} of the time"


def _lost(name: _Names, gate: Gate, found: Comparison) -> str:
    what, n = name(gate, found), f"{numbers.plural(found.n, 'row')} of {gate.suite}"
    if gate.role is Role.THRESHOLD:
        return f"misses its bar: {what} ({_bar(gate, found)}; {n})"
    values = f"{what} ({_means(found)} on {n})"
    if gate.role is Role.GUARD and found.claimed:
        return f"loses more than the {_points(-found.claimed)} that it may: {values}"
    if gate.role is Role.TARGET and found.claimed > 0:
        return f"gains less than the {_points(found.claimed)} that it has to: {values}"
    return f"worse{', not better' if gate.role is Role.TARGET else ''}: {values}"


def _in_the_way(decision: Decision, own: Sequence[Gate]) -> Iterator[str]:
    """What is missing, whatever the scores are; the mends of errors stand with the reasons, in full."""
    for obstacle in (decision.obstacles or ())[:2]:
        yield cut(" ".join(obstacle.partition("hint:")[0].split()), _OBSTACLE)
    missing = [g for g in own if g.state == "missing" or (g.state == "gated" and g.comparison is None)]
    if missing:
        names = list(dict.fromkeys(cut(gate.test.rpartition("::")[2], 50) for gate in missing))
        yield f"{_tests(len(missing))} gave no result ({listed(names)})"
    targets = [gate for gate in own if gate.role is Role.TARGET]
    if not any(gate.state == "gated" and gate.comparison for gate in targets):
        if any(gate.state == "advisory" for gate in targets):
            yield "The improvement rests on a judge that has no vote here"
        elif not targets:
            yield "No test asks for an improvement"


def _open(name: _Names, found: Sequence[tuple[Gate, Comparison]]) -> Iterator[str]:
    if not found:
        return
    parts = []
    for gate, one in found:
        what = name(gate, one)
        if gate.role is Role.THRESHOLD:
            asked = f"{what} clears its bar ({_bar(gate, one)}"
        elif gate.role is Role.GUARD:
            may = f"the {_points(-one.claimed)}" if one.claimed else "what"
            asked = f"{what} stays within {may} that it may lose ({_means(one)}"
        else:
            more = f" by {_points(one.claimed)}" if one.claimed else ""
            asked = f"{what} is better{more} ({_means(one)}"
        parts.append(f"{asked} on {numbers.plural(one.n, 'row')}; {_why_open(one)})")
    yield f"These rows cannot tell whether {listed(parts, most=2)}"


def _why_open(found: Comparison) -> str:
    if found.low is None or found.high is None:
        return "too few rows or differences for a range"
    if found.low > found.bound and found.failures:  # shown, were it not for them
        return f"yes, if {numbers.plural(found.failures, 'row')} without a result may be left out"
    if found.low > found.bound:
        return "yes, but for losses so rare that none need be among these rows"
    low, high = numbers.points(found.low), numbers.points(found.high)
    return f"the true change is likely between {low} and {high} points"


# --------------------------------------------------------------------------- money
def _money(record: RunRecord, decision: Decision) -> str:
    label = size_label(decision.size, None, decision.candidate)
    money = next((each for each in record.economics if each.candidate in (label, decision.candidate)), None)
    if money is None:
        return f"Not computed: no prices were given.{_tokens(record, decision)}"
    said = earns(money)
    return f"At {numbers.number(money.requests_per_day)} requests a day, {said[0].lower()}{said[1:]}"


def _tokens(record: RunRecord, decision: Decision) -> str:
    """Mean tokens of a request, the baseline's and its own, where both were counted."""
    sides = []
    for pair in _at_size(record, decision):
        if pair.baseline is None or pair.suite.prompt_digest is None:
            continue
        for trial in (pair.baseline, pair.lead):
            came = [answer for answer in trial.answers if answer.failure is None]
            counted = [
                (answer.prompt_tokens, answer.completion_tokens)
                for answer in came
                if answer.prompt_tokens is not None and answer.completion_tokens is not None
            ]
            sides.append(np.mean([sum(each) for each in counted]) if counted else None)
        break
    if len(sides) != 2 or None in sides:
        return ""
    before, now = (numbers.tokens(float(side)) for side in sides if side is not None)
    return f" A request takes {now} tokens, prompt and answer; {before} before."


# --------------------------------------------------------------------------- what gets worse
def _at_size(record: RunRecord, decision: Decision) -> Iterator[Pair]:
    """The candidate's trials at the decision's size beside its baseline's, by suite."""
    for pair in pairs(record):
        trials = [trial for trial in pair.trials if trial.size == decision.size]
        if pair.candidate.name == decision.candidate and trials:
            yield replace(pair, trials=trials)


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Of one score, the rows that both sides have, and on how many the candidate is worse or better."""

    suite: str
    score: str
    kind: Kind
    n: int
    worse: int
    better: int
    before: float  # means
    now: float


def row_changes(record: RunRecord, decision: Decision) -> list[RowChanges]:
    """Of each score, what changed row by row against the baseline; most rows that got worse first."""
    found = []
    for pair in _at_size(record, decision):
        for info in pair.suite.scores:
            sides = pair.vectors(info.name)
            if sides is None:
                continue
            rows = paired(*sides)
            seen = rows.only(rows.usable)
            differences = np.asarray(seen.differences)
            if not len(differences):
                continue
            n, worse, better = len(differences), int(np.sum(differences < 0)), int(np.sum(differences > 0))
            now = float(seen.candidate.mean())
            before = now - float(differences.mean())
            found.append(RowChanges(pair.suite.name, info.name, info.kind, n, worse, better, before, now))
    return sorted(found, key=lambda one: -one.worse)


def _breaks(record: RunRecord, decision: Decision) -> str:
    changes = row_changes(record, decision)
    names = [one.score for one in changes]

    def name(one: RowChanges) -> str:
        return f"{one.suite} / {one.score}" if names.count(one.score) > 1 else one.score

    counted = [one for one in changes if one.kind is not Kind.GRADED]
    said = []
    if worse := [one for one in counted if one.worse]:
        each = [
            f"{name(one)} on {one.worse:,} of {numbers.plural(one.n, 'row')} ({one.better:,} get better)"
            if not place
            else f"{name(one)} on {one.worse:,} of {one.n:,} ({one.better:,} better)"
            for place, one in enumerate(worse)
        ]
        said.append(f"Gets worse: {listed(each)}")
    if same := [name(one) for one in counted if not one.worse]:
        said.append(f"{'No row' if worse else 'No row gets worse'} on {listed(same)}")
    for one in changes:
        if one.kind is Kind.GRADED and one.now < one.before:
            said.append(
                f"on average {name(one)} falls from {100 * one.before:.1f} to {100 * one.now:.1f} of 100"
            )
    if changes and not said:  # graded scores alone, whose rows differ a little both ways
        said.append(f"on average {listed(names)} {'does' if len(names) == 1 else 'do'} not fall")
    never = sum(trial.counts.n_failed for pair in _at_size(record, decision) for trial in pair.trials)
    if never:
        said.append(f"{numbers.plural(never, 'answer')} never came")
    if not said:
        return "Nothing that can be counted: no baseline answered these rows."
    # the rows of a reference run are not in the record: of those the gates speak
    is_held = any(gate.against for gate in gates_of(record, decision))
    return ("Beside the baseline: " if is_held else "") + sentences(said)
