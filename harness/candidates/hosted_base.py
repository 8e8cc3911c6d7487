"""The life of a fine-tune that a service makes, whichever service: checked, estimated, tuned once, asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from harness.candidates.base import (
    AS_TRAINED,
    BaseCandidate,
    Candidate,
    CostEstimate,
    Prepared,
    PricedModel,
    TrainingEstimate,
    Variant,
    asked_as_trained,
)
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted, mutable_model
from harness.data.fingerprints import fingerprint
from harness.data.hosted import hosted_counter, hosted_model
from harness.data.rows import require_supervised
from harness.decision.prices import billed_as
from harness.errors import DataError, HostedTrainingError, UsageError
from harness.fields import Count, Positive, Span
from harness.models.ledger import Spending
from harness.models.protocol import Model
from harness.models.remote import RemoteModel
from harness.models.structured import require_bindable, schema_notes
from harness.models.thinking import thinking_fields
from harness.records import Json, Training
from harness.training.hosted.budget import JobBudget, is_payable, training_tokens
from harness.training.hosted.jobs import Environment, find_job, tune
from harness.training.hosted.lifetimes import ending_notes, lifetime, require_tunable
from harness.training.hosted.provider import Capabilities, Quotes, TuningProvider
from harness.training.hosted.record import JobRecord, read_state, training_record, write_state
from harness.training.hosted.request import JobRequest, JobSettings, make_request
from harness.training.rows import TrainingData, TrainingRows, draw_rows

Auto: TypeAlias = Literal["auto"]

MOST_EPOCHS = 50


@dataclass(frozen=True, slots=True)
class HostedJob:
    """One variant's rows, the job that they make, and the name of its artifact in the store."""

    rows: TrainingRows
    request: JobRequest
    artifact: str


@dataclass(frozen=True, kw_only=True)
class BaseHostedTuning(BaseCandidate):
    """What all fine-tunes at a service share; a kind of its own implements ``service`` and ``settings``.

    The same rows, base and settings are one job: a second run finds it and pays nothing.

    Args:
        base: the model to tune, best a dated snapshot: ``gpt-4o-mini-2024-07-18``.
        train: training rows (chat JSONL or prompt/completion). Only the conversations are sent, no metadata.
        dev: development rows, sent as the validation file; for the loss curves and ``checkpoint="best"``.
        replay: a file of general rows mixed in against forgetting, added to every size.
        stratify: metadata field whose proportions every subset keeps.
        epochs, batch_size: ``"auto"`` leaves them to the service.
        suffix: part of the tuned model's name.
        checkpoint: which of the job's models is evaluated: the last, the one with the lowest validation
            loss (its development rows have chosen it), or the one of that step.
        deployment: the name that the tuned model answers to, where it must be deployed first (Azure);
            ``{size}`` and ``{seed}`` in it stand for the training's.
        base_deployment: the name that the base answers to there, for the baseline.
        patience_hours: longest time without any news of the job. The job goes on, and the next run finds it.
    """

    cost_rank: ClassVar[int] = 4
    #: Whether the name of a deployment alone decides which model answers, where models must be deployed.
    deployment_is_model: ClassVar[bool] = True

    base: str
    train: str
    dev: str | None = None
    replay: str | None = None
    stratify: str | None = None
    epochs: Annotated[int, Span(1, MOST_EPOCHS)] | Auto = 3
    batch_size: Count | Auto = "auto"
    suffix: str | None = None
    checkpoint: Literal["last", "best"] | Count = "last"
    deployment: str | None = None
    base_deployment: str | None = None
    patience_hours: Positive = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.checkpoint == "best" and self.dev is None:
            raise UsageError(
                f"{name}(checkpoint='best') needs development rows to choose by.\n"
                "  hint: name them: dev='dev.jsonl'. Never the held-out rows."
            )

    # ----------------------------------------------------------------------- for each kind
    def service(self) -> TuningProvider:
        """Who tunes it. Close it after use."""
        raise NotImplementedError

    def redirected(self, url: str) -> Candidate:
        """See ``Candidate``."""
        raise NotImplementedError

    def settings(self) -> JobSettings:
        """The settings of its jobs."""
        raise NotImplementedError

    def require_fit(self, service: Capabilities) -> None:
        """Check the settings against what the service can do.

        Raises:
            UsageError: a setting that it would refuse, drop, or take for something else.
        """
        where, longest = f"{type(self).__name__} at a {service.name!r} service", service.suffix_characters
        if self.suffix is not None and len(self.suffix) > longest:
            raise UsageError(f"{where}: the suffix has {len(self.suffix)} characters; use at most {longest}.")
        for name, is_set, can in (
            ("metadata", bool(self.settings().metadata), service.metadata),
            ("wandb", self.settings().wandb is not None, service.wandb),
            ("checkpoint", self.checkpoint != "last", service.checkpoints),
            ("base_deployment", self.base_deployment is not None, service.must_deploy),
        ):
            if is_set and not can:
                raise UsageError(f"{where}: there is no {name} there.\n  hint: leave {name}= out.")

    def remote(self, model: str) -> RemoteModel:
        """A model of the service: the base, or one that was made of it."""
        return self.service().model(model)

    # ----------------------------------------------------------------------- a candidate
    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.base

    def own_baseline(self) -> Prompted:
        """See ``Candidate``: the base at the same service. One that must be deployed there must be named."""
        service = self.service().capabilities
        if service.must_deploy and self.base_deployment is None:
            raise UsageError(
                f"{type(self).__name__} at a {service.name!r} service: the baseline is {self.base} with the"
                " full prompt, and a model answers there only under the name of its deployment.\n"
                f"  hint: deploy {self.base} there and give base_deployment='ITS NAME'; or name another"
                " baseline: --baseline=NAME."
            )
        base = self.remote(self.base_deployment or self.base)
        return Prompted(model=base, decoding=self.decoding, schema=self.schema)

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``."""
        return TrainingData(
            train=lab.rows(self.train),
            file=lab.shown(self.train),
            dev=lab.rows(self.dev) if self.dev else (),
            general=lab.rows(self.replay) if self.replay else (),
            stratify=self.stratify,
        )

    def endpoint(self) -> PricedModel:
        """See ``Candidate``."""
        return PricedModel(self.remote(self.base), is_tuned=True, tuned_as=self.billed_as)

    @property
    def billed_as(self) -> str:
        """The name that its trainings and answers are priced under: of its base, at its service."""
        service = self.service().capabilities.name
        asked = replace(self.remote(self.base), model=self.base).billed_as
        return billed_as(service, self.base) if asked == self.base else asked

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``. The key is looked for after the rows: a plan has none, and still checks them."""
        self.require_askable(lab, variant)
        job = self.job(lab, variant)
        self._require_own_deployment(lab, job, variant)
        is_made = lab.adapters.find(job.artifact) is not None
        with closing(self.service()) as service:
            if not is_made:
                self._require_rows(job.rows, service.capabilities)
            service.require_ready()
            if is_made or lab.is_offline:
                return
            try:
                self._require_tunable(lab)
                spending = self._spending(lab)
                if spending is not None and not isinstance(service, Quotes):
                    is_payable(spending, self.billed_as, bounded=self.epochs != "auto")
            except (HostedTrainingError, UsageError):
                # a new job would be refused; one that exists need not be begun
                state = read_state(lab.adapters.folder(job.artifact))
                if find_job(job.request, service, self.environment(lab), state) is None:
                    raise

    def require_askable(self, lab: Lab, variant: Variant) -> None:
        """See that what it makes can be asked the suites.

        Raises:
            HarnessError: it could not.
        """
        thinking_fields(self.remote(self.base), self.decoding)
        require_bindable(self.remote(self.base), lab.schema(self.schema))
        lab.spending(self.billed_as, tuned=True)
        if self.schema is not None:  # see that every suite can be asked under it
            list(lab.unanswered(self, self.estimate(lab, variant).prepared))

    def training_estimate(self, lab: Lab, job: HostedJob) -> TrainingEstimate:
        """What is left of the training. A job that only the service knows counts as new."""
        rows = len(job.rows.own) + len(job.rows.replay)
        if lab.adapters.find(job.artifact) is not None:
            return TrainingEstimate(job.artifact, rows, is_kept=True)
        problem = ""
        try:
            self._require_tunable(lab)
        except HostedTrainingError as error:
            problem = error.problem
        bill = training_tokens(job.request, (*job.rows.own, *job.rows.replay))
        return TrainingEstimate(job.artifact, rows, False, bill.expected, bill.most, problem)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        job = self.job(lab, variant)
        training = self.training_estimate(lab, job)
        if training.is_kept:
            record = JobRecord.read(lab.adapters.folder(job.artifact))
            remote = self.remote(self._name_that_answers(record, variant))
            return CostEstimate(self.prepare(lab, variant), training, remote)
        must_deploy = self.service().capabilities.must_deploy
        remote = self.remote((self._deployment(variant) if must_deploy else None) or self.base)
        # what makes its answers is not known, so no answer is cached under this identity
        parts = {"yet to be made": job.artifact, "checkpoint": self.checkpoint, "asked": remote.identity()}
        prepared = Prepared(
            model_name=self.base,
            model_digest="",
            identity=fingerprint(parts),
            numeric_config=remote.numeric_config,
            load=_not_made,
            ask=asked_as_trained,
            asked_with=AS_TRAINED,
            schema=lab.schema(self.schema),
            batch_independent=True,
            recipe=self._recipe(lab),
            read=remote.sent_beside,
        )
        return CostEstimate(prepared, training, remote)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``: tuned at its service once for the same content.

        Raises:
            BudgetReached: the job could pass the cap on spending.
        """
        job = self.job(lab, variant)
        training, record = self.tuned(lab, job)
        remote = self.remote(self._name_that_answers(record, variant))
        identity = {
            "trained": job.artifact,
            "model": record.model_at(self.checkpoint),
            "asked": remote.identity(),
        }
        return Prepared(
            model_name=self.base,
            model_digest=fingerprint({"hosted": self.service().identity(), "base": self.base}),
            identity=fingerprint(identity),
            numeric_config=remote.numeric_config,
            load=lambda: remote.open(lab.spending(self.billed_as, tuned=True), lab.progress, just_tuned=True),
            ask=asked_as_trained,
            asked_with=AS_TRAINED,
            schema=lab.schema(self.schema),
            training=training,
            batch_independent=True,
            recipe=self._recipe(lab),
            read=remote.sent_beside,
            # what a job made never changes, but a deployment may come to hold another model
            mutable=mutable_model(remote, lambda: lab.spending(self.billed_as, tuned=True), lab.progress)
            if self.service().capabilities.must_deploy
            else None,
        )

    def notes(self, lab: Lab, variant: Variant) -> tuple[str, ...]:
        """See ``Candidate``: earlier jobs that failed, and when the model stops answering."""
        job = self.job(lab, variant)
        folder = lab.adapters.folder(job.artifact)
        is_made = lab.adapters.find(job.artifact) is not None
        known = JobRecord.read(folder) if is_made else read_state(folder)
        found = lifetime(self.base, known.ends, in_table=self.service().capabilities.lifetimes)
        return (*known.notes, *ending_notes(found, lab.today(), lab.horizon_days()), *self.answer_notes(lab))

    def answer_notes(self, lab: Lab) -> tuple[str, ...]:
        """Sentences for the report on how its answers are made."""
        # a tuned model is bound to less than its base
        asked = replace(self.remote(self.base), model=f"ft:{self.base}")
        return schema_notes(asked, lab.schema(self.schema))

    # ----------------------------------------------------------------------- steps
    def tuned(self, lab: Lab, job: HostedJob) -> tuple[Training, JobRecord]:
        """The outcome of a job, waited for where it is not kept.

        Raises:
            BudgetReached: the job could pass the cap on spending.
        """
        if job.artifact in lab.failed:
            raise lab.failed[job.artifact].with_traceback(None)
        try:
            training = lab.adapters.get_or_train(job.artifact, lambda folder: self._tune(lab, job, folder))
        except HostedTrainingError as error:
            lab.failed[job.artifact] = error
            raise
        # another run may draw the rows from another file
        return replace(training, subset=job.rows.drawn), JobRecord.read(lab.adapters.folder(job.artifact))

    def job(self, lab: Lab, variant: Variant) -> HostedJob:
        """The job of a variant; nothing is sent.

        Raises:
            DataError: rows that cannot be read, or that the model's format cannot hold.
            UsageError: settings that do not fit the service, or a size beyond the data.
        """
        service = self.service()
        self.require_fit(service.capabilities)
        seed = variant.seed or 0
        rows = draw_rows(self.data(lab), variant.size, seed)
        request = make_request(
            self.settings(),
            (*rows.own, *rows.replay),
            rows.dev,
            seed,
            names_job=not service.capabilities.metadata,
        )
        artifact = fingerprint({"hosted": service.identity(), "job": request.fingerprint})
        return HostedJob(rows, request, artifact)

    def _require_rows(self, rows: TrainingRows, service: Capabilities) -> None:
        require_supervised(rows.own)
        least = service.minimum_rows
        if len(rows.own) + len(rows.replay) < least:
            raise DataError(
                self.train,
                f"{len(rows.own)} training rows; this service takes no fewer than {least}",
                f"ask for larger sizes (--sizes={least} or more), or add rows",
            )
        known, sent = hosted_model(self.base), (*rows.own, *rows.replay, *rows.dev)
        if known is None:
            return
        for row, tokens in zip(sent, hosted_counter(known.encoding)(sent), strict=True):
            if tokens > known.training_context_tokens:
                raise DataError(
                    row.where or row.id,
                    f"{tokens:,} tokens, more than the {known.training_context_tokens:,} that {self.base}"
                    " trains on",
                    "shorten the row or split the conversation",
                )

    def _require_tunable(self, lab: Lab) -> None:
        in_table = self.service().capabilities.lifetimes
        require_tunable(lifetime(self.base, None, in_table=in_table), lab.today())

    def environment(self, lab: Lab) -> Environment:
        """What its jobs need besides the service."""
        return Environment(
            today=lab.today(),
            patience_s=self.patience_hours * 3600,
            horizon_days=lab.horizon_days(),
            say=lab.progress.say,
        )

    def _tune(self, lab: Lab, job: HostedJob, folder: Path) -> Training:
        artifact, spending = lab.adapters.folder(job.artifact), self._spending(lab)
        bill = training_tokens(job.request, (*job.rows.own, *job.rows.replay))
        name = f"tuning {self.base} on {len(job.rows.own)} rows at the service"
        with closing(self.service()) as service, lab.progress.task(name, unit="step") as bar:
            environment = replace(
                self.environment(lab),
                budget=JobBudget(spending, bill, self.billed_as),
                bar=bar,
                remember=lambda state: write_state(artifact, state),
            )
            tuned = tune(job.request, service, environment, read_state(artifact))
            JobRecord.of(tuned, service.url).write(folder)
            return training_record(job.request, job.rows, job.artifact, tuned, service)

    def _spending(self, lab: Lab) -> Spending | None:
        quotes = isinstance(self.service(), Quotes)
        return lab.spending(self.billed_as, tuned=True, purpose="training", quoted=quotes)

    def _name_that_answers(self, record: JobRecord, variant: Variant) -> str:
        model = record.model_at(self.checkpoint)
        if not self.service().capabilities.must_deploy:
            return model
        name = self._deployment(variant)
        if name is None:
            raise HostedTrainingError(
                f"the job {record.job} made {model}; at this service it must be deployed before it answers.",
                f"deploy {model} there, give the candidate deployment='ITS NAME', and run again: nothing is"
                " tuned twice. With several sizes, name the deployments alike: 'support-{size}'.",
                job=record.job,
            )
        return name

    def _deployment(self, variant: Variant) -> str | None:
        if self.deployment is None:
            return None
        size = "all" if variant.size is None else str(variant.size)
        try:
            return self.deployment.format(size=size, seed=variant.seed or 0)
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(
                f"{type(self).__name__}(deployment={self.deployment!r}): only {{size}} and {{seed}} can stand"
                " in it."
            ) from error

    def _require_own_deployment(self, lab: Lab, job: HostedJob, variant: Variant) -> None:
        """See that no other model of this run would answer under the name of this one's deployment.

        Raises:
            UsageError: the base would, or what another size, seed or candidate makes.
        """
        name, service = self._deployment(variant), self.service()
        if name is None or not (service.capabilities.must_deploy and self.deployment_is_model):
            return
        problem, hint = "", "deploy each model by itself, and name them alike: 'support-{size}-{seed}'."
        if name == self.base_deployment:
            problem = "the base answers there (base_deployment=): it would be compared with itself."
        made: Json = [job.artifact, self.checkpoint]
        if lab.deployed.setdefault(f"{service.url} {name}", made) != made:
            problem = "one model answers there, and this run makes several (sizes, seeds or candidates)."
        if problem:
            raise UsageError(
                f"{type(self).__name__}(deployment={self.deployment!r}): {problem}\n  hint: {hint}"
            )

    def _recipe(self, lab: Lab) -> Mapping[str, Json]:
        """The settings that all seeds share, without names and paths."""
        settings = self.settings()
        return {
            "kind": self.kind,
            "service": self.service().identity(),
            "base": settings.base,
            "hyperparameters": dict(settings.hyperparameters),
            "completions": settings.completions,
            "checkpoint": self.checkpoint,
            "decoding": replace(self.decoding, schema=lab.schema(self.schema)).settings(),
        }


def _not_made() -> Model:
    raise HostedTrainingError(
        "a model that is only estimated cannot be loaded.", "prepare the candidate first."
    )
