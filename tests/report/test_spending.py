"""What a run was billed, in every report, and beside the prices of its economics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_run import ADAPTER, BASE, sample_run

from harness.records import Answer, RunRecord, SpendingLine
from harness.report.costs import spending, spending_sentence
from harness.report.html import render_html
from harness.report.markdown import plain, render_markdown
from harness.report.runjson import dump_run, load_run
from harness.report.terminal import summary

MODEL = "gpt-4o-mini-2024-07-18"
BILLS = (
    SpendingLine("training", MODEL, True, 0.3, 1, 100_000, None),
    SpendingLine("judging", "gpt-4.1", False, 0.002, 40, 9_000, 800),
    SpendingLine("answers", MODEL, False, 0.0042, 35, 14_385, 700),
    SpendingLine("answers", f"ft:{MODEL}:team::1", True, 0.01, 160, 65_000, 3_000),
)


def hosted_run(**changes: object) -> RunRecord:
    """The sample with both sides behind a service and its bills."""
    run = sample_run(n_rows=20)
    candidates = tuple(replace(candidate, model=MODEL) for candidate in run.candidates)
    return replace(run, candidates=candidates, spending=BILLS, **changes)  # type: ignore[arg-type]


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Hosted models took 0.3162 USD (answers 0.0142, judging 0.0020, training 0.3000) in this run."),
        (
            {"max_usd": 5.0, "spending": BILLS[1:2]},
            "Hosted models took 0.0020 of at most 5 USD (judging 0.0020) in this run.",
        ),
        ({"max_usd": 5.0, "spending": ()}, "Hosted models took 0.0000 of at most 5 USD in this run."),
        (
            {"rehearsal": True, "spending": BILLS[1:2]},
            "Nothing was paid. By the twin's counts of tokens the service would have taken"
            " 0.0020 USD (judging 0.0020).",
        ),
    ],
)
def test_one_sentence_stands_in_page_markdown_and_terminal(changes: dict[str, object], sentence: str) -> None:
    run = replace(hosted_run(), **changes)  # type: ignore[arg-type]
    assert spending_sentence(run) == sentence
    assert sentence.replace("'", "&#39;") in render_html(run)
    assert plain(sentence) in render_markdown(run)
    assert sentence in squeezed(summary(run, 80, colour=False))


def test_a_run_without_hosted_models_says_nothing_of_bills() -> None:
    run = sample_run(n_rows=20)
    assert spending(run) is None
    assert spending_sentence(run) == ""
    for text in (render_html(run), render_markdown(run), summary(run, 80, colour=False)):
        assert "Hosted models" not in text
        assert "illed" not in text


def test_the_table_has_a_line_for_each_purpose_and_model_and_their_total() -> None:
    block = spending(hosted_run())
    assert block is not None
    assert [list(row) for row in block.table.rows] == [
        ["answers", f"ft:{MODEL}:team::1", "160", "65.0k", "3,000", "$0.010"],
        ["answers", MODEL, "35", "14.4k", "700", "$0.0042"],
        ["judging", "gpt-4.1", "40", "9,000", "800", "$0.0020"],
        ["training", MODEL, "1", "100.0k", "–", "$0.30"],
        ["total", "", "236", "188.4k", "4,500", "$0.32"],
    ]
    html, markdown = render_html(hosted_run()), render_markdown(hosted_run())
    for text in ("Billed in this run", "$0.0042", "188.4k"):
        assert text in html
        assert plain(text) in markdown
    assert "What the service would have billed" in render_html(hosted_run(rehearsal=True))


def priced(answer: Answer, read_usd_per_mtok: float, written_usd_per_mtok: float) -> float:
    read, written = answer.prompt_tokens or 0, answer.completion_tokens or 0
    return (read * read_usd_per_mtok + written * written_usd_per_mtok) / 1e6


def test_the_economics_prices_of_measured_tokens_stand_beside_the_bill() -> None:
    run = hosted_run()
    answers = [a for t in run.trials for a in t.answers if a.failure is None and t.candidate == BASE]
    tuned = [a for t in run.trials for a in t.answers if a.failure is None and t.candidate == ADAPTER]
    expected_usd = sum(priced(a, 0.15, 0.60) for a in answers)
    expected_usd += sum(priced(a, 0.30, 1.20) for a in tuned)
    block = spending(run)
    assert block is not None
    line, why = block.reconciliation
    n = len(answers) + len(tuned)
    assert line == (
        f"At the prices of the economics, the measured tokens of {n} answers cost ${expected_usd:.3f}. "
        f"The service billed $0.014 for 195 calls, ${expected_usd - 0.0142:.3f} less."
    )
    for reason in ("store", "batch", "failed"):
        assert reason in why
    assert line in render_html(run).replace("&#39;", "'")
    assert plain(line) in render_markdown(run)


def test_only_models_with_both_a_price_and_a_bill_are_compared() -> None:
    local_baseline = replace(hosted_run(), candidates=sample_run(n_rows=20).candidates)
    block = spending(local_baseline)
    assert block is not None
    assert block.reconciliation == ()
    unpriced = spending(hosted_run(economics=()))
    assert unpriced is not None
    assert unpriced.reconciliation == ()


def test_batched_answers_are_counted_beside_their_price() -> None:
    run = hosted_run()
    trials = tuple(
        replace(trial, answers=tuple(replace(answer, batched=True) for answer in trial.answers))
        for trial in run.trials
    )
    block = spending(replace(run, trials=trials))
    assert block is not None
    assert "of them batched)" in block.reconciliation[0]


def test_bills_come_back_from_the_record_as_they_were() -> None:
    run = hosted_run(max_usd=1.5)
    assert load_run(dump_run(run), "run.json") == run
