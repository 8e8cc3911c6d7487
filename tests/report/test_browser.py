from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from ladder_run import ladder_run
from sample_run import diagnosis, hostile_run, sample_run

from benchmarks.hostile_values import TEXTS
from harness.report.diagnosis import write_diagnosis
from harness.report.html import render_html, write_changes, write_index, write_report
from harness.report.label_page import write_label_page
from harness.report.labelling import Wanted, label_sheet
from harness.report.run_changes import run_changes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def test_the_page_opens_from_disk_filters_and_searches(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    run = sample_run(n_rows=60)
    address = write_report(run, tmp_path / "run").as_uri()
    page.goto(address)

    browser_of_rows = page.locator("#rows")
    rows = browser_of_rows.locator(".row")
    filters = browser_of_rows.get_by_role("group", name="Outcome")
    assert rows.count() == 50
    browser_of_rows.get_by_role("button", name="Show 10 more").click()
    assert rows.count() == 60
    suite, largest = run.suites[0], run.trials[4]
    right = [score.value for score in largest.scores["intent"]]
    was_right = [score.value for score in run.trials[0].scores["intent"]]
    won = {
        row.id
        for row, before, after in zip(suite.rows, was_right, right, strict=True)
        if (before, after) == (0, 1)
    }
    browser_of_rows.get_by_label("Check").select_option("intent")
    filters.get_by_role("button", name="Won").click()
    assert set(rows.locator("h4").all_inner_texts()) == won
    marked = rows.first.locator(".cell").nth(1).locator("mark").all_inner_texts()
    assert any("_other" in text for text in marked)
    browser_of_rows.get_by_label("Mark words").select_option("none")
    assert rows.first.locator("mark").count() == 0
    filters.get_by_role("button", name="All").click()
    slice_of = [row.id for row in suite.rows if row.slices["language"] == "de"]
    browser_of_rows.get_by_label("Slice").select_option(f"language de ({len(slice_of)})")
    assert sorted(rows.locator("h4").all_inner_texts()) == slice_of
    browser_of_rows.get_by_label("Slice").select_option("all rows")
    browser_of_rows.get_by_role("searchbox").fill("s-0007")
    browser_of_rows.get_by_text("1 row", exact=True).wait_for()
    assert rows.locator("h4").all_inner_texts() == ["s-0007"]
    rows.first.locator("summary").click()
    rows.first.locator("details .cell").first.wait_for()  # they are made when it is opened
    assert rows.first.locator("details .cell").count() == 3
    page.locator("a.to-rows[data-rows-suite=retention]").first.click()
    assert browser_of_rows.get_by_label("Check").input_value() == "0"
    assert all(one.startswith("r-") for one in rows.locator("h4").all_inner_texts())

    assert problems == []
    assert requests == [address]
    page.close()


def test_the_worst_rows_are_there_without_a_script(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_report(sample_run(n_rows=60), tmp_path / "run").as_uri())
    assert page.locator("#rows").is_hidden()
    first = page.locator("details.row.bad").first
    assert "lost exact" in first.locator("summary").inner_text()
    first.locator("summary").click()
    assert first.locator(".cell mark").first.is_visible()
    context.close()


# what leaves the window, or is wider inside than outside; a browser draws its own controls as it likes
_CUT_OFF = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const one of document.querySelectorAll("body *:not(option, select, input, script, template)")) {
    if (one.closest("svg") !== null && one.tagName !== "svg" || one.closest(".quiet, .skip")) continue;
    const box = one.getBoundingClientRect();
    const inner = getComputedStyle(one).display === "inline" ? 0 : one.scrollWidth - one.clientWidth;
    if (box.width && box.height && (box.right > width + 1 || box.left < -1 || (one.clientWidth && inner > 1)))
      found.push(`${one.tagName} ${one.className}: ${(one.textContent || "").trim().slice(0, 50)}`);
  }
  return found.slice(0, 5);
}"""
# of what has the same classes in the same place, the first is enough: rows of tables, rows of answers
_ONE_OF_EACH = """() => {
  const seen = new Set();
  const sign = one => [one.tagName, one.getAttribute("class"), one.getAttribute("style")];
  for (const one of document.querySelectorAll("tr, li, .row, text")) {
    let key = [...one.querySelectorAll("*")].map(sign).join();
    for (let up = one; up; up = up.parentElement) key += sign(up);
    if (seen.has(key)) one.remove(); else seen.add(key);
  }
}"""
_SIZES = ((390, 844), (768, 1024), (1280, 800), (1920, 1080))


def _opened(page: Page) -> None:
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")


def test_nothing_is_cut_off_at_any_width_and_the_decision_stands_on_the_first_screen(
    browser: Browser, tmp_path: Path
) -> None:
    record = sample_run(n_rows=20)
    long = replace(
        record, command=f"pytest {'a' * 300}", notes=("b" * 300,), environment={"c" * 90: "d" * 90}
    )
    page = browser.new_page()
    page.goto(write_report(long, tmp_path / "run").as_uri())
    for width, height in _SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=tmp_path / f"screen-{width}.png")
        card = page.locator(".card").bounding_box()
        assert card is not None
        assert card["y"] + card["height"] <= height, width
    _opened(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width, height in _SIZES:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate(_CUT_OFF) == [], width
        page.screenshot(path=tmp_path / f"end-{scheme}.png")
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator(".verdict").is_visible()
    page.close()


def test_a_screen_reader_and_a_keyboard_reach_everything(browser: Browser, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    record = sample_run(n_rows=20)
    later = replace(record, id="later", created="2026-11-22T09:14:05Z")
    changes = run_changes(record, later)
    pages = [write_report(record, tmp_path / "one"), write_report(later, tmp_path / "two")][1:]
    pages += [write_index(tmp_path), write_changes(changes, tmp_path / "two")]
    pages += [write_diagnosis(diagnosis("the words of questions"), tmp_path / "two")]
    pages += [write_label_page(label_sheet(record, Wanted(labels=10)), tmp_path / "two" / "label.html")]
    page = browser.new_page(bypass_csp=True)  # for axe's own script
    for path in pages:
        page.goto(path.as_uri())
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('a, summary, body, input, button')")
        _opened(page)
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate(_CUT_OFF) == [], path.name
        page.set_viewport_size({"width": 1280, "height": 800})
        page.evaluate(_ONE_OF_EACH)
        schemes: tuple[tuple[Literal["light", "dark"], dict[str, list[str]]], ...] = (
            ("light", {}),
            ("dark", {"runOnly": ["color-contrast"]}),
        )
        for scheme, rules in schemes:
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
            found = [one for one in found if one["impact"] in ("serious", "critical")]
            told = [f"{one['id']}: {one['nodes'][0]['html'][:150]} ({len(one['nodes'])})" for one in found]
            assert told == [], f"{path.name}, {scheme}"
    page.close()


def test_hostile_answers_run_no_script(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    hostile = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
    page.goto(write_report(hostile_run(hostile), tmp_path / "run").as_uri())
    assert "Should we ship" in page.title()
    assert page.locator("img").count() == 0
    page.close()


def test_none_of_the_hostile_texts_runs_or_loads_anything(browser: Browser, tmp_path: Path) -> None:
    page, address = browser.new_page(), ""
    heard: list[str] = []
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("console", lambda message: heard.append(message.text))  # a refused script is said there
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: heard.append(request.url) if request.url != address else None)
    text = " ".join(text[:200] for text in TEXTS)
    address = write_report(hostile_run(text), tmp_path / "run").as_uri()
    page.goto(address)
    page.locator("#rows .row").first.wait_for()
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert heard == []
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object, [onload], [onerror], a[href^=javascript]").count() == 0
    page.close()


def test_the_answer_and_both_pictures_stand_on_the_first_screen(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_content(render_html(ladder_run(n_rows=20)))
    for figure in page.locator("#decision figure").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 800
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
