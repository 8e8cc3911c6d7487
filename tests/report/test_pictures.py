"""The pictures say what the record says, draw names as text, and are small."""

from __future__ import annotations

import re
from dataclasses import replace

from sample_run import ADAPTER, BASE, ECONOMICS, SIZES, sample_run

from benchmarks.hostile_values import TEXTS
from harness.records import Amount, Economics, Outlook, Payback, Swing
from harness.report import charts
from harness.report.comparisons import slices
from harness.report.pictures import gates_forest, money_over_time, quality_against_cost, tornado
from harness.report.view_models import Forest, Span


def test_each_gate_is_drawn_with_what_it_has_to_clear() -> None:
    gates = [gate for gate in sample_run().gates if gate.state in ("gated", "advisory")]
    forest = gates_forest(gates)
    assert forest
    assert [span.name for span in forest.spans] == [
        "support / valid",
        "support / intent",
        "support / summary (advisory)",
        "retention / exact",
    ]
    assert [span.bound for span in forest.spans] == [-2.0, 0.0, 0.0, -10.0]
    for span, gate in zip(forest.spans, gates, strict=True):
        found = gate.comparison
        assert found
        assert found.difference is not None
        assert found.low is not None
        assert (span.value, span.low) == (100 * found.difference, 100 * found.low)
        assert span.said.endswith(f"n = {found.n}")
        assert span.said in forest.description
    assert gates_forest([]) is None


def test_slices_of_what_a_gate_asserts_are_drawn_the_largest_first() -> None:
    drawn = {table.title: table.forest for table in slices(sample_run())}
    assert [title for title, forest in drawn.items() if forest] == [
        f"support / valid, {ADAPTER}@400",
        f"support / intent, {ADAPTER}@400",
    ]
    forest = drawn[f"support / intent, {ADAPTER}@400"]
    assert forest
    sizes = [abs(span.value) for span in forest.spans]
    assert sizes == sorted(sizes, reverse=True)


def test_quality_stands_against_the_price_of_the_tokens() -> None:
    picture = quality_against_cost(sample_run())
    assert picture
    assert [row[0] for row in picture.table.rows] == [
        f"1 {BASE}",
        *(f"{place} {ADAPTER}@{size}" for place, size in enumerate(SIZES, 2)),
    ]
    base, *_ = picture.chart.marks
    answers = [answer for answer in sample_run().trials[0].answers if answer.failure is None]
    usd = sum(411 * 0.15 + (answer.completion_tokens or 0) * 0.60 for answer in answers) / len(answers)
    assert abs(base.cost - usd / 1000) < 1e-9
    assert base.quality == 0.0
    assert quality_against_cost(replace(sample_run(), economics=())) is None


def _with_outlook() -> Economics:
    none, whole = Amount(None), Payback(4.0, 1.0, 7.0, 260.0, 25.0, 14.0, 100.0)
    swings = (
        Swing("points of support / intent", 20.0, 40.0, -10.0, 530.0, 100.0, 14.0),
        Swing("requests a day", 1000.0, 3000.0, 300.0, 220.0, 22.0, 29.0),
    )
    outlook = Outlook(
        preparation_usd=Amount(98.0),
        training_usd=Amount(2.0),
        study_usd=4.0,
        n_trainings=4,
        usd_per_1000_requests=Amount(0.1),
        baseline_usd_per_1000_requests=Amount(0.2),
        inference_usd_per_day=Amount(1.0),
        quality_usd_per_day=Amount(3.0),
        maintenance_usd_per_day=Amount(0.0),
        saving_usd_per_day=Amount(4.0, 1.0, 7.0),
        usd_over_horizon=Amount(260.0, -10.0, 530.0),
        roi=none,
        break_even_days=Amount(25.0, 14.0, 100.0),
        horizon_days=90.0,
        swings=swings,
    )
    return replace(ECONOMICS, training_usd=100.0, with_quality=whole, outlook=outlook)


def test_money_starts_at_what_is_paid_once_and_breaks_even_on_its_day() -> None:
    chart = money_over_time(_with_outlook())
    assert chart
    assert chart.points[0][1] == -100.0
    assert chart.even_day == 25.0
    day, usd, low, high = chart.points[-1]
    assert (usd, low, high) == (4 * day - 100, day - 100, 7 * day - 100)


def test_the_tornado_has_the_widest_bar_on_top() -> None:
    found = tornado(_with_outlook())
    assert found
    assert found.forest.centre == 260.0
    assert [(span.low, span.high) for span in found.forest.spans] == [(-10.0, 530.0), (220.0, 300.0)]
    assert [row[0] for row in found.table.rows] == ["points of support / intent", "requests a day"]
    assert tornado(ECONOMICS) is None


def test_odd_names_are_drawn_as_text() -> None:
    for text in [*TEXTS, "$x^2$ \\frac{", "--><script>alert(1)</script>", "中文 العربية \u202e"]:
        drawn = charts.forest(
            Forest([Span(text[:60].replace("\n", " "), "", 1.0, 0.0, 2.0, "good", 0.5)], "points", text[:60]),
            "a",
        )
        assert set(re.findall(r"<(\w+)", drawn)) <= {
            "svg",
            "desc",
            "g",
            "path",
            "text",
            "defs",
            "use",
            "clipPath",
            "rect",
        }
        assert "<!--" not in drawn


def test_a_picture_is_small_and_takes_its_colours_from_the_page() -> None:
    forest = gates_forest(sample_run().gates)
    assert forest
    drawn = charts.forest(forest, "gates")
    assert len(drawn) < 12_000
    assert "var(--good)" in drawn
    assert not re.search(r"#0[1-6]0\w{3}", drawn)
    assert "font-family" not in drawn
