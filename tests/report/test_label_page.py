"""The page for labelling: hostile answers stay text, nothing is loaded, and a person's keys become labels."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_run import hostile_run, sample_run

from benchmarks.hostile_values import TEXTS
from harness.records import Kind, RunRecord
from harness.report.label_page import as_script_json, render_label_page, write_label_page
from harness.report.labelling import Wanted, label_sheet
from harness.scoring.run_labels import answer_digest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BREAKING = (
    "</script><script>document.title='owned'</script>",
    "<!-- <script> </SCRIPT >",
    "]]>\u2028\u2029\\u003c/script\\",
    "a \ud800 half \udfff",
    "\0 \u202e {{ 7 * 7 }} __proto__",
)


@settings(max_examples=40)
@given(st.recursive(st.text() | st.sampled_from(BREAKING), st.lists, max_leaves=5))
def test_nothing_in_the_data_can_end_its_script_element(value: object) -> None:
    text = as_script_json(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    whole = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    assert json.loads(text) == json.loads(whole)


@pytest.mark.parametrize("text", BREAKING)
def test_hostile_texts_do_not_leave_the_data(text: str) -> None:
    page = render_label_page(label_sheet(hostile_run(text), Wanted(suite="support", score="summary")))
    assert len(re.findall("<script", page)) == len(re.findall("</script", page)) == 2
    markup = re.sub('id="data">.*?</script>', "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href|action)\s*=\s*[\"']|https?:|url\(|@import", markup)


def test_the_page_keeps_the_sides_out_of_what_it_shows() -> None:
    page = render_label_page(label_sheet(sample_run(60), Wanted(labels=20)))
    shown = page[: page.index('<script type="application/json"')]
    assert "smollm2" not in shown
    data = json.loads(re.search('id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert "qlora" not in json.dumps([data["cards"], data["rows"]])


# --------------------------------------------------------------------------- in a browser
def opened(browser: Browser, file: Path) -> tuple[Page, list[str]]:
    """The page in a profile of its own, and whatever goes wrong in it or is loaded."""
    page = browser.new_context(accept_downloads=True).new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())  # that labels are not in a file yet
    page.on("request", lambda request: heard.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    return page, heard


def saved(page: Page) -> tuple[str, list[dict[str, object]]]:
    with page.expect_download() as download:
        page.keyboard.press("s")
    text = download.value.path().read_text("utf-8")
    return download.value.suggested_filename, [json.loads(line) for line in text.splitlines()]


def shown(page: Page) -> tuple[str, str]:
    return page.locator("#question").inner_text(), page.locator("#answer-0").inner_text()


def test_three_cards_are_labelled_by_keys_one_is_undone_and_the_rest_is_saved(
    browser: Browser, tmp_path: Path
) -> None:
    sheet = label_sheet(sample_run(60), Wanted(labels=20))
    lines_of = {
        (sheet.rows[card.row].question, card.texts[0]): [dict(line) for line in card.lines]
        for card in sheet.cards
    }
    page, heard = opened(browser, write_label_page(sheet, tmp_path / "label.html"))
    page.keyboard.type("  ada   lovelace ")
    page.keyboard.press("Enter")
    assert page.locator("#place").inner_text() == f"1 of {len(sheet.cards)}"
    first = shown(page)
    page.keyboard.press("n")
    page.keyboard.type("order number wrong")  # its g and b are no labels
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    second = shown(page)
    page.keyboard.press("g")
    third = shown(page)
    page.keyboard.press("g")
    page.keyboard.press("u")
    assert shown(page) == third
    assert len({first, second, third}) == 3
    assert page.locator("#done").inner_text() == "2 labelled"

    name, lines = saved(page)
    assert name == "labels-ada-lovelace.jsonl"
    expected = [
        {**line, "annotator": "ada lovelace", "label": label, **note}
        for seen, label, note in ((first, "bad", {"note": "order number wrong"}), (second, "good", {}))
        for line in lines_of[seen]
    ]
    assert sorted(map(repr, map(sorted, map(dict.items, lines)))) == sorted(
        repr(sorted(line.items())) for line in expected
    )
    file = tmp_path / name
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")

    page.reload()  # what was said is kept in the browser, by name
    page.fill("#name", "ada lovelace")
    page.keyboard.press("Enter")
    assert page.locator("#done").inner_text() == "2 labelled"
    assert shown(page) == third
    page.keyboard.press("ArrowLeft")
    assert shown(page) == second
    assert page.locator("[data-label=good]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("b")  # a second thought
    assert {line["label"] for line in saved(page)[1]} == {"bad"}

    other, other_heard = opened(browser, tmp_path / "label.html")  # another machine, with the saved file
    other.set_input_files("#file", file)
    other.get_by_text("taken from the file.").wait_for()
    assert shown(other) == third
    assert saved(other) == (name, lines)
    assert heard == other_heard == []
    page.context.close()
    other.context.close()


def test_every_annotator_has_an_order_and_labels_of_their_own(browser: Browser, tmp_path: Path) -> None:
    sheet = label_sheet(sample_run(60), Wanted(labels=18))
    row_of = {(sheet.rows[card.row].question, card.texts[0]): card.row for card in sheet.cards}
    page, heard = opened(browser, write_label_page(sheet, tmp_path / "label.html"))
    orders = []
    for name in ("ada", "bob"):
        page.fill("#name", name)
        page.keyboard.press("Enter")
        seen = []
        for _ in sheet.cards:
            seen.append(shown(page))
            page.keyboard.press("g")
        orders.append(seen)
        assert page.locator("#h-end").inner_text() == f"All {len(sheet.cards)} labelled"
        assert len(saved(page)[1]) == 36
        page.reload()
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(row_of)
    assert orders[0] != orders[1]
    for order in orders:
        rows = [row_of[one] for one in order]
        twice = [row for row in set(rows) if rows.count(row) == 2]
        assert twice
        apart = [abs(rows.index(row) - (len(rows) - 1 - rows[::-1].index(row))) for row in twice]
        assert min(apart) >= 3, "two answers to one question do not follow each other"
    assert heard == []
    page.context.close()


def as_pairs(run: RunRecord) -> RunRecord:
    suite = run.suites[0]
    scores = (*suite.scores[:-1], replace(suite.scores[-1], kind=Kind.PREFERENCE))
    return replace(run, suites=(replace(suite, scores=scores), *run.suites[1:]))


def test_pairs_change_sides_and_their_labels_do_not(browser: Browser, tmp_path: Path) -> None:
    run = as_pairs(sample_run(60))
    sheet = label_sheet(run, Wanted(labels=24, pairs=True))
    mine = {(sheet.rows[card.row].question): card.texts for card in sheet.cards}
    page, heard = opened(browser, write_label_page(sheet, tmp_path / "label.html"))
    page.fill("#name", "ada")
    page.keyboard.press("Enter")
    lefts = []
    for _ in sheet.cards:
        texts = mine[page.locator("#question").inner_text()]
        sides = [page.locator(f"#answer-{place}").inner_text() for place in (0, 1)]
        assert sorted(sides) == sorted(texts)
        lefts.append(sides[0] == texts[0])
        equal = texts[0] == texts[1]
        page.keyboard.press("t" if equal else "1" if sides[0] == texts[0] else "2")
    assert {True, False} == set(lefts)
    _, lines = saved(page)
    by_digests = {(line["answer"], line["label"]) for line in lines}
    assert {label for _, label in by_digests} == {"first", "tie"}
    for card in sheet.cards:
        assert card.lines[0]["answer"] == answer_digest(card.texts[0])
    assert heard == []
    page.context.close()


def test_figures_label_a_scale_and_a_card_passed_over_is_told(browser: Browser, tmp_path: Path) -> None:
    run = sample_run(60)
    suite = run.suites[0]
    scores = (*suite.scores[:-1], replace(suite.scores[-1], spec={"scale": 5}))
    run = replace(run, suites=(replace(suite, scores=scores), *run.suites[1:]))
    page, heard = opened(
        browser, write_label_page(label_sheet(run, Wanted(labels=5)), tmp_path / "label.html")
    )
    page.fill("#name", "ada")
    page.keyboard.press("Enter")
    for key in (*"g605", "ArrowRight", "3"):
        page.keyboard.press(key)
    assert {line["label"] for line in saved(page)[1]} == {5, "skipped", 3}
    assert heard == []
    page.context.close()


def test_hostile_answers_are_shown_as_they_are_on_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    text = " ".join(text[:200] for text in TEXTS) + "x" * 400
    sheet = label_sheet(hostile_run(text), Wanted(suite="support", score="summary", labels=3))
    page, heard = opened(browser, write_label_page(sheet, tmp_path / "label.html"))
    page.set_viewport_size({"width": 400, "height": 800})
    page.fill("#name", "<b>ada</b>")
    page.keyboard.press("Enter")
    assert page.locator("#answer-0").text_content() == sheet.cards[0].texts[0]
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.keyboard.press("g")
    assert page.locator("img, iframe, object, main script, [onload], [onerror]").count() == 0
    assert page.locator("script").count() == 2
    assert heard == []
    page.context.close()


def test_a_file_that_does_not_fit_says_why(browser: Browser, tmp_path: Path) -> None:
    sheet = label_sheet(sample_run(60), Wanted(labels=3))
    page, heard = opened(browser, write_label_page(sheet, tmp_path / "label.html"))
    for content, said in (
        ('{"annotator": "ada"\n', "Line 1 of the file is not JSON"),
        ("null\n", "Line 1 of the file is no label"),
        ('{"annotator": "ada"}\n{"annotator": "bob"}\n', "one annotator"),
        ('{"annotator": "ada", "row": "r-9", "label": "good"}\n', "0 labels taken from the file, 1 not"),
    ):
        (tmp_path / "labels.jsonl").write_text(content, "utf-8")
        page.set_input_files("#file", tmp_path / "labels.jsonl")
        page.get_by_text(said).wait_for(timeout=3_000)
    assert heard == []
    page.context.close()
