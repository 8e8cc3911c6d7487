"""The estimates behind a comparison: rows in pairs, and a difference with its limits.

:mod:`harness.decision.paired` has the table of which estimate fits which rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log, sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from harness.decision.clusters import Clusters, clustered_limits, clustered_p, design_effect
from harness.decision.sparse import sparse_interval, sparse_p
from harness.decision.student import (
    Values,
    cluster_freedom,
    effective_clusters,
    error_of_mean,
    mean_and_residuals,
    mean_size,
    t_limits,
    t_p,
)
from harness.decision.tango import null_variance
from harness.errors import UsageError
from harness.records import TIE, Kind, ScoreVector

MIN_ROWS = 10
MIN_CLUSTERS = 10
_MIN_EFFECTIVE, _NEARLY_EQUAL = 15, 0.9  # of unequal groups; nearly equal ones need only be MIN_CLUSTERS
_LARGEST = 0.125  # share of the rows in one of unequal groups, above which losing it would decide everything
NO_SPREAD = 1e-12
_TINY = 1e-9
LARGE_LOSS, LOSSES_SEEN = 0.2, 2  # below the bound; docs/evidence.md has what they hold, and cost
LOSSES_FOR_EACH = 5  # beyond the first that a level below 5% adds
RARE_LOSS, RARE_GROUP_LOSS = 0.6, 0.55
GROUP_SKEWNESS = 0.6  # of it, with a group more: some of the skewness is of our making
_ALLOWED = {
    Kind.BINARY: ((0.0, 1.0), "a binary score is 0 or 1"),
    Kind.PREFERENCE: ((0.0, TIE, 1.0), "a preference is 0, 0.5 or 1"),
}

Codes: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def points(value: float) -> str:
    """A difference in percentage points, signed: ``+12.4``."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"  # + 0.0 turns -0.0 into 0.0


@dataclass(frozen=True, slots=True)
class Rows:
    """The two sides row by row, nan where the score failed.

    Where a side was trained with several seeds, its values are means over them, and ``kind`` is graded.
    """

    candidate: Values
    baseline: Values
    clusters: Codes | None  # None where rows stand alone
    kind: Kind
    number: float | None  # the baseline, where it is a plain number
    by_seed: tuple[Values, Values] | None = None  # both sides as tables of (rows, seeds)
    unanswered: Mask | None = None  # rows where a side's answer never came; None: none is known
    skewness: float = 1.0  # the part of it that a limit takes into account

    @property
    def differences(self) -> Values:
        """Candidate less baseline, row by row."""
        return self.candidate - self.baseline

    @property
    def seed_differences(self) -> Values | None:
        """Candidate less baseline by (row, seed); None where neither side has several seeds."""
        return None if self.by_seed is None else self.by_seed[0] - self.by_seed[1]

    @property
    def wins_and_losses(self) -> tuple[Mask, Mask] | None:
        """Masks of the rows that one side alone has right, or that were preferred; None for other scores."""
        if self.kind is Kind.PREFERENCE:
            return self.candidate > TIE, self.candidate < TIE
        if self.kind is Kind.BINARY and self.number is None:
            return self.candidate > self.baseline, self.candidate < self.baseline
        return None

    @property
    def usable(self) -> Mask:
        """Rows with a value on both sides."""
        return ~(np.isnan(self.candidate) | np.isnan(self.baseline))

    @property
    def n_units(self) -> int:
        """Independent units: clusters, or rows where there are none."""
        return len(self.candidate) if self.clusters is None else len(np.unique(self.clusters))

    def only(self, mask: Mask | Codes) -> Rows:
        """The rows where ``mask`` is true, or at these places."""
        return replace(
            self,
            candidate=self.candidate[mask],
            baseline=self.baseline[mask],
            clusters=None if self.clusters is None else self.clusters[mask],
            by_seed=self.by_seed and (self.by_seed[0][mask], self.by_seed[1][mask]),
            unanswered=None if self.unanswered is None else self.unanswered[mask],
        )

    def worst_case(self) -> Rows:
        """Missing values taken against the claim.

        A row without a value on either side is left out where both were answered: it says what its check or
        its reference lacks. Where an answer never came, it counts.
        """
        unscored = np.isnan(self.candidate) & np.isnan(self.baseline)
        rows = self.only(~unscored if self.unanswered is None else ~unscored | self.unanswered)

        def filled(mine: Values, theirs: Values) -> tuple[Values, Values]:
            return np.nan_to_num(mine, nan=0.0), np.nan_to_num(theirs, nan=1.0)

        candidate, baseline = filled(rows.candidate, rows.baseline)
        by_seed = rows.by_seed and filled(*rows.by_seed)
        return replace(rows, candidate=candidate, baseline=baseline, by_seed=by_seed)

    def rare_losses(self, alpha: float) -> str:
        """What :meth:`with_a_rare_loss` adds, in words."""
        unit, loss = ("row", RARE_LOSS) if self.clusters is None else ("group", RARE_GROUP_LOSS)
        more = self._unseen(alpha)
        said = f"one {unit} more that loses" if more == 1 else f"{more} {unit}s more that lose"
        return f"{said} {100 * loss:.0f} points"

    def with_a_rare_loss(self, alpha: float, bound: float) -> Rows | None:
        """The rows and one more that loses most, or a group more; None where there is no need.

        An interval of graded scores rests on the losses that the sample holds. Where it holds fewer than
        two of a fifth or more below the bound (or 0), larger ones may be so rare that none was drawn: what
        lies near the bound of a guard says nothing of those that would break it. Groups are counted, and
        added, by the mean size of a row's group: small ones tell little of what losing a large one would do.
        Against a number, one more always counts: the shortfall of a single row says little of how far others
        fall short. A level below 5% adds more, and asks for five losses for each: :func:`unseen_losses`.

        One group among few that lost so much is an outlier that Hall's correction takes for the whole
        population's skewness, so with it only a part of that counts.
        """
        if self.kind is Kind.PREFERENCE or (self.kind is Kind.BINARY and self.by_seed is None):
            return None  # counts of wins and losses have limits that allow for what was not drawn
        losses, sizes, size = self.differences, np.ones(len(self.candidate)), 1.0
        if self.clusters is not None:
            sizes, sums = cluster_sums(self.clusters, sizes, losses)
            losses, size = sums / sizes, mean_size(sizes)
        more = self._unseen(alpha)
        enough = LOSSES_SEEN + LOSSES_FOR_EACH * (more - 1)
        large = losses <= large_loss(bound) + _TINY
        if self.number is None and sizes[large].sum() >= (enough - _TINY) * size:
            return None
        loss, added = (RARE_LOSS if self.clusters is None else RARE_GROUP_LOSS), round(size)
        most = 0.5 + loss / 2
        mine, theirs = (
            (most - loss, most) if self.number is None else (max(self.number - loss, 0.0), self.number)
        )

        def longer(side: Values, value: float) -> Values:
            return np.concatenate([side, np.full((more * added, *side.shape[1:]), value)])

        clusters = self.clusters
        codes = np.repeat(np.arange(more), added)
        return replace(
            self,
            candidate=longer(self.candidate, mine),
            baseline=longer(self.baseline, theirs),
            clusters=None if clusters is None else np.append(clusters, clusters.max() + 1 + codes),
            by_seed=self.by_seed and (longer(self.by_seed[0], mine), longer(self.by_seed[1], theirs)),
            unanswered=None,
            skewness=1.0 if clusters is None else GROUP_SKEWNESS,
        )

    def _unseen(self, alpha: float) -> int:
        return unseen_losses(alpha, of_groups=self.clusters is not None)


def large_loss(bound: float) -> float:
    """The difference from which on a loss counts as large, for a claim of more than ``bound``."""
    return min(bound, 0.0) - LARGE_LOSS


def unseen_losses(alpha: float, *, of_groups: bool = False) -> int:
    """How many large losses a sample may lack by luck: 1 at 5%, one more a factor of e below that.

    Of groups, which are fewer and weigh more, it is one for each factor of e². The luckier a sample, the more
    of them it lacks, and its spread is measured without them, too. docs/evidence.md has what that holds where
    several candidates share a level.
    """
    return 1 + max(0, ceil(log(0.05 / alpha) / (2 if of_groups else 1) - 1e-9))


def pair(candidate: ScoreVector, baseline: ScoreVector | float) -> Rows:
    """The rows of two vectors, or of one and a number.

    Raises:
        UsageError: vectors of different rows, scores, kinds, groups or numbers of seeds; a preference against
            a vector; a value that its kind of score cannot have, or a number outside [0, 1].
    """
    values = _values(candidate)
    if isinstance(baseline, ScoreVector):
        _require_same_rows(candidate, baseline)
        if candidate.kind is Kind.PREFERENCE:
            raise UsageError(
                f"{candidate.score} is a preference: {candidate.subject} has been set against a baseline "
                "already. Compare it with a number: 0.5 is as many wins as losses."
            )
        others, number = _values(baseline), None
    elif not 0.0 <= baseline <= 1.0:
        raise UsageError(f"a threshold must lie in [0, 1], as scores do (85% is 0.85); it is {baseline}.")
    else:
        number = float(baseline)
        others = np.full(len(values), number)
    sides = [candidate, baseline] if isinstance(baseline, ScoreVector) else [candidate]
    counts = {len(side.by_seed[0]) for side in sides if side.by_seed}
    if len(counts) > 1:
        raise UsageError(
            f"{' and '.join(side.subject for side in sides)} were trained with different numbers of seeds "
            f"({', '.join(map(str, sorted(counts)))}): give both the same --train-seeds."
        )
    clusters = _clusters(candidate.groups)
    flags = [np.array(side.unanswered, dtype=np.bool_) for side in sides if side.unanswered]
    unanswered: Mask | None = np.logical_or.reduce(flags) if flags else None
    if not counts:
        return Rows(values, others, clusters, candidate.kind, number, unanswered=unanswered)
    shape = len(values), counts.pop()
    # a side without seeds, a prompt or a number, has the same value at each seed of the other
    first, second = (
        np.array(side.by_seed, dtype=np.float64)
        if isinstance(side, ScoreVector) and side.by_seed
        else np.broadcast_to(means[:, np.newaxis], shape)
        for side, means in ((candidate, values), (baseline, others))
    )
    return Rows(values, others, clusters, Kind.GRADED, number, (first, second), unanswered)


def _values(vector: ScoreVector) -> Values:
    each = np.array(vector.by_seed or vector.values, dtype=np.float64)  # None becomes nan
    allowed, rule = _ALLOWED.get(vector.kind, ((), "a score lies in [0, 1]"))
    bad = ~np.isnan(each) & ~np.isin(each, allowed) if allowed else (each < 0.0) | (each > 1.0)
    if bad.any():
        first = tuple(np.argwhere(bad)[0])
        raise UsageError(
            f"{vector.subject}, {vector.score}, row {vector.row_ids[first[0]]}: {rule}; "
            f"this one is {each[first]}."
        )
    return np.array(vector.values, dtype=np.float64)


def _clusters(groups: tuple[str | None, ...]) -> Codes | None:
    if groups.count(None) == len(groups):
        return None
    named = {group: code for code, group in enumerate(dict.fromkeys(groups)) if group is not None}
    # a row without a group is its own cluster: its number, above all the named ones
    codes = [named[group] if group is not None else len(groups) + at for at, group in enumerate(groups)]
    return None if len(set(codes)) == len(codes) else np.array(codes, dtype=np.int64)


def _require_same_rows(candidate: ScoreVector, baseline: ScoreVector) -> None:
    names = f"{candidate.subject} and {baseline.subject}"
    if candidate.row_ids != baseline.row_ids:
        odd = sorted(set(candidate.row_ids) ^ set(baseline.row_ids))[:3]
        raise UsageError(
            f"{names} were scored on different rows ({len(candidate.row_ids)} and {len(baseline.row_ids)}; "
            f"{f'for example {odd}' if odd else 'in another order'}): compare scores of one suite and one "
            "held-out file."
        )
    if (candidate.score, candidate.kind) != (baseline.score, baseline.kind):
        raise UsageError(
            f"{names}: {candidate.score!r} ({candidate.kind}) cannot be compared with {baseline.score!r} "
            f"({baseline.kind}): ask both for the same score."
        )
    if candidate.groups != baseline.groups:
        raise UsageError(f"{names}: their rows are grouped differently; take both from one suite.")


def check_levels(bound: float, alpha: float) -> None:
    """UsageError unless ``bound`` lies in (-1, 1) and ``alpha`` in (0, 0.5)."""
    if not -1.0 < bound < 1.0:
        raise UsageError(
            f"a margin of {abs(bound):g} can decide nothing: scores lie in [0, 1], 2 points are 0.02."
        )
    if not 0.0 < alpha < 0.5:
        raise UsageError(f"alpha must be above 0 and below 0.5, for example 0.05; it is {alpha}.")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its limits. Variances are of one row, any design effect included."""

    method: str
    difference: float
    low: float
    high: float
    p_value: float  # one-sided, of "the difference is at most the bound"
    variance: float  # as observed
    variance_at_bound: float  # under "the difference is the bound"


def estimate_difference(rows: Rows, bound: float, alpha: float) -> Estimate | str:
    """The estimate that fits the rows, each with a value on both sides, or the reason why there is none."""
    n = len(rows.candidate)
    if n < MIN_ROWS:
        return f"{n} usable rows are too few for an interval: it takes at least {MIN_ROWS}"
    if (problem := too_few_clusters(rows.clusters)) is not None:
        return problem
    if rows.wins_and_losses is not None:
        won, lost = rows.wins_and_losses
        if rows.number is None:
            return _tango(rows.clusters, won, lost, bound, alpha)
        # Tango's difference of shares is twice a preference's distance from the tie
        middle = TIE - rows.number
        found = _tango(rows.clusters, won, lost, min(max(2.0 * (bound - middle), -1.0), 1.0), alpha)
        return replace(
            found,
            difference=found.difference / 2 + middle,
            low=found.low / 2 + middle,
            high=found.high / 2 + middle,
            variance=found.variance / 4,
            variance_at_bound=found.variance_at_bound / 4,
        )
    if rows.clusters is not None:
        return _t(rows, bound, alpha, "cluster-robust t and Hall")
    if rows.number is None:
        return _t(rows, bound, alpha, "paired t and Hall")
    if rows.kind is not Kind.BINARY:
        return _t(rows, bound, alpha, "one-sample t and Hall")
    return _wilson(rows.candidate, rows.number, bound, alpha)


def too_few_clusters(clusters: Codes | None) -> str | None:
    """Why rows in these clusters have no interval."""
    if clusters is None:
        return None
    (sizes,) = cluster_sums(clusters, np.ones(len(clusters)))
    count, effective = len(sizes), effective_clusters(sizes)
    if count < MIN_CLUSTERS:
        return f"{count} groups are too few for an interval: it takes at least {MIN_CLUSTERS}"
    if effective < min(_MIN_EFFECTIVE, _NEARLY_EQUAL * count):
        return (
            f"{count} groups of very unequal size weigh as {effective:.1f} equal ones (the largest holds "
            f"{sizes.max():,.0f} of {len(clusters):,} rows): an interval takes {_MIN_EFFECTIVE}"
        )
    if sizes.max() > _LARGEST * len(clusters) and effective < _NEARLY_EQUAL * count:
        return (
            f"the largest of {count} groups of unequal size holds {sizes.max():,.0f} of {len(clusters):,} "
            f"rows: an interval takes groups of at most {100 * _LARGEST:g}% of the rows"
        )
    return None


def _t(rows: Rows, bound: float, alpha: float, method: str) -> Estimate | str:
    differences, n = rows.differences, len(rows.candidate)
    if rows.clusters is None:
        mean, residuals = mean_and_residuals(differences)
        freedom = n - 1.0
    else:
        sizes, sums = cluster_sums(rows.clusters, np.ones(n), differences)
        mean, residuals = mean_and_residuals(sums, sizes)
        freedom = cluster_freedom(sizes)
    error, middle = float(error_of_mean(residuals, n)), float(mean)
    if error < NO_SPREAD:
        is_flat = np.ptp(differences) < NO_SPREAD
        equal = "all differences are" if is_flat else "the groups' mean differences are all"
        return f"{equal} equal ({points(middle)} points, n={n}): without any spread there is no interval"
    lower, upper = t_limits(mean, residuals, n, alpha, freedom, rows.skewness)
    p_value = float(t_p(mean, residuals, n, bound, freedom, rows.skewness))
    # few units have limits beyond what scores can differ by
    low, high = max(float(lower), -1.0), min(float(upper), 1.0)
    return Estimate(method, middle, low, high, p_value, n * error**2, n * error**2)


def cluster_sums(clusters: Codes, *each: Values) -> list[Values]:
    """The sums of each over every cluster."""
    _, codes = np.unique(clusters, return_inverse=True)
    return [np.bincount(codes, weights=one).astype(np.float64) for one in each]


def _tango(clusters: Codes | None, won: Mask, lost: Mask, bound: float, alpha: float) -> Estimate:
    n, gains, losses = len(won), int(np.count_nonzero(won)), int(np.count_nonzero(lost))
    difference = (gains - losses) / n
    variance = (gains + losses) / n - difference**2
    at_bound = float(null_variance(gains, losses, n, bound))
    if clusters is None:
        low, high = sparse_interval(gains, losses, n, alpha)
        p_value = float(sparse_p(gains, losses, n, bound))
        return Estimate("Tango", difference, low, high, p_value, variance, at_bound)
    seen = Clusters(*cluster_sums(clusters, won.astype(np.float64), lost.astype(np.float64), np.ones(n)))
    effect = float(design_effect(seen))
    low, high = clustered_limits(seen, alpha)
    p_value, method = float(clustered_p(seen, bound)), "cluster-robust t and Tango"
    return Estimate(method, difference, low, high, p_value, effect * variance, effect * at_bound)


def _wilson(values: Values, number: float, bound: float, alpha: float) -> Estimate:
    from scipy.stats import binomtest  # scipy.stats takes a second to import

    n, right = len(values), int(values.sum())
    interval = binomtest(right, n).proportion_ci(1.0 - 2.0 * alpha, method="wilson")
    rate, null_rate = right / n, min(max(number + bound, 0.0), 1.0)
    at_bound = null_rate * (1.0 - null_rate)
    excess = rate - number - bound
    # without variance under the bound (a threshold of 0 or 1), one row beyond it settles the matter
    p_value = float(ndtr(-excess * sqrt(n / at_bound))) if at_bound > 0.0 else float(excess <= 0.0)
    low, high = float(interval.low) - number, float(interval.high) - number
    return Estimate("Wilson", rate - number, low, high, p_value, rate * (1.0 - rate), at_bound)
