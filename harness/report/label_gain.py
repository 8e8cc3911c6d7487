"""What labelling would bring, before anybody labels: on the page, in the terminal and in ``--plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.decision.plan import PlannedLabels
from harness.decision.sampling import CORRELATIONS, SPREAD, label_gains
from harness.records import Rate

_TAKEN = "taken for the correlation of judged and true differences"


@dataclass(frozen=True, slots=True)
class LabelOutlook:
    """What is known of a judge and of true differences, and where it is from."""

    n_rows: int
    correlations: tuple[float, ...] = CORRELATIONS  # of judged and true differences
    of: str = "kappa"  # what the correlations are
    source: str = f"The judge's kappa is not known: three are assumed, {_TAKEN}."
    spread: float | None = None  # of true differences; None: a planning value

    @property
    def header(self) -> tuple[str, ...]:
        """Of the table: rows labelled, labels alone, and a column for each correlation."""
        judged = tuple(f"{self.of} {rho:.2f}" for rho in self.correlations)
        return "rows labelled", "labels alone", *judged

    @property
    def table(self) -> list[tuple[str, ...]]:
        """Half of the interval in points; with a judge also its standard error over that of labels alone."""
        spread = SPREAD if self.spread is None else self.spread
        return [
            (
                f"{gain.labels:,}",
                f"±{100 * gain.alone:.1f}",
                *(f"±{100 * gain.alone * share:.1f} (×{share:.2f})" for share in gain.shares),
            )
            for gain in label_gains(self.n_rows, self.correlations, spread)
        ]

    @property
    def note(self) -> str:
        """What the figures are, and what they assume."""
        given = "as labels of these answers show" if self.spread is not None else "at a planning value"
        return (
            "Half of the 90% interval in points; in brackets its standard error over that of labels alone."
            f" {self.source} True differences have a standard deviation of"
            f" {100 * (SPREAD if self.spread is None else self.spread):.0f} points, {given}."
        )


def by_kappa(kappa: Rate | None, n_rows: int) -> LabelOutlook:
    """By the judge's kappa on its labels, which is near the correlation where both say good as often."""
    if kappa is None:
        return LabelOutlook(n_rows)
    found = dict.fromkeys(max(value, 0.0) for value in (kappa.low, kappa.value, kappa.high))
    source = f"Kappa is the judge's on its labels, with its 95% interval (n={kappa.n}), {_TAKEN}."
    return LabelOutlook(n_rows, tuple(found), source=source)


def planned_outlook(labels: PlannedLabels) -> LabelOutlook:
    """By labels of an earlier run, else by the judge's kappa in one."""
    if labels.correlation is None:
        return by_kappa(labels.kappa, labels.rows)
    source = f"It is that of judged and true differences in run {labels.earlier}."
    return LabelOutlook(labels.rows, (labels.correlation,), "correlation", source, labels.spread)


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as aligned lines of text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
