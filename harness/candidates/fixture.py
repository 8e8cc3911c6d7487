"""The decorator that turns a function in conftest.py into a candidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.candidates.specs import Candidate

MARK = "__harness_candidate__"
Spec = TypeVar("Spec", bound=Candidate)


def candidate(function: Callable[[], Spec]) -> Callable[[], Spec]:
    """Make ``function`` a candidate and a session fixture of its name.

    The candidate answers to the function's name with hyphens: ``qlora_r16`` is ``--candidate=qlora-r16``.
    """
    import pytest

    setattr(function, MARK, True)
    fixture: Callable[[], Spec] = pytest.fixture(scope="session")(function)
    return fixture
