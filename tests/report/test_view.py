from __future__ import annotations

from dataclasses import replace

from sample_run import ADAPTER, ADMISSION, BASE, SIZES, sample_run

from harness.records import Comparison, Kind, Outcome, Part, Score, ScoreInfo, Trial, Verdict
from harness.report import numbers
from harness.report.answers import WORST_ROWS
from harness.report.comparisons import plot, reach_of
from harness.report.rows import OUTCOMES
from harness.report.sides import sides
from harness.report.view import build_view
from harness.scoring.pairwise import FLIPPED, WON


def _comparison(low: float, middle: float, high: float, bound: float = 0.0) -> Comparison:
    return Comparison(
        "intent", "a", "b", Kind.BINARY, 100, 0.5, 0.5, middle, low, high, bound, 0.05,
        Outcome.INCONCLUSIVE, "Tango", "because",
    )  # fmt: skip


def test_the_gates_stand_first_and_each_line_agrees_with_its_comparison() -> None:
    run = sample_run()
    lines = build_view(run).comparisons.lines
    states = [line.state for line in lines]
    assert states == ["gated"] * 3 + ["advisory"] + ["measured"] * 12
    gate = next(g for g in run.gates if g.state == "gated" and g.suite == "retention")
    line = next(line for line in lines if line.state == "gated" and line.suite == "retention")
    assert gate.comparison
    assert line.figures.difference == numbers.points(gate.comparison.difference)
    assert line.figures.interval == numbers.interval(gate.comparison.low, gate.comparison.high)
    assert line.figures.n == "150"
    assert line.role == "guard: above −10.0"


def test_a_gate_that_was_never_reached_is_listed_as_not_run() -> None:
    run = sample_run(n_rows=20)
    missing = replace(run.gates[3], state="missing", comparison=None)
    lines = build_view(replace(run, gates=(missing,))).comparisons.lines
    assert lines[0].outcome == "not run"
    assert lines[0].figures.plot is None


def test_a_score_without_a_gate_is_compared_but_claims_nothing() -> None:
    run = sample_run(n_rows=40)
    lines = build_view(replace(run, gates=())).comparisons.lines
    assert {(line.suite, line.score) for line in lines} == {
        ("support", "valid"), ("support", "intent"), ("support", "summary"), ("retention", "exact"),
    }  # fmt: skip
    assert {line.outcome for line in lines} == {"–"}


def test_the_curve_holds_every_size_with_its_interval_and_the_baseline_as_a_band() -> None:
    run = sample_run()
    curve = next(c for c in build_view(run).curves if c.title == "support / intent")
    (line,) = curve.lines
    assert [mark.size for mark in line.marks] == list(SIZES)
    for point in line.marks:
        assert point.low is not None
        assert point.high is not None
        assert point.low <= point.mean <= point.high
    (band,) = curve.bands
    assert (band.label, band.is_baseline) == (BASE, True)


def test_a_judge_that_was_not_admitted_is_a_caution_with_its_reasons() -> None:
    cautions = build_view(sample_run(n_rows=20)).headline.cautions
    judge = next(caution for caution in cautions if "not admitted" in caution.title)
    assert "kappa 0.41 is below 0.60." in judge.details


def test_failures_are_counted_at_the_top_and_are_never_a_zero() -> None:
    run = sample_run()
    failures = next(c for c in build_view(run).headline.cautions if "failed" in c.title)
    answers = sum(a.failure is not None for t in run.trials for a in t.answers)
    scores = sum(s.failure is not None for t in run.trials for many in t.scores.values() for s in many)
    assert failures.title.startswith(f"{answers} answers and {scores} scores failed.")
    row = next(row for row in build_view(run).answers[0].rows if row.id == "s-0003")
    assert row.cells[0].note.startswith("failed: HTTP 500")
    assert {chip.value for chip in row.cells[0].chips} == {"failed"}
    assert row.outcome == "failed"


def test_a_routed_row_says_which_route_it_took_and_by_what() -> None:
    run = sample_run(n_rows=20)
    why = "cosine 0.1, threshold 0.6"
    parts = (Part("tuned", "{", 9, 2), Part("otherwise: step 1 of 1, a.md", "", 9, 2, why))
    routed = [
        replace(trial, answers=tuple(replace(answer, parts=parts) for answer in trial.answers))
        for trial in run.trials
    ]
    run = replace(run, trials=tuple(routed))
    notes = {row.cells[-1].note for row in build_view(run).answers[0].rows if row.outcome != "failed"}
    assert notes == {f"otherwise: {why}"}
    assert "(answered by otherwise: 20 rows)" in sides(run).rows[0][2]


def test_the_largest_losses_come_first() -> None:
    rows = build_view(sample_run()).answers[1].rows
    order = [[*OUTCOMES.values()].index(row.outcome) for row in rows]
    assert order == sorted(order)
    assert {"lost", "won"} <= {row.outcome for row in rows}


def test_a_row_counts_as_changed_when_a_score_flips_between_baseline_and_largest_size() -> None:
    run = sample_run(n_rows=40)
    block = build_view(run).answers[0]
    base, largest = (_trial(run.trials, name, size) for name, size in ((BASE, None), (ADAPTER, 400)))
    for place, answer in enumerate(largest.answers):
        flipped = any(
            base.scores[name][place].value != largest.scores[name][place].value
            for name in ("valid", "intent")
        )
        row = next(row for row in block.rows if row.id == answer.row_id)
        assert not flipped or row.outcome in ("lost", "won")


def _trial(trials: tuple[Trial, ...], name: str, size: int | None) -> Trial:
    return next(t for t in trials if (t.candidate, t.size, t.suite) == (name, size, "support"))


def test_a_preference_is_shown_without_scores_of_the_baseline() -> None:
    run = sample_run(n_rows=40)
    won, tied = Score(1.0, f"{WON}: it says more"), Score(0.5, f"{FLIPPED}: one says so, one does not")
    values = (*[won] * 20, *[tied] * 20)

    def with_preference(trial: Trial) -> Trial:
        is_compared = trial.candidate == ADAPTER and trial.suite == "support"
        return replace(trial, scores={**trial.scores, "better": values}) if is_compared else trial

    info = ScoreInfo("better", Kind.PREFERENCE, "Pairwise: ...", ADMISSION)
    suites = [replace(s, scores=(*s.scores, info)) if s.name == "support" else s for s in run.suites]
    view = build_view(replace(run, suites=tuple(suites), trials=tuple(map(with_preference, run.trials))))
    (line,) = [line for line in view.comparisons.lines if line.score == "better"]
    assert (line.baseline, line.figures.difference, line.figures.n) == ("0.5", "+25.0", "40")
    assert any(table.title.startswith("support / better") for table in view.slices)
    rows = [row for block in view.answers if block.title.startswith("support") for row in block.rows]
    assert sum("won" in row.change and "better" in row.change for row in rows) == 20
    (judge,) = [block for block in view.judges if block.title == "support / better"]
    said = {fact.name: fact.value for _, some in judge.groups for fact in some}["order"]
    assert f"0.50 [0.35, 0.65], n = 40 ({ADAPTER}@{SIZES[-1]})" in said


def test_no_more_rows_are_shown_than_a_page_can_hold_and_the_page_says_so() -> None:
    block = build_view(sample_run(n_rows=500)).answers[0]
    assert len(block.rows) == WORST_ROWS
    assert block.note.startswith(f"The {WORST_ROWS} worst of 500 rows.")


def test_slices_are_labelled_exploratory_and_carry_adjusted_p_values() -> None:
    view = build_view(sample_run())
    assert view.slices_note.startswith("Exploratory")
    assert "Benjamini–Hochberg" in view.slices_note
    intent = next(block for block in view.slices if "intent" in block.title)
    assert {line.key for line in intent.lines} == {"intent", "language"}
    assert all(line.p_adjusted != "–" for line in intent.lines)


def test_each_training_is_listed_once_however_many_suites_used_it() -> None:
    block = build_view(sample_run(n_rows=20)).training
    assert [row[0] for row in block.table.rows] == [f"{ADAPTER}@{size}" for size in SIZES]
    assert block.flags == [f"{ADAPTER}@400: development loss ended 0.09 above its minimum at epoch 2.25."]


def test_a_price_without_a_date_is_called_undated_and_no_break_even_is_never() -> None:
    run = sample_run(n_rows=20)
    never = replace(run.economics[0], break_even_days=None)
    (block,) = build_view(replace(run, economics=(never,))).costs
    assert [row[-1] for row in block.prices.rows] == ["2025-12-04", "undated"]
    assert block.table.rows[-1][-1] == "never"
    assert block.verdict.startswith("Never pays for itself")


def test_an_interval_plot_places_its_marks_in_percent_of_the_axis() -> None:
    found = _comparison(-0.05, 0.0, 0.05, bound=-0.1)
    assert reach_of([found]) == 0.1
    marks = plot(found, 0.1, "plain")
    assert marks
    assert (marks.low, marks.width, marks.point, marks.bound) == (25.0, 50.0, 50.0, 0.0)


def test_a_second_seed_is_named() -> None:
    run = sample_run(n_rows=20)
    again = tuple(replace(t, seed=1) for t in run.trials if t.size == 400)
    view = build_view(replace(run, trials=run.trials + again))
    assert len(view.curves[0].lines[0].marks) == 5


def test_scores_that_all_failed_still_make_a_view() -> None:
    run = sample_run(n_rows=20)
    dead = tuple(
        replace(t, scores={n: tuple(Score(None, failure="down") for _ in s) for n, s in t.scores.items()})
        for t in run.trials
    )
    view = build_view(replace(run, trials=dead, gates=()))
    assert all(line.figures.difference == "–" for line in view.comparisons.lines)


def test_of_several_candidates_the_level_that_each_met_is_shown() -> None:
    run = sample_run(n_rows=20)
    assert build_view(run).headline.together is None
    go = replace(run.decisions[0], verdict=Verdict.GO, p_value=0.00005, level=0.0025, candidates_judged=20)
    near = replace(go, candidate="near", verdict=Verdict.INCONCLUSIVE, p_value=0.031, level=0.05 / 19)
    other = replace(near, candidate="other", verdict=Verdict.NO_GO, p_value=None, level=None)
    table = build_view(replace(run, decisions=(go, near, other))).headline.together
    assert table is not None
    assert table.rows == [
        (f"{ADAPTER}@400", "GO", "20", "<0.01%", "0.25%", "yes"),
        ("near@400", "INCONCLUSIVE", "20", "3.1%", "0.263%", "no"),
        ("other@400", "NO-GO", "20", "–", "–", "–"),
    ]
    assert "up for a decision today, 3, and those" in table.note
    cards = build_view(replace(run, decisions=(go, near))).headline.cards
    assert cards[0].means == "Ship it."
    assert "not at the stricter level that several candidates" in cards[1].plainly[0].value
