"""The file of a reference run: small, without words, and refused where it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_run import ADAPTER, sample_run

from harness.errors import UsageError
from harness.records import Decision, HeldoutUse, RowSet, RunRecord, Verdict
from harness.report.reference import dump_reference, head_of, load_reference, reference_lines, reference_of
from harness.report.runjson import dump_run

EXAMPLE = Path(__file__).parents[2] / "reports" / "example" / "run.json"


def used(record: RunRecord) -> RunRecord:
    """With as many uses and sets of rows as a suite's record holds."""
    hashes = tuple(f"{number:010x}" for number in range(1000))
    sets = tuple(RowSet(f"set {number}", 1000, hashes) for number in range(20))
    uses = tuple(
        HeldoutUse(
            f"{number:016x}", "qlora-r16", "f" * 64, f"set {number % 20}", Verdict.NO_GO, run="2026-11-21"
        )
        for number in range(500)
    )
    return replace(
        record, suites=tuple(replace(suite, history=uses, row_sets=sets) for suite in record.suites)
    )


def test_a_thousand_rows_take_less_than_200_kb_and_come_back_as_they_were(tmp_path: Path) -> None:
    record = used(sample_run(1000))
    support = replace(record, suites=record.suites[:1])
    found = reference_of(support, ADAPTER, 400)
    (tmp_path / "reference.json").write_text(dump_reference(found), encoding="utf-8")
    assert (tmp_path / "reference.json").stat().st_size < 200_000
    assert load_reference(tmp_path / "reference.json", ()) == found
    answers = [
        a.text
        for t in record.trials
        for a in t.answers
        if (t.label, t.suite) == (f"{ADAPTER}@400", "support")
    ]
    assert not any(text in dump_reference(found) for text in answers if len(text) > 20)
    assert [len(suite.history) for suite in head_of(tmp_path / "reference.json").suites] == [10]


def test_a_record_of_a_run_serves_too() -> None:
    found = load_reference(EXAMPLE, ())
    assert (found.candidate, found.blessed) == ("qlora-r16", "")
    assert all(len(trial.answers) == len(suite.rows) for suite in found.suites for trial in suite.trials)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reference": 2}, "version 2; this version of the harness reads 1"),
        ({"suites": 5}, "does not fit a reference run at suites"),
        ({"suites": None}, "does not fit a reference run at suites"),
        ("cut", "this is not JSON"),
        ("short", "its columns are not as long as its 150 rows"),
        ("list", "is a list"),
    ],
)
def test_a_file_that_is_damaged_is_refused_with_its_place(tmp_path: Path, change: object, says: str) -> None:
    text = dump_reference(reference_of(sample_run(), ADAPTER, 400))
    plain = json.loads(text)
    if isinstance(change, dict):
        text = json.dumps(plain | change)
    elif change == "cut":
        text = text[: len(text) // 2]
    elif change == "short":
        plain["suites"][1]["rows"].append("one more")
        plain["suites"][1]["rows"] = plain["suites"][1]["rows"][:150]
        plain["suites"][1]["trials"][0]["answers"].pop()
        text = json.dumps(plain)
    else:
        text = json.dumps([plain])
    file = tmp_path / "reference.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_reference(file, ())
    message = str(caught.value)
    assert message.startswith(f"--against={file}: ")
    assert "hint: " in message
    assert change == "list" or says in message


def test_a_rehearsal_and_a_choice_of_several_are_refused(tmp_path: Path) -> None:
    record, file = sample_run(), tmp_path / "run.json"
    several = (*record.decisions, Decision("another", None, Verdict.GO, ()))
    trials = (*record.trials, replace(record.trials[0], candidate="another"))
    for changed, says in (
        (replace(record, rehearsal=True), "is a rehearsal"),
        (replace(record, decisions=several, trials=trials), "--bless the one that runs are held to"),
        (replace(record, decisions=()), "decides about no candidate"),
    ):
        file.write_text(dump_run(changed), encoding="utf-8")
        if "--bless the one" in says and record.decisions[0].verdict is not Verdict.GO:
            assert load_reference(file, ("qlora-r16",)).candidate == "qlora-r16"
            continue
        with pytest.raises(UsageError, match=says):
            load_reference(file, ())


def test_a_regression_gate_says_which_loss_it_shows() -> None:
    record = replace(sample_run(), gate_policy="regression")
    (decision,) = record.decisions
    gates = tuple(
        replace(gate, smallest_loss=0.081) if gate.role == "guard" else gate for gate in record.gates
    )
    (line,) = reference_lines(replace(record, gates=gates))
    assert f"of {decision.candidate}; with these rows it shows, 4 times in 5, a true loss of so" in line
    assert " points against smollm2-135m: " in line
    assert " 8.1" in line
    assert not list(reference_lines(sample_run()))
