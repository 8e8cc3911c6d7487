"""The name of a training follows from its content: every byte that shapes it, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version

import pytest
from tiny_llama import BF16, EXACT, rows

from harness import Full, LoRA, QLoRA, SelfGenerated
from harness.models.device import DevicePlan
from harness.models.fast import ALL_OFF
from harness.models.protocol import Decoding
from harness.training.local import recipe as room
from harness.training.local.recipe import training_fingerprint
from harness.training.rows import TrainingRows

LORA = LoRA(base="tiny", train="train.jsonl", r=4, alpha=8, epochs=2, batch_rows=4, learning_rate=2e-2)
ROWS = TrainingRows(own=rows(8))
DIGEST = "d" * 64


def print_of(
    spec: LoRA | Full = LORA,
    digest: str = DIGEST,
    data: TrainingRows = ROWS,
    seed: int = 0,
    plan: DevicePlan = BF16,
) -> str:
    return training_fingerprint(spec.recipe(), digest, data, seed, plan)


def changed_message() -> Iterator[TrainingRows]:
    first, *rest = ROWS.own
    user, assistant = first.messages
    for messages in (
        (replace(user, content=user.content + " "), assistant),
        (user, replace(assistant, content=assistant.content.lower())),
        (user, replace(assistant, weight=0)),
        (replace(user, role="system"), assistant),
    ):
        yield replace(ROWS, own=(replace(first, messages=messages), *rest))


@pytest.mark.parametrize("data", list(changed_message()), ids=["a space", "a capital", "a weight", "a role"])
def test_any_change_of_a_row_is_another_training(data: TrainingRows) -> None:
    assert print_of(data=data) != print_of()


@pytest.mark.parametrize(
    "data",
    [
        TrainingRows(own=ROWS.own[::-1]),
        TrainingRows(own=ROWS.own[1:]),
        TrainingRows(own=ROWS.own[1:], replay=ROWS.own[:1]),
        TrainingRows(own=ROWS.own, dev=ROWS.own[:1]),
        TrainingRows(own=ROWS.own, replay=ROWS.own[:1]),
    ],
    ids=["order", "one fewer", "one moved to replay", "development rows", "replay rows"],
)
def test_other_rows_are_another_training(data: TrainingRows) -> None:
    assert print_of(data=data) != print_of()


@pytest.mark.parametrize(
    "spec",
    [
        QLoRA(**{f.name: getattr(LORA, f.name) for f in dataclasses.fields(LORA)}),
        replace(LORA, r=8),
        replace(LORA, alpha=16),
        replace(LORA, dropout=0.1),
        replace(LORA, targets=("q_proj",)),
        replace(LORA, top_layers=1),
        replace(LORA, epochs=3),
        replace(LORA, learning_rate=1e-3),
        replace(LORA, warmup=0.2),
        replace(LORA, weight_decay=0.1),
        replace(LORA, batch_rows=8),
        replace(LORA, max_tokens=100),
        replace(LORA, dev_evaluations=5),
    ],
    ids=lambda spec: next(
        (f.name for f in dataclasses.fields(spec) if getattr(spec, f.name) != getattr(LORA, f.name)),
        spec.kind,
    ),
)
def test_another_recipe_is_another_training(spec: LoRA | Full) -> None:
    assert print_of(spec) != print_of()


def test_seed_base_and_numerics_are_in_the_fingerprint() -> None:
    others = {
        print_of(seed=1),
        print_of(digest="e" * 64),
        print_of(plan=EXACT),
        print_of(plan=replace(BF16, device="cuda")),
        print_of(plan=replace(BF16, training_attention="sdpa")),
        print_of(plan=replace(BF16, fast=ALL_OFF)),
    }
    assert len(others - {print_of()}) == 6


@pytest.mark.parametrize("package", ["torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate"])
def test_a_new_version_of_what_trains_is_another_training(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = print_of()
    monkeypatch.setattr(room, "version", lambda name: "99" if name == package else version(name))
    assert print_of() != before


def test_where_things_lie_and_how_answers_are_drawn_is_not_in_it() -> None:
    same = [
        print_of(
            replace(LORA, train="elsewhere/rows.jsonl", dev="d.jsonl", replay="r.jsonl", base="other name")
        ),
        print_of(replace(LORA, decoding=Decoding(temperature=0.7, seed=3))),
        print_of(replace(LORA, ship="merged")),
        print_of(plan=replace(BF16, inference_attention="sdpa")),
        print_of(
            data=TrainingRows(
                own=tuple(
                    replace(r, id=f"x{k}", where=f"elsewhere:{k}", metadata={"b": 1, "a": 2})
                    for k, r in enumerate(ROWS.own)
                )
            )
        ),
    ]
    assert set(same) == {print_of()}


# computed by the version before recipes: what was trained then must be found today
GOLDEN = (
    (
        QLoRA(base="b", train="t.jsonl"),
        "5a7759b0328374ada568e1cd2de1d67c7d33cc52b40a81d7cef08b80dd897de5",
        "bec362b63fcb59ac3ef1b3943b691b75c8e454d85b21e8fc4fc04cdca3d3dda2",
    ),
    (
        LoRA(base="b", train="t.jsonl"),
        "3d74bfe0947c5d174ecf099bf7705d45823e5da3025354da3968ad5b6f6cdcf7",
        "10841c1d149ac6304c31c2565b81381f29792afb4b5150f216e331badfe3b3ab",
    ),
    (
        Full(base="b", train="t.jsonl"),
        "650814122edd5f142cee6285509b0390a4066c4ce107ec1125440574438e4889",
        "9603280460d37bdd47a5880f2c29c78e92b68d167fc11e931cab46b9a836e5cf",
    ),
    (
        QLoRA(
            base="b",
            train="t.jsonl",
            dev="d",
            replay=SelfGenerated(),
            stratify="intent",
            epochs=2.5,
            learning_rate=2e-3,
            warmup=0.2,
            weight_decay=0.01,
            batch_rows=4,
            max_tokens=512,
            dev_evaluations=5,
            ship="merged",
            decoding=Decoding(max_new_tokens=9),
            trust_remote_code=True,
            r=8,
            alpha=16,
            dropout=0.1,
            targets=("q_proj", "v_proj"),
            top_layers=2,
        ),
        # of the version that read rows through the lower blocks once: ``top_layers`` rounds otherwise since
        "8d84249a7d4750a21e22a448010fbc03352295ab5221e06ecdbb754f7777f445",
        "16854ab6e715283b89c9562620afa4c23e23193e01cab37fd4d434f2e2698474",
    ),
)


@pytest.mark.parametrize(
    ("spec", "with_all", "plain"), GOLDEN, ids=["qlora", "lora", "full", "every field set"]
)
def test_trainings_of_earlier_versions_keep_their_names(
    spec: LoRA | Full, with_all: str, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "version", lambda name: "1.0")
    data = TrainingRows(own=rows(8), replay=rows(10)[8:], dev=rows(12)[10:])
    earlier = training_fingerprint(spec.recipe(), DIGEST, data, 3, BF16, earlier=True)
    assert earlier == with_all  # still found, see ``LoRA``
    assert print_of(spec, data=data, seed=3) != with_all  # packed rows round otherwise
    gpu = replace(EXACT, device="cuda", training_attention="sdpa")
    assert print_of(spec, plan=gpu) == plain


def test_the_order_of_fields_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, described = print_of(), LORA.described()
    monkeypatch.setattr(LoRA, "described", lambda self: dict(reversed(described.items())))
    assert print_of() == before


def test_a_fingerprint_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from harness import QLoRA\n"
        "from harness.training.local.recipe import training_fingerprint\n"
        "from harness.training.rows import TrainingRows\n"
        "from harness.models.device import DevicePlan\n"
        "from harness.records import Message, Row\n"
        "row = Row('a', (Message('user', 'q'), Message('assistant', 'a')))\n"
        "plan = DevicePlan('cpu', 'bfloat16', 'eager', 'grouped_eager')\n"
        "training_fingerprint(QLoRA(base='b', train='t').recipe(), 'd', TrainingRows((row,)), 0, plan)\n"
        "assert not {'torch', 'transformers', 'trl', 'peft'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
