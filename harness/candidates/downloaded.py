"""Fine-tunes that a service makes and that answer here: their adapter is fetched and put on the base."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.candidates.base import AS_TRAINED, CostEstimate, Prepared, PricedModel, Variant, asked_as_trained
from harness.candidates.hosted_base import BaseHostedTuning, HostedJob
from harness.candidates.hosted_tuning import OpenAITuning
from harness.candidates.lab import Lab
from harness.candidates.prompted import Prompted
from harness.candidates.served import by_server, require_servable, served_notes, with_server
from harness.data.fingerprints import fingerprint
from harness.errors import UsageError
from harness.fields import Count
from harness.models.askable import require_askable
from harness.models.bound import untaught_notes
from harness.models.generation import note_on_defaults
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.remote import RemoteModel
from harness.models.served import Weights
from harness.models.server import Server
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
from harness.training.hosted.openai import OpenAIProvider
from harness.training.hosted.provider import Capabilities, RequestRejected, ServiceError, TuningProvider
from harness.training.hosted.record import JobRecord


@runtime_checkable
class GivesAdapters(Protocol):
    """A provider whose service gives the adapters that it made: one more member."""

    def fetch_adapter(self, job: str, model: str, step: int | None, archive: Path, most_bytes: int) -> None:
        """Write the archive of a job's adapter, on from where an earlier attempt left it.

        Args:
            job: the job, which has succeeded.
            model: what it made.
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
        serve: a server that answers for both, in place of the library.
        base_url, api_key_env: where the service is, and the environment variable with its key.
        concurrency: answers that are asked for at once, of a deployment; see ``RemoteModel``.
    """

    local_base: str | None = None
    serve: Server | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    concurrency: Count | None = None

    @property
    def how_to_deploy(self) -> str:
        """The lines of a hint on what answers at the service itself."""
        return (
            "deployment='…' and base_deployment='…', the names of endpoints that you have made"
            f" at {self.service().capabilities.name} (billed for the time that they stand)"
        )

    def remote(self, model: str) -> RemoteModel:
        """See ``BaseHostedTuning``."""
        return replace(self.service().model(model), concurrency=self.concurrency)

    def described(self) -> dict[str, Json]:
        """See ``Candidate``; how many answers are asked for at once shapes nothing."""
        given = with_server(super().described(), self.serve)
        del given["concurrency"]
        return given

    def redirected(self, url: str) -> OpenAITuning:
        """See ``Candidate``. The stand-in takes none of the service's own settings, and answers itself."""
        there = self.service().redirected(url)
        assert isinstance(there, OpenAIProvider)
        shared = {each.name: getattr(self, each.name) for each in fields(BaseHostedTuning)}
        shared |= {"deployment": None, "base_deployment": None}
        if isinstance(self.checkpoint, int):
            shared["checkpoint"] = "last"
        return OpenAITuning(
            **shared,
            base_url=there.base_url,
            profile=there.profile,
            api_key_env=there.api_key_env,
            concurrency=self.concurrency,
        )

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
                f"    {self.how_to_deploy};\n"
                "    a service that answers by the token: NebiusTuning(...)."
            )
        if self.local_base is not None and self.base_deployment is not None:
            raise UsageError(
                f"{kind}(local_base=..., base_deployment=...): the fine-tune would answer here and its"
                " baseline there, with other numbers.\n  hint: leave base_deployment= out."
            )
        if self.serve is not None and self.local_base is None:
            raise UsageError(
                f"{kind}(serve=...): a server of yours answers for weights that are here, and no local_base="
                " is named.\n  hint: local_base='…', the weights of the base; or leave serve= out."
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
            serve=self.serve,
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
        if self.serve is not None:
            require_servable(self.serve, lab.schema(self.schema), is_adapter=True)
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
        return CostEstimate(self._local(lab, variant, record, None), training)

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
        prepared = self._local(lab, variant, record, training)
        if prepared.served is not None:
            prepared.served.service.know()
        return prepared

    def notes(self, lab: Lab, variant: Variant) -> tuple[str, ...]:
        """See ``BaseHostedTuning``; what comparing a server's answers with the library's came to."""
        served = served_notes(self.estimate(lab, variant).prepared if self.serve else None)
        return (*super().notes(lab, variant), *served)

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
                self._download(lab, service, record, step, archive)
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

    def _download(
        self, lab: Lab, service: TuningProvider, record: JobRecord, step: int | None, archive: Path
    ) -> None:
        assert isinstance(service, GivesAdapters)
        job = record.job
        try:
            self.environment(lab).ask(service.fetch_adapter, job, record.model, step, archive, MOST_BYTES)
        except RequestRejected as no:
            raise unusable(job, AdapterProblem(f"the service does not give it ({no.message})")) from None
        except ServiceError as error:
            again = f"the job {job} has succeeded: run again, and its adapter is fetched."
            raise errors.from_service(error, job, again) from None

    def _local(
        self, lab: Lab, variant: Variant, record: JobRecord | None, training: Training | None
    ) -> Prepared:
        """The adapter on the local base; ``record`` is None where it is yet to be tuned."""
        source, plan, job = self._source(lab), lab.plan(), self.job(lab, variant)
        made: Mapping[str, Json] = (
            {"yet to be made": job.artifact, "checkpoint": self.checkpoint}
            if record is None
            else {"trained": job.artifact, "model": record.model_at(self.checkpoint), "job": record.job}
        )
        folder = Path() if record is None else lab.adapters.folder(self._adapter(job, record))
        library = Prepared(
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
        if self.serve is None:
            return library
        weights = Weights(source, library.identity, folder, dtype=plan.dtype)
        url_name = self.serve.name_at_url(
            candidate=variant.name, size=variant.size, seed=variant.seed, key=job.artifact[:12]
        )
        return by_server(lab, self.serve, library, weights, self.decoding, url_name)
