"""What labels of a run's own answers did to the gates that rest on a judge: both figures side by side."""

from __future__ import annotations

from harness.records import Comparison, Gate, RunRecord
from harness.report import numbers
from harness.report.trial_pairs import seeds_label
from harness.report.view_models import TextTable

_MOST_ROWS_NAMED = 5


def corrections(record: RunRecord) -> TextTable | None:
    """One line for each corrected gate; None where there is none."""
    lines, unpaired = [], dict[str, None]()
    for gate in record.gates:
        found, by = gate.comparison, gate.correction
        if found is None or by is None or gate.naive is None:
            continue
        unpaired |= dict.fromkeys(by.unpaired)
        agreement = numbers.NONE
        if by.agreement is not None:
            agreement = f"{numbers.number(by.agreement, 2)}, n = {by.n_shared:,}"
        lines.append(
            (
                f"{gate.suite} / {found.score}, {seeds_label(gate.size, gate.seeds, gate.candidate)}",
                _shown(gate.naive),
                _shown(found),
                numbers.points(by.difference_of_labels),
                numbers.count(by.n_labels, by.n),
                numbers.number(by.weight, 2),
                numbers.count(max(0, round(by.labels_saved))),
                ", ".join(f"{name} {n:,}" for name, n in by.annotators.items()),
                agreement,
            )
        )
    if not lines:
        return None
    note = (
        "The judge's own bias is in its figure, however many rows it judges; labels of some rows take it out"
        " (prediction-powered inference, A. N. Angelopoulos et al. 2023). The weight is the share of the"
        " judgments that is used: 0 leaves the labels alone. Labels saved: how many more would be as exact"
        " without the judge. Agreement where several people labelled one answer: Krippendorff's alpha, 1 at"
        " best, 0 by chance."
    )
    if unpaired:
        named = ", ".join([*unpaired][:_MOST_ROWS_NAMED]) + (", …" * (len(unpaired) > _MOST_ROWS_NAMED))
        left_out = numbers.plural(len(unpaired), "row")
        note += (
            f" Without a label of some answer, so left out of the figures, and counted against a claim that"
            f" would be shown: {left_out} ({named})."
        )
    return TextTable(
        "Judged gates, corrected by labels of this run's answers",
        (
            "gate",
            "judge alone",
            "with labels",
            "labels alone#",
            "rows labelled#",
            "judge's weight#",
            "labels saved#",
            "labels by",
            "agreement",
        ),
        lines,
        note,
    )


def correction_line(gate: Gate) -> str:
    """``judge alone: +7.1 [+2.0, +12.2]; with 100 labels: +2.0 [-3.1, +7.1]``; empty for other gates."""
    if gate.comparison is None or gate.correction is None or gate.naive is None:
        return ""
    labels = numbers.plural(gate.correction.n_labels, "labelled row")
    return f"judge alone: {_shown(gate.naive)}; with {labels}: {_shown(gate.comparison)}"


def _shown(found: Comparison) -> str:
    if found.difference is None:
        return numbers.NONE
    return f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}"
