"""A run that is blessed, and runs that are held to it."""

from __future__ import annotations

import json

from small_project import GUARD, TARGET, SmallProject, rows

MORE = """

@harness.candidate
def worse():
    return Scripted(train="train.jsonl", reply=says(6), base="worse")


@harness.candidate
def better():
    return Scripted(train="train.jsonl", reply=says(10), base="better")
"""
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
    assert (
        "the regression gate shows a regression of worse; with these rows it shows, 4 times in 5, a true loss"
        in said
    )
    (gate,) = [gate for gate in project.record.gates if gate.against]
    assert gate.comparison is not None
    assert (gate.comparison.outcome, gate.comparison.bound) == ("refuted", -0.1)  # the guard's own margin
    assert gate.comparison.baseline == "reference good@30"
    assert project.record.decisions[0].verdict == "NO-GO"
    report = project.path / "reports" / project.record.id
    for page in ("report.md", "report.html"):
        text = (report / page).read_text(encoding="utf-8")
        assert "good@30 of run" in text
        assert "the regression gate shows a regression of worse" in text

    assert project.run("--candidate=better", AGAINST).status == 0
    result = project.run("--candidate=good", AGAINST, "--gate=regression")
    assert result.status == 0
    assert "good is the reference itself, and says the same on every row" in " ".join(result.out.split())
    assert (project.path / FILE).read_text(encoding="utf-8") == before


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
