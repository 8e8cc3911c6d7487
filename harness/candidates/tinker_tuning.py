"""Fine-tunes over Tinker's wire: a service computes, and the training loop is this project's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar

from harness.candidates.base import (
    AS_TRAINED,
    BaseCandidate,
    CostEstimate,
    Prepared,
    PricedModel,
    TrainingEstimate,
    Variant,
    asked_as_trained,
)
from harness.candidates.lab import Lab
from harness.candidates.lora import LearningRate
from harness.candidates.prompted import Prompted
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.data.rows import require_supervised
from harness.errors import HostedTrainingError, UsageError
from harness.fields import Count, Share, Span
from harness.models.chat import digest_with_day
from harness.models.profiles import REHEARSAL_KEY
from harness.models.protocol import Model
from harness.models.remote import RemoteModel
from harness.models.source import BUILTIN, ModelSource
from harness.models.structured import require_bindable
from harness.models.thinking import thinking_fields
from harness.records import Json, Training
from harness.training.hosted.budget import JobBudget, TokenBill, is_payable
from harness.training.hosted.lifetimes import Lifetime, ending_notes
from harness.training.hosted.record import JobRecord, state_file
from harness.training.local.recipe import Recipe
from harness.training.local.tokens import encode_rows, require_thoughts
from harness.training.local.trainer import overfitting
from harness.training.rows import TrainingData, TrainingRows, draw_rows
from harness.training.tinker.loop import (
    Adapter,
    Surroundings,
    TinkerJob,
    Tuned,
    read_state,
    tune,
    write_state,
)
from harness.training.tinker.plan import TrainingPlan
from harness.training.tinker.service import TinkerService

# raised when a change here, or in training/tinker, makes the same inputs train another model
RECIPE = 1
# fields that shape the adapter; rows, tokenizer and base count beside them
SHAPING = (
    "epochs",
    "learning_rate",
    "warmup",
    "weight_decay",
    "batch_rows",
    "dev_evaluations",
    "rank",
    "train_mlp",
    "train_attn",
    "train_unembed",
)


@dataclass(frozen=True, kw_only=True)
class TinkerTuning(BaseCandidate):
    """Low-rank adapters trained at Tinker, or where its wire is spoken, by the local trainer's recipe.

    Rows become the tokens, masks, batches and rates of ``LoRA``; the service computes the gradients. The same
    rows, base and settings are one training: a second run finds it and pays nothing.

    Args (see ``LoRA`` for the others):
        base: the model to tune, as the service names it: ``Qwen/Qwen3-8B``.
        tokenizer: the base's, a Hugging Face id or a local folder (None: the base's own id).
        dev: development rows, measured at the service, which bills their tokens, too.
        rank: of the adapters. Their scale is the service's own.
        train_mlp, train_attn, train_unembed: which layers get adapters.
        save_every: steps between two states that a killed training goes on from.
        keep_days: how long the service stores the trained model (None: until you delete it); storage has a
            price.
        keep_states: whether states to go on from stay there after the end.
        base_url, api_key_env: where the service is (None: ``TINKER_BASE_URL``, else Tinker's own), and the
            environment variable with its key (None: ``TINKER_API_KEY``).
        concurrency: how many answers are asked for at once.
    """

    kind: ClassVar[str] = "tinker"
    cost_rank: ClassVar[int] = 4

    base: str
    train: str
    tokenizer: str | None = None
    dev: str | None = None
    replay: str | None = None
    stratify: str | None = None
    epochs: Annotated[float, Span(above=0, most=1_000)] = 3
    learning_rate: LearningRate = 3e-4
    warmup: Share = 0.1
    weight_decay: Share = 0.0
    batch_rows: Count = 8
    max_tokens: Count = 2048
    dev_evaluations: Count = 3
    rank: Count = 32
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = False
    save_every: Count = 20
    keep_days: Annotated[int, Span(1, 3_650)] | None = 30
    keep_states: bool = False
    base_url: str | None = None
    api_key_env: str | None = None
    concurrency: Count | None = None

    # ----------------------------------------------------------------------- a candidate
    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    def service(self) -> TinkerService:
        """Where it is trained and asked."""
        return TinkerService(self.base_url, self.api_key_env)

    def remote(self, model: str, version: str | None = None) -> RemoteModel:
        """The base or a trained model, as it answers at the service."""
        return replace(self.service().model(model, version), concurrency=self.concurrency)

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; how many answers are asked for at once shapes nothing."""
        fields = super().described()
        del fields["concurrency"]
        return fields

    def own_baseline(self) -> Prompted:
        """See ``Candidate``: the base at the same address."""
        return Prompted(model=self.remote(self.base), decoding=self.decoding, schema=self.schema)

    def redirected(self, url: str) -> TinkerTuning:
        """See ``Candidate``. Behind the stand-in is the built-in model, under the base's name."""
        return replace(self, base_url=url, api_key_env=REHEARSAL_KEY, tokenizer=BUILTIN)

    def endpoint(self) -> PricedModel:
        """See ``Candidate``."""
        return PricedModel(self.remote(self.base), is_tuned=True, tuned_as=self.billed_as)

    @property
    def billed_as(self) -> str:
        """The name that its trainings and answers are priced under: of its base, at Tinker."""
        return self.remote(self.base).billed_as

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``."""
        return TrainingData(
            train=lab.rows(self.train),
            file=lab.shown(self.train),
            dev=lab.rows(self.dev) if self.dev else (),
            general=lab.rows(self.replay) if self.replay else (),
            stratify=self.stratify,
        )

    def notes(self, lab: Lab, variant: Variant) -> tuple[str, ...]:
        """See ``Candidate``: what the template wants, what is stored at the service, and until when."""
        source, (_, name) = self._tokenizer(lab), self._training(lab, variant)
        is_made = lab.adapters.find(name) is not None
        known = JobRecord.read(lab.adapters.folder(name)) if is_made else None
        notes = () if known is None else known.notes
        ends = None if known is None or known.ends is None else date.fromisoformat(known.ends[:10])
        ending: tuple[str, ...] = ()
        if ends is not None and known is not None:
            found = Lifetime(known.model, None, ends, "keep_days")
            ending = ending_notes(found, lab.today(), lab.horizon_days())
        return (*notes, *ending, *lab.chat_format(source).notes(self.base))

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``. Every row of a training that is yet to be made is tokenised; the key is looked
        for after the rows.
        """
        thinking_fields(self.remote(self.base), self.decoding)
        require_bindable(self.remote(self.base), lab.schema(self.schema))
        lab.spending(self.billed_as, tuned=True)
        rows, name = self._training(lab, variant)
        require_supervised(rows.own)
        is_made = lab.adapters.find(name) is not None
        source, thinking = self._tokenizer(lab), self.decoding.thinking
        if thinking is None and lab.chat_format(source).has_switch:
            raise UsageError(
                f"TinkerTuning: {self.base} can think before it answers, and nothing says whether it is to."
                " It would be trained without thoughts, and the service would let it think.\n"
                "  hint: thinking=False, or thinking=True with thoughts in the rows."
            )
        if not is_made:
            require_thoughts(lab.chat(source, thinking), rows.own)
            self._plan(lab, rows, variant)
        self.service().require_ready()
        spending = lab.spending(self.billed_as, tuned=True, purpose="training")
        if not is_made and not lab.is_offline and spending is not None:
            is_payable(spending, self.billed_as, bounded=True)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``. Tokens are those that will be sent, to the token; a training that only the
        service knows counts as new.
        """
        rows, name = self._training(lab, variant)
        count = len(rows.own) + len(rows.replay)
        if lab.adapters.find(name) is not None:
            prepared = self.prepare(lab, variant)
            model = JobRecord.read(lab.adapters.folder(name)).model
            done = TrainingEstimate(name, count, is_kept=True)
            return CostEstimate(prepared, done, self.remote(model, name[:16]))
        tokens = float(self._plan(lab, rows, variant).tokens())
        prepared = self._prepared(lab, name, None, self.remote(self.base))
        # what makes its answers is not known, so no answer is cached under this identity
        prepared = replace(prepared, identity=fingerprint({"yet to be made": name}), load=_not_made)
        return CostEstimate(
            prepared, TrainingEstimate(name, count, False, tokens, tokens), self.remote(self.base)
        )

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``: trained once for the same content.

        Raises:
            BudgetReached: the training could pass the cap on spending.
        """
        rows, name = self._training(lab, variant)
        if name in lab.failed:
            raise lab.failed[name].with_traceback(None)
        try:
            training = lab.adapters.get_or_train(
                name, lambda folder: self._train(lab, variant, rows, name, folder)
            )
        except HostedTrainingError as error:
            lab.failed[name] = error
            raise
        record = JobRecord.read(lab.adapters.folder(name))
        remote = self.remote(record.model, name[:16])
        return self._prepared(lab, name, replace(training, subset=rows.drawn), remote)

    # ----------------------------------------------------------------------- steps
    def _tokenizer(self, lab: Lab) -> ModelSource:
        return lab.tokenizer(self.tokenizer or self.base)

    def _recipe(self) -> Recipe:
        return Recipe(
            shape=self._shape(),
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            batch_rows=self.batch_rows,
            max_tokens=self.max_tokens,
            dev_evaluations=self.dev_evaluations,
            thinking=self.decoding.thinking,
        )

    def _shape(self) -> dict[str, Json]:
        thinking: dict[str, Json] = {"thinking": True} if self.decoding.thinking else {}
        return {name: getattr(self, name) for name in SHAPING} | thinking

    def _training(self, lab: Lab, variant: Variant) -> tuple[TrainingRows, str]:
        """The rows of one training, and its name here and at the service."""
        seed = variant.seed or 0
        rows, source = draw_rows(self.data(lab), variant.size, seed), self._tokenizer(lab)
        name = fingerprint(
            {
                "recipe": RECIPE,
                **self.service().identity(),
                "spec": self._shape(),
                "base": self.base,
                "tokenizer": digest_with_day(source),
                "chat": dict(lab.chat_format(source).trained()),
                "rows": rows_fingerprint(rows.own),
                "replay": rows_fingerprint(rows.replay),
                "dev": rows_fingerprint(rows.dev),
                "seed": seed,
            }
        )
        return rows, name

    def _plan(self, lab: Lab, rows: TrainingRows, variant: Variant) -> TrainingPlan:
        """Raises ``DataError`` where a row cannot be trained on."""
        chat = lab.chat(self._tokenizer(lab), self.decoding.thinking)
        examples = encode_rows(chat, (*rows.own, *rows.replay), self.max_tokens)
        dev = encode_rows(chat, rows.dev, self.max_tokens)
        return TrainingPlan.make(examples, dev, self._recipe(), variant.seed or 0)

    def _train(self, lab: Lab, variant: Variant, rows: TrainingRows, name: str, folder: Path) -> Training:
        artifact, plan = lab.adapters.folder(name), self._plan(lab, rows, variant)
        spending = lab.spending(self.billed_as, tuned=True, purpose="training")
        job = TinkerJob(
            fingerprint=name,
            base=self.base,
            plan=plan,
            adapter=Adapter(self.rank, self.train_mlp, self.train_attn, self.train_unembed),
            seed=variant.seed or 0,
            save_every=self.save_every,
            keep_days=self.keep_days,
            keep_states=self.keep_states,
        )

        def money(tokens: int) -> JobBudget:
            return JobBudget(spending, TokenBill(tokens, tokens, tokens), self.billed_as)

        self.service().require_ready()
        task = f"training {self.base} on {len(rows.own)} rows at the service"
        with lab.progress.task(task, unit="step") as bar:
            around = Surroundings(money, lambda state: write_state(artifact, state), bar)
            tuned = tune(job, self.service(), around, read_state(artifact))
        record = JobRecord(tuned.run, tuned.model, self.service().url, (), tuned.expires, tuned.notes)
        record.write(folder)
        return self._record(rows, name, plan, tuned)

    def _record(self, rows: TrainingRows, name: str, plan: TrainingPlan, tuned: Tuned) -> Training:
        from importlib.metadata import version

        tokens = sum(len(e.input_ids) for e in plan.examples)
        return Training(
            fingerprint=name,
            rows=len(rows.own),
            replay_rows=len(rows.replay),
            epochs=self.epochs,
            steps=len(plan.steps),
            tokens=tokens,
            supervised_tokens=sum(e.supervised for e in plan.examples),
            seconds=tuned.seconds,
            tokens_per_second=tokens * self.epochs / tuned.seconds if tuned.seconds else 0.0,
            points=tuned.points,
            overfitting=overfitting(tuned.points),
            device=f"hosted: {tuned.run} at {self.service().url}",
            numeric_config="the service's own; queue and measurements included in the time",
            row_ids=tuple(row.id for row in rows.own),
            versions={"tinker": version("tinker")},
            row_digest=rows_fingerprint(rows.own),
        )

    def _prepared(self, lab: Lab, name: str, training: Training | None, remote: RemoteModel) -> Prepared:
        schema, service = lab.schema(self.schema), self.service().identity()
        recipe: dict[str, Json] = {"kind": self.kind, "service": service, "base": self.base, **self._shape()}
        recipe["decoding"] = replace(self.decoding, schema=schema).settings()

        def load() -> Model:
            self._require_kept(lab, name)
            return remote.open(lab.spending(self.billed_as, tuned=True), lab.progress, just_tuned=True)

        return Prepared(
            model_name=self.base,
            model_digest=fingerprint({"hosted": service, "base": self.base}),
            identity=fingerprint({"trained": name, "asked": remote.identity()}),
            numeric_config=remote.numeric_config,
            load=load,
            ask=asked_as_trained,
            asked_with=AS_TRAINED,
            schema=schema,
            training=training,
            batch_independent=True,
            recipe=recipe,
            read=remote.sent_beside,
        )

    def _require_kept(self, lab: Lab, name: str) -> None:
        """See that the service still stores a model whose time is over: somebody may have made it longer.

        Raises:
            HostedTrainingError: it does not.
        """
        folder = lab.adapters.folder(name)
        record = JobRecord.read(folder)
        is_over = record.ends is not None and date.fromisoformat(record.ends[:10]) < lab.today()
        if not is_over or self.service().stores(record.model):
            return
        raise HostedTrainingError(
            f"the service stored {record.model} until {(record.ends or '')[:10]}, as keep_days said: it"
            " answers no more.",
            f"delete {folder} and {state_file(folder).name} beside it, and run again: it is trained anew."
            " keep_days= says how long it is stored; answers that were kept need no model.",
            job=record.job,
        )


def _not_made() -> Model:
    raise HostedTrainingError(
        "a model that is only estimated cannot be loaded.", "prepare the candidate first."
    )
