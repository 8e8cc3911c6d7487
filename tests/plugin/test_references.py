"""A run stops before anything is asked where a row's own reference would be scored as wrong."""

from __future__ import annotations

from small_project import SUITE, SmallProject, row

FIELD = SUITE.replace('ExactMatch(name="right")', "__import__('harness').FieldMatch('amount')")
OWN = """
from dataclasses import dataclass

from harness.records import Kind, Score


@dataclass(frozen=True)
class Mine:
    name: str = "mine"
    kind = Kind.GRADED

    def spec(self):
        return {}

    def bind(self, read):
        return self

    def score(self, row, answer):
        import numpy

        if row.id.endswith("-3"):
            raise RecursionError
        return Score(numpy.float32(0.9 if answer.text == "yes" else 0.1))
"""


def test_metadata_of_another_type_than_the_reference_is_named_and_nothing_is_asked(
    project: SmallProject,
) -> None:
    held = [row(f"r-{at}", f"what {at}?", f'{{"amount": {at}}}', amount=str(at)) for at in range(30)]
    project.suite(head=FIELD, held=held)
    for more in ((), ("--plan",)):
        project.run("--candidate=good", *more).assert_one_screen(
            "heldout.jsonl:1", "metadata 'amount' is the text", "holds the number 0", "29 more rows"
        )


def test_a_users_check_is_only_noted_and_one_that_raises_sinks_no_other_row(project: SmallProject) -> None:
    project.suite(head=SUITE.replace("right = ExactMatch", f"{OWN}\nright = Mine", 1))
    outcome = project.run("--candidate=good")
    assert "INTERNALERROR" not in outcome.said
    assert "gives 40 of 40 rows' own references less than 1" in outcome.said.replace("\n", " ")
    record = project.record
    assert any("'right' gives 40 of 40" in note for note in record.notes)
    assert {score.failure for t in record.trials for score in t.scores["right"]} == {
        None,
        "right: RecursionError",
    }
    assert record.gates[0].comparison is not None
    assert record.gates[0].comparison.n == 39 or record.gates[0].comparison.failures == 1
