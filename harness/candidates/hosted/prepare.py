"""From a hosted candidate to a model that can be asked, and what a run may say of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from harness.candidates.finetune import TrainingRows
from harness.candidates.hosted.driver import Pacing, drive
from harness.candidates.hosted.kept import Kept, chosen_model, read_kept
from harness.candidates.hosted.lifetimes import ending_notes, lifetime, require_tunable
from harness.candidates.hosted.order import Order, make_order
from harness.candidates.hosted.protocol import Tuned, tune
from harness.candidates.hosted.results import Metrics, training_points
from harness.candidates.hosted.service import OpenAIService, Service
from harness.candidates.hosted.spec import OpenAITuning
from harness.candidates.prepare import (
    Prepared,
    Workshop,
    asked_as_trained,
    prepare,
    require_ready,
    training_rows,
)
from harness.data.fingerprints import fingerprint, rows_fingerprint
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, service_epochs
from harness.data.rows import require_supervised
from harness.errors import DataError, HostedTrainingError, UsageError
from harness.models.endpoint import Endpoint
from harness.records import Row, Training

NOTED_RISE = 1.02  # a validation loss this much above its minimum is told


@dataclass(frozen=True)
class Outside:
    """What a hosted training needs of the world: the service, the time, and how to wait."""

    service: Callable[[Endpoint], AbstractContextManager[Service]] = OpenAIService
    today: Callable[[], date] = field(default=lambda: datetime.now(UTC).date())
    pacing: Pacing = field(default_factory=Pacing)


@dataclass(frozen=True, slots=True)
class HostedRows:
    """A candidate's rows at one size and seed, and the job that they make."""

    rows: TrainingRows
    order: Order
    artifact: str  # its name in the store: the job's fingerprint at this service


@prepare.register
def _hosted(candidate: OpenAITuning, workshop: Workshop, size: int | None, seed: int) -> Prepared:
    return prepare_hosted(candidate, workshop, size, seed, Outside())


def prepare_hosted(
    candidate: OpenAITuning, workshop: Workshop, size: int | None, seed: int, outside: Outside
) -> Prepared:
    """The candidate, tuned at its service once for the same content.

    Raises:
        HostedTrainingError: what stands in the way there.
        DataError, UsageError, ModelError: what stands in the way here.
    """
    made = hosted_rows(candidate, workshop, size, seed)

    def build(folder: Path) -> Training:
        return _tuned_at_service(candidate, made, workshop, folder, outside)

    training = workshop.adapters.get_or_train(made.artifact, build)
    kept = read_kept(workshop.adapters.folder(made.artifact))
    remote = candidate.remote(_answers_to(candidate, kept, size, seed))
    identity = {"trained": made.artifact, "model": chosen_model(candidate, kept), "asked": remote.identity()}
    return Prepared(
        model_name=candidate.base,
        model_digest=fingerprint({"hosted": remote.endpoint.url, "base": candidate.base}),
        identity=fingerprint(identity),
        numerics=remote.numerics,
        load=lambda: remote.open(progress=workshop.progress),
        ask=asked_as_trained,
        training=replace(training, subset=made.rows.drawn),
    )


def hosted_rows(candidate: OpenAITuning, workshop: Workshop, size: int | None, seed: int) -> HostedRows:
    """The rows of one training, and its job; nothing is sent.

    Raises:
        DataError: rows that cannot be read, or that the model's format cannot hold.
        UsageError: settings that do not fit the provider, or a size beyond the data.
    """
    profile = candidate.provider
    candidate.require_fit(profile)
    replay = workshop.rows(candidate.replay) if candidate.replay else ()
    rows = training_rows(candidate, workshop, size, seed, replay)
    order = make_order(candidate, (*rows.own, *rows.replay), rows.dev, seed, profile)
    url = candidate.remote(candidate.base).endpoint.url
    return HostedRows(rows, order, fingerprint({"hosted": url, "job": order.fingerprint}))


def hosted_notes(
    candidate: OpenAITuning,
    workshop: Workshop,
    size: int | None,
    seed: int,
    today: date,
    horizon_days: float,
) -> tuple[str, ...]:
    """Sentences for the report: earlier jobs that failed, and when the model stops answering.

    Args:
        candidate: what was tuned, or will be.
        workshop: its store says what the service said of the model's end.
        size, seed: of the training.
        today: the day.
        horizon_days: the time over which the project's economics add up a saving.
    """
    made = hosted_rows(candidate, workshop, size, seed)
    done = workshop.adapters.find(made.artifact) is not None
    kept = read_kept(workshop.adapters.folder(made.artifact)) if done else None
    found = lifetime(candidate.base, candidate.provider, kept.ends if kept else None)
    return (*(kept.notes if kept else ()), *ending_notes(found, today, horizon_days))


def job_flags(candidate: OpenAITuning) -> str:
    """What follows ``harness jobs …`` for it to speak to the candidate's service."""
    said = (
        ("--base-url", candidate.base_url),
        ("--api-key-env", candidate.api_key_env),
        ("--profile", candidate.profile),
    )
    return " ".join(f"{flag}={value}" for flag, value in said if value)


# --------------------------------------------------------------------------- before anything is spent
@require_ready.register
def _hosted_ready(candidate: OpenAITuning, workshop: Workshop, size: int | None, seed: int) -> None:
    """Settings, rows, key and known closures, without a request."""
    require_hosted_ready(candidate, workshop, size, seed, datetime.now(UTC).date())


def require_hosted_ready(
    candidate: OpenAITuning, workshop: Workshop, size: int | None, seed: int, today: date
) -> None:
    """See that a job could begin, as far as that is known without asking; what is in the store is ready.

    Raises:
        DataError: rows that the service would refuse.
        UsageError: settings that do not fit the provider.
        HostedTrainingError: the model can no longer be tuned.
        ModelError: there is no key.
    """
    made = hosted_rows(candidate, workshop, size, seed)
    candidate.remote(candidate.base).require_ready()
    if workshop.adapters.find(made.artifact) is not None:
        return
    require_tunable(lifetime(candidate.base, candidate.provider, None), today)
    rows = made.rows
    require_supervised(rows.own)
    least = candidate.provider.minimum_rows
    if len(rows.own) + len(rows.replay) < least:
        raise DataError(
            candidate.train,
            f"{len(rows.own)} training rows; this service takes no fewer than {least}",
            f"ask for larger sizes (--sizes={least} or more), or add rows",
        )
    _require_lengths((*rows.own, *rows.replay, *rows.dev), candidate.base)


def _require_lengths(rows: Sequence[Row], base: str) -> None:
    known = hosted_model(base)
    if known is None:
        return
    for row, tokens in zip(rows, hosted_counter(known.encoding)(rows), strict=True):
        if tokens > known.training_context_tokens:
            raise DataError(
                row.where or row.id,
                f"{tokens:,} tokens, more than the {known.training_context_tokens:,} that {base} trains on",
                "shorten the row or split the conversation",
            )


# --------------------------------------------------------------------------- tuned
def _tuned_at_service(
    candidate: OpenAITuning, made: HostedRows, workshop: Workshop, folder: Path, outside: Outside
) -> Training:
    endpoint = candidate.remote(candidate.base).endpoint
    steps = tune(made.order, outside.today(), candidate.patience_hours * 3600)
    rows = len(made.rows.own)
    name = f"tuning {candidate.base} on {rows} rows at the service"
    with outside.service(endpoint) as service, workshop.progress.task(name, unit="step") as bar:
        tuned = drive(steps, service, bar, outside.pacing, job_flags(candidate))
    Kept.of(tuned, endpoint.url).write(folder)
    return training_record(candidate, made, tuned, endpoint.url)


def training_record(candidate: OpenAITuning, made: HostedRows, tuned: Tuned, url: str) -> Training:
    """How the model came to be, as far as the service tells.

    ``tokens`` are the billed tokens (``trained_tokens``) of one epoch; where the service does not bill by
    tokens they are counted here, as ``supervised_tokens`` always are. ``seconds`` include the queue.
    """
    from importlib.metadata import version

    job, rows = tuned.job, (*made.rows.own, *made.rows.replay)
    epochs = _epochs(candidate, tuned, len(rows))
    known = hosted_model(candidate.base)
    encoding = known.encoding if known else DEFAULT_ENCODING
    tokens = job.trained_tokens
    a_epoch = round(tokens / epochs) if tokens else sum(hosted_counter(encoding)(rows))
    seconds = float(max(0, job.finished - job.created)) if job.finished else 0.0
    counted = "billed by the service" if tokens else f"counted with {encoding}"
    return Training(
        fingerprint=made.artifact,
        rows=len(made.rows.own),
        replay_rows=len(made.rows.replay),
        epochs=epochs,
        steps=_steps(tuned, len(rows), epochs),
        tokens=a_epoch,
        supervised_tokens=_supervised(rows, encoding),
        seconds=seconds,
        tokens_per_second=a_epoch * epochs / seconds if seconds else 0.0,
        points=training_points(tuned.metrics, epochs),
        overfitting=_rise(tuned.metrics),
        device=f"hosted: {job.id} at {url}",
        numerics=f"the service's own; tokens {counted}, queue included in the time",
        row_ids=tuple(row.id for row in made.rows.own),
        versions={"openai": version("openai")},
        row_digest=rows_fingerprint(made.rows.own),
    )


def _epochs(candidate: OpenAITuning, tuned: Tuned, rows: int) -> float:
    said = tuned.job.hyperparameters.get("n_epochs")
    if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
        return float(said)
    return float(service_epochs(rows)) if candidate.epochs == "auto" else float(candidate.epochs)


def _steps(tuned: Tuned, rows: int, epochs: float) -> int:
    seen = [item.step for item in tuned.metrics] + [item.total or 0 for item in tuned.metrics]
    seen += [checkpoint.step for checkpoint in tuned.checkpoints]
    if seen:
        return max(seen)
    batch = tuned.job.hyperparameters.get("batch_size")
    return math.ceil(rows / batch) * round(epochs) if isinstance(batch, int) and batch > 0 else 0


def _supervised(rows: Sequence[Row], encoding: str) -> int:
    import bpe_openai

    encode = bpe_openai.get_encoding(encoding).encode_ordinary
    return sum(
        len(encode(m.content)) for row in rows for m in row.messages if m.role == "assistant" and m.weight
    )


def _rise(metrics: Sequence[Metrics]) -> str | None:
    """A sentence where the loss over all validation rows ended above its minimum."""
    whole = [(item.full_loss, item.step) for item in metrics if item.full_loss is not None]
    if len(whole) < 2:
        return None
    (least, step), (last, _) = min(whole), whole[-1]
    if last <= least * NOTED_RISE:
        return None
    return (
        f"validation loss ended at {last:.3f}, above its minimum {least:.3f} at step {step} (without a"
        " standard error): train for fewer epochs, or use checkpoint='best'"
    )


def _answers_to(candidate: OpenAITuning, kept: Kept, size: int | None, seed: int) -> str:
    """The name under which the tuned model is asked.

    Raises:
        HostedTrainingError: it must be deployed first.
    """
    model = chosen_model(candidate, kept)
    if not candidate.provider.must_deploy:
        return model
    if candidate.deployment is None:
        raise HostedTrainingError(
            f"the job {kept.job} made {model}; at this service it must be deployed before it answers.",
            f"deploy {model} there, give the candidate deployment='ITS NAME', and run again: nothing is tuned"
            " twice. With several sizes, name the deployments alike: 'support-{size}'.",
            job=kept.job,
        )
    size_or_all = "all" if size is None else str(size)
    try:
        return candidate.deployment.format(size=size_or_all, seed=seed)
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"OpenAITuning(deployment={candidate.deployment!r}): only {{size}} and {{seed}} can stand in it."
        ) from error
