"""What is written after a run: run.json, report.html, report.md and the terminal say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject, jsonl, row, rows

from harness.cli import main
from harness.records import RunRecord
from harness.report.runjson import dump_run, load_run

ECONOMICS = """
requests_per_day = 1_000_000
served_input_usd_per_mtok = 1.0
served_output_usd_per_mtok = 10.0
training_usd_per_hour = 0
"""
WORDY = """

@harness.candidate
def wordy():
    return Scripted(train="train.jsonl", reply=says(9, wrong="no, and here is why"))
"""


def folder(project: SmallProject) -> Path:
    return project.path / "reports" / project.record.id


# --------------------------------------------------------------------------- one truth
def test_terminal_page_markdown_and_record_agree(project: SmallProject) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=good")
    gate = project.record.gates[0].comparison
    assert gate is not None
    assert gate.n == 40
    assert gate.difference == pytest.approx(0.6)
    terminal = " ".join(outcome.out.split())
    page = (folder(project) / "report.html").read_text(encoding="utf-8")
    markdown = (folder(project) / "report.md").read_text(encoding="utf-8")
    for text in (terminal, page, markdown):
        assert "+60.0" in text
        assert "+46.9" in text
        assert "72.4" in text
        assert "GO" in text
    for text in (terminal, markdown):
        assert "Better where it has to be: right (" in text
    assert f"report: reports/{project.record.id}/report.html" in outcome.out
    assert (project.path / "reports" / "index.html").is_file()


def test_the_record_comes_back_as_it_was_written(project: SmallProject) -> None:
    project.suite()
    project.run("--candidate=good", "--sizes=10,30")
    text = (folder(project) / "run.json").read_text(encoding="utf-8")
    record = load_run(text, "run.json")
    assert dump_run(record) == text
    assert [(t.candidate, t.size) for t in record.trials] == [("good", 10), ("old", 30), ("good", 30)]
    spec = record.candidates[0].spec
    assert (spec["kind"], spec["train"], spec["reply"]) == (
        "scripted",
        "train.jsonl",
        ["says.<locals>.reply", 9, "no"],
    )
    assert record.environment["python"]
    assert record.timings_s["total"] > 0


def test_suites_keep_rows_slices_and_digests(project: SmallProject) -> None:
    held = [
        {**one, "kind": "even" if number % 2 == 0 else "odd"} for number, one in enumerate(rows("held", 40))
    ]
    held[2] = row("held-2", "held 2?", "held 2 is in Lisbon", kind="even")
    project.suite(head=SUITE.replace("scores=(right,)", 'scores=(right,), slices=("kind",)'), held=held)
    project.run("--candidate=good")
    (suite,) = project.record.suites
    assert (suite.name, suite.heldout, len(suite.rows)) == ("support", "suites/support/heldout.jsonl", 40)
    assert suite.rows[1].slices == {"kind": "odd"}
    assert [one.unseen_facts for one in suite.rows[1:3]] == [(), ("Lisbon",)]
    assert "kind odd" in (folder(project) / "report.md").read_text(encoding="utf-8")


# --------------------------------------------------------------------------- failures
@pytest.mark.parametrize(("down", "n"), [("7", 36), ("0123456789", 0)])
def test_failures_are_counted_shown_and_never_a_zero(project: SmallProject, down: str, n: int) -> None:
    project.conftest(
        f"""

def failing(prompt, size):
    if prompt.row_id[-1] in "{down}":
        raise TimeoutError("no answer in 30 s")
    return "yes"


@harness.candidate
def fails():
    return Scripted(train="train.jsonl", reply=failing)
"""
    )
    project.suite()
    project.write("suites/economics.toml", ECONOMICS)
    outcome = project.run("--candidate=fails")
    assert outcome.last_line == ("1 passed" if n else "1 inconclusive")
    trial = next(t for t in project.record.trials if t.candidate == "fails")
    failed = [a for a in trial.answers if a.failure]
    assert len(failed) == 40 - n
    assert failed[0].failure == "TimeoutError: no answer in 30 s"
    assert [s.value for s in trial.scores["right"] if s.failure] == [None] * (40 - n)
    comparison = project.record.gates[0].comparison
    assert comparison is not None
    assert (comparison.n, comparison.failures, comparison.candidate_mean) == (n, 40 - n, 1.0 if n else None)
    page = (folder(project) / "report.html").read_text(encoding="utf-8")
    assert f"{40 - n} answers and {40 - n} scores failed" in page


def test_a_check_that_raises_is_a_failure_of_its_row(project: SmallProject) -> None:
    head = SUITE.replace(
        "@pytest.fixture",
        """class Odd(ExactMatch):
    def score(self, row, answer):
        if row.id == "support-3":
            raise ZeroDivisionError("odd")
        return super().score(row, answer)


right = Odd(name="right")


@pytest.fixture""",
    )
    project.suite(head=head)
    assert project.run("--candidate=good").last_line == "1 passed"
    assert project.record.trials[0].scores["right"][3].failure == "right: ZeroDivisionError: odd"


# --------------------------------------------------------------------------- money
def test_economics_are_found_and_priced(project: SmallProject) -> None:
    project.conftest(WORDY)
    project.suite()
    project.write("suites/economics.toml", ECONOMICS)
    outcome = project.run("--candidate=good", "--baseline=wordy", "--gate=regression")
    assert outcome.status == 0
    (money,) = project.record.economics
    # of ten answers nine have one word, and the tenth has one or five
    assert (money.candidate_completion_tokens, money.baseline_completion_tokens) == (1.0, 1.4)
    assert money.saving_usd_per_day == pytest.approx(0.4 * 10)
    assert money.break_even_days == 0
    assert "Pays for itself" in (folder(project) / "report.md").read_text(encoding="utf-8")
    project.run("--candidate=wordy", "--baseline=good", "--gate=regression")
    (money,) = project.record.economics
    assert money.break_even_days is None
    assert "Never pays for itself" in (folder(project) / "report.md").read_text(encoding="utf-8")


def test_economics_beside_the_root_are_found_too(project: SmallProject) -> None:
    project.suite()
    project.write("economics.toml", ECONOMICS)
    project.run("--candidate=good")
    assert len(project.record.economics) == 1


def test_without_economics_the_report_says_what_is_not_computed(project: SmallProject) -> None:
    project.suite()
    project.run("--candidate=good")
    assert project.record.economics == ()
    note = "no economics.toml was found beside the suites: costs and break-even are not computed."
    assert project.record.notes == (note,)
    assert note in (folder(project) / "report.html").read_text(encoding="utf-8")


# --------------------------------------------------------------------------- the command
def test_report_writes_the_same_pages_again(
    project: SmallProject, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = 'scores=(right, Contains(name="zealous"), ExactMatch(name="apt")), max_tokens=9'
    project.suite(head=SUITE.replace("scores=(right,)", scores))
    project.write("suites/economics.toml", ECONOMICS)
    project.run("--candidate=good", "--sizes=10,30")
    pages = [folder(project) / "report.html", folder(project) / "report.md", folder(project) / "run.json"]
    before = [page.read_bytes() for page in pages]
    for page in pages[:2]:
        page.unlink()
    capsys.readouterr()
    assert main(["report", str(folder(project))]) == 0
    assert capsys.readouterr().out.strip() == str(pages[0])
    assert [page.read_bytes() for page in pages] == before
    assert main(["report", str(pages[2])]) == 0


def test_report_refuses_what_is_no_run(project: SmallProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(project.path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["report", str(project.write("run.json", "{}"))]) == 1
    said = capsys.readouterr().err
    assert "hint:" in said
    assert "Traceback" not in said
    (project.path / "run.json").write_bytes(b"\xff\xfe")
    assert main(["report", str(project.path / "run.json")]) == 1


def test_doctor_speaks_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert {"python", "torch", "device", "disk"} <= {finding["what"] for finding in findings}
    assert all(set(finding) == {"what", "ok", "says"} for finding in findings)
    assert status == int(any(finding["ok"] is False for finding in findings))


def test_doctor_speaks_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    assert "    ok  python: 3." in capsys.readouterr().out


def test_a_wrong_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["rehearse"])
    assert stopped.value.code == 2
    assert "invalid choice: 'rehearse'" in capsys.readouterr().err


def test_the_whole_record_is_made_without_rows_of_another_suite(project: SmallProject) -> None:
    project.suite(TARGET, name="one")
    project.suite(GUARD, name="two", held=rows("two", 12))
    project.run("--candidate=good")
    record: RunRecord = project.record
    for trial in record.trials:
        suite = next(s for s in record.suites if s.name == trial.suite)
        assert [a.row_id for a in trial.answers] == [r.id for r in suite.rows]
    assert jsonl(rows("two", 1)).startswith('{"id": "two-0"')
