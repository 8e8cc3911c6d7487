"""What a test item says of itself: its candidate, its function, its name without the candidate."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest

if TYPE_CHECKING:
    from _pytest.python import CallSpec2

    from harness.run.selection import Arm


def has_candidate(item: pytest.Item) -> bool:
    """Whether the test asks for a candidate of the harness."""
    asks = "candidate" in getattr(item, "fixturenames", ()) and hasattr(item, "callspec")
    return asks and not names_its_own(item)


def names_its_own(item: pytest.Item) -> bool:
    """Whether the test is parametrised by something of its own that it calls ``candidate``."""
    marks = item.iter_markers("parametrize")
    return any("candidate" in re.findall(r"\w+", str(mark.args[:1] or mark.kwargs)) for mark in marks)


def arm_of(item: pytest.Item) -> Arm | None:
    """The candidate and size that the item tests."""
    callspec = callspec_of(item)
    arm = callspec.params.get("candidate") if callspec else None
    return cast("Arm | None", arm)


def function_of(item: pytest.Item) -> Callable[..., object]:
    """The test's function."""
    assert isinstance(item, pytest.Function)
    return cast("Callable[..., object]", item.function)


def gate_name(item: pytest.Item) -> str:
    """The item's id without the candidate; what else a test is parametrised by tells its gates apart."""
    function, arm, callspec = getattr(item, "originalname", item.name), arm_of(item), callspec_of(item)
    others = ""
    if arm is not None and callspec is not None:
        others = f"-{callspec.id}-".replace(f"-{arm.label}-", "-", 1).strip("-")
    return item.nodeid.removesuffix(item.name) + function + (f"[{others}]" if others else "")


def callspec_of(item: pytest.Item) -> CallSpec2 | None:
    """The item's parameters."""
    callspec: CallSpec2 | None = getattr(item, "callspec", None)
    return callspec


def suite_name(item: pytest.Item) -> str:
    """The suite is named after the folder of its file."""
    return item.path.parent.name


def only_shows(config: pytest.Config) -> bool:
    """Whether pytest was asked what there is (``--co``, ``--setup-plan``, ``--fixtures``), not to run it."""
    asked = ("collectonly", "setuponly", "showfixtures", "show_fixtures_per_test")
    return any(getattr(config.option, name, False) for name in asked)
