"""Bad input: one screen that names the place and the hint, before anything is trained or asked."""

from __future__ import annotations

import pytest
from small_project import GUARD, SUITE, TARGET, SmallProject, jsonl, row, rows

LONG = "the radiator in the northern bedroom whistles every morning at about six"


@pytest.fixture
def ready(project: SmallProject) -> SmallProject:
    project.suite()
    return project


# --------------------------------------------------------------------------- rows
def test_a_missing_heldout_file_is_named_with_those_that_are_there(ready: SmallProject) -> None:
    held = ready.path / "suites/support/heldout.jsonl"
    held.rename(held.with_name("held_out.jsonl"))
    ready.run("--candidate=good").assert_one_screen(
        "suites/support/heldout.jsonl: there is no such file", "held_out.jsonl", "hint:"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "not JSON at column 2"),
        ('{"id": "x", "messages": [{"role": "user", "content": "hello"}]}', "no assistant message"),
        ("[]", "not an object but a list"),
        ('{"id": "support-1", "prompt": "a", "completion": "b"}', "is also that of line 2"),
        ('{"id": "\\ud800", "prompt": "a", "completion": "b"}', "half a surrogate pair"),
    ],
)
def test_a_bad_heldout_row_is_named_with_its_line(ready: SmallProject, line: str, says: str) -> None:
    held = ready.path / "suites/support/heldout.jsonl"
    held.write_text(held.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    ready.run("--candidate=good").assert_one_screen("suites/support/heldout.jsonl:41: ", says, "hint:")


def test_hundreds_of_bad_rows_still_fit_one_screen(ready: SmallProject) -> None:
    ready.write("suites/support/heldout.jsonl", "{\n" * 500)
    ready.run("--candidate=good").assert_one_screen(
        "heldout.jsonl:1", "500 lines cannot be used", "and 490 more"
    )


def test_an_empty_heldout_set_is_refused(ready: SmallProject) -> None:
    ready.write("suites/support/heldout.jsonl", "\n")
    ready.run("--candidate=good").assert_one_screen("heldout.jsonl", "the file has no rows", "hint:")


def test_a_missing_training_file_is_named(ready: SmallProject) -> None:
    (ready.path / "train.jsonl").unlink()
    ready.run("--candidate=good").assert_one_screen("train.jsonl: there is no such file", "hint:")
    ready.run("--candidate=good", "--sizes=10").assert_one_screen("train.jsonl: there is no such file")


def test_a_bad_training_row_is_named_with_its_line(ready: SmallProject) -> None:
    ready.write("train.jsonl", jsonl(rows("train", 3)) + "{}\n")
    ready.run("--candidate=good", "--sizes=2").assert_one_screen("train.jsonl:4: ", "no 'messages'", "hint:")


def test_training_rows_in_the_heldout_set_are_refused_with_both_places(ready: SmallProject) -> None:
    ready.write("train.jsonl", jsonl([*rows("train", 9), row("leak", LONG)]))
    ready.write("suites/support/heldout.jsonl", jsonl([*rows("support", 20), row("held", LONG)]))
    ready.run("--candidate=good").assert_one_screen(
        "train.jsonl:10", "heldout.jsonl:21", "the same user text", "hint: take these rows out"
    )


@pytest.mark.parametrize("option", ["replay", "train"])
def test_leaks_of_other_rows_that_are_learned_are_refused_too(ready: SmallProject, option: str) -> None:
    ready.write("general.jsonl", jsonl([*rows("general", 40), row("leak", LONG)]))
    ready.write("suites/support/heldout.jsonl", jsonl([*rows("support", 20), row("held", LONG)]))
    candidate = {
        "replay": 'Scripted(train="train.jsonl", replay="general.jsonl", reply=says(9), base="mixed")',
        "train": 'FewShot(model="smollm2-135m", train="general.jsonl", shots=2)',
    }[option]
    ready.conftest(f"\n\n@harness.candidate\ndef mixed():\n    return {candidate}\n")
    ready.run("--candidate=mixed").assert_one_screen("general.jsonl:41", "heldout.jsonl:21")


def test_a_suite_that_only_pytest_can_build_is_checked_before_it_is_asked(ready: SmallProject) -> None:
    """Its fixture takes another one, so it is not known until its test begins."""
    head = SUITE.replace("def suite():", "def suite(request):")
    held = [*rows("support", 20), row("held", LONG)]
    ready.write("train.jsonl", jsonl([*rows("train", 9), row("leak", LONG)]))
    ready.suite(head=head, held=held)
    ready.run("--candidate=good").assert_one_screen("train.jsonl:10", "heldout.jsonl:21", status=1)


# --------------------------------------------------------------------------- suites
def test_a_slice_that_no_row_has_is_named(ready: SmallProject) -> None:
    ready.suite(head=SUITE.replace("scores=(right,)", 'scores=(right,), slices=("langauge",)'))
    ready.run("--candidate=good").assert_one_screen(
        "suites/support/heldout.jsonl", "no row has the slice field 'langauge'", "hint:"
    )


def test_a_missing_prompt_is_named(ready: SmallProject) -> None:
    ready.suite(head=SUITE.replace("scores=(right,)", 'scores=(right,), prompt="prompt.md"'))
    ready.run("--candidate=good").assert_one_screen("suites/support/prompt.md", "is missing", "hint:")
    ready.write("suites/support/prompt.md", "  \n")
    ready.run("--candidate=good").assert_one_screen("suites/support/prompt.md", "is empty", "hint:")
    (ready.path / "suites/support/prompt.md").write_bytes(b"Reply\nin na\xefve JSON")
    ready.run("--candidate=good").assert_one_screen("suites/support/prompt.md:2", "is not UTF-8", "hint:")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"type": "object",\n oops}', "suites/support/ticket.json:2: not JSON"),
        ('{"type": "objekt"}', "suites/support/ticket.json: not a JSON Schema"),
        ("[]", "suites/support/ticket.json: a schema is a JSON object"),
        (None, "suites/support/ticket.json: the schema cannot be read"),
    ],
)
def test_a_broken_schema_is_named(ready: SmallProject, text: str | None, says: str) -> None:
    ready.suite(head=SUITE.replace("scores=(right,)", 'scores=(right, JsonSchema("ticket.json"))'))
    if text is not None:
        ready.write("suites/support/ticket.json", text)
    ready.run("--candidate=good").assert_one_screen(says, "hint:")


def test_two_suites_of_one_folder_name_are_refused(project: SmallProject) -> None:
    project.suite()
    for part in ("a", "b"):
        project.write(f"{part}/support/test_{part}.py", SUITE + TARGET)
        project.write(f"{part}/support/heldout.jsonl", jsonl(rows(part, 40)))
    outcome = project.run("--candidate=good", "a", "b")
    outcome.assert_one_screen(
        "b/support/heldout.jsonl", "two suites are named 'support'", "a/support", "hint:"
    )


def test_two_different_suites_in_one_folder_are_refused(ready: SmallProject) -> None:
    """They would share answers and scores: the second would read the first one's."""
    other = SUITE.replace('ExactMatch(name="right")', 'Contains("id", name="other")') + TARGET
    ready.write("suites/support/test_other.py", other)
    ready.run("--candidate=good").assert_one_screen("two suites are named 'support'", "hint:")


def test_two_files_may_share_one_suite(ready: SmallProject) -> None:
    ready.write("suites/support/test_other.py", SUITE + GUARD)
    assert ready.run("--candidate=good").last_line == "2 passed"
    assert len(ready.asked) == 80


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('Suite(heldout="heldout.jsonl", scores=())', "has no scores"),
        ('Suite(heldout="heldout.jsonl", scores=(right, right))', "two scores are named 'right'"),
        ('Suite(held="heldout.jsonl", scores=(right,))', "unexpected keyword argument 'held'"),
        ("None", "the suite fixture gives NoneType"),
    ],
)
def test_a_suite_that_cannot_be_is_named_with_its_line(ready: SmallProject, body: str, says: str) -> None:
    ready.suite(head=SUITE.replace('Suite(heldout="heldout.jsonl", scores=(right,))', body))
    ready.run("--candidate=good").assert_one_screen("suites/support/test_support.py:9: ", says)


def test_gates_without_a_target_are_refused(project: SmallProject) -> None:
    project.suite(GUARD)
    project.run("--candidate=good").assert_one_screen(
        "suites/support/test_support.py:14", "the 1 collected gates hold no target", "hint: add one"
    )


def test_a_score_that_the_suite_does_not_list_is_named_with_the_tests_line(project: SmallProject) -> None:
    gate = """
def test_other(candidate, baseline):
    assert candidate.scores(ExactMatch(name="other")) > baseline.scores(right)
"""
    project.suite(gate)
    project.run("--candidate=good").assert_one_screen(
        "suites/support/test_support.py:15: UsageError: suite support: 'other' is not among its scores",
        status=1,
    )


# --------------------------------------------------------------------------- candidates
def test_an_unknown_base_is_refused_with_what_is_known(ready: SmallProject) -> None:
    ready.conftest('\n\n@harness.candidate\ndef nope():\n    return Prompted(model="nope")\n')
    ready.run("--candidate=nope", baseline="").assert_one_screen("unknown model 'nope'", "smollm2-135m")
    ready.run("--candidate=good", "--baseline=nope").assert_one_screen("unknown model 'nope'", "smollm2-135m")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            'return QLoRA(base="smollm2-135m", train="train.jsonl", epochs=0)',
            "epochs=0): use a number above 0",
        ),
        ("return None", "gives NoneType, which is no candidate"),
        ("return undefined", "NameError: name 'undefined' is not defined"),
    ],
)
def test_a_candidate_that_cannot_be_is_named_with_its_line(ready: SmallProject, body: str, says: str) -> None:
    ready.conftest(f"\n\n@harness.candidate\ndef odd():\n    {body}\n")
    line = (ready.path / "conftest.py").read_text(encoding="utf-8").splitlines().index("def odd():")
    ready.run("--candidate=odd").assert_one_screen(f"conftest.py:{line}", says)


def test_a_candidate_that_is_not_chosen_is_not_called(ready: SmallProject) -> None:
    ready.conftest("\n\n@harness.candidate\ndef odd():\n    return undefined\n")
    assert ready.run("--candidate=good").last_line == "1 passed"


# --------------------------------------------------------------------------- economics
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("requests_per_day = ", "suites/economics.toml: not TOML"),
        (
            "requests_a_day = 5",
            "suites/economics.toml:1: unknown key 'requests_a_day'; did you mean requests_per_day?",
        ),
        ("requests_per_day = 5", "suites/economics.toml: no price of serving the candidate"),
        (
            "requests_per_day = 5\nserved_input_usd_per_mtok = 1\nserved_output_usd_per_mtok = 1",
            "no price of training the candidate",
        ),
    ],
)
def test_economics_that_would_not_come_out_are_refused(ready: SmallProject, text: str, says: str) -> None:
    ready.write("suites/economics.toml", text)
    ready.run("--candidate=good").assert_one_screen(says)


# --------------------------------------------------------------------------- the store
def test_a_damaged_store_is_set_aside_and_said(ready: SmallProject) -> None:
    ready.write(".harness/answers.sqlite", "this is no database, and long enough to be read as one" * 40)
    outcome = ready.run("--candidate=good")
    assert (outcome.status, outcome.last_line) == (0, "1 passed")
    assert "answers.sqlite was damaged on disk" in " ".join(ready.record.decisions[0].notes) + outcome.said
    assert len([*(ready.path / ".harness").glob("answers.sqlite.damaged-*")]) == 1


def test_a_store_that_cannot_be_made_is_named(ready: SmallProject) -> None:
    ready.write("taken", "a file")
    ready.run("--candidate=good", "--harness-store=taken").assert_one_screen("taken cannot be made", "hint:")


def test_a_report_that_cannot_be_written_fails_the_run_and_says_so(ready: SmallProject) -> None:
    ready.suite(TARGET + "\n\ndef test_disk():\n    open('reports', 'x').close()\n")
    outcome = ready.run("--candidate=good")
    assert (outcome.status, outcome.last_line) == (1, "2 passed")
    assert "the report could not be written: " in outcome.out
    assert "Traceback" not in outcome.said
    (ready.path / "reports").unlink()
    ready.suite()
    assert ready.run("--candidate=good").status == 0
    assert len(ready.asked) == 80  # what the first run was told is still there
