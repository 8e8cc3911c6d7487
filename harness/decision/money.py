"""The arithmetic of money: dollars once, a request and a day, from what varies.

Every figure is computed once from the middles, and again from draws of what is not known exactly: held-out
rows are drawn again with the tokens and scores of both sides, a measured difference has its decision's own
interval, and a figure that was given as a range lies in it 90% of the time (normal, cut off at 0).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from harness.decision.economics_file import EconomicsConfig
from harness.decision.estimates import Codes
from harness.decision.payback import (
    DAYS_PER_MONTH,
    DRAWS,
    POINTS,
    break_even,
    grown_days,
    never,
    resampled,
)
from harness.decision.prices import TOKENS_PER_MTOK
from harness.decision.student import Values
from harness.records import Price, PricedScore, Swing

_Z90 = 1.6448536269514722  # standard deviations from the middle of a 90% range to its end


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
class Evidence:
    """What a run measured beside the mean usage of the two sides. One pair is of one held-out row."""

    rows_used: int | None = None  # the project's rows that the candidate was trained on, or is shown
    pairs: Sequence[tuple[Usage, Usage]] = ()  # candidate and baseline
    groups: Codes | None = None  # of the pairs' rows; None: rows stand alone
    differences: Sequence[Values | None] = ()  # of each priced score, by pair, nan where there is none
    trainings: Sequence[TrainingBill] = ()  # of the candidate at every size and seed of the run
    priced: Sequence[PricedScore] = ()
    alpha: float = 0.05  # level of each limit
    ends: date | None = None  # the first day on which the candidate no longer answers
    today: date | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Whatever varies, each with as many values: draws, both ends of one input, or one value, the middle."""

    new: Values  # (values, 3): prompt, cached and completion tokens
    old: Values
    points: Sequence[Values]  # of each priced score
    stated: Mapping[str, Values]  # by key of the file


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """Dollars, as many of each as there are inputs. A day is today's."""

    preparation: Values
    training: Values
    new_request: Values
    old_request: Values
    requests: Values
    hosting: Values  # of the candidate beyond the baseline's, a day
    quality: Values
    maintenance: Values
    growth: Values

    @property
    def once(self) -> Values:
        """Paid before the first request."""
        return self.preparation + self.training

    @property
    def inference(self) -> Values:
        """Saved a day by tokens and hosting."""
        return self.requests * (self.old_request - self.new_request) - self.hosting

    @property
    def saving(self) -> Values:
        """A day, of all parts together."""
        return self.inference + self.quality - self.maintenance

    def over(self, days: float) -> Values:
        """Net over so many days, what is paid once deducted."""
        grown = grown_days(days, self.growth)
        fixed = self.hosting + self.maintenance
        return (self.saving + fixed) * grown - fixed * days - self.once

    @property
    def days(self) -> Values:
        """Until what is paid once is earned; inf for never."""
        fixed = self.hosting + self.maintenance
        return break_even(self.once, self.saving + fixed, fixed, self.growth)

    def tokens_alone(self) -> Flows:
        """Without what points are worth and upkeep costs."""
        none = np.zeros_like(self.quality)
        return replace(self, quality=none, maintenance=none)


@dataclass(frozen=True, slots=True)
class Side:
    """How one side's requests are priced. ``of`` has the keys whose ranges move input and output prices."""

    price: Price
    of: tuple[str, str] | None = None
    machine_hours: float | None = None  # a day, of machines of one's own; None: an endpoint's


@dataclass(frozen=True, slots=True)
class Model:
    """The arithmetic: what is fixed of one appraisal, and dollars from what varies."""

    config: EconomicsConfig
    new: Side
    old: Side
    training_usd: float
    training_key: str
    is_trained: bool
    seen: Evidence

    def middle(self, new: Usage, old: Usage) -> Inputs:
        """One value of each input."""
        points = [np.array([one.difference or 0.0]) for one in self.priced]
        return Inputs(_tokens(new)[None], _tokens(old)[None], points, {})

    @property
    def priced(self) -> Sequence[PricedScore]:
        """The scores that count: all of them, or none where one was not measured."""
        priced = self.seen.priced
        return priced if all(usd is not None for one in priced for usd in (one.difference, one.low)) else ()

    @property
    def _ranges(self) -> dict[str, tuple[float, float]]:
        """The file's ranges that have a say here, and those of points by score."""
        found = {
            key: ends for key, ends in self.config.ranges.items() if not key.startswith("value_usd_per_point")
        }
        for one in self.priced:
            if one.usd_range is not None:
                found[_point_key(one)] = one.usd_range
        return found

    def flows(self, given: Inputs) -> Flows:
        """Dollars for every value of the inputs."""
        config, n = self.config, len(given.new)

        def of(key: str, default: float = 0.0) -> Values:
            value = getattr(config, key)
            return given.stated.get(key, np.full(n, default if value is None else float(value)))

        rows = float(self.seen.rows_used or 0)
        row_usd = (
            of("training_row_usd")
            if config.row_minutes is None
            else of("row_minutes") / 60 * of("hourly_usd")
        )
        preparation = rows * row_usd if config.data_preparation_usd is None else of("data_preparation_usd")
        uses_rows = self.is_trained or rows > 0
        training = self.training_usd * _ratio(self.config, given.stated, self.training_key)
        requests = of("requests_per_day")
        quality = np.zeros(n)
        for one, points in zip(self.priced, given.points, strict=True):
            usd = given.stated.get(_point_key(one), np.full(n, one.usd_per_point_per_day))
            quality = quality + np.clip(points, -1.0, 1.0) * POINTS * usd
        if config.requests_per_day:
            quality = quality * requests / config.requests_per_day
        maintenance = of("labels_per_month") * of("label_usd") + of("review_hours_per_month") * of(
            "hourly_usd"
        )
        maintenance = maintenance / DAYS_PER_MONTH
        if config.retraining_every_days is not None and self.is_trained:
            again = training if config.retraining_usd is None else of("retraining_usd")
            maintenance = (
                maintenance + (again + of("retraining_rows") * row_usd) / config.retraining_every_days
            )
        new_hosting, old_hosting = (
            hosting_usd(side, config) * _ratio(config, given.stated, side.of[0] if side.of else "")
            for side in (self.new, self.old)
        )
        return Flows(
            preparation=(preparation + of("preparation_hours") * of("hourly_usd")) * uses_rows,
            training=training + np.zeros(n),
            new_request=self._request_usd(self.new, given.new, given.stated),
            old_request=self._request_usd(self.old, given.old, given.stated),
            requests=requests,
            hosting=new_hosting - old_hosting + np.zeros(n),
            quality=quality,
            maintenance=maintenance,
            growth=of("requests_growth_per_month"),
        )

    def _request_usd(self, side: Side, tokens: Values, stated: Mapping[str, Values]) -> Values:
        price = side.price
        prompt, cached, written = tokens.T
        cached_price = price.cached_input_usd_per_mtok
        cached = np.minimum(cached, prompt) if cached_price is not None else np.zeros_like(prompt)
        keys = side.of or ("", "")
        read_ratio, write_ratio = (_ratio(self.config, stated, key) for key in keys)
        read = (prompt - cached) * price.input_usd_per_mtok + cached * (cached_price or 0.0)
        usd: Values = (
            read * read_ratio + written * price.output_usd_per_mtok * write_ratio
        ) / TOKENS_PER_MTOK
        return usd

    # ------------------------------------------------------------- what varies
    def drawn(self, middle: Inputs) -> Inputs | None:
        """Draws of all that varies; None where there are too few rows for an interval."""
        seen, pairs = self.seen, self.seen.pairs
        if not pairs:
            return None
        columns = [np.stack([_tokens(side) for side in each]) for each in zip(*pairs, strict=True)]
        known = list(seen.differences) if self.priced and len(seen.differences) == len(self.priced) else []
        scores = [np.full(len(pairs), np.nan) if one is None else one for one in known]
        rows = np.column_stack([*columns, *scores]) if scores else np.concatenate(columns, axis=1)
        means = resampled(rows, seen.groups, seen.alpha)
        if means is None:
            return None
        with np.errstate(invalid="ignore"):
            centre = np.nanmean(rows, axis=0) if not np.isnan(rows).all(axis=0).any() else rows.mean(axis=0)
        moved = means - centre
        rng = np.random.default_rng(1)
        points = []
        for at, one in enumerate(self.priced):
            luck = moved[:, 6 + at] if at < len(scores) else np.zeros(0)
            spread = float(luck.std()) if luck.size and np.isfinite(luck).all() else 0.0
            luck = luck / spread if spread > 0 else rng.standard_normal(DRAWS)
            points.append(_within(luck, one, seen.alpha))
        stated = {
            key: _drawn_range(rng.standard_normal(DRAWS), ends, key)
            for key, ends in sorted(self._ranges.items())
        }
        return Inputs(
            np.maximum(middle.new + moved[:, :3], 0.0),
            np.maximum(middle.old + moved[:, 3:6], 0.0),
            points,
            stated,
        )

    def swings(self, middle: Inputs, drawn: Inputs, horizon: float) -> list[Swing]:
        """One input at a time at the ends of its 90% range, the others in the middle; the largest first."""
        found: list[Swing] = []
        alpha = self.seen.alpha
        two = np.zeros((2, 1))
        still = Inputs(middle.new + two, middle.old + two, [each.repeat(2) for each in middle.points], {})

        def add(name: str, ends: Values, inputs: Inputs) -> None:
            flows = self.flows(inputs)
            usd, days = flows.over(horizon), flows.days
            if usd[0] != usd[1] or days[0] != days[1]:
                outcome = float(usd[0]), float(usd[1]), never(float(days[0])), never(float(days[1]))
                found.append(Swing(name, float(ends[0]), float(ends[1]), *outcome))

        # both sides' tokens move together, row by row: the draws at the ends of what they save
        flows = self.flows(replace(drawn, points=[each.repeat(DRAWS) for each in middle.points], stated={}))
        saved = 1000 * (flows.old_request - flows.new_request)
        order = np.argsort(saved)
        at = [order[round(share * (DRAWS - 1))] for share in (alpha, 1.0 - alpha)]
        ends = replace(still, new=drawn.new[at], old=drawn.old[at])
        add("tokens of a request on these rows, USD saved per 1,000 requests", saved[at], ends)
        for place, one in enumerate(self.priced):
            limits = np.clip(np.array([one.low or 0.0, one.high or 0.0]), -1.0, 1.0)
            moved = [limits if at == place else each for at, each in enumerate(still.points)]
            add(
                f"points of {one.suite} / {one.score}",
                POINTS * limits,
                replace(still, points=moved),
            )
        for key, limits_of in self._ranges.items():
            both = np.array(limits_of)
            add(_in_words(key), both, replace(still, stated={key: both}))
        return sorted(found, key=lambda one: -abs(one.usd_at_high - one.usd_at_low))


def _tokens(usage: Usage) -> Values:
    return np.array([usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens])


def _point_key(one: PricedScore) -> str:
    return f"worth of a point of {one.suite} / {one.score}, USD a day"


def _in_words(key: str) -> str:
    return key.replace("_", " ").replace(" usd", ", USD")


def _ratio(config: EconomicsConfig, stated: Mapping[str, Values], key: str) -> Values | float:
    """A price that was given as a range, over its middle; of a GPU's hour, with what idleness adds."""
    ratio: Values | float = 1.0
    if key in stated and (middle := float(getattr(config, key))):
        ratio = stated[key] / middle
    if key == "gpu_usd_per_hour" and "gpu_idle_share" in stated:
        ratio = ratio * (1.0 - config.gpu_idle_share) / (1.0 - stated["gpu_idle_share"])
    return ratio


def _within(luck: Values, one: PricedScore, alpha: float) -> Values:
    """Standard normal luck as differences of a score, whose limits are its own interval's."""
    from scipy.special import ndtri

    middle, low, high = one.difference or 0.0, one.low or 0.0, one.high or 0.0
    share = luck / -float(ndtri(alpha))
    points: Values = middle + np.where(luck < 0, share * (middle - low), share * (high - middle))
    return points


def _drawn_range(luck: Values, ends: tuple[float, float], key: str) -> Values:
    low, high = ends
    least, most = (-0.99 if "growth" in key else 0.0), (0.99 if "share" in key else math.inf)
    drawn: Values = np.clip((low + high) / 2 + luck * (high - low) / (2 * _Z90), least, most)
    return drawn


def hosting_usd(side: Side, config: EconomicsConfig) -> float:
    """Dollars a day that do not depend on requests: hours of endpoints or machines, and storage."""
    price, hours = side.price, side.machine_hours
    if hours is None:
        hours = config.hosting_hours_per_day * config.hosting_replicas
    usd = (price.hosting_usd_per_hour or 0.0) * hours
    return usd + (price.storage_usd_per_gb_month or 0.0) * config.storage_gb / DAYS_PER_MONTH
