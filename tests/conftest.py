"""What several rooms' tests share: one tiny model and an adapter for it, built once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_llama import build_adapter, build_source

from harness.models.source import ModelSource

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return build_source(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture(scope="session")
def adapter(tiny: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_adapter(tiny, tmp_path_factory.mktemp("tiny-adapter"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: the last to begin keeps every other worker waiting."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
