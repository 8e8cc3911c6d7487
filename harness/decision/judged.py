"""A claim on a judge's scores, decided by what people said of some of its rows (PPI++).

The estimate is :func:`harness.decision.ppi.corrected` of the differences of rows. Here they are made:

* An answer that never came is 0 on its side, in the judge's eyes and in people's, and needs no label. A claim
  is shown only if it still is where each one that the other side lacks is 1.
* A row that was drawn and has no label of some answer may lack it because it was hard to judge. A claim is
  shown only if it still is where each such answer is 0 on its side, and 1 on the other.
* A row that the judge could not judge has the mean judged difference: its label corrects it like any other.
* Of several training seeds, the mean over a row's seeds is the row, where all its answers are labelled. The
  scatter of the seeds' own estimates is added to the variance, as :mod:`harness.decision.seeds` has it.
* A labelled loss may be so rare that none was drawn. Where the labelled rows hold fewer than two losses of a
  fifth or more, or fewer than two that the judge did not see, a claim is shown only if it still is with one
  more that loses most, as for other scores. Rows count by what they stand for, and so does the one more: a
  judge that agrees with people on every labelled row may err on those that were seldom drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr, stdtrit

from harness.decision.estimates import (
    LOSSES_FOR_EACH,
    LOSSES_SEEN,
    RARE_GROUP_LOSS,
    RARE_LOSS,
    Codes,
    cluster_sums,
    large_loss,
    points,
    too_few_clusters,
    unseen_losses,
)
from harness.decision.paired import outcome_of, summary
from harness.decision.power import POWER
from harness.decision.ppi import MIN_LABELS, Corrected, Labelled, corrected, parts_of_rows
from harness.decision.seeds import freedom_correction
from harness.decision.student import Values, mean_size
from harness.records import Comparison, Outcome

_TINY = 1e-9

Table: TypeAlias = npt.NDArray[np.float64]  # (rows, seeds)
Truths: TypeAlias = npt.NDArray[np.bool_]  # (rows, seeds)


@dataclass(frozen=True, slots=True)
class JudgedSide:
    """One side of a claim, by row and training seed (one column where there is none)."""

    judged: Table  # the judge's values; nan where it gave none
    labelled: Table  # people's; nan where nobody labelled the answer
    answered: Truths  # whether the answer came

    def filled(self, missing: float) -> tuple[Table, Table]:
        """Judgments and labels with ``missing`` in the place of answers that never came."""
        return np.where(self.answered, self.judged, missing), np.where(self.answered, self.labelled, missing)


@dataclass(frozen=True)
class JudgedClaim:
    """The claim that ``larger`` exceeds ``smaller`` by more than the bound of ``naive``.

    Args:
        naive: the comparison of the judge alone.
        larger, smaller: the sides of the claim; one of them may be a plain number.
        probabilities: of each row being drawn for labelling; nan where it was not.
        clusters: each row's group; None where rows stand alone.
    """

    naive: Comparison
    larger: JudgedSide | float
    smaller: JudgedSide | float
    probabilities: Values
    clusters: Codes | None = None

    @property
    def n_labels(self) -> int:
        """Rows that people labelled on every side and seed."""
        return int(np.count_nonzero(self._is_labelled & ~np.isnan(self.probabilities)))

    @property
    def labels_alone(self) -> float:
        """The difference by labels alone."""
        labelled = self._rows()[1]
        return float(np.average(labelled.differences, weights=1.0 / labelled.probabilities))

    @property
    def labels_needed(self) -> int | None:
        """Labelled rows that would decide it, were the difference as observed; None: more than there are."""
        estimate = self.estimate
        return None if isinstance(estimate, str) else self._labels_needed(self.comparison, estimate)

    @property
    def stands_for(self) -> float:
        """How many rows the labelled ones stand for, by inverse probability: all, if none was left out."""
        return float((1.0 / self._drawn[1]).sum())

    @property
    def unpaired(self) -> Codes:
        """Places of rows that were drawn, and have no label of some answer."""
        return np.flatnonzero(~np.isnan(self.probabilities) & ~self._is_labelled)

    @property
    def why_not(self) -> str | None:
        """Why there are too few labels to correct anything; None where there are enough."""
        if self.n_labels < MIN_LABELS:
            several = max(self._tables[0].shape[1], 1) > 1
            each = "of every answer, at all seeds" if several else "of every answer"
            return (
                f"{self.n_labels} rows have labels {each} that is compared, and a correction takes at least"
                f" {MIN_LABELS}"
            )
        labelled = None if self.clusters is None else self.clusters[self._is_labelled]
        return too_few_clusters(labelled)

    @cached_property
    def comparison(self) -> Comparison:
        """The claim by judge and labels, at the level of ``naive``."""
        return self.at(self.naive.alpha)

    @cached_property
    def estimate(self) -> Corrected | str:
        """The corrected difference, at the level of ``naive``."""
        return self._estimate(self.naive.alpha)

    def at(self, alpha: float) -> Comparison:
        """The claim judged at another level, by all the rules.

        Raises:
            UsageError: a level outside (0, 0.5).
        """
        judged, _ = self._tables
        found = replace(
            self.naive,
            n=len(judged),
            alpha=alpha,
            difference=None,
            low=None,
            high=None,
            outcome=Outcome.INCONCLUSIVE,
            method="none",
            discordant=None,
            clusters=None if self.clusters is None else len(np.unique(self.clusters)),
            failures=0,
            rows_needed=None,
            p_one_sided=None,
            seed_differences=(),
            seed_sd=None,
            seed_share=None,
            seed_error=None,
            effect_size=None,
        )
        estimate = self._estimate(alpha)
        if isinstance(estimate, str):
            return replace(found, reason=f"{estimate}.")
        larger, smaller = self._means(estimate)
        found = replace(
            found,
            candidate_mean=larger,
            baseline_mean=smaller,
            difference=estimate.difference,
            low=estimate.low,
            high=estimate.high,
            outcome=outcome_of(estimate, found.bound),
            method=f"PPI++ (lambda {estimate.weight:.2f}), {self.n_labels} of {len(judged)} rows labelled",
            p_one_sided=estimate.p_value,
            seed_differences=self._by_seed(estimate.weight) if judged.shape[1] > 1 else (),
        )
        reason = self._reason(found, estimate)
        if found.outcome is Outcome.SHOWN:
            for worse, but in self._harder(alpha):
                unlucky = worse(alpha)
                if isinstance(unlucky, str) or outcome_of(unlucky, found.bound) is not Outcome.SHOWN:
                    found, reason = replace(found, outcome=Outcome.INCONCLUSIVE), f"{reason}, {but}"
        return replace(found, reason=f"{reason}.")

    # -------------------------------------------------------------------------------------------- rows
    @cached_property
    def _tables(self) -> tuple[Table, Table]:
        return self._differences(0.0)

    @cached_property
    def _is_labelled(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~np.isnan(self._tables[1]).any(axis=1))

    def _differences(self, smaller_missing: float, *, unlabelled_lose: bool = False) -> tuple[Table, Table]:
        """Judged and true differences (rows, seeds); the judged ones without gaps."""
        sides = [
            (np.full((1, 1), side), np.full((1, 1), side))
            if isinstance(side, float)
            else side.filled(missing)
            for side, missing in ((self.larger, 0.0), (self.smaller, smaller_missing))
        ]
        (mine, my_labels), (theirs, their_labels) = sides
        if unlabelled_lose:
            lost = np.isin(np.arange(len(self.probabilities)), self.unpaired)[:, np.newaxis]
            my_labels = np.where(lost & np.isnan(my_labels), 0.0, my_labels)
            their_labels = np.where(lost & np.isnan(their_labels), 1.0, their_labels)
        judged, labels = mine - theirs, my_labels - their_labels
        known = ~np.isnan(judged)
        counts = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, judged, 0.0).sum(axis=0) / counts
        return np.where(known, judged, means), labels

    @cached_property
    def _drawn(self) -> tuple[Codes, Values]:
        """Places of the labelled rows, and probabilities: 1 where no answer came, for nobody is asked."""
        places = np.flatnonzero(self._is_labelled)
        own = self.probabilities[places]
        return places, np.where(np.isnan(own), 1.0, own)

    def _rows(
        self, smaller_missing: float = 0.0, *, unlabelled_lose: bool = False
    ) -> tuple[Values, Labelled]:
        judged, labels = self._differences(smaller_missing, unlabelled_lose=unlabelled_lose)
        places, probabilities = self._drawn
        if unlabelled_lose:
            places = np.append(places, self.unpaired)
            probabilities = np.append(probabilities, self.probabilities[self.unpaired])
        return judged.mean(axis=1), Labelled(places, labels[places].mean(axis=1), probabilities)

    # -------------------------------------------------------------------------------------------- estimates
    def _estimate(self, alpha: float) -> Corrected | str:
        return self._corrected(*self._rows(), alpha, self.clusters)

    def _corrected(
        self, judged: Values, labelled: Labelled, alpha: float, clusters: Codes | None
    ) -> Corrected | str:
        bound = self.naive.bound
        found = corrected(judged, labelled, bound=bound, alpha=alpha, clusters=clusters)
        n_seeds = self._tables[0].shape[1]
        if isinstance(found, str) or n_seeds < 2:
            return found
        of_rows, of_seeds, a = found.error**2, self._seed_variance(found.weight), freedom_correction(n_seeds)
        variance = of_rows + of_seeds
        inverse = (of_rows / variance) ** 2 / (found.freedom + a)
        inverse += (of_seeds / variance) ** 2 / (n_seeds - 1 + a)
        freedom, error = max(1.0 / inverse - a, n_seeds - 1.0), sqrt(variance)
        reach = float(stdtrit(freedom, 1.0 - alpha)) * error
        return replace(
            found,
            low=max(found.difference - reach, -1.0),
            high=min(found.difference + reach, 1.0),
            p_value=float(stdtr(freedom, (bound - found.difference) / error)),
            error=error,
            freedom=freedom,
        )

    def _seed_variance(self, share: float) -> float:
        """Of the mean over seeds that are drawn at random; its floor is that of seeds.py."""
        judged, labels = self._tables
        places, probabilities = self._drawn
        n_seeds = judged.shape[1]
        pairs, means = n_seeds * (n_seeds - 1), np.array(self._by_seed(share))
        parts = np.column_stack(
            [
                parts_of_rows(judged[:, at], Labelled(places, labels[places, at], probabilities), share)[0]
                for at in range(n_seeds)
            ]
        )
        noise = float(((parts - parts.mean(axis=1, keepdims=True)) ** 2).sum()) / len(judged) ** 2
        between = float(((means - means.mean()) ** 2).sum())
        return max(between, noise / 2.0) / float(pairs)

    def _by_seed(self, share: float) -> tuple[float, ...]:
        """The corrected difference of each seed; their mean is that of all."""
        judged, labels = self._tables
        places, probabilities = self._drawn
        residuals = labels[places] - share * judged[places]
        return tuple(
            (
                share * judged.mean(axis=0) + np.average(residuals, axis=0, weights=1.0 / probabilities)
            ).tolist()
        )

    def _harder(self, alpha: float) -> list[tuple[Callable[[float], Corrected | str], str]]:
        """What a shown claim has to survive, and the end of the sentence where it does not."""
        harder: list[tuple[Callable[[float], Corrected | str], str]] = []
        if isinstance(self.smaller, JudgedSide) and not self.smaller.answered.all():
            harder.append(
                (
                    lambda alpha: self._corrected(*self._rows(1.0), alpha, self.clusters),
                    "but not if the answers that never came count against the claim; repair those and run"
                    " again",
                )
            )
        if len(self.unpaired):
            rows = "the row" if len(self.unpaired) == 1 else f"the {len(self.unpaired)} rows"
            harder.append(
                (
                    lambda alpha: self._corrected(*self._rows(unlabelled_lose=True), alpha, self.clusters),
                    f"but not if {rows} that lack a label of some answer count against the claim; label all"
                    " answers of each row that was drawn",
                )
            )
        if self._needs_a_rare_loss(alpha):
            unit, loss = ("row", RARE_LOSS) if self.clusters is None else ("group", RARE_GROUP_LOSS)
            more = self._unseen(alpha)
            added = (
                f"one labelled {unit} more that loses"
                if more == 1
                else f"{more} labelled {unit}s more that lose"
            )
            harder.append(
                (
                    self._with_a_rare_loss,
                    f"but not with {added} {100 * loss:.0f} points, and a loss so"
                    " rare need not be among the labelled rows: it takes more labels",
                )
            )
        return harder

    def _unseen(self, alpha: float) -> int:
        return unseen_losses(alpha, of_groups=self.clusters is not None)

    def _needs_a_rare_loss(self, alpha: float) -> bool:
        if isinstance(self.larger, float) or isinstance(self.smaller, float):
            return True  # the shortfall of a row says little of how far others fall short of a number
        share = 0.0 if isinstance(self.estimate, str) else self.estimate.weight
        judged, labelled = self._rows()
        places, people = labelled.places, labelled.differences
        enough = LOSSES_SEEN + LOSSES_FOR_EACH * (self._unseen(alpha) - 1)
        for losses in (people, people - share * judged[places]):  # of people, and beyond what the judge saw
            sizes, sums = self._weights(losses)
            large = sums / sizes <= large_loss(self.naive.bound) + _TINY
            if sizes[large].sum() < (enough - _TINY) * mean_size(sizes):
                return True
        return False

    def _weights(self, losses: Values) -> tuple[Values, Values]:
        """How many rows each labelled one, or group, stands for, and the sums of losses over these."""
        places, probabilities = self._drawn
        sizes = 1.0 / probabilities
        if self.clusters is None:
            return sizes, sizes * losses
        sizes, sums = cluster_sums(self.clusters[places], sizes, sizes * losses)
        return sizes, sums

    def _with_a_rare_loss(self, alpha: float) -> Corrected | str:
        """With as many labelled rows or groups more as the level asks for; the judge sees nothing of them."""
        judged, labelled = self._rows()
        added, loss, clusters = 1, RARE_LOSS, self.clusters
        size = mean_size(self._weights(labelled.differences)[0])  # a row that is seldom drawn hides more
        if clusters is not None:
            (sizes,) = cluster_sums(clusters[labelled.places], np.ones(len(labelled.places)))
            added, loss = round(mean_size(sizes)), RARE_GROUP_LOSS
            codes = np.repeat(np.arange(self._unseen(alpha)), added)
            clusters = np.append(clusters, clusters.max() + 1 + codes)
        typical = min(added / size, 1.0)
        added *= self._unseen(alpha)
        if isinstance(self.smaller, float):
            loss = min(loss, self.smaller)  # no score lies further below a number
        more = Labelled(
            np.append(labelled.places, len(judged) + np.arange(added)),
            np.append(labelled.differences, np.full(added, -loss)),
            np.append(labelled.probabilities, np.full(added, typical)),
        )
        longer = np.append(judged, np.full(added, judged.mean()))
        return self._corrected(longer, more, alpha, clusters)

    def _means(self, estimate: Corrected) -> tuple[float, float]:
        """Of the two sides, by the same correction: their difference is the estimate."""
        if isinstance(self.smaller, float):
            return estimate.difference + self.smaller, self.smaller
        if isinstance(self.larger, float):
            return self.larger, self.larger - estimate.difference
        judged, labels = (table.mean(axis=1) for table in self.smaller.filled(0.0))
        judged = np.where(np.isnan(judged), np.nanmean(judged) if (~np.isnan(judged)).any() else 0.0, judged)
        places, probabilities = self._drawn
        residuals = labels[places] - estimate.weight * judged[places]
        mean = estimate.weight * float(judged.mean()) + float(
            np.average(residuals, weights=1.0 / probabilities)
        )
        return mean + estimate.difference, mean

    # -------------------------------------------------------------------------------------------- words
    def _reason(self, found: Comparison, estimate: Corrected) -> str:
        numbers = f"{summary(found)} with {self.n_labels} labelled (the judge alone: {summary(self.naive)})"
        mark = f"{points(found.bound)} points" if found.bound else "0"
        if found.outcome is not Outcome.INCONCLUSIVE:
            side = "above" if found.outcome is Outcome.SHOWN else "below"
            return f"{numbers}: {side} {mark} at one-sided {100 * (1 - found.alpha):g}% confidence"
        needed = self._labels_needed(found, estimate)
        advice = (
            f"about {needed} labelled rows would decide it at {100 * POWER:g}% power, were the difference as"
            " observed"
            if needed is not None
            else "the difference is too close to it for more labels of these rows to decide"
        )
        return f"{numbers}: the interval holds {mark}; {advice}"

    def _labels_needed(self, found: Comparison, estimate: Corrected) -> int | None:
        reach = float(ndtri(1.0 - found.alpha) + ndtri(POWER)) * estimate.error
        gap = abs(estimate.difference - found.bound)
        needed = ceil(self.n_labels * (reach / gap) ** 2) if gap > 0.0 else found.n + 1
        return needed if needed <= found.n else None
