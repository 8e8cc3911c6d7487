"""A run that is blessed, and runs that are held to it."""

from __future__ import annotations

import json

from small_project import GUARD, SUITE, TARGET, SmallProject, rows

from harness.report.comment import comment_of

MORE = """

@harness.candidate
def worse():
    return Scripted(train="train.jsonl", reply=says(6), base="worse")


@harness.candidate
def better():
    return Scripted(train="train.jsonl", reply=says(10), base="better")


def fails(prompt, size):
    if len(prompt.messages[-1].content) % 2:
        raise RuntimeError("down")
    return "yes"


@harness.candidate
def broken():
    return Scripted(train="train.jsonl", reply=fails, base="broken")
"""
TWO = SUITE.replace("(right,)", "(right, short)").replace(
    "right = ", 'from harness import Regex\n\nshort = Regex("^.{0,9}$", name="short")\nright = '
)
OTHERWISE = SUITE.replace("ExactMatch(name", "ExactMatch(ignore_case=True, name")
FILE, AGAINST = "suites/reference.json", "--against=suites/reference.json"
WHY = "--bless-why=it answers in one word"


def test_a_loss_is_blocked_a_gain_passes_and_no_change_is_neither_blocked_nor_blessed(
    project: SmallProject,
) -> None:
    project.conftest(MORE)
    project.suite(TARGET + GUARD, held=rows("support", 80))
    out = project.run("--candidate=good", "--bless", WHY).out
    assert f"blessed: good@30 is the reference run in {FILE}; commit it" in " ".join(out.split())
    before = (project.path / FILE).read_text(encoding="utf-8")
    blessed = json.loads(before)
    assert (blessed["candidate"], blessed["why"]) == ("good", "it answers in one word")
    assert blessed["by"]
    assert blessed["blessed"]

    # GO against its baseline, and worse than what is in use
    result = project.run("--candidate=worse", AGAINST, "--gate=regression")
    said = " ".join(result.out.split())
    assert result.status == 1
    assert "exit status 1: a loss against the reference run is shown" in said
    assert "suite support: compared with the reference on all 80 rows" in said
    assert "since the reference, worse gives 24 of 80 rows another answer; right is worse on 24 (supp" in said
    assert "and 16 more)" in said
    assert (
        "the regression gate shows a regression of worse; with these rows it shows, 4 times in 5, a true loss"
        in said
    )
    (gate,) = [gate for gate in project.record.gates if gate.against]
    assert gate.comparison is not None
    assert (gate.comparison.outcome, gate.comparison.bound) == ("refuted", -0.1)  # the guard's own margin
    assert gate.comparison.baseline == "reference good@30"
    assert project.record.decisions[0].verdict == "NO-GO"
    (change,) = project.record.held_to.changes if project.record.held_to else ()
    assert len(change.answers) == 24
    assert change.scores["right"]["support-6"] == (1.0, 0.0)
    comment = comment_of(project.record, "", {})
    assert "Answers that changed: support, worse@30 since the reference good@30 (5 of 24)" in comment
    assert "**support-6** (lost right)" in comment
    assert "\n- old@30: " not in comment  # the baseline has no answer there
    report = project.path / "reports" / project.record.id
    for page in ("report.md", "report.html"):
        text = (report / page).read_text(encoding="utf-8")
        assert "good@30 of run" in text
        assert "the regression gate shows a regression of worse" in text
        assert "no worse than the reference: above −10.0" in text

    assert project.run("--candidate=better", AGAINST).status == 0
    result = project.run("--candidate=good", AGAINST, "--gate=regression")
    assert result.status == 0
    assert "good is the reference itself, and says the same on every row" in " ".join(result.out.split())
    assert "so nothing changed" in comment_of(project.record, "", {})
    assert (project.path / FILE).read_text(encoding="utf-8") == before
    said = " ".join(project.run("--candidate=worse", "--bless", WHY).out.split())
    assert f"to which this run was not held (--against={FILE})" in said


def test_what_has_changed_is_left_out_and_answers_that_never_come_are_a_loss(project: SmallProject) -> None:
    project.conftest(MORE)
    project.suite(TARGET, held=rows("support", 80))
    project.run("--candidate=good", "--bless=kept.json", WHY)
    held = [row | {"id": f"renamed-{at}"} for at, row in enumerate(rows("support", 80))][20:][::-1]
    project.suite(TARGET, held=[*held, *rows("new", 10)], head=TWO)
    result = project.run("--candidate=broken", "--against=kept.json", "--gate=regression")
    said = " ".join(result.out.split())
    assert (
        "suite support: compared with the reference on 60 rows that are the same (20 of the reference are"
        " gone or changed, 10 are new)"
    ) in said
    assert (
        "short is not compared with the reference: the reference has no score of that name on every row"
        in said
    )
    outcomes = {
        g.comparison.score: (g.comparison.outcome, g.comparison.n)
        for g in project.record.gates
        if g.against and g.comparison
    }
    assert outcomes["answers that came"] == ("refuted", 60)
    assert result.status == 1
    # a run's own record serves too; its answers are scored again, as the check is another one now
    first = next(iter(sorted((project.path / "reports").glob("*-good"))))
    project.suite(TARGET, held=rows("support", 80), head=OTHERWISE)
    assert project.run("--candidate=worse", f"--against={first}", "--gate=regression").status == 1
    (gate,) = [gate for gate in project.record.gates if gate.against]
    assert gate.comparison is not None
    assert (gate.comparison.baseline_mean, gate.comparison.n) == (0.9, 80)
    project.suite(TARGET, held=rows("other", 80))
    result, asked = project.run("--candidate=good", "--against=kept.json"), len(project.asked)
    result.assert_one_screen("nothing of it can be compared", asked=asked)


def test_only_a_whole_run_that_is_go_is_blessed(project: SmallProject) -> None:
    project.conftest()
    project.suite(
        TARGET + GUARD + "\n\ndef test_plain():\n    import os\n    assert not os.environ.get('RED')\n"
    )
    project.run("--candidate=good", "--bless").assert_one_screen("--bless without a reason", "--bless-why")
    for arguments, why in (
        (["--candidate=bad"], "only a GO is blessed, and bad is NO-GO"),
        (["--candidate=good", "-k", "test_better"], "not every gate was judged: test_not_worse"),
        ([], "no candidate was judged"),
    ):
        result = project.run(*arguments, "--bless", WHY)
        assert result.status != 0
        assert f"not blessed: {why}" in " ".join(result.out.split())
        assert not (project.path / FILE).exists()


def test_a_rung_holds_where_it_is_no_worse_than_the_reference_too(project: SmallProject) -> None:
    project.conftest(MORE)
    project.suite(TARGET, held=rows("support", 80))
    project.run("--candidate=good", "--bless", WHY)
    climb = [f"--candidate={name}" for name in ("worse", "better", "good")]
    climb += ["--ladder", "--ladder-order=worse,better,good", "--gate=regression"]
    assert project.run(*climb, AGAINST).status == 0
    found = project.record
    assert found.ladder is not None
    assert (found.ladder.answer, [rung.outcome for rung in found.ladder.rungs]) == (
        "better@30",
        ["fails", "holds", "not tried"],
    )
    assert [gate.candidate for gate in found.gates if gate.against] == ["worse", "better"]
    assert project.run(*climb).status == 0  # held to nothing, the cheapest that beats its baseline will do
    assert project.record.ladder is not None
    assert project.record.ladder.answer == "worse@30"
