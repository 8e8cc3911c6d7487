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
