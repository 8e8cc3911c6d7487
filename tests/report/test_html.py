from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_run import hostile_run, sample_run

from harness.records import RunRecord, Verdict
from harness.report import numbers
from harness.report.html import render_html, write_index, write_report
from harness.report.runjson import load_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='a()'>\"|`${{ 7*7 }}"


class _Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def honest() -> str:
    return render_html(sample_run(n_rows=20))


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_html(hostile_run(HOSTILE))


def _squeezed(page: _Page) -> str:
    return " ".join(" ".join(page.text).split())


def test_text_from_a_run_stays_text(hostile: str) -> None:
    page = _Page(hostile)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE in "".join(page.text)


def test_the_only_script_admitted_is_our_own(hostile: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', hostile)
    assert policy
    assert "default-src 'none'" in policy.group(1)
    assert "script-src 'sha256-" in policy.group(1)
    assert "script-src 'unsafe-inline'" not in policy.group(1)


def test_the_page_loads_nothing(honest: str) -> None:
    page = _Page(honest)
    assert "link" not in page.tags
    for name, value in page.attributes:
        if name in {"src", "href", "srcset", "action", "data", "xlink:href"}:
            assert value
            assert value.startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", honest)


def test_every_gate_stands_in_the_page_with_its_numbers(honest: str) -> None:
    run = sample_run(n_rows=20)
    text = _squeezed(_Page(honest))
    for gate in run.gates:
        found = gate.comparison
        assert found
        assert f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}" in text
    assert run.decisions[0].verdict.value in text
    for reason in run.decisions[0].reasons:
        assert " ".join(reason.split()) in text


def test_the_decision_comes_before_everything_else(honest: str) -> None:
    order = re.findall(r'<section id="(\w+)"', honest)
    assert order == [
        "decision",
        "trust",
        "gates",
        "cost",
        "curve",
        "slices",
        "answers",
        "training",
        "sceptic",
        "judges",
        "open",
        "run",
    ]


def test_ids_are_unique_on_the_page(honest: str) -> None:
    ids = [value for name, value in _Page(honest).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_same_record_gives_the_same_page(honest: str) -> None:
    assert render_html(sample_run(n_rows=20)) == honest


def _bare(run: RunRecord) -> RunRecord:
    return replace(run, gates=(), decisions=(), economics=(), timings_s={}, environment={})


def _one_size(run: RunRecord) -> RunRecord:
    return replace(run, trials=tuple(t for t in run.trials if t.size in (None, 400)))


def _nothing_trained(run: RunRecord) -> RunRecord:
    return replace(run, trials=tuple(t for t in run.trials if t.size is None))


def _no_baseline(run: RunRecord) -> RunRecord:
    return replace(run, trials=tuple(t for t in run.trials if t.size is not None))


def _empty(run: RunRecord) -> RunRecord:
    return replace(_bare(run), candidates=(), suites=(), trials=())


@pytest.mark.parametrize("less", [_bare, _one_size, _nothing_trained, _no_baseline, _empty])
def test_a_run_that_lacks_a_part_still_has_a_page(less: object, tmp_path: Path) -> None:
    assert callable(less)
    page = write_report(less(sample_run(n_rows=20)), tmp_path / "run")
    assert "</html>" in page.read_text("utf-8")


def test_a_name_that_looks_like_a_formula_does_no_harm_to_a_chart() -> None:
    run = sample_run(n_rows=20)
    odd = replace(run, trials=tuple(replace(t, candidate=_odd(t.candidate)) for t in run.trials))
    odd = replace(
        odd,
        candidates=tuple(replace(c, name=_odd(c.name), baseline=_odd(c.baseline)) for c in run.candidates),
    )
    assert "$\\frac{" in render_html(odd)


def _odd(name: str) -> str:
    return "$\\frac{" + name


def test_three_files_are_written_and_no_scratch_file_is_left(tmp_path: Path) -> None:
    run = sample_run(n_rows=20)
    page = write_report(run, tmp_path / "reports" / "run")
    assert page.name == "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.md", "run.json"]
    assert load_run((page.parent / "run.json").read_text("utf-8"), "run.json") == run


def test_many_rows_by_twenty_slices_stay_below_five_megabytes() -> None:
    html = render_html(sample_run(n_rows=2_000, n_slices=20))
    assert len(html.encode("utf-8")) < 5_000_000


def test_huge_answers_of_pure_markup_stay_below_five_megabytes() -> None:
    run = sample_run(n_rows=200)
    trials = tuple(
        replace(trial, answers=tuple(replace(answer, text="<" * 20_000) for answer in trial.answers))
        for trial in run.trials
    )
    assert len(render_html(replace(run, trials=trials)).encode("utf-8")) < 5_000_000


def test_the_index_lists_runs_newest_first_and_those_it_cannot_read(tmp_path: Path) -> None:
    run = sample_run(n_rows=20)
    older = replace(run, id="older", created="2026-01-01T00:00:00Z", rehearsal=True)
    older = replace(older, decisions=(replace(run.decisions[0], verdict=Verdict.GO),))
    write_report(run, tmp_path / "newer")
    write_report(older, tmp_path / "older")
    for folder, text in (
        ("cut", '{"id": "x'),
        ("future", json.dumps({"schema": 99})),
        ("odd", '{"schema": 1}'),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(text, "utf-8")
    html = write_index(tmp_path).read_text("utf-8")
    text = _squeezed(_Page(html))
    assert "5 runs, 3 unreadable" in text
    assert text.index(run.id) < text.index("older")
    assert text.count("unreadable") == 4
    assert "REHEARSAL" in text
    assert "Over time" in text
    assert text.count(f"retention / exact (guard), {run.decisions[0].candidate}") == 1
    assert 'href="./newer/report.html"' in html


def test_the_index_of_hostile_runs_stays_text(tmp_path: Path) -> None:
    write_report(hostile_run(HOSTILE), tmp_path / "run")
    page = _Page(write_index(tmp_path).read_text("utf-8"))
    assert "script" not in page.tags
    assert "img" not in page.tags


def test_an_index_without_runs_says_so(tmp_path: Path) -> None:
    assert "No run has been recorded here yet." in write_index(tmp_path / "none").read_text("utf-8")
