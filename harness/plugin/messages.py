"""What the plugin says of errors."""

from __future__ import annotations

import os
import re
import traceback

import pytest

from harness.errors import HarnessError
from harness.report.printable import one_screen


def usage_error(error: HarnessError, config: pytest.Config) -> pytest.UsageError:
    """The error as pytest prints it, without a traceback of its own."""
    return pytest.UsageError(told(error, config))


def told(error: HarnessError, config: pytest.Config) -> str:
    """The error on one screen; under ``-v``, or a ``--tb`` that asks for it, the traceback of its cause."""
    text, cause = one_screen(said(error, config)), error.__cause__
    if cause is None or isinstance(cause, HarnessError):
        return text
    style = config.getoption("tbstyle", "auto")  # these are the terminal's, which may be off
    if config.getoption("verbose", 0) > 0 or style in ("long", "short", "native"):
        return f"{text}\n{''.join(traceback.format_exception(cause))}"
    return text


def said(error: BaseException, config: pytest.Config) -> str:
    """The error's text with files named from where pytest was called, which keeps it to a screen."""
    here = re.escape(f"{config.invocation_params.dir}{os.sep}")
    return re.sub(rf"(?<![\w./\\-]){here}", "", str(error))
