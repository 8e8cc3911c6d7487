"""What several rooms' tests share: one tiny model and an adapter for it, built once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Self

import pytest
from hypothesis import settings
from tiny_llama import build_adapter, build_source

from harness.models.source import ModelSource
from harness.training.hosted import lifetimes

pytest_plugins = ["pytester"]

# what a property is tried on differs from run to run, so that fewer examples a run find as much in time
settings.register_profile("suite", max_examples=50)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--today", type=datetime.fromisoformat, help="the day on which the tests take place")


def pytest_configure(config: pytest.Config) -> None:
    """Children of tests can be interrupted, also where these tests run in the background of a script.

    In the background SIGINT is ignored, and every child process would inherit that.
    """
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITLAB_CI"):
        os.environ.pop(name, None)  # a project in a test is not what the step is about
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.today is not None:
        set_clock(config.option.today, config.add_cleanup)


def set_clock(day: datetime, add_cleanup: Callable[[Callable[[], None]], None]) -> None:
    """In this process it is that day, wherever the harness asks which one it is."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls(day.year, day.month, day.day, 12, tzinfo=tz)

    patch = pytest.MonkeyPatch()
    patch.setattr(lifetimes, "datetime", Clock)
    add_cleanup(patch.undo)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return build_source(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def adapter(tiny: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_adapter(tiny, tmp_path_factory.mktemp("tiny-adapter"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests first: the last to begin keeps every other worker waiting. Clusters only where asked for."""
    if "cluster" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("cluster") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("cluster") is None]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
