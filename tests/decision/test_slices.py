from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decision_builders import suite_of, trial_of
from scipy.stats import false_discovery_control

from harness.decision.exploratory import by_slice
from harness.decision.vectors import SuiteUnits, recorded_units, recorded_vector
from harness.errors import UnknownName
from harness.records import Kind, Outcome, Score, ScoreVector


def sides(better: dict[str, float], languages: list[str]) -> tuple[SuiteUnits, ScoreVector, ScoreVector]:
    rng = np.random.default_rng(2)
    base = rng.random(len(languages)) < 0.5
    tuned = [bool(rng.random() < better.get(language, 0.5)) for language in languages]
    suite = suite_of(languages)
    trials = (
        trial_of(name, [Score(float(v)) for v in said]) for name, said in (("tuned", tuned), ("base", base))
    )
    candidate, baseline = (recorded_vector(suite, trial, "intent") for trial in trials)
    return recorded_units(suite), candidate, baseline


def test_each_slice_has_its_own_comparison_and_an_adjusted_two_sided_p() -> None:
    languages = ["en"] * 60 + ["de"] * 60 + ["fr"] * 60 + ["it"] * 4
    found = by_slice(*sides({"en": 0.95, "de": 0.05}, languages), "language")
    assert [one.value for one in found] == ["en", "de", "fr", "it"]
    assert [one.comparison.outcome for one in found[:2]] == [Outcome.SHOWN, Outcome.REFUTED]
    raw = [one.comparison.p_one_sided for one in found[:3]]
    expected = false_discovery_control([2 * min(p, 1 - p) for p in raw if p is not None])
    assert [one.bh_adjusted_p for one in found[:3]] == pytest.approx(expected.tolist())


def test_a_preference_is_set_against_a_tie_in_each_slice() -> None:
    units, tuned, _ = sides({"en": 0.95, "de": 0.05}, ["en"] * 60 + ["de"] * 60)
    preferred = replace(tuned, kind=Kind.PREFERENCE)
    found = by_slice(units, preferred, 0.5, "language")
    assert [one.comparison.outcome for one in found] == [Outcome.SHOWN, Outcome.REFUTED]
    assert found[0].comparison.baseline == "0.5"


def test_a_slice_under_ten_rows_keeps_its_n_and_means_and_stays_out_of_the_adjustment() -> None:
    found = by_slice(*sides({}, ["en"] * 50 + ["it"] * 4), "language")
    value, comparison, adjusted = found[1]
    assert (value, comparison.n, comparison.outcome, adjusted) == ("it", 4, Outcome.INCONCLUSIVE, None)
    assert comparison.candidate_mean is not None
    assert comparison.low is None


def test_rows_without_the_key_are_in_no_slice() -> None:
    found = by_slice(*sides({}, ["en"] * 20 + [""] * 20), "language")
    assert [(one.value, one.comparison.n) for one in found] == [("en", 20)]


def test_an_unknown_key_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="There are: language"):
        by_slice(*sides({}, ["en"] * 20), "langage")
