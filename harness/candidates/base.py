"""What every candidate is: the one protocol that the run, the plan, the rehearsal and the report go by.

A new kind is one class. It may implement ``Candidate`` by itself, or derive from ``BaseCandidate``, which has
the methods whose default is harmless. ``data`` has no default: a kind that trains must say on which rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from harness.errors import UsageError
from harness.fields import require_fields
from harness.models.protocol import AnswerSchema, Decoding, Model, Prompt
from harness.records import Answer, Json, LookedUp, Message, Provenance, Row, Training

if TYPE_CHECKING:
    from harness.candidates.lab import Lab
    from harness.candidates.served import ByServer
    from harness.models.embeddings import Vectors
    from harness.models.remote import RemoteModel
    from harness.training.rows import TrainingData


@dataclass(frozen=True)
class Variant:
    """A candidate at one size and seed."""

    name: str  # what the candidate is called in this run
    candidate: Candidate  # itself
    size: int | None = None  # number of training rows; None for what is not trained
    seed: int | None = None  # of the subset and of the training; None for what is not trained

    @property
    def label(self) -> str:
        """``name``, ``name@size`` or ``name@size seed 1``."""
        size = "" if self.size is None else f"@{self.size}"
        return f"{self.name}{size}" + (f" seed {self.seed}" if self.seed else "")


@dataclass(frozen=True, slots=True)
class PricedModel:
    """The hosted model that a candidate is billed for, and whether a fine-tune of it is asked."""

    model: RemoteModel
    is_tuned: bool = False
    others: tuple[PricedModel, ...] = ()  # that it asks beside
    trains: bool = True  # whether this is where its trainings are billed
    route: str = ""  # the parts of answers that it gives, where others give some
    answers: bool = True  # whether it gives the answers; False: it only trains, and they are made here
    tuned_as: str = ""  # the name that a fine-tune is billed under, where its base answers under another

    @property
    def billed_as(self) -> str:
        """The name that it is priced under."""
        return self.tuned_as or self.model.billed_as


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """One training, here or at a service, before it is begun."""

    artifact: str  # its name in the store; two trainings of one name are one
    rows: int  # those trained on, general rows included
    is_kept: bool  # the store has its result, and nothing is left to do
    tokens: float = 0.0  # those to train on, epochs included; 0 where it is kept
    most_tokens: float | None = 0.0  # their bound; None where nothing bounds them
    problem: str = ""  # why a service would not begin it today, as far as is known without asking


class Ask(Protocol):
    """How a candidate puts a row to its model."""

    def __call__(self, row: Row, prompt: str | None) -> tuple[Message, ...]:
        """The turns to send; ``prompt`` is the suite's full instructions for this row."""


class Looked(Protocol):
    """What is looked up for a row, and shown with it."""

    def __call__(self, row: Row) -> tuple[LookedUp, ...]:
        """The nearest first."""


class Read(Protocol):
    """What of each prompt reaches a model, for the keys that its answers are kept under."""

    def __call__(self, prompts: Sequence[Prompt], decoding: Decoding) -> Sequence[Json]:
        """One value a prompt, such as the tokens that a chat template makes of it."""


@dataclass(frozen=True, slots=True)
class MutableModel:
    """A hosted model whose name may come to mean another one."""

    model: RemoteModel
    open: Callable[[], Model]  # for a few single answers


@dataclass(frozen=True, slots=True)
class Given:
    """Answers to the rows of one suite that were there before the run, by row id, and whence they are."""

    answers: Mapping[str, Answer]
    provenance: Provenance
    asked_with: str = ""  # what stood before the questions, in words; empty: not known
    decoding: Mapping[str, Json] = field(default_factory=dict)  # the settings they were drawn with


@dataclass(frozen=True)
class Call:
    """What one prepared model is asked, on the way to answers that several calls make."""

    candidate: Candidate  # whose decoding and prices count
    prepared: Prepared
    prompts: Sequence[Prompt]
    is_last: bool = True  # whether its answers are the rows': the suite's limit and schema are for those
    asked_as: str = ""  # the name that a hosted model is asked by
    follows: bool = False  # whether its prompts hold answers to the call before
    needs_logprobs: bool = False  # whether something rests on how sure of its answers the model is
    # the rows of the suite that it answers; None: those of all its prompts. Others are asked since answers
    # depend on batches, or (where there are none) to set a route, without the suite's limit
    rows: Set[str] | None = None

    @property
    def is_aside(self) -> bool:
        """Whether it answers no row of the suite."""
        return self.rows is not None and not self.rows


class Asker(Protocol):
    """What puts calls to models, and keeps each one's answers under their own keys.

    In a plan nothing is sent: an answer that is not kept is the row's reference.
    """

    def prompt(self, row: Row, text: str | None = None) -> str | None:
        """The suite's instructions for a row, or ``text`` in their place, with the row's facts; None where
        the suite has none.
        """

    def ask(self, call: Call) -> Mapping[str, Answer]:
        """Answers, by row id."""

    def embed(self, texts: Sequence[str], model: str) -> Vectors | None:
        """Vectors of texts; None where the encoder would have to be fetched, and nothing may be."""


class Compose(Protocol):
    """Makes the answers to rows of the answers to calls."""

    def __call__(self, rows: Sequence[Row], asker: Asker) -> Mapping[str, Answer]:
        """One answer a row, by its id."""


@dataclass(frozen=True)
class Prepared:
    """A variant that is ready to be loaded and asked."""

    model_name: str  # the model that answers (before any tuning), as people see it
    model_digest: str  # of that model's content
    identity: str  # fingerprint of everything that shapes an answer but the question and the decoding
    numeric_config: str  # how its numbers are computed, in words
    load: Callable[[], Model]  # gives the model; called when the first answer is missing
    ask: Ask  # how a row becomes a prompt
    training: Training | None = None  # how it was trained
    # whether each answer depends on its own question only, and not on the questions that share a batch
    # with it
    batch_independent: bool = False
    # the settings that all seeds of one training recipe share, without names and paths; None: those that
    # ``Candidate.described`` gives
    recipe: Mapping[str, Json] | None = None
    # what of each prompt reaches the model, where its turns do not say it all
    read: Read | None = None
    # set where ``identity`` cannot tell one model from the next; some kept answers are then asked for again
    mutable: MutableModel | None = None
    asked_with: str = ""  # what ``ask`` puts before the question, in words for the report
    prompt: str | None = None  # the candidate's own, in place of each suite's
    looked: Looked | None = None  # what ``ask`` shows with each row, for the record
    schema: AnswerSchema | None = None  # that answers to suites with a ``JsonSchema`` check are bound to
    # the answers to a suite of this name with these rows, where nobody is asked and nothing is loaded
    given: Callable[[str, Sequence[Row]], Given] | None = None
    compose: Compose | None = None  # for answers that several calls make; ``load`` and ``ask`` are not used
    priced_as: PricedModel | None = None  # whose prices count where ``endpoint`` names nobody
    # whether every answer has a log-probability; one that was kept without is asked for again where it counts
    gives_logprobs: bool = False
    served: ByServer | None = None  # where a server answers, whose answers are compared with the library's


@dataclass(frozen=True)
class CostEstimate:
    """What preparing and asking a variant would take."""

    # the variant. Where its identity is not known yet (the base has yet to write general rows, a service
    # has yet to make the model), no answer is kept under the identity given
    prepared: Prepared
    training: TrainingEstimate | None = None  # None for what is not trained
    # the hosted model that answers, under the name that it is asked by; None for a local one
    asked_as: RemoteModel | None = None


class Candidate(Protocol):
    """One way to do the job. Must be hashable, and complete: every field that shapes an answer is in it."""

    @property
    def kind(self) -> str:
        """One word for the report: ``prompted``, ``qlora``."""

    @property
    def cost_rank(self) -> int:
        """The order of cost for one model: prompt 0, few-shot 1, retrieval 2; from 4 on it is trained."""

    @property
    def decoding(self) -> Decoding:
        """How its answers are drawn."""

    @property
    def model_name(self) -> str:
        """The model that answers (before any tuning), as the user wrote it."""

    def described(self) -> Mapping[str, Json]:
        """The fields, for the record."""

    def own_baseline(self) -> Candidate:
        """What it is compared with unless the user names another: its own base with the full prompt.

        Raises:
            UsageError: it has none.
        """

    def data(self, lab: Lab) -> TrainingData | None:
        """The rows of the project that shape it; None where there are none. Reads files, no more.

        The leak check, ``--sizes``, ``--train-seeds`` and the guards on seeds go by it.

        Raises:
            DataError: rows that cannot be read.
        """

    def endpoint(self) -> PricedModel | None:
        """The hosted model that it asks, for prices, the cap and rehearsals; None where nothing is hosted."""

    def redirected(self, url: str) -> Candidate:
        """The same with every request going to ``url``, a local stand-in of the service; itself where nothing
        is hosted. Afterwards ``endpoint`` must say so.
        """

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """Find everything that can be known to be wrong before money or hours are spent.

        Where ``lab.is_offline``, nothing may be sent. Else a service may be asked, though only where a new
        job would be refused.

        Raises:
            DataError, ModelError, TrainingError, UsageError: as ``prepare`` would.
        """

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """What ``prepare`` would take and give. Nothing is trained, loaded or sent."""

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """Train it, or find what was trained before; ready to be loaded.

        Raises:
            DataError, ModelError, TrainingError: it cannot be made.
        """

    def notes(self, lab: Lab, variant: Variant) -> Sequence[str]:
        """Sentences for the report on a variant that was prepared, or failed to be."""


def answered_by(candidate: Candidate) -> PricedModel | None:
    """The hosted model that gives a candidate's answers; None where they are made on this machine."""
    priced = candidate.endpoint()
    return priced if priced is not None and priced.answers else None


MEMBERS = tuple(name for name in vars(Candidate) if not name.startswith("_"))


def require_candidate(made: object, where: str) -> Candidate:
    """``made`` as a candidate. ``where`` names the function that made it.

    Raises:
        UsageError: a member of ``Candidate`` is missing; names them. Or it is not hashable.
    """
    if isinstance(made, type):
        raise UsageError(f"{where} gives the class {made.__name__}: call it, as in {made.__name__}(...).")
    missing = [name for name in MEMBERS if not hasattr(type(made), name) and not hasattr(made, name)]
    if len(missing) == len(MEMBERS):
        raise UsageError(
            f"{where} gives {type(made).__name__}, which is no candidate.\n"
            "  hint: return Prompted(...), FewShot(...), QLoRA(...) or another one."
        )
    if missing:
        raise UsageError(
            f"{where}: {type(made).__name__} lacks {', '.join(missing)} of a candidate.\n"
            "  hint: write them, or derive the class from harness.candidates.base.BaseCandidate, which has"
            " harmless defaults; docs/architecture.md shows a whole kind."
        )
    try:
        hash(made)
    except TypeError as error:
        raise UsageError(
            f"{where}: {type(made).__name__} is not hashable: {error}.\n"
            "  hint: use tuples in place of lists, and write the class as a frozen dataclass."
        ) from error
    return cast(Candidate, made)


@dataclass(frozen=True, kw_only=True)
class BaseCandidate:
    """The members of ``Candidate`` that have a harmless default; fields are keyword-only.

    Args:
        decoding: how its answers are drawn.
        thinking: whether it thinks before it answers; stands for ``Decoding(thinking=…)``.
        schema: a JSON schema, or the path of its file. Answers to suites that have a ``JsonSchema`` check are
            bound to it: no other can be given. Its own baseline's are, too.
    """

    kind: ClassVar[str] = ""
    cost_rank: ClassVar[int] = 0

    decoding: Decoding = field(default_factory=Decoding)
    thinking: bool | None = None
    schema: str | Mapping[str, Json] | None = field(default=None, hash=False)  # a mapping has no hash
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        require_fields(self)
        if self.thinking is not None:
            # a frozen dataclass: the field that was given takes its place in the one that is read
            object.__setattr__(self, "decoding", replace(self.decoding, thinking=self.thinking))

    @property
    def trains_beside(self) -> bool:
        """Whether variants may be prepared at once, to be trained side by side on one base."""
        return False

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        fields = asdict(self)
        del fields["thinking"]  # the decoding holds it
        del fields["decoding"]["schema"]
        if self.schema is None:
            del fields["schema"]
        return {"kind": self.kind, **fields}

    def endpoint(self) -> PricedModel | None:
        """See ``Candidate``. A kind that asks a service overrides it, and ``redirected`` with it."""
        return None

    def notes(self, lab: Lab, variant: Variant) -> Sequence[str]:
        """See ``Candidate``."""
        return ()


WITH_PROMPT, AS_TRAINED = "the suite's prompt", "each row's own turns, as in training"


def asked_with_prompt(row: Row, prompt: str | None) -> tuple[Message, ...]:
    """The suite's prompt in place of the row's own instructions, then the row's other turns.

    ``prompt`` holds those facts of the instructions that differ from row to row: the suite puts them there.
    """
    if prompt is None:
        return row.prompt
    return (Message("system", prompt), *row.turns)


def asked_as_trained(row: Row, prompt: str | None) -> tuple[Message, ...]:
    """The row's own turns: what a fine-tune was trained on, whatever the suite's prompt says."""
    return row.prompt
