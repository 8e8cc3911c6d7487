"""The pictures in docs, of reports, a diagnosis and the labelling page: ``python -m benchmarks.pictures``.

Takes Chromium and playwright. They show ``reports/example``; the pair is of its fine-tunes.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.cli.main import main
from harness.records import Kind, RunRecord
from harness.report.html import write_report
from harness.report.label_page import write_label_page
from harness.report.labelling import Wanted, label_sheet
from harness.report.runjson import load_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
SUITE, SCORE, BASE = "support", "summary", "prompted-smollm2-135m"
SEEN = 9  # cards before the one that is shown


def draw_report(browser: Browser, record: RunRecord, folder: Path) -> None:
    """Write the pictures of the report: its first screen on a desk and on a telephone, and its rows."""
    with TemporaryDirectory() as at:
        address = write_report(record, Path(at)).as_uri()
        for name, width, height in (("report", 1280, 800), ("report-phone", 390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
            page.goto(address)
            _take(page, folder / f"{name}.png")
            page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(address)
        page.locator("section[aria-labelledby=h-cost] figure").first.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('section[aria-labelledby=h-cost] figure').scrollIntoView()")
        _take(page, folder / "economics.png")
        page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        page.goto(f"{address}#answers")
        page.locator("#rows .row").first.wait_for()
        _take(page, folder / "report-rows.png")
        page.close()


def draw_diagnosis(browser: Browser, folder: Path) -> None:
    """Write the picture of the diagnosis that docs/diagnosis.md asks for."""
    with TemporaryDirectory() as at:
        failures = str(ROOT / "docs/diagnosis-failures.jsonl")
        main(["diagnose", str(ROOT / "reports/example"), failures, "--to", at])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(Path(at, "diagnosis.html").as_uri())
        _take(page, folder / "diagnosis.png")
        page.close()


def draw(browser: Browser, folder: Path) -> None:
    """Write all pictures into ``folder``."""
    record = load_run((ROOT / "reports/example/run.json").read_text(encoding="utf-8"), "run.json")
    draw_report(browser, record, folder)
    draw_diagnosis(browser, folder)
    page = _opened(browser, record, Wanted(labels=25))
    while int(page.locator("#place").inner_text().split()[0]) <= SEEN or not _has_field(page):
        page.keyboard.press("g" if _has_field(page) else "b")
    _take(page, folder / "labelling.png")
    while page.locator("#work").is_visible():
        page.keyboard.press("g" if _has_field(page) else "b")
    _take(page, folder / "labelling-end.png")
    page.close()
    page = _opened(browser, _as_pairs(record), Wanted(labels=25, pairs=True, suite=SUITE, score=SCORE))
    page.keyboard.press("2")
    page.keyboard.press("n")
    page.keyboard.type("one motor grinds: neither says so")
    _take(page, folder / "labelling-pair.png")
    page.close()


def _opened(browser: Browser, record: RunRecord, wanted: Wanted) -> Page:
    page = browser.new_page(
        viewport={"width": 1000, "height": 600 if wanted.pairs else 560},
        reduced_motion="reduce",
        color_scheme="light",
    )
    with TemporaryDirectory() as folder:
        file = write_label_page(label_sheet(record, wanted), Path(folder) / "label.html", "reports/example")
        page.goto(file.as_uri())
    page.fill("#name", "ada")
    page.keyboard.press("Enter")
    return page


def _has_field(page: Page) -> bool:
    return page.locator("#whole-block").is_visible()


def _take(page: Page, file: Path) -> None:
    page.screenshot(path=file, timeout=60_000)


def _as_pairs(record: RunRecord) -> RunRecord:
    """The summary as a preference; in place of the baseline's answers those of the smaller fine-tune."""
    smaller = next(t for t in record.trials if (t.suite, t.size) == (SUITE, 200))
    suites = [
        replace(
            suite, scores=tuple(replace(i, kind=Kind.PREFERENCE) for i in suite.scores if i.name == SCORE)
        )
        for suite in record.suites
        if suite.name == SUITE
    ]
    trials = [
        replace(trial, answers=smaller.answers, scores=smaller.scores) if trial.candidate == BASE else trial
        for trial in record.trials
        if trial.suite == SUITE
    ]
    return replace(record, suites=tuple(suites), trials=tuple(trials))


def draw_all() -> None:
    """Find a browser and draw."""
    from playwright.sync_api import sync_playwright

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        draw(browser, folder)
        browser.close()


if __name__ == "__main__":
    draw_all()
