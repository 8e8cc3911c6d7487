"""What shipping a candidate costs and saves: preparation and training, inference, quality, maintenance.

Token counts are measured in the run. Prices are hosted ones (``prices``) or the project's own, from its
``economics.toml`` (``economics_file``), which may also say what a point of a score is worth. Money is a
reason in the report; it decides nothing unless a test asserts it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from harness.decision.economics_file import EconomicsConfig
from harness.decision.money import Evidence, Flows, Model, Side, TrainingBill, Usage, hosting_usd
from harness.decision.payback import amount
from harness.decision.prices import SECOND_HAND, TOKENS_PER_MTOK, stale
from harness.decision.student import Values
from harness.errors import UsageError
from harness.records import Amount, Economics, Outlook, Payback, Price

SECONDS_PER_HOUR = 3600
LONG_BREAK_EVEN_DAYS = 90
_LEAST_ONCE = 1e-6  # dollars; a return on less says nothing
_MAY_END = 0.05  # the chance of ending before break-even from which it is said


@dataclass(frozen=True, slots=True)
class Prices:
    """Hosted prices of the two sides; None is a model that the team serves itself."""

    candidate: Price | None = None
    baseline: Price | None = None


def appraise(
    candidate: str,
    baseline: str,
    usage_candidate: Usage,
    usage_baseline: Usage,
    config: EconomicsConfig,
    training: TrainingBill | None,
    prices: Prices,
    evidence: Evidence | None = None,
) -> Economics:
    """All four parts of the decision to ship, and when it has paid.

    Without ``training``, where nothing was trained (a prompt), training costs nothing, and data only where
    the candidate uses rows (examples in a prompt).

    Raises:
        UsageError: a price that is needed is neither known nor configured.
    """
    seen = evidence or Evidence()
    new, new_notes = _price(candidate, prices.candidate, usage_candidate, config)
    old, old_notes = _price(baseline, prices.baseline, usage_baseline, config)
    notes = [*new_notes, *old_notes]
    training_usd, study_usd, training_key = 0.0, 0.0, ""
    if training is not None:
        training_usd, note, training_key = _training_usd(candidate, new.price, config, training)
        notes.append(note)
        study_usd = (
            sum((_training_usd(candidate, new.price, config, bill)[0] for bill in seen.trainings), 0.0)
            or training_usd
        )
        if len(seen.trainings) > 1:
            notes.append(
                f"this is one training of {candidate.partition('@')[0]}; the run has {len(seen.trainings)},"
                f" of every size and seed, {_amount(study_usd)} USD in all"
            )
    model = Model(config, new, old, training_usd, training_key, training is not None, seen)
    middle_inputs = model.middle(usage_candidate, usage_baseline)
    middle = model.flows(middle_inputs)
    drawn_inputs = model.drawn(middle_inputs)
    drawn = None if drawn_inputs is None else model.flows(drawn_inputs)
    data_usd = float(middle.preparation[0])
    if data_usd:
        notes.append(_data_note(config, data_usd, seen.rows_used))
    left = None if seen.ends is None or seen.today is None else max((seen.ends - seen.today).days, 0)
    horizon = config.horizon_days if left is None else min(config.horizon_days, float(left))
    measured = bool(model.priced)
    alone = middle.tokens_alone(), None if drawn is None else drawn.tokens_alone()
    tokens_alone = _payback(*alone, horizon, seen.alpha)
    with_quality = None
    if measured or (not seen.priced and float(middle.maintenance[0])):
        with_quality = _payback(middle, drawn, horizon, seen.alpha)
    notes += _break_even_notes(tokens_alone, config)
    swings = [] if drawn_inputs is None else model.swings(middle_inputs, drawn_inputs, horizon)
    outlook = _outlook(middle, drawn, horizon, seen, has_quality=measured)
    warnings = [stale(side.price, seen.today) for side in (new, old)]
    warnings.append(_ends(candidate, outlook, drawn, left, seen.ends))
    return Economics(
        candidate=candidate,
        baseline=baseline,
        requests_per_day=config.requests_per_day,
        horizon_days=horizon,
        baseline_prompt_tokens=usage_baseline.prompt_tokens,
        baseline_completion_tokens=usage_baseline.completion_tokens,
        candidate_prompt_tokens=usage_candidate.prompt_tokens,
        candidate_completion_tokens=usage_candidate.completion_tokens,
        baseline_cached_prompt_tokens=usage_baseline.cached_prompt_tokens,
        candidate_cached_prompt_tokens=usage_candidate.cached_prompt_tokens,
        n_requests_measured=min(usage_candidate.n, usage_baseline.n),
        training_usd=float(middle.once[0]),
        baseline_usd_per_day=float((middle.requests * middle.old_request)[0]) + hosting_usd(old, config),
        candidate_usd_per_day=float((middle.requests * middle.new_request)[0]) + hosting_usd(new, config),
        saving_usd_per_day=tokens_alone.usd_per_day,
        saving_usd_over_horizon=tokens_alone.usd_over_horizon,
        break_even_days=tokens_alone.days,
        baseline_price=old.price,
        candidate_price=new.price,
        training_row_usd=config.row_usd,
        data_preparation_usd=data_usd,
        rows_used=seen.rows_used,
        tokens_alone=tokens_alone,
        with_quality=with_quality,
        priced_scores=tuple(seen.priced),
        outlook=replace(
            outlook,
            study_usd=study_usd,
            n_trainings=len(seen.trainings) or int(training is not None),
            swings=tuple(swings),
            warnings=tuple(dict.fromkeys(filter(None, warnings))),
            ends=None if seen.ends is None else seen.ends.isoformat(),
            growth_per_month=config.requests_growth_per_month,
            fixed_usd_per_day=float((middle.hosting + middle.maintenance)[0]),
            level=1.0 - 2.0 * seen.alpha,
            currency=config.currency,
            usd_per_unit=config.usd_per_unit,
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


# --------------------------------------------------------------------------- what is said of it
def _payback(middle: Flows, drawn: Flows | None, horizon: float, alpha: float) -> Payback:
    saving = amount(middle.saving, None if drawn is None else drawn.saving, alpha)
    days = amount(middle.days, None if drawn is None else drawn.days, alpha)
    over = float(middle.over(horizon)[0])
    return Payback(saving.value or 0.0, saving.low, saving.high, over, days.value, days.low, days.high)


def _outlook(
    middle: Flows, drawn: Flows | None, horizon: float, seen: Evidence, *, has_quality: bool
) -> Outlook:
    def each(of: Callable[[Flows], Values]) -> Amount:
        return amount(of(middle), None if drawn is None else of(drawn), seen.alpha)

    days = None if drawn is None else drawn.days
    return Outlook(
        preparation_usd=each(lambda one: one.preparation),
        training_usd=each(lambda one: one.training),
        study_usd=0.0,
        n_trainings=0,
        usd_per_1000_requests=each(lambda one: 1000 * one.new_request),
        baseline_usd_per_1000_requests=each(lambda one: 1000 * one.old_request),
        inference_usd_per_day=each(lambda one: one.inference),
        quality_usd_per_day=each(lambda one: one.quality) if has_quality else None,
        maintenance_usd_per_day=each(lambda one: one.maintenance),
        saving_usd_per_day=each(lambda one: one.saving),
        usd_over_horizon=each(lambda one: one.over(horizon)),
        roi=each(lambda one: one.over(horizon) / one.once) if middle.once[0] >= _LEAST_ONCE else None,
        break_even_days=each(lambda one: one.days),
        horizon_days=horizon,
        p_never=None if days is None else float(np.isinf(days).mean()),
        p_within_90_days=None if days is None else float((days <= LONG_BREAK_EVEN_DAYS).mean()),
        p_within_horizon=None if days is None else float((days <= horizon).mean()),
    )


def _ends(candidate: str, outlook: Outlook, drawn: Flows | None, left: int | None, ends: date | None) -> str:
    """A warning where the candidate may stop answering before it has paid for itself."""
    if left is None or ends is None:
        return ""
    days = outlook.break_even_days.value
    chance = float(days is None or days > left) if drawn is None else float((drawn.days > left).mean())
    if days is not None and days <= left and chance < _MAY_END:
        return ""
    when = f"{candidate} stops answering on {ends}, in {left} days"
    if days is None:
        return f"{when}, and does not earn what it costs before then."
    if days > left:
        return f"{when}: before it has earned its cost, which takes {days:,.0f} days."
    return f"{when}: with a chance of {chance:.0%} before it has earned its cost."


def _data_note(config: EconomicsConfig, usd: float, rows_used: int | None) -> str:
    hours_usd = config.preparation_hours * config.hourly_usd
    hours = f", {_amount(hours_usd)} USD of it for {config.preparation_hours:g} hours" if hours_usd else ""
    if config.data_preparation_usd is not None:
        said = f"data preparation: {_amount(usd)} USD (data_preparation_usd, one sum for any number of rows)"
    elif config.row_usd:
        said = f"data preparation: {rows_used or 0:,} rows at {config.row_usd:g} USD, {_amount(usd)} USD"
    else:
        said = f"data preparation: {_amount(usd)} USD"
    return said + hours


def _amount(usd: float) -> str:
    """To the cent from one dollar on, whole dollars without; three digits below."""
    return f"{usd:,.2f}".removesuffix(".00") if usd >= 1.0 else f"{usd:.3g}"


def _break_even_notes(tokens: Payback, config: EconomicsConfig) -> list[str]:
    """Where tokens alone never pay, or late, or where these rows cannot tell whether they pay in time."""
    if tokens.days == 0.0:
        return []  # there is nothing to pay back
    if tokens.days is None:
        never_paid = (
            "the candidate saves nothing a day by its tokens alone: by them, training is never paid back"
        )
        return [never_paid] if tokens.usd_per_day < 0 else []
    limit = min(LONG_BREAK_EVEN_DAYS, config.horizon_days)
    is_long = config.horizon_days >= LONG_BREAK_EVEN_DAYS
    named = "90 days" if is_long else f"the horizon of {config.horizon_days:g} days"
    days = f"by tokens alone, break-even after {tokens.days:,.1f} days"
    if tokens.low_usd_per_day is not None and tokens.soonest_days is not None:
        latest = math.inf if tokens.latest_days is None else tokens.latest_days
        if tokens.soonest_days <= limit < latest:
            return [f"{days}, with {named} within its interval"]
    return [f"{days}, past {named}: prices and models may change before"] if tokens.days > limit else []


# --------------------------------------------------------------------------- prices
def _price(
    name: str, hosted: Price | None, usage: Usage, config: EconomicsConfig
) -> tuple[Side, tuple[str, ...]]:
    if hosted is not None:
        said = "" if hosted.date else f"no date ({hosted.source})"
        if hosted.source.startswith(SECOND_HAND):
            said = f"{hosted.source}, {hosted.date}"
        return Side(hosted), (f"price of {hosted.model}: {said}",) if said else ()
    if config.gpu_usd_per_hour is not None and config.gpu_hours_per_day is not None:
        return _own_machines(name, config.gpu_usd_per_hour, config.gpu_hours_per_day, usage, config)
    if config.gpu_usd_per_hour is not None:
        speed = usage.tokens_per_second
        if speed is None or speed <= 0:
            raise UsageError(
                f"{config.where}: gpu_usd_per_hour prices {name} by its measured tokens a second, and there"
                " are none; give served_input_usd_per_mtok and served_output_usd_per_mtok instead"
            )
        # an hour spread over the tokens it serves; prompt and completion tokens alike
        idle = config.gpu_idle_share
        usd_per_mtok = config.gpu_usd_per_hour / (speed * SECONDS_PER_HOUR * (1.0 - idle)) * TOKENS_PER_MTOK
        source = (
            f"derived: {config.gpu_usd_per_hour:g} USD a GPU hour at {speed:.4g} measured tokens a second"
        )
        source += f", {idle:.0%} of it idle" if idle else ""
        price = Price(name, usd_per_mtok, usd_per_mtok, None, source, None)
        assumes = "" if idle else "; assumes that the GPU is never idle"
        keys = ("gpu_usd_per_hour", "gpu_usd_per_hour")
        return Side(price, keys), (f"price of {name}: {source}{assumes}",)
    read, written = config.served_input_usd_per_mtok, config.served_output_usd_per_mtok
    if read is None or written is None:
        raise UsageError(
            f"{config.where}: no price of serving {name}; add served_input_usd_per_mtok and"
            " served_output_usd_per_mtok, or gpu_usd_per_hour"
        )
    own = Price(name, read, written, None, f"{config.where}: the project's own", None)
    return Side(own, ("served_input_usd_per_mtok", "served_output_usd_per_mtok")), ()


def _own_machines(
    name: str, usd_per_hour: float, hours: float, usage: Usage, config: EconomicsConfig
) -> tuple[Side, tuple[str, ...]]:
    """As many as the requests take at the measured speed; paid by the hour, and nothing by the token."""
    tokens, speed = usage.prompt_tokens + usage.completion_tokens, usage.tokens_per_second
    busy = config.requests_per_day * tokens / speed / SECONDS_PER_HOUR if speed else 0.0
    machines = max(1, math.ceil(busy / hours))
    source = f"{config.where}: {usd_per_hour:g} USD an hour, {machines * hours:g} hours a day"
    said = (
        f"busy for {busy:,.3g} of them at {speed:,.4g} measured tokens a second"
        if speed
        else ("whether one machine is enough is not known: no speed was measured")
    )
    keys = ("gpu_usd_per_hour", "gpu_usd_per_hour")
    price = Price(name, 0.0, 0.0, None, source, None, hosting_usd_per_hour=usd_per_hour)
    return Side(price, keys, machines * hours), (f"price of {name}: {source}; {said}",)


def _training_usd(
    candidate: str, price: Price, config: EconomicsConfig, training: TrainingBill
) -> tuple[float, str, str]:
    """Dollars of one training, a note, and the key of the file that prices it."""
    own = price.training_usd_per_mtok
    per_mtok = config.training_usd_per_mtok if own is None else own
    if per_mtok is not None and training.tokens is not None:
        usd = training.tokens / TOKENS_PER_MTOK * per_mtok
        note = f"training: {training.tokens:,.0f} tokens at {per_mtok:g} USD a million, epochs included"
        return usd, note, "training_usd_per_mtok" if own is None else ""
    if config.training_usd_per_hour is not None and training.seconds is not None:
        hours = training.seconds / SECONDS_PER_HOUR
        usd = hours * config.training_usd_per_hour
        note = f"training: {hours:.3g} h at {config.training_usd_per_hour:g} USD an hour"
        return usd, note, "training_usd_per_hour"
    raise UsageError(
        f"{config.where}: no price of training {candidate}; add training_usd_per_hour"
        " or training_usd_per_mtok (0 if it was free)"
    )
