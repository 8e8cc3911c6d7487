"""Fine-tunes that a service makes and that answer here: their adapter is fetched and put on the base."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.candidates.base import AS_TRAINED, CostEstimate, Prepared, PricedModel, Variant, asked_as_trained
from harness.candidates.hosted_base import BaseHostedTuning, HostedJob
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.models.askable import require_askable
from harness.models.bound import untaught_notes
from harness.models.generation import note_on_defaults
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.source import ModelSource
from harness.records import Json, Training
from harness.training.hosted import errors
from harness.training.hosted.adapters import (
    MOST_BYTES,
    AdapterProblem,
    require_adapter,
    unpack_adapter,
    unusable,
)
from harness.training.hosted.provider import Capabilities, RequestRejected, ServiceError, TuningProvider
from harness.training.hosted.record import JobRecord


@runtime_checkable
class GivesAdapters(Protocol):
    """A provider whose service gives the adapters that it made: one more member."""

    def fetch_adapter(self, job: str, step: int | None, archive: Path, most_bytes: int) -> None:
        """Write the archive of a job's adapter, on from where an earlier attempt left it.

        Args:
            job: the job, which has succeeded.
            step: of one of its checkpoints; None: the one from the end.
            archive: the file; what is in it is taken for its beginning.
            most_bytes: the longest archive that is taken.
        """


@dataclass(frozen=True, kw_only=True)
class DownloadedTuning(BaseHostedTuning):
    """What fine-tunes share whose service answers only by a deployment, and gives their adapters away.

    One of the two answers: the adapter on ``local_base``, or ``deployment`` (see ``BaseHostedTuning``).

    Args:
        local_base: the weights of ``base`` for this machine, as of any local model: the built-in name, a
            Hugging Face id, a local folder or a GGUF file. The adapter answers on them, and so does the
            baseline without it.
    """

    local_base: str | None = None

    def require_fit(self, service: Capabilities) -> None:
        """See ``BaseHostedTuning``: somebody must be there to answer, before anything is paid."""
        super().require_fit(service)
        kind = type(self).__name__
        if (self.local_base is None) == (self.deployment is None):
            problem = (
                f"{kind}(local_base=..., deployment=...): both would answer."
                if self.deployment
                else f"{kind}: a tuned model answers at {service.name} only when it is deployed, and nobody"
                " is named to answer."
            )
            raise UsageError(
                f"{problem} Nothing was sent or paid.\n"
                f"  hint: one of these: local_base='…', the weights of {self.base} (a folder, a Hugging Face"
                " id): the adapter is fetched and answers here;\n"
                "    deployment='…' and base_deployment='…', the names of endpoints that you have made"
                f" at {service.name} (billed for the time that they stand);\n"
                "    a service that answers by the token: NebiusTuning(...)."
            )
        if self.local_base is not None and self.base_deployment is not None:
            raise UsageError(
                f"{kind}(local_base=..., base_deployment=...): the fine-tune would answer here and its"
                " baseline there, with other numbers.\n  hint: leave base_deployment= out."
            )

    def own_baseline(self) -> Prompted:
        """See ``Candidate``: the base on the same weights, or at its deployment."""
        if self.local_base is None:
            return super().own_baseline()
        return Prompted(
            model=self.local_base,
            decoding=self.decoding,
            schema=self.schema,
            trust_remote_code=self.trust_remote_code,
        )

    def endpoint(self) -> PricedModel:
        """See ``Candidate``."""
        return replace(super().endpoint(), answers=self.local_base is None)

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``. An adapter that is here needs no service, and no key."""
        job = self.job(lab, variant)
        if self.local_base is not None and lab.adapters.find(job.artifact) is not None:
            record = JobRecord.read(lab.adapters.folder(job.artifact))
            if lab.adapters.find(self._adapter(job, record)) is not None:
                self.require_askable(lab, variant)
                return
        super().preflight(lab, variant)

    def require_askable(self, lab: Lab, variant: Variant) -> None:
        """See ``BaseHostedTuning``."""
        if self.local_base is None:
            super().require_askable(lab, variant)
            return
        source = self._source(lab)
        for suite, prompts, decoding in lab.unanswered(self, self.estimate(lab, variant).prepared):
            require_askable(lab.chat(source, decoding.thinking), suite, prompts, decoding)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        if self.local_base is None:
            return super().estimate(lab, variant)
        job = self.job(lab, variant)
        training, record = self.training_estimate(lab, job), None
        if training.is_kept:
            record = JobRecord.read(lab.adapters.folder(job.artifact))
        return CostEstimate(self._local(lab, job, record, None), training)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``. The adapter is fetched once, and kept beside the job's record."""
        if self.local_base is None:
            return super().prepare(lab, variant)
        job = self.job(lab, variant)
        source = self._source(lab)  # before anything is paid
        training, record = self.tuned(lab, job)

        def fetch(folder: Path) -> Training:
            self._fetch(lab, source, record, folder)
            return replace(training, fingerprint=self._adapter(job, record))

        lab.adapters.get_or_train(self._adapter(job, record), fetch)
        return self._local(lab, job, record, training)

    def answer_notes(self, lab: Lab) -> tuple[str, ...]:
        """See ``BaseHostedTuning``."""
        if self.local_base is None:
            return super().answer_notes(lab)
        source = self._source(lab)
        return (
            f"tuned at {self.service().capabilities.name}; its adapter answers on this machine, on"
            f" {source.name}, with the chat template that stands there",
            *lab.chat_format(source).notes(source.name),
            *note_on_defaults(source.folder),
            *untaught_notes(lab.schema(self.schema), lab.rows(self.train)),
        )

    # ----------------------------------------------------------------------- steps
    def _source(self, lab: Lab) -> ModelSource:
        assert self.local_base is not None
        return lab.source(self.local_base, self.trust_remote_code)

    def _adapter(self, job: HostedJob, record: JobRecord) -> str:
        """The name of the adapter's artifact."""
        return fingerprint({"adapter of": job.artifact, "model": record.model_at(self.checkpoint)})

    def _fetch(self, lab: Lab, source: ModelSource, record: JobRecord, folder: Path) -> None:
        """Fill the folder of the adapter's artifact. What a killed process has fetched is gone on with.

        Raises:
            HostedTrainingError: it cannot be had, or does not fit the base.
        """
        model = record.model_at(self.checkpoint)
        step = None if model == record.model else int(model.rpartition(":")[2])
        archive = folder.with_name(f"{folder.name.partition('.')[0]}.archive")
        with (
            closing(self.service()) as service,
            lab.progress.task(f"fetching the adapter of {record.job}", unit="file"),
        ):
            for is_last in (False, True):
                begun = archive.exists()
                self._download(lab, service, record.job, step, archive)
                try:
                    unpack_adapter(archive, folder)
                    break
                except AdapterProblem as problem:
                    archive.unlink()
                    if is_last or not begun:  # else what was there may be the beginning of another one
                        raise unusable(record.job, problem) from problem
            try:
                require_adapter(folder, self.base, source)
            except AdapterProblem as problem:  # the archive stays: the mend is in the candidate
                raise unusable(record.job, problem) from problem
        archive.unlink()

    def _download(self, lab: Lab, service: TuningProvider, job: str, step: int | None, archive: Path) -> None:
        assert isinstance(service, GivesAdapters)
        try:
            self.environment(lab).ask(service.fetch_adapter, job, step, archive, MOST_BYTES)
        except RequestRejected as no:
            raise unusable(job, AdapterProblem(f"the service does not give it ({no.message})")) from None
        except ServiceError as error:
            again = f"the job {job} has succeeded: run again, and its adapter is fetched."
            raise errors.from_service(error, job, again) from None

    def _local(
        self, lab: Lab, job: HostedJob, record: JobRecord | None, training: Training | None
    ) -> Prepared:
        """The adapter on the local base; ``record`` is None where it is yet to be tuned."""
        source, plan = self._source(lab), lab.plan()
        made: Mapping[str, Json] = (
            {"yet to be made": job.artifact, "checkpoint": self.checkpoint}
            if record is None
            else {"trained": job.artifact, "model": record.model_at(self.checkpoint), "job": record.job}
        )
        folder = Path() if record is None else lab.adapters.folder(self._adapter(job, record))
        return Prepared(
            model_name=source.name,
            model_digest=source.digest,
            identity=fingerprint({**made, "base": source.digest, **lab.chat_format(source).key()}),
            numeric_config=batch_numeric_config(plan),
            load=lambda: LocalModel.load(source, plan, adapter=folder),
            ask=asked_as_trained,
            asked_with=AS_TRAINED,
            schema=lab.schema(self.schema),
            training=training,
            recipe={**self._recipe(lab), "base": source.digest},
            read=lab.reader(source),
            gives_logprobs=True,
        )
