"""Deprecated: ``Check`` is in :mod:`harness.scoring.checks`."""

from harness.scoring.checks import Check as Check
