"""The ``harness`` command: chores that are not a test run."""

from harness.cli.main import main

__all__ = ["main"]
