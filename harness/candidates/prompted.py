"""A model that is asked as it is, with the suite's full prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.candidates.base import (
    WITH_PROMPT,
    Ask,
    BaseCandidate,
    CostEstimate,
    Looked,
    MutableModel,
    Prepared,
    PricedModel,
    Variant,
    asked_with_prompt,
)
from harness.candidates.lab import Lab
from harness.candidates.served import by_server, require_servable, served_notes, with_server
from harness.data.fingerprints import bytes_digest, fingerprint
from harness.errors import UsageError
from harness.models.askable import require_askable
from harness.models.generation import note_on_defaults
from harness.models.ledger import Spending
from harness.models.local import LocalModel, batch_numeric_config
from harness.models.progress import Progress
from harness.models.remote import RemoteModel
from harness.models.served import Weights
from harness.models.server import Server
from harness.models.structured import require_bindable, schema_notes
from harness.models.thinking import thinking_fields
from harness.records import Json, Message, Row
from harness.training.rows import TrainingData


@dataclass(frozen=True, kw_only=True)
class Prompted(BaseCandidate):
    """A model with the suite's full prompt.

    Args:
        model: the built-in name, a Hugging Face id, a local folder, a GGUF file; or one behind a service.
        prompt: a file whose text stands where the suite's prompt would, with the same facts of each row.
            Its own baseline is asked with the suite's. A suite without a prompt is another task.
        serve: a server that answers for a local model in place of the library.
    """

    kind: ClassVar[str] = "prompted"
    cost_rank: ClassVar[int] = 0

    model: str | RemoteModel
    prompt: str | None = None
    serve: Server | None = None

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.model.model if isinstance(self.model, RemoteModel) else self.model

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.serve is not None and isinstance(self.model, RemoteModel):
            raise UsageError(
                f"Prompted(serve=…): {self.model.model} is a service's; serve= is for local models."
            )

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        model = self.model.described() if isinstance(self.model, RemoteModel) else self.model
        found = {**super().described(), "model": model}
        if self.prompt is None:
            del found["prompt"]
        return with_server(found, self.serve)

    def own_baseline(self) -> Prompted:
        """See ``Candidate``."""
        return Prompted(
            model=self.model,
            decoding=self.decoding,
            schema=self.schema,
            trust_remote_code=self.trust_remote_code,
            serve=self.serve,
        )

    def data(self, lab: Lab) -> TrainingData | None:
        """See ``Candidate``: no rows, but a prompt of its own may hold some as examples."""
        prompts = self.own_prompts(lab)
        return TrainingData((), prompts[0].where, is_trained=False, prompts=prompts) if prompts else None

    def own_prompts(self, lab: Lab) -> tuple[Row, ...]:
        """The prompts that stand in place of the suite's, as rows of a system message alone."""
        return prompt_rows(lab, [] if self.prompt is None else [self.prompt])

    def endpoint(self) -> PricedModel | None:
        """See ``Candidate``."""
        return PricedModel(self.model, self.model.is_tuned) if isinstance(self.model, RemoteModel) else None

    def redirected(self, url: str) -> Prompted:
        """See ``Candidate``."""
        return (
            replace(self, model=self.model.redirected(url)) if isinstance(self.model, RemoteModel) else self
        )

    def asker(self, lab: Lab) -> Ask:
        """How a row becomes a prompt. A kind that only asks otherwise overrides this, and ``asked_with``."""
        return asked_with_prompt

    def looker(self, lab: Lab) -> Looked | None:
        """What is looked up for each row, and shown with it; None where nothing is."""
        return None

    @property
    def asked_with(self) -> str:
        """What stands before the question, in words for the report."""
        return WITH_PROMPT if self.prompt is None else f"its own prompt {self.prompt}"

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``: the key and the price of a hosted model; a local one is fetched, and its prompts
        are rendered.
        """
        if isinstance(self.model, RemoteModel):
            thinking_fields(self.model, self.decoding)
            require_bindable(self.model, lab.schema(self.schema))
            self.model.require_ready()
            lab.spending(self.model.billed_as)
            if self.schema is not None:  # see that every suite can be asked under it
                list(lab.unanswered(self, self.prepare(lab, variant)))
            return
        source = lab.source(self.model, self.trust_remote_code)
        if self.serve is not None:
            require_servable(self.serve, lab.schema(self.schema), is_adapter=False)
        for suite, prompts, decoding in lab.unanswered(self, self.prepare(lab, variant)):
            require_askable(lab.chat(source, decoding.thinking), suite, prompts, decoding)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        remote = self.model if isinstance(self.model, RemoteModel) else None
        return CostEstimate(self.prepare(lab, variant), asked_as=remote)

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        ask, model, schema = self.asker(lab), self.model, lab.schema(self.schema)
        own = None if self.prompt is None else lab.prompt(self.prompt)
        digest = "" if own is None else f" (prompt SHA-256 {bytes_digest(own.encode())[:12]})"
        asked_with = f"{self.asked_with}{digest}"
        if isinstance(model, RemoteModel):
            identity = model.identity()
            return Prepared(
                model_name=model.model,
                model_digest=fingerprint(identity),
                identity=fingerprint({"remote": identity}),
                numeric_config=model.numeric_config,
                load=lambda: model.open(lab.spending(model.billed_as), lab.progress),
                ask=ask,
                asked_with=asked_with,
                prompt=own,
                looked=self.looker(lab),
                schema=schema,
                batch_independent=True,
                read=model.sent_beside,
                mutable=mutable_model(model, lambda: lab.spending(model.billed_as), lab.progress),
            )
        source, plan = lab.source(model, self.trust_remote_code), lab.plan()
        library = Prepared(
            model_name=source.name,
            model_digest=source.digest,
            identity=fingerprint({"base": source.digest, **lab.chat_format(source).key()}),
            numeric_config=batch_numeric_config(plan),
            load=lambda: LocalModel.load(source, plan),
            gives_logprobs=True,
            ask=ask,
            asked_with=asked_with,
            prompt=own,
            looked=self.looker(lab),
            schema=schema,
            read=lab.reader(source),
        )
        if self.serve is None:
            return library
        name = self.serve.base_name or source.name
        weights = Weights(source, source.digest, dtype=plan.dtype)
        return by_server(lab, self.serve, library, weights, self.decoding, name)

    def notes(self, lab: Lab, variant: Variant) -> tuple[str, ...]:
        """See ``Candidate``: what a local model's template wants, and what is set aside of its defaults."""
        if isinstance(self.model, RemoteModel):
            return schema_notes(self.model, lab.schema(self.schema))
        source = lab.source(self.model, self.trust_remote_code)
        return (
            *lab.chat_format(source).notes(source.name),
            *note_on_defaults(source.folder),
            *served_notes(self.prepare(lab, variant) if self.serve else None),
        )


def prompt_rows(lab: Lab, files: Sequence[str]) -> tuple[Row, ...]:
    """Prompt files as the leak check reads them."""
    return tuple(
        Row("prompt", (Message("system", lab.prompt(file)), Message("assistant", "")), {}, lab.shown(file))
        for file in files
    )


def mutable_model(
    model: RemoteModel, spending: Callable[[], Spending | None], progress: Progress
) -> MutableModel | None:
    """The model as one that may change under its name; None where its name or ``version`` pins it."""
    single = replace(model, batch=False, attempts=min(2, model.attempts))
    return None if model.is_pinned else MutableModel(model, lambda: single.open(spending(), progress))
