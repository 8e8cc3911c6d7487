"""Why a model fails on rows of production: causes tested in a fixed order, and ranked. Asks nobody.

Failures are compared with two groups of held-out rows, and a difference counts where it is shown against
both. All held-out rows: else nothing is special about the failures. Those that the model got wrong: else the
failures are only of the kind that was known to be hard, and nothing has shifted. Where fewer than twenty are
known to be wrong, those most like the failures in what is compared count as wrong too, for they may be hard.

A cause is shown where Holm's p, over all tests that were made, is below 5%, and the effect is large enough
to matter. Shown causes are ranked by the lower end of their effect's 95% interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import sqrt

from scipy.special import ndtr, ndtri

from harness.decision.effects import fisher_greater, newcombe, wilson
from harness.decision.tango import tango_interval
from harness.records import Category, Cause, CauseTest
from harness.report.numbers import count, percent
from harness.run.cause_inputs import (
    KNOWN_HARD,
    Case,
    failing_categories,
    long_tail,
    shift,
    thin_values,
)

LEVEL = 0.05
POWER = 0.8
MOST_TESTS = 20  # of a usual diagnosis
ORDER: tuple[Cause, ...] = ("leaks", "long tail", "shift", "overfitting", "base", "forgetting")
# The least effect that matters: a share of rows, Cramér's V, Cliff's delta, a share of the loss, of the score
LEAST = {"share": 0.1, "V": 0.15, "delta": 0.15, "loss": 0.02, "score": 0.02}


# --------------------------------------------------------------------------- the whole
def find_causes(case: Case) -> tuple[list[CauseTest], list[Cause], list[Category]]:
    """All tests in their order, the causes that are shown, and the categories with most failures."""
    tail = list(long_tail(case))
    found = [
        one for one in tail if one.p is not None and one.p < LEVEL / MOST_TESTS and (one.effect or 0) > 0
    ]
    left = list(case.failures)
    if found:  # what thin categories account for has not shifted besides
        best = max(found, key=lambda one: one.low or 0.0)
        of, thin = case.fields[best.what], thin_values(case, best.what)
        left = [row for row in case.failures if of.get(id(row)) not in thin]
    tests = [
        *_leaks(case),
        *tail,
        *shift(case, left),
        *_overfitting(case),
        *_base(case),
        *_forgetting(case),
    ]
    made = sum(one.p is not None for one in tests)
    tests = [_with_power(one, made) for one in _adjusted(tests)]
    best_low = {
        cause: max(one.low or 0.0 for one in tests if one.cause == cause and one.is_shown)
        for cause in ORDER
        if any(one.cause == cause and one.is_shown for one in tests)
    }
    ranked = sorted(best_low, key=lambda cause: (-best_low[cause], ORDER.index(cause)))
    return tests, ranked, failing_categories(case)


def _adjusted(tests: Sequence[CauseTest]) -> list[CauseTest]:
    """With S. Holm's (1979) p-values, and whether each is shown."""
    order = sorted((one.p, at) for at, one in enumerate(tests) if one.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, at) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[at] = highest
    return [
        replace(
            one,
            adjusted=adjusted.get(at),
            is_shown=at in adjusted
            and adjusted[at] < LEVEL
            and (one.effect or 0.0) >= LEAST[_scale(one)]
            and (one.low or 0.0) > 0,
        )
        for at, one in enumerate(tests)
    ]


def _scale(test: CauseTest) -> str:
    return test.measure.rpartition(" ")[2]


def _with_power(test: CauseTest, tests: int) -> CauseTest:
    """With the least effect that so many rows find 8 times in 10 at the strictest of Holm's levels."""
    n, m = test.n
    if test.p is None or not n or not m or _scale(test) == "loss":
        return test
    z = -float(ndtri(LEVEL / (2 * tests))) + float(ndtri(POWER))
    if _scale(test) == "delta":
        found = z * sqrt((n + m + 1) / (3 * n * m))
    elif _scale(test) == "V":  # as of two classes: with more, a larger one
        found = z / sqrt(4 * n * m / (n + m))
    elif test.cause == "forgetting":
        found = z * sqrt(m) / n if m else 0.0
    else:
        found = z * sqrt(0.25 * (1 / n + 1 / m))
    return replace(test, detectable=min(1.0, found))


# --------------------------------------------------------------------------- 1. leaks
def _leaks(case: Case) -> Iterator[CauseTest]:
    what = "held-out rows near training rows"
    leaked = [row for row in case.heldout if row.id in case.leaked]
    n, of = len(leaked), len(case.heldout)
    copies = f"{count(n, of)} held-out rows are copies of training rows, or nearly"
    if not n:
        yield CauseTest(
            "leaks", what, f"no held-out row is a copy of one of {len(case.training):,} training rows."
        )
        return
    judged = {True: [0, 0], False: [0, 0]}
    for row in case.heldout:
        if row.id in case.right:
            judged[row.id in case.leaked][case.right[row.id]] += 1
    (wrong, right), (others_wrong, others_right) = judged[True], judged[False]
    if not right + wrong or not others_right + others_wrong:
        yield CauseTest("leaks", what, f"{copies}; whether it was right more often there is not known.")
        return
    p = fisher_greater((right, right + wrong), (others_right, others_right + others_wrong))
    share, among, others = n / of, right / (right + wrong), others_right / (others_right + others_wrong)
    low, high = newcombe((right, right + wrong), (others_right, others_right + others_wrong))
    yield CauseTest(
        "leaks",
        what,
        f"{copies}: it is right on {percent(among)} of these and on {percent(others)} of the other"
        f" {others_right + others_wrong:,}: they add {percent(share * (among - others))} to its score.",
        "share of the score",
        (right + wrong, others_right + others_wrong),
        share * (among - others),
        share * low,
        share * high,
        p,
        next_step="Take the copies out of the training rows, train again, and judge it on rows that it never"
        " saw. Until then its score is that of the other held-out rows.",
    )


# --------------------------------------------------------------------------- 4. overfitting
def _overfitting(case: Case) -> Iterator[CauseTest]:
    what = "development loss"
    known = [
        (point, point.dev_loss, point.dev_loss_se)
        for point in case.curve
        if point.dev_loss is not None and point.dev_loss_se is not None
    ]
    if len(known) < 2:
        why = f"the run has {len(known)} measurement(s) of development loss with an error; two are needed."
        yield CauseTest("overfitting", what, why)
        return
    best, least, _ = min(known, key=lambda each: each[1])
    last_point, last, error = known[-1]
    error = max(error, 1e-9)
    rise = (last - least) / last
    yield CauseTest(
        "overfitting",
        what,
        f"it ended at {last:.3f} (standard error {error:.3f}) after {last_point.epoch:.2g} epochs; the least"
        f" of {len(known)} was {least:.3f}, at {best.epoch:.2g} epochs.",
        "share of the loss",
        (len(known), 1),
        rise,
        rise - 1.96 * error / last,
        rise + 1.96 * error / last,
        min(1.0, (len(known) - 1) * float(ndtr(-(last - least) / error))) if last > least else 1.0,
        next_step=f"Train for about {best.epoch:.2g} epochs, or at a lower rate, and judge it again.",
    )


# --------------------------------------------------------------------------- 5. the base
def _base(case: Case) -> Iterator[CauseTest]:
    what = "the base with the full prompt"
    if isinstance(case.base, str):
        yield CauseTest("base", what, case.base)
        return
    known, asked = case.base
    n, hits = sum(one is not None for one in asked), sum(bool(one) for one in asked)
    every = [known[row.id] for row in case.clean if row.id in known]
    hard = [known[r.id] for r in case.clean if case.right.get(r.id) is False and r.id in known]
    if not n or not every:
        yield CauseTest("base", what, "no answer of it could be judged.")
        return
    every_share = (sum(every), len(every))
    p = fisher_greater((hits, n), every_share)
    if len(hard) >= KNOWN_HARD:
        p = max(p, fisher_greater((hits, n), (sum(hard), len(hard))))
    low, high = newcombe((hits, n), every_share)
    ends = wilson(hits, n)
    yield CauseTest(
        "base",
        what,
        f"it is right on {count(hits, n)} failures ({percent(hits / n)}, 95% interval {percent(ends[0])} to"
        f" {percent(ends[1])}), and on {percent(sum(every) / len(every))} of {len(every):,} held-out rows.",
        "share",
        (n, len(every)),
        hits / n - sum(every) / len(every),
        low,
        high,
        p,
        next_step="The training took this away. Mix general rows in (replay=), train less, or send such rows"
        " to the base with its full prompt.",
    )


# --------------------------------------------------------------------------- 6. forgetting
def _forgetting(case: Case) -> Iterator[CauseTest]:
    if not case.general:
        why = "the run has no suite beside the task on which candidate and baseline were both judged."
        yield CauseTest("forgetting", "general suites", why)
    for suite in case.general:
        from scipy.stats import binomtest

        moved = suite.lost + suite.gained
        p = float(binomtest(suite.lost, moved, alternative="greater").pvalue) if moved else 1.0
        low, high = tango_interval(suite.lost, suite.gained, suite.n, 0.025)
        yield CauseTest(
            "forgetting",
            suite.suite,
            f"of {suite.n:,} rows, {suite.lost:,} are right for the baseline alone and {suite.gained:,} for"
            " the candidate alone.",
            "share of the score",
            (suite.n, moved),
            (suite.lost - suite.gained) / suite.n,
            low,
            high,
            p,
            next_step="Mix general rows in (replay=), train fewer epochs or at a lower rank and rate.",
        )
