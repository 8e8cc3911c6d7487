"""A candidate of anybody's: whatever its members raise or give amiss is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from harness.candidates.base import Ask, Candidate, Variant
from harness.candidates.guarded import guarded
from harness.candidates.lab import Lab
from harness.errors import CandidateError, DataError, HarnessError
from harness.models.progress import Silent
from harness.models.protocol import Model
from harness.store.adapters import AdapterStore
from harness.testing import Scripted

MEMBERS = ("data", "described", "endpoint", "estimate", "notes", "own_baseline", "preflight", "prepare")
PLAIN = Scripted(train="train.jsonl", reply=lambda prompt, size: "yes")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    return Lab(root=tmp_path, adapters=AdapterStore(tmp_path / "kept"), progress=Silent())


class Odd:
    """Not derived from anything; one member of another candidate is replaced."""

    def __init__(self, member: str, value: object) -> None:
        self.member, self.value = member, value

    def __getattr__(self, name: str) -> object:
        return self.value if name == self.member else getattr(PLAIN, name)


def held(member: str, value: object) -> Candidate:
    return guarded(cast(Candidate, Odd(member, value)), "odd", "conftest.py:7")


def called(candidate: Candidate, member: str, lab: Lab) -> object:
    variant = Variant("odd", candidate, 1, 0)
    given = {"data": (lab,), "described": (), "endpoint": (), "own_baseline": (), "redirected": ("url",)}
    return getattr(candidate, member)(*given.get(member, (lab, variant)))


@pytest.mark.parametrize("member", [*MEMBERS, "redirected"])
@pytest.mark.parametrize(
    "error",
    [ValueError("boom"), KeyError("k"), SystemExit(3), RecursionError(), BaseException("b"), MemoryError()],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_names_the_candidate_the_member_and_the_line(
    lab: Lab, member: str, error: BaseException
) -> None:
    def fails(*_: object) -> None:
        raise error

    with pytest.raises(CandidateError) as raised:
        called(held(member, fails), member, lab)
    said = str(raised.value)
    assert said.startswith(f"conftest.py:7: the candidate odd: its {member}() raised {type(error).__name__}")
    assert "test_guarded.py:" in said
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("outcome", [pytest.skip.Exception("s"), pytest.fail.Exception("f")])
def test_outcomes_of_tests_are_no_outcomes_of_candidates(lab: Lab, outcome: BaseException) -> None:
    def ends(*_: object) -> None:
        raise outcome

    with pytest.raises(CandidateError, match="its preflight"):
        called(held("preflight", ends), "preflight", lab)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), pytest.exit.Exception("enough"), DataError("f", "p", "h")]
)
def test_what_ends_a_session_and_errors_of_the_harness_pass(lab: Lab, error: BaseException) -> None:
    def ends(*_: object) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        called(held("data", ends), "data", lab)
    assert raised.value is error


@pytest.mark.parametrize("member", ["data", "described", "endpoint", "estimate", "notes", "prepare"])
@pytest.mark.parametrize("value", [7, "text", object(), Scripted])
def test_what_a_member_must_not_give_is_named(lab: Lab, member: str, value: object) -> None:
    with pytest.raises(CandidateError, match=rf"odd: its {member}\(\) gives .* no "):
        called(held(member, lambda *_: value), member, lab)


@pytest.mark.parametrize(
    ("member", "value"), [("kind", 7), ("decoding", None), ("model_name", b"x"), ("cost_rank", "1")]
)
def test_a_value_of_another_type_is_named(member: str, value: object) -> None:
    with pytest.raises(CandidateError, match=f"odd: its {member} is .* no "):
        getattr(held(member, value), member)


def test_what_is_described_is_json(lab: Lab) -> None:
    for value in ({"a": object()}, {"a": {1, 2}}, {("a",): 1}, {"a": b"x"}):
        with pytest.raises(CandidateError, match="what JSON does not hold"):
            called(held("described", lambda v=value: v), "described", lab)


def test_baselines_and_redirected_candidates_are_held_as_well(lab: Lab) -> None:
    for member in ("own_baseline", "redirected"):
        made = called(held(member, lambda *_: Odd("data", lambda lab: 7)), member, lab)
        with pytest.raises(HarnessError, match=rf"{member}\(\) of odd: its data\(\) gives 7"):
            called(made, "data", lab)  # type: ignore[arg-type]
        with pytest.raises(HarnessError, match=f"the {member}.. of odd"):
            called(held(member, lambda *_: "no candidate"), member, lab)


def test_a_held_candidate_equals_the_candidate_and_can_be_a_key() -> None:
    @dataclass(frozen=True)
    class Mine:
        name: str

    mine = [cast(Candidate, Mine(name)) for name in "aab"]
    one, two, other = (guarded(made, name, "conftest.py:7") for made, name in zip(mine, "xyz", strict=True))
    assert one == two == mine[0]
    assert len({one, two, mine[0]}) == 1
    assert one != other


def test_loading_and_asking_are_held_too(lab: Lab) -> None:
    def fails(*_: object) -> None:
        raise OSError("no weights")

    prepared = replace(
        PLAIN.prepare(lab, Variant("odd", PLAIN, 1, 0)),
        load=cast(Callable[[], Model], fails),
        ask=cast(Ask, fails),
    )
    made = held("prepare", lambda *_: prepared).prepare(lab, Variant("odd", PLAIN, 1, 0))
    with pytest.raises(CandidateError, match=r"the load.. of what it prepared raised OSError: no weights"):
        made.load()
    with pytest.raises(CandidateError, match=r"the ask.. of what it prepared, of train\.jsonl:1, raised"):
        made.ask(replace(lab.rows("train.jsonl")[0], where="train.jsonl:1"), None)
