"""A run record as a report: which blocks there are, in which order. Pure."""

from __future__ import annotations

from harness.records import RunRecord
from harness.report.answers import answers
from harness.report.comparisons import comparisons
from harness.report.costs import costs
from harness.report.headline import headline
from harness.report.learning import learning_curves
from harness.report.provenance import provenance
from harness.report.slice_tables import NOTE, slices
from harness.report.spending import spending
from harness.report.trainings import trainings
from harness.report.view_models import ReportView


def build_view(record: RunRecord) -> ReportView:
    """Everything the reports show, in reading order, formatted; nothing that is not in the record."""
    return ReportView(
        headline=headline(record),
        curves=learning_curves(record),
        comparisons=comparisons(record),
        slices=slices(record),
        slices_note=NOTE,
        answers=answers(record),
        costs=costs(record),
        spending=spending(record),
        training=trainings(record),
        run=provenance(record),
    )
