"""What changed between two runs: what is comparable is set side by side, the rest is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import sample_run

from harness.cli.main import main
from harness.errors import UsageError
from harness.records import RunRecord, Score, Verdict
from harness.report.html import write_report
from harness.report.run_changes import run_changes

BEFORE = sample_run(n_rows=20)


def _later(**changes: object) -> RunRecord:
    return replace(BEFORE, id="later", **changes)  # type: ignore[arg-type]


def test_rows_that_flipped_are_counted_and_shown() -> None:
    trial = next(t for t in BEFORE.trials if (t.suite, t.size) == ("retention", 400))
    values = trial.scores["exact"]
    right = next(place for place, one in enumerate(values) if one.value == 1)
    flipped = tuple(Score(0.0, "wrong now") if at == right else one for at, one in enumerate(values))
    worse = replace(trial, scores={"exact": flipped})
    now = _later(trials=tuple(worse if one is trial else one for one in BEFORE.trials))
    flips = {block.title: block for block in run_changes(BEFORE, now).flips}
    block = flips["retention / exact, qlora-r16@400"]
    assert (block.n, block.n_lost, block.n_gained) == (20, 1, 0)
    assert block.lost[0].row == trial.answers[right].row_id
    assert flips["support / intent, qlora-r16@400"].n_lost == 0


def test_a_candidate_of_another_name_is_compared_with_the_one_before() -> None:
    renamed = tuple(replace(t, candidate="qlora-r8") if t.size else t for t in BEFORE.trials)
    decision = replace(BEFORE.decisions[0], candidate="qlora-r8", verdict=Verdict.GO)
    gates = tuple(replace(gate, candidate="qlora-r8") for gate in BEFORE.gates)
    found = run_changes(BEFORE, _later(trials=renamed, decisions=(decision,), gates=gates))
    ((candidate, was, _, now, tone),) = found.verdicts
    assert (candidate, now, tone) == ("qlora-r16@400 → qlora-r8@400", "GO", "good")
    assert was == BEFORE.decisions[0].verdict.value
    assert all("–" not in row[2] and "–" not in row[4] for row in found.gates.rows)
    assert any("qlora-r16@400 → qlora-r8@400" in block.title for block in found.flips)


def test_rows_that_are_not_the_same_are_refused_with_what_differs() -> None:
    def changed(n: int) -> tuple[object, ...]:
        suites = []
        for place, suite in enumerate(BEFORE.suites):
            rows = tuple(replace(row, question="another") for row in suite.rows[:3]) + suite.rows[3:]
            suites.append(replace(suite, rows=rows) if place < n else suite)
        return tuple(suites)

    found = run_changes(BEFORE, _later(suites=changed(1)))
    assert any(
        "suite support: its held-out rows are not the same (3 of 20" in one for one in found.not_compared
    )
    assert {block.title.partition(" ")[0] for block in found.flips} == {"retention"}
    with pytest.raises(UsageError, match=r"(?s)cannot be compared.*suite support.*suite retention.*hint"):
        run_changes(BEFORE, _later(suites=changed(2)))


def test_a_score_that_is_made_in_another_way_is_not_compared() -> None:
    support, retention = BEFORE.suites
    (first, *others) = support.scores
    suite = replace(support, scores=(replace(first, description="another check"), *others))
    found = run_changes(BEFORE, _later(suites=(suite, retention)))
    assert "score support / valid: it is made in another way" in found.not_compared
    assert not any("support / valid" in block.title for block in found.flips)


def test_the_command_writes_a_page_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(BEFORE, tmp_path / "one")
    write_report(_later(), tmp_path / "two")
    assert main(["report", "--compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "two" / "compare.html")
    assert "Rows that flipped" in (tmp_path / "two" / "compare.html").read_text("utf-8")
    assert "# What changed from" in (tmp_path / "two" / "compare.md").read_text("utf-8")
    assert main(["report"]) != 0
