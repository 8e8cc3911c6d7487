"""The plan of a run, counted before it: rows, tokens, jobs, calls, and dollars as a range.

The low end is the least to expect. The high end is the sum that a cap would set aside, call by call, so a
run that is capped there is never stopped. Calls repeated after a fault whose bill is not known come on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeAlias

from harness.decision.go_power import GoForecast
from harness.records import Price, Rate

Purpose: TypeAlias = Literal["training", "answers", "judging"]
PURPOSES: tuple[Purpose, ...] = ("training", "answers", "judging")

USD_DIGITS = 12  # a cap counts whole picodollars, and sums of floats drift below them

#: A plan against its cap: nothing can pass it; it may end the run; the low end passes it; the run is refused,
#: because something has no bound or no price.
Standing: TypeAlias = Literal["fits", "may be reached", "will be reached", "refused"]


@dataclass(frozen=True, slots=True)
class Usd:
    """A range of US dollars. ``high`` is None where nothing bounds it."""

    low: float = 0.0
    high: float | None = 0.0

    def __add__(self, other: Usd) -> Usd:
        high = None if self.high is None or other.high is None else self.high + other.high
        return Usd(self.low + other.low, high)


def total(ranges: Iterable[Usd]) -> Usd:
    """Their sum; nothing costs nothing."""
    return sum(ranges, start=Usd())


@dataclass(frozen=True, slots=True)
class CostLine:
    """The cost of one model for one purpose."""

    purpose: Purpose
    model: str  # the name under which it is priced
    is_tuned: bool  # priced as a fine-tune of it
    price: Price | None  # None where there is none, and then ``usd`` counts nothing
    usd: Usd = Usd()
    unbounded: str = ""  # the setting that leaves ``usd.high`` open, and the one to write instead


@dataclass(frozen=True, slots=True)
class Trainings:
    """The trainings of one candidate at one size, one a seed."""

    rows: int  # trained on, general ones included
    new: int  # still to be done
    kept: int  # done, in the store
    shared: int  # done by an earlier line of the plan
    tokens: float  # left to train on, epochs included
    most_tokens: float | None  # the most that a service may count of them; None where nothing bounds it


@dataclass(frozen=True, slots=True)
class CallCount:
    """Questions to one model."""

    new: int  # still to be asked
    kept: int  # rows whose answer is in the store
    shared: int = 0  # asked by an earlier line of the plan
    prompt_tokens: int | None = None  # of the new ones; None for a local model, whose tokens nobody bills
    most_answer_tokens: int | None = None
    probes: int = 0  # of the new ones: those that only look whether a hosted model is still the same


@dataclass(frozen=True, slots=True)
class Work:
    """One line of a plan: a candidate at one size, or a judge."""

    label: str
    is_hosted: bool  # behind a service, which bills its tokens
    trainings: Trainings | None  # None where nothing is trained
    calls: CallCount
    bills: tuple[CostLine, ...] = ()
    # that this machine computes for it, judging of its answers included, as far as its models are at hand
    seconds: Mapping[Purpose, float] = field(default_factory=dict)

    @property
    def usd(self) -> Usd | None:
        """Its cost; None where nobody bills it, or no price of any of it is known."""
        priced = [bill.usd for bill in self.bills if bill.price is not None]
        return total(priced) if priced else None


@dataclass(frozen=True, slots=True)
class Power:
    """The smallest true change that a suite's rows show with 80% power, for one score."""

    suite: str
    score: str
    rows: int
    effect: float | None  # None where no earlier run tells how the differences spread
    earlier: str  # the name of that run


@dataclass(frozen=True, slots=True)
class PlannedLabels:
    """A judge that decides by labels of the run's own answers, and what is known of it before them."""

    suite: str
    score: str
    rows: int
    kappa: Rate | None = None  # on its labels in an earlier run; None: not known
    correlation: float | None = None  # of judged and true differences, in an earlier run that was decided
    spread: float | None = None  # standard deviation of the true ones there
    earlier: str = ""  # the name of that run


@dataclass(frozen=True, slots=True)
class PlannedDecision:
    """The chance that candidates are GO, under an assumed truth; alike for each of them."""

    candidates: tuple[str, ...]  # with their sizes
    forecast: GoForecast
    earlier: tuple[str, ...] = ()  # names of the runs that saw the spread of some gates
    planned: tuple[str, ...] = ()  # tests whose spread nobody has seen, so that planning values stand for it
    uncounted: tuple[str, ...] = ()  # tests of which not enough is known
    level_of: int = 1  # how many candidates share the level of the run
    is_grown: bool = False  # whether rows were added to some that did not decide, which lowers the level


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a run, its cost, and its power."""

    work: tuple[Work, ...]  # candidates, then judges
    power: tuple[Power, ...]
    within: float = 1.0  # the factor that the seconds may be wrong by, either way
    max_usd: float | None = None  # the cap that was given
    prices_file: str = "economics.toml"  # where the project's own prices stand, or would
    today: date | None = None  # prices that were read long before it are said to be
    unready: tuple[str, ...] = ()  # obstacles that would stop the run, such as a missing key
    memory: tuple[str, ...] = ()  # what trainings on this machine take of it, a sentence each
    decisions: tuple[PlannedDecision, ...] = ()
    labels: tuple[PlannedLabels, ...] = ()

    @property
    def bills(self) -> tuple[CostLine, ...]:
        """Every cost line of the work."""
        return tuple(bill for one in self.work for bill in one.bills)

    def usd(self, purpose: Purpose | None = None) -> Usd:
        """The sum of all that has a price, for one purpose or for all."""
        return total(b.usd for b in self.bills if purpose in (None, b.purpose) and b.price is not None)

    @property
    def unpriced(self) -> tuple[CostLine, ...]:
        """Cost lines without a known price."""
        return tuple(bill for bill in self.bills if bill.price is None)

    @property
    def unbounded(self) -> tuple[str, ...]:
        """Why the high end is open; each reason once."""
        return tuple(dict.fromkeys(bill.unbounded for bill in self.bills if bill.unbounded))

    @property
    def standing(self) -> Standing | None:
        """Against the cap; None where there is none."""
        if self.max_usd is None:
            return None
        usd = self.usd()
        if usd.high is None or self.unpriced or self.unbounded:
            return "refused"
        if round(usd.high, USD_DIGITS) <= self.max_usd:
            return "fits"
        return "may be reached" if round(usd.low, USD_DIGITS) <= self.max_usd else "will be reached"

    @property
    def seconds(self) -> dict[Purpose, float]:
        """What this machine computes, where it computes anything."""
        sums = {purpose: sum(one.seconds.get(purpose, 0.0) for one in self.work) for purpose in PURPOSES}
        return {purpose: seconds for purpose, seconds in sums.items() if seconds}
