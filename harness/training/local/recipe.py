"""One training on this machine: what it depends on, its name, how its artifact is made and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.errors import TrainingError
from harness.models import quiet_transformers
from harness.models.chat import load_tokenizer
from harness.models.chat_format import load_chat
from harness.models.configs import read_config
from harness.models.device import DevicePlan
from harness.models.fast.attention import NAME, can_share
from harness.models.local import LocalModel, load_base, make_head_input_contiguous
from harness.models.progress import Bar
from harness.models.source import ModelSource, folder_digest
from harness.records import Json, Training
from harness.store.adapters import AdapterStore
from harness.training.hardware import adapters_at_once
from harness.training.local.resident import RESIDENT, Resident
from harness.training.local.tokens import encode_rows
from harness.training.local.trainer import StepDone, overfitting, packs_rows, shares_batches, train
from harness.training.rows import TrainingRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# raised when a change here makes the same inputs train another artifact
RECIPE = 3
RESUME_EVERY_S = 30.0
READS_ONCE = ", lower blocks read once a row"
SHAPING_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")


@dataclass(frozen=True, slots=True)
class AdapterShape:
    """Low-rank adapters (Hu et al. 2021)."""

    r: int  # rank of every adapter
    alpha: float  # scale; the adapter's output is multiplied by alpha / r
    dropout: float  # probability, on the adapter's input
    targets: tuple[str, ...]  # names of the linear layers that get an adapter
    top_layers: int | None  # adapt only the last so many transformer blocks; None: all


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained, whatever it is trained on."""

    # the settings that name the artifact; JSON. It must hold everything below that changes what is
    # trained, and nothing that does not: no paths, no names, no decoding
    shape: Mapping[str, Json]
    epochs: float  # how often every row is seen
    learning_rate: float  # peak, reached after ``warmup`` (share of all steps), then a cosine to zero
    warmup: float  # share of all steps
    weight_decay: float  # AdamW's
    batch_rows: int  # rows an optimiser step, over all devices
    max_tokens: int  # longest row; a longer one is an error
    dev_evaluations: int  # how many times the development rows are measured, evenly spaced, the end included
    nf4: bool = False  # whether the base is quantised to 4-bit NormalFloat
    adapter: AdapterShape | None = None  # the adapters that are trained; None: all weights are
    thinking: bool | None = None  # whether replies hold thoughts; see ``Decoding``


def training_fingerprint(
    recipe: Recipe,
    source_digest: str,
    rows: TrainingRows,
    seed: int,
    plan: DevicePlan,
    chat: Mapping[str, Json] | None = None,
    versions: Mapping[str, str] | None = None,
    *,
    earlier: bool = False,
) -> str:
    """The name of the artifact that this training makes. Needs neither torch nor a model.

    The development rows count: what they measured is kept beside the artifact. ``chat`` is
    ``ChatFormat.trained()`` of the base; ``versions`` are those of another machine that trains. ``earlier``:
    as versions up to 0.2 named it, whose batches were padded; what they trained is as good.
    """
    return fingerprint(
        {
            **({"chat": dict(chat)} if chat else {}),
            "recipe": RECIPE,
            "spec": recipe.shape,
            "base": source_digest,
            "rows": rows_fingerprint(rows.own),
            "replay": rows_fingerprint(rows.replay),
            "dev": rows_fingerprint(rows.dev),
            "seed": seed,
            # the plain loss rounds otherwise
            "device": f"{plan.dtype} on {plan.device}, {plan.training_attention}"
            f"{_loss_note(recipe, plan, earlier=earlier)}"
            f"{READS_ONCE if plan.fast.blocks and recipe.adapter and recipe.adapter.top_layers else ''}",
            "versions": dict(shaping_versions() if versions is None else versions),
        }
    )


def _loss_note(recipe: Recipe, plan: DevicePlan, *, earlier: bool = False) -> str:
    if earlier and shares_batches(recipe, plan) and recipe.adapter and recipe.adapter.top_layers:
        return ", batches shared by threads"
    if packs_rows(plan) and not earlier:
        return ", packed rows shared by threads" if shares_batches(recipe, plan) else ", packed rows"
    return "" if plan.fast.loss else ", TRL's own loss"


def shaping_versions() -> dict[str, str]:
    """Versions of the packages that shape a trained artifact."""
    return {name: version(name) for name in SHAPING_PACKAGES}


@dataclass(frozen=True)
class LocalTraining:
    """A training that is complete in itself; see ``TrainingJob``."""

    recipe: Recipe
    source: ModelSource
    rows: TrainingRows
    seed: int  # of weights, dropout and the order of rows
    plan: DevicePlan
    name: str  # the artifact's fingerprint, for the record
    folder: Path  # takes the artifact
    keeps_checkpoints: bool = False  # the artifact at each measurement, too, below ``folder``
    resume: Path | None = None  # the file that tells how far it is, beside ``folder``; None: none is kept
    resume_every_s: float = RESUME_EVERY_S
    beside: bool = False  # whether others of its base may be trained together with it

    def __call__(self, bar: Bar, after_step: Callable[[StepDone], None] | None = None) -> Training:
        """Train, write the artifact into ``folder``, and return how it came to be.

        ``after_step`` is called after every optimiser step, before the next begins. An exception from it ends
        the training.

        Raises:
            DataError: a row that cannot be trained on.
            TrainingError: an adapter is asked for on a layer that the base does not have.
        """
        recipe, rows, plan = self.recipe, self.rows, self.plan
        resident = RESIDENT.get() or Resident()
        with resident.building:
            chat = load_chat(self.source, recipe.thinking)
            examples = encode_rows(chat, (*rows.own, *rows.replay), recipe.max_tokens)
            dev = encode_rows(chat, rows.dev, recipe.max_tokens)
            place, most = self._place()

        def step_ended(done: StepDone, model: PreTrainedModel) -> None:
            if self.keeps_checkpoints and done.point is not None:
                model.save_pretrained(self.folder / checkpoint_name(done))
            if after_step is not None:
                after_step(done)

        with quiet_transformers(), resident.place(place, most):
            from harness.training.local.resume import Resume

            resume = Resume(self.resume, self.resume_every_s) if self.resume else None
            with resident.building:
                model = trainable_model(recipe, self.source, plan, self.seed)
            curve = train(
                model, chat.tokenizer, recipe, examples, dev, plan, self.seed, bar, step_ended, resume
            )
            with resident.building:
                model.save_pretrained(self.folder)
            if recipe.adapter is None:
                chat.tokenizer.save_pretrained(self.folder)
        tokens = sum(len(e.input_ids) for e in examples)
        weights = "float32 weights" if recipe.adapter is None else f"{plan.dtype} base"
        precision = "nf4 base, double quantised" if recipe.nf4 else weights
        unpacked = ", unpacked once" if recipe.nf4 and plan.device == "cpu" else ""
        return Training(
            fingerprint=self.name,
            rows=len(rows.own),
            replay_rows=len(rows.replay),
            epochs=recipe.epochs,
            steps=curve.steps,
            tokens=tokens,
            supervised_tokens=sum(e.supervised for e in examples),
            seconds=curve.seconds,
            tokens_per_second=tokens * recipe.epochs / curve.seconds,
            points=curve.points,
            overfitting=overfitting(curve.points),
            device=plan.device,
            numeric_config=(
                f"{precision}{unpacked}; {plan.dtype} products, {plan.training_attention} attention"
                f"{_loss_note(recipe, plan)}{READS_ONCE if curve.reads_once else ''}"
                f"{f', {curve.shared_steps} steps side by side' if curve.shared_steps else ''}"
            ),
            row_ids=tuple(row.id for row in rows.own),
            versions=shaping_versions(),
            row_digest=rows_fingerprint(rows.own),
        )

    def _place(self) -> tuple[object, int]:
        """What it has in common with those that it may be trained beside (None: nobody), and how many."""
        recipe, plan, shape = self.recipe, self.plan, self.recipe.adapter
        # float16 scales each training's losses; dropout draws by what went before
        if not self.beside or shape is None or shape.dropout or not plan.fast.loss or plan.dtype == "float16":
            return None, 1
        config = read_config(self.source.folder / "config.json", "fetch the base again")
        width, packed = 4 if plan.dtype == "float32" else 2, recipe.nf4 and plan.device != "cpu"
        most = adapters_at_once(
            config, shape.r, shape.targets, shape.top_layers, nf4=packed, base_bytes=width
        )
        return (_base_key(recipe, self.source, plan), shape), most


def checkpoint_name(done: StepDone) -> str:
    """The folder, below the job's, of the artifact as it was after a step."""
    return f"step-{done.number}"


def load_trained(
    recipe: Recipe, ship: str, source: ModelSource, artifact: Path, plan: DevicePlan, store: AdapterStore
) -> LocalModel:
    """The artifact that ships, loaded as it would be served.

    ``ship`` is ``adapter``: the base as it was during training (nf4 for QLoRA) with the adapter on top,
    unmerged; or ``merged``: the adapter merged into the full-precision base and saved once, in ``store``.
    Where all weights were trained, the artifact is the whole model either way.
    """
    if recipe.adapter is None:
        return LocalModel.load(replace(source, folder=artifact), plan)
    if ship == "adapter":
        return LocalModel.load(source, plan, nf4=recipe.nf4, adapter=artifact)

    merged = merged_folder(source, artifact, plan, store)
    return LocalModel.load(replace(source, folder=merged, digest=folder_digest(merged)), plan)


def merged_folder(source: ModelSource, artifact: Path, plan: DevicePlan, store: AdapterStore) -> Path:
    """The adapter merged into the full-precision base, saved once."""

    def merge(folder: Path) -> None:
        from peft import PeftModel

        base = load_base(source, plan, attention=plan.training_attention)
        model = PeftModel.from_pretrained(base, str(artifact)).merge_and_unload()
        with quiet_transformers():
            model.save_pretrained(folder)
            load_tokenizer(source).save_pretrained(folder)

    return store.merged(artifact, merge)


def trainable_model(
    recipe: Recipe, source: ModelSource, plan: DevicePlan, seed: int | None = None
) -> PreTrainedModel:
    """The model as training begins: what requires a gradient is float32, and nothing else does.

    ``seed`` is that of adapters and of what is drawn later; None leaves the random state alone.

    Raises:
        TrainingError: an adapter is asked for on a layer that the base does not have.
    """
    import torch
    from transformers import set_seed

    shape = recipe.adapter
    base = _trained_base(recipe, source, plan)
    if seed is not None:
        set_seed(seed)  # now: the base may have been there, or have drawn numbers
    if shape is None:
        base.requires_grad_(True)
        if base.config.get_text_config() is not base.config:  # of a multimodal base the language model only
            base.requires_grad_(False)
            for part in (base.get_decoder(), base.get_input_embeddings(), base.get_output_embeddings()):
                part.requires_grad_(True)
        return base
    from peft import LoraConfig, get_peft_model

    elsewhere = _require_targets(base, source.name, shape.targets)
    make_head_input_contiguous(base)
    layers = base.config.get_text_config().num_hidden_layers
    config = LoraConfig(
        r=shape.r,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=list(shape.targets),
        exclude_modules=elsewhere or None,
        layers_to_transform=list(range(layers - shape.top_layers, layers)) if shape.top_layers else None,
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


def _trained_base(recipe: Recipe, source: ModelSource, plan: DevicePlan) -> PreTrainedModel:
    """The base that is changed, or gets adapters: kept by the process, where it keeps any."""

    def load() -> PreTrainedModel:
        held = replace(plan, dtype="float32") if recipe.adapter is None else plan
        base = load_base(source, held, attention=plan.training_attention, nf4=recipe.nf4)
        if packs_rows(plan) and can_share(base, NAME):
            from harness.training.local.packing import use_packing

            use_packing(base)
        return base

    resident = RESIDENT.get()
    if resident is None or recipe.adapter is None:  # all weights are changed
        return load()
    return resident.base(_base_key(recipe, source, plan), load)


def _base_key(recipe: Recipe, source: ModelSource, plan: DevicePlan) -> object:
    return source.folder, source.digest, plan, recipe.nf4


def _require_targets(base: PreTrainedModel, name: str, targets: tuple[str, ...]) -> list[str]:
    """See that the language model has all targets; gives those of the same names elsewhere (a vision tower).

    PEFT is content when one of the targets exists; the others would silently get no adapter.
    """
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    language = set(base.get_decoder().modules())
    linear = [
        (name, module)
        for name, module in base.named_modules()
        if module not in ends and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    matrices = [name for name, module in linear if module in language]
    missing = [t for t in targets if not any(f".{name}".endswith(f".{t}") for name in matrices)]
    if missing:
        there = sorted({name.rpartition(".")[2] for name in matrices})
        raise TrainingError(
            f"{name} has no linear layer named {', '.join(missing)}: no adapter can be put there.\n"
            f"  hint: name some of its layers in the candidate's targets=(...): {', '.join(there)}."
        )
    others = (name for name, module in linear if module not in language)
    return [name for name in others if any(f".{name}".endswith(f".{t}") for t in targets)]
