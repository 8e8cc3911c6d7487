"""Several candidates in one run: the lowest level of a claim, Holm's levels, and which GO stands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from decision_builders import binary_pair, graded_pair, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality import candidates
from benchmarks.quality.gate_draws import rubric
from harness.decision.claims import Claim, Scores
from harness.decision.estimates import unseen_losses
from harness.decision.gates import decide
from harness.decision.group_sequential import GroupSequentialDesign, at_level, design_looks
from harness.decision.holm import LeftOut, holm_levels, judged_together, lowest_level, weakest_gate
from harness.decision.vectors import at_places, over_seeds
from harness.errors import UsageError
from harness.records import Decision, Gate, Kind, Outcome, ScoreVector, Verdict

GO, NO_GO, OPEN = Verdict.GO, Verdict.NO_GO, Verdict.INCONCLUSIVE
STRONG, NEAR, EQUAL, WORSE = (40, 5), (13, 5), (9, 9), (5, 30)  # rows gained and lost of 200
GROUPS = [f"g{at // 5}" for at in range(200)]


def better(counts: tuple[int, int], groups: list[str] | None = None, alpha: float = 0.05) -> Claim:
    candidate, baseline = binary_pair(*counts, 200, groups)
    return Scores(candidate, alpha=alpha) > Scores(baseline, alpha=alpha)


def gated(name: str, claim: Claim, test: str = "test_better", size: int | None = None) -> tuple[Gate, Claim]:
    return Gate("support", test, name, size, (), claim.role, "gated", claim.comparison), claim


def decided(*candidates: Claim | list[Claim], alpha: float = 0.05) -> tuple[Decision, ...]:
    """The decisions of a run whose candidates are called 0, 1, ..."""
    claims = [
        gated(str(number), claim, f"test_{at}")
        for number, asserted in enumerate(candidates)
        for at, claim in enumerate(asserted if isinstance(asserted, list) else [asserted])
    ]
    gates = [gate for gate, _ in claims]
    each = [decide(str(number), None, gates) for number in range(len(candidates))]
    return judged_together(each, claims, alpha)


def verdicts(decisions: tuple[Decision, ...]) -> list[Verdict]:
    return [decision.verdict for decision in decisions]


# --------------------------------------------------------------------------- the lowest level of a claim
def some_claim(rng: np.random.Generator, sort: str) -> Claim:
    """A claim of this sort whose truth may be anything."""
    n, effect = 60, rng.uniform(-0.02, 0.2)
    groups = [f"g{at // 3}" for at in range(n)] if rng.random() < 0.4 else None
    mine, theirs = graded_pair(rng.normal(effect, 0.2, n), groups)
    if sort == "binary" or (sort == "looks" and rng.random() < 0.5):
        mine, theirs = (
            vector((rng.random(n) < share).astype(float).tolist(), kind=Kind.BINARY, groups=groups)
            for share in (0.6 + effect, 0.55)
        )
    if sort == "rare losses":
        mine, theirs = graded_pair([0.05] * 57 + [0.1, 0.0, -0.05])
    if sort == "failures":
        values = [None if rng.random() < 0.05 else value for value in mine.values]
        mine = replace(mine, values=tuple(values), unanswered=tuple(value is None for value in values))
    if sort == "seeds":
        mine = over_seeds([graded_pair(rng.normal(effect, 0.2, n), groups)[0] for _ in range(3)], (0, 1, 2))
    if sort == "preference":
        drawn = rng.choice([0.0, 0.5, 1.0], n, p=[0.2, 0.4 - effect, 0.4 + effect])
        return Scores(vector(drawn.tolist(), kind=Kind.PREFERENCE, groups=groups)) > 0.5
    if sort == "below a number":
        return Scores(mine) < 0.6 + rng.uniform(0, 0.2)
    if sort == "above a number":
        return Scores(mine) > 0.5
    if sort == "slice":
        mine, theirs = replace(mine, rows="language=es"), replace(theirs, rows="language=es")
    if sort == "looks":
        first, second = (interim(side, looks=2) for side in (mine, theirs))
        return first > second
    return Scores(mine) > Scores(theirs) - float(rng.choice([0.0, 0.02, 0.05]))


@dataclass
class Judged:
    """Scores that are there already, handed out as far as they are asked for."""

    vector: ScoreVector
    design: GroupSequentialDesign
    n_candidates: int = 1
    asked: list[int] = field(default_factory=list)

    def upto(self, n_rows: int) -> ScoreVector:
        self.asked.append(n_rows)
        return at_places(self.vector, range(n_rows))


def interim(side: ScoreVector, looks: int = 5, n_candidates: int = 1, alpha: float = 0.05) -> Scores:
    design = design_looks(len(side.values), looks, alpha, side.groups)
    return Scores(side, alpha=alpha, interim=Judged(side, design, n_candidates))


SORTS = [
    *("graded", "binary", "preference", "failures", "rare losses", "seeds", "slice"),
    *("above a number", "below a number", "looks"),
]


@pytest.mark.parametrize("sort", SORTS)
@given(seed=st.integers(0, 2**32 - 1), levels=st.tuples(*[st.floats(-16.0, -0.8)] * 2))
@settings(max_examples=8, deadline=None)
def test_a_claim_that_is_shown_at_a_level_is_shown_at_every_higher_one(
    sort: str, seed: int, levels: tuple[float, float]
) -> None:
    claim = some_claim(np.random.default_rng(seed), sort)
    low, high = (float(np.exp(level)) for level in sorted(levels))
    assert claim.at(claim.comparison.alpha) == claim.comparison
    assert claim.at(low).alpha == low
    if claim.at(low).outcome is Outcome.SHOWN:
        assert claim.at(high).outcome is Outcome.SHOWN
    if claim.outcome is Outcome.SHOWN:
        p = lowest_level(claim)
        assert claim.at(p).outcome is Outcome.SHOWN
        assert p == 1e-7 or claim.at(p / 1.002).outcome is not Outcome.SHOWN


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(better(NEAR), id="binary"),
        pytest.param(better((30, 3), GROUPS), id="binary in groups"),
        pytest.param(
            Scores(vector([1.0] * 40 + [0.0] * 20 + [0.5] * 40, kind=Kind.PREFERENCE)) > 0.5, id="preference"
        ),
        pytest.param(Scores(vector([1.0] * 90 + [0.0] * 10, kind=Kind.BINARY)) > 0.82, id="a bar"),
        pytest.param(Scores(vector([0.0] * 90 + [1.0] * 10, kind=Kind.BINARY)) < 0.18, id="a bar from above"),
    ],
)
def test_without_failures_or_rare_losses_the_lowest_level_is_the_p_of_the_test(claim: Claim) -> None:
    assert claim.outcome is Outcome.SHOWN
    assert lowest_level(claim) == pytest.approx(claim.comparison.p_one_sided, rel=2e-3)


def test_rows_that_failed_and_losses_that_were_not_drawn_raise_the_lowest_level() -> None:
    mine, theirs = graded_pair(np.random.default_rng(0).normal(0.05, 0.3, 200))
    plain = Scores(mine) > Scores(theirs)
    failed = Scores(replace(mine, values=(None, *mine.values[1:]))) > Scores(theirs)
    assert lowest_level(failed) > 1.2 * lowest_level(plain)
    assert lowest_level(failed) > 1.2 * (failed.comparison.p_one_sided or 1.0)
    flat = np.array([0.02, 0.1] * 50)  # no loss at all: one is added
    rare = Scores(graded_pair(flat)[0]) > Scores(graded_pair(flat)[1])
    assert lowest_level(rare) > 1e3 * (rare.comparison.p_one_sided or 1.0)


def test_a_lower_level_asks_for_more_losses_that_were_not_drawn() -> None:
    assert [unseen_losses(alpha) for alpha in (0.1, 0.05, 0.049, 0.025, 0.01, 0.0025)] == [1, 1, 2, 2, 3, 4]
    rows = np.array([0.25] * 60 + [0.0] * 130 + [-0.25] * 10)  # ten losses: not enough for three rows
    sides = graded_pair(rows)
    claim = Scores(sides[0]) > Scores(sides[1])
    assert [claim.at(alpha).outcome for alpha in (0.05, 0.01, 1e-6)] == ["shown", "shown", "inconclusive"]
    assert "not with 12 rows more that lose 60 points" in claim.at(1e-6).reason
    assert lowest_level(claim) > 1e3 * (claim.comparison.p_one_sided or 1.0)


def test_no_claim_is_judged_at_a_level_that_cannot_be() -> None:
    for claim in (better(STRONG), interim(binary_pair(40, 5, 200)[0]) > interim(binary_pair(40, 5, 200)[1])):
        for alpha in (0.0, 0.5):
            with pytest.raises(UsageError, match="alpha"):
                claim.at(alpha)


# --------------------------------------------------------------------------- judging in looks
@given(
    n=st.integers(40, 400),
    looks=st.integers(1, 4),
    levels=st.tuples(*[st.floats(-16.0, -0.8)] * 2).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3),
)
@settings(max_examples=8, deadline=None)
def test_a_smaller_level_over_all_looks_is_smaller_at_each(
    n: int, looks: int, levels: tuple[float, float]
) -> None:
    """So a claim that is shown at the look where the judging stopped is one that this design shows."""
    design = design_looks(n, looks)
    low, high = (at_level(design, float(np.exp(level))) for level in sorted(levels))
    assert [look.rows for look in low.looks] == [look.rows for look in high.looks]
    assert all(a.level < b.level for a, b in zip(low.looks, high.looks, strict=True))
    assert at_level(design, 0.05) is design


def test_candidates_that_share_a_level_are_judged_until_one_holds_at_its_part() -> None:
    """At the whole level the judging would stop where no p is small enough for two."""
    rows = rubric(np.random.default_rng(7), (1, 400), 0.05)[0]
    asked, levels = [], []
    for n_candidates in (1, 20):
        mine, theirs = (interim(side, n_candidates=n_candidates) for side in graded_pair(rows))
        claim = mine > theirs
        assert claim.outcome is Outcome.SHOWN
        assert isinstance(mine.interim, Judged)
        asked.append(mine.interim.asked[-1])
        levels.append(lowest_level(claim))
    assert asked[0] < asked[1]
    assert levels[0] > 0.05 / 20 >= levels[1]


# --------------------------------------------------------------------------- Holm
LATTICE = [0.0, 0.001, 0.01, 0.0125, 0.02, 0.025, 0.04, 0.05, 0.2, 1.0]


@given(st.lists(st.sampled_from(LATTICE), min_size=1, max_size=5))
def test_what_reaches_its_level_is_what_the_closed_test_of_bonferroni_rejects(p_values: list[float]) -> None:
    """R. Marcus, E. Peritz and K. R. Gabriel (1976): rejected with every set of hypotheses that it is in."""
    everyone = range(len(p_values))
    sets = [chosen for size in everyone for chosen in combinations(everyone, size + 1)]
    closed = [
        all(min(p_values[at] for at in chosen) <= 0.05 / len(chosen) for chosen in sets if one in chosen)
        for one in everyone
    ]
    met = [p <= level for p, level in zip(p_values, holm_levels(p_values, 0.05), strict=True)]
    assert met == closed


def test_two_that_are_go_alone_are_not_together() -> None:
    alone, *_ = decided(better(NEAR))
    assert (alone.verdict, alone.level, alone.p_value, alone.candidates_judged) == (GO, 0.05, None, 1)
    for decision in decided(better(NEAR), better(NEAR)):
        assert (decision.verdict, decision.level, decision.candidates_judged) == (OPEN, 0.025, 2)
        assert decision.p_value == pytest.approx(0.0297, abs=1e-4)
        first = decision.reasons[0]
        for words in ("2 candidates", "hold at 2.5%", "is 2.97%, of target gate test_0", "Suite(final=...)"):
            assert words in first
        assert decision.reasons[1:] == alone.reasons


def test_a_strong_one_keeps_its_go_among_many_equal_ones() -> None:
    strong, *others = decided(better(STRONG), *[better(EQUAL)] * 18, better(NEAR))
    assert (strong.verdict, strong.level) == (GO, 0.05 / 20)
    assert strong.reasons[0].startswith("holds at 0.25% among the 20 candidates of this run (Holm)")
    assert verdicts(tuple(others)) == [OPEN] * 19
    assert [decision.level for decision in others] == [None] * 18 + [0.05 / 19]
    assert all("candidates" not in decision.reasons[0] for decision in others[:18])


def test_a_strong_one_leaves_the_other_the_whole_level() -> None:
    strong, near = decided(better(STRONG), better(NEAR))
    assert (strong.verdict, strong.level) == (GO, 0.025)
    assert (near.verdict, near.level) == (GO, 0.05)


def test_no_go_stays_and_counts_as_a_try() -> None:
    near, worse = decided(better(NEAR), better(WORSE))
    assert (near.verdict, near.level) == (OPEN, 0.025)
    (worse_alone,) = decided(better(WORSE))
    assert worse == replace(worse_alone, candidate="1", reasons=worse.reasons, candidates_judged=2)
    assert worse.verdict is NO_GO
    assert len(worse.reasons) == len(worse_alone.reasons)


def test_candidates_left_out_are_tries_of_the_one_beside_which_they_were_judged() -> None:
    gates = [gated("0", better(STRONG)), gated("1", better(NEAR))]
    each = [decide(name, None, [gate for gate, _ in gates]) for name in "01"]
    one = LeftOut(1, "tuned", "Judge them together (--candidate=1 --candidate=tuned)")
    strong, near = judged_together(each, gates, 0.05, {"1": one})
    assert (strong.verdict, strong.level, strong.candidates_judged) == (GO, 0.025, 2)
    assert (near.verdict, near.level, near.candidates_judged) == (OPEN, 0.025, 3)
    for words in (
        "2 judged today and 1 beside it before",
        "(tuned)",
        "together (--candidate=1",
        "or run it alone",
    ):
        assert words in near.reasons[0]
    (strong, *_) = judged_together(each[:1], gates, 0.05, {"0": LeftOut(18, "many", "Judge them together")})
    assert (strong.verdict, strong.level) == (GO, 0.05 / 19)
    assert strong.reasons[0].startswith("holds at 0.263% among 19 candidates, 1 judged today and 18")
    assert judged_together(each[:1], gates, 0.05, {"else": one})[0].candidates_judged == 1


def test_a_level_that_is_missed_by_little_is_told_from_the_p() -> None:
    alpha = 2 * 0.0296
    near, _ = decided(better(NEAR, alpha=alpha), better(EQUAL, alpha=alpha), alpha=alpha)
    assert "hold at 2.96% (Holm), and the largest p of its gates is 2.97%" in near.reasons[0]


def test_a_candidate_is_as_good_as_its_weakest_gate() -> None:
    strong, _ = decided([better(STRONG), better(NEAR), better((40, 4))], better(EQUAL))
    assert strong.verdict is OPEN
    assert "of target gate test_1 (suite support)" in strong.reasons[0]


def test_another_level_than_5_percent_is_shared_alike() -> None:
    claims = [better(NEAR, alpha=0.1), better(NEAR, alpha=0.1)]
    assert [(d.verdict, d.level) for d in decided(*claims, alpha=0.1)] == [(GO, 0.05), (GO, 0.1)]


def test_a_gate_of_a_smaller_level_has_a_p_in_proportion_to_it() -> None:
    """Rows that served before are judged at less, and Holm compares like with like."""
    fresh, used = better(NEAR), better(NEAR, alpha=0.04)
    assert weakest_gate([gated("a", used)], 0.05).p_value == pytest.approx(0.0297 * 0.05 / 0.04, abs=1e-4)
    found = weakest_gate([gated("a", fresh), gated("a", used, "test_used")], 0.05)
    assert (found.name, weakest_gate([gated("a", used, "test_used"), gated("a", fresh)], 0.05)) == (
        "target gate test_used (suite support)",
        found,
    )


def test_only_gates_that_decide_count_and_those_of_the_size_that_is_decided() -> None:
    strong = better(STRONG)
    gate, claim = gated("0", better(NEAR))
    others = [replace(gate, size=10), replace(gate, state="measured"), replace(gate, candidate="else")]
    claims = [gated("0", strong), *((other, claim) for other in others)]
    each = [decide("0", None, [claims[0][0]]), decide("1", None, [])]
    found, _ = judged_together(each, claims, 0.05)
    assert found.p_value == lowest_level(strong)


# --------------------------------------------------------------------------- error rates
def test_some_of_many_equal_candidates_are_go_at_most_5_percent_of_the_time() -> None:
    found = candidates.some_false_go(400)
    assert found.value is not None
    assert found.value <= 0.055 + 3.5 * sqrt(0.05 * 0.95 / 400)


def test_a_run_of_20_equal_candidates_seldom_has_a_go_where_each_alone_has_one_in_three() -> None:
    """Through claims, decide and Holm: 40 runs, so that the two rates cannot be mistaken."""
    drawn = candidates.graded(np.random.default_rng(1), (40, 20, 60))
    runs = [candidates.one_run(each, Kind.GRADED) for each in drawn]
    alone, together = (
        sum(any(d.verdict is GO for d in side) for side in sides) for sides in zip(*runs, strict=True)
    )
    assert alone >= 8
    assert together <= 5  # 5% of 40 is 2; six or more have a chance of 1.4%
