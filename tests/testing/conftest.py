"""A twin with a scripted backend, and the official SDK pointed at it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from openai import OpenAI

from harness.testing.fake_openai import Faults, ScriptedBackend, running_fake_openai, set_twin_faults


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running_fake_openai(backend=ScriptedBackend(), api_key="right-key-of-tests") as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[OpenAI]:
    set_twin_faults(base_url, Faults())
    with OpenAI(base_url=base_url, api_key="right-key-of-tests", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def forgets_connections() -> Iterator[None]:
    """For tests with Tinker's SDK, which leaves connections open: they are collected here, unheard."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
