"""Choosing candidates by name and pattern."""

from __future__ import annotations

import pytest

from harness.errors import UnknownName
from harness.run.selection import choose

NAMES = ("few-shot-5", "qlora-r16", "qlora-r8", "prompted")


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["qlora-r16"], ("qlora-r16",)),
        (["qlora_r16"], ("qlora-r16",)),
        (["qlora*"], ("qlora-r16", "qlora-r8")),
        (["prompted", "q*8", "*"], ("prompted", "qlora-r8", "few-shot-5", "qlora-r16")),
        ([], ()),
    ],
)
def test_patterns_choose_in_their_order_and_each_once(patterns: list[str], chosen: tuple[str, ...]) -> None:
    assert choose(patterns, NAMES) == chosen


def test_a_pattern_that_matches_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownName, match=r"unknown candidate 'qlora-16'.*'qlora-r16'.*few-shot-5, prompted"):
        choose(["qlora-16"], NAMES)
    with pytest.raises(UnknownName, match="There is no candidate at all"):
        choose(["x"], [])
