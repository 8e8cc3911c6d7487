"""What is said beside a decision of its answers."""

from __future__ import annotations

from dataclasses import replace

from harness.decision.answered import Side, answer_notes
from harness.records import Answer, FailureKind, Score, Trial


def side(name: str, *, failed: int = 0, thought: int = 0, n: int = 100, thinking: bool | None = None) -> Side:
    """``n`` answers, of which the first never came, and the last were thought before."""
    answers = tuple(
        Answer(f"r{k}", "", 1, 1, 0.0, "failed", "cut off", failure_kind=FailureKind.CUT)
        if k < failed
        else Answer(f"r{k}", "x", 1, 1, 0.0, thought="why" if k >= n - thought else None)
        for k in range(n)
    )
    scores = tuple(Score(None, failure="cut off") if a.failure else Score(1.0) for a in answers)
    trial = Trial(name, None, None, "mail", answers, {"team": scores}, 0.0, "")
    return Side(name, [trial], thinking)


def test_failures_are_named_above_2_percent_of_a_side_with_their_reasons() -> None:
    assert answer_notes("mail", side("new", failed=2), side("base", failed=2)) == ()
    (note,) = answer_notes("mail", side("new"), side("base", failed=3))
    assert "3 of 100 answers of base never came (3 cut off before the answer)" in note
    assert "right" in note
    (note,) = answer_notes("mail", side("new", failed=3), side("base"))
    assert "wrong" in note


def test_scores_that_failed_though_the_answers_came_are_named_apart() -> None:
    new = side("new")
    (trial,) = new.trials
    scores = (*[Score(None, failure="no judgment")] * 5, *trial.scores["team"][5:])
    judged = Side("new", [Trial("new", None, None, "mail", trial.answers, {"judge": scores}, 0.0, "")])
    assert answer_notes("mail", judged, side("base")) == (
        "mail: 5 of 100 scores judge of new could not be computed.",
    )


def test_sides_that_differ_in_thinking_are_named() -> None:
    (note,) = answer_notes("mail", side("new"), side("base", thought=100))
    assert "differ in thinking: new thought before 0 of 100 answers, base thought before 100 of 100" in note
    assert answer_notes("mail", side("new", thought=90), side("base", thought=100)) == ()
    (note,) = answer_notes("mail", side("new", thinking=False), side("base"))
    assert "new with thinking=False, base with thinking=None" in note


def test_a_setting_that_the_service_dropped_is_named() -> None:
    both = {"thinking": False, "thought": 100}
    first, second = answer_notes("mail", side("new", **both), side("base", **both))  # type: ignore[arg-type]
    assert "new was asked with thinking=False, and thought before 100 of 100 answers" in first
    assert "base was asked" in second
    (note, _) = answer_notes("mail", side("new", thinking=True), side("base"))
    assert "no thought came with its 100 answers" in note


def test_answers_of_which_most_are_broken_off_or_empty_are_named() -> None:
    def ends(name: str, text: str, finish: str, n: int) -> Side:
        answers = tuple(
            Answer(f"r{k}", text, 1, 1, 0.0, finish) if k < n else Answer(f"r{k}", "x", 1, 1, 0.0)  # type: ignore[arg-type]
            for k in range(100)
        )
        return Side(name, [Trial(name, None, None, "mail", answers, {}, 0.0, "")])

    (note,) = answer_notes("mail", side("new"), ends("base", "Okay, so", "length", 51))
    assert "51 of 100 answers of base were cut off at their limit and are scored as they are" in note
    (note,) = answer_notes("mail", side("new"), ends("base", "\n", "stop", 100))
    assert "100 of 100 answers of base are empty" in note
    assert answer_notes("mail", side("new"), ends("base", "", "length", 50)) == ()


def test_sides_that_are_bound_to_different_schemas_and_services_that_do_not_bind_are_told() -> None:
    def bound(name: str, text: str, shape: str = "ticket.json", digest: str = "d" * 64) -> Side:
        (trial,) = side(name).trials
        answers = tuple(replace(answer, text=text) for answer in trial.answers)
        decoding = {"schema": {"name": shape, "digest": digest}}
        return Side(name, [replace(trial, answers=answers, decoding=decoding)])

    (note,) = answer_notes("mail", bound("new", "{}"), side("base"))
    assert "answers of new were bound to ticket.json, those of base to no schema" in note
    assert answer_notes("mail", bound("new", "{}"), bound("base", "[1]")) == ()
    # the content counts: two mappings have one name, and one schema may have two
    assert answer_notes("mail", bound("new", "{}"), bound("base", "{}", "schema={…}")) == ()
    (note,) = answer_notes("mail", bound("new", "{}"), bound("base", "{}", digest="e" * 64))
    assert "of new were bound to ticket.json (dddddddd), those of base to another one (eeeeeeee)" in note
    (note,) = answer_notes("mail", bound("new", "{}"), bound("base", "Sure! {}"))
    assert "answers of base were bound to ticket.json, and 100 of 100 are no JSON" in note
