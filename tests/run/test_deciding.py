"""run -> label -> decide: gates are corrected, the rest of the record stays, and nothing is written over."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_run import BASE, GOOD, TUNED, N, lines, parsed, run, text_of, without_obstacles

from harness.cli.main import main
from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.errors import DataError, UsageError
from harness.records import (
    CandidateInfo,
    Comparison,
    Kind,
    LabelFile,
    Outcome,
    Role,
    RunRecord,
    Score,
    Verdict,
)
from harness.report.html import write_report
from harness.report.runjson import dump_run, load_run
from harness.run.deciding import decide_with_labels
from harness.run.judge_notes import transfer_note
from harness.scoring.run_labels import answer_digest

FILE = LabelFile("labels.jsonl", "ab" * 32, 120)
EXAMPLE = Path(__file__).parents[2] / "reports" / "example"


def decided(record: RunRecord, labels: list[dict[str, object]], **more: object) -> RunRecord:
    return decide_with_labels(record, parsed(labels), [FILE], "harness decide", **more)  # type: ignore[arg-type]


def test_an_advisory_gate_decides_once_it_is_corrected() -> None:
    record = without_obstacles(run())
    (before,) = record.decisions
    assert before.verdict is Verdict.INCONCLUSIVE
    assert record.gates[0].state == "advisory"
    found = decided(record, lines(record))
    gate = found.gates[0]
    assert gate.state == "gated"
    assert gate.naive == record.gates[0].comparison
    assert gate.correction is not None
    assert (gate.correction.n_labels, gate.correction.annotators) == (60, {"ada": 120})
    assert gate.comparison is not None
    truth = float(np.mean(GOOD[TUNED] - GOOD[BASE]))
    assert gate.comparison.difference == pytest.approx(truth, abs=0.03)
    assert found.gates[1] == record.gates[1]  # no judge
    assert found.decisions[0].verdict is (
        Verdict.GO if gate.comparison.outcome is Outcome.SHOWN else Verdict.INCONCLUSIVE
    )


def test_a_judge_that_flatters_is_overruled() -> None:
    record = without_obstacles(run(kind=0.4))
    worse = {BASE: GOOD[BASE], TUNED: np.where(np.arange(N) % 7 < 3, 0.0, GOOD[BASE])}
    naive = record.gates[0].comparison
    assert naive is not None
    assert naive.outcome is Outcome.SHOWN
    found = decided(record, lines(record, good=worse))
    assert found.decisions[0].verdict is not Verdict.GO


def test_what_rests_on_no_gate_is_kept_and_said_once() -> None:
    record = run()
    (decision,) = decided(record, lines(record)).decisions
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.obstacles == ("a row leaks.",)
    for said in ("a row leaks.", "no gate compares tone."):
        assert decision.reasons.count(said) == 1
    assert decision.notes == ("1 answer is cut off.",)
    assert not [reason for reason in decision.reasons if "no target gate" in reason or "advisory" in reason]


def test_records_that_kept_all_reasons_together_keep_theirs() -> None:
    record = run()
    old = replace(record, decisions=tuple(replace(d, obstacles=None, remarks=()) for d in record.decisions))
    assert decided(old, lines(old)).decisions[0] == decided(record, lines(record)).decisions[0]


def test_several_candidates_hold_among_all_of_them() -> None:
    record = without_obstacles(run(("tuned", "other"), kind=0.0))
    found = decided(record, lines(record))
    assert {d.candidates_judged for d in found.decisions} == {2}
    go = [d for d in found.decisions if d.level is not None]
    assert go
    assert all(d.p_value is not None and d.p_value > 0.0 for d in go)
    assert "(Holm)" in go[0].reasons[0]


def test_candidates_that_the_run_left_out_still_count() -> None:
    record = without_obstacles(run(kind=0.0))
    beside = replace(record, decisions=(replace(record.decisions[0], candidates_judged=3),))
    (found,) = decided(beside, lines(record)).decisions
    assert (found.verdict, found.candidates_judged) == ("GO", 3)
    assert found.level == pytest.approx(0.05 / 3)
    assert "3 candidates, 1 judged today and 2 beside it before" in found.reasons[0]


def test_a_candidate_without_labels_keeps_its_gates() -> None:
    record = without_obstacles(run(("tuned", "other")))
    found = decided(record, [line for line in lines(record) if line["side"] != "other@400"])
    assert [gate.state for gate in found.gates] == ["gated", "gated", "advisory", "gated"]


def test_of_several_seeds_a_row_counts_where_all_are_labelled() -> None:
    record = without_obstacles(run(seeds=2))
    labels = [line for line in lines(record) if (line["row"], line["seed"]) != ("row-0", 1)]
    gate = decided(record, labels).gates[0]
    assert gate.correction is not None
    assert (gate.correction.n_labels, gate.correction.unpaired) == (59, ("row-0",))
    assert gate.comparison is not None
    assert len(gate.comparison.seed_differences) == 2
    with pytest.raises(DataError, match="0 rows have labels of every answer, at all seeds"):
        decided(record, [line for line in lines(record) if line["seed"] != 1])


def test_a_slice_is_corrected_by_the_labels_of_its_rows() -> None:
    record = run()
    first = record.gates[0]
    assert first.comparison is not None
    sliced = replace(first, comparison=replace(first.comparison, rows="language=en"))
    record = replace(record, gates=(sliced, *record.gates[1:]))
    gate = decided(record, lines(record)).gates[0]  # rows of an even number are English
    assert gate.correction is not None
    assert (gate.correction.n, gate.correction.n_labels) == (60, 60)


def test_rows_that_were_drawn_and_not_labelled_are_told() -> None:
    record = run()
    half = decided(record, lines(record, range(0, 60, 2))).gates[0].comparison
    assert half is not None
    assert "the labelled rows stand for 60 rows, not 120" in half.reason
    whole = decided(record, lines(record)).gates[0].comparison
    assert whole is not None
    assert "stand for" not in whole.reason


def _with(record: RunRecord, kind: Kind, comparison: Comparison, role: Role) -> RunRecord:
    """The record whose first gate makes another claim."""
    (suite,) = record.suites
    scores = (replace(suite.scores[0], kind=kind), *suite.scores[1:])
    gate = replace(record.gates[0], role=role, comparison=comparison)
    return replace(record, suites=(replace(suite, scores=scores),), gates=(gate, *record.gates[1:]))


def test_a_judge_that_was_trusted_with_labels_from_elsewhere_is_held_to_the_claim() -> None:
    record = run()
    naive = record.gates[0].comparison
    assert naive is not None
    note = transfer_note("support", "summary")
    tested = _with(record, Kind.GRADED, replace(naive, bound=-0.06, written=-0.1), Role.GUARD)
    tested = replace(tested, decisions=(replace(record.decisions[0], notes=(note, "of one family.")),))
    found = decided(tested, lines(tested))
    gate = found.gates[0]
    assert gate.comparison is not None
    assert (gate.comparison.bound, gate.comparison.claimed, gate.why) == (-0.1, -0.1, "")
    assert "above -10.0 points" in gate.comparison.reason
    assert found.decisions[0].notes == ("of one family.",)


def test_a_bar_is_decided_by_labels_of_the_candidate_alone() -> None:
    record = run()
    vector = recorded_vector(record.suites[0], record.trials[1], "summary")
    record = _with(record, Kind.GRADED, compare(vector, 0.6), Role.THRESHOLD)
    labels = [line for line in lines(record) if line["side"] == "tuned@400"]
    found = decided(record, labels).gates[0].comparison
    assert found is not None
    assert found.candidate_mean == pytest.approx(float(GOOD[TUNED].mean()), abs=0.03)
    assert (found.baseline_mean, found.outcome) == (0.6, Outcome.SHOWN)


def test_preferences_are_decided_by_what_people_preferred() -> None:
    record = run()
    wins = np.where(GOOD[TUNED] == GOOD[BASE], 0.5, GOOD[TUNED])
    judge = tuple(
        Score(1.0 if at % 5 else float(value)) for at, value in enumerate(wins)
    )  # likes the candidate
    tuned = replace(record.trials[1], scores={**record.trials[1].scores, "summary": judge})
    record = replace(record, trials=(record.trials[0], tuned))
    vector = replace(recorded_vector(record.suites[0], tuned, "summary"), kind=Kind.PREFERENCE)
    naive = compare(vector, 0.5)
    record = _with(record, Kind.PREFERENCE, naive, Role.TARGET)
    words = {0.0: "second", 0.5: "tie", 1.0: "first"}
    labels = [
        {**line, "against": BASE, "label": words[float(wins[int(str(line["row"])[4:])])]}
        for line in lines(record)
        if line["side"] == "tuned@400"
    ]
    gate = decided(record, labels).gates[0]
    assert gate.comparison is not None
    assert naive.difference is not None
    assert naive.difference > 0.35
    assert gate.comparison.difference == pytest.approx(float(wins.mean()) - 0.5, abs=0.04)
    assert gate.correction is not None
    assert gate.correction.n_labels == 60


def test_a_baseline_that_was_drawn_for_each_candidate_has_its_own_probabilities() -> None:
    record = without_obstacles(run(("tuned", "other")))
    record = replace(
        record,
        candidates=tuple(
            CandidateInfo(name, "qlora", 4, {}, "m", "d", BASE) for name in ("tuned", "other", BASE)
        ),
    )
    mine = [line for line in lines(record) if line["side"] != "other@400"]
    theirs = [
        line for line in lines(record, range(0, N, 3), probability=1 / 3) if line["side"] != "tuned@400"
    ]
    labels = [*parsed(mine, "tuned.jsonl"), *parsed(theirs, "other.jsonl")]
    found = decide_with_labels(record, labels, [FILE], "harness decide")
    corrections = [gate.correction for gate in found.gates if gate.correction is not None]
    assert [one.n_labels for one in corrections] == [60, 40]
    assert [one.unpaired for one in corrections] == [(), ()]  # each has its own draw


def test_rows_that_were_skipped_count_against_a_claim() -> None:
    record = without_obstacles(run(kind=0.0))
    labels = lines(record)
    spoilt = {f"row-{at}" for at in range(N) if at % 7 > 3}
    skipped = [{**line, "label": "skipped"} if line["row"] in spoilt else line for line in labels]
    gate, whole = (decided(record, each).gates[0] for each in (skipped, labels))
    assert gate.correction is not None
    assert gate.correction.unpaired == tuple(f"row-{at}" for at in range(0, N, 2) if at % 7 > 3)
    assert gate.comparison is not None
    assert whole.comparison is not None
    assert (gate.comparison.outcome, whole.comparison.outcome) == (Outcome.INCONCLUSIVE, Outcome.SHOWN)
    assert "rows that lack a label of some answer count against the claim" in gate.comparison.reason
    asked = [line for line in labels if line["row"] in spoilt]
    asked = [{**line, "annotator": "ben"} for line in asked]  # someone else could say
    again = decided(record, [*skipped, *asked]).gates[0]
    assert again.comparison == whole.comparison


def test_a_lenient_person_who_labelled_one_side_lifts_nobody() -> None:
    record = without_obstacles(run(("tuned", "other"), kind=0.0))
    ada = [line for line in lines(record) if line["side"] != "other@400"]
    kind = {BASE: np.ones(N), TUNED: np.ones(N)}
    kind[TUNED][:7] = 0.0
    ben = [line for line in lines(record, annotator="ben", good=kind) if line["side"] != "tuned@400"]
    (alone, both) = (decided(record, each).gates[0].comparison for each in (ada, [*ada, *ben]))
    assert alone is not None
    assert both is not None
    assert both.difference == pytest.approx(alone.difference)
    one_side_each = [
        *(line for line in ada if line["side"] == "tuned@400"),
        *(line for line in ben if line["side"] == BASE),
    ]
    with pytest.raises(DataError, match="0 rows have labels"):
        decided(record, one_side_each)


def test_labelling_until_it_is_go_is_judged_at_falling_levels() -> None:
    record = run()
    others = [[replace(FILE, digest="01" * 32)], [replace(FILE, digest="02" * 32)]]
    first = decided(record, lines(record), earlier=[[FILE], *others]).gates[0].comparison
    third = decided(record, lines(record), earlier=others).gates[0].comparison
    assert first is not None
    assert third is not None
    assert first.alpha == 0.05
    assert third.alpha == pytest.approx(0.0025)
    assert "was decided with other labels 2 times before" in third.reason


@pytest.mark.parametrize("drops", [False, True])
def test_a_drop_that_labels_show_stands_in_the_way_though_no_gate_compares_it(drops: bool) -> None:
    record = run()
    infos = tuple(CandidateInfo(name, "", 0, {}, "m", "d", BASE) for name in (TUNED, BASE))
    gates = record.gates[1:]  # of the format; no gate compares the judge's score
    decisions = (decide(TUNED, 400, gates, seeds=(0,)),)
    record = replace(record, candidates=infos, gates=gates, decisions=decisions)
    good = {BASE: np.ones(N), TUNED: (np.arange(N) % 3 > 0) * 1.0 if drops else np.ones(N)}
    good[TUNED][3] = good[BASE][4] = 0.0
    labels = [*lines(record), *lines(record, good=good)]
    for label in labels[: len(labels) // 2]:
        label["score"] = "format"
    (found,) = decided(record, labels).decisions
    said = "summary (suite support), which no gate compares with the baseline, by labels: "
    assert [each.startswith(f"score {said}-3") for each in found.obstacles or ()] == [True] * drops
    assert [each.startswith(said) for each in found.remarks] == [True] * (not drops)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"20 rows have labels of every answer .* at least 25") as error:
        decided(run(), lines(run(), range(20)))
    assert error.value.where == "labels.jsonl"


def test_labels_that_no_gate_rests_on_are_refused() -> None:
    record = replace(run(), gates=run().gates[1:])
    with pytest.raises(
        UsageError, match=r"no gate of run .* by labels of support / summary of prompt, tuned@400 alone"
    ):
        decided(record, lines(record))


def test_labels_of_one_side_are_refused_with_the_other() -> None:
    labels = [line for line in lines(run()) if line["side"] == "tuned@400"]
    with pytest.raises(UsageError, match="compares: support / summary of tuned@400 against prompt"):
        decided(run(), labels)


def test_a_decided_run_is_not_decided_again() -> None:
    record = decided(run(), lines(run()))
    assert record.id == "20261128-101500-tuned-decided"
    with pytest.raises(UsageError, match="decide 20261128-101500-tuned, the run that it came from"):
        decided(record, lines(run()))


def test_the_command_writes_a_folder_of_its_own_and_leaves_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = without_obstacles(run())
    write_report(record, tmp_path / record.id)
    before = (tmp_path / record.id / "run.json").read_bytes()
    labels = tmp_path / "ada.jsonl"
    labels.write_text(text_of(lines(record)), "utf-8")
    status = main(["decide", str(tmp_path / record.id), "--labels", str(labels)])
    shown = capsys.readouterr().out
    written = tmp_path / f"{record.id}-decided"
    again = load_run((written / "run.json").read_text("utf-8"), "run.json")
    assert status == int(again.decisions[0].verdict is not Verdict.GO)
    assert (tmp_path / record.id / "run.json").read_bytes() == before
    assert [(file.name, file.n_labels) for file in again.label_files] == [("ada.jsonl", 120)]
    assert "summary: judge alone: +" in shown
    page, markdown = ((written / name).read_text("utf-8") for name in ("report.html", "report.md"))
    for text in (page, markdown):
        assert "judge and labels" in text
        assert "60 of 120" in text
    assert load_run(dump_run(again), "run.json") == again
    main(["decide", str(tmp_path / record.id), "--labels", str(labels)])
    assert (tmp_path / f"{record.id}-decided-2" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing", "--labels", "labels.jsonl"], "does not exist"),
        (["{run}", "--labels", "missing.jsonl"], "there is no such file"),
        (["{run}", "--labels", "{labels}", "{labels}"], "holds the same labels as another file"),
        (["{run}", "--labels", "{run}"], "it is a folder"),
    ],
)
def test_wrong_arguments_are_told_on_one_screen(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run()
    write_report(record, tmp_path / "run")
    labels = tmp_path / "labels.jsonl"
    labels.write_text(text_of(lines(record)), "utf-8")
    given = [one.format(run=tmp_path / "run", labels=labels) for one in arguments]
    assert main(["decide", *given]) in (1, 2)
    said = capsys.readouterr().err
    assert problem in said
    assert len(said.splitlines()) < 5


def _words(answer: str) -> set[str]:
    try:
        return set(re.findall(r"\w+", str(json.loads(answer)["summary"]).lower()))
    except (ValueError, KeyError, TypeError):
        return set()


def test_the_example_is_decided_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels by a rule, from the references."""
    record = load_run((EXAMPLE / "run.json").read_text("utf-8"), "run.json")
    suite = next(suite for suite in record.suites if suite.name == "support")
    # a part of it: pages take their time
    suite = replace(suite, rows=suite.rows[:80])
    trials = tuple(
        replace(t, answers=t.answers[:80], scores={name: each[:80] for name, each in t.scores.items()})
        for t in record.trials
        if t.suite == "support" and t.size in (None, 400)
    )
    asked = {row.id: _words(row.reference) for row in suite.rows[::2]}
    labels = [
        {
            "run": record.id,
            "suite": "support",
            "score": "summary",
            "row": answer.row_id,
            "side": trial.label,
            "seed": trial.seed,
            "answer": answer_digest(answer.text),
            "annotator": "rule",
            "label": "good"
            if len(said & asked[answer.row_id]) > 0.4 * len(said | asked[answer.row_id])
            else "bad",
            "probability": 0.5,
        }
        for trial in trials
        for answer in trial.answers
        if answer.row_id in asked
        for said in [_words(answer.text)]
    ]
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "run.json").write_text(
        dump_run(replace(record, suites=(suite,), trials=trials)), "utf-8"
    )
    (tmp_path / "labels.jsonl").write_text(text_of(labels), "utf-8")
    had_torch = "torch" in sys.modules  # of another test
    for module in ("transformers", "openai"):
        monkeypatch.setitem(sys.modules, module, None)  # to import it is an error
    main(["decide", str(tmp_path / "example"), "--labels", str(tmp_path / "labels.jsonl")])
    assert ("torch" in sys.modules) == had_torch
    (page,) = tmp_path.glob("*-decided/report.html")
    assert "decides, corrected" in page.read_text("utf-8")
    found = load_run((page.parent / "run.json").read_text("utf-8"), "run.json")
    gate = next(gate for gate in found.gates if gate.correction is not None)
    assert gate.naive is not None
    assert gate.comparison is not None
    assert float(gate.naive.difference or 0.0) > 0.1  # what the judge alone says
    assert float(gate.comparison.high or 1.0) < 0.2
    assert found.economics == record.economics
    assert "gets GO" not in page.read_text("utf-8")  # a forecast by the judge's spread would be none
