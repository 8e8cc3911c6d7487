"""What labels of a run's own answers did to the gates that rest on a judge: both figures side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from harness.records import Comparison, Correction, Gate
from harness.report import numbers
from harness.report.trial_pairs import seeds_label
from harness.report.view_models import Fact

_MOST_ROWS_NAMED = 5


def corrections(gates: Iterable[Gate]) -> list[tuple[str, list[Fact]]]:
    """For each corrected gate its candidate, and what labels did to it."""
    return [
        (seeds_label(gate.size, gate.seeds, gate.candidate), [*_facts(gate.naive, found, by)])
        for gate in gates
        if (found := gate.comparison) is not None and (by := gate.correction) is not None
        if gate.naive is not None
    ]


def _facts(naive: Comparison, found: Comparison, by: Correction) -> Iterator[Fact]:
    biased = f"{numbers.level(naive.alpha)} interval; its own bias is in it, however many rows it judges"
    yield Fact("the judge alone", _shown(naive), biased)
    with_labels = f"{numbers.level(found.alpha)} interval; what decides: labels take the bias out (PPI++)"
    yield Fact("judge and labels", _shown(found), with_labels)
    yield Fact(
        "labels alone", numbers.points(by.difference_of_labels), "without the judge; all in points of 100"
    )
    who = ", ".join(f"{name} ({numbers.plural(n, 'answer')})" for name, n in by.annotators.items())
    agreement = "how far people agree is not known: no answer has two labels"
    if by.agreement is not None:
        agreement = f"Krippendorff’s alpha {numbers.number(by.agreement, 2)}, n = {by.n_shared:,}"
    rows = f"{numbers.count(by.n_labels, by.n)} by {who}"
    yield Fact("rows labelled", rows, f"{agreement}{_left_out(by.unpaired)}")
    saved = numbers.plural(max(0, round(by.labels_saved)), "label")
    weight = f"share of its judgments that is used; it saved {saved}"
    yield Fact("judge’s weight (lambda)", numbers.number(by.weight, 2), weight)


def _left_out(rows: Sequence[str]) -> str:
    if not rows:
        return ""
    named = ", ".join(rows[:_MOST_ROWS_NAMED]) + (", …" * (len(rows) > _MOST_ROWS_NAMED))
    why = "without a label of some answer: left out, and counted against the claim"
    return f"; {numbers.plural(len(rows), 'row')} {why} ({named})"


def correction_line(gate: Gate) -> str:
    """``judge alone: +7.1 [+2.0, +12.2]; with 100 labels: +2.0 [-3.1, +7.1]``; empty for other gates."""
    if gate.comparison is None or gate.correction is None or gate.naive is None:
        return ""
    labels = numbers.plural(gate.correction.n_labels, "labelled row")
    level = numbers.level(gate.comparison.alpha)
    told = "" if level == numbers.level(gate.naive.alpha) else f" ({level})"
    return f"judge alone: {_shown(gate.naive)}; with {labels}: {_shown(gate.comparison)}{told}"


def _shown(found: Comparison) -> str:
    if found.difference is None:
        return numbers.NONE
    return f"{numbers.points(found.difference)} {numbers.interval(found.low, found.high)}"
