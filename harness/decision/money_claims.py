"""Money as tests assert it: ``assert candidate.economics.break_even_days < 90``.

A figure is compared with a number by the limit of its 90% interval that speaks against the claim: a
break-even of 60 days [40, 120] is not shown to be below 90. It is refuted where the other limit misses the
number, too, or where the figure itself is "never". A figure that could not be computed, or has no interval,
holds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import ClassVar, Literal, TypeAlias

from harness.errors import UnknownName, UsageError
from harness.records import Amount, Economics, MoneyGate, Outcome, Outlook

Sign: TypeAlias = Literal["<", "<=", ">", ">="]

_FIGURES: Mapping[str, Callable[[Outlook], Amount | None]] = MappingProxyType(
    {
        "break_even_days": lambda it: it.break_even_days,
        "saving_usd_per_day": lambda it: it.saving_usd_per_day,
        "usd_over_horizon": lambda it: it.usd_over_horizon,
        "roi": lambda it: it.roi,
        "usd_per_1000_requests": lambda it: it.usd_per_1000_requests,
        "inference_usd_per_day": lambda it: it.inference_usd_per_day,
        "quality_usd_per_day": lambda it: it.quality_usd_per_day,
        "maintenance_usd_per_day": lambda it: it.maintenance_usd_per_day,
    }
)


@dataclass(frozen=True, slots=True)
class MoneyClaim:
    """A figure below or above a number, in US dollars, days, or a share (``roi``)."""

    figure: str
    sign: Sign
    bound: float
    amount: Amount | None
    outcome: Outcome
    reason: str
    is_known: bool
    settle: Callable[[MoneyClaim], bool] | None = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.outcome is Outcome.SHOWN if self.settle is None else self.settle(self)

    def __repr__(self) -> str:
        return f"<{self.outcome.upper()}: {self.reason}>"

    def gate(self, test: str, candidate: str, size: int | None, place: str) -> MoneyGate:
        """As it is kept."""
        kept = self.figure, self.sign, self.bound, self.amount, self.outcome, self.reason
        return MoneyGate(test, candidate, size, *kept, place)


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure of a candidate's economics, to be compared with a number."""

    name: str
    money: Economics | str = field(repr=False)  # or why there is none
    settle: Callable[[MoneyClaim], bool] | None = field(default=None, repr=False)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # set by the __eq__ below

    def __lt__(self, bound: float) -> MoneyClaim:
        return judge(self.name, self.money, "<", bound, self.settle)

    def __le__(self, bound: float) -> MoneyClaim:
        return judge(self.name, self.money, "<=", bound, self.settle)

    def __gt__(self, bound: float) -> MoneyClaim:
        return judge(self.name, self.money, ">", bound, self.settle)

    def __ge__(self, bound: float) -> MoneyClaim:
        return judge(self.name, self.money, ">=", bound, self.settle)

    def __eq__(self, other: object) -> bool:
        raise UsageError(f"economics.{self.name} is an estimate: compare it with <, <=, > or >=, not ==.")

    def __bool__(self) -> bool:
        raise UsageError(f"economics.{self.name} is neither true nor false: compare it with a number.")


@dataclass(frozen=True, slots=True)
class AssertedMoney:
    """What ``candidate.economics`` is in a test: its attributes are figures."""

    of: Callable[[], Economics | str] = field(repr=False)
    settle: Callable[[MoneyClaim], bool] | None = field(default=None, repr=False)

    def __getattr__(self, name: str) -> Figure:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in _FIGURES:
            raise UnknownName("figure of the economics", name, _FIGURES)
        return Figure(name, self.of(), self.settle)


def judge(
    name: str,
    money: Economics | str,
    sign: Sign,
    bound: float,
    settle: Callable[[MoneyClaim], bool] | None = None,
) -> MoneyClaim:
    """The claim with its outcome; see the module."""
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not abs(bound) < inf:
        raise UsageError(f"economics.{name} is compared with a finite number, not {bound!r}.")
    claim = f"{name} {sign} {bound:g}"

    def made(amount: Amount | None, outcome: Outcome, why: str, *, is_known: bool = True) -> MoneyClaim:
        return MoneyClaim(name, sign, float(bound), amount, outcome, f"{claim}: {why}.", is_known, settle)

    if isinstance(money, str) or money.outlook is None:
        why = money.rstrip(".") if isinstance(money, str) else "the record is of an earlier version"
        return made(None, Outcome.INCONCLUSIVE, f"not known, {why}", is_known=False)
    if name not in ("usd_per_1000_requests", "inference_usd_per_day", "maintenance_usd_per_day"):
        gone = [f"{one.suite} / {one.score}" for one in money.priced_scores if one.difference is None]
        if gone:
            why = (
                f"not known, for no difference of {', '.join(gone)} was measured, and its points have a price"
            )
            return made(None, Outcome.INCONCLUSIVE, why, is_known=False)
    amount = _FIGURES[name](money.outlook)
    if amount is None:
        return made(None, Outcome.INCONCLUSIVE, "not known: there is no such part", is_known=False)
    if money.outlook.p_never is None:
        why = "not known, for fewer than 10 rows have no interval"
        return made(amount, Outcome.INCONCLUSIVE, why, is_known=False)
    value, low, high = (inf if end is None else end for end in (amount.value, amount.low, amount.high))
    against, speaking = (high, low) if sign in ("<", "<=") else (low, high)
    shown = f"{_number(value)} [{_number(low)}, {_number(high)}]"
    if value == inf:
        return made(amount, Outcome.REFUTED, f"{shown}: never")
    if _holds(against, sign, bound):
        return made(amount, Outcome.SHOWN, f"{shown}, read at {_number(against)}")
    if not _holds(speaking, sign, bound):
        return made(amount, Outcome.REFUTED, f"{shown}, even {_number(speaking)} misses it")
    return made(amount, Outcome.INCONCLUSIVE, f"{shown}, read at {_number(against)}, which misses it")


def judged_again(gate: MoneyGate, money: Economics | str) -> MoneyGate:
    """The gate by other economics."""
    claim = judge(gate.figure, money, gate.sign, gate.bound)
    return claim.gate(gate.test, gate.candidate, gate.size, gate.place)


def _holds(value: float, sign: Sign, bound: float) -> bool:
    return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[sign]


def _number(value: float) -> str:
    return "never" if value == inf else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
