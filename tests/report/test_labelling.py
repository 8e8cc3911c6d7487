"""What people are asked about a run: the score that is meant, and all answers to a drawn row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_run import sample_run

from harness.errors import UnknownName, UsageError
from harness.records import Kind, RunRecord, Score, ScoreInfo
from harness.report.labelling import Wanted, label_sheet
from harness.scoring.run_labels import answer_digest


def with_score(run: RunRecord, **changes: object) -> RunRecord:
    """The run with changes to the support suite's judge."""
    suite = run.suites[0]
    scores = (*suite.scores[:-1], replace(suite.scores[-1], **changes))  # type: ignore[arg-type]
    return replace(run, suites=(replace(suite, scores=scores), *run.suites[1:]))


def with_seeds(run: RunRecord) -> RunRecord:
    """The run with a second training seed, which answers every third row in its own words."""
    again = []
    for trial in (one for one in run.trials if one.size == 400):
        answers = tuple(
            replace(answer, text=f"{answer.text} ") if place % 3 == 0 else answer
            for place, answer in enumerate(trial.answers)
        )
        again.append(replace(trial, seed=1, answers=answers))
    return replace(run, trials=(*run.trials, *again))


def broken_at(row_id: str) -> RunRecord:
    """A run in which both sides' answers to one row are no JSON."""
    run = sample_run(60)
    trials = []
    for trial in run.trials:
        answers = (
            replace(one, text='{"summary": "cut') if one.row_id == row_id else one for one in trial.answers
        )
        trials.append(replace(trial, answers=tuple(answers)))
    return replace(run, trials=tuple(trials))


def test_the_judge_of_a_run_is_labelled_unless_another_score_is_named() -> None:
    sheet = label_sheet(sample_run(60), Wanted(labels=20))
    assert (sheet.suite, sheet.score, sheet.mode, len(sheet.rows)) == ("support", "summary", "good", 20)
    assert sheet.ask == "Is this answer good?"
    assert sheet.subject == "qlora-r16@400 and smollm2-135m"
    other = label_sheet(sample_run(60), Wanted(suite="retention", score="exact", labels=5))
    assert (other.suite, other.score) == ("retention", "exact")


def test_every_label_names_its_answer_and_the_probability_of_its_row() -> None:
    run = sample_run(60)
    answers = {
        (trial.label, answer.row_id): answer
        for trial in run.trials
        if trial.suite == "support"
        for answer in trial.answers
    }
    sheet = label_sheet(run, Wanted(labels=20))
    by_row: dict[str, list[dict[str, object]]] = {}
    for card in sheet.cards:
        for line in card.lines:
            by_row.setdefault(str(line["row"]), []).append(dict(line))
            assert line["run"] == run.id
            answer = answers[str(line["side"]), str(line["row"])]
            assert line["answer"] == answer_digest(answer.text)
            assert card.texts == (answer.text,)
    assert by_row.keys() == {row.id for row in sheet.rows}
    for lines in by_row.values():
        assert {line["side"] for line in lines} == {"qlora-r16@400", "smollm2-135m"}
        assert len({line["probability"] for line in lines}) == 1
    assert 0 < min(float(str(line["probability"])) for lines in by_row.values() for line in lines) < 1


def test_equal_answers_to_a_row_are_one_card_with_a_label_for_each_side() -> None:
    run = sample_run(60)
    sheet = label_sheet(run, Wanted(labels=60))
    assert sum(len(card.lines) for card in sheet.cards) == 2 * len(sheet.rows)
    assert len(sheet.cards) < 2 * len(sheet.rows)
    assert all(card.texts for card in sheet.cards)
    assert len({card.key for card in sheet.cards}) == len(sheet.cards)


def test_an_answer_that_never_came_needs_no_person() -> None:
    run = sample_run(60)
    lost = [
        replace(one, text="", failure="HTTP 500") if one.row_id == "s-0011" else one
        for one in run.trials[0].answers
    ]
    run = replace(run, trials=(replace(run.trials[0], answers=tuple(lost)), *run.trials[1:]))
    sheet = label_sheet(run, Wanted(labels=1_000))
    assert "s-0003" not in {row.id for row in sheet.rows}  # neither answer came
    of_half = [line["side"] for card in sheet.cards for line in card.lines if line["row"] == "s-0011"]
    assert of_half == ["qlora-r16@400"]
    assert "s-0009" in {row.id for row in sheet.rows}  # the judge's failed, which people do not mind
    assert len(sheet.rows) == sheet.n_rows == 59
    assert {line["probability"] for card in sheet.cards for line in card.lines} == {1.0}


def test_all_seeds_of_a_candidate_are_labelled_where_they_differ() -> None:
    sheet = label_sheet(with_seeds(sample_run(60)), Wanted(labels=1_000))
    sides = {(line["side"], line["seed"]) for card in sheet.cards for line in card.lines}
    assert sides == {("qlora-r16@400", 0), ("qlora-r16@400", 1), ("smollm2-135m", None)}
    assert sum(len(card.lines) for card in sheet.cards) == 3 * 59


def test_a_smaller_size_is_labelled_where_it_is_named() -> None:
    sheet = label_sheet(sample_run(60), Wanted(candidate="qlora-r16@100", labels=5))
    assert sheet.subject == "qlora-r16@100 and smollm2-135m"


def test_the_field_that_is_judged_is_shown_alone_and_in_the_reference() -> None:
    run = with_score(broken_at("s-0005"), spec={"check": "LikelihoodJudge", "field": "summary"})
    sheet = label_sheet(run, Wanted(labels=60))
    assert sheet.ask == "Is this summary good?"
    assert all(row.reference.startswith("Customer asks about") for row in sheet.rows)
    whole = [card for card in sheet.cards if not card.wholes]
    assert all(card.texts[0].startswith("The customer") for card in sheet.cards if card.wholes)
    assert [(card.texts, card.lines[0]["row"]) for card in whole] == [(('{"summary": "cut',), "s-0005")]


def test_a_judge_with_levels_is_labelled_by_levels() -> None:
    run = with_score(sample_run(60), spec={"scale": 5, "instructions": "Grade faithfulness."})
    sheet = label_sheet(run, Wanted(labels=5))
    assert (sheet.mode, sheet.scale, sheet.told) == ("scale", 5, "Grade faithfulness.")
    assert label_sheet(run, Wanted(labels=5, scale=2)).mode == "good"
    with pytest.raises(UsageError, match="summary has levels from 1 to 5"):
        label_sheet(run, Wanted(scale=4))
    with pytest.raises(UsageError, match="summary has no levels"):
        label_sheet(sample_run(60), Wanted(scale=5))


def test_a_preference_is_labelled_in_pairs() -> None:
    run = with_score(sample_run(60), kind=Kind.PREFERENCE)
    sheet = label_sheet(run, Wanted(labels=10, pairs=True))
    assert sheet.mode == "pairs"
    assert len(sheet.cards) == 10
    for card in sheet.cards:
        (line,) = card.lines
        assert (line["side"], line["against"]) == ("qlora-r16@400", "smollm2-135m")
        assert len(card.texts) == 2
    with pytest.raises(UsageError, match="scores single answers"):
        label_sheet(sample_run(60), Wanted(pairs=True))


def test_the_order_of_cards_in_the_page_tells_nothing_of_the_sides() -> None:
    sheet = label_sheet(sample_run(200), Wanted(labels=200))
    sides = [len(card.lines) == 1 and card.lines[0]["side"] == "smollm2-135m" for card in sheet.cards]
    half = len(sides) // 2
    assert abs(sum(sides[:half]) - sum(sides[half:])) < 40
    assert not any(name in card.key for card in sheet.cards for name in ("qlora", "smollm"))


def test_flipped_preferences_are_drawn_more_often_than_clear_ones() -> None:
    run = with_score(sample_run(60), kind=Kind.PREFERENCE)
    trials = []
    for trial in run.trials:  # only the candidate has a preference, and every other one is a tie
        scores = {name: each for name, each in trial.scores.items() if name != "summary"}
        if trial.suite == "support" and trial.size is not None:
            scores["summary"] = tuple(Score(0.5 if place % 2 else 1.0) for place in range(60))
        trials.append(replace(trial, scores=scores))
    sheet = label_sheet(replace(run, trials=tuple(trials)), Wanted(labels=20))
    different = [card for card in sheet.cards if card.texts[0] != card.texts[1]]
    ties, clear = (
        {
            float(str(c.lines[0]["probability"]))
            for c in different
            if int(str(c.lines[0]["row"])[2:]) % 2 == odd
        }
        for odd in (1, 0)
    )
    assert min(ties) > max(clear)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(suite="suport"), "Did you mean 'support'"),
        (Wanted(score="sumary"), "Did you mean 'summary'"),
        (Wanted(candidate="qlora"), "Did you mean 'qlora-r16'"),
        (Wanted(candidate="qlora-r16@401"), "qlora-r16@400"),
        (Wanted(suite="retention", score="summary"), "no answers"),
    ],
)
def test_names_that_are_not_in_the_run_are_refused_with_those_that_are(wanted: Wanted, said: str) -> None:
    with pytest.raises((UnknownName, UsageError)) as caught:
        label_sheet(sample_run(60), wanted)
    assert said in str(caught.value)


def test_several_scores_that_would_do_are_listed() -> None:
    run = sample_run(60)
    plain = with_score(run, admission=None)
    with pytest.raises(UsageError) as caught:
        label_sheet(plain, Wanted())
    assert '--suite="support" --score="intent" --candidate="qlora-r16"' in str(caught.value)
    assert '--suite="retention" --score="exact"' in str(caught.value)


def test_a_run_without_a_baseline_has_nothing_to_label() -> None:
    run = sample_run(60)
    alone = replace(run, trials=tuple(trial for trial in run.trials if trial.size is not None))
    with pytest.raises(UsageError, match="no answers of a candidate and its baseline"):
        label_sheet(alone, Wanted())


def test_a_score_that_no_trial_has_is_labelled_with_equal_sizes() -> None:
    run = sample_run(60)
    suite = run.suites[0]
    new = (
        *suite.scores[:-1],
        ScoreInfo("helpful", Kind.BINARY, "asked of people alone", spec={"check": "x"}),
    )
    run = replace(run, suites=(replace(suite, scores=new), *run.suites[1:]))
    sheet = label_sheet(run, Wanted(labels=20))
    assert sheet.score == "helpful"
    assert len(sheet.rows) == 20


def test_more_labels_keep_the_cards_that_were_labelled() -> None:
    few, more = (label_sheet(sample_run(60), Wanted(labels=n, seed=4)).cards for n in (15, 40))
    assert {card.key for card in few} < {card.key for card in more}


def test_uniform_draws_all_rows_alike() -> None:
    sheet = label_sheet(sample_run(60), Wanted(labels=20, uniform=True))
    (probability,) = {line["probability"] for card in sheet.cards for line in card.lines}
    assert probability == pytest.approx(20 / 59)


def test_the_gain_is_said_in_one_line() -> None:
    gain = label_sheet(sample_run(60), Wanted(labels=20)).gain
    assert gain.startswith(
        "20 of 59 rows labelled are worth, with the judge, 24, 30 and 43 labelled without it"
    )
    assert "\n" not in gain
    assert label_sheet(sample_run(60), Wanted(labels=90)).gain == (
        "All 59 rows are to be labelled: then the judge adds nothing."
    )


def test_a_score_that_no_gate_compares_is_told_before_it_is_labelled() -> None:
    run = sample_run(20)
    assert "decide nothing" not in label_sheet(run, Wanted(score="summary")).gain
    assert "decide nothing" in label_sheet(replace(run, gates=()), Wanted(score="summary")).gain
