"""Fine-tunes that are trained on this machine: LoRA, QLoRA, and all weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from harness.candidates.base import (
    AS_TRAINED,
    BaseCandidate,
    CostEstimate,
    Prepared,
    TrainingEstimate,
    Variant,
    asked_as_trained,
)
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.candidates.served import by_server, require_servable, served_notes, with_server
from harness.data.fingerprints import fingerprint
from harness.data.rows import require_supervised
from harness.fields import Count, Positive, Share, Span
from harness.models.askable import require_askable
from harness.models.bound import untaught_notes
from harness.models.chat import digest_with_day
from harness.models.generation import note_on_defaults
from harness.models.local import batch_numeric_config
from harness.models.served import Weights
from harness.models.server import Server
from harness.models.source import ModelSource
from harness.records import Json, Training
from harness.store.adapters import resume_file
from harness.training.executor import site_of
from harness.training.local.recipe import (
    AdapterShape,
    LocalTraining,
    Recipe,
    load_trained,
    merged_folder,
    training_fingerprint,
)
from harness.training.local.self_generated import GeneratedRows, SelfGenerated, plan_generation
from harness.training.local.tokens import encode_rows, require_thoughts
from harness.training.rows import TrainingData, TrainingRows, draw_rows

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LearningRate: TypeAlias = Annotated[float, Span(above=0, most=1)]
# fields that do not shape what is trained: rows and the base count by their content
NOT_SHAPING = ("decoding", "schema", "train", "dev", "replay", "base", "trust_remote_code", "ship", "serve")


@dataclass(frozen=True, kw_only=True)
class LocalTuning(BaseCandidate):
    """What all fine-tunes of this machine share.

    Args:
        base: the model to tune: the built-in name, a Hugging Face id, a local folder or a GGUF file.
        train: training rows (chat JSONL or prompt/completion).
        dev: development rows, for the loss curves and the overfitting flag; never trained on.
        replay: general rows mixed in against forgetting: a file, or ``SelfGenerated()`` by the base itself;
            added to every size, not counted in it.
        stratify: metadata field whose proportions every subset keeps.
        learning_rate: peak, reached after ``warmup`` (share of all steps), then a cosine to zero.
        batch_rows: rows an optimiser step, over all devices.
        max_tokens: longest row; a longer one is an error, never truncated.
        dev_evaluations: how many times the development rows are measured, evenly spaced, the end included.
        ship: the artifact that is evaluated and shipped.
        serve: a server that answers for it, and for its baseline, in place of the library.
    """

    cost_rank: ClassVar[int] = 4

    base: str
    train: str
    dev: str | None = None
    replay: str | SelfGenerated | None = None
    stratify: str | None = None
    epochs: Annotated[float, Span(above=0, most=1_000)] = 3
    learning_rate: LearningRate = 1e-3
    warmup: Share = 0.1
    weight_decay: Share = 0.0
    batch_rows: Count = 8
    max_tokens: Count = 2048
    dev_evaluations: Count = 3
    ship: Literal["adapter", "merged"] = "adapter"
    serve: Server | None = None

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    def own_baseline(self) -> Prompted:
        """See ``Candidate``."""
        return Prompted(
            model=self.base,
            decoding=self.decoding,
            schema=self.schema,
            trust_remote_code=self.trust_remote_code,
            serve=self.serve,
        )

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        return with_server(super().described(), self.serve)

    def redirected(self, url: str) -> LocalTuning:
        """See ``Candidate``: nothing is hosted."""
        return self

    def recipe(self) -> Recipe:
        """Its settings as the trainer takes them."""
        return Recipe(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            batch_rows=self.batch_rows,
            max_tokens=self.max_tokens,
            dev_evaluations=self.dev_evaluations,
            nf4=self.nf4,
            adapter=self.adapter(),
            thinking=self.decoding.thinking,
            shape={
                **{name: value for name, value in self.described().items() if name not in NOT_SHAPING},
                **({"thinking": True} if self.decoding.thinking else {}),
            },
        )

    @property
    def nf4(self) -> bool:
        """Whether the base is quantised to 4-bit NormalFloat."""
        return False

    def adapter(self) -> AdapterShape | None:
        """The adapters that are trained; None: all weights are."""
        raise NotImplementedError

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``. General rows that the base has yet to write are there with empty replies."""
        generated = self.generated_rows(lab)
        general = lab.rows(self.replay) if isinstance(self.replay, str) else ()
        if generated is not None:
            general = generated.found() or generated.prompts
        dev = lab.rows(self.dev) if self.dev else ()
        return TrainingData(lab.rows(self.train), lab.shown(self.train), dev, general, self.stratify)

    def generated_rows(self, lab: Lab) -> GeneratedRows | None:
        """The general rows that the base is to write; None where they are a file's."""
        if not isinstance(self.replay, SelfGenerated):
            return None
        source = self._source(lab)
        chat = lab.chat_format(source).key()
        return plan_generation(self.replay, lab.root, source, self.nf4, lab.plan(), lab.adapters, chat)

    def notes(self, lab: Lab, variant: Variant) -> tuple[str, ...]:
        """See ``Candidate``: what the base's chat template wants; how many general rows the base wrote, and
        where they are; what is set aside of the base's defaults; and replies that its schema forbids.
        """
        source, generated = self._source(lab), self.generated_rows(lab)
        notes = (
            *lab.chat_format(source).notes(source.name),
            *note_on_defaults(source.folder),
            *untaught_notes(lab.schema(self.schema), lab.rows(self.train)),
            *served_notes(self.estimate(lab, variant).prepared if self.serve else None),
        )
        told = generated.summary() if generated is not None else None
        if generated is None or told is None:
            return notes
        return (f"{told} They are in {lab.relative(generated.file)}.", *notes)

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``. Every row of a training that is not in the store is tokenised, and every prompt
        of a suite that is not answered yet.
        """
        source, (rows, name) = self._source(lab), self._training(lab, variant)
        require_supervised(rows.own)
        found = lab.adapters.find(name)
        if found is None:
            chat = lab.chat(source, self.decoding.thinking)
            require_thoughts(chat, rows.own)
            encode_rows(chat, (*rows.own, *rows.replay, *rows.dev), self.max_tokens)
        if self.serve is not None:
            is_adapter = self.adapter() is not None and self.ship == "adapter"
            require_servable(self.serve, lab.schema(self.schema), is_adapter=is_adapter)
        for suite, prompts, decoding in lab.unanswered(
            self, self._shipped(lab, source, name, found, variant)
        ):
            require_askable(lab.chat(source, decoding.thinking), suite, prompts, decoding)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        source, (rows, name) = self._source(lab), self._training(lab, variant)
        generated = self.generated_rows(lab)
        # rows that are yet to be written are empty here: no artifact is kept under the name that they give
        is_known = generated is None or generated.found() is not None
        found = lab.adapters.find(name) if is_known else None
        prepared = self._shipped(lab, source, name, found, variant)
        sent = (*rows.own, *rows.replay)
        if found is not None:
            return CostEstimate(prepared, TrainingEstimate(name, len(sent), is_kept=True))
        examples = encode_rows(lab.chat(source, self.decoding.thinking), sent, self.max_tokens)
        tokens = sum(len(example.input_ids) for example in examples) * self.epochs
        return CostEstimate(prepared, TrainingEstimate(name, len(sent), False, tokens, tokens))

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``. General rows are written now, and compared with the held-out rows, before it is
        trained.
        """
        generated = self.generated_rows(lab)
        if generated is not None and generated.found() is None:
            lab.require_unseen(generated.get(lab.progress))
        source, (rows, name) = self._source(lab), self._training(lab, variant)

        def train(folder: Path) -> Training:
            lab.servers.end()  # a training wants the memory
            with lab.progress.task(f"training {self.kind} on {len(rows.own)} rows", unit="step") as bar:
                plan, seed = lab.site().plan, variant.seed or 0
                # another machine does not see the store
                resume = resume_file(lab.adapters.folder(name)) if site_of(lab.executor) is None else None
                beside = lab.at_once(self) > 1
                job = LocalTraining(
                    self.recipe(), source, rows, seed, plan, name, folder, resume=resume, beside=beside
                )
                return lab.executor.run(job, bar)

        made = lab.adapters.get_or_train(name, train)
        # an artifact of the same content may have been drawn from another file
        prepared = self._shipped(lab, source, name, replace(made, subset=rows.drawn), variant)
        if prepared.served is not None:
            prepared.served.service.know()
        return prepared

    def _source(self, lab: Lab) -> ModelSource:
        return lab.source(self.base, self.trust_remote_code)

    def _training(self, lab: Lab, variant: Variant) -> tuple[TrainingRows, str]:
        """The rows of one training, and the name of the artifact that it makes."""
        seed = variant.seed or 0
        rows = draw_rows(self.data(lab), variant.size, seed)
        source = self._source(lab)
        shaped = lab.chat_format(source).trained()
        digest = digest_with_day(source)
        site, recipe = lab.site(), self.recipe()
        name, earlier = (
            training_fingerprint(
                recipe, digest, rows, seed, site.plan, shaped, site.versions, earlier=is_earlier
            )
            for is_earlier in (False, True)
        )
        is_kept = lab.adapters.find(name) is None and lab.adapters.find(earlier) is not None
        return rows, earlier if is_kept else name

    def _shipped(
        self, lab: Lab, source: ModelSource, name: str, training: Training | None, variant: Variant
    ) -> Prepared:
        """The fine-tune whose artifact has that name in the store, or will have it."""
        plan, recipe = lab.plan(), self.recipe()
        artifact = lab.adapters.folder(name)
        settings: dict[str, Json] = {**recipe.shape, "base": source.digest, "ship": self.ship}
        schema = lab.schema(self.schema)
        settings["decoding"] = replace(self.decoding, schema=schema).settings()
        library = Prepared(
            model_name=source.name,
            model_digest=source.digest,
            identity=fingerprint({"trained": name, "ship": self.ship, **lab.chat_format(source).key()}),
            numeric_config=batch_numeric_config(plan),
            load=lambda: load_trained(recipe, self.ship, source, artifact, plan, lab.adapters),
            ask=asked_as_trained,
            asked_with=AS_TRAINED,
            schema=schema,
            training=training,
            recipe=settings,
            read=lab.reader(source),
            gives_logprobs=True,
        )
        if self.serve is None:
            return library
        is_adapter = recipe.adapter is not None and self.ship == "adapter"
        whole = artifact if recipe.adapter is None else None
        weights = Weights(
            source,
            library.identity,
            artifact if is_adapter else None,
            None if is_adapter else lambda: whole or merged_folder(source, artifact, plan, lab.adapters),
            nf4=is_adapter and recipe.nf4,
            dtype=plan.dtype,
        )
        url_name = self.serve.name_at_url(
            candidate=variant.name, size=variant.size, seed=variant.seed, key=name[:12]
        )
        return by_server(lab, self.serve, library, weights, self.decoding, url_name)


@dataclass(frozen=True, kw_only=True)
class LoRA(LocalTuning):
    """Low-rank adapters (Hu et al. 2021) on a base in its working precision.

    Args:
        r: rank of every adapter.
        alpha: scale; the adapter's output is multiplied by alpha / r.
        dropout: on the adapter's input. 0 by default: it costs an eighth of the time on a CPU.
        targets: names of the linear layers that get an adapter.
        top_layers: adapt only the last so many transformer blocks (None: all). Nothing flows back below
            them, and a row goes through the others once, not once an epoch.
    """

    kind: ClassVar[str] = "lora"

    r: Annotated[int, Span(1, 65_536)] = 16
    alpha: Positive = 32
    dropout: Annotated[float, Span(0, below=1)] = 0.0
    targets: Annotated[tuple[str, ...], Span(1)] = ALL_LINEAR
    top_layers: Count | None = None

    @property
    def trains_beside(self) -> bool:
        """See ``BaseCandidate``. Dropout draws by what was drawn before."""
        return not self.dropout

    def adapter(self) -> AdapterShape:
        """See ``LocalTuning``."""
        return AdapterShape(self.r, self.alpha, self.dropout, self.targets, self.top_layers)


@dataclass(frozen=True, kw_only=True)
class QLoRA(LoRA):
    """LoRA on a base quantised to nf4 with double quantisation (Dettmers et al. 2023)."""

    kind: ClassVar[str] = "qlora"

    @property
    def nf4(self) -> bool:
        """See ``LocalTuning``."""
        return True


@dataclass(frozen=True, kw_only=True)
class Full(LocalTuning):
    """All weights are trained, in float32 with bfloat16 products; what ships is the whole model."""

    kind: ClassVar[str] = "full"

    learning_rate: LearningRate = 5e-5
    ship: Literal["adapter", "merged"] = "merged"

    def adapter(self) -> None:
        """See ``LocalTuning``."""
