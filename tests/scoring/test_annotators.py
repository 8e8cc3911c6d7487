"""Several people label the same replies: one label by majority, and how far they agree."""

from __future__ import annotations

import json

import pytest

from harness.errors import DataError
from harness.scoring.annotators import annotation
from harness.scoring.labels import Label, LevelsRead, by_majority, enough_labels, parse_labels


def rated(reply: str, **said: bool) -> list[Label]:
    return [Label("m", "r", reply, good, annotator=name) for name, good in said.items()]


def line(reply: str = "s", **more: object) -> str:
    return json.dumps({"message": "m", "reference": "r", "summary": reply, "label": "good", **more})


def test_a_majority_is_one_label_and_a_tie_is_none() -> None:
    labels = [
        *rated("two to one", ada=True, bob=False, cyd=True),
        *rated("outvoted", ada=True, bob=False, cyd=False),
        *rated("tied", ada=True, bob=False),
        *rated("alone", ada=True),
        Label("m", "r", "unsigned", False),
    ]
    found = {label.reply: label.good for label in by_majority(labels)}
    assert found == {"two to one": True, "outvoted": False, "alone": True, "unsigned": False}
    of_them = annotation(labels)
    assert (of_them.n_annotators, of_them.n_ties) == (3, 1)
    assert of_them.alpha is not None
    assert of_them.alpha.n == 3


def test_labels_without_annotators_are_as_they_were() -> None:
    copies = [Label("m", "r", "s", True), Label("m", "r", "s", True)]
    assert by_majority(copies) == tuple(copies)
    assert annotation(copies).alpha is None
    assert annotation(copies).n_annotators == 0


def test_annotators_that_agree_raise_no_concern_and_those_that_do_not_are_named() -> None:
    agreed = [label for k in range(40) for label in rated(str(k), ada=k % 2 == 0, bob=k % 2 == 0)]
    assert annotation(agreed).alpha is not None
    assert annotation(agreed).concerns == ()
    # each agrees with the other on three of four
    apart = [
        label for k in range(40) for label in rated(str(k), ada=k % 2 == 0, bob=(k % 2 == 0) != (k % 4 == 3))
    ]
    found = annotation(apart)
    assert found.alpha is not None
    assert found.alpha.low < found.alpha.value < 0.667
    (said,) = found.concerns
    assert "annotators agree too little: Krippendorff's alpha 0." in said
    assert "n=40 replies" in said


def test_levels_are_ordinal_and_a_neighbour_is_less_apart_than_the_other_end() -> None:
    def alpha(shift: int) -> float:
        pairs = [(1 + k % 5, min(5, 1 + k % 5 + shift * (k % 3 == 0))) for k in range(30)]
        labels = [
            Label("m", "r", str(k), level >= 4, level=level, annotator=name)
            for k, pair in enumerate(pairs)
            for name, level in zip(("ada", "bob"), pair, strict=True)
        ]
        found = annotation(labels).alpha
        assert found is not None
        return found.value

    assert alpha(0) == 1.0
    assert alpha(0) > alpha(1) > alpha(4)


def test_a_level_by_several_is_their_median() -> None:
    labels = [Label("m", "r", "s", level >= 4, level=level, annotator=str(level)) for level in (5, 2, 4)]
    (one,) = by_majority(labels)
    assert (one.good, one.level, one.annotator) == (True, 4, "")


def test_levels_are_read_for_a_judge_on_a_scale_and_for_no_other() -> None:
    levels = LevelsRead(5, good_from=4)
    text = "\n".join(line(str(k), label=k) for k in range(1, 6)) + "\n" + line("x")
    found = parse_labels(text, "labels.jsonl", levels=levels)
    assert [(label.level, label.good) for label in found] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
        (5, True),
        (None, True),
    ]
    for wrong in (0, 6, 4.0, True, "4", None, [4]):
        with pytest.raises(DataError, match=r"labels\.jsonl:1: the label is .*\n.*whole number from 1 to 5"):
            parse_labels(line(label=wrong), "labels.jsonl", levels=levels)
    with pytest.raises(DataError, match="levels are for judges on a scale"):
        parse_labels(line(label=4), "labels.jsonl")


def test_one_annotator_has_one_label_for_a_reply() -> None:
    twice = line(annotator="ada") + "\n" + line(annotator="bob", label="bad") + "\n" + line(annotator="ada")
    assert len(parse_labels(twice, "labels.jsonl")) == 3
    with pytest.raises(DataError, match=r"labels\.jsonl:2: ada labelled the same reply otherwise in line 1"):
        parse_labels(line(annotator="ada") + "\n" + line(annotator="ada", label="bad"), "labels.jsonl")
    with pytest.raises(DataError, match=r"labels\.jsonl:2: somebody without a name labelled the same reply"):
        parse_labels(line() + "\n" + line(label="bad"), "labels.jsonl")


def test_ties_count_neither_for_calibration_nor_for_the_test() -> None:
    labels = [label for k in range(8) for label in rated(str(k), ada=k % 2 == 0, bob=k % 2 == 0)]
    calibration, test = enough_labels([*labels, *rated("tied", ada=True, bob=False)], "labels.jsonl")
    assert len(calibration) + len(test) == 8
    with pytest.raises(DataError, match="0 bad labels, too few"):
        enough_labels(
            [*rated("a", ada=True), *rated("b", ada=True), *rated("c", ada=True, bob=False)], "labels"
        )
