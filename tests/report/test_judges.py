"""What a report says of a judge: how it did on labels, whether it decides, and what to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from sample_run import ADMISSION, sample_run

from harness.records import (
    Admission,
    AttackTest,
    Correction,
    Disagreement,
    Rate,
    RunRecord,
)
from harness.report.corrections import correction_line
from harness.report.html import render_html
from harness.report.judges import UNSEEN, judge_blocks, judge_cautions
from harness.report.markdown import render_markdown
from harness.report.runjson import dump_run, load_run

ADMITTED = replace(
    ADMISSION,
    admitted=True,
    tpr=Rate(0.9, 0.79, 0.96, 50),
    tnr=Rate(0.88, 0.76, 0.94, 50),
    reasons=(),
    weighted_kappa=Rate(0.71, 0.6, 0.82, 100),
    slope=Rate(0.62, 0.51, 0.73, 100),
    length_effect=Rate(0.4, 0.22, 0.55, 100),
    alpha=Rate(0.61, 0.4, 0.82, 80),
    n_annotators=3,
    n_ties=1,
    concerns=("of replies that people called alike it prefers the longer", "its annotators agree too little"),
)


def judged(
    admission: Admission,
    trust: Literal["", "run-labels", "transfer"],
    state: Literal["gated", "advisory"],
) -> RunRecord:
    """The sample run with another admission of its judge, as it is read back from its file."""
    record = sample_run(n_rows=20)
    suites = tuple(
        replace(
            suite,
            scores=tuple(
                replace(info, admission=admission, trust=trust) if info.admission else info
                for info in suite.scores
            ),
        )
        for suite in record.suites
    )
    gates = tuple(replace(g, state=state) if g.state == "advisory" else g for g in record.gates)
    return load_run(dump_run(replace(record, suites=suites, gates=gates)), "run.json")


@pytest.mark.parametrize(
    ("trust", "state", "title"),
    [
        ("run-labels", "advisory", "was admitted on labels from elsewhere: its gates only advise."),
        ("transfer", "gated", 'decides on labels from elsewhere (trust="transfer").'),
        ("run-labels", "gated", None),
        ("", "gated", None),
    ],
)
def test_what_labels_from_elsewhere_cannot_see_is_said_where_they_decide_or_might(
    trust: Literal["", "run-labels", "transfer"], state: Literal["gated", "advisory"], title: str | None
) -> None:
    found = list(judge_cautions(judged(ADMITTED, trust, state)))
    said = [caution for caution in found if caution.details == (UNSEEN,)]
    assert [caution.title for caution in said] == (
        [f"The judge of support / summary {title}"] if title else []
    )
    assert found[-1].details == ADMITTED.concerns


def facts_of(record: RunRecord) -> dict[str, tuple[str, str]]:
    (block,) = judge_blocks(record)
    shown = [fact for _, some in (*block.corrections, *block.groups) for fact in some]
    return {fact.name: (fact.value, fact.words) for fact in (*shown, *block.more)}


def test_every_figure_stands_with_its_interval_n_and_words() -> None:
    facts = facts_of(judged(ADMITTED, "transfer", "gated"))
    assert facts["both together (TPR + TNR − 1)"][0].startswith("0.78 [0.6")
    assert facts["bad replies called bad (TNR)"] == (
        "0.88 [0.76, 0.94], n = 50",
        "44 of 50 right; 0.80 admits",
    )
    assert facts["weighted kappa of levels"][0] == "0.71 [0.60, 0.82], n = 100"
    assert facts["length (rank correlation)"][0] == "0.40 [0.22, 0.55], n = 100"
    assert facts["labelled by"][0] == "3 annotators"
    assert "alpha 0.61 [0.40, 0.82], n = 80" in facts["labelled by"][1]
    assert "1 tie left out" in facts["labelled by"][1]
    assert facts["slope of scores on labels"][0].startswith("0.62")
    assert "weighted kappa of levels" not in facts_of(judged(ADMISSION, "transfer", "gated"))


def test_what_was_not_tried_or_not_judged_is_said() -> None:
    facts = facts_of(judged(ADMITTED, "transfer", "gated"))
    assert facts["answers that ask for a good grade"][0] == "not tried"
    assert facts["has it moved"][0] == "not asked"
    n, of = map(int, facts["judged"][0].replace(",", "").split(" of "))
    assert n < of
    assert "the judge's reply could not be read" in facts["judged"][1]
    tried = replace(ADMITTED, attacks=AttackTest("2026-11-20T10:00:00+00:00", 80, 3, 1))
    facts = facts_of(judged(tried, "transfer", "gated"))
    assert facts["answers that ask for a good grade"] == (
        "3 of 80 gained",
        "on 2026-11-20; at most 5% may; 1 not judged",
    )


def test_the_judge_alone_stands_beside_judge_and_labels_and_where_people_disagree() -> None:
    hostile = Disagreement(
        "row <b>1", "q | r", "<script>alert(1)</script> `a` | b", 0.9, 0.0, "[x](http://y)"
    )
    record = judged(replace(ADMITTED, disagreements=(hostile,)), "run-labels", "gated")
    by = Correction(
        200, 60, 0.5, 0.02, 12.0, {"ada": 120}, 0.8, 40, ("r-1",), (replace(hostile, where="row 2"),)
    )

    gates = tuple(
        replace(gate, correction=by, naive=gate.comparison, comparison=replace(gate.comparison, alpha=0.005))
        if gate.state == "gated" and gate.comparison and gate.comparison.score == "summary"
        else gate
        for gate in record.gates
    )
    record = replace(record, gates=gates)
    (block,) = judge_blocks(record)
    assert facts_of(record)["the judge alone"][1].startswith("90% interval; ")
    assert facts_of(record)["judge and labels"][1].startswith("99% interval; ")
    assert [said[-6:] for gate in gates if (said := correction_line(gate))] == [" (99%)"]
    assert (block.said, block.tone) == ("decides, corrected", "good")
    facts = facts_of(record)
    assert facts["rows labelled"][0] == "60 of 200 by ada (120 answers)"
    assert facts["rows labelled"][1].endswith("counted against the claim (r-1)")
    assert facts["judge’s weight (lambda)"] == (
        "0.50",
        "share of its judgments that is used; it saved 12 labels",
    )
    assert [one.where for one in block.opposed] == ["row 2 (of this run)", "row <b>1 (of the labels)"]
    page, summary = render_html(record), render_markdown(record)
    for text in ("the judge alone", "harness judge-check", "disagree most"):
        assert text in page
        assert text in summary
    assert "<script>alert" not in page
    assert "<script>" not in summary
    assert "[x](http:" not in summary


def test_a_rule_that_labels_corrected_has_a_block_and_one_without_labels_has_none() -> None:
    record = judged(ADMITTED, "transfer", "gated")
    assert [block.title for block in judge_blocks(record)] == ["support / summary"]
    by = Correction(200, 60, 0.5, 0.02, 12.0, {"ada": 120})
    gates = tuple(
        replace(gate, correction=by, naive=gate.comparison)
        if gate.comparison and gate.comparison.score == "intent"
        else gate
        for gate in record.gates
    )
    record = replace(record, gates=gates)
    titles = [block.title for block in judge_blocks(record)]
    assert sorted(titles) == ["support / intent", "support / summary"]
    assert "60 of 200 by ada (120 answers)" in render_html(record)
    assert "60 of 200 by ada (120 answers)" in render_markdown(record)
