"""A small project for each test that wants one."""

from __future__ import annotations

from importlib import import_module

import pytest
from small_project import SmallProject

# pytester forgets the modules that a run inside this process was the first to import, and numpy and what
# stands on it cannot be imported twice; the rest would be imported anew for every test
for name in (
    "harness.report.html",
    "harness.run.discovery",
    "harness.run.recording",
    "harness.testing",
    "harness.testing.fake_openai.real",
    "jinja2",
    "jsonschema",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pydantic",
    "rich.table",
    "scipy.optimize",
    "scipy.stats",
):
    import_module(name)


@pytest.fixture
def project(pytester: pytest.Pytester) -> SmallProject:
    """Four candidates (``old``, ``good``, ``bad``, ``much-the-same``) and 30 training rows; no suite yet."""
    small = SmallProject(pytester)
    small.conftest()
    return small
