"""How far people agree who labelled the same replies: no judge can agree with them better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from harness.records import Rate
from harness.scoring.agreement import Metric, krippendorff_alpha
from harness.scoring.labels import Label, rated_by_several

LOW_ALPHA = 0.667  # below it not even tentative conclusions (K. Krippendorff 2004, Content Analysis, ch. 11)
_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Annotation:
    """The agreement of several annotators, and what came of their labels."""

    alpha: Rate | None = None  # None: no reply has two annotators, or all labels are the same
    n_annotators: int = 0  # 0: none is named
    n_ties: int = 0

    @property
    def concerns(self) -> tuple[str, ...]:
        """Why their labels may test no judge."""
        found = self.alpha
        if found is None or found.value >= LOW_ALPHA:
            return ()
        return (
            f"its annotators agree too little: Krippendorff's alpha {found.value:.2f}"
            f" ({found.low:.2f} to {found.high:.2f}, n={found.n} replies) is below {LOW_ALPHA:g}, and no"
            " judge can agree with them better than they do",
        )


NO_ANNOTATION = Annotation()


def annotation(labels: Sequence[Label]) -> Annotation:
    """The agreement of the annotators of ``labels``: of levels where all are levels (ordinal), else nominal.

    The 95% interval is that of a jackknife which leaves out one of at most 20 blocks of replies at a time.
    """
    names = {label.annotator for label in labels if label.annotator}
    several = list(rated_by_several(labels).values())
    ties = sum(not sum(1 if one.good else -1 for one in ratings) for ratings in several)
    metric: Metric = "ordinal" if all(label.level is not None for label in labels) else "nominal"
    units = [
        {
            one.annotator: float(one.good if one.level is None or metric == "nominal" else one.level)
            for one in ratings
        }
        for ratings in several
    ]
    return Annotation(agreement(units, metric), len(names), ties)


def agreement(units: Sequence[dict[str, float]], metric: Metric) -> Rate | None:
    """Krippendorff's alpha with its 95% interval by the jackknife; None where nothing can be said."""
    whole = krippendorff_alpha(units, metric)
    if whole is None:
        return None
    from scipy.special import stdtrit

    blocks = min(_BLOCKS, len(units))
    parts = [
        krippendorff_alpha([unit for at, unit in enumerate(units) if at % blocks != block], metric)
        for block in range(blocks)
    ]
    known = [part for part in parts if part is not None]
    if len(known) < blocks or blocks < 2:  # what is left without some block is all alike: nothing is known
        return Rate(whole, -1.0, 1.0, len(units))
    mean = sum(known) / blocks
    error = sqrt((blocks - 1) / blocks * sum((part - mean) ** 2 for part in known))
    half = float(stdtrit(blocks - 1, 0.975)) * error
    return Rate(whole, max(-1.0, whole - half), min(1.0, whole + half), len(units))
