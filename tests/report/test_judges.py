"""What a report says of a judge: how it did on labels, whether it decides, and what to look at."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from sample_run import ADMISSION, sample_run

from harness.records import Admission, Rate, RunRecord
from harness.report.judges import UNSEEN, admission_figures, judge_cautions, judges_table
from harness.report.runjson import dump_run, load_run

ADMITTED = replace(
    ADMISSION,
    admitted=True,
    tpr=Rate(0.9, 0.79, 0.96, 50),
    tnr=Rate(0.88, 0.76, 0.94, 50),
    reasons=(),
    weighted_kappa=Rate(0.71, 0.6, 0.82, 100),
    slope=Rate(0.62, 0.51, 0.73, 100),
    length_effect=Rate(0.4, 0.22, 0.55, 100),
    alpha=Rate(0.61, 0.4, 0.82, 80),
    n_annotators=3,
    n_ties=1,
    concerns=("of replies that people called alike it prefers the longer", "its annotators agree too little"),
)


def judged(
    admission: Admission,
    trust: Literal["", "run-labels", "transfer"],
    state: Literal["gated", "advisory"],
) -> RunRecord:
    """The sample run with another admission of its judge, as it is read back from its file."""
    record = sample_run(n_rows=20)
    suites = tuple(
        replace(
            suite,
            scores=tuple(
                replace(info, admission=admission, trust=trust) if info.admission else info
                for info in suite.scores
            ),
        )
        for suite in record.suites
    )
    gates = tuple(replace(g, state=state) if g.state == "advisory" else g for g in record.gates)
    return load_run(dump_run(replace(record, suites=suites, gates=gates)), "run.json")


@pytest.mark.parametrize(
    ("trust", "state", "title"),
    [
        ("run-labels", "advisory", "was admitted on labels from elsewhere: its gates only advise."),
        ("transfer", "gated", 'decides on labels from elsewhere (trust="transfer").'),
        ("run-labels", "gated", None),
        ("", "gated", None),
    ],
)
def test_what_labels_from_elsewhere_cannot_see_is_said_where_they_decide_or_might(
    trust: Literal["", "run-labels", "transfer"], state: Literal["gated", "advisory"], title: str | None
) -> None:
    found = list(judge_cautions(judged(ADMITTED, trust, state)))
    said = [caution for caution in found if caution.details == (UNSEEN,)]
    assert [caution.title for caution in said] == (
        [f"The judge of support / summary {title}"] if title else []
    )
    assert found[-1].details == ADMITTED.concerns


def test_every_figure_stands_with_its_interval_and_n() -> None:
    figures = dict(admission_figures(ADMITTED))
    assert figures["TPR + TNR − 1"].startswith("0.78 [0.6")
    assert figures["weighted kappa of levels"] == "0.71 [0.60, 0.82], n = 100"
    assert figures["rank correlation with length, labels alike"] == "0.40 [0.22, 0.55], n = 100"
    assert figures["Krippendorff’s alpha of its annotators"] == "0.61 [0.40, 0.82], n = 80"
    assert figures["labelled by"] == "3 annotators, 1 tie left out"
    assert "weighted kappa of levels" not in dict(admission_figures(ADMISSION))
    (line,) = judges_table(judged(ADMITTED, "transfer", "gated")).rows
    assert line[2:4] == ("yes", "the labels that admit it")
    assert "slope of scores on labels 0.62" in line[4]
