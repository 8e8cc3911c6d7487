"""Careless but ordinary tests: none of them ends in GO, and what is written with care still does.

``wordy`` is better at ``right`` and plainly worse at ``brief``, which its suite means to guard.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from careless_cases import (
    BESIDE,
    BETTER,
    CAREFUL,
    FIELDS,
    GUARD,
    HEAD,
    NEVER,
    RUNS,
    UNRUN,
    WAIVED,
    in_test,
)
from small_project import SmallProject, jsonl, rows

from harness.records import RunRecord
from harness.report.runjson import dump_run

WORDY = """

def chatty(prompt, size):
    return says(9)(prompt, size) + " indeed my dear old friend"


@harness.candidate
def wordy():
    return Scripted(train="train.jsonl", reply=chatty, base="wordy")
"""


@pytest.fixture
def careless(project: SmallProject) -> SmallProject:
    project.conftest(WORDY)
    return project


def only_the_record(record: RunRecord, folder: Path) -> Path:
    """In place of the report: a page of fifty suites takes seconds."""
    (folder / "run.json").write_text(dump_run(record), encoding="utf-8")
    return folder / "report.html"


def test_what_no_assert_asks_is_named(careless: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of many suites, and of each it is asked what stands in the way of GO."""
    monkeypatch.setattr("harness.report.html.write_report", only_the_record)
    for name, (gates, _) in RUNS.items():
        careless.suite(BETTER + gates, name=name, head=HEAD, held=rows(name, 40))
    careless.suite(BETTER, name="skipped_file", head=HEAD, held=rows("skipped_file", 40))
    skipped = HEAD + "\n\npytest.importorskip('no_such_module')\n" + in_test(f"assert {GUARD}")
    careless.write("suites/skipped_file/test_others.py", skipped)
    for name, gates in CAREFUL.items():
        careless.suite(BETTER + gates, name=name, head=WAIVED, held=rows(name, 40))
    outcome = careless.run("--candidate=wordy", "-W", "ignore:assertion is always true")
    (decision,) = careless.record.decisions
    against = [one for one in decision.reasons if not re.match(r"\w+ gate \S+ \(suite \w+\) is shown", one)]

    def named(suite: str) -> str:
        ours = [one for one in against if f"(suite {suite})" in one or f"suites/{suite}/" in one]
        return " ".join(one for one in ours if "waived" not in one)

    wanted = {name: words for name, (_, words) in RUNS.items()} | {"skipped_file": "no_such_module"}
    assert {name: named(name) for name, words in wanted.items() if words not in named(name)} == {}
    assert {name: named(name) for name in CAREFUL if named(name)} == {}
    assert "NO-GO: wordy" in outcome.out
    assert "was made on line" in outcome.out


@pytest.mark.parametrize("name", NEVER)
def test_what_can_never_be_a_gate_is_refused_before_anything_is_asked(
    careless: SmallProject, name: str
) -> None:
    gates, words = NEVER[name]
    file = careless.suite(gates if "test_better" in gates else BETTER + gates, head=HEAD)
    for other, text in BESIDE.get(name, {}).items():
        careless.write(f"suites/support/{other}", text)
    careless.run("--candidate=wordy").assert_one_screen("suites/support/", words, "hint: ")
    assert file.exists()


def test_a_suite_whose_tests_never_run_is_no_go(
    careless: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of many pairs of suites, of which the second is not judged."""
    monkeypatch.setattr("harness.report.html.write_report", only_the_record)
    careless.write("pytest.ini", "[pytest]\nnorecursedirs = not_recursed_mail\n")
    for name, files in UNRUN.items():
        for suite in ("support", "mail"):
            held = jsonl(rows(f"{name}-{suite}", 20))
            careless.write(f"suites/{name}/{name}_{suite}/heldout.jsonl", held)
        careless.write(f"suites/{name}/{name}_support/test_{name}.py", WAIVED + BETTER)
        for file, text in files.items():
            place = file.replace("mail/", f"{name}_mail/").replace("test_mail", f"test_{name}_mail")
            careless.write(f"suites/{name}/{place}", text.replace("test_mail.py", f"test_{name}_mail.py"))
    outcome = careless.run("--candidate=wordy", "suites")
    (decision,) = careless.record.decisions
    assert decision.verdict == "INCONCLUSIVE", outcome.said
    assert [n for n in UNRUN if not any(f"(suite {n}_mail) is missing" in r for r in decision.reasons)] == []


def test_held_out_files_elsewhere_are_no_suites(careless: SmallProject) -> None:
    """Of data, in a hidden folder, and of a candidate that was not chosen; or no whole folder was given."""
    careless.suite(BETTER, head=WAIVED)
    for folder in ("data", "suites/.old", "suites/mine"):
        careless.write(f"{folder}/heldout.jsonl", jsonl(rows("mail", 20)))
    careless.write("suites/mine/test_mine.py", WAIVED + BETTER)
    own = "import harness\nfrom harness.testing import Scripted\n\n\n@harness.candidate\ndef mine():\n"
    careless.write(
        "suites/mine/conftest.py", own + "    return Scripted(train='../../train.jsonl', reply=str)\n"
    )
    outcome = careless.run("--candidate=wordy")
    assert outcome.status == 0, outcome.said
    careless.write("suites/mail/heldout.jsonl", jsonl(rows("mail", 20)))
    assert careless.run("--candidate=wordy", "suites/support").status == 0


def test_a_waiver_and_what_passes_unasked_are_named_beside_a_go(careless: SmallProject) -> None:
    careless.suite(BETTER, head=WAIVED)
    outcome = careless.run("--candidate=wordy")
    assert outcome.status == 0, outcome.said
    waived = "waived by the suite (may_drop): brief (suite support) -100.0 points"
    folder = careless.path / "reports" / careless.record.id
    for said in (outcome.out, *((folder / f).read_text() for f in ("run.json", "report.md", "report.html"))):
        assert waived in " ".join(said.replace("&#45;", "-").split())
    careless.suite(BETTER, head=HEAD)
    outcome = careless.run("--candidate=good")
    assert outcome.status == 0, outcome.said
    assert "no gate compares with the baseline: brief (suite support) +0.0 points" in " ".join(
        outcome.out.split()
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("('breif',)", "Did you mean 'brief'?"),
        ("'brief'", "such as ('a', 'b')"),
        ("(brief,)", "use a tuple of text"),
    ],
)
def test_a_waiver_names_scores(careless: SmallProject, given: str, words: str) -> None:
    careless.suite(head=WAIVED.replace("('brief',)", given))
    careless.run("--candidate=wordy").assert_one_screen(words)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_groups_or_slices_is_on_every_row_and_written_alike(
    careless: SmallProject, name: str
) -> None:
    options, values, words = FIELDS[name]
    marks = [{} if value is None else {"customer": value} for value in values * 10]
    held = [{**one, **mark} for one, mark in zip(rows("s", 20), marks, strict=True)]
    careless.suite(head=HEAD.replace("(right, brief)", f"(right, brief), {options}"), held=held)
    careless.run("--candidate=good").assert_one_screen("suites/support/heldout.jsonl", words, "hint: ")


def test_a_class_that_the_command_line_leaves_out_is_missing(careless: SmallProject) -> None:
    in_class = f"""

class TestBrief:
    def test_brief(self, candidate, baseline):
        assert {GUARD}
"""
    careless.suite(BETTER + in_class, head=WAIVED)
    outcome = careless.run("--candidate=wordy", "suites/support/test_support.py::test_better")
    said = " ".join(outcome.out.split())
    assert "TestBrief::test_brief (suite support) is missing: it was left out" in said
    assert "INCONCLUSIVE: wordy" in outcome.out


def test_a_test_that_is_a_partial_function_gets_no_traceback(careless: SmallProject) -> None:
    bound = "\n\ndef holds(candidate, baseline, by):\n    assert candidate.scores(right) > 0.2\n"
    careless.suite(
        f"{bound}\n\ntest_by = functools.partial(holds, by=0)\n", head="import functools\n" + WAIVED
    )
    assert "INTERNALERROR" not in careless.run("--candidate=wordy").said
