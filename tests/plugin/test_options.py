"""What a user types: choosing candidates and baselines, options that cannot be, and ini keys."""

from __future__ import annotations

import json

import pytest
from small_project import TARGET, SmallProject

OTHER = """
def test_of_something_else():
    assert True
"""


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    project.suite()
    return project


def tried(project: SmallProject) -> list[str]:
    """Candidates of the last run, without the baseline."""
    return [one.name for one in project.record.candidates if one.baseline != one.name]


# --------------------------------------------------------------------------- choosing
def test_without_a_candidate_the_other_tests_run_and_the_tail_says_how_to_choose(
    project: SmallProject,
) -> None:
    project.suite(TARGET + OTHER)
    outcome = project.run(baseline="")
    assert (outcome.status, outcome.last_line) == (0, "1 passed, 1 deselected")
    assert (
        "1 gate waits for a candidate: choose with --candidate=NAME"
        " (there are: bad, good, much-the-same, old)." in outcome.out
    )
    assert project.asked == []


def test_an_unknown_candidate_is_refused_with_those_that_are_known(ready: SmallProject) -> None:
    ready.run("--candidate=god").assert_one_screen(
        "unknown candidate 'god'", "Did you mean 'good'?", "bad, good, much-the-same, old"
    )


def test_an_unknown_baseline_is_refused(ready: SmallProject) -> None:
    outcome = ready.run("--candidate=good", "--baseline=odl")
    outcome.assert_one_screen("unknown candidate 'odl'", "Did you mean 'old'?")


def test_a_candidate_may_be_a_pattern_and_repeat(ready: SmallProject) -> None:
    ready.run("--candidate=*oo*", "--candidate=bad", "--candidate=good")
    assert tried(ready) == ["good", "bad"]


def test_a_pattern_does_not_mean_the_baseline(ready: SmallProject) -> None:
    ready.run("--candidate=*")
    assert tried(ready) == ["good", "bad", "much-the-same"]
    ready.run("--candidate=old").assert_one_screen("--candidate and --baseline both say old", asked=160)


@pytest.mark.parametrize("typed", ["much-the-same", "much_the_same", "much_the-*"])
def test_hyphens_and_underscores_are_one(ready: SmallProject, typed: str) -> None:
    ready.run(f"--candidate={typed}", "--gate=regression")
    assert tried(ready) == ["much-the-same"]


def test_a_named_baseline_stands_in_the_record_and_in_the_report(ready: SmallProject) -> None:
    ready.run("--candidate=good", "--baseline=bad")
    record = ready.record
    assert record.candidates[0].baseline == "bad"
    assert record.gates[0].comparison is not None
    assert record.gates[0].comparison.baseline == "bad@30"
    page = (ready.path / "reports" / record.id / "report.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if "| support / right | target" in line)
    assert "0.0%" in row
    assert "+90.0" in row
    assert "Answers that changed" in page


def test_a_script_without_a_named_baseline_is_told_so(ready: SmallProject) -> None:
    ready.run("--candidate=good", baseline="").assert_one_screen("name one with --baseline=NAME")


def test_two_bases_of_one_last_name_are_two_baselines(project: SmallProject) -> None:
    """Their trials are kept by label, so one label for both would compare with the wrong model."""
    project.conftest(
        """
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OnItsOwn(Scripted):
    def own_baseline(self):
        return Scripted(train=self.train, base=self.base, reply=says(3 if self.base == "a/model" else 9))


@harness.candidate
def first():
    return OnItsOwn(train="train.jsonl", base="a/model", reply=says(6))


@harness.candidate
def second():
    return OnItsOwn(train="train.jsonl", base="b/model", reply=says(6))
"""
    )
    project.suite()
    project.run("--candidate=first", "--candidate=second", baseline="")
    found = {g.candidate: g.comparison for g in project.record.gates}
    assert {name: (c.baseline, c.baseline_mean) for name, c in found.items() if c} == {
        "first": ("prompted-model", 0.3),
        "second": ("prompted-model-2", 0.9),
    }


# --------------------------------------------------------------------------- values that cannot be
@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--sizes=fifty", "--sizes=fifty: use whole numbers with commas"),
        ("--sizes=10,-1", "--sizes=10,-1: every size is a number of training rows, at least 1"),
        ("--sizes=0", "at least 1"),
        ("--against=nowhere.json", "--against="),
        (
            "--against-margin=5",
            "--against-margin=5: use a loss in score units, from 0 to 0.5; 5 points are 0.05",
        ),
        ("--bless=here", "--bless=here: name a file that ends in .json"),
        ("--sizes=,", "use whole numbers"),
        ("--sizes=1e2", "use whole numbers"),
        ("--gate=strict", "--gate=strict: use release (anything but GO fails) or regression"),
        ("--train-seeds=one", "--train-seeds=one: use whole numbers"),
        ("--seeds=0,x", "--train-seeds=0,x: use whole numbers"),
        ("--judge-looks=many", "--max-interim-looks=many: use 1"),
        ("--max-interim-looks=many", "--max-interim-looks=many: use 1"),
        ("--executor=rey", "--executor=rey: use local, inline, ray, or a class of your own"),
        ("--rehearse=real", "--rehearse=real: use script"),
        ("--train-seeds=-1", "0 or more"),
    ],
)
def test_a_value_that_cannot_be_is_refused(ready: SmallProject, option: str, says: str) -> None:
    ready.run("--candidate=good", option).assert_one_screen(says)


def test_a_size_beyond_the_data_is_refused(ready: SmallProject) -> None:
    ready.run("--candidate=good", "--sizes=10,31").assert_one_screen(
        "31 rows asked for, and train.jsonl has 30", "hint: ask for at most 30"
    )


# --------------------------------------------------------------------------- ini keys
def test_every_option_has_an_ini_key(ready: SmallProject) -> None:
    ini = """
[pytest]
harness_candidate =
    good
    b*
harness_baseline = old
harness_sizes = 10,20
harness_train_seeds = 3
harness_gate = regression
harness_store = kept
harness_report_dir = told
"""
    ready.write("pytest.ini", ini)
    outcome = ready.run(baseline="")
    assert outcome.last_line == "1 failed, 1 passed, 2 measured"
    assert (ready.path / "kept" / "answers.sqlite").is_file()
    assert not (ready.path / ".harness").exists()
    (record,) = (ready.path / "told").glob("*/run.json")
    told = json.loads(record.read_text(encoding="utf-8"))
    assert told["gate_policy"] == "regression"
    assert {trial["seed"] for trial in told["trials"]} >= {3}


def test_the_command_line_comes_before_the_ini_keys(ready: SmallProject) -> None:
    ready.write("pytest.ini", "[pytest]\nharness_candidate = bad\nharness_gate = regression\n")
    assert ready.run("--candidate=good", "--gate=release").status == 0
    assert tried(ready) == ["good"]
    assert ready.record.gate_policy == "release"


def test_the_record_keeps_the_command_as_it_was_typed(ready: SmallProject) -> None:
    ready.run("suites", "--candidate=good", "-k", "better or worse")
    assert ready.record.command == (
        "pytest -p no:randomly -p no:hypothesispytest suites --candidate=good -k 'better or worse'"
        " --baseline=old -p no:cacheprovider -p no:rerunfailures"
    )


def test_what_libraries_deprecate_of_their_own_is_not_the_users(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makeconftest('pytest_plugins = ["harness.plugin"]')
    pytester.makepyfile(
        """
        import warnings, pytest

        def test_theirs():
            warnings.warn_explicit("old", DeprecationWarning, "x.py", 1, module="torch.jit._script")

        def test_own():
            with pytest.raises(DeprecationWarning):
                warnings.warn_explicit("old", DeprecationWarning, "x.py", 1, module="own")
        """
    )
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=2)
