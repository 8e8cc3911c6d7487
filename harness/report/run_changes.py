"""What changed from one run to another: verdicts, gates, rows that flipped, and costs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.records import Decision, Economics, Gate, Kind, RunRecord, ScoreInfo, SuiteInfo, Trial
from harness.report import numbers
from harness.report.comparisons import gate_line
from harness.report.quality import tokens_alone
from harness.report.trial_pairs import size_label
from harness.report.view_models import TextTable, Tone

MOST_FLIPS = 30  # rows that are shown of one score and side
_LONGEST = 600  # characters of a text
_VERDICT_TONES: Mapping[str, Tone] = {"GO": "good", "NO-GO": "bad"}


@dataclass(frozen=True, slots=True)
class Flip:
    """A row whose answer was right in one run and wrong in the other."""

    row: str
    question: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Flips:
    """The rows of one score and side that flipped; ``n_lost`` and ``n_gained`` count all of them."""

    title: str
    n: int
    n_lost: int
    n_gained: int
    lost: Sequence[Flip]
    gained: Sequence[Flip]


@dataclass(frozen=True, slots=True)
class RunChanges:
    """Two runs, the earlier one first as it was given."""

    title: str
    runs: tuple[str, str]
    created: tuple[str, str]
    verdicts: Sequence[tuple[str, str, Tone, str, Tone]]  # candidate, each run's verdict with its tone
    gates: TextTable
    flips: Sequence[Flips]
    costs: TextTable
    not_compared: Sequence[str]


def run_changes(before: RunRecord, now: RunRecord) -> RunChanges:
    """What changed from ``before`` to ``now``, on the suites whose rows are the same.

    Sides are paired by name and size; the candidates that the two runs decided about first are one side,
    whatever they are called.

    Raises:
        UsageError: no suite has the same rows in both, so nothing can be set side by side.
    """
    not_compared: list[str] = []
    suites = [*_same_suites(before, now, not_compared)]
    if not suites:
        listed = "\n".join(f"  {line}" for line in not_compared) or "  they have no suite in common"
        raise UsageError(
            f"runs {before.id} and {now.id} cannot be compared: no suite has the same rows.\n{listed}"
            "\n  hint: run the earlier candidate on today's rows (its training is kept), then compare."
        )
    if before.alpha != now.alpha:
        levels = " and ".join(numbers.one_sided(record.alpha) for record in (before, now))
        not_compared.append(f"outcomes of gates: they were tested at {levels}")
    names = _renamed(before, now)
    labels = {trial.label for trial in before.trials}
    sides = [(names.get(t.label, t.label), t.label) for t in now.trials]
    sides = [pair for pair in dict.fromkeys(sides) if pair[0] in labels]
    return RunChanges(
        title=f"What changed from {before.id} to {now.id}",
        runs=(before.id, now.id),
        created=(before.created, now.created),
        verdicts=[*_verdicts(before, now, names)],
        gates=_gates(before, now, names, {now_suite.name for _, now_suite, _ in suites}),
        flips=[
            found
            for mine, theirs, scores in suites
            for pair in sides
            for info in scores
            if (found := _flips(before, now, (mine, theirs), pair, info)) is not None
        ],
        costs=_costs(before, now, names),
        not_compared=not_compared,
    )


def _renamed(before: RunRecord, now: RunRecord) -> dict[str, str]:
    """The label in ``now`` of what is called otherwise in ``before``: the first decision's, if it is new."""
    if not before.decisions or not now.decisions:
        return {}
    old, new = (_label(record.decisions[0]) for record in (before, now))
    if old == new or new in {trial.label for trial in before.trials}:
        return {}
    return {new: old}


def _label(decision: Decision) -> str:
    return size_label(decision.size, None, decision.candidate)


def _same_suites(
    before: RunRecord, now: RunRecord, not_compared: list[str]
) -> Iterator[tuple[SuiteInfo, SuiteInfo, list[ScoreInfo]]]:
    """The suites of both with the same rows, and their scores that are made in the same way."""
    theirs = {suite.name: suite for suite in now.suites}
    for mine in before.suites:
        other = theirs.pop(mine.name, None)
        if other is None:
            not_compared.append(f"suite {mine.name}: only {before.id} has it")
            continue
        rows, others = ({(row.id, row.question, row.reference) for row in s.rows} for s in (mine, other))
        if rows != others:
            not_compared.append(
                f"suite {mine.name}: its held-out rows are not the same ({len(rows - others):,} of"
                f" {len(rows):,} are gone or changed, {len(others - rows):,} are new)"
            )
            continue
        scores = {info.name: info for info in other.scores}
        same = []
        for info in mine.scores:
            found = scores.pop(info.name, None)
            if found is None:
                not_compared.append(f"score {mine.name} / {info.name}: only {before.id} has it")
            elif (info.kind, info.description, info.spec) != (found.kind, found.description, found.spec):
                not_compared.append(f"score {mine.name} / {info.name}: it is made in another way")
            else:
                same.append(info)
        not_compared += [f"score {mine.name} / {name}: only {now.id} has it" for name in scores]
        if mine.prompt_digest != other.prompt_digest:
            not_compared.append(
                f"suite {mine.name} has another prompt: part of each difference may be due to it"
            )
        yield mine, other, same
    not_compared += [f"suite {name}: only {now.id} has it" for name in theirs]


def _verdicts(
    before: RunRecord, now: RunRecord, names: Mapping[str, str]
) -> Iterator[tuple[str, str, Tone, str, Tone]]:
    old = {_label(decision): decision.verdict.value for decision in before.decisions}
    for decision in now.decisions:
        label = _label(decision)
        known = names.get(label, label)
        was = old.pop(known, numbers.NONE)
        yield (
            label if label == known else f"{known} → {label}",
            was,
            _tone(was),
            decision.verdict.value,
            _tone(decision.verdict.value),
        )
    for label, verdict in old.items():
        yield label, verdict, _tone(verdict), numbers.NONE, "plain"


def _tone(verdict: str) -> Tone:
    return "plain" if verdict == numbers.NONE else _VERDICT_TONES.get(verdict, "unsure")


def _gates(before: RunRecord, now: RunRecord, names: Mapping[str, str], suites: set[str]) -> TextTable:
    def keyed(record: RunRecord, renamed: Mapping[str, str]) -> dict[tuple[str, str, str, str], Gate]:
        found = {}
        for gate in record.gates:
            if gate.suite in suites and gate.state != "measured":
                label = size_label(gate.size, None, gate.candidate)
                score = f"{gate.comparison.score} {gate.comparison.rows}" if gate.comparison else ""
                found[gate.suite, gate.test, score, renamed.get(label, label)] = gate
        return found

    old, new = keyed(before, {}), keyed(now, names)
    rows = []
    for key in dict.fromkeys([*old, *new]):
        was, is_now = old.get(key), new.get(key)
        lines = [gate_line(g, 1.0, r.alpha) if g else None for g, r in ((was, before), (is_now, now))]
        first = next(line for line in lines if line is not None)
        claims = dict.fromkeys(line.role for line in lines if line)
        cells = []
        for line in lines:
            found = line.figures if line else None
            cells.append(line.outcome if line else numbers.NONE)
            cells.append(f"{found.candidate_mean} ({found.difference})" if found else numbers.NONE)
        rows.append((f"{first.suite} / {first.score}", " → ".join(claims), *cells))
    return TextTable(
        "Gates",
        (
            "score",
            "claim",
            "outcome before",
            "mean (difference) before#",
            "outcome now",
            "mean (difference) now#",
        ),
        rows,
        "The mean is the candidate's, and the difference, in points, is to its baseline in that run.",
    )


def _flips(
    before: RunRecord,
    now: RunRecord,
    suites: tuple[SuiteInfo, SuiteInfo],
    sides: tuple[str, str],
    info: ScoreInfo,
) -> Flips | None:
    """The rows that flipped of one yes-or-no score; None where it is another, or was not scored in both."""
    if info.kind is not Kind.BINARY:
        return None
    mine, theirs = _trial(before, suites[0], sides[0]), _trial(now, suites[1], sides[1])
    if mine is None or theirs is None or info.name not in mine.scores or info.name not in theirs.scores:
        return None
    old, new = _by_row(mine, info.name), _by_row(theirs, info.name)
    lost: list[Flip] = []
    gained: list[Flip] = []
    n = 0
    for row in suites[0].rows:
        (text, was), (text_now, is_now) = old.get(row.id, ("", None)), new.get(row.id, ("", None))
        if was is None or is_now is None:
            continue
        n += 1
        if was != is_now:
            into = lost if was > is_now else gained
            into.append(Flip(row.id, *map(_cut, (row.question, text, text_now))))
    name = sides[1] if sides[0] == sides[1] else f"{sides[0]} → {sides[1]}"
    title = f"{suites[0].name} / {info.name}, {name}"
    return Flips(title, n, len(lost), len(gained), lost[:MOST_FLIPS], gained[:MOST_FLIPS])


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def _trial(record: RunRecord, suite: SuiteInfo, label: str) -> Trial | None:
    found = [trial for trial in record.trials if (trial.suite, trial.label) == (suite.name, label)]
    return min(found, key=lambda trial: trial.seed or 0, default=None)


def _by_row(trial: Trial, score: str) -> dict[str, tuple[str, float | None]]:
    return {
        answer.row_id: (answer.text, one.value)
        for answer, one in zip(trial.answers, trial.scores[score], strict=True)
    }


def _costs(before: RunRecord, now: RunRecord, names: Mapping[str, str]) -> TextTable:
    old = {money.candidate: money for money in before.economics}
    rows: list[tuple[str, ...]] = []
    for money in now.economics:
        was = old.get(names.get(money.candidate, money.candidate))
        if was is not None:
            rows += [(f"{money.candidate}: {name}", *both) for name, both in _money(was, money)]
    if before.spending or now.spending:
        rows.append(("hosted models, in all", *(_billed(record) for record in (before, now))))
    return TextTable("Costs", ("", "before#", "now#"), rows)


def _money(was: Economics, money: Economics) -> Iterator[tuple[str, list[str]]]:
    both = (was, money)
    yield "requests a day", [numbers.number(one.requests_per_day) for one in both]
    yield "prompt tokens a request", [numbers.tokens(one.candidate_prompt_tokens) for one in both]
    yield "completion tokens a request", [numbers.tokens(one.candidate_completion_tokens) for one in both]
    yield "inference a day", [numbers.usd(one.candidate_usd_per_day) for one in both]
    yield "training and data, once", [numbers.usd(one.training_usd) for one in both]
    yield "break-even", [numbers.days((one.with_quality or tokens_alone(one)).days) for one in both]


def _billed(record: RunRecord) -> str:
    return numbers.usd(sum(line.usd for line in record.spending))
