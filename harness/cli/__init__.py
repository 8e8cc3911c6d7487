"""The ``harness`` command: chores that are not a test run.

Private: no module here is public; see docs/compatibility.md.
"""

from harness.cli.main import main

__all__ = ["main"]
