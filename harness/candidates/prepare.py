"""Deprecated: a candidate kind is one class now, and registers nothing. Ends in 0.4."""

import warnings
from collections.abc import Callable
from typing import NoReturn

from harness.candidates.base import Prepared, asked_as_trained, asked_with_prompt
from harness.candidates.lab import Lab
from harness.errors import UsageError

__all__ = ["Lab", "Prepared", "asked_as_trained", "asked_with_prompt", "prepare", "require_ready"]

warnings.warn(
    "harness.candidates.prepare ends in 0.4: import from harness.candidates.base.",
    DeprecationWarning,
    stacklevel=2,
)


class _Registry:
    """Refuses functions, which ``functools.singledispatch`` took: their kinds skipped the leak check."""

    def register(self, function: Callable[..., object]) -> NoReturn:
        """Say what to write instead.

        Raises:
            UsageError: always.
        """
        code = function.__code__
        raise UsageError(
            f"{code.co_filename}:{code.co_firstlineno}: a candidate kind is one class now, and registers"
            " nothing.\n  hint: make this function a method of the class: prepare(self, lab, variant) or"
            " preflight(self, lab, variant); docs/architecture.md shows a whole kind."
        )


prepare = require_ready = _Registry()
