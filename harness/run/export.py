"""A fine-tune of a run as files that others serve, evaluated once more before it leaves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from harness.data.fingerprints import rows_fingerprint
from harness.errors import ModelError, StoreError, UnknownName, UsageError
from harness.models.chat_format import Chat, load_chat
from harness.models.device import DevicePlan, device_plan
from harness.models.fast import ALL_OFF
from harness.models.progress import Progress
from harness.models.protocol import Model
from harness.models.served import ends_alone
from harness.models.shipped_template import save_tokenizer
from harness.models.source import BUILTIN, BUILTIN_LICENCE, ModelSource, convert_gguf, resolve
from harness.records import CandidateInfo, Decision, Message, RunRecord, Training, Trial
from harness.report.card import Card, SuiteCard, files_of
from harness.run.export_check import RULE, Asked, Checked, asked_again, check_artifact
from harness.store.adapters import AdapterStore

Form: TypeAlias = Literal["adapter", "merged", "gguf"]
CONVERTER = "convert_hf_to_gguf.py"
GGUF_NAME = "model.gguf"
OUT_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


@dataclass(frozen=True)
class Weights:
    """What a run's candidate was at one size and seed, and where that lies."""

    record: RunRecord
    info: CandidateInfo
    trials: tuple[Trial, ...]  # of this size and seed, one a suite
    training: Training
    artifact: Path
    decision: Decision | None  # None: nothing was decided at this size

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.trials[0].label

    @property
    def seed(self) -> int | None:
        """Of the training."""
        return self.trials[0].seed

    @property
    def nf4(self) -> bool:
        """Whether the adapter was trained on a base quantised to 4 bits, and answers on top of it."""
        return self.training.numeric_config.startswith("nf4") and self.info.spec.get("ship") == "adapter"

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter was trained, and not all weights."""
        return (self.artifact / "adapter_config.json").is_file()

    @property
    def form(self) -> Form:
        """That in which the trial was answered."""
        return "adapter" if self.is_adapter and self.info.spec.get("ship") == "adapter" else "merged"


@dataclass(frozen=True)
class Served:
    """An OpenAI-compatible server that serves the artifact."""

    url: str
    model: str


# ----------------------------------------------------------------- what is exported
def find_weights(record: RunRecord, wanted: str, seed: int | None, store: AdapterStore) -> Weights:
    """The trained artifact of ``NAME`` or ``NAME@SIZE``; the largest size, unless one is named.

    Raises:
        UnknownName: the run has no such candidate, size or seed.
        UsageError: it has no weights.
        StoreError: its weights are not in the store.
    """
    names = {trial.label: trial for trial in record.trials}
    info = next((one for one in record.candidates if one.name == wanted), None)
    if info is not None:
        sizes = [trial.size for trial in record.trials if trial.candidate == wanted]
        size = max((each for each in sizes if each is not None), default=None)
    elif wanted in names:
        size = names[wanted].size
        info = next(one for one in record.candidates if one.name == names[wanted].candidate)
    else:
        raise UnknownName("candidate", wanted, names, f"Run {record.id}.")
    trials = [trial for trial in record.trials if (trial.candidate, trial.size) == (info.name, size)]
    seeds = sorted({trial.seed for trial in trials if trial.seed is not None})
    chosen = seed if seed is not None else min(seeds, default=None)
    if seed is not None and seed not in seeds:
        raise UnknownName("seed", str(seed), map(str, seeds), f"{wanted} of run {record.id}.")
    trials = [trial for trial in trials if trial.seed == chosen]
    training = trials[0].training if trials else None
    if training is None or "ship" not in info.spec:
        raise UsageError(f"{info.name} ({info.kind}) has no weights of its own: there is nothing to export.")
    if store.find(training.fingerprint) is None:
        raise StoreError(
            f"{trials[0].label}: its weights are not in this store ({store.folder(training.fingerprint)}).\n"
            "  hint: bring .harness/adapters from where the run was made (name another folder by"
            " --harness-store), or train them here again: the same pytest command."
        )
    decided = [d for d in record.decisions if (d.candidate, d.size) == (info.name, size)]
    folder = store.folder(training.fingerprint)
    return Weights(record, info, tuple(trials), training, folder, decided[0] if decided else None)


def base_of(weights: Weights, progress: Progress) -> ModelSource:
    """The base that it was trained on.

    Raises:
        ModelError: it is another today.
    """
    spec, info = weights.info.spec, weights.info
    source = resolve(info.model, progress, bool(spec.get("trust_remote_code")))
    if source.digest != info.model_digest:
        raise ModelError(
            f"{info.model} is not the base that {weights.label} was trained on: its content has changed.\n"
            "  hint: name the revision of then (org/model@revision), or run the suites again."
        )
    return source


# ----------------------------------------------------------------- writing it
def find_converter(given: Path | None) -> Path:
    """llama.cpp's converter: in a checkout, the script itself, or on PATH.

    Raises:
        UsageError: there is none.
    """
    if given is not None and given.is_dir():
        given = given / CONVERTER
    found = str(given) if given is not None else shutil.which(CONVERTER)
    if found is None or not Path(found).is_file():
        where = "on PATH" if given is None else f"at {given}"
        raise UsageError(
            f"--form gguf takes llama.cpp's {CONVERTER}, and there is none {where}.\n"
            "  hint: git clone --depth 1 https://github.com/ggml-org/llama.cpp, and --llama-cpp llama.cpp"
        )
    return Path(found)


def write_artifact(
    weights: Weights, source: ModelSource, chat: Chat, form: Form, folder: Path, converter: Path | None
) -> None:
    """Put the weights and the tokenizer into an empty folder.

    Raises:
        UsageError: all weights were trained, and an adapter is asked for.
        ModelError: the converter fails.
    """
    if form == "adapter":
        if not weights.is_adapter:
            raise UsageError(f"{weights.label}: all weights were trained. Export it with --form merged.")
        _write_adapter(weights.artifact, source, folder)
        ends_alone(chat, drawn=_is_drawn(weights)).save_pretrained(folder)
        save_tokenizer(chat, folder)
    elif form == "merged":
        _write_merged(weights, source, chat, folder)
    else:
        assert converter is not None
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _write_merged(weights, source, chat, Path(scratch))
            _convert(converter, Path(scratch), folder / GGUF_NAME)


def _write_adapter(artifact: Path, source: ModelSource, folder: Path) -> None:
    """The adapter as it is in the store, but for the place of its base: a hub id where it has one."""
    shutil.copy(artifact / "adapter_model.safetensors", folder)
    config = json.loads((artifact / "adapter_config.json").read_text("utf-8"))
    config["base_model_name_or_path"], config["revision"] = served_base(source)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def served_base(source: ModelSource) -> tuple[str, str | None]:
    """The base as others find it: its id on the hub with its revision, else its folder here."""
    repository, _, revision = source.name.partition("@")
    is_on_hub = "snapshots" in source.folder.parts and not Path(source.name).exists()
    return (repository, revision or source.folder.name) if is_on_hub else (str(source.folder.resolve()), None)


def _write_merged(weights: Weights, source: ModelSource, chat: Chat, folder: Path) -> None:
    """The whole model: the base as the trial had it (nf4 dequantised), with the adapter merged in."""
    from peft import PeftModel

    from harness.models import quiet_transformers
    from harness.models.local import load_base

    plan = _plain(device_plan())
    if not weights.is_adapter:
        model = load_base(replace(source, folder=weights.artifact), plan, attention=plan.inference_attention)
    else:
        base = load_base(source, plan, attention=plan.inference_attention, nf4=weights.nf4)
        if getattr(base, "is_quantized", False):  # on a GPU it stays packed
            base = base.dequantize(dtype=plan.torch_dtype)
        model = PeftModel.from_pretrained(base, str(weights.artifact)).merge_and_unload()
    model.generation_config = ends_alone(chat, drawn=_is_drawn(weights))
    with quiet_transformers():
        model.save_pretrained(folder)
    save_tokenizer(chat, folder)


def _is_drawn(weights: Weights) -> bool:
    return any(float(str(trial.decoding.get("temperature", 0))) > 0 for trial in weights.trials)


def _convert(converter: Path, merged: Path, file: Path) -> None:
    form = OUT_TYPES[device_plan().dtype]
    command = [sys.executable, str(converter), str(merged), "--outfile", str(file), "--outtype", form]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not file.is_file():
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        needs = ": pip install sentencepiece" if "sentencepiece" in said else ""
        hint = f"it takes what llama.cpp's requirements name{needs}, and knows the architecture or does not"
        raise ModelError(f"{converter.name} did not convert the merged model:\n  {said}\n  hint: {hint}.")


# ----------------------------------------------------------------- asking it again
def _plain(plan: DevicePlan) -> DevicePlan:
    """The machine's precision, with nothing but the library's own attention and decoding."""
    return replace(plan, inference_attention="sdpa", fast=ALL_OFF)


def load_plainly(
    weights: Weights, source: ModelSource, form: Form, folder: Path, scratch: Path, progress: Progress
) -> tuple[Model, ModelSource]:
    """The exported artifact as plain transformers and PEFT load it, and the folder of its tokenizer."""
    from harness.models.chat import load_tokenizer
    from harness.models.local import LocalModel, load_base

    plan = _plain(device_plan())
    exported = replace(source, folder=folder)
    if form == "adapter":
        from peft import PeftModel

        base = load_base(source, plan, attention=plan.inference_attention, nf4=weights.nf4)
        model = PeftModel.from_pretrained(base, str(folder)).eval()
    elif form == "gguf":
        convert_gguf(folder / GGUF_NAME, scratch, progress)
        exported = replace(source, folder=scratch)
        model = load_base(exported, plan, attention=plan.inference_attention)
    else:
        model = load_base(exported, plan, attention=plan.inference_attention)
    return LocalModel(model, load_tokenizer(exported), plan), exported


def export_weights(
    weights: Weights,
    form: Form,
    to: Path,
    root: Path,
    *,
    progress: Progress,
    rows: int = 20,
    converter: Path | None = None,
    served: Served | None = None,
) -> list[Checked]:
    """Write the artifact with its card and check it; it is at ``to`` only if nothing breaks ``RULE``.

    Args:
        weights: what is exported.
        form: as what.
        to: a folder that is not there yet; with ``served``, the one that is served, and only checked.
        root: the project's.
        progress: shows it.
        rows: how many rows of each suite are asked again.
        converter: of GGUF files.
        served: what serves it.
    """
    source = base_of(weights, progress)
    suites = [asked_again(weights.record, trial, root) for trial in weights.trials]
    chat = load_chat(source, suites[0].decoding.thinking)
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.part-"))
    try:
        folder = part if served is None else to
        if served is None:
            with progress.task(f"writing {form} of {weights.label}", unit="step"):
                write_artifact(weights, source, chat, form, folder, converter)
        with tempfile.TemporaryDirectory() as scratch:
            model, exported = load_plainly(weights, source, form, folder, Path(scratch), progress)
            asked = [("plain transformers", model, exported), *_opened(served)]
            checked = [check_artifact(one, chat, *by, rows) for by in asked for one in suites]
        if not any(one.problems for one in checked):
            card = _card(weights, source, chat, form, to, suites, checked)
            for name, text in files_of(card).items():
                (folder / name).write_text(text, "utf-8")
            if served is None:
                part.chmod(0o755)
                part.replace(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return checked


def _opened(served: Served | None) -> Iterator[tuple[str, Model, None]]:
    if served is not None:
        from harness.models.remote import RemoteModel

        yield served.url, RemoteModel(served.model, base_url=served.url, concurrency=4).open(), None


def _card(
    weights: Weights,
    source: ModelSource,
    chat: Chat,
    form: Form,
    to: Path,
    suites: Sequence[Asked],
    checked: Sequence[Checked],
) -> Card:
    base, _ = served_base(source)
    is_on_hub = base != str(source.folder.resolve())
    config = weights.artifact / "adapter_config.json"
    return Card(
        record=weights.record,
        candidate=weights.info.name,
        size=weights.trials[0].size,
        label=weights.label,
        seed=weights.seed,
        decision=weights.decision,
        training=weights.training,
        train_file=str(weights.info.spec.get("train", "")),
        form=form,
        folder=str(to),
        base=base,
        base_shown=source.name,
        base_digest=source.digest,
        is_on_hub=is_on_hub,
        licence=_licence(source, base if is_on_hub else None),
        nf4=weights.nf4 and form == "adapter",
        rank=json.loads(config.read_text("utf-8"))["r"] if weights.is_adapter else None,
        thinks=chat.thinks,
        ends={str(chat.tokenizer.convert_ids_to_tokens(token)): token for token in chat.ends},
        schemas={s.name: s.text for one in suites if (s := one.decoding.schema) is not None},
        suites=tuple(
            SuiteCard(
                one.suite.name,
                len(one.suite.rows),
                rows_fingerprint(one.suite.rows),
                next(each.digest for each in checked if each.suite == one.suite.name),
                *_shown_prompt(chat, {row.instructions for row in one.suite.rows}),
                one.decoding.described(),
                tuple(each.told for each in checked if each.suite == one.suite.name),
            )
            for one in suites
        ),
        rule=RULE,
    )


def _shown_prompt(chat: Chat, instructions: Collection[str]) -> tuple[str | None, str]:
    """The system message of all rows (None: each has its own), and a prompt with names for contents."""
    shared = next(iter(instructions)) if len(instructions) == 1 else None
    system = "{system}" if shared is None else shared
    turns = [*([Message("system", system)] if system else []), Message("user", "{question}")]
    return shared, chat.prompt(turns)


def _licence(source: ModelSource, repository: str | None) -> str | None:
    """As the base's own card has it; None where there is none at hand."""
    if source.name == BUILTIN:
        return BUILTIN_LICENCE
    from huggingface_hub import ModelCard, try_to_load_from_cache

    own: object = source.folder / "README.md"
    if repository is not None and not (source.folder / "README.md").is_file():
        own = try_to_load_from_cache(repository, "README.md")
    try:
        found = (
            ModelCard.load(own, ignore_metadata_errors=True).data.license
            if isinstance(own, str | Path)
            else None
        )
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
