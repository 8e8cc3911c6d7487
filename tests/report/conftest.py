"""A real browser for the pages: Chromium, where one is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from markupsafe import Markup

from harness.report.pages import CHARTS, environment

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def drawn_once(function: Callable[..., Markup]) -> Callable[..., Markup]:
    """A drawing follows from its arguments alone and takes 0.2 s, and most samples have the same curves."""
    drawn: dict[str, Markup] = {}
    return lambda *given: drawn.get(repr(given)) or drawn.setdefault(repr(given), function(*given))


for function in CHARTS:
    environment().globals[function.__name__] = drawn_once(function)


@pytest.fixture(
    scope="module"
)  # while it runs so does an event loop, which tests elsewhere could not start then
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no chromium on PATH: install one to see the pages in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()
