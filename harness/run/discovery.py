"""The suites of test modules, known before a test runs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

from harness.candidates.guarded import blaming
from harness.errors import CandidateError, HarnessError, UsageError
from harness.scoring.suite import Suite


def suite_of(module: object) -> Suite | None:
    """The suite that a test module's ``suite`` fixture gives; None where only pytest can tell.

    pytest can tell of a fixture that takes other fixtures, that yields, that skips, or that stands elsewhere.

    Raises:
        UsageError: the fixture fails, or gives something else.
    """
    fixture = getattr(module, "suite", None)
    if fixture is None or not hasattr(fixture, "__wrapped__"):
        return None
    function = inspect.unwrap(fixture)
    if inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        return None
    suite, skips = _called(function)
    if skips:
        return None
    if not isinstance(suite, Suite):
        raise UsageError(
            f"{_place(function)}: the suite fixture gives {type(suite).__name__}.\n"
            "  hint: return Suite(heldout=..., scores=...)."
        )
    return suite


def _called(function: Callable[[], object]) -> tuple[object, bool]:
    """What the fixture gives, and whether it skips, as pytest then does its tests."""
    import pytest

    try:
        with blaming(f"{_place(function)}: the suite fixture"):
            return function(), False
    except CandidateError as error:
        if isinstance(error.__cause__, pytest.skip.Exception):
            return None, True
        raise
    except HarnessError as error:
        raise UsageError(f"{_place(function)}: in {function.__name__}: {error}") from error


def _place(function: Callable[..., object]) -> str:
    return f"{os.path.relpath(function.__code__.co_filename)}:{function.__code__.co_firstlineno}"
