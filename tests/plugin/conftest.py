"""A small project for each test that wants one."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from importlib import import_module

import pytest
from markupsafe import Markup
from small_project import SmallProject

from harness.report.pages import CHARTS, environment

# pytester forgets the modules that a run inside this process was the first to import, and numpy and what
# stands on it cannot be imported twice; the rest would be imported anew for every test
for name in (
    "bpe_openai",
    "harness.models.remote_wire",
    "harness.report.html",
    "harness.run.discovery",
    "harness.run.planning",
    "harness.run.recording",
    "harness.testing",
    "harness.testing.fake_openai.real",
    "jinja2",
    "jsonschema",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pydantic",
    "rich.console",
    "rich.markup",
    "rich.table",
    "scipy.optimize",
    "scipy.stats",
):
    import_module(name)


VERSION = cache(importlib.metadata.version)  # a record names twelve
#: a run looks through all that is installed for plugins, eight times: 0.1 s
PLUGINS = [
    one
    for one in importlib.metadata.distributions()
    if one.entry_points.select(group="pytest11")
    and one.name != "pytest-rerunfailures"  # who asks for it has it
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chart in the reports, since drawing them took a quarter of the time of these tests; few packages.

    Nor does a write wait for the disk: no test here ends in a power failure.
    """
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr("importlib.metadata.distributions", lambda: PLUGINS)
    monkeypatch.setattr("harness.extras.version", VERSION)
    for chart in CHARTS:
        monkeypatch.setitem(environment().globals, chart.__name__, lambda *_: Markup("<svg></svg>"))


@pytest.fixture
def project(pytester: pytest.Pytester) -> SmallProject:
    """Four candidates (``old``, ``good``, ``bad``, ``much-the-same``) and 30 training rows; no suite yet."""
    small = SmallProject(pytester)
    small.conftest()
    return small
