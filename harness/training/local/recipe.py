"""From a candidate and rows to a trained artifact on disk, once for the same content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.candidates.specs import Full, LoRA, Tuned
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.errors import TrainingError
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan
from harness.models.local import LocalModel, load_base, make_head_input_contiguous
from harness.models.progress import Bar, Progress
from harness.models.quiet import quiet_transformers
from harness.models.source import ModelSource, folder_digest
from harness.records import Row, Training
from harness.store.adapters import AdapterStore
from harness.training.local.tokens import Example, encode_rows
from harness.training.local.trainer import AfterStep, TrainingCurve, overfitting, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# raised when a change here makes the same inputs train another artifact
RECIPE = 3
SHAPING_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
# fields that change what is asked of a trained model, not what is trained
NOT_SHAPING = ("decoding", "train", "dev", "replay", "base", "trust_remote_code", "ship")


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """What a fine-tune sees: its own rows, general rows mixed in, and rows it is only measured on."""

    own: tuple[Row, ...]
    replay: tuple[Row, ...] = ()
    dev: tuple[Row, ...] = ()
    drawn: str = ""  # how ``own`` was drawn from its file, for the record


def training_fingerprint(
    spec: Tuned, source_digest: str, rows: TrainingRows, seed: int, plan: DevicePlan
) -> str:
    """The name of the artifact that this training makes. Needs neither torch nor a model.

    The development rows count: what they measured is kept beside the artifact.
    """
    shape = {k: v for k, v in spec.described().items() if k not in NOT_SHAPING}
    return fingerprint(
        {
            "recipe": RECIPE,
            "spec": shape,
            "base": source_digest,
            "rows": rows_fingerprint(rows.own),
            "replay": rows_fingerprint(rows.replay),
            "dev": rows_fingerprint(rows.dev),
            "seed": seed,
            "device": f"{plan.dtype} on {plan.device}, {plan.training_attention}",
            "versions": shaping_versions(),
        }
    )


def shaping_versions() -> dict[str, str]:
    """Versions of the packages that shape a trained artifact."""
    return {name: version(name) for name in SHAPING_PACKAGES}


def finetune(
    spec: Tuned,
    source: ModelSource,
    rows: TrainingRows,
    seed: int,
    plan: DevicePlan,
    store: AdapterStore,
    progress: Progress,
    *,
    apart: bool = False,
) -> Training:
    """Train, or find what was trained before. The artifact lies in ``store.folder(fingerprint)``.

    With ``apart`` the training has a process of its own; see ``training/local/subprocess_training.py``.
    """
    name = training_fingerprint(spec, source.digest, rows, seed, plan)

    def build(folder: Path) -> Training:
        with progress.task(f"training {spec.kind} on {len(rows.own)} rows", unit="step") as bar:
            if not apart:
                return train_into(folder, spec, source, rows, seed, plan, name, bar)
            from harness.training.local.subprocess_training import Job, train_apart

            return train_apart(Job(spec, source, rows, seed, plan, name, folder), bar)

    return store.get_or_train(name, build)


def train_into(
    folder: Path,
    spec: Tuned,
    source: ModelSource,
    rows: TrainingRows,
    seed: int,
    plan: DevicePlan,
    name: str,
    bar: Bar,
    after_step: AfterStep | None = None,
) -> Training:
    """Train, write the artifact into ``folder``, and say how it came to be."""
    tokenizer = load_tokenizer(source)
    examples = encode_rows(tokenizer, (*rows.own, *rows.replay), spec.max_tokens)
    dev = encode_rows(tokenizer, rows.dev, spec.max_tokens)
    _seed_everything(seed)
    with quiet_transformers():
        model = trainable_model(spec, source, plan)
        curve = train(model, tokenizer, spec, examples, dev, plan, seed, bar, after_step)
        model.save_pretrained(folder)
        if isinstance(spec, Full):
            tokenizer.save_pretrained(folder)
    return _record(spec, rows, name, examples, curve, plan)


def load_tuned(
    spec: Tuned, source: ModelSource, artifact: Path, plan: DevicePlan, store: AdapterStore
) -> LocalModel:
    """The artifact that ships, loaded as it would be served.

    ``adapter``: the base as it was during training (nf4 for QLoRA) with the adapter on top, unmerged.
    ``merged``: the adapter merged into the full-precision base and saved once; that folder is loaded.
    """
    if isinstance(spec, Full):
        return LocalModel.load(replace(source, folder=artifact), plan)
    if spec.ship == "adapter":
        return LocalModel.load(source, plan, nf4=spec.nf4, adapter=artifact)
    merged = store.merged(artifact, lambda folder: _merge(source, artifact, plan, folder))
    return LocalModel.load(replace(source, folder=merged, digest=folder_digest(merged)), plan)


def _merge(source: ModelSource, artifact: Path, plan: DevicePlan, folder: Path) -> None:
    from peft import PeftModel

    base = load_base(source, plan, attention=plan.training_attention)
    model = PeftModel.from_pretrained(base, str(artifact)).merge_and_unload()
    with quiet_transformers():
        model.save_pretrained(folder)
        load_tokenizer(source).save_pretrained(folder)


def trainable_model(spec: Tuned, source: ModelSource, plan: DevicePlan) -> PreTrainedModel:
    """The model as training begins: what requires a gradient is float32, and nothing else does.

    Raises:
        TrainingError: an adapter is asked for on a layer that the base does not have.
    """
    import torch

    if isinstance(spec, Full):
        model = load_base(source, replace(plan, dtype="float32"), attention=plan.training_attention)
        model.requires_grad_(True)
        return model
    if not isinstance(spec, LoRA):
        raise TrainingError(f"{type(spec).__name__} cannot be trained here.")
    from peft import LoraConfig, get_peft_model

    base = load_base(source, plan, attention=plan.training_attention, nf4=spec.nf4)
    _require_targets(base, spec)
    make_head_input_contiguous(base)
    layers = base.config.num_hidden_layers
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=list(spec.targets),
        layers_to_transform=list(range(layers - spec.top_layers, layers)) if spec.top_layers else None,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            # the loss runs under autocast; PEFT's own casts would lift every activation to float32
            module.cast_input_dtype_enabled = False
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    trainable: PreTrainedModel = model
    return trainable


def _require_targets(base: PreTrainedModel, spec: LoRA) -> None:
    """PEFT is content when one of the targets exists; the others would silently get no adapter."""
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    matrices = [
        name
        for name, module in base.named_modules()
        if module not in ends and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    missing = [t for t in spec.targets if not any(f".{name}".endswith(f".{t}") for name in matrices)]
    if missing:
        there = sorted({name.rpartition(".")[2] for name in matrices})
        raise TrainingError(
            f"{spec.base} has no linear layer named {', '.join(missing)}: no adapter can be put there.\n"
            f"  hint: name some of its layers in the candidate's targets=(...): {', '.join(there)}."
        )


def _seed_everything(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)


def _record(
    spec: Tuned,
    rows: TrainingRows,
    name: str,
    examples: Sequence[Example],
    curve: TrainingCurve,
    plan: DevicePlan,
) -> Training:
    tokens = sum(len(e.input_ids) for e in examples)
    weights = "float32 weights" if isinstance(spec, Full) else f"{plan.dtype} base"
    precision = "nf4 base, double quantised" if spec.nf4 else weights
    unpacked = ", unpacked once" if spec.nf4 and plan.device == "cpu" else ""
    return Training(
        fingerprint=name,
        rows=len(rows.own),
        replay_rows=len(rows.replay),
        epochs=spec.epochs,
        steps=curve.steps,
        tokens=tokens,
        supervised_tokens=sum(e.supervised for e in examples),
        seconds=curve.seconds,
        tokens_per_second=tokens * spec.epochs / curve.seconds,
        points=curve.points,
        overfitting=overfitting(curve.points),
        device=plan.device,
        numeric_config=f"{precision}{unpacked}; {plan.dtype} products, {plan.training_attention} attention",
        row_ids=tuple(row.id for row in rows.own),
        versions=shaping_versions(),
        row_digest=rows_fingerprint(rows.own),
    )
