"""Fields of suites, candidates, models and decodings: nonsense is refused where it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import (
    Decoding,
    ExactMatch,
    FewShot,
    Full,
    HostedTuning,
    LoRA,
    OpenAITuning,
    Prompted,
    QLoRA,
    RemoteModel,
    SelfGenerated,
    Suite,
    WandB,
)
from harness.errors import UsageError
from harness.fields import _declared, require_fields
from harness.testing import Scripted

RIGHT: dict[type, dict[str, object]] = {
    Suite: {"heldout": "heldout.jsonl", "scores": (ExactMatch(),)},
    Decoding: {},
    Prompted: {"model": "smollm2-135m"},
    FewShot: {"model": "smollm2-135m", "train": "train.jsonl"},
    LoRA: {"base": "smollm2-135m", "train": "train.jsonl"},
    QLoRA: {"base": "smollm2-135m", "train": "train.jsonl"},
    Full: {"base": "smollm2-135m", "train": "train.jsonl"},
    OpenAITuning: {"base": "gpt-4o-mini-2024-07-18", "train": "train.jsonl"},
    RemoteModel: {"model": "gpt-4o-mini"},
    SelfGenerated: {},
    WandB: {"project": "p"},
    Scripted: {"reply": lambda prompt, size: "yes", "train": "train.jsonl"},
}
NO_COUNT: tuple[object, ...] = (0, -1, 2.5, True, "8", None, 10**30, math.nan, math.inf, (), object())
NO_TEXT: tuple[object, ...] = (
    "",
    1,
    True,
    b"x",
    ["x"],
    {"x": 1},
    "a\0b",
    "\ud800",
    "a\nb",
    "x" * 5_000,
    Path("x"),
    object(),
)
NO_NUMBER: tuple[object, ...] = (math.nan, math.inf, -math.inf, True, "3", [], 10**400, b"3", complex(1))


def each(kind: type, name: str, *values: object) -> list[tuple[type, str, object]]:
    return [(kind, name, value) for value in values]


WRONG: list[tuple[type, str, object]] = [
    *[(Suite, "max_tokens", value) for value in NO_COUNT if value is not None],
    *each(Suite, "group", None, *NO_TEXT),
    *[(Suite, name, value) for name in ("heldout", "prompt", "final") for value in NO_TEXT[:-2]],
    *each(Suite, "slices", "language", (1,), None, ("",), {"language"}),
    *each(Suite, "scores", (ExactMatch,), None, ExactMatch(), "right"),
    *each(Decoding, "max_new_tokens", *NO_COUNT),
    *each(Decoding, "temperature", *NO_NUMBER, -1, -0.1),
    *each(Decoding, "top_p", *NO_NUMBER, 0, -0.0, 1.1),
    *each(Decoding, "seed", -1, 1.5, True, 2**63),
    *each(Decoding, "thinking", 1, 0, "no"),
    *each(Prompted, "model", None, *NO_TEXT),
    *each(Prompted, "decoding", None, {}, "greedy", Decoding),
    *each(FewShot, "shots", *NO_COUNT),
    *each(LoRA, "epochs", *NO_NUMBER, 0, -1, None),
    *each(Full, "learning_rate", *NO_NUMBER, 0, 1e9),
    *each(QLoRA, "r", *NO_COUNT),
    *each(QLoRA, "dropout", 1, 1.5, -0.1, True),
    *each(LoRA, "targets", (), "q_proj", ["q_proj"], ("",), (1,)),
    *each(LoRA, "top_layers", 0, -1, 1.5, True),
    *each(LoRA, "warmup", -0.1, 1.1, math.nan),
    *each(LoRA, "ship", "", "both", None, True),
    *[(LoRA, name, value) for name in ("train", "base") for value in (None, *NO_TEXT)],
    *each(LoRA, "replay", 1, "", SelfGenerated, []),
    *each(OpenAITuning, "epochs", 0, 51, True, 1.5, "AUTO", None),
    *each(OpenAITuning, "learning_rate_multiplier", *NO_NUMBER, 0, -1),
    *each(OpenAITuning, "checkpoint", 0, True, "first", None, 1.5),
    *each(OpenAITuning, "metadata", None, [], "a=b", 3),
    *each(OpenAITuning, "wandb", "project", WandB, {}),
    *each(RemoteModel, "attempts", *NO_COUNT),
    *each(RemoteModel, "timeout_s", *NO_NUMBER, 0, -1),
    *each(RemoteModel, "batch", 1, "yes", None),
    *each(SelfGenerated, "max_new_tokens", *NO_COUNT),
    *each(WandB, "tags", "a", ["a"], (1,)),
    *[(Scripted, name, value) for name in ("train", "base", "version") for value in (None, *NO_TEXT)],
    *each(Scripted, "reply", None, "yes", 1),
]


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_is_taken(kind: type) -> None:
    made = kind(**RIGHT[kind])
    assert {one.name for one in fields(made)} <= set(_declared(kind))


def test_a_field_that_cannot_be_is_named_with_its_value_and_what_it_takes() -> None:
    for kind, name, value in WRONG:
        with pytest.raises(UsageError) as raised:
            kind(**{**RIGHT[kind], name: value})
        said = str(raised.value)
        assert said.startswith(f"{kind.__name__}("), said
        assert name in said
        assert len(said) < 400
        assert said.isprintable() or "\n" in said


def test_ints_are_numbers_and_paths_name_a_suite_s_files() -> None:
    assert LoRA(base="b", train="t", epochs=2, alpha=16, learning_rate=1).epochs == 2
    assert Suite(heldout=Path("held.jsonl"), scores=(ExactMatch(),)).heldout == Path("held.jsonl")


def test_a_class_of_a_project_s_own_declares_its_fields_as_it_likes() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Ensemble(Prompted):
        model: tuple[str, ...]  # type: ignore[assignment]  # wider than ours
        weights: dict[str, float] = field(default_factory=dict)

    assert Ensemble(model=("a", "b"), weights={"a": 1.0}).model == ("a", "b")
    with pytest.raises(UsageError, match=r"Ensemble\(decoding=None\)"):
        Ensemble(model=("a",), decoding=None)  # type: ignore[arg-type]


def test_a_provider_need_not_derive_from_anything() -> None:
    class Cloud:
        def __hash__(self) -> int:
            return 1

    assert HostedTuning(base="b", train="t", provider=Cloud()).base == "b"  # type: ignore[arg-type]


@given(st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers(), st.binary()))
def test_whatever_is_given_for_a_count_is_a_count_or_refused(value: object) -> None:
    try:
        made = Decoding(max_new_tokens=value)  # type: ignore[arg-type]
    except UsageError:
        return
    assert type(made.max_new_tokens) is int
    assert made.max_new_tokens >= 1


def test_a_value_whose_repr_fails_is_refused_all_the_same() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    @dataclass(frozen=True)
    class Mine:
        n: int = 1

        def __post_init__(self) -> None:
            require_fields(self)

    assert Mine(n=Rude()).n is not None  # type: ignore[arg-type]  # not declared by this package
    with pytest.raises(UsageError, match="whose repr fails"):
        Decoding(max_new_tokens=Rude())  # type: ignore[arg-type]
