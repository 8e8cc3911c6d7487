"""A fine-tune of a run as files that others serve, evaluated once more before it leaves."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.data.fingerprints import bytes_digest, fingerprint, rows_fingerprint
from harness.data.files import read_text
from harness.errors import DataError, ModelError, StoreError, UnknownName, UsageError
from harness.models.chat_format import Chat, load_chat
from harness.models.device import DevicePlan, device_plan
from harness.models.fast import ALL_OFF
from harness.models.progress import Progress
from harness.models.protocol import AnswerSchema, Decoding, Model, Prompt, Tools
from harness.models.source import BUILTIN, BUILTIN_LICENCE, ModelSource, convert_gguf, resolve
from harness.records import Answer, CandidateInfo, Decision, Json, Message, RunRecord, Training, Trial
from harness.report.card import Card, SuiteCard, files_of
from harness.run.judge_check import suite_at
from harness.run.suite_loading import LoadedSuite
from harness.scoring.checks import score_all
from harness.scoring.envelope import read_answer
from harness.scoring.judges import Judge
from harness.store.adapters import AdapterStore

if TYPE_CHECKING:
    from transformers import GenerationConfig

Form: TypeAlias = Literal["adapter", "merged", "gguf"]
CONVERTER = "convert_hf_to_gguf.py"
GGUF_NAME = "model.gguf"
OUT_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
# a check agrees on a row where its two scores lie this near each other
NEAR = 0.1
# rounding alone may move so many rows of a sample to another score: one in ten, and one of fewer
MAY_DIFFER = 10
RULE = (
    "the exported tokenizer renders every prompt to the bytes and tokens that the trial's answers were given"
    " to, and on the sample each check gives 9 of 10 rows (all but one of fewer than 20) the score of the"
    f" trial within {NEAR:g}; where answers are drawn, their means lie within two standard errors"
)


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
class Checked:
    """One suite's sample, asked of the artifact; see ``RULE``."""

    suite: str
    by: str  # what was asked: the plain library, or a server's address
    prompts: int  # that were rendered
    other_prompts: int  # that came out otherwise
    rows: int  # asked again
    same_text: int
    agree: Mapping[str, tuple[int, float, float]]  # by check: rows that agree, the trial's mean, and now
    problems: tuple[str, ...]  # what breaks the rule, in words
    digest: str = ""  # of all prompts of the suite, as text

    @property
    def told(self) -> str:
        """What came of it, as a sentence."""
        checks = "; ".join(
            f"{name} {near} of {self.rows} rows (mean {then:.3f}, now {now:.3f})"
            for name, (near, then, now) in self.agree.items()
        )
        return (
            f"{self.suite}, {self.by}: {self.prompts - self.other_prompts} of {self.prompts} prompts equal to"
            f" the byte; {self.rows} rows asked again, {self.same_text} answers the same; scores agree: {checks}"
        )


@dataclass(frozen=True)
class Served:
    """An OpenAI-compatible server that serves the artifact."""

    url: str
    model: str


@dataclass(frozen=True)
class Asked:
    """A suite with the prompts and answers of the trial."""

    suite: LoadedSuite
    trial: Trial
    prompts: tuple[Prompt, ...]  # in the order of the suite's rows
    decoding: Decoding


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


def _asked(weights: Weights, trial: Trial, root: Path) -> Asked:
    info = next(suite for suite in weights.record.suites if suite.name == trial.suite)
    tests = [gate.test.partition("::")[0] for gate in weights.record.gates if gate.suite == trial.suite]
    suite = suite_at(root / (tests[0] if tests else Path(info.heldout).parent), root)
    if suite.heldout != info.heldout and suite.suite.final is not None:
        suite = suite_at(suite.folder, root, final=True)
    if rows_fingerprint(suite.rows) != info.heldout_digest:
        raise DataError(
            info.heldout,
            f"its rows are not those that {weights.label} was evaluated on",
            "restore the file from version control, or run the suites again",
        )
    ids = {answer.row_id for answer in trial.answers}
    prompts = tuple(Prompt(row.id, row.prompt, tools=Tools.of(row)) for row in suite.rows if row.id in ids)
    return Asked(suite, trial, prompts, _decoding(trial.decoding, weights.info.spec.get("schema"), root))


def _decoding(settings: Mapping[str, Json], schema: Json, root: Path) -> Decoding:
    plain = {name: value for name, value in settings.items() if name != "schema"}
    bound = settings.get("schema")
    if not isinstance(bound, Mapping):
        return Decoding(**plain)  # type: ignore[arg-type]  # its own settings
    name = str(bound["name"])
    document = schema if isinstance(schema, Mapping) else json.loads(read_text(root / name, ".json"))
    text = json.dumps(document, ensure_ascii=False)
    if fingerprint(text) != bound["digest"]:
        raise DataError(name, "this schema is not the one that the run's answers were bound to", "restore it")
    return Decoding(**plain, schema=AnswerSchema(text, name))  # type: ignore[arg-type]


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
        _generation_config(weights, chat).save_pretrained(folder)
        _save_tokenizer(chat, folder)
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
    model.generation_config = _generation_config(weights, chat)
    with quiet_transformers():
        model.save_pretrained(folder)
    _save_tokenizer(chat, folder)


def _generation_config(weights: Weights, chat: Chat) -> GenerationConfig:
    """Its end tokens, and none of the base's own defaults: answers here were not drawn with them."""
    from transformers import GenerationConfig

    drawn = any(float(str(trial.decoding.get("temperature", 0))) > 0 for trial in weights.trials)
    tokenizer = chat.tokenizer
    return GenerationConfig(
        do_sample=drawn,
        eos_token_id=list(chat.ends),
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _save_tokenizer(chat: Chat, folder: Path) -> None:
    from harness.models.shipped_template import shipped_template

    own = chat.tokenizer.chat_template
    try:
        chat.tokenizer.chat_template = shipped_template(chat)
        chat.tokenizer.save_pretrained(folder)
    finally:
        chat.tokenizer.chat_template = own


def _convert(converter: Path, merged: Path, file: Path) -> None:
    form = OUT_TYPES[device_plan().dtype]
    command = [sys.executable, str(converter), str(merged), "--outfile", str(file), "--outtype", form]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not file.is_file():
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        raise ModelError(f"{converter.name} did not convert the merged model:\n  {said}")


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


def check_artifact(
    asked: Asked, chat: Chat, by: str, model: Model, exported: ModelSource | None, rows: int
) -> Checked:
    """Ask a sample of a suite's rows, and hold prompts and scores against the trial's.

    Args:
        asked: the suite, and the trial.
        chat: the base's template as the trial was asked with it.
        by: what answers, in words.
        model: it.
        exported: where its tokenizer lies; None where it is a server's, of which only the number of tokens
            is known.
        rows: how many to ask.
    """
    texts = [chat.prompt(prompt.messages, prompt.tools) for prompt in asked.prompts]
    tokens = chat.ids(texts)
    others = [] if exported is None else list(_other_prompts(asked.prompts, texts, tokens, exported))
    places = sorted(random.Random(0).sample(range(len(texts)), min(rows, len(texts))))  # noqa: S311 - a draw
    sample = [asked.prompts[place] for place in places]
    came = {answer.row_id: answer for answer in model.answer(sample, asked.decoding, frozenset())}
    kept = asked.suite.kept_tags
    now = [read_answer(replace(came[p.row_id], row_id=p.row_id), kept) for p in sample]
    at = {answer.row_id: place for place, answer in enumerate(asked.trial.answers)}
    then = [asked.trial.answers[at[prompt.row_id]] for prompt in sample]
    problems = (
        [f"{len(others)} of {len(texts)} prompts differ from the trial's (first: row {others[0]})"]
        if others
        else []
    )
    for place, answer, old in zip(places, now, then, strict=True):
        counts = {len(tokens[place]), answer.prompt_tokens, old.prompt_tokens} - {None}
        if len(counts) > 1 and answer.failure is None:
            told = f"{answer.prompt_tokens} tokens where the trial's had {old.prompt_tokens}"
            problems.append(f"the prompt of row {answer.row_id} has {told}")
            break
    agree = dict(_agreement(asked, sample, now, at))
    problems += _disagreements(asked, agree, len(sample), [a.failure for a in now if a.failure])
    return Checked(
        asked.suite.name,
        by,
        len(texts),
        len(others),
        len(sample),
        sum(a.text == b.text for a, b in zip(now, then, strict=True)),
        {name: (near, mean(old), mean(new)) for name, (near, old, new) in agree.items()},
        tuple(problems),
        bytes_digest("\0".join(texts).encode("utf-8", "surrogatepass")),
    )


Pair: TypeAlias = tuple[int, list[float], list[float]]


def _agreement(
    asked: Asked, sample: Sequence[Prompt], now: Sequence[Answer], at: Mapping[str, int]
) -> Iterator[tuple[str, Pair]]:
    """For each check that is no judge: rows that agree, and the scores of then and now; a failure is 0."""
    rows = {row.id: row for row in asked.suite.scored_rows}
    for score in asked.suite.scores:
        if isinstance(score, Judge):
            continue
        new = [one.value for one in score_all(score, [rows[prompt.row_id] for prompt in sample], now)]
        old = [asked.trial.scores[score.name][at[prompt.row_id]].value for prompt in sample]
        pairs = list(zip(old, new, strict=True))
        near = sum(a == b or (a is not None and b is not None and abs(a - b) <= NEAR) for a, b in pairs)
        yield score.name, (near, [a or 0.0 for a in old], [b or 0.0 for b in new])


def _disagreements(asked: Asked, agree: Mapping[str, Pair], n: int, failures: Sequence[str]) -> Iterator[str]:
    for name, (near, old, new) in agree.items():
        moved = mean(new) - mean(old)
        if asked.decoding.temperature > 0:
            differences = [b - a for a, b in zip(old, new, strict=True)]
            breaks = abs(moved) > 2 * (stdev(differences) / sqrt(n) if n > 1 else 1.0)
        else:
            breaks = n - near > max(1, n // MAY_DIFFER)
        if breaks:
            because = f"; {len(failures)} answers failed: {failures[0]}" if failures else ""
            yield f"{name} agrees on {near} of {n} rows, mean {mean(old):.3f} before and {mean(new):.3f} now{because}"


def _other_prompts(
    prompts: Sequence[Prompt], texts: Sequence[str], tokens: Sequence[list[int]], exported: ModelSource
) -> Iterator[str]:
    """Ids of rows whose prompt the exported tokenizer renders or splits otherwise."""
    from harness.models.chat import TurnsError, load_tokenizer
    from harness.models.shipped_template import plainly_rendered

    tokenizer = load_tokenizer(exported)
    for prompt, text, ids in zip(prompts, texts, tokens, strict=True):
        try:
            plain = plainly_rendered(tokenizer, prompt)
        except TurnsError:
            plain = ""
        if plain != text or tokenizer(plain, add_special_tokens=False)["input_ids"] != ids:
            yield prompt.row_id


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
    suites = [_asked(weights, trial, root) for trial in weights.trials]
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
    rows = [row for one in suites for row in one.suite.rows]
    shared = {row.instructions for row in rows}
    system = next(iter(shared)) if len(shared) == 1 else None
    rank = (
        json.loads((weights.artifact / "adapter_config.json").read_text("utf-8"))["r"]
        if weights.is_adapter
        else None
    )
    turns = [
        *([Message("system", system or "{system}")] if any(shared) else []),
        Message("user", "{question}"),
    ]
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
        rank=rank,
        thinks=chat.thinks,
        prompt=chat.prompt(turns),
        system=system or None,
        ends={str(chat.tokenizer.convert_ids_to_tokens(token)): token for token in chat.ends},
        schemas={s.name: s.text for one in suites if (s := one.decoding.schema) is not None},
        suites=tuple(
            SuiteCard(
                one.suite.name,
                len(one.suite.rows),
                rows_fingerprint(one.suite.rows),
                next(each.digest for each in checked if each.suite == one.suite.name),
                one.decoding.described(),
                tuple(each.told for each in checked if each.suite == one.suite.name),
            )
            for one in suites
        ),
        rule=RULE,
    )


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
