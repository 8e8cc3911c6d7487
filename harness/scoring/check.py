"""Deprecated: ``Check`` is in :mod:`harness.scoring.checks`. This module goes in 0.4."""

from warnings import warn

from harness.scoring.checks import Check as Check

warn("harness.scoring.check is called harness.scoring.checks now.", DeprecationWarning, stacklevel=2)
