from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ladder_run import ladder_run
from sample_run import hostile_run, sample_run

from benchmarks.hostile_values import TEXTS
from harness.report.html import render_html, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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


def test_the_page_fits_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(write_report(sample_run(n_rows=20), tmp_path / "run").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
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
