"""What the pictures show, beside the learning and the loss curves: gates, slices, cost, and money. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite

from harness.decision.crossover import efficient
from harness.decision.paired import compare
from harness.decision.prices import call_usd
from harness.decision.vectors import common_rows, recorded_vector
from harness.records import TIE, Comparison, Economics, Gate, Kind, Outcome, Role, RunRecord, Trial
from harness.report import numbers
from harness.report.earnings import over_time
from harness.report.quality import tokens_alone
from harness.report.trial_pairs import Pair, pairs, seeds_label, trial_label
from harness.report.view_models import (
    CostPicture,
    Forest,
    OverTime,
    Pictures,
    RungChart,
    RungMark,
    Span,
    TextTable,
    Tone,
    TornadoPicture,
)

MOST_GATES, MOST_SLICES, MOST_SWINGS = 24, 15, 8  # of one picture
MOST_FORESTS = 8  # of slices, of a page
_LONGEST_NAME = 38
OUTCOME_TONE: dict[Outcome, Tone] = {
    Outcome.SHOWN: "good",
    Outcome.REFUTED: "bad",
    Outcome.INCONCLUSIVE: "unsure",
}


def pictures(record: RunRecord) -> Pictures:
    """All pictures of gates, cost and money."""
    return Pictures(
        gates=gates_forest(record.gates),
        cost=None if record.ladder is not None else quality_against_cost(record),
        over_time=[one for one in map(money_over_time, record.economics) if one is not None],
        tornados=[one for one in map(tornado, record.economics) if one is not None],
    )


def gates_forest(gates: Sequence[Gate]) -> Forest | None:
    """Each gate's difference with its interval, against what it has to clear; in points."""
    told = [gate for gate in gates if gate.state in ("gated", "advisory") and gate.comparison is not None]
    subjects = {seeds_label(gate.size, gate.seeds, gate.candidate) for gate in told}
    spans = []
    for gate in told:
        found = gate.comparison
        if found is None or found.difference is None:
            continue
        name = f"{gate.suite} / {found.score}" + (f" where {found.rows}" if found.rows else "")
        if len(subjects) > 1:
            name = f"{seeds_label(gate.size, gate.seeds, gate.candidate)}: {name}"
        if gate.state == "advisory":
            name += " (advisory)"
        bound = 0.0 if gate.role is Role.TARGET and not found.bound else 100 * found.bound
        spans.append(_span(name, found, OUTCOME_TONE[found.outcome], bound))
    if not spans:
        return None
    said = "; ".join(f"{one.name} {one.said}, has to clear {one.bound:+g}" for one in spans)
    return Forest(spans[:MOST_GATES], "points, candidate less baseline", f"Differences of the gates: {said}.")


def slices_forest(title: str, found: Iterable[tuple[str, Comparison, Tone]]) -> Forest | None:
    """The largest differences of one score by slice, given largest first."""
    some = [one for one in found if one[1].difference is not None][:MOST_SLICES]
    spans = [_span(name, comparison, tone, None) for name, comparison, tone in some]
    said = "; ".join(f"{one.name} {one.said}" for one in spans)
    label = "points, candidate less baseline"
    return Forest(spans, label, f"{title} by slice: {said}.") if spans else None


def _span(name: str, found: Comparison, tone: Tone, bound: float | None) -> Span:
    limits = numbers.interval(found.low, found.high)
    said = f"{numbers.points(found.difference)} {limits}, n = {found.n:,}"
    low, high = (None if x is None or not isfinite(x) else 100 * x for x in (found.low, found.high))
    return Span(_name(name), said, 100 * (found.difference or 0.0), low, high, tone, bound)


def _name(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"


# --------------------------------------------------------------------------- cost
def quality_against_cost(record: RunRecord) -> CostPicture | None:
    """Each priced trial's difference on the first target's score, against the price of its tokens."""
    asked = [gate for gate in record.gates if gate.comparison is not None and gate.state == "gated"]
    gate = next(iter(sorted(asked, key=lambda gate: gate.role is not Role.TARGET)), None)
    if gate is None or gate.comparison is None:
        return None
    score = gate.comparison.score
    named: list[tuple[str, float, Comparison | None]] = []  # label, dollars a request, difference
    for pair in pairs(record):
        names = pair.candidate.name, trial_label(pair.lead)
        money = next((m for m in record.economics if m.candidate in names), None)
        if pair.suite.name != gate.suite or money is None or pair.baseline is None:
            continue
        base_usd = _usd(pair.baseline, money, is_baseline=True)
        if base_usd is not None and all(label != money.baseline for label, _, _ in named):
            named.append((money.baseline, base_usd, None))
        for trial in pair.trials:
            usd, found = _usd(trial, money, is_baseline=False), _against_baseline(record, pair, trial, score)
            if usd is not None and found is not None and not trial.seed:
                named.append((trial_label(trial), usd, found))
    if len(named) < 2:
        return None
    heights = [0.0 if found is None else 100 * (found.difference or 0.0) for _, _, found in named]
    per_1000 = [1000 * usd for _, usd, _ in named]
    best = efficient({str(at): (per_1000[at], heights[at]) for at in range(len(named))})
    marks = [
        RungMark(
            rank=at + 1,
            cost=per_1000[at],
            quality=heights[at],
            low=None if found is None or found.low is None else 100 * found.low,
            high=None if found is None or found.high is None else 100 * found.high,
            tone="plain" if found is None else "good" if (found.low or 0) > 0 else "unsure",
            is_answer=label in {money.candidate for money in record.economics},
        )
        for at, (label, _, found) in enumerate(named)
    ]
    rows = [
        (
            f"{at + 1} {label}",
            numbers.usd(per_1000[at]),
            numbers.points(heights[at] / 100),
            numbers.NONE if found is None else numbers.interval(found.low, found.high),
            numbers.NONE if found is None else numbers.count(found.n),
        )
        for at, (label, _, found) in enumerate(named)
    ]
    positive = [usd for usd in per_1000 if usd > 0]
    said = "; ".join(f"{name}: {usd}, {difference} points" for name, usd, difference, _, _ in rows)
    title = f"Quality against cost: {gate.suite} / {score}"
    chart = RungChart(
        title=title,
        marks=marks,
        line=[int(at) + 1 for at in best],
        x_label="US dollars per 1,000 requests, tokens alone",
        y_label="points against the baseline",
        is_log=bool(positive) and max(positive) > 10 * min(positive),
        is_usd=True,
        description=f"{title}. {said}.",
        note="",
    )
    heads = ("", "per 1,000 requests#", "difference#", "interval#", "n#")
    return CostPicture(chart, TextTable(title, heads, rows))


def _usd(trial: Trial, money: Economics, *, is_baseline: bool) -> float | None:
    """Dollars a request by the tokens that the trial's answers took; None where nobody counted them."""
    price = money.baseline_price if is_baseline else money.candidate_price
    each = [
        call_usd(price, answer.prompt_tokens, answer.completion_tokens, answer.cached_prompt_tokens)
        for answer in trial.answers
        if answer.failure is None
        if answer.prompt_tokens is not None and answer.completion_tokens is not None
    ]
    return sum(each) / len(each) if each else None


def _against_baseline(record: RunRecord, pair: Pair, trial: Trial, score: str) -> Comparison | None:
    info = next((info for info in pair.suite.scores if info.name == score), None)
    if info is None or score not in trial.scores:
        return None
    mine = recorded_vector(pair.suite, trial, score)
    if info.kind is Kind.PREFERENCE:
        return compare(mine, TIE, alpha=record.alpha)
    if pair.baseline is None or score not in pair.baseline.scores:
        return None
    return compare(*common_rows(mine, recorded_vector(pair.suite, pair.baseline, score)), alpha=record.alpha)


# --------------------------------------------------------------------------- money
def money_over_time(money: Economics) -> OverTime | None:
    """What a candidate has earned or cost until each day, what is paid once deducted."""
    days = over_time(money)
    if len({day.usd for day in days}) < 2:
        return None
    rate, unit = _unit(money)
    write = numbers.in_currency(money)
    whole = money.with_quality or tokens_alone(money)
    counted = "tokens and points" if money.with_quality else "tokens alone"
    title = f"{money.candidate} against {money.baseline}, {counted}"
    shown_days = days[:: max(1, (len(days) - 1) // 6)]
    rows = [
        (
            numbers.days(day.day),
            write(day.usd),
            numbers.NONE if day.low is None else f"{write(day.low)} to {write(day.high)}",
        )
        for day in shown_days
    ]
    last, even = days[-1].day, whole.days
    said = f"break-even: {numbers.days_with_limits(whole)}"
    return OverTime(
        title=f"{title}; {said}",
        points=[(d.day, d.usd / rate, _over(d.low, rate), _over(d.high, rate)) for d in days],
        even_day=even if even is not None and even <= last else None,
        y_label=f"{unit}, net",
        description=f"{title} over time; {said}. {'; '.join(f'{day}: {usd}' for day, usd, _ in rows)}.",
        table=TextTable(title, ("after", "net#", "90% interval#"), rows),
    )


def tornado(money: Economics) -> TornadoPicture | None:
    """How far each input alone moves the net over the horizon, from one end of its 90% range to the other."""
    found = money.outlook
    if found is None or not found.swings or found.usd_over_horizon.value is None:
        return None
    rate, unit = _unit(money)
    write = numbers.in_currency(money)
    centre = found.usd_over_horizon.value / rate
    spans, rows = [], []
    for swing in found.swings[:MOST_SWINGS]:
        low, high = sorted((swing.usd_at_low / rate, swing.usd_at_high / rate))
        ends = f"{write(swing.usd_at_low)} to {write(swing.usd_at_high)}"
        spans.append(
            Span(
                _name(swing.input.split(", USD")[0]),
                ends,
                found.usd_over_horizon.value / rate,
                low,
                high,
                "unsure",
            )
        )
        span = f"{numbers.number(swing.low)} to {numbers.number(swing.high)}"
        days = f"{numbers.days(swing.days_at_low)} to {numbers.days(swing.days_at_high)}"
        rows.append((swing.input, span, ends, days))
    horizon = numbers.days(found.horizon_days)
    said = "; ".join(f"{name}, {span}: {ends}" for name, span, ends, _ in rows)
    middle = write(found.usd_over_horizon.value)
    title = f"{money.candidate} over {horizon}, {middle} in the middle"
    forest = Forest(
        spans,
        f"{unit}, net over {horizon}",
        f"What moves the money most: {title}. {said}.",
        centre=centre,
        is_tornado=True,
    )
    heads = ("input", "its 90% range#", f"net over {horizon}#", "break-even#")
    return TornadoPicture(title, forest, TextTable(title, heads, rows))


def _over(usd: float | None, rate: float) -> float | None:
    return None if usd is None else usd / rate


def _unit(money: Economics) -> tuple[float, str]:
    """Dollars in a unit of the project's currency, and its name."""
    found = money.outlook
    if found is None or found.currency == "USD":
        return 1.0, "US dollars"
    return found.usd_per_unit, found.currency
