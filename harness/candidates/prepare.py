"""From a candidate to something that can answer: trained if it must be, loaded only when asked.

``prepare`` dispatches on the candidate's type; a new kind of candidate registers its own function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatch
from pathlib import Path
from typing import Protocol

from harness.candidates.specs import Candidate, FewShot, Prompted, SelfGenerated, Tuned, Untuned
from harness.data.files import read_rows
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.data.rows import require_supervised
from harness.data.subsets import nested_subsets
from harness.decision.economics import EconomicsConfig
from harness.decision.plan import Purpose
from harness.errors import HarnessError, UsageError
from harness.models.chat import load_tokenizer
from harness.models.device import DevicePlan, device_plan
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.pricing import Money, Spending
from harness.models.progress import Progress
from harness.models.protocol import Model
from harness.models.remote import RemoteModel
from harness.models.source import ModelSource, resolve
from harness.records import Json, Message, Row, Training
from harness.store.adapters import AdapterStore
from harness.training.local.recipe import (
    TrainingRows,
    finetune,
    load_tuned,
    training_fingerprint,
)
from harness.training.local.self_generated import GeneratedRows, plan_generation
from harness.training.local.tokens import encode_rows


@dataclass(frozen=True)
class Lab:
    """Where candidates are made: the folder their paths start from, the store, who watches, and who pays.

    ``money`` is what hosted models are paid from; None: nothing is counted. With ``apart`` every training has
    a process of its own. ``horizon_days`` is the time over which the project's economics add up a saving.
    ``stopped`` holds, by artifact, why a hosted job of this session made nothing: what failed, or was
    cancelled by somebody, is not begun again before the next session.
    """

    root: Path
    adapters: AdapterStore
    progress: Progress
    money: Money | None = None
    apart: bool = False
    horizon_days: Callable[[], float] = lambda: EconomicsConfig(1).horizon_days
    stopped: dict[str, HarnessError] = field(default_factory=dict, repr=False, compare=False)
    _sources: dict[tuple[str, bool], ModelSource] = field(default_factory=dict, repr=False, compare=False)

    def rows(self, path: str) -> tuple[Row, ...]:
        """Rows of a file named by a candidate."""
        return read_rows(self.root / path)

    def plan(self) -> DevicePlan:
        """This machine's device and precision."""
        return device_plan()

    def spending(self, model: str, *, tuned: bool = False, purpose: Purpose = "answers") -> Spending | None:
        """What calls of a hosted model are paid from; None where nothing is counted.

        Raises:
            UnknownName: there is a cap and no price; says what to add to which file.
        """
        return None if self.money is None else self.money.on(model, tuned=tuned, purpose=purpose)

    def source(self, candidate: Candidate) -> ModelSource:
        """The candidate's base model, fetched if need be, looked at once: its digest reads all weights."""
        key = candidate.model_name, candidate.trust_remote_code
        if key not in self._sources:
            self._sources[key] = resolve(candidate.model_name, self.progress, candidate.trust_remote_code)
        return self._sources[key]

    def replay(self, candidate: Tuned) -> tuple[Row, ...]:
        """The candidate's general rows; those that its base is to say are generated now, once.

        Raises:
            DataError: a file that cannot be used.
            TrainingError: the base finished too few replies.
        """
        generated = self.generated_rows(candidate)
        return self._replay_file(candidate) if generated is None else generated.get(self.progress)

    def known_replay(self, candidate: Tuned) -> tuple[Row, ...]:
        """``replay`` as far as it is known without a model: prompts have an empty reply until it is said."""
        generated = self.generated_rows(candidate)
        return self._replay_file(candidate) if generated is None else generated.found() or generated.prompts

    def generated_rows(self, candidate: Tuned) -> GeneratedRows | None:
        """The general rows that the candidate's base is to say; None where it takes them from a file."""
        if not isinstance(candidate.replay, SelfGenerated):
            return None
        source, plan = self.source(candidate), self.plan()
        return plan_generation(candidate.replay, self.root, source, candidate.nf4, plan, self.adapters)

    def _replay_file(self, candidate: Tuned) -> tuple[Row, ...]:
        return self.rows(candidate.replay) if isinstance(candidate.replay, str) else ()


class FromRows(Protocol):
    """A candidate that is trained on rows of a file; see ``Tuned``."""

    @property
    def train(self) -> str:
        """Training rows."""

    @property
    def dev(self) -> str | None:
        """Development rows."""

    @property
    def stratify(self) -> str | None:
        """The metadata field whose proportions every subset keeps."""

    def described(self) -> dict[str, Json]:
        """Its fields."""


class Ask(Protocol):
    """How a candidate puts a row to its model."""

    def __call__(self, row: Row, prompt: str | None) -> tuple[Message, ...]:
        """The turns to send; ``prompt`` is the suite's full instructions."""


@dataclass(frozen=True)
class Prepared:
    """A candidate at one size and seed, ready to be loaded.

    ``identity`` fingerprints everything that answers but the questions and the decoding. ``alone``: each
    answer depends on its own question only, not on those asked with it.
    """

    model_name: str
    model_digest: str
    identity: str
    numeric_config: str
    load: Callable[[], Model]
    ask: Ask
    training: Training | None = None
    alone: bool = False


@singledispatch
def prepare(candidate: Candidate, lab: Lab, size: int | None, seed: int) -> Prepared:
    """The candidate, trained on ``size`` rows (None: all of them) if it is a fine-tune.

    Raises:
        UsageError: a type that no function is registered for.
        DataError, ModelError, TrainingError: what stands in the way.
    """
    raise UsageError(
        f"{type(candidate).__name__} is no candidate: use Prompted, FewShot, QLoRA, LoRA, Full or"
        " OpenAITuning."
    )


@prepare.register
def _prompted(candidate: Prompted, lab: Lab, size: int | None, seed: int) -> Prepared:
    return _untuned(candidate, lab, asked_with_prompt)


@prepare.register
def _few_shot(candidate: FewShot, lab: Lab, size: int | None, seed: int) -> Prepared:
    examples = shots(candidate, lab)

    def ask(row: Row, prompt: str | None) -> tuple[Message, ...]:
        turns = asked_with_prompt(row, prompt)
        if prompt is None:
            return turns
        shown = [m for example in examples for m in example.messages if m.role in ("user", "assistant")]
        return (turns[0], *shown, *turns[1:])

    return _untuned(candidate, lab, ask)


def shots(candidate: FewShot, lab: Lab) -> tuple[Row, ...]:
    """The training rows that a few-shot candidate shows, in order."""
    rows = lab.rows(candidate.train)
    return nested_subsets(rows, [candidate.shots], 0, candidate.stratify)[candidate.shots]


def asked_with_prompt(row: Row, prompt: str | None) -> tuple[Message, ...]:
    """The suite's prompt in place of the row's own system message, then the row's other turns."""
    if prompt is None:
        return row.prompt
    return (Message("system", prompt), *(m for m in row.prompt if m.role != "system"))


def asked_as_trained(row: Row, prompt: str | None) -> tuple[Message, ...]:
    """The row's own turns: what a fine-tune was trained on, whatever the suite's prompt says."""
    return row.prompt


def _untuned(candidate: Untuned, lab: Lab, ask: Ask) -> Prepared:
    if isinstance(candidate.model, RemoteModel):
        return _remote(candidate.model, lab, ask)
    source, plan = lab.source(candidate), lab.plan()
    return Prepared(
        model_name=source.name,
        model_digest=source.digest,
        identity=fingerprint({"base": source.digest}),
        numeric_config=batch_numeric_config(plan),
        load=lambda: LocalModel.load(source, plan),
        ask=ask,
    )


def _remote(model: RemoteModel, lab: Lab, ask: Ask) -> Prepared:
    identity = model.identity()
    return Prepared(
        model_name=model.model,
        model_digest=fingerprint(identity),
        identity=fingerprint({"remote": identity}),
        numeric_config=model.numeric_config,
        load=lambda: model.open(lab.spending(model.model), lab.progress),
        ask=ask,
        alone=True,
    )


@prepare.register
def _tuned(candidate: Tuned, lab: Lab, size: int | None, seed: int) -> Prepared:
    source, plan = lab.source(candidate), lab.plan()
    rows = training_rows(candidate, lab, size, seed, lab.replay(candidate))
    adapters, progress = lab.adapters, lab.progress
    made = finetune(candidate, source, rows, seed, plan, adapters, progress, apart=lab.apart)
    # the same rows may come from another file
    return shipped(candidate, lab, made.fingerprint, replace(made, subset=rows.drawn))


def shipped(candidate: Tuned, lab: Lab, name: str, training: Training | None) -> Prepared:
    """The fine-tune whose artifact has that name in the store, or will have it."""
    source, plan = lab.source(candidate), lab.plan()
    artifact = lab.adapters.folder(name)
    return Prepared(
        model_name=source.name,
        model_digest=source.digest,
        identity=fingerprint({"trained": name, "ship": candidate.ship}),
        numeric_config=batch_numeric_config(plan),
        load=lambda: load_tuned(candidate, source, artifact, plan, lab.adapters),
        ask=asked_as_trained,
        training=training,
    )


def training_rows(
    candidate: FromRows, lab: Lab, size: int | None, seed: int, replay: tuple[Row, ...]
) -> TrainingRows:
    """The rows of one training: a nested, stratified subset, general rows, development rows.

    Raises:
        UsageError: ``size`` is larger than the data.
    """
    rows = lab.rows(candidate.train)
    size = len(rows) if size is None else size
    own = nested_subsets(rows, [size], seed, candidate.stratify)[size]
    dev = lab.rows(candidate.dev) if candidate.dev else ()
    return TrainingRows(own, replay, dev, _drawn(len(rows), size, seed, candidate.stratify))


def recipe_fingerprint(candidate: FromRows, lab: Lab, size: int | None) -> str:
    """What all seeds of one recipe share: its settings, the rows to draw from, and the size."""
    rows = rows_fingerprint(lab.rows(candidate.train))
    return fingerprint({"spec": candidate.described(), "rows": rows, "size": size})


def _drawn(total: int, size: int, seed: int, stratify: str | None) -> str:
    share = f", stratified by {stratify}" if stratify else ""
    if size == total:
        return f"all {total} rows of the file{share}"
    return f"the first {size} of {total} rows in one order (seed {seed}{share}); every size holds the smaller"


@singledispatch
def require_ready(candidate: Candidate, lab: Lab, size: int | None, seed: int) -> None:
    """Whatever can be known to be wrong before anything is trained or asked; fetches the base if need be.

    Raises:
        DataError, ModelError, UsageError: as ``prepare`` would, but before it.
    """
    lab.source(candidate)


@require_ready.register
def _tuned_ready(candidate: Tuned, lab: Lab, size: int | None, seed: int) -> None:
    """Tokenise every row of a training that is not in the store: a bad row is found before any costs."""
    source = lab.source(candidate)
    rows = training_rows(candidate, lab, size, seed, lab.known_replay(candidate))
    require_supervised(rows.own)
    name = training_fingerprint(candidate, source.digest, rows, seed, lab.plan())
    if lab.adapters.find(name) is None:
        encode_rows(load_tokenizer(source), (*rows.own, *rows.replay, *rows.dev), candidate.max_tokens)


@require_ready.register
def _untuned_ready(candidate: Untuned, lab: Lab, size: int | None, seed: int) -> None:
    """The model's key and price, where it is behind a service."""
    if isinstance(candidate.model, RemoteModel):
        candidate.model.require_ready()
        lab.spending(candidate.model.model)
    else:
        lab.source(candidate)


@singledispatch
def require_beginnable(candidate: Candidate, lab: Lab, size: int | None, seed: int) -> None:
    """See that a service would begin what is not made yet, and that it can be paid.

    A service is asked only where it would be refused: what exists there already need not be begun.

    Raises:
        HostedTrainingError, UsageError: it cannot be begun, and is not there.
    """
