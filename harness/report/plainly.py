"""The decision in plain sentences: of what it speaks, why, what that earns, what it breaks, what comes next.

They open the page and the Markdown, for readers who know no statistics: a figure that is uncertain has the
range beside it in which the truth is likely to lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from harness.decision.estimates import pair as paired
from harness.decision.go_power import GoForecast
from harness.records import (
    CandidateInfo,
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
from harness.report.go_forecast import rounded_up
from harness.report.trial_pairs import Pair, pairs, size_label
from harness.report.view_models import Fact

_listed = partial(numbers.listed, most=4)
_LONGEST = 200  # characters of a sentence that somebody else wrote


def plainly(record: RunRecord, decision: Decision, forecast: GoForecast | None) -> list[Fact]:
    """Why, what it earns or costs, what it breaks, and what to do next: a sentence or two each."""
    own = gates_of(record, decision)
    return [
        Fact("Why", _why(record, decision, own)),
        Fact("Earns or costs", _money(record, decision)),
        Fact("Breaks", _breaks(record, decision)),
        Fact("Next", _next(record, decision, own, forecast)),
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
    baselines = _baselines(own)
    if baselines:
        told += f", against {_listed(baselines)}"
    rows = {suite.name: len(suite.rows) for suite in record.suites}
    asked = [name for name in dict.fromkeys(gate.suite for gate in own) if name in rows]
    if asked:
        total = sum(rows[name] for name in asked)
        each = _listed([f"{rows[name]:,} of {name}" for name in asked])
        told += (
            f", on {total:,} held-out rows: {each}"
            if len(asked) > 1
            else f", on {total:,} held-out rows of {asked[0]}"
        )
    return f"{told}."


def _baselines(own: Sequence[Gate]) -> list[str]:
    beside = [g for g in own if g.state in ("gated", "advisory") and g.role is not Role.THRESHOLD]
    found = dict.fromkeys(gate.comparison.baseline for gate in beside if gate.comparison)
    return [name for name in found if not _is_number(name)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
        return _sentences([_listed(lost, most=3), *rest])
    if decision.level is not None and decision.verdict is not Verdict.GO:
        return (
            "Its own tests hold, but not at the stricter level that several candidates at once ask for: of"
            f" {decision.candidates_judged} that are tried, one may look good by luck."
        )
    if decision.verdict is Verdict.GO and shown:
        earned = [f"It earns what is asked: {_listed(money[Outcome.SHOWN])}"] if money[Outcome.SHOWN] else []
        return _sentences([*earned, *_won(name, shown)])
    said = [*_in_the_way(decision, own), *_open(name, by_outcome[Outcome.INCONCLUSIVE])]
    said += [f"whether it earns what is asked is open: {claim}" for claim in money[Outcome.INCONCLUSIVE]]
    if said and shown:
        said.append(_rest(len(shown)))
    return _sentences(said) or _cut(next(iter(decision.reasons), "No test asked anything of it."))


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
        return f"{name} where {found.rows}" if found.rows else name


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
    is_at_most = _is_number(found.candidate) and found.candidate != gate.candidate
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
        yield f"Better where it has to be: {_listed(better)}"
    if kept := told(Role.GUARD):
        yield f"Within the loss that is allowed on {_listed(kept)}"
    if bars := told(Role.THRESHOLD):
        yield f"It clears its bars: {_listed(bars)}"
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
    """What is missing, whatever the scores are."""
    yield from map(_cut, (decision.obstacles or ())[:2])
    missing = [g for g in own if g.state == "missing" or (g.state == "gated" and g.comparison is None)]
    if missing:
        names = list(dict.fromkeys(_cut(gate.test.rpartition("::")[2], 50) for gate in missing))
        yield f"{_tests(len(missing))} gave no result ({_listed(names)})"
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
    yield f"These rows cannot tell whether {_listed(parts, most=2)}"


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
        said.append(f"Gets worse: {_listed(each)}")
    if same := [name(one) for one in counted if not one.worse]:
        said.append(f"{'No row' if worse else 'No row gets worse'} on {_listed(same)}")
    for one in changes:
        if one.kind is Kind.GRADED and one.now < one.before:
            said.append(
                f"on average {name(one)} falls from {100 * one.before:.1f} to {100 * one.now:.1f} of 100"
            )
    never = sum(trial.counts.n_failed for pair in _at_size(record, decision) for trial in pair.trials)
    if never:
        said.append(f"{numbers.plural(never, 'answer')} never came")
    return _sentences(said) or "Nothing that can be counted: no baseline answered these rows."


# --------------------------------------------------------------------------- what next
def _next(record: RunRecord, decision: Decision, own: Sequence[Gate], forecast: GoForecast | None) -> str:
    info = next((one for one in record.candidates if one.name == decision.candidate), None)
    if decision.verdict is Verdict.GO:
        return _sentences(_after_go(record, decision, own, info))
    if decision.verdict is Verdict.NO_GO:
        return _sentences(_after_no_go(record, decision, own, info))
    return _sentences([*_after_inconclusive(record, decision, own, forecast)][:2])


def _after_go(
    record: RunRecord, decision: Decision, own: Sequence[Gate], info: CandidateInfo | None
) -> Iterator[str]:
    label = size_label(decision.size, None, decision.candidate)
    if record.rehearsal:
        yield "Run it against the real service: this was a rehearsal"
        return
    is_exported = info is not None and decision.size is not None and "ship" in info.spec
    yield f"Ship {label}" + (f": harness export RUN {label} --to FOLDER" if is_exported else "")
    advised = [g.comparison.score for g in own if g.state == "advisory" and g.comparison]
    if advised:
        yield f"Label 25 of its answers (harness label RUN): then {_listed(advised)} decides, too"


def _after_no_go(
    record: RunRecord, decision: Decision, own: Sequence[Gate], info: CandidateInfo | None
) -> Iterator[str]:
    kept = _baselines(own)
    yield f"Keep {kept[0]}, and read the rows that get worse" if kept else "Read the rows that it gets wrong"
    watched = {suite.name for suite in record.suites if suite.prompt_digest is None}  # beside the task
    refuted = [g for g in own if g.comparison and g.comparison.outcome is Outcome.REFUTED]
    forgot = any(g.suite in watched and g.role is Role.GUARD and g.state == "gated" for g in refuted)
    if decision.size is None or info is None:
        yield "Then change its prompt or its model, and run again"
    elif forgot and len(watched) < len(record.suites):
        rows = "more general rows" if info.spec.get("replay") else "general rows (replay=)"
        yield f"It forgot what lies beside its task: train again with {rows}, for fewer epochs or more gently"
    else:
        yield "Train again with rows like those, or with better ones"


def _after_inconclusive(
    record: RunRecord, decision: Decision, own: Sequence[Gate], forecast: GoForecast | None
) -> Iterator[str]:
    if decision.level is not None:
        yield f"Judge {decision.candidate} alone on held-out rows that none of them has seen"
        return
    if decision.obstacles:
        yield "Mend what is named under “why”, and run again"
    if any(g.state == "missing" or (g.state == "gated" and g.comparison is None) for g in own):
        yield "Run every test of the suites"
    targets = [gate for gate in own if gate.role is Role.TARGET]
    if not targets:
        yield "Write a test that asks for an improvement: assert candidate > baseline"
    elif not any(gate.state == "gated" for gate in targets) and any(g.state == "advisory" for g in targets):
        yield "Label 25 of its answers (harness label RUN), then decide with them (harness decide RUN)"
    still_open = [
        g for g in own if g.state == "gated" and g.comparison and g.comparison.outcome is Outcome.INCONCLUSIVE
    ]
    if any(gate.comparison and gate.comparison.failures for gate in still_open):
        yield "Ask again for the answers that never came"
    by_labels = [gate.correction.labels_needed for gate in still_open if gate.correction is not None]
    wanted = [needed for needed in by_labels if needed is not None]
    if wanted:
        yield f"Label about {max(wanted):,} rows in all (harness label RUN): what is open rests on them"
    elif by_labels:
        yield "Its gain is too small for labels of these rows to show: test on more rows, or train on more"
    elif still_open:
        yield _more_rows(record, still_open, forecast)


def _more_rows(record: RunRecord, still_open: Sequence[Gate], forecast: GoForecast | None) -> str:
    now = {suite.name: len(suite.rows) for suite in record.suites}
    needed = dict(forecast.rows) if forecast is not None and forecast.rows else {}
    if forecast is not None and forecast.hopeless:
        name = _listed([_cut(gate.name, 50) for gate in forecast.hopeless])
        return f"More rows cannot show {name}: give it a margin, or a better candidate"
    if not needed:
        for gate in still_open:
            rows = gate.comparison.rows_needed if gate.comparison else None
            if rows is not None:
                needed[gate.suite] = max(rows, needed.get(gate.suite, 0))
    more = [
        f"about {rounded_up(rows):,} of {suite} (now {now.get(suite, 0):,})"
        for suite, rows in needed.items()
        if rows > now.get(suite, 0)
    ]
    if not more:
        return "Test on many more held-out rows, or train on more"
    truth = "if it is as good as it looks"
    if forecast is not None and any(gate.role is Role.GUARD for gate in forecast.gates):
        truth = "if it gains what it seems to and loses nothing"
    return f"Test on more held-out rows: {_listed(more)} show it 4 times in 5, {truth}"


# --------------------------------------------------------------------------- sentences
def _sentences(parts: Iterable[str]) -> str:
    return " ".join(f"{part[:1].upper()}{part[1:].rstrip('.')}." for part in parts if part)


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest].rstrip()} …"
