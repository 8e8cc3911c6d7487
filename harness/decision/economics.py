"""What a candidate costs and saves: US dollars a day, and the days until training has paid for itself.

Token counts are measured in the run; prices are hosted (``prices``) or the project's own, from its
``economics.toml``. Money is a reason in the report; it decides nothing by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.decision.economics_config import EconomicsConfig, parse_economics
from harness.decision.prices import batch_price, call_usd, price_of
from harness.errors import UsageError
from harness.records import Economics, Price

__all__ = [
    "EconomicsConfig",
    "Prices",
    "TrainingBill",
    "Usage",
    "appraise",
    "batch_price",
    "break_even_days",
    "parse_economics",
    "price_of",
]

TOKENS_PER_MTOK = 1_000_000
SECONDS_PER_HOUR = 3600
LONG_BREAK_EVEN_DAYS = 90


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a request, as measured: means over ``n`` requests.

    ``tokens_per_second`` counts prompt and completion tokens of the whole measurement over its
    wall time; it is needed only where serving is priced by the GPU hour. ``cached_prompt_tokens`` are those
    among the prompt tokens that the service had read before and bills as such.
    """

    prompt_tokens: float
    completion_tokens: float
    n: int
    tokens_per_second: float | None = None
    cached_prompt_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingBill:
    """What training took: tokens billed, epochs included, and wall seconds. None: not known."""

    tokens: float | None = None
    seconds: float | None = None


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
) -> Economics:
    """Costs a day of both sides, the saving, and the break-even.

    Args:
        candidate: its name.
        baseline: its name.
        usage_candidate: measured tokens a request.
        usage_baseline: the same for the baseline.
        config: requests a day, horizon, and the project's own prices.
        training: None where nothing was trained (a prompt): then training and data cost nothing.
        prices: hosted prices; None for what the team serves itself.

    Raises:
        UsageError: a price that is needed is neither known nor configured.
    """
    new, new_notes = _price(candidate, prices.candidate, usage_candidate, config)
    old, old_notes = _price(baseline, prices.baseline, usage_baseline, config)
    training_usd, training_notes = _training_usd(candidate, new, config, training)
    new_usd = usd_per_request(usage_candidate, new) * config.requests_per_day
    old_usd = usd_per_request(usage_baseline, old) * config.requests_per_day
    saving = old_usd - new_usd
    days = break_even_days(training_usd, saving)
    notes = [*new_notes, *old_notes, *training_notes, *_warnings(days, saving, config.horizon_days)]
    return Economics(
        candidate=candidate,
        baseline=baseline,
        requests_per_day=config.requests_per_day,
        horizon_days=config.horizon_days,
        baseline_prompt_tokens=usage_baseline.prompt_tokens,
        baseline_completion_tokens=usage_baseline.completion_tokens,
        candidate_prompt_tokens=usage_candidate.prompt_tokens,
        candidate_completion_tokens=usage_candidate.completion_tokens,
        baseline_cached_prompt_tokens=usage_baseline.cached_prompt_tokens,
        candidate_cached_prompt_tokens=usage_candidate.cached_prompt_tokens,
        n_requests_measured=min(usage_candidate.n, usage_baseline.n),
        training_usd=training_usd,
        baseline_usd_per_day=old_usd,
        candidate_usd_per_day=new_usd,
        saving_usd_per_day=saving,
        saving_usd_over_horizon=saving * config.horizon_days - training_usd,
        break_even_days=days,
        baseline_price=old,
        candidate_price=new,
        value_usd_per_point_per_day=config.value_usd_per_point_per_day,
        training_row_usd=config.training_row_usd,
        notes=tuple(dict.fromkeys(notes)),
    )


def usd_per_request(usage: Usage, price: Price) -> float:
    """The mean cost of one request, as production asks: one by one, also where this run asked in batches."""
    return call_usd(price, usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)


def break_even_days(training_usd: float, saving_usd_per_day: float) -> float | None:
    """Days until the saving has paid for training; None: never, for nothing is saved."""
    return training_usd / saving_usd_per_day if saving_usd_per_day > 0 else None


def gpu_price(model: str, usd_per_hour: float, tokens_per_second: float) -> Price:
    """A GPU hour spread over the tokens it serves; prompt and completion tokens alike."""
    usd_per_mtok = usd_per_hour / (tokens_per_second * SECONDS_PER_HOUR) * TOKENS_PER_MTOK
    source = f"derived: {usd_per_hour:g} USD a GPU hour at {tokens_per_second:.4g} measured tokens a second"
    return Price(model, usd_per_mtok, usd_per_mtok, None, source, None)


def _price(
    name: str, hosted: Price | None, usage: Usage, config: EconomicsConfig
) -> tuple[Price, tuple[str, ...]]:
    if hosted is not None:
        undated = () if hosted.date else (f"price of {hosted.model}: no date ({hosted.source})",)
        return hosted, undated
    if config.gpu_usd_per_hour is not None:
        speed = usage.tokens_per_second
        if speed is None or speed <= 0:
            raise UsageError(
                f"{config.where}: gpu_usd_per_hour prices {name} by its measured tokens a second, and there"
                " are none; give served_input_usd_per_mtok and served_output_usd_per_mtok instead"
            )
        price = gpu_price(name, config.gpu_usd_per_hour, speed)
        return price, (f"price of {name}: {price.source}; assumes that the GPU is never idle",)
    if config.served_input_usd_per_mtok is None or config.served_output_usd_per_mtok is None:
        raise UsageError(
            f"{config.where}: nothing says what serving {name} costs; add served_input_usd_per_mtok and"
            " served_output_usd_per_mtok, or gpu_usd_per_hour"
        )
    source = f"{config.where}: the project's own"
    return Price(
        name, config.served_input_usd_per_mtok, config.served_output_usd_per_mtok, None, source, None
    ), ()


def _training_usd(
    candidate: str, price: Price, config: EconomicsConfig, training: TrainingBill | None
) -> tuple[float, tuple[str, ...]]:
    if training is None:
        return 0.0, ()
    usd, note = _compute_usd(candidate, price, config, training)
    if config.data_preparation_usd:
        note += f", and {config.data_preparation_usd:g} USD of data preparation"
    return usd + config.data_preparation_usd, (note,)


def _compute_usd(
    candidate: str, price: Price, config: EconomicsConfig, training: TrainingBill
) -> tuple[float, str]:
    per_mtok = price.training_usd_per_mtok
    if per_mtok is None:
        per_mtok = config.training_usd_per_mtok
    if per_mtok is not None and training.tokens is not None:
        usd = training.tokens / TOKENS_PER_MTOK * per_mtok
        return usd, f"training: {training.tokens:,.0f} tokens at {per_mtok:g} USD a million, epochs included"
    if config.training_usd_per_hour is not None and training.seconds is not None:
        hours = training.seconds / SECONDS_PER_HOUR
        usd = hours * config.training_usd_per_hour
        return usd, f"training: {hours:.3g} h at {config.training_usd_per_hour:g} USD an hour"
    raise UsageError(
        f"{config.where}: nothing says what training {candidate} cost; add training_usd_per_hour"
        " or training_usd_per_mtok (0 if it was free)"
    )


def _warnings(days: float | None, saving: float, horizon_days: float) -> list[str]:
    if days is None:
        return ["the candidate saves nothing a day, so training is never paid back"] if saving < 0 else []
    if days > min(LONG_BREAK_EVEN_DAYS, horizon_days):
        limit = "90 days" if horizon_days >= LONG_BREAK_EVEN_DAYS else f"the horizon of {horizon_days:g} days"
        return [f"break-even after {math.ceil(days)} days, past {limit}: prices and models may change before"]
    return []
