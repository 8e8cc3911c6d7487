"""What another 100 rows or labels, or another seed, are worth in money before deciding, ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import ndtri

from harness.decision.curve import CurveFit, ScoredTraining, fit_curve
from harness.decision.economics_file import EconomicsConfig, parse_economics
from harness.decision.information import (
    PLANNED_SEED_SD,
    Option,
    ranked,
    resolved_by_more,
    worth_of_gains,
    worth_of_looking,
)
from harness.decision.paired import compare
from harness.decision.payback import POINTS, grown_days
from harness.decision.student import Values
from harness.decision.vectors import recorded_vector
from harness.errors import UsageError
from harness.records import Comparison, Correction, Economics, Outlook, PricedScore, RunRecord
from harness.report import numbers
from harness.report.trial_pairs import Pair, is_advisory, pairs
from harness.report.view_models import TextTable

_CENT = 0.01  # a worth below it is not written to its last digit

MORE = 100
_TOKENS = "tokens of a request"  # how the swing of tokens begins
_SHARES = (np.arange(1000) + 0.5) / 1000


@dataclass(frozen=True, slots=True)
class _Priced:
    """One priced score, as far as it can be known better."""

    usd: float  # over the horizon, for one of it in score units
    n: int
    rows_variance: float  # of the difference, in score units
    seed_variance: float
    seeds: int
    correction: Correction | None
    is_judged: bool  # by a judge, without labels of these answers
    fit: CurveFit | str


def knowing_more(record: RunRecord, money: Economics) -> list[Option]:
    """The best first; empty where the record does not hold the project's prices, or has no intervals."""
    outlook = money.outlook
    if outlook is None or not record.economics_toml or outlook.usd_over_horizon.value is None:
        return []
    if outlook.p_never is None:
        return []
    try:
        config = parse_economics(record.economics_toml, "economics.toml")
    except UsageError:  # of a version that knew other keys
        return []
    priced = [*_priced(record, money, outlook)]
    return ranked(_options(record, money, outlook, config, priced))


def knowing_table(record: RunRecord, money: Economics) -> TextTable | None:
    """The options as a table; None where there are none."""
    options = knowing_more(record, money)
    if not options:
        return None
    usd = numbers.in_currency(money)
    rows = [
        (
            one.what,
            one.more or numbers.NONE,
            f"<{usd(_CENT)}" if 0 < (one.worth_usd or 0) < _CENT / 2 else usd(one.worth_usd),
            usd(one.cost_usd),
            usd(one.net_usd),
            one.why_not,
        )
        for one in options
    ]
    return TextTable(
        f"What it is worth to know more before deciding on {money.candidate}",
        ("what", "more", "worth#", "cost#", "net#", "not known"),
        rows,
        f"Worth is how much more the choice between shipping and not is expected to earn in"
        f" {numbers.days(money.horizon_days)}, decided after looking. Cost includes training again and"
        " answering. The best stands first.",
    )


def _options(
    record: RunRecord, money: Economics, outlook: Outlook, config: EconomicsConfig, priced: Sequence[_Priced]
) -> Iterator[Option]:
    net = outlook.usd_over_horizon.value or 0.0
    z90 = -float(ndtri(record.alpha))
    tokens = [swing for swing in outlook.swings if swing.input.startswith(_TOKENS)]
    tokens_sd = sum((swing.usd_at_high - swing.usd_at_low) / (2 * z90) for swing in tokens)
    n = max((one.n for one in priced), default=money.n_requests_measured)
    seeds = max((one.seeds for one in priced), default=1)
    new, old = (
        (each.value or 0.0) / 1000
        for each in (outlook.usd_per_1000_requests, outlook.baseline_usd_per_1000_requests)
    )
    resolved = resolved_by_more(tokens_sd**2, n, MORE)
    resolved += sum(one.usd**2 * resolved_by_more(one.rows_variance, one.n, MORE) for one in priced)
    row_usd = config.row_usd
    heldout_usd = row_usd if config.heldout_row_usd is None else config.heldout_row_usd
    yield Option(
        "test more",
        f"{MORE} held-out rows",
        worth_of_looking(net, sqrt(resolved)),
        None if heldout_usd is None else MORE * (heldout_usd + seeds * new + old),
        "" if heldout_usd is not None else "what a held-out row costs: heldout_row_usd in economics.toml",
    )
    if outlook.n_trainings and priced:
        training = outlook.training_usd.value or 0.0
        variance = sum(one.usd**2 * one.seed_variance / (one.seeds + 1) for one in priced)
        assumed = f"with one seed, {POINTS * PLANNED_SEED_SD:g} points between trainings are assumed"
        worth = worth_of_looking(net, sqrt(variance))
        yield Option("another seed", "1 training", worth, training + n * new, assumed if seeds < 2 else "")
        yield _rows(money, config, priced, net, training, n * new)
    yield from _labels(config, priced, net)


def _rows(
    money: Economics,
    config: EconomicsConfig,
    priced: Sequence[_Priced],
    net: float,
    training: float,
    asking: float,
) -> Option:
    """100 training rows more: each curve that may be the true one, seen before deciding."""
    more, row_usd = f"{MORE} training rows", config.row_usd
    reasons = [one.fit for one in priced if isinstance(one.fit, str)]
    fits = [(one.usd, one.fit) for one in priced if isinstance(one.fit, CurveFit)]
    if reasons:
        return Option("collect rows", more, None, None, reasons[0])
    if len(fits) == 1:
        ((usd, fit),) = fits
        worth = worth_of_gains(net, usd * (fit.scores(fit.largest + MORE) - fit.measured), fit.weight)
    else:  # scores of the same rows rise together
        gained = sum((usd * _gains(fit) for usd, fit in fits), np.zeros_like(_SHARES))
        worth = worth_of_gains(net, gained, np.full(len(_SHARES), 1 / len(_SHARES)))
    if row_usd is None:
        return Option(
            "collect rows", more, worth, None, "what a row costs: training_row_usd in economics.toml"
        )
    largest = max(fit.largest for _, fit in fits)
    return Option("collect rows", more, worth, MORE * row_usd + training * (1 + MORE / largest) + asking)


def _gains(fit: CurveFit) -> Values:
    """Equally likely gains of 100 rows, from the least to the most."""
    gains = fit.scores(fit.largest + MORE) - fit.measured
    order = np.argsort(gains)
    found: Values = np.interp(_SHARES, np.cumsum(fit.weight[order]) - fit.weight[order] / 2, gains[order])
    return found


def _labels(config: EconomicsConfig, priced: Sequence[_Priced], net: float) -> Iterator[Option]:
    corrected = [one for one in priced if one.correction is not None]
    if not corrected:
        if any(one.is_judged for one in priced):
            why = "how far its judge is off: no answer of this run is labelled (harness label)"
            yield Option("label more", f"{MORE} labelled rows", None, None, why)
        return
    resolved = sum(one.usd**2 * _resolved_by_labels(one) for one in corrected)
    cost = None if config.label_usd is None else 2 * MORE * config.label_usd
    why = "" if cost is not None else "what a label costs: label_usd in economics.toml"
    yield Option("label more", f"{MORE} rows of both sides", worth_of_looking(net, sqrt(resolved)), cost, why)


def _resolved_by_labels(one: _Priced) -> float:
    """The corrected variance is ``s2 ((1 - r2) / labels + r2 / rows)``, ``r`` the judge's correlation."""
    assert one.correction is not None
    now, rows = float(one.correction.n_labels), float(one.correction.n)
    later = min(now + MORE, rows)
    as_exact = now + one.correction.labels_saved
    r2 = 0.0 if now >= rows else min(max((1 / now - 1 / as_exact) / (1 / now - 1 / rows), 0.0), 1.0)
    at_now, at_later = ((1 - r2) / labels + r2 / rows for labels in (now, later))
    return one.rows_variance * max(1.0 - at_later / at_now, 0.0)


def _priced(record: RunRecord, money: Economics, outlook: Outlook) -> Iterator[_Priced]:
    """Each priced score that was measured, with the parts of its variance."""
    name = money.candidate.partition("@")[0]
    sides = {pair.suite.name: pair for pair in pairs(record) if pair.candidate.name == name}
    days = float(grown_days(outlook.horizon_days, outlook.growth_per_month))
    z90 = -float(ndtri(record.alpha))
    for one in money.priced_scores:
        pair = sides.get(one.suite)
        if pair is None or one.low is None or one.high is None:
            continue
        variance = ((one.high - one.low) / (2 * z90)) ** 2
        found, correction = _comparison(record, pair, one)
        seeds = max(len(found.seed_differences) if found else 1, 1)
        share = (found.seed_share or 0.0) if found is not None and seeds > 1 else 0.0
        info = next(info for info in pair.suite.scores if info.name == one.score)
        yield _Priced(
            usd=POINTS * one.usd_per_point_per_day * days,
            n=one.n,
            rows_variance=variance * (1 - share),
            seed_variance=variance * share if seeds > 1 else PLANNED_SEED_SD**2,
            seeds=seeds,
            correction=correction,
            is_judged=info.admission is not None and not is_advisory(info),
            fit=_fit(pair, one.score),
        )


def _comparison(
    record: RunRecord, pair: Pair, one: PricedScore
) -> tuple[Comparison | None, Correction | None]:
    """That of a gate which labels corrected, else of all rows."""
    place = one.suite, pair.candidate.name, one.score
    for gate in record.gates:
        found = gate.comparison
        if gate.correction is None or found is None or found.rows:
            continue
        if (gate.suite, gate.candidate, found.score) == place:
            return found, gate.correction
    vectors = pair.vectors(one.score)
    return None if vectors is None else compare(*vectors, alpha=record.alpha), None


def _fit(pair: Pair, score: str) -> CurveFit | str:
    points = []
    for trial in pair.trials:
        if trial.size is None or score not in trial.scores:
            continue
        values = [v for v in recorded_vector(pair.suite, trial, score).values if v is not None]
        if values:
            error = float(np.std(values)) / sqrt(len(values))
            points.append(ScoredTraining(trial.size, trial.seed, float(np.mean(values)), error))
    return fit_curve(points)
