"""Every file that takes part is compared with every other, and what was accepted is said."""

from __future__ import annotations

import pytest
from small_project import SUITE, SmallProject, jsonl, row, rows

LONG = [
    "the radiator in the northern bedroom whistles every morning at about six",
    "my invoice from last month shows a line that nobody ordered at all",
    "could you please move the delivery of my kitchen table to next friday",
    "since the update the app closes as soon as I open the second tab",
    "where do I find the form for returning shoes that are one size too small",
]
HELD = [*rows("support", 35), *(row(f"support-{35 + k}", text) for k, text in enumerate(LONG))]


def head(extra: str) -> str:
    return SUITE.replace("scores=(right,)", f"scores=(right,), {extra}")


def test_heldout_rows_as_examples_in_the_prompt_are_refused(project: SmallProject) -> None:
    project.suite(head=head('prompt="prompt.md"'), held=HELD)
    project.write("suites/support/prompt.md", "Answer as here.\n" + "\n".join(f"Q: {text}" for text in LONG))
    project.run("--candidate=good").assert_one_screen(
        "prompt.md", "heldout.jsonl:36", "examples in the prompt"
    )


def test_final_rows_are_no_heldout_rows(project: SmallProject) -> None:
    project.suite(head=head('final="final.jsonl"'), held=HELD)
    project.write("suites/support/final.jsonl", jsonl([*rows("final", 20), row("final-20", LONG[1].upper())]))
    project.run("--candidate=good").assert_one_screen("final.jsonl:21", "heldout.jsonl:37")


def test_development_rows_are_no_heldout_rows(project: SmallProject) -> None:
    project.suite(held=HELD)
    project.write("dev.jsonl", jsonl([row("dev", LONG[2])]))
    kind = 'Scripted(train="train.jsonl", dev="dev.jsonl", reply=says(9), base="dv")'
    project.conftest(f"\n\n@harness.candidate\ndef dv():\n    return {kind}\n")
    project.run("--candidate=dv").assert_one_screen("dev.jsonl:1", "heldout.jsonl:38", "development rows")


@pytest.mark.parametrize("leaks", ['("heldout.jsonl:36",)', '["support-35"]', '"warn"'])
def test_an_accepted_leak_stands_in_the_report(project: SmallProject, leaks: str) -> None:
    project.suite(head=head(f"leaks={leaks}"), held=HELD)
    project.write("train.jsonl", jsonl([*rows("train", 30), row("leak", LONG[0])]))
    project.run("--candidate=good")
    (report,) = project.path.glob("reports/*/report.md")
    said = report.read_text(encoding="utf-8")
    assert "1 of 40 held-out rows" in said
    assert ("accepted by name" in said) == (leaks != '"warn"')


def test_leaks_of_another_type_are_refused(project: SmallProject) -> None:
    project.suite(head=head('leaks="wran"'), held=HELD)
    project.run("--candidate=good").assert_one_screen("leaks='wran'", "warn")


def test_copies_among_heldout_rows_are_one_cluster_and_no_go(project: SmallProject) -> None:
    held = [row(f"support-{k}", LONG[k % 5] + "!" * (k % 3)) for k in range(40)]
    project.suite(held=held)
    run = project.run("--candidate=good")
    (report,) = project.path.glob("reports/*/report.md")
    assert "5 distinct questions in 40 rows" in report.read_text(encoding="utf-8")
    assert "INCONCLUSIVE: good" in run.out


def test_the_report_says_what_nearness_to_training_is_worth(project: SmallProject) -> None:
    near = [f"{text} and nobody has answered me since about {k} days ago" for k, text in enumerate(LONG)] * 2
    held = [
        *rows("support", 30),
        *(row(f"support-{30 + k}", f"{text} or {k}") for k, text in enumerate(near)),
    ]
    train = [
        *rows("train", 30),
        *(row(f"t{k}", f"{text} so what about the refund") for k, text in enumerate(LONG)),
    ]
    project.suite(held=held)
    project.write("train.jsonl", jsonl(train))
    project.run("--candidate=good")
    assert any(
        "near neighbour" in note and "n=10" in note and "interval" in note for note in project.record.notes
    )
