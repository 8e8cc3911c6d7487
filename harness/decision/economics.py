"""Costs and savings of a candidate: US dollars a day, and the days until training has paid for itself.

Token counts are measured in the run. Prices are hosted ones (``prices``) or the project's own, from its
``economics.toml``, which may also say what a point of a score is worth (``point_values``). Money is a reason
in the report; it decides nothing by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches

from harness.decision.payback import limits_of_mean, payback, with_points
from harness.decision.point_values import KEY as POINT_VALUES
from harness.decision.point_values import line_of
from harness.decision.prices import TOKENS_PER_MTOK, PriceKey, call_usd
from harness.errors import UsageError
from harness.fields import shown_value
from harness.records import Economics, Json, Payback, Price, PricedScore

SECONDS_PER_HOUR = 3600
LONG_BREAK_EVEN_DAYS = 90
MOST_USD = 1e15  # and requests and days: beyond it, a slip of the keyboard
_PRICE_NUMBERS = tuple(f"{each}_usd_per_mtok" for each in ("input", "output", "training", "cached_input"))


@dataclass(frozen=True)
class EconomicsConfig:
    """All money in US dollars; ``mtok`` is a million tokens. None: not given.

    Self-served models are priced by the two ``served_…`` prices or by ``gpu_usd_per_hour``;
    training by the token (epochs included) or by the hour. ``prices`` take precedence over the hosted table.
    ``value_usd_per_point_per_day`` has a value for one percentage point of each score that it names, as
    ``score`` or ``suite/score``; a plain number is of the one score that targets compare.
    ``training_row_usd`` is for one training row: for those that a candidate uses, unless
    ``data_preparation_usd`` is one sum for all of them, and for more of them.
    """

    requests_per_day: float
    horizon_days: float = 30.0
    data_preparation_usd: float | None = None
    served_input_usd_per_mtok: float | None = None
    served_output_usd_per_mtok: float | None = None
    gpu_usd_per_hour: float | None = None
    training_usd_per_hour: float | None = None
    training_usd_per_mtok: float | None = None
    value_usd_per_point_per_day: Mapping[str, float] | float | None = None
    training_row_usd: float | None = None
    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    where: str = "economics.toml"


_KEYS = tuple(f.name for f in fields(EconomicsConfig) if f.name != "where")


def parse_economics(document: Mapping[str, Json], where: str) -> EconomicsConfig:
    """The configuration in a document from ``tomllib``; ``where`` is its file.

    Raises:
        UsageError: an unknown key, a value that is no sensible number, or two prices for one thing.
    """
    _refuse_unknown(document, _KEYS, where)
    points = _point_values(document.get(POINT_VALUES), where)
    plain = [key for key in _KEYS if key in document and key not in ("prices", POINT_VALUES)]
    numbers = {key: _number(document[key], key, where) for key in plain}
    for key in ("requests_per_day", "horizon_days"):
        if numbers.get(key, 1.0) <= 0:
            raise UsageError(f"{where}: {key} must be above 0")
    if "requests_per_day" not in numbers:
        raise UsageError(f"{where}: requests_per_day is missing; write how many requests a day you expect")
    served = [key for key in ("served_input_usd_per_mtok", "served_output_usd_per_mtok") if key in numbers]
    if len(served) == 1:
        raise UsageError(f"{where}: {served[0]} stands alone; give input and output, or gpu_usd_per_hour")
    for first, second in (
        ("served_input_usd_per_mtok", "gpu_usd_per_hour"),
        ("training_usd_per_hour", "training_usd_per_mtok"),
    ):
        if first in numbers and second in numbers:
            raise UsageError(f"{where}: {first} and {second} price the same thing; keep one of them")
    prices: dict[PriceKey, Price] = {}
    for model, table in _table(document.get("prices", {}), "prices", where).items():
        heading = f'[prices."{model}"]'
        base = dict(_table(table, heading, where))
        tuned = base.pop("tuned", None)
        if base or tuned is None:
            prices[model, False] = _price_entry(model, base, f"{where} {heading}")
        if tuned is not None:
            heading = f'[prices."{model}".tuned]'
            tuned_table = _table(tuned, heading, where)
            prices[model, True] = _price_entry(f"{model} (tuned)", tuned_table, f"{where} {heading}")
    return EconomicsConfig(**numbers, value_usd_per_point_per_day=points, prices=prices, where=where)


def _point_values(value: Json, where: str) -> Mapping[str, float] | float | None:
    if value is None or not isinstance(value, Mapping):
        return None if value is None else _number(value, POINT_VALUES, where)
    for name, usd in value.items():
        if name in _KEYS:
            raise UsageError(
                f"{where}: {name} stands below [{POINT_VALUES}], and a table takes every line below it;"
                " write it above"
            )
        if isinstance(usd, Mapping) and usd:  # support.intent without quotes: a table in a table
            inner = next(iter(usd))
            raise UsageError(
                f"{where}: {POINT_VALUES}: {name} is a table; a score of one suite has its name in quotes,"
                f" such as {line_of(f'{name}/{inner}', 1)}"
            )
    return {name: _number(usd, f"{POINT_VALUES}.{name}", where) for name, usd in value.items()} or None


def _refuse_unknown(table: Mapping[str, Json], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {shown_value(key)}; {hint}")


def _number(value: Json, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where}: {key} must be a number, not {shown_value(value)}")
    if not 0 <= value <= MOST_USD:
        problem = f"must be a finite number of 0 or more (at most {MOST_USD:g}), not {shown_value(value)}"
        raise UsageError(f"{where}: {key} {problem}")
    return float(value)


def _table(value: Json, heading: str, where: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {heading} must be a table, not {shown_value(value)}")
    return value


def _price_entry(model: str, table: Mapping[str, Json], where: str) -> Price:
    _refuse_unknown(table, [*_PRICE_NUMBERS, "source", "date"], where)
    for key in _PRICE_NUMBERS[:2]:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing")
    numbers = {key: _number(table[key], key, where) for key in _PRICE_NUMBERS if key in table}
    read, written, training, cached = (numbers.get(key) for key in _PRICE_NUMBERS)
    assert read is not None
    assert written is not None
    date = str(table["date"]) if "date" in table else None
    return Price(model, read, written, training, str(table.get("source", where)), date, cached)


# --------------------------------------------------------------------------- costs and savings
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a request, as measured: means over ``n`` requests."""

    prompt_tokens: float
    completion_tokens: float
    n: int
    tokens_per_second: float | None = (
        None  # prompt and completion, over wall time; for prices by the GPU hour
    )
    cached_prompt_tokens: float = 0.0  # of the prompt tokens, those that the service bills as read before


@dataclass(frozen=True, slots=True)
class TrainingBill:
    """The work of one training: tokens billed, epochs included, and wall seconds. None: not known."""

    tokens: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Hosted prices of the two sides; None is a model that the team serves itself."""

    candidate: Price | None = None
    baseline: Price | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run measured beside the mean usage of the two sides."""

    rows_used: int | None = None  # the project's rows that the candidate was trained on, or is shown
    pairs: Sequence[tuple[Usage, Usage]] = ()  # candidate and baseline on the same held-out row, one a row
    trainings: Sequence[TrainingBill] = ()  # of the candidate at every size and seed of the run
    priced: Sequence[PricedScore] = ()
    alpha: float = 0.05  # level of each limit


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
    """Costs a day of both sides, the saving, the worth of points that have a price, and the break-even.

    Without ``training``, where nothing was trained (a prompt), training costs nothing, and data only where
    the candidate uses rows (examples in a prompt).

    Raises:
        UsageError: a price that is needed is neither known nor configured.
    """
    seen = evidence or Evidence()
    new, new_notes = _price(candidate, prices.candidate, usage_candidate, config)
    old, old_notes = _price(baseline, prices.baseline, usage_baseline, config)
    notes = [*new_notes, *old_notes]
    training_usd, data_usd = 0.0, _data_usd(config, training, seen.rows_used)
    if training is not None:
        training_usd, note = _training_usd(candidate, new, config, training)
        notes.append(note)
        if len(seen.trainings) > 1:
            in_all = sum(_training_usd(candidate, new, config, bill)[0] for bill in seen.trainings)
            notes.append(
                f"this is one training of {candidate.partition('@')[0]}; the run has {len(seen.trainings)},"
                f" of every size and seed, {_amount(in_all)} USD in all"
            )
    if data_usd:
        notes.append(_data_note(config, data_usd, seen.rows_used))
    once = training_usd + data_usd
    # as production asks, one by one, also where this run asked in batches
    new_usd, old_usd = (
        _usd(price, usage) * config.requests_per_day
        for usage, price in ((usage_candidate, new), (usage_baseline, old))
    )
    saving = old_usd - new_usd
    differences = [
        (_usd(old, theirs) - _usd(new, mine)) * config.requests_per_day for mine, theirs in seen.pairs
    ]
    limits = limits_of_mean(saving, differences, seen.alpha)
    tokens_alone = payback(saving, limits, once, config.horizon_days)
    with_quality = with_points(saving, limits, seen.priced, once, config.horizon_days)
    notes += _break_even_notes(tokens_alone, config)
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
        training_usd=once,
        baseline_usd_per_day=old_usd,
        candidate_usd_per_day=new_usd,
        saving_usd_per_day=saving,
        saving_usd_over_horizon=tokens_alone.usd_over_horizon,
        break_even_days=tokens_alone.days,
        baseline_price=old,
        candidate_price=new,
        training_row_usd=config.training_row_usd,
        data_preparation_usd=data_usd,
        rows_used=seen.rows_used,
        tokens_alone=tokens_alone,
        with_quality=with_quality,
        priced_scores=tuple(seen.priced),
        notes=tuple(dict.fromkeys(notes)),
    )


def _usd(price: Price, usage: Usage) -> float:
    return call_usd(price, usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)


def _data_usd(config: EconomicsConfig, training: TrainingBill | None, rows_used: int | None) -> float:
    """One sum for whoever uses rows, or a price for each row used; nothing where none are."""
    if config.data_preparation_usd is not None:
        return config.data_preparation_usd if training is not None or rows_used else 0.0
    return (config.training_row_usd or 0.0) * (rows_used or 0)


def _data_note(config: EconomicsConfig, usd: float, rows_used: int | None) -> str:
    if config.data_preparation_usd is not None:
        return f"data preparation: {_amount(usd)} USD (data_preparation_usd, one sum for any number of rows)"
    return f"data preparation: {rows_used:,} rows at {config.training_row_usd:g} USD, {_amount(usd)} USD"


def _amount(usd: float) -> str:
    """To the cent from one dollar on, whole dollars without; three digits below."""
    return f"{usd:,.2f}".removesuffix(".00") if usd >= 1.0 else f"{usd:.3g}"


def _break_even_notes(tokens: Payback, config: EconomicsConfig) -> list[str]:
    """Where tokens alone never pay, or late, or where these rows cannot tell whether they pay in time."""
    if tokens.days == 0.0:
        return []  # there is nothing to pay back
    if tokens.days is None:
        never = "the candidate saves nothing a day by its tokens alone: by them, training is never paid back"
        return [never] if tokens.usd_per_day < 0 else []
    limit = min(LONG_BREAK_EVEN_DAYS, config.horizon_days)
    is_long = config.horizon_days >= LONG_BREAK_EVEN_DAYS
    named = "90 days" if is_long else f"the horizon of {config.horizon_days:g} days"
    days = f"by tokens alone, break-even after {tokens.days:,.1f} days"
    if tokens.low_usd_per_day is not None and tokens.soonest_days is not None:
        latest = math.inf if tokens.latest_days is None else tokens.latest_days
        if tokens.soonest_days <= limit < latest:
            return [f"{days}, with {named} within its interval"]
    return [f"{days}, past {named}: prices and models may change before"] if tokens.days > limit else []


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
        # an hour spread over the tokens it serves; prompt and completion tokens alike
        usd_per_mtok = config.gpu_usd_per_hour / (speed * SECONDS_PER_HOUR) * TOKENS_PER_MTOK
        source = (
            f"derived: {config.gpu_usd_per_hour:g} USD a GPU hour at {speed:.4g} measured tokens a second"
        )
        price = Price(name, usd_per_mtok, usd_per_mtok, None, source, None)
        return price, (f"price of {name}: {source}; assumes that the GPU is never idle",)
    read, written = config.served_input_usd_per_mtok, config.served_output_usd_per_mtok
    if read is None or written is None:
        raise UsageError(
            f"{config.where}: no price of serving {name}; add served_input_usd_per_mtok and"
            " served_output_usd_per_mtok, or gpu_usd_per_hour"
        )
    return Price(name, read, written, None, f"{config.where}: the project's own", None), ()


def _training_usd(
    candidate: str, price: Price, config: EconomicsConfig, training: TrainingBill
) -> tuple[float, str]:
    own = price.training_usd_per_mtok
    per_mtok = config.training_usd_per_mtok if own is None else own
    if per_mtok is not None and training.tokens is not None:
        usd = training.tokens / TOKENS_PER_MTOK * per_mtok
        return usd, f"training: {training.tokens:,.0f} tokens at {per_mtok:g} USD a million, epochs included"
    if config.training_usd_per_hour is not None and training.seconds is not None:
        hours = training.seconds / SECONDS_PER_HOUR
        usd = hours * config.training_usd_per_hour
        return usd, f"training: {hours:.3g} h at {config.training_usd_per_hour:g} USD an hour"
    raise UsageError(
        f"{config.where}: no price of training {candidate}; add training_usd_per_hour"
        " or training_usd_per_mtok (0 if it was free)"
    )
