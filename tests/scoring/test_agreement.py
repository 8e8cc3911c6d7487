"""Krippendorff's alpha against the worked example that its author published."""

from __future__ import annotations

import numpy as np
import pytest

from harness.scoring.agreement import krippendorff_alpha

# K. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve
# units, gaps as 0. The paper gives alpha = .743 for nominal data, .815 for ordinal.
OBSERVERS = {
    "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    "C": (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
}
UNITS = [{name: float(each[at]) for name, each in OBSERVERS.items() if each[at]} for at in range(12)]
# the same paper's example A: two observers, ten units, two values; alpha = .095
TWO = list(zip((0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0), strict=True))


def test_published_worked_examples() -> None:
    assert krippendorff_alpha(UNITS, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(UNITS, "ordinal") == pytest.approx(0.815, abs=5e-4)
    units = [{"Meg": float(first), "Owen": float(second)} for first, second in TWO]
    assert krippendorff_alpha(units) == pytest.approx(0.095, abs=5e-4)


def test_two_values_have_one_agreement_whatever_the_metric() -> None:
    units = [{"Meg": float(first), "Owen": float(second)} for first, second in TWO]
    assert krippendorff_alpha(units, "ordinal") == pytest.approx(krippendorff_alpha(units, "nominal"))


def test_levels_count_by_their_order_and_not_by_their_size() -> None:
    stretched = [{name: value**3 for name, value in unit.items()} for unit in UNITS]
    assert krippendorff_alpha(stretched, "ordinal") == pytest.approx(krippendorff_alpha(UNITS, "ordinal"))


def test_nothing_is_said_without_two_labels_of_one_answer_or_without_two_values() -> None:
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([{"ada": 1.0}, {"ben": 0.0}]) is None
    assert krippendorff_alpha([{"ada": 1.0, "ben": 1.0}] * 5) is None


def test_one_is_agreement_and_labels_at_random_are_near_zero() -> None:
    assert krippendorff_alpha([{"ada": 1.0, "ben": 1.0}, {"ada": 0.0, "ben": 0.0}]) == 1.0
    drawn = np.random.default_rng(0).integers(0, 2, (4000, 2)).astype(float)
    at_random = krippendorff_alpha([{"ada": a, "ben": b} for a, b in drawn.tolist()])
    assert at_random == pytest.approx(0.0, abs=0.05)


def test_answers_with_one_label_do_not_count() -> None:
    assert krippendorff_alpha([*UNITS, {"A": 1.0}]) == krippendorff_alpha(UNITS)
