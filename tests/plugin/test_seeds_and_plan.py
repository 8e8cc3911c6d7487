"""Several training seeds in one verdict, gates on a slice, final rows, and the plan of a run."""

from __future__ import annotations

import pytest
from small_project import GUARD, SUITE, TARGET, Outcome, SmallProject, jsonl, row, rows

SEEDED = """

def luck(prompt, size, seed):
    log(prompt.row_id)
    number = int(prompt.row_id.rpartition("-")[2])
    return "yes" if number % 10 < (9, 8, 9, 2)[seed] else "no"


@harness.candidate
def lucky():
    return Scripted(train="train.jsonl", reply=luck, base="lucky")

"""


def test_a_verdict_over_several_seeds_speaks_of_the_recipe(project: SmallProject) -> None:
    project.conftest(SEEDED)
    project.suite(TARGET)
    outcome = project.run("--candidate=lucky", "--seeds=0,1,2")
    assert outcome.status == 0, outcome.said
    (gate,) = [g for g in project.record.gates if g.state == "gated"]
    assert gate.seeds == (0, 1, 2)
    assert gate.comparison is not None
    assert gate.comparison.method == "two-way t"
    assert [round(d, 3) for d in gate.comparison.seed_differences] == [0.6, 0.5, 0.6]
    (decision,) = project.record.decisions
    assert decision.seeds == (0, 1, 2)
    page = next((project.path / "reports").glob("*/report.html")).read_text(encoding="utf-8")
    assert "speaks of the recipe" in page
    assert len(project.record.trials) == 6  # three seeds of each side


def test_one_seed_speaks_of_its_checkpoint(project: SmallProject) -> None:
    project.conftest(SEEDED)
    project.suite(TARGET)
    assert project.run("--candidate=lucky").status == 0
    page = next((project.path / "reports").glob("*/report.html")).read_text(encoding="utf-8")
    assert "speaks of this checkpoint (seed 0)" in page


def test_a_seed_chosen_among_several_is_not_tested_on_the_rows_that_chose_it(project: SmallProject) -> None:
    project.conftest(SEEDED)
    project.suite(TARGET)
    project.run("--candidate=lucky", "--train-seeds=0,1,3")
    outcome = project.run("--candidate=lucky", "--train-seeds=0")
    assert outcome.status == 1
    assert project.record.decisions[0].verdict == "INCONCLUSIVE"
    flat = " ".join(outcome.out.split())
    assert "a seed chosen among several cannot be tested on the rows it was chosen on" in flat
    assert "--train-seeds=0,1,3" in flat


def test_the_chosen_seed_can_be_tested_on_final_rows(project: SmallProject) -> None:
    project.conftest(SEEDED)
    head = SUITE.replace('heldout="heldout.jsonl"', 'heldout="heldout.jsonl", final="final.jsonl"')
    project.suite(TARGET, head=head)
    project.write("suites/support/final.jsonl", jsonl(rows("last", 40)))
    project.run("--candidate=lucky", "--train-seeds=0,1,3")
    outcome = project.run("--candidate=lucky", "--train-seeds=0", "--final")
    assert outcome.status == 0, outcome.said
    assert project.record.suites[0].heldout.endswith("final.jsonl")
    assert project.record.decisions[0].verdict == "GO"


def test_final_rows_that_no_suite_names_are_asked_for(project: SmallProject) -> None:
    project.suite(TARGET)
    project.run("--candidate=good", "--final").assert_one_screen("names no final rows", "Suite(heldout=")


def test_a_gate_may_hold_on_a_slice(project: SmallProject) -> None:
    held = [row(f"support-{n}", f"support {n}?", language="es" if n % 2 else "en") for n in range(80)]
    head = SUITE.replace("scores=(right,)", 'scores=(right,), slices=("language",)')
    on_slice = """
def test_spanish(candidate, baseline):
    assert candidate.scores(right, language="es") > baseline.scores(right, language="es")
"""
    project.suite(TARGET + on_slice, head=head, held=held)
    outcome = project.run("--candidate=good")
    found = {g.test.rpartition("::")[2]: g.comparison for g in project.record.gates}
    spanish = found["test_spanish"]
    assert outcome.status == 0, outcome.said
    assert spanish is not None
    assert (spanish.rows, spanish.n) == ("language=es", 40)
    assert "With 40 rows this slice can show a" in spanish.reason
    project.suite(on_slice.replace('"es"', '"fr"'), head=head, held=held)
    project.run("--candidate=good").assert_one_screen(
        "unknown value of language 'fr'", status=1, asked=len(project.asked)
    )


def test_a_plan_asks_nobody_and_says_what_is_kept(project: SmallProject) -> None:
    project.suite(TARGET + GUARD)
    outcome = project.run("--candidate=good", "--sizes=10,30", "--plan")
    assert outcome.status == 0, outcome.said
    assert project.asked == []
    assert not (project.path / "reports").exists()
    assert row_of(outcome, "good@30") == ["30", "0", "1", "40", "0"]  # rows, jobs and calls, new and kept
    assert "not known before a first run" in outcome.out
    told = " ".join(outcome.out.split())
    assert "good@30: GO about" in told
    assert "better by 10 points on right" in told
    assert "for no run has seen these rows" in told
    assert "dollars" not in outcome.out  # nobody bills a script
    project.run("--candidate=good", "--sizes=10,30")
    again = project.run("--candidate=good", "--sizes=10,30", "--plan")
    assert row_of(again, "good@30") == ["30", "0", "1", "0", "40"]
    assert " points, by the spread of run " in again.out
    assert "Spread and gains as in run " in " ".join(again.out.split())


def row_of(outcome: Outcome, label: str) -> list[str]:
    """The cells of one line of the plan, after its label."""
    (found,) = [line.split() for line in outcome.out.splitlines() if line.startswith(f"{label} ")]
    return found[1:]


WORN = """
from harness.records import Training

def made(overfitting):
    return Training(
        fingerprint="f", rows=30, replay_rows=0, epochs=3, steps=9, tokens=90, supervised_tokens=30,
        seconds=1.0, tokens_per_second=9.0, points=(), overfitting=overfitting, device="cpu",
        numeric_config="none", row_ids=(), versions={},
    )


def falls(prompt, size):
    number = int(prompt.row_id.rpartition("-")[2])
    return "yes" if number % 10 < (9 if size == 10 else 6) else "no"


@harness.candidate
def worn():
    return Scripted(train="train.jsonl", reply=falls, base="worn",
                    training=made("development loss ended above its minimum"))


@harness.candidate
def tired():
    return Scripted(train="train.jsonl", reply=falls, base="tired", training=made(None))
"""


def test_more_rows_that_do_harm_by_overfitting_are_no_go(project: SmallProject) -> None:
    project.conftest(WORN)
    project.suite(TARGET)
    outcome = project.run("--candidate=worn", "--sizes=10,30")
    harm = project.record.gates[-1]
    assert (harm.test, harm.state) == ("support::more rows do no harm", "gated")
    assert harm.comparison is not None
    assert "Overfitting: development loss ended above its minimum" in harm.comparison.reason
    assert project.record.decisions[0].verdict == "NO-GO"
    assert outcome.status == 1


def test_a_score_that_falls_without_overfitting_is_only_measured(project: SmallProject) -> None:
    project.conftest(WORN)
    project.suite(TARGET)
    assert project.run("--candidate=tired", "--sizes=10,30").status == 0
    assert project.record.gates[-1].state == "measured"
    assert project.record.decisions[0].verdict == "GO"


WITH_FINAL = SUITE.replace('heldout="heldout.jsonl"', 'heldout="heldout.jsonl", final="final.jsonl"')

SEVERAL = """
from harness.errors import TrainingError


class Untrainable(Scripted):
    def prepare(self, lab, variant):
        raise TrainingError("it cannot be trained")


@harness.candidate
def broken():
    return Untrainable(train="train.jsonl", reply=says(9), base="broken")


@harness.candidate(params={"r8": 8, "r16": 9})
def qlora(request):
    return Scripted(train="train.jsonl", reply=says(request.param), base="several")
"""


def test_the_best_of_several_sizes_is_tested_on_rows_that_did_not_choose_it(project: SmallProject) -> None:
    project.suite(TARGET, head=WITH_FINAL)
    project.write("suites/support/final.jsonl", jsonl(rows("last", 40)))
    project.run("--candidate=good", "--sizes=10,20,30")
    project.suite(TARGET, head=WITH_FINAL, held=[*rows("support", 40), row("new-1", "new 1?")])
    outcome = project.run("--candidate=good", "--sizes=20")
    assert project.record.decisions[0].verdict == "INCONCLUSIVE"
    flat = " ".join(outcome.out.split())
    assert "good@20 was chosen among the sizes 10, 20, 30 on rows of" in flat
    assert "--sizes=10,20,30;" in flat
    project.run("--candidate=good", "--sizes=20", "--final")
    assert project.record.decisions[0].verdict == "GO"


def test_the_best_of_several_recipes_is_judged_beside_them(project: SmallProject) -> None:
    project.conftest(SEVERAL)
    project.suite(TARGET)
    project.run("--candidate=qlora-r16", "--candidate=broken")
    project.run("--candidate=qlora-r16")
    assert project.record.decisions[0].verdict == "GO", "what failed to be trained is no company"
    project.run("--candidate=qlora-*", "--candidate=bad")
    outcome = project.run("--candidate=qlora-r8", "--candidate=bad")
    chosen, refuted = project.record.decisions
    assert [(d.verdict, d.candidates_judged) for d in (chosen, refuted)] == [("GO", 3), ("NO-GO", 3)]
    assert chosen.level == pytest.approx(0.05 / 3)
    flat = " ".join(outcome.out.split())
    assert "holds at 1.67% among 3 candidates, 2 judged today and 1 beside it before (Holm)" in flat
    project.run("--candidate=qlora-r16")
    assert project.record.decisions[0].level == 0.05, "these rows judged it alone at first: it was no choice"


NEARLY = """
@harness.candidate(params={"r8": 7, "r16": 6, "r32": 5})
def nearly(request):

    def reply(prompt, size):
        number = int(prompt.row_id.rpartition("-")[2])
        return "yes" if (0 < number and number % 10 < 3) or number in (5, 6, 7, 15, 16, 17) else "no"

    return Scripted(train="train.jsonl", reply=reply, base=f"base {request.param}")
"""


def test_one_that_is_just_go_alone_is_not_after_it_was_judged_beside_others(project: SmallProject) -> None:
    project.conftest(NEARLY)
    project.suite(TARGET, head=WITH_FINAL)
    project.write("suites/support/final.jsonl", jsonl(rows("last", 40)))
    project.run("--candidate=nearly-r8", "--candidate=nearly-r16")
    outcome = project.run("--candidate=nearly-r8")
    (decision,) = project.record.decisions
    assert (decision.verdict, decision.level, decision.candidates_judged) == ("INCONCLUSIVE", 0.025, 2)
    flat = " ".join(outcome.out.split())
    for words in (
        "2 candidates count for this one, 1 judged today and 1 beside it before on the same rows",
        "(nearly-r16)",
        "this one would have to hold at 2.5% (Holm), and the largest p of its gates is 2.9",
        "--candidate=nearly-r8 --candidate=nearly-r16;",
        "or run it alone on rows that have judged none",
    ):
        assert words in flat
    assert "Tries" in (project.path / "reports" / project.record.id / "report.md").read_text(encoding="utf-8")
    project.run("--candidate=nearly-r32")
    assert project.record.decisions[0].verdict == "GO", "it was judged beside none"
    project.run("--candidate=nearly-r8", "--final")
    assert project.record.decisions[0].verdict == "GO"


def test_former_settings_of_a_name_are_tries_of_those_beside_it(project: SmallProject) -> None:
    project.suite(TARGET)
    for base in ("first", "second", "third"):
        project.conftest(
            NEARLY.replace('f"base {request.param}"', f'"{base}" if request.param < 7 else "r8"')
        )
        outcome = project.run("--candidate=nearly-r8", "--candidate=nearly-r16")
    standing, edited = project.record.decisions
    assert [standing.candidates_judged, edited.candidates_judged] == [4, 2]
    flat = " ".join(outcome.out.split())
    assert "2 judged today and 2 beside it before on the same rows (nearly-r16 with 2 other settings)" in flat
    assert "give the former settings of nearly-r16 a name of their own" in flat


SLIGHT = """

def slightly(prompt, size, seed):
    log(prompt.row_id)
    number = int(prompt.row_id.rpartition("-")[2])
    return "yes" if 0 < number % 20 < 4 or 10 <= number % 20 < 14 else "no"


@harness.candidate
def slight():
    return Scripted(train="train.jsonl", reply=slightly, base="slight")

"""


def test_a_plan_knows_the_level_of_a_file_that_grew(project: SmallProject) -> None:
    project.conftest(SLIGHT)
    project.suite(TARGET)
    project.run("--candidate=slight", "--gate=regression")
    assert project.record.decisions[0].verdict == "INCONCLUSIVE"
    again = " ".join(project.run("--candidate=slight", "--plan").out.split())
    assert "rows if they are added to these (0.5% a gate)" in again
    assert "Each gate at" not in again  # the same rows again have the full level
    project.suite(TARGET, held=rows("support", 80))
    grown = " ".join(project.run("--candidate=slight", "--plan").out.split())
    assert "Each gate at 0.5%, as rows were added to those that did not decide." in grown
