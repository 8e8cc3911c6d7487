"""How far people agree who labelled the same replies: no judge can agree with them better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Rate
from harness.scoring.agreement import Metric, agreement
from harness.scoring.labels import Label, rated_by_several

LOW_ALPHA = 0.667  # below it not even tentative conclusions (K. Krippendorff 2004, Content Analysis, ch. 11)


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
