"""Hostile and careless projects: the run is refused before anything is asked, and says what to mend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_project import SUITE, SmallProject

RETURNS = "    return Suite(heldout="


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    project.suite()
    return project


@pytest.mark.parametrize(
    ("option", "says"),
    [
        *[
            (f"--{name}=", f"--{name}= is empty")
            for name in ("sizes", "gate", "max-usd", "candidate", "report-dir")
        ],
        ("--baseline=", "--baseline= is empty"),
        ("--baseline= ", "--baseline= is empty"),
        ("--rehearse=", "--rehearse= is empty"),
        ("--sizes=20,10", "hint: --sizes=10,20"),
        ("--sizes=10,10", "10 stands there twice"),
        ("--sizes=10,", "use whole numbers"),
        ("--sizes=١٠", "use whole numbers"),
        ("--sizes=1_0", "use whole numbers"),
        ("--sizes=010", "use whole numbers"),
        ("--train-seeds=99999999999999999999", "use whole numbers"),
        ("--train-seeds=4294967296", "at most 4294967295"),
        ("--train-seeds=1,1", "1 stands there twice"),
        ("--max-interim-looks=٣", "use 1"),
        ("--max-usd=0", "0 means no cap"),
        *[
            (f"--max-usd={text}", "use an amount of US dollars")
            for text in ("-0.0", "1_000", "nan", "inf", "٥", "1e99")
        ],
        ("--report-dir=suites", "the suites stand there"),
        ("--report-dir=.", "the suites stand there"),
        ("--harness-store=suites/support", "the suites stand there"),
        ("--report-dir=train.jsonl", "is no folder"),
        ("--report-dir=" + "x" * 5_000, "printable characters"),
        ("--harness-store=a\0b", "printable characters"),
        ("--candidate=\x1b[31mred", "printable characters"),
    ],
)
def test_an_option_that_cannot_be_is_refused(ready: SmallProject, option: str, says: str) -> None:
    baseline = "" if option.startswith("--baseline") else "old"
    ready.run("--candidate=good", option, baseline=baseline).assert_one_screen(says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("harness_sizzes = 10", "Did you mean 'harness_sizes'?"),
        ("harnes_baseline = old", "Did you mean 'harness_baseline'?"),
        ("harness-gate = release", "Did you mean 'harness_gate'?"),
        ("harness_colour = red", "There are: harness_candidate"),
        ("harness_gate =", "--gate= is empty"),
        ("harness_candidate =", "--candidate= is empty"),
    ],
)
def test_an_ini_key_that_is_none_is_refused(ready: SmallProject, line: str, says: str) -> None:
    ready.write("pytest.ini", f"[pytest]\n{line}\n")
    given = [] if line.startswith("harness_candidate") else ["--candidate=good"]
    ready.run(*given).assert_one_screen(says)


def test_a_variable_that_is_nearly_ours_is_named_and_those_of_others_are_let_be(
    ready: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_BUILD_ID", "7")  # of Harness CI
    assert ready.run("--candidate=good").status == 0
    monkeypatch.setenv("HARNESS_CAHCE", "/tmp")
    ready.run("--candidate=good").assert_one_screen("HARNESS_CAHCE. Did you mean HARNESS_CACHE?", asked=80)


@pytest.mark.parametrize("option", ["--candidate=odd", "--plan"])
@pytest.mark.parametrize("member", ["data", "preflight", "described", "endpoint"])
def test_a_member_that_raises_is_named_and_v_shows_its_traceback(
    ready: SmallProject, member: str, option: str
) -> None:
    ready.conftest(f"""

class Odd(Scripted):
    def {member}(self, *given):
        raise SystemExit("bye")

@harness.candidate
def odd():
    return Odd(train="train.jsonl", reply=says(9))
""")
    said = [f"the candidate odd: its {member}() raised SystemExit: bye", "at conftest.py:"]
    ready.run("--candidate=odd", option).assert_one_screen(*said)
    if option == "--plan":
        assert 'raise SystemExit("bye")' in ready.run("--candidate=odd", option, "-v").said


def test_notes_that_fail_do_not_take_the_report_with_them(ready: SmallProject) -> None:
    ready.conftest("""

class Odd(Scripted):
    def notes(self, lab, variant):
        return 1 / 0

@harness.candidate
def odd():
    return Odd(train="train.jsonl", reply=says(9))
""")
    assert ready.run("--candidate=odd").status == 0
    assert any("its notes() raised ZeroDivisionError" in note for note in ready.record.notes)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit(3)", "in odd: SystemExit: 3"),
        ("__import__('pytest').skip('later')", "in odd: Skipped: later"),
        ("return odd()", "in odd:"),
        ("raise Exception('x' * 100_000)", "characters)"),
        ("raise Exception('\\x1b[31m\\ud800')", r"\x1b[31m\ud800"),
        ("return Scripted(train=None, reply=says(9))", "Scripted(train=None): use text"),
    ],
)
def test_a_candidate_function_that_fails_is_named(ready: SmallProject, body: str, says: str) -> None:
    ready.conftest(f"\n@harness.candidate\ndef odd():\n    {body}\n")
    ready.run("--candidate=odd").assert_one_screen("conftest.py:", says)


def test_a_candidate_is_not_called_as_another_one_at_a_size(ready: SmallProject) -> None:
    ready.conftest("""
@harness.candidate(params=["org/model@10"])
def odd(request):
    return Scripted(train="train.jsonl", reply=says(9))
""")
    ready.run("--candidate=odd*").assert_one_screen("cannot be called 'odd-org/model@10'", "params={'short'")


@pytest.mark.parametrize("option", ["--candidate=good", "--plan"])
def test_a_suite_fixture_that_fails_is_named(ready: SmallProject, option: str) -> None:
    ready.suite(head=SUITE.replace(RETURNS, "    raise SystemExit(3)\n" + RETURNS))
    ready.run("--candidate=good", option).assert_one_screen(
        "test_support.py:", "suite fixture raised SystemExit: 3"
    )


def test_a_suite_that_skips_decides_nothing(ready: SmallProject) -> None:
    ready.suite(head=SUITE.replace(RETURNS, "    pytest.skip('no data yet')\n" + RETURNS))
    outcome = ready.run("--candidate=good")
    assert (outcome.status, outcome.last_line) == (1, "1 skipped")
    assert "INCONCLUSIVE: good" in outcome.out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("prompt=1", "Suite(prompt=1): use text"),
        ("prompt=['prompt.md']", "Suite(prompt=['prompt.md']): use text"),
        ("prompt='pipe'", "cannot be read: it is a pipe"),
        ("prompt='loop'", "Too many levels of symbolic links"),
        ("prompt='nul.md'", "suites/support/nul.md:2: the suite's prompt: holds a NUL character"),
        ("prompt='mark.md'", "byte order mark"),
        ("prompt='blank.md'", "is empty"),
        ("prompt='long.md'", "has more than 2,000,000 bytes"),
        ("final='final.jsonl'", "final.jsonl: there is no such file"),
        ("final='pipe'", "cannot be read: it is a pipe"),
        ("slices='language'", "slices=('language',), with the comma"),
        ("max_tokens=True", "Suite(max_tokens=True): use a whole number of at least 1"),
    ],
)
def test_a_suite_that_cannot_be_is_refused(ready: SmallProject, given: str, says: str) -> None:
    folder = ready.path / "suites/support"
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "nul.md").write_bytes(b"Say\n\0yes")
    (folder / "mark.md").write_bytes(b"\xef\xbb\xbfSay yes")
    (folder / "blank.md").write_text("\u200b\n", encoding="utf-8")
    (folder / "long.md").write_text("say " * 600_000, encoding="utf-8")
    ready.suite(head=SUITE.replace("scores=(right,)", f"scores=(right,), {given}"))
    ready.run("--candidate=good").assert_one_screen(says)


@pytest.mark.parametrize(
    "text",
    [
        "requests_per_day = " + "9" * 5_000,
        "a = " + "[" * 5_000,
        "requests_per_day = " + "9" * 400,
        "\0",
        "\ufeff",
    ],
    ids=["digits", "deep", "huge", "nul", "mark"],
)
def test_an_economics_file_that_cannot_be_read_is_named(ready: SmallProject, text: str) -> None:
    ready.write("economics.toml", text)
    ready.run("--candidate=good").assert_one_screen("economics.toml")


def test_an_economics_file_that_is_no_file_is_not_passed_over(ready: SmallProject) -> None:
    os.mkfifo(ready.path / "economics.toml")
    ready.run("--candidate=good").assert_one_screen("economics.toml: cannot be read: it is a pipe")


@pytest.mark.parametrize("name", ["train.jsonl", "suites/support/heldout.jsonl"])
@pytest.mark.parametrize("target", ["/dev/zero", "pipe"])
def test_rows_that_have_no_end_are_not_waited_for(ready: SmallProject, name: str, target: str) -> None:
    file: Path = ready.path / name
    file.unlink()
    if target == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(target)
    ready.run("--candidate=good").assert_one_screen(name, "cannot be read: it is a", "hint:")


def test_what_takes_long_before_the_first_test_is_named(
    ready: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.models.progress.NOTICED_AFTER_S", 0.05)
    ready.conftest("""
import time

@harness.candidate
def slow():
    time.sleep(0.3)
    return Scripted(train="train.jsonl", reply=says(9))
""")
    assert "still in the candidate function slow (conftest.py:" in ready.run("--candidate=slow").said
