"""The first screen of a ladder: the rung that holds, what the next adds, and what each costs.

Qualities are paired differences to one baseline on one score: the first target's. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from harness.decision.crossover import crossover, efficient
from harness.records import Comparison, Rung, RunRecord
from harness.report import numbers
from harness.report.rungs import NOT_TRIED, Measured
from harness.report.view_models import Fact, LadderBlock, RungChart, RungMark, TextTable, Tone

_TONE: dict[str, Tone] = {"holds": "good", "fails": "bad", "undecided": "unsure", NOT_TRIED: "plain"}
_MOST_CROSSOVERS = 8
_LOG_SPAN = 10.0  # costs that span more have a logarithmic axis


def ladder_block(record: RunRecord) -> LadderBlock | None:
    """The ladder's view; None where the run had none."""
    if record.ladder is None:
        return None
    seen = Measured(record, record.ladder)
    holds = next((rung for rung in seen.rungs if rung.label == seen.ladder.answer), None)
    whys = [f"{rung.rank} {rung.label}: {rung.why}" for rung in seen.rungs if rung.why]
    is_open = bool(seen.n("undecided") or seen.n(NOT_TRIED))
    return LadderBlock(
        verdict=holds.label if holds else "No rung holds so far" if is_open else "No rung holds",
        tone="good" if holds else "unsure" if is_open else "bad",
        means=_means(seen, holds),
        facts=[*_facts(seen, holds)],
        charts=[*_charts(seen)],
        table=_table(seen),
        whys=whys,
        crossovers=_crossovers(seen),
    )


def _means(seen: Measured, holds: Rung | None) -> str:
    cheaper = [
        rung.label
        for rung in seen.rungs
        if holds and rung is not holds and rung.outcome == "holds" and _costs_less(rung, holds)
    ]
    also = f" Holding too, and for less a request: {', '.join(cheaper)}." if cheaper else ""
    n = len(seen.rungs)
    said = f"{n - seen.n(NOT_TRIED)} of {numbers.plural(n, 'rung')} were tried{_left(seen)}."
    if holds:
        said = f"Rung {holds.rank} of {n}, the first whose gates all hold."
    return f"{_worth(seen, holds)}{said}{also} Order: {seen.ladder.order}."


def _worth(seen: Measured, holds: Rung | None) -> str:
    """Whether fine-tuning was worth it, which is what a reader wants first; empty without a fine-tune."""
    tuned = [rung for rung in seen.rungs if rung.size is not None and not seen.is_only_baseline(rung)]
    if not tuned:
        return ""
    if holds in tuned:
        before = [rung for rung in seen.rungs if rung.rank < holds.rank and rung not in tuned]
        tried = [rung for rung in before if rung.outcome != NOT_TRIED and not seen.is_only_baseline(rung)]
        if not tried:
            return f"{holds.label} holds; nothing else without fine-tuning was tried before it. "
        return f"Fine-tuning was worth it: {holds.label} holds, and nothing before it was shown to. "
    if holds:
        return f"Fine-tuning is not needed: {holds.label} holds without it. "
    named = {outcome: [r.label for r in tuned if r.outcome == outcome] for outcome in _TONE}
    if len(named[NOT_TRIED]) == len(tuned):
        return "Fine-tuning was not tried. "
    if named["fails"] == [rung.label for rung in tuned]:
        return f"Fine-tuning was not worth it: {', '.join(named['fails'])} does not hold. "
    left = [f"{', '.join(named[one])} {one}" for one in ("undecided", NOT_TRIED) if named[one]]
    return f"Whether fine-tuning is worth it stays open: {', '.join(left)}. "


def _left(seen: Measured) -> str:
    """The rungs that were not tried, by why."""
    by_why: dict[str, list[str]] = {}
    for rung in seen.rungs:
        if rung.outcome == NOT_TRIED:
            by_why.setdefault(rung.why, []).append(rung.label)
    return "".join(f", not {', '.join(labels)} ({why})" for why, labels in by_why.items())


def _costs_less(rung: Rung, other: Rung) -> bool:
    usd, other_usd = rung.usd_per_1000_requests, other.usd_per_1000_requests
    return usd is not None and other_usd is not None and usd < other_usd


def _facts(seen: Measured, holds: Rung | None) -> Iterator[Fact]:
    if holds:
        yield from _facts_of(seen, holds)
    if seen.ladder.stopped_before_usd is not None:
        kept = numbers.usd(seen.ladder.stopped_before_usd)
        yield Fact("not spent", kept, f"at least, on {numbers.plural(seen.n(NOT_TRIED), 'rung')} not tried")


def _facts_of(seen: Measured, holds: Rung) -> Iterator[Fact]:
    higher = seen.above(holds)

    def beside(value: str) -> str:
        return f"{higher.label}: {value}" if higher and value != numbers.NONE else ""

    quality = seen.quality(holds)
    is_baseline = holds.candidate == seen.baseline
    against = "" if is_baseline else f"{seen.score_name}, against {seen.baseline}"
    yield Fact("quality", "the baseline itself" if is_baseline else _difference(quality), against)
    if higher is None:
        yield Fact("the next rung would add", numbers.NONE, "it is the highest rung")
    else:
        yield Fact("the next rung would add", _added(seen, holds, higher), higher.label)
    yield Fact("per 1,000 requests", _usd(holds), beside(_usd(higher or holds)))
    yield Fact("latency, mean", _ms(holds.latency_ms), beside(_ms(higher.latency_ms if higher else None)))


def _added(seen: Measured, lower: Rung, higher: Rung) -> str:
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


def _table(seen: Measured) -> TextTable:
    rows = []
    for rung in seen.rungs:
        lower = seen.below(rung)
        added = _added(seen, lower, rung) if lower and rung.candidate != seen.baseline else numbers.NONE
        once = rung.training_usd
        rows.append(
            (
                f"{rung.rank} {rung.label}",
                "the baseline" if seen.is_only_baseline(rung) else rung.outcome,
                _difference(seen.quality(rung)),
                added,
                _usd(rung),
                _ms(rung.latency_ms),
                numbers.tokens(seen.tokens(rung)),
                numbers.NONE if once is None else numbers.usd(once),
            )
        )
    against = f"quality: difference to {seen.baseline}" if seen.baseline else "quality"
    level = f"The first that holds has to at {numbers.one_sided(seen.ladder.level)}, every gate of it."
    return TextTable(
        "The rungs, in their order",
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
        f" {numbers.level(seen.record.alpha)} intervals and n. {level} Per 1,000 requests, latency and tokens"
        " are means of this run; once is training, and rows that have a price.",
    )


# --------------------------------------------------------------------------- the pictures
def _charts(seen: Measured) -> Iterator[RungChart]:
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
    seen: Measured, tried: Sequence[Rung], costs: dict[str, float], what: str, x_label: str, note: str
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
    positive = [costs[rung.label] for rung in shown if costs[rung.label] > 0]
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
        is_log=bool(positive) and max(positive) > _LOG_SPAN * min(positive),
        is_usd="dollars" in x_label,
        description=f"Quality in points against {x_label}. {said}. Efficient: {', '.join(map(str, line))}.",
        note=note,
    )


# --------------------------------------------------------------------------- the crossover
def _crossovers(seen: Measured) -> TextTable | None:
    """The efficient tuned rungs against the efficient others: from how many requests on training pays."""
    tried = [rung for rung in seen.rungs if rung.outcome != NOT_TRIED]
    tuned = _efficient(seen, [rung for rung in tried if rung.size is not None])
    others = _efficient(seen, [rung for rung in tried if rung.size is None])
    money = next(iter(seen.record.economics), None)
    horizon = money.horizon_days if money else None
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
    over = ", with no horizon given"
    if money:
        asked = f"{numbers.number(money.requests_per_day)} requests a day are expected"
        over = f" within {numbers.days(money.horizon_days)} ({asked})"
    return TextTable(
        "From how many requests a day on tuning pays",
        ("tuned against not tuned", "quality#", "per 1,000 requests#", "once#", "pays from"),
        rows[:_MOST_CROSSOVERS],
        f"By tokens alone{over}: what is paid once, over what a request saves. Points have no price here."
        " Only rungs that no other of their sort beats in both cost and quality are compared."
        + (f" {left} more pairs are left out." if left > 0 else ""),
    )


def _efficient(seen: Measured, rungs: Sequence[Rung]) -> list[Rung]:
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
        return f"{numbers.plural(ceil(requests), 'request')} in all"
    return f"{numbers.plural(ceil(requests / horizon_days), 'request')} a day"
