"""Choosing candidates by name and pattern, as far as each test sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import Prompted
from harness.candidates.lab import Lab
from harness.errors import UnknownName, UsageError
from harness.models.progress import Silent
from harness.run.selection import Definition, Selection, match_names
from harness.settings import Settings, parse_settings
from harness.store.adapters import AdapterStore

NAMES = ("few-shot-5", "qlora-r16", "qlora-r8", "prompted")


def settings(root: Path, *candidates: str, **asked: object) -> Settings:
    return parse_settings({"candidate": list(candidates), **asked}, root)


def defined(root: Path, name: str, model: str, folder: str = "") -> Definition:
    return Definition(name, Prompted(model=model), root / folder, f"{folder}/conftest.py:3")


def selection(root: Path, *candidates: str, **asked: object) -> Selection:
    return Selection(settings(root, *candidates, **asked), Lab(root, AdapterStore(root), Silent()))


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["qlora-r16"], ("qlora-r16",)),
        (["qlora_r16"], ("qlora-r16",)),
        (["qlora*"], ("qlora-r16", "qlora-r8")),
        (["prompted", "q*8", "*"], ("prompted", "qlora-r8", "few-shot-5", "qlora-r16")),
        ([], ()),
        (["nothing"], ()),
    ],
)
def test_patterns_choose_in_their_order_and_each_once(patterns: list[str], chosen: tuple[str, ...]) -> None:
    assert match_names(patterns, NAMES) == chosen


def test_a_pattern_that_no_test_matches_is_refused_with_what_there_is(tmp_path: Path) -> None:
    chosen = selection(tmp_path, "qlora-16", "p*")
    assert chosen.choose({}) == ()  # another test may see it
    chosen.choose({"prompted": defined(tmp_path, "prompted", "m")})
    with pytest.raises(UnknownName, match=r"unknown candidate 'qlora-16'.*'qlora-r16'.*few-shot-5, prompted"):
        chosen.require_matches(NAMES)
    with pytest.raises(UnknownName, match="There is no candidate at all"):
        selection(tmp_path, "x").require_matches([])


def test_two_definitions_of_one_name_are_two_candidates(tmp_path: Path) -> None:
    chosen = selection(tmp_path, "good")
    (outer,) = chosen.choose({"good": defined(tmp_path, "good", "one")})
    (inner,) = chosen.choose({"good": defined(tmp_path, "good", "two", "suites/other")})
    assert (outer.name, inner.name) == ("good", "suites/other:good")
    assert chosen.chosen() == ("good", "suites/other:good")
    assert [chosen.candidate(name).model_name for name in chosen.chosen()] == ["one", "two"]
    assert chosen.choose({"good": defined(tmp_path, "good", "one")}) == (outer,)


def test_a_candidate_with_two_baselines_of_one_name_is_refused(tmp_path: Path) -> None:
    chosen = selection(tmp_path, "good", baseline="plain")
    good = defined(tmp_path, "good", "one")
    chosen.choose({"good": good, "plain": defined(tmp_path, "plain", "a")})
    with pytest.raises(UsageError, match="two different candidates that are called plain: plain and b:plain"):
        chosen.choose({"good": good, "plain": defined(tmp_path, "plain", "b", "b")})


def test_candidates_of_one_base_share_a_baseline_wherever_they_are_defined(tmp_path: Path) -> None:
    chosen = selection(tmp_path, "*")
    chosen.choose({"one": defined(tmp_path, "one", "m", "a"), "two": defined(tmp_path, "two", "m", "b")})
    assert {chosen.baseline_of(name).label for name in ("one", "two")} == {"prompted-m"}


def test_one_path_in_two_folders_is_two_bases(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "m").mkdir(parents=True)
    chosen = selection(tmp_path, "*")
    chosen.choose({"one": defined(tmp_path, "one", "m", "a"), "two": defined(tmp_path, "two", "m", "b")})
    assert [chosen.baseline_of(name).label for name in ("one", "two")] == ["prompted-m", "prompted-m-2"]


def test_the_rungs_of_a_ladder_have_one_baseline_and_one_of_them_may_be_it(tmp_path: Path) -> None:
    models = {"prompt": "small", "again": "small", "large": "large"}
    given = {name: defined(tmp_path, name, model) for name, model in models.items()}
    chosen = selection(tmp_path, ladder="first")
    chosen.choose(given)
    assert chosen.share_baseline(["prompt", "again", "large"]) == ["large"]  # which alone would have its own
    assert {chosen.baseline_of(name).name for name in models} == {"prompt"}
    assert (chosen.rungs(), chosen.chosen()) == (("prompt", "again", "large"), ("again", "large"))
    chosen.leave_out("again")
    assert (chosen.rungs(), chosen.chosen()) == (("prompt", "large"), ("large",))
    named = selection(tmp_path, ladder="first", baseline="large")
    named.choose(given)
    assert {named.baseline_of(name).name for name in models} == {"large"}
    assert named.chosen() == ("prompt", "again")
