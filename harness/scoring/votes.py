"""How much several judges say together: how far they agree, and how many independent ones they weigh as."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import Rate
from harness.scoring.agreement import agreement, jackknifed

Matrix = npt.NDArray[np.float64]

_NO_SPREAD = 1e-12


def effective_votes(scores: Matrix, labels: Sequence[float]) -> Rate | None:
    """The number of judges with independent errors that ``n`` judges weigh as: ``n / (1 + (n - 1) rho)``.

    That is L. Kish's design effect (1965, *Survey Sampling*), for a row's judges in place of a cluster's
    members. ``rho`` is the mean correlation of their errors: of what is left of a judge's scores without its
    mean on the same label, for that mean is no error where a threshold is set. Where judges err against each
    other, all of them count. None where the errors of fewer than two judges differ from row to row.

    Args:
        scores: of shape (rows, judges).
        labels: what people said of each row.
    """
    n_judges, truth = int(scores.shape[1]), np.asarray(labels)

    def votes(places: npt.NDArray[np.int64]) -> float | None:
        own = scores[places].copy()
        for label in set(labels):
            alike = truth[places] == label
            if alike.any():
                own[alike] -= own[alike].mean(axis=0)
        moving = own[:, own.std(axis=0) > _NO_SPREAD]
        if moving.shape[1] < 2:
            return None
        correlations: Matrix = np.asarray(np.corrcoef(moving, rowvar=False), dtype=np.float64)
        rho = float(np.mean(correlations[np.triu_indices(moving.shape[1], 1)]))
        return n_judges / (1.0 + (n_judges - 1) * max(0.0, rho))

    return jackknifed(votes, len(scores), 1.0, float(n_judges))


def agreement_of(votes: Matrix) -> Rate | None:
    """Krippendorff's alpha of verdicts of shape (labels, judges); None where all are the same."""
    return agreement([{str(judge): float(vote) for judge, vote in enumerate(each)} for each in votes])


def complete(rows: Sequence[Sequence[float | None]]) -> tuple[list[int], Matrix]:
    """The places of the rows without a gap, and those rows."""
    places = [at for at, row in enumerate(rows) if None not in row]
    return places, np.array([rows[at] for at in places], dtype=np.float64)
