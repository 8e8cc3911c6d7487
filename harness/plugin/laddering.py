"""A ladder's tests: rung by rung, and left out where a cheaper rung holds already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from harness.plugin.items import arm_of, has_candidate, suite_name
from harness.plugin.state import STATE, State

if TYPE_CHECKING:
    from harness.records import Gate
    from harness.run.selection import Arm

NOT_TRIED: pytest.StashKey[bool] = pytest.StashKey()


def begin_ladder(
    state: State,
    session: pytest.Session,
    gates: Sequence[pytest.Item],
    pairs: Sequence[tuple[Arm, str]],
) -> None:
    """Find the order, and put the gates into it, where gates stand among the other tests.

    Raises:
        UsageError: there is nothing to climb, or the order names what is not there.
    """
    from harness.run.ladder import LadderRun

    run = state.session()
    run.need(pairs)

    def expected() -> list[Gate]:
        return state.all_expected(session.config)

    run.ladder = LadderRun(run, expected)
    rank = {name: at for at, name in enumerate(run.ladder.order)}

    def place(item: pytest.Item) -> int:
        arm = arm_of(item)
        return len(rank) if arm is None else rank[arm.name]

    in_order = iter(sorted(gates, key=place))
    session.items[:] = [next(in_order) if has_candidate(item) else item for item in session.items]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what need not be tried, and what would compare the baseline with itself."""
    run, arm = item.config.stash[STATE].current, arm_of(item)
    if run is None or run.ladder is None or arm is None or not has_candidate(item):
        return
    why = run.ladder.why_not(arm.name) or run.ladder.why_not_on(arm, suite_name(item))
    why = f"not tried: {why}" if why else ""
    if not why and "baseline" in getattr(item, "fixturenames", ()):
        why = run.ladder.why_no_comparison(arm.name)
    if why:
        item.stash[NOT_TRIED] = True
        raise pytest.skip.Exception(why, _use_item_location=True)
