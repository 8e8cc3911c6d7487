"""Labels of a run's answers: what is read, what is refused, and how several people's are joined."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from labelled_run import BASE, lines, parsed, run, text_of

from harness.errors import DataError
from harness.records import Kind, RunRecord, Score, ScoreInfo
from harness.scoring.run_labels import ScoreLabels, fit_to, parse_run_labels

Line = dict[str, object]


def fitted(record: RunRecord, labels: list[Line]) -> ScoreLabels:
    (found,) = fit_to(record, parsed(labels))
    return found


def test_labels_become_values_by_side_seed_and_row() -> None:
    found = fitted(run(), lines(run()))
    assert found.values[BASE, None, ""]["row-0"] == 1.0
    assert found.values["tuned@400", 0, ""]["row-4"] == 0.0
    assert found.probabilities["tuned@400"]["row-4"] == 0.5
    assert found.annotators == {"ada": 120}


def test_a_seed_may_be_left_out_where_a_side_has_one() -> None:
    labels = [{**line, "seed": None} for line in lines(run())]
    assert fitted(run(), labels).values["tuned@400", 0, ""]["row-4"] == 0.0


def test_several_people_are_averaged_and_their_agreement_is_told() -> None:
    record = run()
    first = lines(record, range(0, 120, 2))
    second = [
        {**line, "annotator": "ben", "label": "bad" if line["row"] == "row-0" else line["label"]}
        for line in first[:40]
    ]
    found = fitted(record, [*first, *second])
    assert found.values[BASE, None, ""]["row-0"] == 0.5
    assert found.n_shared == 40
    assert found.agreement is not None
    assert 0.7 < found.agreement < 1.0
    assert found.annotators == {"ada": 120, "ben": 40}


def test_answers_are_compared_by_those_who_labelled_all_of_them() -> None:
    record = run()
    first = lines(record, range(0, 120, 2))
    second = [{**line, "annotator": "ben", "label": "bad"} for line in first[:3]]
    found = fitted(record, [*first, *second])
    places = (BASE, None, ""), ("tuned@400", 0, "")
    assert found.compared(places, "row-0") == [0.5, 0.5]
    assert found.compared(places, "row-2") == [0.0, 1.0]
    assert found.values[BASE, None, ""]["row-2"] == 0.0
    split = fitted(record, [{**line, "annotator": str(line["side"])} for line in first])
    assert np.isnan(split.compared(places, "row-0")).all()


def test_what_was_skipped_was_drawn_and_has_no_label() -> None:
    labels = lines(run())
    found = fitted(run(), [{**labels[0], "label": "skipped"}, *labels[1:]])
    assert "row-0" not in found.values[BASE, None, ""]
    assert found.probabilities[BASE]["row-0"] == 0.5
    assert found.annotators == {"ada": 119}
    with pytest.raises(DataError, match="all of it was skipped"):
        fit_to(run(), parsed([{**line, "label": "skipped"} for line in labels]))


def test_levels_of_a_judge_on_a_scale() -> None:
    record = run(score=ScoreInfo("summary", Kind.GRADED, "a rubric", spec={"scale": 5}))
    labels = [{**line, "label": 4 if line["label"] == "good" else 1} for line in lines(record)]
    assert fitted(record, labels).values[BASE, None, ""]["row-0"] == 0.75


def pairs_run() -> RunRecord:
    """A run whose score sets the candidate against the baseline."""
    record = run()
    suite = replace(record.suites[0], scores=(ScoreInfo("summary", Kind.PREFERENCE, "pairs"),))
    base = replace(record.trials[0], scores={})
    tuned = replace(record.trials[1], scores={"summary": (Score(0.5),) * 120})
    return replace(record, suites=(suite,), trials=(base, tuned))


def test_of_pairs_first_is_the_side_that_is_named_first() -> None:
    record = pairs_run()
    mine = [line for line in lines(record) if line["side"] == "tuned@400"]
    theirs = [line for line in lines(record) if line["side"] == BASE]
    labels: list[Line] = [{**mine[0], "against": BASE, "label": "first"}]
    labels += [{**theirs[1], "against": "tuned@400", "label": "first"}]  # turned round: the candidate lost
    labels += [{**mine[2], "against": BASE, "label": "tie"}]
    values = fitted(record, labels).values["tuned@400", 0, BASE]
    assert values == {"row-0": 1.0, "row-2": 0.0, "row-4": 0.5}


def test_a_pair_that_was_shown_in_both_orders_is_one() -> None:
    record = pairs_run()
    theirs, mine = lines(record)[:2]
    ahead, behind = {**mine, "against": BASE}, {**theirs, "against": "tuned@400"}
    other = {**lines(record)[3], "against": BASE, "label": "second"}
    same: list[Line] = [{**ahead, "label": "first"}, {**behind, "label": "second"}, other]
    assert fitted(record, same).values["tuned@400", 0, BASE]["row-0"] == 1.0
    with pytest.raises(DataError, match="ada calls tuned@400's answer to row-0 'first', and 'first'"):
        fitted(record, [{**ahead, "label": "first"}, {**behind, "label": "first"}, other])


def test_the_same_label_twice_is_one() -> None:
    labels = lines(run())
    assert fitted(run(), [*labels, *labels]).annotators == {"ada": 120}


BAD_LINES: dict[str, tuple[str, str]] = {
    "half a line": ('{"run": "x", "suite": ', "not JSON"),
    "a comma at the end": ('{"run": "x",}', "not JSON"),
    "a list": ("[1, 2]", "not a JSON object"),
    "one name twice": ('{"label": "good", "label": "bad"}', "stands twice"),
    "a bracket of an array": ("[", "not JSON"),
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_files_that_were_edited_by_hand_are_refused_with_their_line(line: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        parse_run_labels(f"{text_of(lines(run())[:2])}\n{line}\n", "labels.jsonl")
    assert error.value.where == "labels.jsonl:4"
    assert len(str(error.value).splitlines()) == 2


BAD_VALUES: dict[str, tuple[Line, str]] = {
    "no row": ({"row": None}, "'row' is None"),
    "a number for a side": ({"side": 4}, "'side' is 4"),
    "a probability of 0": ({"probability": 0}, "the probability is 0"),
    "a probability above 1": ({"probability": 1.5}, "the probability is 1.5"),
    "a probability that is no number": ({"probability": float("nan")}, "the probability is nan"),
    "a probability that is true": ({"probability": True}, "the probability is True"),
    "a label that is true": ({"label": True}, "the label is True"),
    "a label of another sort": ({"label": ["good"]}, "the label is"),
    "a seed that is text": ({"seed": "0"}, "the seed is"),
    "a person who is a list": ({"annotator": ["ada"]}, "'annotator' is"),
}


@pytest.mark.parametrize(("change", "problem"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_values_that_no_label_has_are_refused(change: Line, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as error:
        parsed([{**lines(run())[0], **change}])
    assert error.value.where == "labels.jsonl:1"


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(DataError, match="no labels"):
        parse_run_labels("\n\n", "labels.jsonl")


UNFIT: dict[str, tuple[Callable[[list[Line]], object], str, int]] = {
    "another run": (lambda labels: labels[0].update(run="20250101-000000-x"), "a label of run '20250101", 1),
    "no such suite": (lambda labels: labels[2].update(suite="billing"), "suite 'billing' is not in run", 3),
    "no such score": (lambda labels: labels[2].update(score="tone"), "score 'tone' is not in run", 3),
    "no such row": (lambda labels: labels[2].update(row="row-999"), "row 'row-999' is not in run", 3),
    "no such side": (lambda labels: labels[2].update(side="tuned@50"), "side 'tuned@50' is not in run", 3),
    "no such seed": (lambda labels: labels[1].update(seed=7), "no answers of seed 7", 2),
    "the answer has changed": (
        lambda labels: labels[3].update(answer="0" * 16),
        "is not the one that was",
        4,
    ),
    "a level without a scale": (
        lambda labels: labels[3].update(label=4),
        "the label 4 is none of summary",
        4,
    ),
    "a word": (lambda labels: labels[3].update(label="fine"), "the label 'fine' is none of summary", 4),
    "a winner of no pair": (lambda labels: labels[3].update(label="first"), "is none of summary", 4),
    "two sides of single answers": (lambda labels: labels[3].update(against=BASE), "two sides of a score", 4),
    "two probabilities of one row": (
        lambda labels: labels[1].update(probability=0.25),
        "row-0 was drawn with probability 0.25 here, and with 0.5 in labels.jsonl:1",
        2,
    ),
    "one person says both": (
        lambda labels: labels.append({**labels[0], "label": "bad"}),
        "ada calls prompt's answer to row-0 'bad', and 'good' in labels.jsonl:1",
        121,
    ),
    "two without a name": (
        lambda labels: labels.extend([{**labels[0], "annotator": ""}] * 2),
        "a second label of prompt's answer to row-0 without a name; the first is labels.jsonl:121",
        122,
    ),
}


@pytest.mark.parametrize(("spoil", "problem", "line"), UNFIT.values(), ids=UNFIT.keys())
def test_labels_that_do_not_fit_the_run_are_refused_with_line_and_mend(
    spoil: Callable[[list[Line]], object], problem: str, line: int
) -> None:
    labels = lines(run())
    spoil(labels)
    with pytest.raises(DataError, match=problem) as error:
        fitted(run(), labels)
    assert error.value.where == f"labels.jsonl:{line}"
    assert "hint: " in str(error.value)
    assert len(str(error.value)) < 400


def test_labels_of_one_kind_only_are_refused() -> None:
    with pytest.raises(DataError, match=r"all 120 labels of summary .* are 'good'"):
        fitted(run(), [{**line, "label": "good"} for line in lines(run())])


def test_a_label_of_an_answer_that_never_came_is_refused() -> None:
    record = run()
    base = record.trials[0]
    answers = (replace(base.answers[0], text="", failure="HTTP 500"), *base.answers[1:])
    record = replace(record, trials=(replace(base, answers=answers), *record.trials[1:]))
    with pytest.raises(DataError, match="prompt gave no answer to row-0"):
        fitted(record, lines(run()))


def test_one_person_contradicts_themselves_across_files() -> None:
    record = run()
    first, second = parsed(lines(record), "monday.jsonl"), lines(record)
    second[5]["label"] = "good" if second[5]["label"] == "bad" else "bad"
    with pytest.raises(DataError, match=r"in monday\.jsonl:6") as error:
        fit_to(record, [*first, *parsed(second, "tuesday.jsonl")])
    assert error.value.where == "tuesday.jsonl:6"


def test_levels_and_words_are_not_mixed() -> None:
    record = run(score=ScoreInfo("summary", Kind.GRADED, "a rubric", spec={"scale": 5}))
    labels = lines(record)
    labels[3]["label"] = 4
    with pytest.raises(DataError, match="of another sort"):
        fitted(record, labels)


def test_a_file_that_was_cut_anywhere_is_refused_with_its_line_or_has_whole_labels() -> None:
    text = text_of([{**line, "note": "\u00e9\ud83d\ude00"} for line in lines(run(), range(2))])
    for end in range(len(text)):
        found, refused = 0, None
        try:
            found = len(parse_run_labels(text[:end], "labels.jsonl"))
        except DataError as error:
            refused = error
        if refused is None:
            assert found == text[: end + 1].count("\n"), end
        else:
            assert re.fullmatch(r"labels\.jsonl(:\d)?", refused.where), end
            assert len(str(refused)) < 300


@pytest.mark.parametrize(
    "line",
    [
        {"probability": 1e-300},
        {"note": "\ud800"},
        {"annotator": False},
        {"against": []},
        {"run": "x" * 9_999},
        {"seed": 10**400},
    ],
)
def test_what_no_page_saves_is_refused_on_one_short_line(line: Line) -> None:
    with pytest.raises(DataError, match="hint: ") as error:
        fitted(run(), [{**lines(run())[0], **line}])
    assert error.value.where == "labels.jsonl:1"
    assert len(str(error.value)) < 300
