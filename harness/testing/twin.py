"""Deprecated: the local stand-in is ``harness.testing.fake_openai``. Ends in 0.4."""

import warnings

from harness.testing.fake_openai import *  # noqa: F403 - the same names
from harness.testing.fake_openai import running_fake_openai as running_twin  # noqa: F401

warnings.warn(
    "harness.testing.twin ends in 0.4: import from harness.testing.fake_openai.",
    DeprecationWarning,
    stacklevel=2,
)
