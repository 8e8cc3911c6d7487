"""Labels of pairs that are too few to admit their judge, told before anything is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from planned_project import HOSTED, NOWHERE, Project

from harness.models.remote import RemoteModel
from harness.run.few_labels import few_label_notes
from harness.scoring.judges import Judge
from harness.scoring.pair_labels import PairLabel
from harness.scoring.pairwise import Pairwise
from harness.scoring.panel import Panel
from harness.scoring.suite import SuiteScore


@pytest.mark.parametrize("is_panel", [False, True])
@pytest.mark.parametrize(("n", "told"), [(25, ""), (24, "its labels give 25 pairs to the first and 24 to")])
def test_few_pairs_of_a_side_are_told_for_one_judge_and_for_several(
    tmp_path: Path, n: int, told: str, is_panel: bool
) -> None:
    labels = tuple(
        PairLabel("m", "", f"a{k}", f"b{k}", "first" if k < 25 else "second") for k in range(25 + n)
    )
    model = RemoteModel("gpt-4o-mini", NOWHERE, profile="twin")
    one = Pairwise(model, "It is better.", labels="pairs.jsonl", known=labels)
    judge: Judge = one
    if is_panel:
        judge = Panel((one, replace(one, name="other")), name="preference", known=labels)
    (bound,) = Project(tmp_path, {"hosted": HOSTED}).run().suites.values()
    (*said,) = few_label_notes(replace(bound, scores=(cast(SuiteScore, judge),)))
    assert len(said) == bool(told)
    assert told in "".join(said)
