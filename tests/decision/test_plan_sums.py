"""A plan's own arithmetic: how it stands to its cap, and what this machine trains."""

from __future__ import annotations

import pytest

from harness.decision.plan import CallCount, CostLine, Plan, Standing, Trainings, Usd, Work
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


def test_only_local_trainings_are_timed_at_this_machines_pace() -> None:
    trainings = Trainings(10, 1, 0, 0, 2_000.0, 2_000.0)
    hosted, local = (Work("x", is_hosted, trainings, CallCount(0, 0)) for is_hosted in (True, False))
    assert Plan((hosted,), (), 100.0).training_seconds == 0.0
    assert Plan((hosted, local), (), 100.0).training_seconds == 20.0
    assert Plan((local,), ()).training_seconds is None
