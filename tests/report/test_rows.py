"""Every row of a run: what became of it, its texts as they are, and how the page holds them."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import ADAPTER, BASE, SIZES, sample_run

from harness.records import Answer, Kind, RunRecord, Score, ScoreInfo, SuiteInfo, SuiteRow, Trial
from harness.report import answers, rows
from harness.report.rows import OUTCOMES, outcomes, packed_rows, shown, words


def unpacked(record: RunRecord):  # type: ignore[no-untyped-def]  # what json.loads gives
    """What the page's script gets."""
    data = packed_rows(record)
    assert data is not None
    return json.loads(zlib.decompress(b64decode(data.packed)))


def became(kind: Kind, before: Score | None, after: Score) -> str:
    """What a row with these scores of the two sides is called."""
    info = ScoreInfo("check", kind, "")
    suite = SuiteInfo("suite", "", "", (SuiteRow("a", "", "", {}),), (info,), (), None)
    sides = [
        None
        if score is None
        else Trial("it", None, None, "suite", (Answer("a", "", 1, 1, 1.0),), {"check": (score,)}, 1.0, "")
        for score in (before, after)
    ]
    assert sides[1]
    return OUTCOMES[chr(outcomes(suite, info, sides[1], sides[0])[0])]


FAILED, UNJUDGED = Score(None, failure="HTTP 500"), Score(None)


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        (Kind.BINARY, Score(1.0), Score(0.0), "lost"),
        (Kind.BINARY, Score(0.0), Score(1.0), "won"),
        (Kind.BINARY, Score(1.0), Score(1.0), "both right"),
        (Kind.BINARY, Score(0.0), Score(0.0), "both wrong"),
        (Kind.GRADED, Score(0.95), Score(0.6), "lost"),  # still right, and much worse
        (Kind.GRADED, Score(0.55), Score(0.45), "lost"),  # no longer right
        (Kind.GRADED, Score(0.1), Score(0.4), "won"),  # still wrong, and much better
        (Kind.GRADED, Score(0.8), Score(0.7), "both right"),
        (Kind.GRADED, Score(0.2), Score(0.3), "both wrong"),
        (Kind.PREFERENCE, None, Score(0.0), "lost"),
        (Kind.PREFERENCE, None, Score(0.5), "both right"),
        (Kind.PREFERENCE, None, Score(1.0), "won"),
        (Kind.BINARY, FAILED, Score(1.0), "failed"),
        (Kind.BINARY, Score(1.0), FAILED, "failed"),
        (Kind.GRADED, Score(1.0), UNJUDGED, "not judged"),
        (Kind.BINARY, None, Score(0.0), "both wrong"),  # without a baseline nothing is lost
    ],
)
def test_what_became_of_a_row(kind: Kind, before: Score | None, after: Score, said: str) -> None:
    assert became(kind, before, after) == said


def test_every_row_and_every_side_is_on_the_page() -> None:
    run = sample_run(n_rows=500)
    data = unpacked(run)
    texts = data["texts"]
    for suite, block in zip(run.suites, data["suites"], strict=True):
        assert block["id"] == [row.id for row in suite.rows]
        assert [texts[at] for at in block["question"]] == [row.question for row in suite.rows]
        assert [side["label"] for side in block["sides"]] == [BASE, *(f"{ADAPTER}@{n}" for n in SIZES)]
        for side, trial in zip(block["sides"], (t for t in run.trials if t.suite == suite.name), strict=True):
            assert [texts[at] for at in side["text"]] == [answer.text for answer in trial.answers]
            for check, info in zip(side["checks"], suite.scores, strict=True):
                assert check[0] == [score.value for score in trial.scores[info.name]]
                told = [score.failure or score.reason for score in trial.scores[info.name]]
                assert [texts[at] for at in check[1]] == told


def test_a_run_too_large_for_a_page_keeps_what_was_lost_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sample_run(n_rows=200)
    whole = unpacked(run)["suites"][0]
    monkeypatch.setattr(rows, "MOST_BYTES", 12_000)
    data = packed_rows(run)
    assert data is not None
    assert len(data.packed) <= 12_000
    assert data.note.startswith("This page holds ")
    assert "other sizes" in data.note
    part = unpacked(run)["suites"][0]
    assert [set(side["text"]) == {-2} for side in part["sides"]] == [False, True, True, True, False]
    lost = [
        row
        for row, letter in zip(whole["id"], whole["sides"][-1]["outcomes"][0], strict=True)
        if letter == "l"
    ]
    assert 0 < len(part["id"]) < 200
    held = [len(block["id"]) for block in unpacked(run)["suites"]]
    by_chance = [int(0.2 * n) for n in held]
    assert f": {sum(held) - sum(by_chance)} those where the sides differ" in data.note
    assert f", {sum(by_chance)} were drawn from the rest by chance" in data.note
    assert len(set(lost) & set(part["id"])) >= min(len(lost), held[0] - by_chance[0])
    assert packed_rows(run) == data  # the same rows each time


def test_nothing_was_compared_so_there_are_no_rows() -> None:
    run = sample_run(n_rows=20)
    assert packed_rows(replace(run, trials=())) is None


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_scripts_without_spaces_are_cut_into_letters() -> None:
    assert words("東京は") == ["東", "京", "は"]
    assert words("naïve café's") == ["naïve", " ", "café", "'", "s"]
    assert words("नमस्ते दुनिया") == ["नमस्ते", " ", "दुनिया"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\x1b[31mb", "a␛[31mb"),
        ("safe\u202egnp.exe", "safe⟨U+202E⟩gnp.exe"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("half\ud800", "half⟨U+D800⟩"),
        ("one\r\ntwo\tthree", "one\ntwo\tthree"),
        (
            "👩\u200d👩\u200d👧 می\u200cخواهم",
            "👩\u200d👩\u200d👧 می\u200cخواهم",
        ),  # joiners belong to the text
    ],
)
def test_hidden_characters_are_spelled_out(text: str, told: str) -> None:
    assert shown(text) == told


def _with_texts(reference: str, answer: str) -> RunRecord:
    """The sample with one reference and one answer of the candidate to all rows of its first suite."""
    run = sample_run(n_rows=20)
    rows_of_it = tuple(replace(row, reference=reference) for row in run.suites[0].rows)
    trials = tuple(
        replace(trial, answers=tuple(replace(one, text=answer, failure=None) for one in trial.answers))
        if trial.suite == run.suites[0].name and trial.size
        else trial
        for trial in run.trials
    )
    return replace(run, suites=(replace(run.suites[0], rows=rows_of_it), *run.suites[1:]), trials=trials)


@pytest.mark.parametrize(
    ("reference", "answer", "marked"),
    [
        ("It comes on Monday.", "It comes on Monday.", ([], [])),
        ("It comes on Monday.", "It comes on Friday, maybe.", (["Monday"], ["Friday, maybe"])),
        ("Paris", "Lyon", (["Paris"], ["Lyon"])),
        ("荷物は月曜に届く", "荷物は金曜に届く", (["月"], ["金"])),
        ("", "anything", ([], ["anything"])),
    ],
)
def test_words_that_differ_are_marked_in_both_texts(
    reference: str, answer: str, marked: tuple[list[str], list[str]]
) -> None:
    row = answers.answers(_with_texts(reference, answer))[0].rows[-1]
    both = row.reference, row.cells[-1].answer
    assert (both[0].text, both[1].text) == (reference, answer)
    assert tuple([part for part, differs in one.parts if differs] for one in both) == marked
