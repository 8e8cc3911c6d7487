"""The suites of test modules, known before a test runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from harness.errors import UsageError
from harness.scoring.suite import Suite


def suite_of(module: object) -> Suite | None:
    """The suite that a test module's ``suite`` fixture gives; None where only pytest can tell.

    pytest can tell of a fixture that takes other fixtures, that yields, or that stands elsewhere.

    Raises:
        UsageError: the fixture fails, or gives something else.
    """
    fixture = getattr(module, "suite", None)
    if fixture is None or not hasattr(fixture, "__wrapped__"):
        return None
    function = inspect.unwrap(fixture)
    if inspect.isgeneratorfunction(function) or inspect.signature(function).parameters:
        return None
    suite = _called(function)
    if not isinstance(suite, Suite):
        raise UsageError(
            f"{_place(function)}: the suite fixture gives {type(suite).__name__}.\n"
            "  hint: return Suite(heldout=..., scores=...)."
        )
    return suite


def _called(function: Callable[[], object]) -> object:
    try:
        return function()
    except Exception as error:  # a user's function may raise anything
        said = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"{_place(function)}: in {function.__name__}: {said}") from error


def _place(function: Callable[..., object]) -> str:
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
