"""The first screen: each of its figures follows from run.json, by arithmetic that is not the report's."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import pytest
from sample_run import ADAPTER, BASE, sample_run

from harness.decision.gates import decide
from harness.decision.paired import compare
from harness.decision.vectors import recorded_vector
from harness.records import Gate, Kind, Role, RunRecord, Verdict
from harness.report.runjson import dump_run, load_run
from harness.report.view import headline
from harness.report.view_models import DecisionCard

Fields: TypeAlias = dict[str, Any]  # a run.json as json reads it
REPORTS = Path(__file__).parents[2] / "reports"
_FIGURE = re.compile(r"[−+]?\$?\d(?:[\d,]*\d)?(?:\.\d+)?%?")
_FIXED = {"4", "5", "25", "100", "0.1"}  # "4 times in 5", "Label 25", "of 100", "less than 0.1 days"


def _card(record: RunRecord) -> DecisionCard:
    (card,) = headline(record).cards
    return card


def _said(card: DecisionCard) -> str:
    return " ".join([card.speaks_of, *(fact.value for fact in card.plainly)])


def _facts(card: DecisionCard) -> dict[str, str]:
    return {fact.name: fact.value for fact in card.plainly}


def _recomputed(run: Fields) -> set[str]:
    """The figures that the first screen may show, from the JSON alone; minus signs as on the page."""
    (decision,) = run["decisions"]
    found = {f"{decision['size'] or 0:,}", *map(str, decision["seeds"]), str(len(decision["seeds"]))}
    trials = {(t["suite"], t["candidate"], t["size"]): t for t in run["trials"]}
    base = next(c["baseline"] for c in run["candidates"] if c["name"] == decision["candidate"])
    own = [
        g for g in run["gates"] if (g["candidate"], g["size"]) == (decision["candidate"], decision["size"])
    ]
    suites = {s["name"]: s for s in run["suites"]}
    found.add(f"{sum(len(suites[name]['rows']) for name in {g['suite'] for g in own}):,}")
    found.add(str(len([g for g in own if g["state"] == "gated"]) - 1))  # the other tests
    for gate in own:
        if gate["comparison"]:
            found.add(f"{abs(100 * gate['comparison']['bound']):.3g}")
            found.add(f"{100 * gate['comparison']['alpha']:g}%")
            for limit in (gate["comparison"]["low"], gate["comparison"]["high"]):
                found.add(f"{100 * limit:+.1f}".replace("-", "−"))
    for name, suite in suites.items():
        found.add(f"{len(suite['rows']):,}")
        theirs, mine = trials[name, base, None], trials[name, decision["candidate"], decision["size"]]
        for info in suite["scores"]:
            old = {
                a["row_id"]: s["value"]
                for a, s in zip(theirs["answers"], theirs["scores"][info["name"]], strict=True)
            }
            new = {
                a["row_id"]: s["value"]
                for a, s in zip(mine["answers"], mine["scores"][info["name"]], strict=True)
            }
            both = [(old[row], new[row]) for row in old if None not in (old[row], new.get(row))]
            found |= {f"{len(both):,}", str(sum(b < a for a, b in both)), str(sum(b > a for a, b in both))}
            percent = "%" if info["kind"] == "binary" else ""
            found |= {f"{100 * fmean(pair[side] for pair in both):.1f}{percent}" for side in (0, 1)}
        found.add(str(sum(answer["failure"] is not None for answer in mine["answers"])))
    return found


def _with_money(run: Fields, found: set[str]) -> set[str]:
    (money,) = run["economics"]
    total = money["with_quality"] or money["tokens_alone"]
    a_day = money["saving_usd_per_day"] if total is None else total["usd_per_day"]
    days = money["break_even_days"] if total is None else total["days"]
    limits = () if total is None else (total["low_usd_per_day"], total["high_usd_per_day"])
    usd = [a_day, money["saving_usd_per_day"], money["training_usd"], -a_day]
    usd += [sign * limit for limit in limits if limit is not None for sign in (1, -1)]
    found |= {f"${value:,.2f}" for value in usd} | {f"${value:,.0f}" for value in usd}
    found |= {f"{money['requests_per_day']:,.0f}"} | ({f"{days:.1f}", f"{days:,.0f}"} if days else set())
    return found


@pytest.mark.parametrize("source", ["sample", "example", "example/no-go", "example/inconclusive"])
def test_each_figure_can_be_recomputed_from_the_record_alone(source: str) -> None:
    text = (
        dump_run(sample_run()) if source == "sample" else (REPORTS / source / "run.json").read_text("utf-8")
    )
    run = json.loads(text)
    card = _card(load_run(text, "run.json"))
    names = [name for c in run["candidates"] for name in (c["name"], c["model"])]
    names += [
        name for suite in run["suites"] for name in (suite["name"], *(s["name"] for s in suite["scores"]))
    ]
    said = {"speaks": card.speaks_of, **_facts(card)}
    # rows to test on come from a simulation, which has its own tests
    said["Next"] = re.sub(r"about [\d,]+ ", "", said["Next"])
    shown = " ".join(said.values())
    for name in sorted(names, key=len, reverse=True):
        shown = shown.replace(name, "")
    allowed = _with_money(run, _recomputed(run)) | _FIXED
    assert [one for one in _FIGURE.findall(shown) if one not in allowed] == []
    assert len(_FIGURE.findall(shown)) > 15


def _gate(record: RunRecord, suite: str, score: str, role: Role, bound: float) -> Gate:
    (info,) = [one for one in record.suites if one.name == suite]
    base, mine = (
        next(t for t in record.trials if (t.suite, t.candidate, t.size) == (suite, *side))
        for side in ((BASE, None), (ADAPTER, 400))
    )
    found = compare(recorded_vector(info, mine, score), recorded_vector(info, base, score), bound=bound)
    return Gate(suite, f"test_it.py::test_{score}", ADAPTER, 400, (0,), role, "gated", found)


def _decided(*gates: Gate, obstacles: Sequence[str] = ()) -> RunRecord:
    return replace(
        sample_run(), gates=gates, decisions=(decide(ADAPTER, 400, gates, seeds=(0,), obstacles=obstacles),)
    )


TARGET = _gate(sample_run(), "support", "intent", Role.TARGET, 0.0)
KEPT = _gate(sample_run(), "retention", "exact", Role.GUARD, -0.2)
LOST = _gate(sample_run(), "retention", "exact", Role.GUARD, -0.01)


def test_a_go_says_what_got_better_what_was_kept_and_how_to_ship_it() -> None:
    card = _card(_decided(TARGET, KEPT))
    assert (card.verdict, card.means) == ("GO", "Ship it.")
    why = _facts(card)["Why"]
    assert why.startswith("Better where it has to be: intent (")
    assert "Within the loss that is allowed on exact (" in why
    assert _facts(card)["Next"].startswith("Ship qlora-r16@400")


def test_a_no_go_says_what_is_lost_and_that_it_forgot() -> None:
    card = _card(_decided(TARGET, LOST))
    assert (card.verdict, card.means) == ("NO-GO", "Do not ship it.")
    facts = _facts(card)
    assert facts["Why"].startswith(
        "Loses more than the 1 point that it may: exact (65.3% → 58.7% on 150 rows"
    )
    assert facts["Why"].endswith("The other test holds.")
    assert facts["Next"].startswith(f"Keep {BASE}")
    assert "general rows" in facts["Next"]


def test_an_undecided_run_says_what_is_open_and_what_would_settle_it() -> None:
    missing = replace(KEPT, state="missing", comparison=None)
    facts = _facts(_card(_decided(TARGET, missing)))
    assert facts["Why"] == "1 test gave no result (test_exact). The other test holds."
    assert facts["Next"] == "Run every test of the suites."
    facts = _facts(_card(_decided(KEPT)))
    assert facts["Why"].startswith("No test asks for an improvement")
    facts = _facts(_card(_decided(TARGET, KEPT, obstacles=["the two sides were asked with other prompts."])))
    assert facts["Why"].startswith("The two sides were asked with other prompts.")


def test_of_several_candidates_one_that_is_no_go_among_all_is_told_why() -> None:
    record = _decided(TARGET, KEPT)
    one = replace(record.decisions[0], verdict=Verdict.INCONCLUSIVE, level=0.01, candidates_judged=5)
    assert "of 5 that are tried, one may look good by luck" in _said(_card(replace(record, decisions=(one,))))


def test_a_bar_that_is_missed_says_what_is_asked() -> None:
    record = sample_run()
    mine = next(t for t in record.trials if (t.suite, t.size) == ("support", 400))
    found = compare(recorded_vector(record.suites[0], mine, "intent"), 0.95)
    bar = Gate("support", "test_it.py::test_bar", ADAPTER, 400, (0,), Role.THRESHOLD, "gated", found)
    why = _facts(_card(_decided(TARGET, bar)))["Why"]
    assert re.search(r"Misses its bar: intent \([\d.]+%, more than 95.0% asked", why)


def test_no_sentence_uses_a_word_of_statistics() -> None:
    cards = [_card(_decided(*gates)) for gates in ((TARGET, KEPT), (TARGET, LOST), (LOST,), ())] + [
        _card(sample_run())
    ]
    for card in cards:
        assert not re.search(
            r"p-value|confidence|interval|significan|one-sided|refuted|power|n=", _said(card)
        )
        assert all(fact.value.endswith(".") and len(fact.value) < 420 for fact in card.plainly)


def test_counted_rows_leave_graded_scores_to_their_means() -> None:
    breaks = _facts(_card(sample_run()))["Breaks"]
    graded = [info.name for s in sample_run().suites for info in s.scores if info.kind is Kind.GRADED]
    assert not any(f"{name} on" in breaks for name in graded)


def test_a_graded_score_alone_that_rises_breaks_nothing() -> None:
    record = sample_run()
    graded = tuple(
        replace(suite, scores=tuple(info for info in suite.scores if info.kind is Kind.GRADED))
        for suite in record.suites
    )
    gates = tuple(gate for gate in record.gates if gate.comparison and gate.comparison.score == "summary")
    breaks = _facts(_card(replace(record, suites=graded, gates=gates)))["Breaks"]
    assert breaks.startswith("On average summary does not fall.")
