"""What a plan knows of a judge: labels of an earlier run's answers, else its kappa."""

from __future__ import annotations

from dataclasses import replace

import pytest
from labelled_run import lines, parsed, run, without_obstacles

from harness.records import LabelFile
from harness.run.deciding import decide_with_labels
from harness.run.plan_labels import _earlier


def test_a_run_that_was_decided_tells_correlation_and_spread() -> None:
    record = without_obstacles(run())
    files = [LabelFile("labels.jsonl", "ab" * 32, 120)]
    found = _earlier(decide_with_labels(record, parsed(lines(record)), files, ""), "support", "summary", 120)
    assert found is not None
    assert found.correlation == pytest.approx(0.95, abs=0.05)  # the judge is the truth, hardly blurred
    assert found.spread == pytest.approx(0.73, abs=0.05)
    assert _earlier(record, "support", "summary", 120) is None  # nothing is known of the judge
    assert _earlier(replace(record, gates=()), "other", "summary", 120) is None
