"""A plan's own arithmetic: how it stands to its cap, and what this machine trains."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.decision.plan import CallCount, CostLine, Plan, Standing, Usd, Work
from harness.records import Price

PRICE = Price("m", 1.0, 1.0, 1.0, "a test", None)


def plan(usd: Usd, max_usd: float | None, price: Price | None = PRICE) -> Plan:
    bill = CostLine("answers", "m", False, price, usd)
    return Plan((Work("m", True, None, CallCount(1, 0), (bill,)),), (), max_usd=max_usd)


@pytest.mark.parametrize(
    ("usd", "max_usd", "standing"),
    [
        (Usd(0.1, 0.3), None, None),
        (Usd(0.1, 0.3), 0.3, "fits"),
        (Usd(0.1, 0.1 + 0.2), 0.3, "fits"),  # 0.30000000000000004: no cap counts so small
        (Usd(0.1, 0.3), 0.2, "may be reached"),
        (Usd(0.1, 0.3), 0.05, "will be reached"),
        (Usd(0.1, None), 5.0, "refused"),
        (Usd(), 0.0, "fits"),
    ],
)
def test_a_cap_is_weighed_against_both_ends(
    usd: Usd, max_usd: float | None, standing: Standing | None
) -> None:
    assert plan(usd, max_usd).standing == standing


def test_a_run_without_a_price_is_refused_under_a_cap_and_allowed_without() -> None:
    assert plan(Usd(), 5.0, None).standing == "refused"
    assert plan(Usd(), None, None).standing is None


def test_the_seconds_of_this_machine_are_summed_by_purpose_and_what_takes_none_is_left_out() -> None:
    one = Work("x", False, None, CallCount(0, 0), seconds={"training": 20.0, "answers": 5.0})
    plan = Plan(
        (one, replace(one, seconds={"training": 1.0, "judging": 0.0}), Work("y", True, None, one.calls)), ()
    )
    assert plan.seconds == {"training": 21.0, "answers": 5.0}
