"""The first screen of a ladder: the rung that holds, what the next adds, and what each costs.

Qualities are paired differences to one baseline on one score: the first target's. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from harness.decision.crossover import crossover, efficient
from harness.decision.ladder import IS_BASELINE
from harness.decision.paired import compare
from harness.decision.vectors import common_rows, over_seeds, recorded_vector
from harness.records import (
    TIE,
    CandidateInfo,
    Comparison,
    Gate,
    Kind,
    Ladder,
    Role,
    Rung,
    RunRecord,
    ScoreInfo,
    ScoreVector,
    SuiteInfo,
)
from harness.report import numbers
from harness.report.trial_pairs import is_advisory, trials_of
from harness.report.view_models import Fact, LadderBlock, RungChart, RungMark, TextTable, Tone

NOT_TRIED = "not tried"
_TONE: dict[str, Tone] = {"holds": "good", "fails": "bad", "undecided": "unsure", NOT_TRIED: "plain"}
_MOST_CROSSOVERS = 8
_LOG_SPAN = 10.0  # costs that span more have a logarithmic axis


def ladder_block(record: RunRecord) -> LadderBlock | None:
    """The ladder's view; None where the run had none."""
    if record.ladder is None:
        return None
    seen = _Seen(record, record.ladder)
    holds = next((rung for rung in seen.rungs if rung.label == seen.ladder.answer), None)
    whys = [f"{rung.rank} {rung.label}: {rung.why}" for rung in seen.rungs if rung.why]
    return LadderBlock(
        verdict=holds.label if holds else "No rung holds",
        tone="good" if holds else "unsure" if seen.n("undecided") or seen.n(NOT_TRIED) else "bad",
        means=_means(seen, holds),
        facts=[*_facts(seen, holds)] if holds else [],
        charts=[*_charts(seen)],
        table=_table(seen),
        whys=whys,
        crossovers=_crossovers(seen),
    )


@dataclass(frozen=True)
class _Seen:
    """A ladder with the vectors of its rungs."""

    record: RunRecord
    ladder: Ladder

    @cached_property
    def rungs(self) -> list[Rung]:
        """In the order in which they were tried."""
        return sorted(self.ladder.rungs, key=lambda rung: rung.rank)

    def n(self, outcome: str) -> int:
        """How many rungs ended so."""
        return sum(rung.outcome == outcome for rung in self.rungs)

    @cached_property
    def measured(self) -> tuple[SuiteInfo, ScoreInfo, Role] | None:
        """The score to compare rungs by: of the first target on all rows, else of the first gate."""
        mine = {rung.candidate for rung in self.rungs}
        asked = [g for g in self.record.gates if g.comparison is not None and g.candidate in mine]

        def order(gate: Gate) -> tuple[bool, bool, bool]:
            is_sliced = gate.comparison is not None and bool(gate.comparison.rows)
            return gate.role is not Role.TARGET, is_sliced, gate.state != "gated"

        for gate in sorted(asked, key=order):
            suite = next((one for one in self.record.suites if one.name == gate.suite), None)
            named = (
                [s for s in suite.scores if gate.comparison and s.name == gate.comparison.score]
                if suite
                else []
            )
            if suite is not None and named:
                return suite, named[0], gate.role
        return None

    @cached_property
    def score_name(self) -> str:
        """``suite / score``, and whether it decides."""
        if self.measured is None:
            return "no score, as no gate was judged"
        suite, info, role = self.measured
        which = "the first target" if role is Role.TARGET else "there is no target"
        return f"{suite.name} / {info.name} ({which}{', advisory' if is_advisory(info) else ''})"

    @cached_property
    def baseline(self) -> str:
        """The candidate that most rungs are compared with; empty where there is none."""
        infos = {info.name: info.baseline for info in self.record.candidates}
        found = Counter(name for rung in self.rungs if (name := infos.get(rung.candidate, "")))
        return found.most_common(1)[0][0] if found else ""

    def vector(self, name: str, size: int | None) -> ScoreVector | None:
        """The candidate's values at this size, over seeds; None where it has none."""
        if self.measured is None:
            return None
        suite, info, _ = self.measured
        trials = [
            t for t in trials_of(self.record, suite.name, name) if t.size == size and info.name in t.scores
        ]
        if not trials:
            return None
        each = [recorded_vector(suite, trial, info.name) for trial in trials]
        return over_seeds(each, [trial.seed or 0 for trial in trials])

    @cached_property
    def vectors(self) -> dict[str, ScoreVector]:
        """Of each rung that was tried, by label."""
        each = {rung.label: self.vector(rung.candidate, rung.size) for rung in self.rungs}
        return {label: vector for label, vector in each.items() if vector is not None}

    @cached_property
    def of_baseline(self) -> ScoreVector | None:
        """The baseline's values, at its largest size."""
        trials = trials_of(self.record, self.measured[0].name, self.baseline) if self.measured else []
        return self.vector(self.baseline, trials[-1].size) if trials else None

    def between(self, label: str, other: str) -> Comparison | None:
        """The paired difference ``label`` - ``other``; None where one has no values, and of preferences."""
        return self._compared(self.vectors.get(label), self.vectors.get(other))

    def quality(self, rung: Rung) -> Comparison | None:
        """The rung's difference to the baseline: as labels corrected it, where they did."""
        if self.measured is None or rung.candidate == self.baseline:
            return None
        suite, info, _ = self.measured
        mine = self.vectors.get(rung.label)
        for gate in self.record.gates:
            found = gate.comparison
            if found is None or gate.correction is None or found.rows or found.baseline != self.baseline:
                continue
            if (gate.suite, found.score, gate.candidate, gate.size) == (
                suite.name,
                info.name,
                rung.candidate,
                rung.size,
            ):
                return found
        if mine is not None and info.kind is Kind.PREFERENCE:
            return compare(mine, TIE, alpha=self.record.alpha)
        return self._compared(mine, self.of_baseline)

    def _compared(self, mine: ScoreVector | None, theirs: ScoreVector | None) -> Comparison | None:
        if mine is None or theirs is None or mine.kind is Kind.PREFERENCE:
            return None
        if mine.by_seed and theirs.by_seed and len(mine.by_seed[0]) != len(theirs.by_seed[0]):
            return None
        return compare(*common_rows(mine, theirs), alpha=self.record.alpha)

    def height(self, rung: Rung) -> float | None:
        """The difference to the baseline in points; the baseline's own is 0."""
        if rung.candidate == self.baseline and rung.label in self.vectors:
            return 0.0
        found = self.quality(rung)
        return None if found is None or found.difference is None else 100.0 * found.difference

    def tokens(self, rung: Rung) -> float | None:
        """Mean tokens a request, prompt and completion, on the suite of the score; None: not counted."""
        suite = self.measured[0].name if self.measured else ""
        counts = [
            answer.prompt_tokens + answer.completion_tokens
            for trial in trials_of(self.record, suite, rung.candidate)
            for answer in trial.answers
            if trial.size == rung.size and answer.failure is None
            if answer.prompt_tokens is not None and answer.completion_tokens is not None
        ]
        return sum(counts) / len(counts) if counts else None

    def next_of(self, rung: Rung) -> Rung | None:
        """The rung above."""
        return next((higher for lower, higher in pairwise(self.rungs) if lower is rung), None)

    def info(self, rung: Rung) -> CandidateInfo | None:
        """The candidate as it was written; None where it was not tried."""
        return next((info for info in self.record.candidates if info.name == rung.candidate), None)

    def is_only_baseline(self, rung: Rung) -> bool:
        """Whether it failed for no other reason than that it cannot be better than itself."""
        return rung.outcome == "fails" and rung.why == IS_BASELINE


def _means(seen: _Seen, holds: Rung | None) -> str:
    cheaper = [
        rung.label
        for rung in seen.rungs
        if holds and rung is not holds and rung.outcome == "holds" and _costs_less(rung, holds)
    ]
    also = f" Holding too, and for less a request: {', '.join(cheaper)}." if cheaper else ""
    n = len(seen.rungs)
    said = f"{n - seen.n(NOT_TRIED)} of {numbers.plural(n, 'rung')} were tried."
    if holds:
        said = f"Rung {holds.rank} of {n}, the first whose gates all hold."
    return f"{said}{also} Order: {seen.ladder.order}."


def _costs_less(rung: Rung, other: Rung) -> bool:
    usd, other_usd = rung.usd_per_1000_requests, other.usd_per_1000_requests
    return usd is not None and other_usd is not None and usd < other_usd


def _facts(seen: _Seen, holds: Rung) -> Iterator[Fact]:
    higher = seen.next_of(holds)

    def beside(value: str) -> str:
        return f"{higher.label}: {value}" if higher else ""

    quality = seen.quality(holds)
    is_baseline = holds.candidate == seen.baseline
    against = "" if is_baseline else f"{seen.score_name}, against {seen.baseline}"
    yield Fact("quality", "the baseline itself" if is_baseline else _difference(quality), against)
    if higher is None:
        yield Fact("the next rung would add", numbers.NONE, "it is the highest rung")
    else:
        yield Fact("the next rung would add", _added(seen, holds, higher), higher.label)
    yield Fact("per 1,000 requests", _usd(holds), beside(_usd(higher or holds)))
    yield Fact("latency, mean", _ms(holds.latency_ms), beside(_ms(higher.latency_ms) if higher else ""))
    if seen.ladder.stopped_before_usd is not None:
        kept = numbers.usd(seen.ladder.stopped_before_usd)
        yield Fact("not spent", kept, f"at least, on {numbers.plural(seen.n(NOT_TRIED), 'rung')} not tried")


def _added(seen: _Seen, lower: Rung, higher: Rung) -> str:
    if NOT_TRIED in (lower.outcome, higher.outcome):
        return NOT_TRIED
    return _difference(seen.between(higher.label, lower.label))


def _difference(found: Comparison | None) -> str:
    if found is None or found.difference is None:
        return numbers.NONE
    limits = numbers.interval(found.low, found.high)
    limits = "" if limits == numbers.NONE else f" {limits}"
    return f"{numbers.points(found.difference)}{limits}, n = {found.n:,}"


def _usd(rung: Rung) -> str:
    """Dollars per 1,000 requests."""
    if rung.usd_per_1000_requests is None:
        return numbers.NONE if rung.outcome == NOT_TRIED else "no price"
    return numbers.usd(rung.usd_per_1000_requests)


def _ms(value: float | None) -> str:
    return numbers.NONE if value is None else f"{value:,.0f} ms"


def _table(seen: _Seen) -> TextTable:
    rows = []
    for place, rung in enumerate(seen.rungs):
        quality = _difference(seen.quality(rung))
        if rung.candidate == seen.baseline:
            quality = numbers.NONE
        added = _added(seen, seen.rungs[place - 1], rung) if place else numbers.NONE
        once = rung.training_usd
        rows.append(
            (
                f"{rung.rank} {rung.label}",
                "the baseline" if seen.is_only_baseline(rung) else rung.outcome,
                quality,
                added,
                _usd(rung),
                _ms(rung.latency_ms),
                numbers.tokens(seen.tokens(rung)),
                numbers.NONE if once is None else numbers.usd(once),
            )
        )
    against = f"quality: difference to {seen.baseline}" if seen.baseline else "quality"
    return TextTable(
        "The rungs, cheapest first",
        (
            "rung",
            "outcome",
            "quality#",
            "adds to the rung before#",
            "per 1,000#",
            "latency#",
            "tokens#",
            "once#",
        ),
        rows,
        f"{against[0].upper()}{against[1:]} in points of {seen.score_name}, on the same rows, with two-sided"
        f" {numbers.level(seen.record.alpha)} intervals and n. Each gate of a rung had to meet"
        f" {numbers.one_sided(seen.ladder.level)}. Per 1,000 requests, latency and tokens are means of this"
        " run; once is training, and rows that have a price.",
    )


# --------------------------------------------------------------------------- the pictures
def _charts(seen: _Seen) -> Iterator[RungChart]:
    tried = [rung for rung in seen.rungs if rung.outcome != NOT_TRIED and seen.height(rung) is not None]
    priced = {r.label: r.usd_per_1000_requests for r in tried if r.usd_per_1000_requests is not None}
    counted = {rung.label: tokens for rung in tried if (tokens := seen.tokens(rung)) is not None}
    without = [rung for rung in tried if rung.label not in priced]
    note = ""
    if len(priced) >= 2:
        if without:
            some = ", ".join(str(rung.rank) for rung in without)
            note = f"Not in this picture, since nothing prices them: {some}."
        yield _chart(seen, tried, priced, "cost", "dollars per 1,000 requests", note)
    elif len(counted) >= 2:
        note = "Too few rungs have a price, so cost is tokens, which compare models of one size only."
        yield _chart(seen, tried, counted, "cost", "tokens a request, prompt and answer", note)
    times = {rung.label: rung.latency_ms for rung in tried if rung.latency_ms is not None}
    if len(times) >= 2:
        yield _chart(seen, tried, times, "latency", "milliseconds a request, mean", "")


def _chart(
    seen: _Seen, tried: Sequence[Rung], costs: dict[str, float], what: str, x_label: str, note: str
) -> RungChart:
    shown = [rung for rung in tried if rung.label in costs]
    heights = {rung.label: seen.height(rung) or 0.0 for rung in shown}
    best = efficient({label: (costs[label], height) for label, height in heights.items()})
    marks = []
    for rung in shown:
        found = seen.quality(rung)
        low, high = (None, None) if found is None else (found.low, found.high)
        marks.append(
            RungMark(
                rank=rung.rank,
                cost=costs[rung.label],
                quality=heights[rung.label],
                low=None if low is None else 100.0 * low,
                high=None if high is None else 100.0 * high,
                tone="plain" if seen.is_only_baseline(rung) else _TONE[rung.outcome],
                is_answer=rung.label == seen.ladder.answer,
            )
        )
    values = sorted(costs[rung.label] for rung in shown)
    positive = [value for value in values if value > 0]
    line = [next(rung.rank for rung in shown if rung.label == label) for label in best]
    said = "; ".join(
        f"rung {mark.rank}: {numbers.number(round(mark.cost, 4))},"
        f" {numbers.points(mark.quality / 100)} points"
        for mark in sorted(marks, key=lambda mark: mark.cost)
    )
    return RungChart(
        title=f"Quality against {what}",
        marks=marks,
        line=line,
        x_label=x_label,
        y_label="points against the baseline",
        is_log=bool(positive) and positive[-1] > _LOG_SPAN * positive[0],
        is_usd="dollars" in x_label,
        description=f"Quality in points against {x_label}. {said}. Efficient: {', '.join(map(str, line))}.",
        note=note,
    )


# --------------------------------------------------------------------------- the crossover
def _crossovers(seen: _Seen) -> TextTable | None:
    """The efficient tuned rungs against the efficient others: from how many requests on training pays."""
    tried = [rung for rung in seen.rungs if rung.outcome != NOT_TRIED]
    tuned = _efficient(seen, [rung for rung in tried if rung.size is not None])
    others = _efficient(seen, [rung for rung in tried if not rung.size is not None])
    horizon = next((money.horizon_days for money in seen.record.economics), None)
    rows = []
    for mine in tuned:
        for other in others:
            usd, other_usd = mine.usd_per_1000_requests, other.usd_per_1000_requests
            if usd is None or other_usd is None or mine.training_usd is None:
                continue
            once = mine.training_usd - (other.training_usd or 0.0)
            found = crossover(once, usd, other_usd)
            rows.append(
                (
                    f"{mine.label} against {other.label}",
                    _difference(seen.between(mine.label, other.label)),
                    f"{numbers.usd(usd)} against {numbers.usd(other_usd)}",
                    numbers.usd(once),
                    _from(found, horizon),
                )
            )
    if not rows:
        return None
    left = len(rows) - _MOST_CROSSOVERS
    over = f" within {numbers.days(horizon)}" if horizon is not None else ", with no horizon given"
    return TextTable(
        "From how many requests a day on tuning pays",
        ("tuned against not tuned", "quality#", "per 1,000 requests#", "once#", "pays from"),
        rows[:_MOST_CROSSOVERS],
        f"By tokens alone{over}: what is paid once, over what a request saves. Points have no price here."
        " Only rungs that no other of their sort beats in both cost and quality are compared."
        + (f" {left} more pairs are left out." if left > 0 else ""),
    )


def _efficient(seen: _Seen, rungs: Sequence[Rung]) -> list[Rung]:
    points = {
        rung.label: (rung.usd_per_1000_requests, height)
        for rung in rungs
        if rung.usd_per_1000_requests is not None and (height := seen.height(rung)) is not None
    }
    best = efficient(points)
    return [rung for rung in rungs if rung.label in best]


def _from(requests: float | None, horizon_days: float | None) -> str:
    if requests is None:
        return "never: it costs as much a request, or more"
    if requests == 0:
        return "the first request: nothing is paid once"
    if horizon_days is None:
        return f"{numbers.number(round(requests))} requests in all"
    a_day = requests / horizon_days
    return f"{numbers.number(round(a_day)) if a_day >= 10 else numbers.number(a_day, 1)} requests a day"
