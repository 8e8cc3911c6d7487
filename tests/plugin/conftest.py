"""A small project for each test that wants one.

Imported here is what runs inside this process import lazily: pytester forgets modules that a run was the
first to import, and numpy cannot be imported twice.
"""

from __future__ import annotations

import jinja2  # noqa: F401
import jsonschema  # noqa: F401
import matplotlib.backends.backend_svg  # noqa: F401
import matplotlib.figure  # noqa: F401
import numpy as np  # noqa: F401
import pydantic  # noqa: F401
import pytest
import rich.table  # noqa: F401
import scipy.optimize  # noqa: F401
import scipy.stats  # noqa: F401
from small_project import SmallProject

import harness.report.html
import harness.run.recording  # noqa: F401


@pytest.fixture
def project(pytester: pytest.Pytester) -> SmallProject:
    """Four candidates (``old``, ``good``, ``bad``, ``much-the-same``) and 30 training rows; no suite yet."""
    small = SmallProject(pytester)
    small.conftest()
    return small
